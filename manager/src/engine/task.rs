//! The task that owns the machine: takes messages in their order, hands what they change to the store, and what follows to the
//! performer. It never waits for anybody but the store. `rebuild`: begins anew after a turn that was not stored.

mod rebuild;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use redpoll_common::ids::PeerId;
use redpoll_common::job::wire::RunReport;
use redpoll_common::job::{JobId, JobSpec, Offline, Submitter};
use redpoll_manager_core::jobs::record::{Change, Digest, EventKind, Records};
use redpoll_manager_core::jobs::{Answer, Input, Jobs, OfferAnswer, Refusal, Settings, Submit, Turn};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use super::comings::Comings;
use super::deliveries::Deliveries;
use super::feed;
use super::listed::Listed;
use super::open::Ask;
use super::performer::{Committing, Outside, Performer, Step};
use super::{Running, Waiter};
use crate::store::{Room, Store};

/// Turns that may wait for their commits. Beyond, the machine takes nothing in.
pub const TURNS: usize = 4096;
/// Messages that are handled in one turn, before the clock is looked at again.
const BATCH: usize = 64;
/// The longest sleep: timers stand still while the machine sleeps, and what is due does not; and the wall clock may be set.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// The task stood still if it has not looked at the clock for longer than this.
const STILL_MS: u64 = 30_000;

/// What the task is told.
#[derive(Debug)]
pub(super) enum Message {
    /// A job, for which the agents have to be looked up.
    Submit(Box<NewSubmit>),
    /// Something for the machine.
    Input(Box<Input<Waiter>>),
    /// There are agents in [`Listed`] or [`Comings`].
    Look,
    /// A question about what is open.
    Ask(Ask),
}

/// A job to store, before its agents were looked up.
#[derive(Debug)]
pub(super) struct NewSubmit {
    pub(super) told: oneshot::Sender<Result<Answer, Refusal>>,
    pub(super) id: JobId,
    pub(super) submitter: Submitter,
    pub(super) spec: Arc<JobSpec>,
    pub(super) digest: Digest,
    pub(super) agents: Vec<PeerId>,
    pub(super) admin: Arc<[PeerId]>,
    pub(super) idempotent: bool,
    pub(super) redact: Arc<[String]>,
}

/// Starts the task and its performer.
pub(super) fn spawn(
    messages: mpsc::Receiver<Message>,
    records: Records,
    broken: Option<String>,
    settings: Settings,
    outside: Outside,
) -> Running {
    let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
    let (turns, steps) = mpsc::channel(TURNS);
    let (lost_sender, lost) = mpsc::channel(1);
    let (store, agents) = (outside.store.clone(), outside.agents.clone());
    let (listed, comings) = (outside.listed.clone(), outside.comings.clone());
    let deliveries = Deliveries::default();
    let performer = Performer::new(outside, steps, lost_sender, deliveries.clone(), tracker.clone());
    spawn_vital(&tracker, &store, performer.run());
    let mut jobs = Jobs::recover(settings, records, store.clock().now_ms()).anchored(store.clock().anchor());
    if store.clock().is_new() {
        let now = store.clock().now_ms();
        jobs.handle(Input::Clock { anchor: store.clock().anchor(), set_by_ms: 0 }, now);
    }
    if let Some(detail) = broken {
        jobs.handle(Input::HistoryBroken { detail }, store.clock().now_ms());
    }
    let (stopped, looked_ms) = (stop.clone(), store.clock().now_ms());
    let task = Task {
        jobs,
        settings,
        messages,
        listed,
        comings,
        turns,
        lost,
        store,
        agents,
        looked_ms,
        stop: stopped,
    };
    spawn_vital(&tracker, &task.store.clone(), task.run());
    Running { stop, tracker, deliveries }
}

/// Spawns a task without which there are no jobs: should it panic, the process ends, and its service starts it anew from the disk.
fn spawn_vital(
    tracker: &TaskTracker,
    store: &Arc<dyn Store>,
    vital: impl Future<Output = ()> + Send + 'static,
) {
    let (running, store) = (tracker.spawn(vital), store.clone());
    tracker.spawn(async move {
        if running.await.is_err_and(|error| error.is_panic()) {
            store.give_up("the engine of jobs broke, as the line above says; what is on disk is gone on with by the next start");
        }
    });
}

struct Task {
    jobs: Jobs<Waiter>,
    settings: Settings,
    messages: mpsc::Receiver<Message>,
    /// Agents whose lists became known, and have something that nobody may see.
    listed: Arc<Listed>,
    /// Agents whose sessions began or ended.
    comings: Arc<Comings>,
    turns: mpsc::Sender<Step>,
    /// The performer says that a turn was not committed.
    lost: mpsc::Receiver<()>,
    store: Arc<dyn Store>,
    agents: Arc<dyn super::Agents>,
    /// When the clock was looked at last.
    looked_ms: u64,
    stop: CancellationToken,
}

