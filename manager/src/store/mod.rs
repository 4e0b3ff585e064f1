//! Where jobs are kept: what [`Change`]s say is written durably, and what was written is found again.
//!
//! - [`Store`]: the one trait; [`Sqlite`] keeps it on disk, [`Memory`] is for tests. One conformance suite runs on both.
//! - [`queue`]: the bounded queue to the one thread that writes; its numbers, and what happens when it is full.
//! - [`Filter`]: which jobs are listed. [`items`]: how items lie in chunks; [`spec`]: how the parts of a job that nobody filters by are written down.
//! - [`chain`]: the hashes over the history, and whether they fit. [`faults`]: failures on demand, for tests.
//!
//! **Writing.** A call's changes are applied together or not at all, calls in the order in which they were handed over. The
//! answer comes when they are on disk. Calls that wait at the same moment share one transaction and one fsync.
//!
//! **When the disk is full** the order of calls must not break: who gave changes away has already gone on in memory. So new
//! work is turned away *before* it becomes changes: ask [`Store::admit`] first. From the first write that finds the disk full
//! the store lives on its reserve: what is under way can still be recorded, [`Store::room`] says [`Room::Reserve`], and
//! `admit` refuses. If the reserve is used up too ([`Room::Nothing`]), calls wait, in their order, for space; a caller sees
//! [`CommitError::Full`] only after the store's patience, and so does everybody behind, until somebody recovers. Reading goes on all the time, and nothing has to be restarted.
//!
//! **When the disk fails** (a write or fsync error, a damaged file) nobody knows what is stored, so the process says so and aborts.

use std::fmt;

use futures_util::future::BoxFuture;
use redpoll_common::ids::PeerId;
use redpoll_common::job::{Attempt, Item, JobId, Outcome, RunKey, Submitter};
use redpoll_common::wire::Fault;
use redpoll_manager_core::jobs::record::{
    CallbackRecord, Change, JobRecord, Progress, Records, RunRecord, Summary,
};
use redpoll_manager_core::jobs::{EndedJob, Whose};

use crate::clock::Clock;
use chain::{Begin, Verified};

mod abort;
pub mod chain;
pub mod faults;
mod filter;
pub mod items;
pub mod memory;
pub mod queue;
pub mod spec;
pub mod sqlite;
mod stored_event;
mod weight;

pub use abort::AbortHook;
pub use faults::Faults;
pub use filter::{Filter, Page, Whereabouts};
pub use memory::Memory;
pub use queue::Durable;
pub use sqlite::{OpenError, Options, Sqlite};
pub use stored_event::{StoredEvent, Unread};
pub use weight::may_go_on;

/// The most jobs, runs or events that one read gives.
pub const MAX_PAGE: usize = 1000;
/// How many jobs one [`Store::list`] looks at, at most, and where it asks for a state of their runs, how many runs that have not ended,
/// to the last one of a job: a bound on how long it keeps others from reading.
pub const MAX_LOOKED_AT: usize = 10_000;
/// The most items that one read gives.
pub const MAX_ITEMS: usize = 10_000;
/// The most bytes of items that one read gives; a single item may exceed it.
pub const MAX_ITEM_BYTES: usize = 1024 * 1024;
/// Bytes of faults after which a read of runs stops: each may be as large as a frame.
pub const MAX_RUN_BYTES: usize = 1024 * 1024;

/// Keeps jobs. Cheap to share as `Arc<dyn Store>`.
///
/// Reads see every change whose [`Durable`] has resolved. They never wait for writing.
pub trait Store: Send + Sync + fmt::Debug {
    /// Hands changes over: waits for a place in the queue to the writer, which has [`queue::QUEUE_BYTES`]. Calls are applied
    /// in the order in which they get their places; a caller who awaits this before the next call keeps his order.
    fn enqueue(&self, changes: Vec<Change>) -> BoxFuture<'_, Durable>;

    /// Hands changes over and waits until they are on disk.
    ///
    /// # Errors
    /// [`CommitError`]; nothing of the changes is applied then.
    fn commit(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(async move { self.enqueue(changes).await.await })
    }

    /// The count of time that the times in it are of.
    fn clock(&self) -> &Clock;

    /// How much space there is.
    fn room(&self) -> Room;

