//! What serves a peer's requests: the seam between a connection's driver and the programs.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use redpoll_common::ids::RequestId;
use redpoll_common::session::machine::Counters;
use redpoll_common::session::{StopReason, credit};
use redpoll_common::wire::flight::Progress;
use redpoll_common::wire::{Fault, FaultCode, MAX_DEPTH, MAX_NODES, Notification, Raw, scan};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, mpsc};
use tokio::time::{Instant, timeout};

use crate::command::Command;
use crate::transport::PeerInfo;

/// How long a value of a cancelled request still waits for credit: the caller may read on, or may have gone.
const CREDIT_AFTER_CANCEL: Duration = Duration::from_secs(5);
/// Levels of nesting, and values, that a message puts around a value.
const AROUND_VALUE: (usize, usize) = (2, 12);

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
    /// Tells when to stop.
    pub stop: Stop,
    /// Takes values and progress.
    pub output: Output,
}

/// What the driver and the task that serves a request share.
#[derive(Debug)]
pub(crate) struct Shared {
    reason: OnceLock<StopReason>,
    stopped: Notify,
    credit: Semaphore,
    has_items: AtomicBool,
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
            stopped: Notify::new(),
            credit: Semaphore::new(permits),
            has_items: AtomicBool::new(false),
            progress: Mutex::default(),
        })
    }

    pub(crate) fn stop(&self, reason: StopReason) {
        // the first reason stays: a cancel that the closing connection repeats is still a cancel
        if self.reason.set(reason).is_ok() {
            self.stopped.notify_waiters();
        }
        match reason {
            StopReason::Closed | StopReason::TimedOut => self.answered(),
            StopReason::Cancelled => {}
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

/// Why a value was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// Nobody waits for it any more.
    #[error("the request has ended")]
    Ended,
    /// It nests too deep, or has too many values, to stand in a message.
    #[error("the value nests too deep or has too many values for a message")]
    TooDeep,
    /// It exceeds the frame limit that was agreed with the caller.
    #[error("a value of {len} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Its size in bytes.
        len: usize,
        /// The largest value that fits, in bytes.
        limit: usize,
    },
}

/// Takes the values and the progress of a request, on their way to the caller.
#[derive(Debug, Clone)]
pub struct Output {
    pub(crate) request: RequestId,
    pub(crate) shared: Arc<Shared>,
    pub(crate) items: mpsc::Sender<Box<Command>>,
    pub(crate) window: u64,
    pub(crate) value_limit: usize,
    /// The oldest peers know no values: they are dropped here.
    pub(crate) dropped: bool,
}

impl Output {
    /// The largest value that fits, in bytes.
    pub fn value_limit(&self) -> usize {
        self.value_limit
    }

    /// Sends a value, as soon as the caller has granted credit for it: this is the back-pressure.
    ///
    /// Dropping the future may lose the value, and nothing else. After a cancel it waits for credit for a few seconds
    /// at most; after the deadline, the answer or the end of the session it fails at once.
    ///
    /// # Errors
    /// [`OutputError`]; then the value was not sent.
    pub async fn value(&self, data: Raw) -> Result<(), OutputError> {
        if self.dropped {
            return Ok(());
        }
        let len = data.len();
        if len > self.value_limit {
            return Err(OutputError::TooLarge { len, limit: self.value_limit });
        }
        // where the rules of the receiver are broken, the value would be refused by the driver, too late to tell
        let fits = scan::measure(data.as_bytes()).is_ok_and(|cost| {
            let (levels, values) = AROUND_VALUE;
            cost.depth + levels <= MAX_DEPTH && cost.nodes + values <= MAX_NODES
        });
        if !fits {
            return Err(OutputError::TooDeep);
        }
        let credit = self.credit(credit::cost(len, self.window)).await?;
        self.shared.has_items.store(true, Ordering::Release);
        let value = Box::new(Command::Value(self.request.clone(), data));
        self.items.send(value).await.map_err(|_closed| OutputError::Ended)?;
        // spent only now: until the value is on its way, a drop gives the credit back
        credit.forget();
        Ok(())
    }

