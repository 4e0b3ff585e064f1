//! What handles ask of a connection's driver.

use std::sync::Arc;
use std::time::Duration;

use redpoll_common::ids::RequestId;
use redpoll_common::session::{OutgoingCall, Refusal};
use redpoll_common::wire::{Bye, Fault, Raw};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::slot::{CallSlot, Waiter};

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
    Cancel(Arc<CallSlot>),
    /// The same, and nobody wants the answer.
    Abandon(Arc<CallSlot>),
    /// A value of this many bytes was taken.
    Consumed(Arc<CallSlot>, usize),
    /// Say goodbye and close.
    Close(Bye),
    /// The same as soon as no request is in flight in either direction.
    Finish(Bye),
}
