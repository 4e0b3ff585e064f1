//! The manager's disk: applies changes and says what no machine may ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use redpoll_common::ids::PeerId;
use redpoll_common::job::{
    Attempt, Dno, Item, JobId, JobSpec, Outcome, QueueKey, RunKey, RunState, Submitter,
};
use redpoll_manager_core::clock::Anchor;
use redpoll_manager_core::jobs::record::{
    AgentCounters, CallbackRecord, CallbackState, Change, EventKind, EventRecord, JobRecord, QueueRecord,
    Records, RunRecord, Summary,
};
use redpoll_manager_core::jobs::{EndedJob, Found, Whose};
use redpoll_manager_core::revoked::{Denial, Denied};
use redpoll_schema::ArgumentRedaction;

use super::chained::Chained;
use super::history::{Before, holds};
use super::invariant::{Check, Invariant, ensure};
use super::plan::SECRET;
use super::report::Tally;
use super::transitions::{legal, transition};

/// What is on disk.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) jobs: BTreeMap<JobId, JobRecord>,
    pub(super) runs: BTreeMap<RunKey, RunRecord>,
    items: BTreeMap<(RunKey, Attempt), Vec<Item>>,
    pub(super) queues: BTreeMap<QueueKey, QueueRecord>,
    pub(super) agents: BTreeMap<PeerId, AgentCounters>,
    pub(super) callbacks: BTreeMap<(JobId, u32), CallbackRecord>,
    pub(super) deleted: BTreeSet<JobId>,
    /// The attempts that were given up and found.
    found: BTreeMap<RunKey, Attempt>,
    pub(super) denied: BTreeMap<Denied, Denial>,
    /// Where the count of time stands, and the time of the last event.
    pub(super) anchor: Option<Anchor>,
    pub(super) newest_ms: u64,
    /// The whole history, also what the product prunes.
    pub(super) events: Vec<EventRecord>,
    /// What is kept of it, with its hashes.
    pub(super) chained: Chained,
    /// The manager has started, and nothing was written since.
    pub(super) fresh: bool,
    /// Jobs and queues that changed since the last check.
    touched: BTreeSet<JobId>,
    touched_queues: BTreeSet<QueueKey>,
    /// What its events told of, for the report of the run.
    pub(super) tally: Tally,
}

impl Store {
    /// One turn's changes.
    pub(super) fn apply(&mut self, changes: &[Change]) -> Check {
        let first = self.fresh;
        self.fresh &= changes.is_empty();
        let before = Before::look(self, changes, first);
        changes.iter().try_for_each(|change| self.change(change))?;
        before.judge(self, changes)?;
        self.chained.apply(changes)?;
        if changes.iter().any(|change| matches!(change, Change::EventsPruned { .. })) {
            self.tally.hit("events pruned");
        }
        for change in changes {
            if let Change::RunChanged(run) = change {
                let last = self.agents.get(&run.key.agent).map_or(Dno(0), |counters| counters.last_dno);
                ensure(run.dno <= last, Invariant::NumbersGrow, || {
                    format!("{} has number {}, and {last} is the last", run.key, run.dno)
                })?;
            }
        }
        Ok(())
    }

