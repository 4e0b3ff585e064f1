//! The handle on a session: what everybody but its driver holds.

mod stream;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use redpoll_common::session::{CloseReason, MAX_TIMEOUT, OutgoingCall, Refusal, Terms, chain, credit};
use redpoll_common::wire::{Bye, Fault, FaultCode, Raw};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::command::{Command, Signal};
use crate::slot::{CallSlot, Waiter};
use crate::transport::PeerInfo;

pub use stream::{CallEvent, CallStream};

/// How long after its deadline a call is given up here although the driver has not said so: only a driver that cannot
/// even take it, because the peer hardly reads, is that late.
const BACKSTOP: Duration = Duration::from_secs(1);

/// A call to make.
#[derive(Debug, Clone)]
pub struct Call {
    /// An `rp.` method or a procedure.
    pub method: String,
    /// Positional arguments: an array.
    pub args: Raw,
    /// Named arguments: a map.
    pub kwargs: Raw,
    /// How long to wait, queueing included; more than [`MAX_TIMEOUT`] is cut to it.
    pub timeout: Duration,
    /// Identifies the call across programs.
    pub trace: Option<String>,
    /// For which operator a manager asks.
    pub operator: Option<String>,
    /// What that operator is; `None`: the manager does not say.
    pub roles: Option<Vec<String>>,
}

impl Call {
    /// A call without arguments.
    pub fn new(method: impl Into<String>, timeout: Duration) -> Self {
        Self {
            method: method.into(),
            args: Raw::empty_array(),
            kwargs: Raw::empty_map(),
            timeout,
            trace: None,
            operator: None,
            roles: None,
        }
    }

    /// The same with named arguments.
    pub fn with_kwargs(mut self, kwargs: Raw) -> Self {
        self.kwargs = kwargs;
        self
    }

    /// The same with positional arguments.
    pub fn with_args(mut self, args: Raw) -> Self {
        self.args = args;
        self
    }
}

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The peer answered with a fault.
    #[error("{0}")]
    Fault(Fault),
    /// No answer came in time. The peer was told to stop; it may have run.
    #[error("no answer within {} s", redpoll_common::rounding::rounded(*.0).as_secs_f32())]
    TimedOut(Duration),
    /// The session ended during the call. It may have run.
    #[error("the session ended during the call: {0}")]
    Closed(CloseReason),
    /// Nothing was sent.
    #[error("not sent: {0}")]
    Refused(Refusal),
}

impl CallError {
    /// The fault that tells a third party about it.
    pub fn into_fault(self) -> Fault {
        let text = self.to_string();
        match self {
            Self::Fault(fault) => fault,
            Self::TimedOut(_) => Fault::new(FaultCode::TimedOut, text),
            Self::Closed(_) => Fault::new(FaultCode::AgentGone, text),
            Self::Refused(Refusal::Closed(_)) => Fault::new(FaultCode::AgentAway, text),
            Self::Refused(Refusal::TooMany { .. }) => Fault::new(FaultCode::Overloaded, text),
            Self::Refused(Refusal::TooLarge { .. }) => Fault::new(FaultCode::TooLarge, text),
            Self::Refused(refusal @ (Refusal::TextOnly | Refusal::Unacceptable(_))) => {
                Fault::new(FaultCode::BadArguments, format!("not sent: {}", chain(&refusal)))
            }
        }
    }
}

/// What handles and driver share.
#[derive(Debug)]
pub(crate) struct PeerShared {
    pub(crate) info: Arc<PeerInfo>,
    pub(crate) terms: Terms,
    pub(crate) commands: mpsc::Sender<Box<Command>>,
    signals: Mutex<Vec<Signal>>,
    pub(crate) waker: AtomicWaker,
    reason: OnceLock<CloseReason>,
    closed: CancellationToken,
}

impl PeerShared {
    pub(crate) fn new(info: Arc<PeerInfo>, terms: Terms, commands: mpsc::Sender<Box<Command>>) -> Arc<Self> {
        Arc::new(Self {
            info,
            terms,
            commands,
            signals: Mutex::new(Vec::new()),
            waker: AtomicWaker::new(),
            reason: OnceLock::new(),
            closed: CancellationToken::new(),
        })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if self.closed.is_cancelled() {
            return;
        }
        self.signals.lock().unwrap_or_else(PoisonError::into_inner).push(signal);
        self.waker.wake();
    }