impl Task {
    async fn run(mut self) {
        self.turn().await;
        loop {
            let wake = self.wake_at();
            // what was lost first: everything after it would be lost too; messages before the clock, because they may
            // make what is due unnecessary
            tokio::select! {
                biased;
                Some(()) = self.lost.recv() => if !self.rebuild().await { return },
                message = self.messages.recv() => match message {
                    Some(message) => self.take(message).await,
                    None => return,
                },
                () = sleep_until(wake) => self.tick().await,
                () = self.stop.cancelled() => return self.finish().await,
            }
        }
    }

    fn wake_at(&self) -> Instant {
        let left = self.jobs.poll_timeout().map(|due| due.saturating_sub(self.now()));
        Instant::now() + left.map_or(LONGEST_SLEEP, Duration::from_millis).min(LONGEST_SLEEP)
    }

    /// Takes what has come as one turn: one transaction, one place in the store's queue, one wake-up of the performer.
    async fn take(&mut self, first: Message) {
        let batch = self.batch();
        self.note_sessions().await;
        self.handle(first);
        for _ in 1..batch {
            let Ok(message) = self.messages.try_recv() else { break };
            self.note_sessions().await;
            self.handle(message);
        }
        self.tick().await;
    }

    /// How much is taken in one turn. While the disk is full each message is a turn of its own, so that what is small still finds room.
    fn batch(&self) -> usize {
        if self.store.room() == Room::Plenty { BATCH } else { 1 }
    }

    /// Sessions that began and ended: whatever comes after them finds them noted. Those of a whole fleet are many turns.
    async fn note_sessions(&mut self) {
        let mut told = self.comings.take().into_iter();
        while told.len() > 0 {
            let batch = self.batch();
            let is_full = told.len() >= batch;
            for input in told.by_ref().take(batch) {
                self.jobs.handle(input, self.now());
            }
            if is_full {
                self.turn().await;
            }
        }
    }

    async fn tick(&mut self) {
        let now = self.now();
        self.note_listed(now);
        let since = now.saturating_sub(std::mem::replace(&mut self.looked_ms, now));
        if since > STILL_MS {
            warn!(
                for_ms = since,
                "the manager stood still, as when its machine sleeps; agents get time to return"
            );
            self.jobs.handle(Input::StoodStill, now);
        }
        if let Some(set_by_ms) = self.store.clock().look() {
            warn!(set_by_ms, "the wall clock was set; durations go on, and times are told by the new one");
            self.jobs.handle(Input::Clock { anchor: self.store.clock().anchor(), set_by_ms }, now);
        }
        if self.jobs.poll_timeout().is_some_and(|due| due <= now) {
            self.jobs.handle_timeout(now);
        }
        self.turn().await;
        // a disk that was waited for is no machine that slept
        self.looked_ms = self.now();
    }

    /// The count of time, see [`redpoll_manager_core::clock`].
    fn now(&self) -> u64 {
        self.store.clock().now_ms()
    }

    fn handle(&mut self, message: Message) {
        let now = self.now();
        match message {
            Message::Ask(ask) => ask.answer(&self.jobs),
            // before every message; for lists with the next turn, or before somebody cancels
            Message::Look => {}
            Message::Submit(submit) => {
                // asked before the submit becomes changes, whose order must not break
                self.jobs.handle(Input::StoreFull(self.store.room() != Room::Plenty), now);
                let NewSubmit { told, id, submitter, spec, digest, agents, admin, idempotent, redact } =
                    *submit;
                let agents = agents.into_iter().map(|agent| {
                    let connected = self.agents.is_connected(&agent);
                    (agent, connected)
                });
                let (token, agents) = (Waiter::Operator(told), agents.collect());
                let submit = Submit { token, id, submitter, spec, digest, agents, admin, idempotent, redact };
                self.jobs.handle(Input::Submit(Box::new(submit)), now);
            }
            Message::Input(mut input) => {
                if let Input::Release { job, away, .. } = &mut *input {
                    *away = self.away_of(*job);
                }
                if let Input::Settings(settings) = &*input {
                    self.settings = *settings;
                }
                if matches!(*input, Input::Record(..) | Input::Emit { .. } | Input::Oldest { .. }) {
                    // new work, as a submit; and what is deleted in one go needs room, too
                    self.jobs.handle(Input::StoreFull(self.store.room() != Room::Plenty), now);
                }
                if matches!(*input, Input::Cancel { .. }) {
                    // what ends by it says nothing more of its own
                    self.note_listed(now);
                }
                if let Input::Report { agent, reports, .. } = &*input {
                    self.redact(agent, reports, now);
                }
                // a refusal may be the end of it
                if let Input::OfferAnswered {
                    agent,
                    job,
                    answer: OfferAnswer::Refused(_) | OfferAnswer::Unsendable(_),
                    ..
                } = &*input
                {
                    self.redact_job(agent, *job, now);
                }
                self.jobs.handle(*input, now);
            }
        }
    }

