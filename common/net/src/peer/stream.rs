//! What comes back from a call, one by one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redpoll_common::wire::Raw;
use redpoll_common::wire::flight::Progress;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::{CallError, PeerShared};
use crate::command::{CallKey, Signal};

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

#[derive(Debug)]
struct Items {
    values: mpsc::Receiver<Raw>,
    progress: Option<watch::Receiver<Option<Progress>>>,
}

/// A call in flight. Dropping it before the end cancels the call.
#[derive(Debug)]
pub struct CallStream {
    shared: Arc<PeerShared>,
    key: Arc<CallKey>,
    items: Option<Items>,
    answer: Option<oneshot::Receiver<Result<Raw, CallError>>>,
    /// When to give up if the driver says nothing.
    backstop: Instant,
    /// How long it was to be waited, for the error.
    timeout: Duration,
}

impl CallStream {
    pub(super) fn new(
        shared: Arc<PeerShared>,
        key: Arc<CallKey>,
        answer: oneshot::Receiver<Result<Raw, CallError>>,
        (backstop, timeout): (Instant, Duration),
    ) -> Self {
        Self { shared, key, items: None, answer: Some(answer), backstop, timeout }
    }

    pub(super) fn with_items(
        mut self,
        values: mpsc::Receiver<Raw>,
        progress: watch::Receiver<Option<Progress>>,
    ) -> Self {
        self.items = Some(Items { values, progress: Some(progress) });
        self
    }

    /// The next event; after the end, `None`. Cancel-safe.
    pub async fn next(&mut self) -> Option<CallEvent> {
        self.answer.as_ref()?;
        match timeout_at(self.backstop, self.next_item()).await {
            Ok(Some(event)) => Some(event),
            Ok(None) | Err(_) => Some(CallEvent::End(self.answer().await)),
        }
    }

    async fn next_item(&mut self) -> Option<CallEvent> {
        let items = self.items.as_mut()?;
        loop {
            // Values first: they are what must not be lost or late. The values' channel ends when the call does.
            let progress = async {
                match items.progress.as_mut() {
                    Some(progress) => progress.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                value = items.values.recv() => {
                    let Some(value) = value else {
                        let last = items.progress.take().filter(|p| p.borrow().has_changed());
                        self.items = None;
                        return last.and_then(|p| p.borrow().clone()).map(CallEvent::Progress);
                    };
                    self.shared.signal(Signal::Consumed(self.key.clone(), value.len()));
                    return Some(CallEvent::Value(value));
                }
                changed = progress => {
                    if changed.is_err() {
                        items.progress = None;
                        continue;
                    }
                    let newest = items.progress.as_mut().and_then(|p| p.borrow_and_update().clone());
                    if let Some(progress) = newest {
                        return Some(CallEvent::Progress(progress));
                    }
                }
            }
        }
    }

    /// Waits for the answer; values and progress that were not taken are dropped.
    pub(super) async fn answer(&mut self) -> Result<Raw, CallError> {
        let ended = || CallError::Closed(self.shared.close_reason());
        let Some(answer) = self.answer.as_mut() else { return Err(ended()) };
        let result = match timeout_at(self.backstop, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_dropped| Err(ended())),
            Err(_elapsed) => {
                self.abandon();
                Err(CallError::TimedOut(self.timeout))
            }
        };
        self.answer = None;
        result
    }

    /// Asks the peer to stop, once; the answer still comes, by the call's deadline at the latest.
    pub fn cancel(&self) {
        if !self.key.cancelled.swap(true, Ordering::AcqRel) {
            self.shared.signal(Signal::Cancel(self.key.clone()));
        }
    }

    fn abandon(&self) {
        self.key.abandoned.store(true, Ordering::Release);
        self.shared.signal(Signal::Abandon(self.key.clone()));
    }
}

impl Drop for CallStream {
    fn drop(&mut self) {
        if let Some(mut answer) = self.answer.take() {
            // nothing to cancel when the answer is there already
            if answer.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
                self.abandon();
            }
        }
    }
}
