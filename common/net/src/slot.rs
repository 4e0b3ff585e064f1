//! Everything that comes back from one call, in one allocation: the driver puts in, the caller takes out.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use redpoll_common::session::CallId;
use redpoll_common::wire::Raw;
use redpoll_common::wire::flight::Progress;

use crate::peer::{CallError, CallEvent};

/// What a call's caller and the driver share.
#[derive(Debug, Default)]
pub(crate) struct CallSlot {
    /// The number of the call, known once the driver has sent it.
    pub(crate) id: OnceLock<CallId>,
    /// Set before a cancel is signalled, which may overtake the call on its way to the driver.
    pub(crate) cancelled: AtomicBool,
    /// The same for an abandon: nobody looks at anything of it any more.
    pub(crate) abandoned: AtomicBool,
    inbox: Mutex<Inbox>,
    caller: AtomicWaker,
}

#[derive(Debug, Default)]
struct Inbox {
    /// As many as credit allows; 0 when values and progress are not wanted.
    capacity: usize,
    values: VecDeque<Raw>,
    progress: Option<Progress>,
    end: Option<Result<Raw, CallError>>,
    /// The driver is gone; without an end before it, the session's own end says why.
    gone: bool,
}

/// Why a value was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// Nobody looks at the values.
    Unwanted,
    /// More than credit allows are waiting.
    Full,
}

impl CallSlot {
    /// A slot that takes up to `capacity` values at a time; with 0 it takes the answer alone.
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        let inbox = Mutex::new(Inbox { capacity, ..Inbox::default() });
        Arc::new(Self { inbox, ..Self::default() })
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // nothing panics while it holds the lock
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next thing for the caller: values first, then the newest progress, then the end. The inner `None` says that the
    /// driver is gone without an answer.
    pub(crate) fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<CallEvent>> {
        self.caller.register(cx.waker());
        let mut inbox = self.inbox();
        if let Some(value) = inbox.values.pop_front() {
            return Poll::Ready(Some(CallEvent::Value(value)));
        }
        if let Some(progress) = inbox.progress.take() {
            return Poll::Ready(Some(CallEvent::Progress(progress)));
        }
        match inbox.end.take() {
            Some(result) => Poll::Ready(Some(CallEvent::End(result))),
            None if inbox.gone => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// Whether the end has come, taken or not.
    pub(crate) fn has_ended(&self) -> bool {
        let inbox = self.inbox();
        inbox.end.is_some() || inbox.gone
    }
}

/// The driver's side of a call. Dropping it tells the caller that nothing will come.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) slot: Arc<CallSlot>,
    /// How long it was to be waited, for the error.
    pub(crate) timeout: Duration,
}

impl Waiter {
    /// Gives the answer, or what came instead of one.
    pub(crate) fn end(self, result: Result<Raw, CallError>) {
        self.slot.inbox().end = Some(result);
        // the drop that follows wakes the caller
    }

    /// Gives a value.
    pub(crate) fn value(&self, value: Raw) -> Result<(), NotTaken> {
        let mut inbox = self.slot.inbox();
        if inbox.capacity == 0 || self.slot.abandoned.load(Ordering::Acquire) {
            return Err(NotTaken::Unwanted);
        }
        if inbox.values.len() >= inbox.capacity {
            return Err(NotTaken::Full);
        }
        inbox.values.push_back(value);
        drop(inbox);
        self.slot.caller.wake();
        Ok(())
    }

    /// Gives the newest progress, which replaces one that was not taken.
    pub(crate) fn progress(&self, progress: Progress) {
        let mut inbox = self.slot.inbox();
        if inbox.capacity > 0 {
            inbox.progress = Some(progress);
            drop(inbox);
            self.slot.caller.wake();
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.slot.inbox().gone = true;
        self.slot.caller.wake();
    }
}
