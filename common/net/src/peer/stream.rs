//! What comes back from a call, one by one.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redpoll_common::wire::Raw;
use redpoll_common::wire::flight::Progress;
use tokio::time::{Instant, timeout_at};

use super::{CallError, PeerShared};
use crate::command::Signal;
use crate::slot::CallSlot;

/// What a call gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallEvent {
    /// A value; they come in order, without gaps.
    Value(Raw),
    /// How far it is; only the newest is given.
    Progress(Progress),
    /// The answer. Nothing follows.
    End(Result<Raw, CallError>),
}

/// A call in flight. Dropping it before the end cancels the call.
#[derive(Debug)]
pub struct CallStream {
    shared: Arc<PeerShared>,
    slot: Arc<CallSlot>,
    ended: bool,
    /// When to give up if the driver says nothing.
    backstop: Instant,
    /// How long it was to be waited, for the error.
    timeout: Duration,
}

impl CallStream {
    pub(super) fn new(
        shared: Arc<PeerShared>,
        slot: Arc<CallSlot>,
        backstop: Instant,
        timeout: Duration,
    ) -> Self {
        Self { shared, slot, ended: false, backstop, timeout }
    }

    /// The next event; after the end, `None`. Cancel-safe.
    pub async fn next(&mut self) -> Option<CallEvent> {
        if self.ended {
            return None;
        }
        let event = match timeout_at(self.backstop, poll_fn(|cx| self.slot.poll_next(cx))).await {
            Ok(Some(event)) => event,
            Ok(None) => CallEvent::End(Err(CallError::Closed(self.shared.close_reason()))),
            Err(_elapsed) => {
                self.abandon();
                CallEvent::End(Err(CallError::TimedOut(self.timeout)))
            }
        };
        match &event {
            CallEvent::Value(value) => self.shared.signal(Signal::Consumed(self.slot.clone(), value.len())),
            CallEvent::Progress(_) => {}
            CallEvent::End(_) => self.ended = true,
        }
        Some(event)
    }

    /// Waits for the answer; values and progress that were not taken are dropped.
    pub(super) async fn answer(&mut self) -> Result<Raw, CallError> {
        while let Some(event) = self.next().await {
            if let CallEvent::End(result) = event {
                return result;
            }
        }
        Err(CallError::Closed(self.shared.close_reason()))
    }

    /// Asks the peer to stop, once; the answer still comes, by the call's deadline at the latest.
    pub fn cancel(&self) {
        if !self.slot.cancelled.swap(true, Ordering::AcqRel) {
            self.shared.signal(Signal::Cancel(self.slot.clone()));
        }
    }

    fn abandon(&self) {
        self.slot.abandoned.store(true, Ordering::Release);
        self.shared.signal(Signal::Abandon(self.slot.clone()));
    }
}

impl Drop for CallStream {
    fn drop(&mut self) {
        // nothing to cancel when the answer is there already
        if !self.ended && !self.slot.has_ended() {
            self.abandon();
        }
    }
}
