//! What the store of tests keeps, and how changes change it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use redpoll_common::ids::PeerId;
use redpoll_common::job::{Attempt, Item, JobId, JobSpec, QueueKey, RunKey, RunState};
use redpoll_manager_core::chain::{self, Chain, Hash, Point};
use redpoll_manager_core::jobs::EndedJob;
use redpoll_manager_core::jobs::record::{
    AgentCounters, CallbackRecord, CallbackState, Change, EventRecord, JobRecord, Progress, QueueRecord,
    Records, RunRecord,
};
use redpoll_manager_core::revoked::{Denial, Denied};

use crate::store::chain::{Begin, Verified, Walk, sha256};
use crate::store::{AttemptRecord, Counts, Filter, Whereabouts, spec};

#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) jobs: BTreeMap<JobId, JobRecord>,
    pub(super) runs: BTreeMap<RunKey, RunRecord>,
    pub(super) attempts: BTreeMap<(RunKey, Attempt), AttemptRecord>,
    pub(super) items: BTreeMap<(RunKey, Attempt, u64), Item>,
    pub(super) progress: BTreeMap<RunKey, (Attempt, Progress)>,
    queues: BTreeMap<QueueKey, QueueRecord>,
    agents: BTreeMap<PeerId, AgentCounters>,
    pub(super) callbacks: BTreeMap<(JobId, u32), CallbackRecord>,
    pub(super) history: History,
    pub(super) denied: BTreeMap<Denied, Denial>,
    /// Calls that were applied.
    pub(super) commits: u64,
    pub(super) stopped: bool,
    /// A call was refused for want of space, and nobody has recovered since.
    pub(super) gap: bool,
}

/// The events with their hashes.
#[derive(Debug)]
pub(super) struct History {
    pub(super) events: BTreeMap<u64, (EventRecord, Hash)>,
    chain: Chain,
    /// The newest one that retention deleted.
    anchor: Point,
}

impl Default for History {
    fn default() -> Self {
        let start = Point::default();
        Self { events: BTreeMap::new(), chain: Chain::new(sha256, start), anchor: start }
    }
}

impl History {
    fn add(&mut self, event: &EventRecord) {
        if let Some(hash) = self.chain.add(event) {
            self.events.insert(event.n, (event.clone(), hash));
        }
    }

    fn prune(&mut self, below: u64) {
        if let Some((n, (_, hash))) = self.events.range(..below).next_back() {
            self.anchor = Point { n: *n, hash: *hash };
        }
        self.events = self.events.split_off(&below);
    }

    pub(super) fn verify(&self, begin: Begin, until: Option<u64>, limit: usize) -> Verified {
        let anchor = self.anchor;
        let from = match begin {
            Begin::Oldest => anchor,
            Begin::After(point) => {
                if point.n < anchor.n {
                    anchor
                } else {
                    point
                }
            }
            Begin::Newest(count) => {
                let before = self.events.iter().rev().nth(usize::try_from(count).unwrap_or(usize::MAX));
                before.map_or(anchor, |(n, (_, hash))| Point { n: *n, hash: *hash })
            }
        };
        let mut walk = Walk::new(from, false, Some(self.chain.head()), until, limit);
        let mut rows = self.events.range((Bound::Excluded(from.n), Bound::Unbounded));
        let ended = !rows.any(|(n, (event, hash))| !walk.take(*n, &chain::columns(event), Some(hash)));
        walk.finish(ended, 0)
    }
}

impl Tables {
    pub(super) fn apply(&mut self, change: &Change) {
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
            Change::QueueOpened(queue) => {
                self.queues.insert(queue.key.clone(), queue.clone());
            }
            Change::QueueClosed(key) => {
                self.queues.remove(key);
            }
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
            Change::Event(event) => self.history.add(event),
            Change::EventsPruned { below } => self.history.prune(*below),
            Change::CallbackChanged(callback) => {
                self.callbacks.insert((callback.job, callback.serial), callback.clone());
            }
            Change::Denied(denial) => drop(self.denied.insert(denial.denied.clone(), denial.clone())),
            Change::Allowed(denied) => drop(self.denied.remove(denied)),
            // a count begins with each store in memory
            Change::Clock(_) => {}
        }
    }

    pub(super) fn append(&mut self, key: &RunKey, attempt: Attempt, from: u64, items: &[Item]) {
        let Some(run) = self.runs.get_mut(key) else { return };
        let next = (from..).zip(items).fold(from, |_, (n, item)| {
            self.items.entry((key.clone(), attempt, n)).or_insert_with(|| Item { n, ..item.clone() });
            n + 1
        });
        if run.attempt == attempt {
            run.items = next;
        }
    }

    pub(super) fn delete(&mut self, job: JobId) {
        self.jobs.remove(&job);
        self.runs.retain(|key, _| key.job != job);
        self.attempts.retain(|(key, _), _| key.job != job);
        self.items.retain(|(key, _, _), _| key.job != job);
        self.progress.retain(|key, _| key.job != job);
        self.callbacks.retain(|(of, _), _| *of != job);
    }

    pub(super) fn counts(&self) -> Counts {
        let all = u64::try_from(self.jobs.len()).unwrap_or(u64::MAX);
        let ended = self.jobs.values().filter(|job| job.ended_ms.is_some()).count();
        let ended_jobs = u64::try_from(ended).unwrap_or(u64::MAX);
        let last_event = self.history.events.last_key_value().map_or(0, |(n, _)| *n);
        Counts { open_jobs: all - ended_jobs, ended_jobs, last_event }
    }

    /// What has ended and of which no callback waits, the first to end first.
    pub(super) fn untied(&self) -> Vec<EndedJob> {
        let pending = self.callbacks.values().filter(|callback| callback.state == CallbackState::Pending);
        let pending: BTreeSet<JobId> = pending.map(|callback| callback.job).collect();
        let ended =
            self.jobs.values().filter(|job| !pending.contains(&job.id)).filter_map(|job| {
                Some(EndedJob { id: job.id, ended_ms: job.ended_ms?, runs: job.agents.len() })
            });
        let mut ended: Vec<_> = ended.collect();
        ended.sort_unstable_by_key(|job| (job.ended_ms, job.id));
        ended
    }

    pub(super) fn recover(&self) -> Records {
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
            runs: jobs.iter().flat_map(|job| self.runs_of(job.id)).map(bare).collect(),
            queues: self.queues.values().cloned().collect(),
            agents: self.agents.values().cloned().collect(),
            denied: self.denied.values().cloned().collect(),
            last_event: counts.last_event.max(self.history.chain.head().n),
            first_event: self.history.events.first_key_value().map_or(0, |(n, _)| *n),
            ended_jobs: counts.ended_jobs,
            callbacks,
            jobs,
            unreadable: Vec::new(),
        }
    }

    pub(super) fn runs_of(&self, job: JobId) -> impl Iterator<Item = &RunRecord> {
        self.runs.values().filter(move |run| run.key.job == job)
    }

    pub(super) fn passes(&self, filter: &Filter, job: &JobRecord) -> bool {
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

pub(super) fn without_result(run: &RunRecord) -> RunRecord {
    let mut run = run.clone();
    if let RunState::Ended(ending) = &mut run.state {
        ending.result = None;
    }
    run
}

/// Without what its program said of its end.
fn bare(run: &RunRecord) -> RunRecord {
    let mut run = without_result(run);
    if let RunState::Ended(ending) = &mut run.state {
        ending.fault = None;
    }
    run
}