    fn change(&mut self, change: &Change) -> Check {
        match change {
            Change::JobSubmitted(job) => self.submitted(job),
            Change::JobReleased { job, at_ms } => {
                if let Some(record) = self.jobs.get_mut(job) {
                    record.released_ms = Some(*at_ms);
                }
                Ok(())
            }
            Change::RunChanged(run) => self.run(run),
            Change::Items { key, attempt, from, items } => self.append(key, *attempt, *from, items),
            Change::Progress { .. } => {
                self.tally.hit("progress");
                Ok(())
            }
            Change::AttemptEnded { .. } | Change::EventsPruned { .. } => Ok(()),
            Change::QueueOpened(queue) => {
                let before = self.queues.insert(queue.key.clone(), queue.clone());
                self.touched_queues.insert(queue.key.clone());
                legal(before.is_none(), || format!("queue {} was made twice", queue.key))
            }
            Change::QueueClosed(key) => {
                let before = self.queues.remove(key);
                legal(before.is_some(), || format!("queue {key} was closed and is not there"))
            }
            Change::AgentCounters(counters) => self.counters(counters),
            Change::JobEnded { job, ended_ms, summary } => self.job_ended(*job, *ended_ms, *summary),
            Change::JobRedacted(job) => {
                self.tally.hit("more became known to be secret");
                self.touched.insert(job.id);
                let Some(record) = self.jobs.get_mut(&job.id) else {
                    return legal(false, || format!("{} is redacted and is not stored", job.id));
                };
                let grown = record.redact.iter().all(|path| job.redact.contains(path));
                record.redact = job.redact.clone();
                ensure(grown, Invariant::Masked, || format!("{} has fewer secrets than before", job.id))
            }
            Change::ArgumentsMasked(id) => self.mask(*id),
            Change::JobDeleted(job) => {
                self.deleted.insert(*job);
                self.jobs.remove(job);
                self.runs.retain(|key, _| key.job != *job);
                self.items.retain(|(key, _), _| key.job != *job);
                self.callbacks.retain(|(id, _), _| id != job);
                Ok(())
            }
            Change::Event(event) => {
                let last = self.events.last().map_or(0, |last| last.n);
                self.events.push(event.clone());
                self.newest_ms = event.at_ms;
                self.tally.hit(event.kind.as_str());
                if let (EventKind::RunFound, Some(job), Some(agent), Some(attempt)) =
                    (event.kind, event.job, event.agent.clone(), event.attempt)
                {
                    self.found.insert(RunKey { job, agent }, attempt);
                }
                if let Some(outcome) = event.outcome {
                    self.tally.hit(&format!("{} {outcome}", event.kind.as_str()));
                }
                ensure(!format!("{event:?}").contains(SECRET), Invariant::Masked, || {
                    format!("event {} tells a secret", event.n)
                })?;
                holds(event.n == last + 1, || format!("event {} after {last}", event.n))
            }
            Change::CallbackChanged(callback) => self.callback(callback),
            Change::Denied(denial) => self.deny(denial),
            Change::Allowed(denied) => self.allow(denied),
            Change::Clock(anchor) => self.anchored(*anchor),
        }
    }

    fn deny(&mut self, denial: &Denial) -> Check {
        let before = self.denied.insert(denial.denied.clone(), denial.clone());
        legal(before.is_none(), || format!("{:?} was revoked twice", denial.denied))
    }

    fn allow(&mut self, denied: &Denied) -> Check {
        let before = self.denied.remove(denied);
        legal(before.is_some(), || format!("{denied:?} is restored, and was not revoked"))
    }

    fn anchored(&mut self, anchor: Anchor) -> Check {
        self.anchor = Some(anchor);
        Ok(())
    }

    fn submitted(&mut self, job: &JobRecord) -> Check {
        self.touched.insert(job.id);
        let name = |job: &JobRecord| job.key().map(|key| (job.submitter.clone(), key.to_owned()));
        let key = name(job);
        let same = self.jobs.values().find(|other| key.is_some() && name(other) == key);
        ensure(same.is_none(), Invariant::OneKeyOneJob, || format!("{} has the key of another job", job.id))?;
        let before = self.jobs.insert(job.id, job.clone());
        legal(before.is_none(), || format!("{} was submitted twice", job.id))
    }

    fn mask(&mut self, id: JobId) -> Check {
        let Some(job) = self.jobs.get_mut(&id) else {
            return legal(false, || format!("{id} is masked and is not stored"));
        };
        let spec = &job.spec;
        let (args, kwargs) = ArgumentRedaction::new(&job.redact).mask(&spec.args, &spec.kwargs);
        job.spec = Arc::new(JobSpec { args, kwargs, ..JobSpec::clone(spec) });
        self.tally.hit("arguments masked");
        ensure(job.ended_ms.is_some(), Invariant::SpecIntact, || format!("{id} was masked before its end"))
    }

    fn callback(&mut self, callback: &CallbackRecord) -> Check {
        let key = (callback.job, callback.serial);
        self.touched.insert(callback.job);
        let last = self.callbacks.range((key.0, 0)..=(key.0, u32::MAX)).next_back().map(|(last, _)| last.1);
        let fits = match self.callbacks.insert(key, callback.clone()) {
            Some(before) => before.state == CallbackState::Pending,
            // the first tells of the end, each that follows of a correction
            None => last.map_or(key.1 == 1, |last| key.1 > last),
        };
        ensure(fits, Invariant::CallbackOnce, || format!("callback {key:?} after {last:?}"))
    }

