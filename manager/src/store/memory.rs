//! The store of tests: keeps everything in memory, answers like [`Sqlite`](super::Sqlite), and fails on demand.
//!
//! Clones share what they keep: what one process wrote before it "crashed" the next one finds. Changes are applied in
//! [`Store::enqueue`]; a full disk is answered at once, without the waiting of the store on disk.

mod tables;

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use redpoll_common::ids::PeerId;
use redpoll_common::job::{Attempt, Item, JobId, RunKey, Submitter};
use redpoll_manager_core::jobs::Whose;
use redpoll_manager_core::jobs::record::{CallbackRecord, Change, JobRecord, Progress, Records, RunRecord};

use self::tables::{Tables, without_result};
use super::chain::{Begin, Verified};
use super::faults::Fault;
use super::weight::run_weight;
use super::{
    AbortHook, AttemptRecord, CommitError, Counts, Durable, Faults, Filter, MAX_ITEMS, MAX_PAGE,
    MAX_RUN_BYTES, Oldest, Page, ReadError, Room, Store, StoredEvent,
};
use crate::clock::{Clock, Hands};

/// A store without a disk.
#[derive(Debug, Clone)]
pub struct Memory {
    tables: Arc<Mutex<Tables>>,
    clock: Clock,
    faults: Faults,
    abort: AbortHook,
}

impl Memory {
    /// An empty store that fails when `faults` say so, and tells `abort` when its "disk" broke.
    pub fn new(faults: Faults, abort: AbortHook) -> Self {
        Self { tables: Arc::default(), clock: Clock::begin(Hands::Machine, None, 0), faults, abort }
    }

    /// The same content, open again: after a crash or a close.
    pub fn reopen(&self) -> Self {
        let mut tables = self.tables();
        (tables.stopped, tables.gap) = (false, false);
        drop(tables);
        self.clone()
    }

    /// How many calls were applied so far.
    pub fn commits(&self) -> u64 {
        self.tables().commits
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, changes: &[Change]) -> Result<(), CommitError> {
        let mut tables = self.tables();
        if tables.stopped {
            return Err(CommitError::Stopped);
        }
        match self.faults.next() {
            Some(Fault::Full) => tables.gap = true,
            Some(Fault::Broken) => {
                tables.stopped = true;
                drop(tables);
                self.abort.call("the store's disk failed: a fault on demand");
                return Err(CommitError::Stopped);
            }
            None => {}
        }
        if tables.gap {
            return Err(CommitError::Full);
        }
        changes.iter().for_each(|change| tables.apply(change));
        tables.commits += 1;
        Ok(())
    }

    fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Tables) -> T,
    ) -> BoxFuture<'_, Result<T, ReadError>> {
        let tables = self.tables();
        let answer = if tables.stopped { Err(ReadError::Stopped) } else { Ok(question(&tables)) };
        future::ready(answer).boxed()
    }
}

impl Store for Memory {
    fn enqueue(&self, changes: Vec<Change>) -> BoxFuture<'_, Durable> {
        future::ready(Durable::settled(self.write(&changes))).boxed()
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn room(&self) -> Room {
        match (self.faults.is_full(), self.faults.is_low()) {
            (true, _) => Room::Nothing,
            (false, true) => Room::Reserve,
            (false, false) => Room::Plenty,
        }
    }

