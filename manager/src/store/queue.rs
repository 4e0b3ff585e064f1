//! The bounded queue between those who commit and the one thread that writes.
//!
//! A call belongs to the *epoch* in which it was made. Whoever takes the state from the store anew begins the next epoch, and finds all
//! calls of those before it answered: what was not written by then never will be.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    pub(super) epoch: u64,
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

/// An epoch begins.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) epoch: u64,
    tell: oneshot::Sender<()>,
    _place: OwnedSemaphorePermit,
}

impl Beginning {
    /// Nothing of an earlier epoch will be written from here on.
    pub(super) fn begun(self) {
        let _ = self.tell.send(());
    }
}

#[derive(Debug)]
enum Entry {
    Call(Call),
    Beginning(Beginning),
}

/// What the writer takes at one time.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) calls: Vec<Call>,
    /// What comes after these calls.
    pub(super) then: Option<Beginning>,
}

/// The callers' end.
#[derive(Debug, Clone)]
pub(super) struct Intake {
    places: Arc<Semaphore>,
    entries: SyncSender<Entry>,
    epoch: Arc<AtomicU64>,
}

/// The writer's end.
#[derive(Debug)]
pub(super) struct Outlet {
    entries: Receiver<Entry>,
}

/// A queue with its two ends.
pub(super) fn queue() -> (Intake, Outlet) {
    let (send, entries) = sync_channel(QUEUE_BYTES / CALL_BYTES);
    let places = Arc::new(Semaphore::new(QUEUE_BYTES / UNIT));
    (Intake { places, entries: send, epoch: Arc::default() }, Outlet { entries })
}

impl Intake {
    /// The epoch of a call that is made now, however long it waits for its place.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Waits for a place, then hands the changes over.
    pub(super) async fn push(&self, changes: Vec<Change>, epoch: u64) -> Durable {
        let bytes = changes.iter().map(weight).sum::<usize>();
        let Some(place) = self.place(counted(&changes)).await else {
            return Durable::settled(Err(CommitError::Stopped));
        };
        let (tell, told) = oneshot::channel();
        // never full: there are no more places than the channel has room for; an error drops the call, which tells its caller
        let _ = self.entries.try_send(Entry::Call(Call { changes, epoch, bytes, tell, _place: place }));
        Durable(told)
    }

    /// Calls that are made from here on are of the epoch that this gives.
    pub(super) fn next_epoch(&self) -> u64 {
        self.epoch.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Waits until no call of an earlier epoch is written any more. `None` when the writer has stopped.
    pub(super) async fn begin(self, epoch: u64) -> Option<()> {
        let place = self.place(CALL_BYTES).await?;
        let (tell, told) = oneshot::channel();
        // as above
        let _ = self.entries.try_send(Entry::Beginning(Beginning { epoch, tell, _place: place }));
        // the writer ends when nobody can ask any more
        drop(self);
        told.await.ok()
    }

    async fn place(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        self.places.clone().acquire_many_owned(units).await.ok()
    }
}

impl Outlet {
    /// The next calls, in the order they came: what waits, up to the bounds of a group, or to where an epoch begins. Waits for the
    /// first at most `patience`. `Ok` and empty when the time is up, `Err` when there will be no more calls.
    pub(super) fn group(&self, patience: Duration) -> Result<Group, Closed> {
        let mut next = match self.entries.recv_timeout(patience) {
            Ok(entry) => Ok(entry),
            Err(RecvTimeoutError::Timeout) => return Ok(Group::default()),
            Err(RecvTimeoutError::Disconnected) => return Err(Closed),
        };
        let (mut bytes, mut calls) = (0, Vec::new());
        loop {
            match next {
                Ok(Entry::Call(call)) => {
                    bytes += call.bytes;
                    calls.push(call);
                }
                Ok(Entry::Beginning(then)) => return Ok(Group { calls, then: Some(then) }),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
            if calls.len() >= GROUP_CALLS || bytes >= GROUP_BYTES {
                break;
            }
            next = self.entries.try_recv();
        }
        Ok(Group { calls, then: None })
    }
}

/// All callers' ends are gone, and everything they handed over was taken.
#[derive(Debug)]
pub(super) struct Closed;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use redpoll_common::ids::PeerId;
    use redpoll_common::job::Dno;
    use redpoll_manager_core::jobs::record::AgentCounters;

    use super::*;

    fn changes(number: u64) -> Vec<Change> {
        let agent = PeerId::parse("a1").unwrap();
        vec![Change::AgentCounters(AgentCounters {
            agent,
            spool: None,
            last_dno: Dno(number),
            seen_dno: Dno(0),
        })]
    }

    #[tokio::test]
    async fn what_waits_is_one_group_up_to_its_bound_and_to_where_an_epoch_begins() {
        let (intake, outlet) = queue();
        for number in 0..50 {
            let _durable = intake.push(changes(number), 0).await;
        }
        let group = outlet.group(Duration::ZERO).unwrap();
        assert_eq!(group.calls.len(), 50, "one sync for all that came meanwhile");
        let told: Vec<_> = group.calls.iter().map(|call| call.changes.clone()).collect();
        assert_eq!(told, (0..50).map(changes).collect::<Vec<_>>(), "in their order");
        drop(group);

        for number in 0..u64::try_from(GROUP_CALLS).unwrap() + 3 {
            let _durable = intake.push(changes(number), 0).await;
        }
        let epoch = intake.next_epoch();
        let mut begun = Box::pin(intake.clone().begin(epoch));
        assert_eq!((&mut begun).now_or_never(), None, "what came before is not written yet");
        let _durable = intake.push(changes(7), epoch).await;
        let taken = || {
            let group = outlet.group(Duration::ZERO).unwrap();
            let found = (group.calls.len(), group.then.is_some());
            if let Some(then) = group.then {
                then.begun();
            }
            found
        };
        assert_eq!(
            [taken(), taken(), taken(), taken()],
            [(GROUP_CALLS, false), (3, true), (1, false), (0, false)]
        );
        assert_eq!(begun.await, Some(()));
        drop(intake);
        assert!(outlet.group(Duration::ZERO).is_err());
    }
}
