//! The one task that owns the schedules: starts what is due, and takes what shall be there from now on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redpoll_common::schedule::Schedules;
use redpoll_net::random;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

use super::outbox::Shared;
use super::run::Run;
use super::teller::Teller;
use super::{Around, Entry};
use crate::clock::boot_ms;

/// Ends of runs that may wait; a run that finds no room waits with its own.
const ENDS: usize = 64;
/// The longest sleep: timers stand still while the machine sleeps, the clock of the schedules does not.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// Runs what is due. To be spawned.
#[derive(Debug)]
pub struct Driver {
    around: Around,
    outbox: Arc<Shared>,
    wanted: watch::Receiver<Vec<Entry>>,
    count: watch::Sender<usize>,
    drain: CancellationToken,
    end: CancellationToken,
    kill: CancellationToken,
    schedules: Schedules,
    entries: BTreeMap<String, Entry>,
}

impl Driver {
    pub(super) fn new(
        around: Around,
        outbox: Arc<Shared>,
        (wanted, count): (watch::Receiver<Vec<Entry>>, watch::Sender<usize>),
        (drain, end, kill): (CancellationToken, CancellationToken, CancellationToken),
    ) -> Self {
        let (schedules, entries) = (Schedules::default(), BTreeMap::new());
        Self { around, outbox, wanted, count, drain, end, kill, schedules, entries }
    }

    /// Goes on until it is drained and nothing runs any more. Runs are spawned on `tracker`.
    pub async fn run(mut self, tracker: TaskTracker) {
        let told = CancellationToken::new();
        let teller = Teller::new(self.around.clone(), self.outbox.clone(), told.clone());
        tracker.spawn(teller.run());
        let (ended, mut ends) = mpsc::channel::<String>(ENDS);
        self.reload();
        while !self.drain.is_cancelled() {
            self.start_due(&tracker, &ended);
            let wake = self.wake_at();
            // the stop first; ends before what is due, because they make room for it
            tokio::select! {
                biased;
                () = self.drain.cancelled() => {}
                Some(name) = ends.recv() => self.ended(&name),
                changed = self.wanted.changed() => match changed {
                    Ok(()) => self.reload(),
                    // no handle is left: nobody could stop it
                    Err(_gone) => break,
                },
                () = sleep_until(wake) => {}
            }
        }
        drop(ended);
        while let Some(name) = ends.recv().await {
            self.ended(&name);
        }
        told.cancel();
    }

    fn wake_at(&self) -> Instant {
        let left = self.schedules.poll_timeout().map(|due| due.saturating_sub(boot_ms()));
        Instant::now() + left.map_or(LONGEST_SLEEP, Duration::from_millis).min(LONGEST_SLEEP)
    }

    fn reload(&mut self) {
        let entries = self.wanted.borrow_and_update().clone();
        self.entries = entries.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
        let wanted = self.entries.values().map(|entry| (entry.name.clone(), entry.timing()));
        self.schedules.set(wanted, boot_ms(), random::number);
        if !self.entries.is_empty() {
            info!(schedules = self.entries.len(), "procedures run by themselves");
        }
    }

    fn start_due(&mut self, tracker: &TaskTracker, ended: &mpsc::Sender<String>) {
        while let Some(start) = self.schedules.poll_start(boot_ms(), random::number) {
            if start.skipped > 0 {
                info!(schedule = %start.name, skipped = start.skipped, "runs were left out");
            }
            let Some(entry) = self.entries.get(&start.name) else {
                self.schedules.ended(&start.name);
                continue;
            };
            debug!(schedule = %start.name, procedure = %entry.procedure, "a recurring procedure starts");
            let run = Run {
                around: self.around.clone(),
                outbox: self.outbox.clone(),
                entry: entry.clone(),
                drain: self.drain.clone(),
                end: self.end.clone(),
                kill: self.kill.clone(),
            };
            let (name, ended) = (start.name, ended.clone());
            tracker.spawn(async move {
                run.run().await;
                // an error means that the driver has ended
                let _over = ended.send(name).await;
            });
            self.count.send_replace(self.schedules.running());
        }
    }

    fn ended(&mut self, name: &str) {
        self.schedules.ended(name);
        self.count.send_replace(self.schedules.running());
    }
}
