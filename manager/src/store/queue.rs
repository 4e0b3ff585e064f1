//! The bounded queue between those who commit and the one thread that writes.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::task::{Context, Poll};
use std::time::Duration;

use redpoll_manager_core::jobs::record::Change;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::CommitError;
use super::weight::weight;

/// Bytes of changes that may wait for the writer or be with it. When they are used up, callers wait in their order.
pub const QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// What the smallest call counts for, in bytes; so at most 2,048 calls wait.
pub const CALL_BYTES: usize = 16 * 1024;
/// How many calls one group commit takes at most: what one fsync is shared by.
pub const GROUP_CALLS: usize = 512;
/// Bytes of changes after which a group takes no further call.
pub const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// The unit of the semaphore, in bytes.
const UNIT: usize = 1024;

/// What changes that are handed over together count for while they wait, in bytes.
pub fn counted(changes: &[Change]) -> usize {
    changes.iter().map(weight).sum::<usize>().clamp(CALL_BYTES, QUEUE_BYTES)
}

/// Resolves when the changes that were handed over are on disk, or will never be.
///
/// Dropping it takes nothing back: what was handed over is written.
#[derive(Debug)]
#[must_use = "nothing that follows from the changes may be done before this resolves"]
pub struct Durable(oneshot::Receiver<Result<(), CommitError>>);

impl Future for Durable {
    type Output = Result<(), CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|told| told.unwrap_or(Err(CommitError::Stopped)))
    }
}

impl Durable {
    /// One that is answered by whoever holds the other end, for stores outside of this crate.
    pub fn pending() -> (oneshot::Sender<Result<(), CommitError>>, Self) {
        let (tell, told) = oneshot::channel();
        (tell, Self(told))
    }

    /// One that has its answer already.
    pub(super) fn settled(answer: Result<(), CommitError>) -> Self {
        let (tell, told) = oneshot::channel();
        // the receiver is here
        let _ = tell.send(answer);
        Self(told)
    }
}

/// One call: changes that are applied together or not at all.
pub(super) struct Call {
    pub(super) changes: Vec<Change>,
    bytes: usize,
    tell: oneshot::Sender<Result<(), CommitError>>,
    /// Goes back when the call is answered: changes being written count too.
    _place: OwnedSemaphorePermit,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({} changes)", self.changes.len())
    }
}

impl Call {
    /// Tells the caller. One who no longer listens does not matter.
    pub(super) fn answer(self, answer: Result<(), CommitError>) {
        let _ = self.tell.send(answer);
    }
}

/// The callers' end.
#[derive(Debug, Clone)]
pub(super) struct Intake {
    places: Arc<Semaphore>,
    calls: SyncSender<Call>,
}

/// The writer's end.
#[derive(Debug)]
pub(super) struct Outlet {
    calls: Receiver<Call>,
}

/// A queue with its two ends.
pub(super) fn queue() -> (Intake, Outlet) {
    let (send, calls) = sync_channel(QUEUE_BYTES / CALL_BYTES);
    (Intake { places: Arc::new(Semaphore::new(QUEUE_BYTES / UNIT)), calls: send }, Outlet { calls })
}

impl Intake {
    /// Waits for a place, then hands the changes over.
    pub(super) async fn push(&self, changes: Vec<Change>) -> Durable {
        let bytes = changes.iter().map(weight).sum::<usize>();
        let units = u32::try_from(counted(&changes).div_ceil(UNIT)).unwrap_or(u32::MAX);
        let Ok(place) = self.places.clone().acquire_many_owned(units).await else {
            return Durable::settled(Err(CommitError::Stopped));
        };
        let (tell, told) = oneshot::channel();
        // never full: there are no more places than the channel has room for; an error drops the call, which tells its caller
        let _ = self.calls.try_send(Call { changes, bytes, tell, _place: place });
        Durable(told)
    }
}

impl Outlet {
    /// The next calls, in the order they came: what waits, up to the bounds of a group. Waits for the first at most
    /// `patience`. `Ok` and empty when the time is up, `Err` when there will be no more calls.
    pub(super) fn group(&self, patience: Duration) -> Result<Vec<Call>, Closed> {
        let first = match self.calls.recv_timeout(patience) {
            Ok(call) => call,
            Err(RecvTimeoutError::Timeout) => return Ok(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => return Err(Closed),
        };
        let mut bytes = first.bytes;
        let mut group = vec![first];
        while group.len() < GROUP_CALLS && bytes < GROUP_BYTES {
            match self.calls.try_recv() {
                Ok(call) => {
                    bytes += call.bytes;
                    group.push(call);
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        Ok(group)
    }
}

/// All callers' ends are gone, and everything they handed over was taken.
#[derive(Debug)]
pub(super) struct Closed;