    /// Whether new work may be taken. To be asked before a submit is given to the machine that makes changes of it.
    ///
    /// # Errors
    /// [`CommitError::Full`] unless there is plenty of room.
    fn admit(&self) -> Result<(), CommitError> {
        if self.room() == Room::Plenty { Ok(()) } else { Err(CommitError::Full) }
    }

    /// Everything that is not over, for the machine's start; what of it cannot be read is named. Takes time by what is open. Calls made before it are written when it
    /// reads, or fail as [`CommitError::Full`]; after such a failure it lets later ones pass again.
    ///
    /// # Errors
    /// [`ReadError`].
    fn recover(&self) -> BoxFuture<'_, Result<Records, ReadError>>;

    /// Ends the process, as when the disk fails: nobody can go on from what is stored. Returns in tests alone.
    fn give_up(&self, last_word: &str);

    /// One job.
    ///
    /// # Errors
    /// [`ReadError`].
    fn job(&self, id: JobId) -> BoxFuture<'_, Result<Option<JobRecord>, ReadError>>;

    /// The job that a submitter gave this idempotency key.
    ///
    /// # Errors
    /// [`ReadError`].
    fn by_key(&self, submitter: &Submitter, key: &str)
    -> BoxFuture<'_, Result<Option<JobRecord>, ReadError>>;

