//! The store of tests: keeps everything in memory, answers like [`Sqlite`](super::Sqlite), and fails on demand.
//!
//! Clones share what they keep: what one process wrote before it "crashed" the next one finds. Changes are applied in
//! [`Store::enqueue`]; a full disk is answered at once, without the waiting of the store on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use redpoll_common::ids::PeerId;
use redpoll_common::job::{Attempt, Item, JobId, JobSpec, QueueKey, RunKey, RunState, Submitter};
use redpoll_manager_core::jobs::record::{
    AgentCounters, CallbackRecord, CallbackState, Change, EventRecord, JobRecord, Progress, QueueRecord,
    Records, RunRecord,
};
use redpoll_manager_core::revoked::{Denial, Denied};

use super::faults::Fault;
use super::spec;
use super::{
    AbortHook, AttemptRecord, CommitError, Counts, Durable, Faults, Filter, MAX_ITEM_BYTES, MAX_ITEMS,
    MAX_PAGE, ReadError, Room, Store, Whereabouts,
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

#[derive(Debug, Default)]
struct Tables {
    jobs: BTreeMap<JobId, JobRecord>,
    runs: BTreeMap<RunKey, RunRecord>,
    attempts: BTreeMap<(RunKey, Attempt), AttemptRecord>,
    items: BTreeMap<(RunKey, Attempt, u64), Item>,
    progress: BTreeMap<RunKey, (Attempt, Progress)>,
    queues: BTreeMap<QueueKey, QueueRecord>,
    agents: BTreeMap<PeerId, AgentCounters>,
    callbacks: BTreeMap<(JobId, u16), CallbackRecord>,
    events: BTreeMap<u64, EventRecord>,
    denied: BTreeMap<Denied, Denial>,
    /// Calls that were applied.
    commits: u64,
    stopped: bool,
    /// A call was refused for want of space, and nobody has recovered since.
    gap: bool,
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

impl Tables {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::JobSubmitted(job) => {
                self.jobs.entry(job.id).or_insert_with(|| job.as_ref().clone());
            }
            Change::JobReleased { job, at_ms } => {
                if let Some(job) = self.jobs.get_mut(job) {
                    job.released_ms = Some(*at_ms);
                }
            }
            Change::RunChanged(run) => {
                self.runs.insert(run.key.clone(), run.as_ref().clone());
            }
            Change::Items { key, attempt, from, items } => self.append(key, *attempt, *from, items),
            Change::Progress { key, attempt, progress } => {
                if self.runs.contains_key(key) {
                    self.progress.insert(key.clone(), (*attempt, progress.clone()));
                }
            }
            Change::AttemptEnded { key, attempt, outcome, fault, at_ms } => {
                if self.runs.contains_key(key) {
                    let (outcome, fault, at_ms) = (*outcome, fault.as_deref().cloned(), *at_ms);
                    let record = AttemptRecord { attempt: *attempt, outcome, fault, at_ms };
                    self.attempts.insert((key.clone(), *attempt), record);
                }
            }
            Change::QueueOpened(queue) => drop(self.queues.insert(queue.key.clone(), queue.clone())),
            Change::QueueClosed(key) => drop(self.queues.remove(key)),
            Change::AgentCounters(counters) => {
                self.agents.insert(counters.agent.clone(), counters.clone());
            }
            Change::JobEnded { job, ended_ms, summary } => {
                if let Some(job) = self.jobs.get_mut(job) {
                    job.ended_ms = Some(*ended_ms);
                    job.summary = Some(*summary);
                }
            }
            Change::ArgumentsMasked(job) => {
                if let Some(job) = self.jobs.get_mut(job)
                    && let Some((args, kwargs)) = spec::masked(&job.spec.args, &job.spec.kwargs, &job.redact)
                {
                    job.spec = Arc::new(JobSpec { args, kwargs, ..JobSpec::clone(&job.spec) });
                }
            }
            Change::JobRedacted(record) => {
                if let Some(job) = self.jobs.get_mut(&record.id) {
                    job.redact = record.redact.clone();
                }
            }
            Change::JobDeleted(job) => self.delete(*job),
            Change::Event(event) => {
                self.events.entry(event.n).or_insert_with(|| event.clone());
            }
            Change::EventsPruned { below } => self.events = self.events.split_off(below),
            Change::CallbackChanged(callback) => {
                self.callbacks.insert((callback.job, callback.serial), callback.clone());
            }
            Change::Denied(denial) => drop(self.denied.insert(denial.denied.clone(), denial.clone())),
            Change::Allowed(denied) => drop(self.denied.remove(denied)),
            // a count begins with each store in memory
            Change::Clock(_) => {}
        }
    }

    fn append(&mut self, key: &RunKey, attempt: Attempt, from: u64, items: &[Item]) {
        let Some(run) = self.runs.get_mut(key) else { return };
        let next = (from..).zip(items).fold(from, |_, (n, item)| {
            self.items.entry((key.clone(), attempt, n)).or_insert_with(|| Item { n, ..item.clone() });
            n + 1
        });
        if run.attempt == attempt {
            run.items = next;
        }
    }

    fn delete(&mut self, job: JobId) {
        self.jobs.remove(&job);
        self.runs.retain(|key, _| key.job != job);
        self.attempts.retain(|(key, _), _| key.job != job);
        self.items.retain(|(key, _, _), _| key.job != job);
        self.progress.retain(|key, _| key.job != job);
        self.callbacks.retain(|(of, _), _| *of != job);
    }

    fn counts(&self) -> Counts {
        let all = u64::try_from(self.jobs.len()).unwrap_or(u64::MAX);
        let ended = self.jobs.values().filter(|job| job.ended_ms.is_some()).count();
        let ended_jobs = u64::try_from(ended).unwrap_or(u64::MAX);
        let last_event = self.events.last_key_value().map_or(0, |(n, _)| *n);
        Counts { open_jobs: all - ended_jobs, ended_jobs, last_event }
    }

    fn recover(&self) -> Records {
        let alive = |id: &JobId| self.runs_of(*id).any(RunRecord::is_alive);
        let jobs = self.jobs.values().filter(|job| job.ended_ms.is_none() || alive(&job.id));
        let jobs: Vec<_> = jobs.cloned().collect();
        let mut callbacks: Vec<_> = self
            .callbacks
            .values()
            .filter(|callback| callback.state == CallbackState::Pending)
            .cloned()
            .collect();
        callbacks.sort_by_key(|callback| (callback.due_ms, callback.job, callback.serial));
        let counts = self.counts();
        Records {
            runs: jobs.iter().flat_map(|job| self.runs_of(job.id)).map(without_result).collect(),
            queues: self.queues.values().cloned().collect(),
            agents: self.agents.values().cloned().collect(),
            denied: self.denied.values().cloned().collect(),
            last_event: counts.last_event,
            ended_jobs: counts.ended_jobs,
            callbacks,
            jobs,
        }
    }

    fn runs_of(&self, job: JobId) -> impl Iterator<Item = &RunRecord> {
        self.runs.values().filter(move |run| run.key.job == job)
    }

    fn passes(&self, filter: &Filter, job: &JobRecord) -> bool {
        let state = match filter.state {
            None => true,
            Some(Whereabouts::Open) => job.ended_ms.is_none(),
            Some(Whereabouts::Ended) => job.ended_ms.is_some(),
            Some(Whereabouts::In(word)) => {
                job.ended_ms.is_none() && self.runs_of(job.id).any(|run| run.state.word() == word)
            }
            Some(Whereabouts::EndedAs(outcome)) => {
                job.summary.and_then(|summary| summary.outcome()) == Some(outcome)
            }
        };
        let on = |agent: &PeerId| self.runs.contains_key(&RunKey { job: job.id, agent: agent.clone() });
        let queue = job.spec.queue.as_ref().map(|queue| &queue.name);
        state
            && filter.agent.as_ref().is_none_or(on)
            && filter.queue.as_ref().is_none_or(|wanted| queue == Some(wanted))
            && filter.submitter.as_ref().is_none_or(|wanted| job.submitter == *wanted)
            && filter.since_ms.is_none_or(|since| job.id.submitted_ms() >= since)
    }
}

