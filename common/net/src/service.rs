//! What serves a peer's requests: the seam between a connection's driver and the programs.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures_util::future::BoxFuture;
use redpoll_common::ids::RequestId;
use redpoll_common::session::StopReason;
use redpoll_common::session::machine::Counters;
use redpoll_common::wire::flight::Progress;
use redpoll_common::wire::{Fault, FaultCode, Notification, Raw};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::transport::PeerInfo;

mod detached;
mod mask;
mod output;
mod run;

pub use detached::{DetachedOutput, StopHandle, detached_call, detached_call_within};
pub use mask::Mask;
pub(crate) use mask::Streams;
pub(crate) use output::Sink;
pub use output::{Output, OutputError};
pub use run::{RunContext, RunEvent, RunOutput, own_call, run_call};

/// What serves the requests and notifications of a connection's peer.
///
/// Both are called by the connection's driver, in the order in which the peer sent them. A panic in either, or in the
/// future, becomes the fault `internal` and an ERROR in the log.
pub trait Service: Send + Sync + fmt::Debug {
    /// Takes a request, without waiting. The future becomes a task of its own; exactly one answer follows from it.
    ///
    /// What fails before anything runs (no such method, no right to it) is a [`Running::refused`].
    fn start(&self, call: CallContext) -> Running;

    /// Takes a notification. Must not wait.
    fn notified(&self, from: &PeerInfo, notification: Notification);

    /// Takes what the session counted since the last time: what is survived but worth knowing.
    fn counted(&self, _more: Counters) {}
}

/// A request being served.
#[must_use = "the future must be run, or the request is never answered"]
pub struct Running {
    /// Gives the answer.
    pub answer: BoxFuture<'static, Result<Raw, Fault>>,
    /// Whether the future watches [`CallContext::stop`] itself and ends soon after. Otherwise it is dropped on a stop
    /// and the driver answers `cancelled` or `timed_out`.
    pub graceful: bool,
}

impl Running {
    /// The answer to a request that is not run at all.
    pub fn refused(fault: Fault) -> Self {
        Self { answer: Box::pin(std::future::ready(Err(fault))), graceful: true }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("graceful", &self.graceful).finish_non_exhaustive()
    }
}

/// A request, with everything that serving it needs.
#[derive(Debug)]
pub struct CallContext {
    /// Who calls.
    pub caller: Arc<PeerInfo>,
    /// The request's id.
    pub request: RequestId,
    /// The method as it was called, `name` or `name@version`.
    pub method: String,
    /// Positional arguments.
    pub args: Raw,
    /// Named arguments.
    pub kwargs: Raw,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// Identifies the call across programs.
    pub trace: Option<String>,
    /// For whom a manager asks, by its own word; of a run of a job, who submitted it. It is not the caller, which
    /// [`caller`](Self::caller) is.
    pub operator: Option<String>,
    /// What that is, by a manager's word; `None`: it does not say.
    pub roles: Option<Vec<String>>,
    /// As which user a program has to run, whatever describes it: the policy of the machine's owner says so.
    pub run_as: Option<String>,
    /// Tells when to stop.
    pub stop: Stop,
    /// Takes values and progress.
    pub output: Output,
    /// Which run of a job it is; `None` for a call.
    pub run: Option<Arc<RunContext>>,
}

impl CallContext {
    /// Lets go of the arguments, which have been read: what waits for long holds nothing that it does not need.
    pub fn release_arguments(&mut self) {
        (self.args, self.kwargs) = (Raw::empty_array(), Raw::empty_map());
    }
}

/// What the driver and the task that serves a request share.
#[derive(Debug)]
pub(crate) struct Shared {
    reason: OnceLock<StopReason>,
    /// Nobody waits for the answer any more.
    gone: AtomicBool,
    /// One of both has changed.
    stopped: Notify,
    credit: Semaphore,
    has_items: AtomicBool,
    /// A time limit of what serves it has passed.
    timed_out: AtomicBool,
    progress: Mutex<LatestProgress>,
}

#[derive(Debug, Default)]
struct LatestProgress {
    progress: Option<Progress>,
    /// Whether the driver has been told that there is one.
    told: bool,
}

impl Shared {
    pub(crate) fn new(window: u64) -> Arc<Self> {
        let permits = usize::try_from(window).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            reason: OnceLock::new(),
            gone: AtomicBool::new(false),
            stopped: Notify::new(),
            credit: Semaphore::new(permits),
            has_items: AtomicBool::new(false),
            timed_out: AtomicBool::new(false),
            progress: Mutex::default(),
        })
    }

    pub(crate) fn stop(&self, reason: StopReason) {
        // the first reason stays: a cancel that the closing connection repeats is still a cancel
        let is_first = self.reason.set(reason).is_ok();
        let is_last = match reason {
            StopReason::Closed | StopReason::TimedOut => {
                self.answered();
                !self.gone.swap(true, Ordering::AcqRel)
            }
            StopReason::Cancelled => false,
        };
        if is_first || is_last {
            self.stopped.notify_waiters();
        }
    }

    /// Nobody waits for values any more.
    pub(crate) fn answered(&self) {
        self.credit.close();
    }

    pub(crate) fn grant(&self, bytes: u64) {
        self.credit.add_permits(usize::try_from(bytes).unwrap_or(0));
    }

    pub(crate) fn has_items(&self) -> bool {
        self.has_items.load(Ordering::Acquire)
    }

    /// The newest progress, if the driver has not taken it yet.
    pub(crate) fn take_progress(&self) -> Option<Progress> {
        let mut latest = self.latest();
        latest.told = false;
        latest.progress.take()
    }

    fn latest(&self) -> MutexGuard<'_, LatestProgress> {
        // nothing panics while it holds the lock
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the one who serves a request when to stop.
#[derive(Debug, Clone)]
pub struct Stop {
    pub(crate) shared: Arc<Shared>,
}

impl Stop {
    /// Waits until the request should stop. Cancel-safe, and immediate once it did.
    pub async fn stopped(&self) -> StopReason {
        loop {
            let notified = self.shared.stopped.notified();
            if let Some(reason) = self.shared.reason.get() {
                return *reason;
            }
            notified.await;
        }
    }

    /// Waits until nobody waits for the answer any more, which may be after a cancel. Cancel-safe, and immediate once it is so.
    pub async fn gone(&self) {
        loop {
            let notified = self.shared.stopped.notified();
            if self.shared.gone.load(Ordering::Acquire) {
                return;
            }
            notified.await;
        }
    }

    /// Why the request should stop, if it should.
    pub fn reason(&self) -> Option<StopReason> {
        self.shared.reason.get().copied()
    }
}

/// The fault that answers a request which was stopped.
pub fn stop_fault(reason: StopReason) -> Fault {
    match reason {
        StopReason::Cancelled => Fault::new(FaultCode::Cancelled, "cancelled by the caller"),
        StopReason::Closed => Fault::new(FaultCode::Cancelled, "the caller's connection ended"),
        StopReason::TimedOut => Fault::new(FaultCode::TimedOut, "the caller's time limit passed"),
    }
}