    fn recover(&self) -> BoxFuture<'_, Result<Records, ReadError>> {
        // under one lock: nothing comes in between that was refused, or should have been
        let mut tables = self.tables();
        tables.gap = false;
        let answer = if tables.stopped { Err(ReadError::Stopped) } else { Ok(tables.recover()) };
        future::ready(answer).boxed()
    }

    fn give_up(&self, last_word: &str) {
        self.abort.call(last_word);
    }

    fn job(&self, id: JobId) -> BoxFuture<'_, Result<Option<JobRecord>, ReadError>> {
        self.read(|tables| tables.jobs.get(&id).cloned())
    }

    fn by_key(
        &self,
        submitter: &Submitter,
        key: &str,
    ) -> BoxFuture<'_, Result<Option<JobRecord>, ReadError>> {
        let ours = |job: &&JobRecord| job.submitter == *submitter && job.key() == Some(key);
        self.read(|tables| tables.jobs.values().find(ours).cloned())
    }

    fn list(
        &self,
        filter: Filter,
        before: Option<JobId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page, ReadError>> {
        let end = before.map_or(Bound::Unbounded, Bound::Excluded);
        self.read(|tables| {
            let older = tables.jobs.range((Bound::Unbounded, end)).rev().map(|(_, job)| job);
            let mut found = older.filter(|job| tables.passes(&filter, job));
            let jobs: Vec<_> = found.by_ref().take(limit.min(MAX_PAGE)).cloned().collect();
            let next = found.next().and_then(|_| jobs.last()).map(|job| job.id);
            Page { jobs, next }
        })
    }

    fn runs(
        &self,
        job: JobId,
        after: Option<PeerId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRecord>, ReadError>> {
        self.read(|tables| {
            let runs =
                tables.runs_of(job).filter(|run| after.as_ref().is_none_or(|after| run.key.agent > *after));
            let mut bytes = 0;
            let room = |run: &RunRecord| {
                let before = bytes;
                bytes += run_weight(run);
                before < MAX_RUN_BYTES
            };
            runs.take(limit.min(MAX_PAGE)).map(without_result).take_while(room).collect()
        })
    }

    fn run(&self, key: &RunKey) -> BoxFuture<'_, Result<Option<RunRecord>, ReadError>> {
        self.read(|tables| tables.runs.get(key).cloned())
    }

    fn attempts(&self, key: &RunKey) -> BoxFuture<'_, Result<Vec<AttemptRecord>, ReadError>> {
        let range = (key.clone(), Attempt(0))..=(key.clone(), Attempt(u16::MAX));
        self.read(|tables| tables.attempts.range(range).map(|(_, attempt)| attempt.clone()).collect())
    }

    fn items_within(
        &self,
        key: &RunKey,
        attempt: Attempt,
        from: u64,
        (limit, most): (usize, usize),
    ) -> BoxFuture<'_, Result<Vec<Item>, ReadError>> {
        let range = (key.clone(), attempt, from)..=(key.clone(), attempt, u64::MAX);
        let mut bytes = 0_usize;
        let room = |item: &&Item| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(item.data.len());
            is_first || bytes <= most
        };
        self.read(|tables| {
            let items = tables.items.range(range).map(|(_, item)| item);
            items.take(limit.min(MAX_ITEMS)).take_while(room).cloned().collect()
        })
    }

    fn next_item(&self, key: &RunKey, attempt: Attempt) -> BoxFuture<'_, Result<u64, ReadError>> {
        let range = (key.clone(), attempt, 0)..=(key.clone(), attempt, u64::MAX);
        self.read(|tables| tables.items.range(range).next_back().map_or(0, |(_, item)| item.n + 1))
    }

    fn progress(&self, key: &RunKey) -> BoxFuture<'_, Result<Option<(Attempt, Progress)>, ReadError>> {
        self.read(|tables| tables.progress.get(key).cloned())
    }

    fn callbacks(&self, job: JobId) -> BoxFuture<'_, Result<Vec<CallbackRecord>, ReadError>> {
        self.read(|tables| {
            tables.callbacks.range((job, 0)..=(job, u32::MAX)).map(|(_, row)| row.clone()).collect()
        })
    }

    fn events(&self, since: u64, limit: usize) -> BoxFuture<'_, Result<Vec<StoredEvent>, ReadError>> {
        let later = (Bound::Excluded(since), Bound::Unbounded);
        self.read(|tables| {
            let events = tables.history.events.range(later).take(limit.min(MAX_PAGE));
            events.map(|(_, (event, _))| event.clone().into()).collect()
        })
    }

    fn verify(
        &self,
        begin: Begin,
        until: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Verified, ReadError>> {
        self.read(|tables| tables.history.verify(begin, until, limit))
    }

    fn counts(&self) -> BoxFuture<'_, Result<Counts, ReadError>> {
        self.read(Tables::counts)
    }

    fn oldest(&self, whose: &Whose, limit: usize, count: bool) -> BoxFuture<'_, Result<Oldest, ReadError>> {
        self.read(|tables| {
            let theirs = tables.jobs.values().filter(|job| job.ended_ms.is_some());
            let theirs: BTreeSet<JobId> =
                theirs.filter(|job| whose.has(&job.submitter)).map(|job| job.id).collect();
            let stored = u64::try_from(theirs.len()).unwrap_or(u64::MAX);
            let ended = tables.untied().into_iter().filter(|job| theirs.contains(&job.id));
            (count.then_some(stored), ended.take(limit.min(MAX_PAGE)).collect())
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.tables().stopped = true;
        future::ready(()).boxed()
    }
}