    /// Once, and again with each correction.
    fn job_ended(&mut self, job: JobId, ended_ms: u64, summary: Summary) -> Check {
        let Some(record) = self.jobs.get_mut(&job) else {
            return legal(false, || format!("{job} ended and is not stored"));
        };
        record.ended_ms = Some(ended_ms);
        let before = record.summary.replace(summary);
        self.touched.insert(job);
        let unknown = |summary: Summary| summary.count(Outcome::Unknown);
        let corrected = |before: Summary| unknown(summary) + 1 == unknown(before);
        legal(before.is_none_or(corrected), || format!("{job} ended twice"))?;
        let runs = self.runs.values().filter(|run| run.key.job == job);
        let last = runs.filter_map(|run| run.ended_ms).max();
        legal(last == Some(ended_ms), || format!("{job} did not end with the last of its runs"))
    }

    fn counters(&mut self, counters: &AgentCounters) -> Check {
        let before = self.agents.insert(counters.agent.clone(), counters.clone());
        let last = before.map_or(counters.last_dno, |before| before.last_dno);
        ensure(counters.last_dno >= last, Invariant::NumbersGrow, || {
            format!("the numbers of {} went back from {last} to {}", counters.agent, counters.last_dno)
        })
    }

    fn run(&mut self, run: &RunRecord) -> Check {
        let key = &run.key;
        legal(self.jobs.contains_key(&key.job), || format!("{key} has no job"))?;
        if let Some(before) = self.runs.get(key) {
            transition(before, run)?;
        }
        self.check_times(self.runs.get(key).map(|before| &before.state), run)?;
        self.runs.insert(key.clone(), run.clone());
        self.touch(key.job);
        Ok(())
    }

    fn append(&mut self, key: &RunKey, attempt: Attempt, from: u64, items: &[Item]) -> Check {
        let stored = self.items.entry((key.clone(), attempt)).or_default();
        for (n, item) in (from..).zip(items) {
            let next = stored.len() as u64;
            ensure(item.n == n && n == next, Invariant::GaplessItems, || {
                format!("item {} of {key} where {next} is due", item.n)
            })?;
            stored.push(item.clone());
        }
        let have = stored.len() as u64;
        let Some(run) = self.runs.get_mut(key) else {
            return legal(false, || format!("items of {key}, which is not stored"));
        };
        run.items = have;
        self.touched.insert(key.job);
        legal(run.attempt == attempt, || format!("items of attempt {attempt} of {key}, which is another"))
    }

    /// Takes the jobs that changed, or of which the oracle saw something.
    pub(super) fn take_touched(&mut self) -> BTreeSet<JobId> {
        std::mem::take(&mut self.touched)
    }

    pub(super) fn touch(&mut self, job: JobId) {
        self.touched.insert(job);
        let queue = self.jobs.get(&job).and_then(|job| job.spec.queue.as_ref());
        self.touched_queues.extend(queue.map(|queue| queue.name.clone()));
    }

    /// What holds between turns, of the queues that changed.
    pub(super) fn check_queues(&mut self) -> Check {
        for key in std::mem::take(&mut self.touched_queues) {
            let Some(queue) = self.queues.get(&key) else { continue };
            let (mut slots, mut waiting, mut found) = (0, 0, 0);
            for run in self.of_queue(&key) {
                slots += u32::from(run.state.holds_slot());
                // what is there again takes its place beside what started meanwhile
                let is_found = self.found.get(&run.key) == Some(&run.attempt);
                found += u32::from(is_found && run.state.holds_slot());
                waiting += u32::from(matches!(run.state, RunState::Queued));
            }
            ensure(slots <= queue.concurrency + found, Invariant::SlotsHold, || {
                format!("{slots} of {} slots of {key} are taken", queue.concurrency)
            })?;
            legal(slots + waiting > 0, || format!("queue {key} is empty and there"))?;
        }
        Ok(())
    }

    /// What holds between turns, of a job.
    pub(super) fn check(&self, id: JobId) -> Check {
        let Some(job) = self.jobs.get(&id) else { return Ok(()) };
        for run in self.runs_of(id) {
            let key = &run.key;
            if matches!(run.state, RunState::Queued) || run.state.holds_slot() {
                let queue = job.spec.queue.as_ref().map(|queue| &queue.name);
                legal(queue.is_none_or(|name| self.queues.contains_key(name)), || {
                    format!("{key} is in no queue")
                })?;
                legal(job.ended_ms.is_none(), || format!("{key} is open and its job has ended"))?;
            }
            let have = self.items.get(&(key.clone(), run.attempt)).map_or(0, Vec::len) as u64;
            ensure(run.items == have, Invariant::GaplessItems, || {
                format!("{key} counts {} items and has {have}", run.items)
            })?;
        }
        self.check_job(job)
    }

