//! Recurring procedures: run by the agent itself, and told to the manager when it is there.
//!
//! When something runs decides [`redpoll_common::schedule`]. Here is what does it:
//!
//! - [`Recurring`]: the handle. `driver`: the one task that owns the schedules. `run`: one run, from its note to its record.
//! - [`outbox`]: what is not told yet, on disk. `record`: its form there. `fit`: what it has room for. `teller`: tells it.

mod collect;
mod driver;
mod fit;
pub mod outbox;
pub mod record;
mod run;
mod teller;

use std::sync::Arc;
use std::time::Duration;

use redpoll_common::schedule::Timing;
use redpoll_common::wire::Raw;
use redpoll_config::ProcedureSchedule;
use redpoll_exec::Places;
use redpoll_net::transport::PeerInfo;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::manager::Manager;
use crate::offered::Offered;
use outbox::{Outbox, OutboxError, OutboxOptions};

pub use driver::Driver;

/// What runs by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The schedule's name, one of its own; that of its procedure, as a rule.
    pub name: String,
    /// The procedure, `name` or `name@version`.
    pub procedure: String,
    /// When, and with which arguments.
    pub schedule: ProcedureSchedule,
}

impl Entry {
    fn timing(&self) -> Timing {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let ProcedureSchedule { every, jitter, at_start, kwargs: _ } = &self.schedule;
        Timing { every_ms: ms(*every), jitter_ms: ms(*jitter), at_start: *at_start }
    }

    fn kwargs(&self) -> Result<Raw, String> {
        Raw::encode(&self.schedule.kwargs).map_err(|error| error.to_string())
    }
}

/// What no run may exceed.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Places for calls, shared with those of the manager.
    pub places: Places,
    /// The longest run; `None`: no limit.
    pub run_timeout: Option<Duration>,
    /// How long a run that was asked to end may take for it.
    pub grace: Duration,
    /// The largest frame that the agent sends, in bytes.
    pub frame_limit: usize,
    /// How long the manager may take to answer.
    pub answer_timeout: Duration,
}

/// What recurring procedures need of the agent around them.
#[derive(Debug, Clone)]
pub struct Around {
    /// The agent itself, as the caller.
    pub own: Arc<PeerInfo>,
    /// What it offers.
    pub offered: Arc<Offered>,
    /// Whom it tells.
    pub manager: Manager,
    /// What no run may exceed.
    pub bounds: Bounds,
}

/// A handle on the recurring procedures. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recurring {
    entries: Arc<watch::Sender<Vec<Entry>>>,
    running: watch::Receiver<usize>,
    drain: CancellationToken,
    end: CancellationToken,
    kill: CancellationToken,
}

/// How much longer than it was given a run may take to say its last word, before it is told as ended without one.
const LAST_WORD: Duration = Duration::from_millis(500);

impl Recurring {
    /// Opens the outbox in `folder`, which is made if it is missing. Nothing runs before the [`Driver`] is run.
    ///
    /// Run it while nobody else may have the folder: the lock of the spool beside it says so.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub fn open(
        folder: &std::path::Path,
        options: OutboxOptions,
        around: Around,
    ) -> Result<(Self, Driver), OutboxError> {
        let outbox = Arc::new(outbox::Shared::new(Outbox::open(folder, options)?));
        let (entries, wanted) = watch::channel(Vec::new());
        let (count, running) = watch::channel(0);
        let [drain, end, kill] = std::array::from_fn(|_| CancellationToken::new());
        let stops = (drain.clone(), end.clone(), kill.clone());
        let driver = Driver::new(around, outbox, (wanted, count), stops);
        Ok((Self { entries: Arc::new(entries), running, drain, end, kill }, driver))
    }

    /// What shall run from now on: at the start, and after each reload. What stays goes on as it was, what runs is not touched.
    pub fn set(&self, entries: Vec<Entry>) {
        self.entries.send_replace(entries);
    }

    /// From now on nothing is started.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Waits until nothing runs.
    pub async fn idle(&self) {
        let mut running = self.running.clone();
        // an error means that the driver has ended
        let _idle = running.wait_for(|running| *running == 0).await;
    }

    /// Asks what runs to end, and ends what has not after `grace`; returns when all of it is recorded. May be called again with
    /// less.
    pub async fn end(&self, grace: Duration) {
        self.drain();
        self.end.cancel();
        if timeout(grace.saturating_add(LAST_WORD), self.idle()).await.is_err() {
            self.kill.cancel();
            self.idle().await;
        }
    }
}

/// Spawns what keeps recurring procedures going.
pub(crate) fn spawn(driver: Driver, tracker: &TaskTracker) {
    tracker.spawn(driver.run(tracker.clone()));
}