fn without_result(run: &RunRecord) -> RunRecord {
    let mut run = run.clone();
    if let RunState::Ended(ending) = &mut run.state {
        ending.result = None;
    }
    run
}

impl Store for Memory {
    fn enqueue(&self, changes: Vec<Change>) -> BoxFuture<'_, Durable> {
        future::ready(Durable::settled(self.write(&changes))).boxed()
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn room(&self) -> Room {
        if self.faults.is_full() { Room::Nothing } else { Room::Plenty }
    }

    fn recover(&self) -> BoxFuture<'_, Result<Records, ReadError>> {
        self.tables().gap = false;
        self.read(Tables::recover)
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
    ) -> BoxFuture<'_, Result<Vec<JobRecord>, ReadError>> {
        let end = before.map_or(Bound::Unbounded, Bound::Excluded);
        self.read(|tables| {
            let older = tables.jobs.range((Bound::Unbounded, end)).rev().map(|(_, job)| job);
            older.filter(|job| tables.passes(&filter, job)).take(limit.min(MAX_PAGE)).cloned().collect()
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
            runs.take(limit.min(MAX_PAGE)).map(without_result).collect()
        })
    }

    fn run(&self, key: &RunKey) -> BoxFuture<'_, Result<Option<RunRecord>, ReadError>> {
        self.read(|tables| tables.runs.get(key).cloned())
    }

    fn attempts(&self, key: &RunKey) -> BoxFuture<'_, Result<Vec<AttemptRecord>, ReadError>> {
        let range = (key.clone(), Attempt(0))..=(key.clone(), Attempt(u16::MAX));
        self.read(|tables| tables.attempts.range(range).map(|(_, attempt)| attempt.clone()).collect())
    }

    fn items(
        &self,
        key: &RunKey,
        attempt: Attempt,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Item>, ReadError>> {
        let range = (key.clone(), attempt, from)..=(key.clone(), attempt, u64::MAX);
        let mut bytes = 0;
        let room = |item: &&Item| {
            let before = bytes;
            bytes += item.data.len();
            before < MAX_ITEM_BYTES
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
            tables.callbacks.range((job, 0)..=(job, u16::MAX)).map(|(_, row)| row.clone()).collect()
        })
    }

    fn events(&self, since: u64, limit: usize) -> BoxFuture<'_, Result<Vec<EventRecord>, ReadError>> {
        let later = (Bound::Excluded(since), Bound::Unbounded);
        self.read(|tables| {
            tables.events.range(later).take(limit.min(MAX_PAGE)).map(|(_, event)| event.clone()).collect()
        })
    }

    fn counts(&self) -> BoxFuture<'_, Result<Counts, ReadError>> {
        self.read(Tables::counts)
    }

    fn expendable(
        &self,
        before_ms: u64,
        keep: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<JobId>, ReadError>> {
        self.read(|tables| {
            let pending =
                tables.callbacks.values().filter(|callback| callback.state == CallbackState::Pending);
            let pending: BTreeSet<JobId> = pending.map(|callback| callback.job).collect();
            let ended = tables.jobs.values().filter_map(|job| Some((job.ended_ms?, job.id)));
            let mut ended: Vec<_> = ended.filter(|(_, id)| !pending.contains(id)).collect();
            ended.sort_unstable();
            let surplus = tables.counts().ended_jobs.saturating_sub(keep);
            let gone = (0..).zip(ended).filter(|(place, (at, _))| *at < before_ms || *place < surplus);
            gone.map(|(_, (_, id))| id).take(limit.min(MAX_PAGE)).collect()
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.tables().stopped = true;
        future::ready(()).boxed()
    }
}