    /// Jobs, the newest first: those older than `before`, at most `limit` and [`MAX_PAGE`], and fewer where more than [`MAX_LOOKED_AT`]
    /// had to be looked at. One that cannot be read is left out and logged, and keeps no other from being listed.
    ///
    /// # Errors
    /// [`ReadError`].
    fn list(
        &self,
        filter: Filter,
        before: Option<JobId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page, ReadError>>;

    /// The runs of a job by the agent's name: those after `after`, at most `limit` and [`MAX_PAGE`], and about [`MAX_RUN_BYTES`] of
    /// faults: [`may_go_on`] says whether there may be more. Results are left out of their endings, see [`Store::run`].
    ///
    /// # Errors
    /// [`ReadError`].
    fn runs(
        &self,
        job: JobId,
        after: Option<PeerId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRecord>, ReadError>>;

    /// One run, with its result.
    ///
    /// # Errors
    /// [`ReadError`].
    fn run(&self, key: &RunKey) -> BoxFuture<'_, Result<Option<RunRecord>, ReadError>>;

    /// The runs of a job by their ends; of an ended job this is what its record says. Takes time by the number of its runs.
    ///
    /// # Errors
    /// [`ReadError`].
    fn tally(&self, job: JobId) -> BoxFuture<'_, Result<Summary, ReadError>> {
        Box::pin(async move {
            let (mut summary, mut after) = (Summary::default(), None);
            loop {
                let page = self.runs(job, after.take(), MAX_PAGE).await?;
                let Some(last) = page.last() else { return Ok(summary) };
                after = Some(last.key.agent.clone());
                page.iter().for_each(|run| {
                    summary.count_in(run.state.ending().map(|ending| ending.outcome), 1);
                });
            }
        })
    }

    /// The attempts of a run that were tried again, from the first.
    ///
    /// # Errors
    /// [`ReadError`].
    fn attempts(&self, key: &RunKey) -> BoxFuture<'_, Result<Vec<AttemptRecord>, ReadError>>;

    /// Items of an attempt from number `from`, without gaps: at most `limit` and [`MAX_ITEMS`], and of [`MAX_ITEM_BYTES`] or one. An
    /// empty page is the end of what is stored.
    ///
    /// # Errors
    /// [`ReadError`].
    fn items(
        &self,
        key: &RunKey,
        attempt: Attempt,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Item>, ReadError>> {
        self.items_within(key, attempt, from, (limit, MAX_ITEM_BYTES))
    }

    /// The same with a bound of the caller's own on their bytes.
    ///
    /// # Errors
    /// [`ReadError`].
    fn items_within(
        &self,
        key: &RunKey,
        attempt: Attempt,
        from: u64,
        limit: (usize, usize),
    ) -> BoxFuture<'_, Result<Vec<Item>, ReadError>>;

    /// How many items of an attempt are stored: the number of the next one. The `n` most recent begin at this less `n`.
    ///
    /// # Errors
    /// [`ReadError`].
    fn next_item(&self, key: &RunKey, attempt: Attempt) -> BoxFuture<'_, Result<u64, ReadError>>;

    /// What the stored items of an attempt count against its limit of output: [`Item::cost`] of each.
    ///
    /// # Errors
    /// [`ReadError`].
    fn item_bytes(&self, key: &RunKey, attempt: Attempt) -> BoxFuture<'_, Result<u64, ReadError>> {
        let key = key.clone();
        Box::pin(async move {
            let (mut next, mut bytes) = (0, 0);
            loop {
                let page = self.items(&key, attempt, next, MAX_ITEMS).await?;
                let Some(last) = page.last() else { return Ok(bytes) };
                next = last.n + 1;
                bytes += page.iter().map(Item::cost).sum::<u64>();
            }
        })
    }

    /// How far a run is, and which attempt says so.
    ///
    /// # Errors
    /// [`ReadError`].
    fn progress(&self, key: &RunKey) -> BoxFuture<'_, Result<Option<(Attempt, Progress)>, ReadError>>;

    /// The callbacks of a job.
    ///
    /// # Errors
    /// [`ReadError`].
    fn callbacks(&self, job: JobId) -> BoxFuture<'_, Result<Vec<CallbackRecord>, ReadError>>;

    /// Events after number `since`, at most `limit` and [`MAX_PAGE`]. One that cannot be read keeps no other from being told.
    ///
    /// # Errors
    /// [`ReadError`].
    fn events(&self, since: u64, limit: usize) -> BoxFuture<'_, Result<Vec<StoredEvent>, ReadError>>;

    /// Checks at most `limit` and [`chain::MAX_VERIFY`] events against their [chain], none after number `until`. Holds nobody up.
    ///
    /// # Errors
    /// [`ReadError`]. That something was changed is none.
    fn verify(
        &self,
        begin: Begin,
        until: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Verified, ReadError>>;

    /// How much there is. Walks an index: for people and for the metrics of a minute, not for each request.
    ///
    /// # Errors
    /// [`ReadError`].
    fn counts(&self) -> BoxFuture<'_, Result<Counts, ReadError>>;

    /// How many ended jobs of some there are, if that is asked for (it takes time by their number), and the first of these to end, at
    /// most `limit` and [`MAX_PAGE`]. Also such as cannot be read; not those whose end has still to be told, which retention keeps.
    ///
    /// # Errors
    /// [`ReadError`].
    fn oldest(&self, whose: &Whose, limit: usize, count: bool) -> BoxFuture<'_, Result<Oldest, ReadError>>;

    /// Writes what was handed over, then closes. Commits after it fail as [`CommitError::Stopped`].
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// The end of an attempt that was tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Which one.
    pub attempt: Attempt,
    /// How it ended.
    pub outcome: Outcome,
    /// Why.
    pub fault: Option<Fault>,
    /// When, in UTC milliseconds.
    pub at_ms: u64,
}

/// How much is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Jobs that have not ended.
    pub open_jobs: u64,
    /// Jobs that have.
    pub ended_jobs: u64,
    /// The number of the last event.
    pub last_event: u64,
}

/// How much space there is for what is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// As far as anybody knows, enough.
    Plenty,
    /// The disk was full; what is under way is recorded in the space kept for it. No new work.
    Reserve,
    /// That is used up too: calls wait.
    Nothing,
}

/// Why changes were not stored. Nothing of them is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// No space, for longer than the store waits for it. All calls made before the next [`Store::recover`] fail the same way, also when
    /// there is space again: what comes after a gap is never stored, and whoever keeps state in memory takes it from the store anew.
    #[error("the store's disk is full")]
    Full,
    /// The store was closed, or broke down and the process is about to end.
    #[error("the store has stopped")]
    Stopped,
}

/// What [`Store::oldest`] gives: how many ended jobs there are, and the first of them.
pub type Oldest = (Option<u64>, Vec<EndedJob>);

/// What went wrong underneath.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why something stored cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk or the database says no.
    #[error("the store cannot be read")]
    Failed(#[source] Cause),
    /// What is stored is not what this build writes.
    #[error("the store holds {what} that cannot be understood")]
    Damaged {
        /// A table and column, or a value.
        what: String,
    },
    /// The store was closed.
    #[error("the store has stopped")]
    Stopped,
}