    pub(crate) fn take_signals(&self) -> Vec<Signal> {
        std::mem::take(&mut *self.signals.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn end(&self, reason: CloseReason) {
        let _first = self.reason.set(reason);
        self.closed.cancel();
    }

    pub(crate) fn close_reason(&self) -> CloseReason {
        self.reason.get().cloned().unwrap_or(CloseReason::Ended)
    }
}

/// A handle on the session with a peer. Cheap to clone; dropping it closes nothing.
#[derive(Debug, Clone)]
pub struct Peer {
    pub(crate) shared: Arc<PeerShared>,
}

impl Peer {
    /// Who the peer is.
    pub fn info(&self) -> &PeerInfo {
        &self.shared.info
    }

    /// What was agreed.
    pub fn terms(&self) -> &Terms {
        &self.shared.terms
    }

    /// Calls the peer and waits for the answer; values and progress are dropped. Dropping the future cancels the call.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, call: Call) -> Result<Raw, CallError> {
        self.launch(call, 0).await?.answer().await
    }

    /// Calls the peer and gives what comes, one by one. Dropping the stream cancels the call.
    ///
    /// # Errors
    /// [`CallError::Refused`] or [`CallError::TimedOut`] when it could not even be queued.
    pub async fn start(&self, call: Call) -> Result<CallStream, CallError> {
        let window = self.shared.terms.limits.window;
        // as many as credit allows: never full while the peer keeps the rules
        let capacity = usize::try_from(window / credit::MIN_COST).unwrap_or(1) + 1;
        self.launch(call, capacity).await
    }

    async fn launch(&self, call: Call, capacity: usize) -> Result<CallStream, CallError> {
        let Call { method, args, kwargs, timeout, trace, operator, roles } = call;
        let deadline = Instant::now() + timeout.min(MAX_TIMEOUT);
        let slot = CallSlot::new(capacity);
        let waiter = Waiter { slot: slot.clone(), timeout };
        let outgoing = OutgoingCall { method, args, kwargs, timeout, trace, operator, roles };
        let command = Box::new(Command::Call(outgoing, deadline, waiter));
        match timeout_at(deadline, self.shared.commands.send(command)).await {
            Ok(Ok(())) => {}
            Ok(Err(_closed)) => return Err(CallError::Refused(Refusal::Closed(self.shared.close_reason()))),
            Err(_elapsed) => return Err(CallError::TimedOut(timeout)),
        }
        Ok(CallStream::new(self.shared.clone(), slot, deadline + BACKSTOP, timeout))
    }

    /// Sends a one-way message, once there is room for it; a peer that makes no room is cut by the driver's write timeout.
    /// Dropping the future may or may not send it.
    ///
    /// # Errors
    /// [`Refusal`]; then nothing was sent.
    pub async fn notify(&self, kind: impl Into<String>, data: Raw) -> Result<(), Refusal> {
        let (done, sent) = oneshot::channel();
        let command = Box::new(Command::Notify(kind.into(), data, done));
        let closed = || Refusal::Closed(self.shared.close_reason());
        self.shared.commands.send(command).await.map_err(|_closed| closed())?;
        sent.await.unwrap_or_else(|_closed| Err(closed()))
    }

    /// Measures a round trip by a ping; `None` when the session ended first or too many pings are on the way. It waits as
    /// long as the session lives: the caller gives it a deadline.
    pub async fn ping(&self) -> Option<Duration> {
        let (done, pong) = oneshot::channel();
        self.shared.commands.send(Box::new(Command::Ping(done))).await.ok()?;
        pong.await.ok()
    }

    /// Says goodbye and closes, after what waits to be written.
    pub fn close(&self, bye: Bye) {
        self.shared.signal(Signal::Close(bye));
    }

    /// Says goodbye and closes as soon as no request is in flight in either direction, and what waited to be written is; until then the
    /// session goes on.
    pub fn finish(&self, bye: Bye) {
        self.shared.signal(Signal::Finish(bye));
    }

    /// Whether the session has ended.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.is_cancelled()
    }

    /// Waits until the session has ended. Cancel-safe.
    pub async fn closed(&self) -> CloseReason {
        self.shared.closed.cancelled().await;
        self.shared.close_reason()
    }
}