    /// The agents of a held job that skips those that are not connected.
    fn away_of(&self, job: JobId) -> BTreeSet<PeerId> {
        let record = self.jobs.job(job).map(|job| job.record);
        let agents =
            record.filter(|record| record.spec.offline == Offline::Skip).map(|record| &record.agents);
        let away = |agent: &&PeerId| !self.agents.is_connected(agent);
        agents.into_iter().flat_map(|agents| agents.iter()).filter(away).cloned().collect()
    }

    /// Before the end of a run is taken: what its agent wants masked of the arguments may not have been known at the submit.
    fn redact(&mut self, agent: &PeerId, reports: &[RunReport], now: u64) {
        for RunReport { run, .. } in reports.iter().filter(|report| report.done.is_some()) {
            // also of many that are about nothing, looking costs little
            if self.jobs.awaits(agent, run) {
                self.redact_job(agent, run.job, now);
            }
        }
    }

    /// Notes what one of a job's agents wants masked, by its list as it is known now.
    fn redact_job(&mut self, agent: &PeerId, job: JobId, now: u64) {
        let Some(record) = self.jobs.job(job).map(|job| job.record) else { return };
        if record.agents.binary_search(agent).is_err() {
            return;
        }
        let paths = self.agents.redact(agent, &record.spec.procedure);
        if !paths.is_empty() {
            self.jobs.handle(Input::Redact { job, paths }, now);
        }
    }

    /// The lists of some agents are known now: what they want masked of their jobs that are not over, however these end.
    fn note_listed(&mut self, now: u64) {
        for agent in self.listed.take() {
            let jobs: Vec<JobId> = self.jobs.alive_on(&agent).collect();
            for job in jobs {
                self.redact_job(&agent, job, now);
            }
        }
    }

    /// Hands over what the machine decided. Waits for a place in the store's queue, and for the performer.
    async fn turn(&mut self) {
        while let Some(Turn { changes, effects }) = self.jobs.poll_turn() {
            changes.iter().for_each(warn_of);
            let touched = changes.iter().filter_map(feed::touched).collect();
            let durable = match changes.is_empty() {
                true => None,
                false => Some(self.store.enqueue(changes).await),
            };
            self.step(Step::Turn(Committing { durable, effects, touched })).await;
        }
    }

    async fn step(&self, step: Step) {
        if self.turns.send(step).await.is_err() {
            error!("the performer of jobs has ended");
        }
    }

    /// Takes what has come, so that nobody waits in vain.
    async fn finish(mut self) {
        self.messages.close();
        self.note_sessions().await;
        while let Some(message) = self.messages.recv().await {
            self.note_sessions().await;
            self.handle(message);
            self.note_listed(self.now());
            self.turn().await;
        }
        self.turn().await;
    }
}

/// Says in the log what somebody has to look at.
fn warn_of(change: &Change) {
    let Change::Event(event) = change else { return };
    let (agent, detail) = (event.agent.as_ref().map(PeerId::as_str), event.detail.as_deref());
    if event.kind == EventKind::SpoolLost {
        warn!(agent, "the agent came with another spool, or an older state of its own");
    } else if event.kind == EventKind::StoreBehind {
        warn!(
            agent,
            detail,
            "the agent has seen more than this store gave out: was an older copy of the store put back, or did the agent have \
             another manager? what it ran meanwhile is not known here"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::store::{AbortHook, Faults, Memory};

    /// The last words of a process whose vital task does this.
    async fn last_words(vital: impl Future<Output = ()> + Send + 'static) -> Vec<String> {
        let words: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = words.clone();
        let abort = AbortHook::new(move |word| heard.lock().unwrap().push(word.to_owned()));
        let store: Arc<dyn Store> = Arc::new(Memory::new(Faults::default(), abort));
        let tracker = TaskTracker::new();
        spawn_vital(&tracker, &store, vital);
        tracker.close();
        tracker.wait().await;
        let words = words.lock().unwrap();
        words.clone()
    }

    #[tokio::test]
    async fn a_manager_whose_engine_broke_ends_and_one_whose_engine_ended_does_not() {
        assert!(last_words(async {}).await.is_empty());
        let words = last_words(async { panic!("an input that nobody foresaw") }).await;
        assert!(matches!(&words[..], [word] if word.contains("engine of jobs broke")), "{words:?}");
    }
}
