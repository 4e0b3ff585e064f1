//! What handles ask of a connection's driver.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redpoll_common::ids::RequestId;
use redpoll_common::session::{CallId, OutgoingCall, Refusal};
use redpoll_common::wire::flight::Progress;
use redpoll_common::wire::{Bye, Fault, Raw};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::peer::CallError;

/// A request to the driver that may have to wait for room.
#[derive(Debug)]
pub(crate) enum Command {
    /// Send a request; the deadline holds from when it was asked, not from when it is sent.
    Call(OutgoingCall, Instant, Waiter),
    /// Send a notification.
    Notify(String, Raw, oneshot::Sender<Result<(), Refusal>>),
    /// Answer a request of the peer.
    Respond(RequestId, Result<Raw, Fault>),
    /// Send a value of a request of the peer; its credit was acquired.
    Value(RequestId, Raw),
    /// There is news of how far a request of the peer is.
    Progress(RequestId),
    /// Measure a round trip.
    Ping(oneshot::Sender<Duration>),
}

/// What must reach the driver even when its queues are full. Their number is bounded by the requests in flight and
/// by the values that credit allows.
#[derive(Debug)]
pub(crate) enum Signal {
    /// Ask the peer to stop a request; its answer is still wanted.
    Cancel(Arc<CallKey>),
    /// The same, and nobody wants the answer.
    Abandon(Arc<CallKey>),
    /// A value of this many bytes was taken.
    Consumed(Arc<CallKey>, usize),
    /// Say goodbye and close.
    Close(Bye),
    /// The same as soon as no request is in flight in either direction.
    Finish(Bye),
}

/// The number of a call, known once the driver has sent it.
#[derive(Debug, Default)]
pub(crate) struct CallKey {
    pub(crate) id: OnceLock<CallId>,
    /// Set before a cancel is signalled, which may overtake the call on its way to the driver.
    pub(crate) cancelled: AtomicBool,
    /// The same for an abandon.
    pub(crate) abandoned: AtomicBool,
}

/// Who waits for a call.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) key: Arc<CallKey>,
    /// How long it was to be waited, for the error.
    pub(crate) timeout: Duration,
    pub(crate) end: oneshot::Sender<Result<Raw, CallError>>,
    /// Absent when values and progress are not wanted.
    pub(crate) items: Option<ItemSink>,
}

/// Where values and progress of a call go.
#[derive(Debug)]
pub(crate) struct ItemSink {
    /// As long as the largest number of values that credit allows, so it is never full.
    pub(crate) values: mpsc::Sender<Raw>,
    pub(crate) progress: watch::Sender<Option<Progress>>,
}