    async fn credit(&self, cost: u64) -> Result<SemaphorePermit<'_>, OutputError> {
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        if let Ok(permit) = self.shared.credit.try_acquire_many(cost) {
            return Ok(permit);
        }
        let mut granted = std::pin::pin!(self.shared.credit.acquire_many(cost));
        let stop = Stop { shared: self.shared.clone() };
        let granted = tokio::select! {
            biased;
            granted = &mut granted => granted,
            _reason = stop.stopped() => {
                timeout(CREDIT_AFTER_CANCEL, granted).await.map_err(|_elapsed| OutputError::Ended)?
            }
        };
        granted.map_err(|_closed| OutputError::Ended)
    }

    /// Sends how far the request is. Only the newest counts: while the connection is busy, it replaces the one before.
    pub fn progress(&self, completed: u64, total: Option<u64>, details: Raw) {
        let progress = Progress { completed, total, details };
        self.forward_progress(progress);
    }

    /// Passes on progress that came from somewhere else.
    pub fn forward_progress(&self, progress: Progress) {
        if self.dropped {
            return;
        }
        self.shared.has_items.store(true, Ordering::Release);
        let mut latest = self.shared.latest();
        latest.progress = Some(progress);
        if !latest.told {
            // full: the request's next value or its answer takes it along
            latest.told = self.items.try_send(Box::new(Command::Progress(self.request.clone()))).is_ok();
        }
    }
}

/// A call that belongs to no connection, for tests of whatever serves calls.
///
/// The returned receiver gives the values; credit is unlimited up to the window of 16 MiB.
pub fn detached_call(
    caller: PeerInfo,
    method: &str,
    args: Raw,
    kwargs: Raw,
) -> (CallContext, DetachedOutput, StopHandle) {
    let window = redpoll_common::session::terms::MAX_WINDOW;
    let shared = Shared::new(window);
    let (items, receiver) = mpsc::channel(64);
    let request = RequestId::numbered(0, 0);
    let output = Output {
        request: request.clone(),
        shared: shared.clone(),
        items,
        window,
        value_limit: redpoll_common::wire::DEFAULT_FRAME_LIMIT,
        dropped: false,
    };
    let call = CallContext {
        caller: Arc::new(caller),
        request,
        method: method.to_owned(),
        args,
        kwargs,
        deadline: None,
        trace: None,
        stop: Stop { shared: shared.clone() },
        output,
    };
    (call, DetachedOutput { receiver, shared: shared.clone() }, StopHandle { shared })
}

/// The values and progress of a [`detached_call`].
#[derive(Debug)]
pub struct DetachedOutput {
    receiver: mpsc::Receiver<Box<Command>>,
    shared: Arc<Shared>,
}

impl DetachedOutput {
    /// The next value or progress; `None` when the call's output was dropped.
    pub async fn next(&mut self) -> Option<Result<Raw, Progress>> {
        loop {
            match *self.receiver.recv().await? {
                Command::Value(_, data) => {
                    let window = redpoll_common::session::terms::MAX_WINDOW;
                    self.shared.grant(credit::cost(data.len(), window));
                    return Some(Ok(data));
                }
                Command::Progress(_) => {
                    if let Some(progress) = self.shared.take_progress() {
                        return Some(Err(progress));
                    }
                }
                Command::Call(..) | Command::Notify(..) | Command::Respond(..) | Command::Ping(..) => {}
            }
        }
    }
}

/// Stops a [`detached_call`].
#[derive(Debug)]
pub struct StopHandle {
    shared: Arc<Shared>,
}

impl StopHandle {
    /// Stops it.
    pub fn stop(&self, reason: StopReason) {
        self.shared.stop(reason);
    }
}