    /// The runs of a job.
    pub(super) fn runs_of(&self, job: JobId) -> impl Iterator<Item = &RunRecord> {
        let first = RunKey { job, agent: PeerId::parse("0").expect("a name") };
        self.runs.range(first..).map(|(_, run)| run).take_while(move |run| run.key.job == job)
    }

    fn check_job(&self, job: &JobRecord) -> Check {
        let of = |agent: &PeerId| self.runs.get(&RunKey { job: job.id, agent: agent.clone() });
        let mut counts: BTreeMap<Outcome, u32> = BTreeMap::new();
        let mut open = false;
        for agent in job.agents.iter() {
            match of(agent).map(|run| &run.state) {
                Some(RunState::Ended(end)) => *counts.entry(end.outcome).or_default() += 1,
                Some(_) => open = true,
                None => return legal(false, || format!("{} lacks the run on {agent}", job.id)),
            }
        }
        legal(open == job.ended_ms.is_none(), || format!("{}: job and runs disagree", job.id))?;
        let tells = job.spec.kwargs.as_bytes().windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
        ensure(open || job.redact.is_empty() || !tells, Invariant::Masked, || {
            format!("{} has ended, and its secret is stored", job.id)
        })?;
        let Some(summary) = job.summary else { return Ok(()) };
        let agrees = Outcome::ALL
            .into_iter()
            .all(|outcome| summary.count(outcome) == counts.get(&outcome).copied().unwrap_or(0));
        legal(agrees, || format!("the summary of {} miscounts", job.id))
    }

    pub(super) fn of_queue(&self, key: &QueueKey) -> impl Iterator<Item = &RunRecord> {
        let in_queue =
            move |job: &&JobRecord| job.spec.queue.as_ref().is_some_and(|queue| queue.name == *key);
        self.runs.values().filter(move |run| self.jobs.get(&run.key.job).filter(in_queue).is_some())
    }

    pub(super) fn run_of(&self, job: JobId, agent: &PeerId) -> Option<&RunRecord> {
        self.runs.get(&RunKey { job, agent: agent.clone() })
    }

    /// The stored items of an attempt.
    pub(super) fn items(&self, key: &RunKey, attempt: Attempt) -> &[Item] {
        self.items.get(&(key.clone(), attempt)).map_or(&[], Vec::as_slice)
    }

    pub(super) fn find_key(&self, submitter: &Submitter, key: &str) -> Found {
        match self.jobs.values().find(|job| job.submitter == *submitter && job.key() == Some(key)) {
            Some(job) => Found::Taken { job: job.id, digest: job.digest },
            None => Found::Free,
        }
    }

    pub(super) fn oldest(&self, whose: &Whose, limit: usize) -> (u64, Vec<EndedJob>) {
        let ended =
            |job: &JobRecord| Some(EndedJob { id: job.id, ended_ms: job.ended_ms?, runs: job.agents.len() });
        let theirs = self.jobs.values().filter(|job| whose.has(&job.submitter));
        let mut ended: Vec<_> = theirs.filter_map(ended).collect();
        ended.sort_by_key(|job| (job.ended_ms, job.id));
        let stored = ended.len() as u64;
        ended.truncate(limit);
        (stored, ended)
    }

    /// What a machine starts from.
    pub(super) fn records(&self) -> Records {
        let alive: BTreeSet<JobId> =
            self.runs.values().filter(|run| run.is_alive()).map(|run| run.key.job).collect();
        let pending = |callback: &&CallbackRecord| callback.state == CallbackState::Pending;
        Records {
            jobs: self.jobs.values().filter(|job| alive.contains(&job.id)).cloned().collect(),
            runs: self.runs.values().filter(|run| alive.contains(&run.key.job)).cloned().collect(),
            queues: self.queues.values().cloned().collect(),
            agents: self.agents.values().cloned().collect(),
            callbacks: self.callbacks.values().filter(pending).cloned().collect(),
            denied: self.denied.values().cloned().collect(),
            last_event: self.events.last().map_or(0, |last| last.n),
            first_event: 1,
            ended_jobs: self.jobs.values().filter(|job| job.ended_ms.is_some()).count() as u64,
            unreadable: Vec::new(),
        }
    }
}
