//! A store in memory that applies changes and refuses what no machine may ask for.

use std::collections::BTreeMap;
use std::sync::Arc;

use redpoll_common::ids::PeerId;
use redpoll_common::job::{Attempt, Dno, Item, JobId, Outcome, QueueKey, RunKey, RunState, Submitter};
use redpoll_common::wire::FaultCode;
use redpoll_manager_core::clock::Anchor;
use redpoll_manager_core::jobs::record::{
    AgentCounters, CallbackRecord, CallbackState, Change, EventKind, EventRecord, JobRecord, QueueRecord,
    Records, RunRecord, Summary,
};
use redpoll_manager_core::jobs::{EndedJob, Found, Whose};
use redpoll_manager_core::revoked::{Denial, Denied};

use super::telling::judge;

#[derive(Debug, Clone, Default)]
pub(crate) struct Store {
    pub(crate) jobs: BTreeMap<JobId, JobRecord>,
    /// Below which number there are no events.
    pub(crate) pruned: u64,
    pub(crate) runs: BTreeMap<RunKey, RunRecord>,
    pub(crate) items: BTreeMap<(RunKey, Attempt), Vec<Item>>,
    pub(crate) queues: BTreeMap<QueueKey, QueueRecord>,
    pub(crate) agents: BTreeMap<PeerId, AgentCounters>,
    pub(crate) callbacks: BTreeMap<(JobId, u32), CallbackRecord>,
    pub(crate) events: Vec<EventRecord>,
    pub(crate) denied: BTreeMap<Denied, Denial>,
    pub(crate) deleted: Vec<JobId>,
    /// The attempts that were found, which take places in their queues beside those that started meanwhile.
    pub(crate) found: BTreeMap<RunKey, Attempt>,
    /// What was masked of the arguments of ended jobs.
    pub(crate) masked: BTreeMap<JobId, Vec<String>>,
    pub(crate) clock: Option<Anchor>,
    /// An older copy of it was put back: it may lack items that were acknowledged.
    pub(crate) lacks: bool,
}

impl Store {
    pub(crate) fn apply(&mut self, changes: &[Change]) {
        let wrong = judge(self, changes);
        assert!(wrong.is_empty(), "{wrong:#?}\n{changes:#?}");
        for change in changes {
            self.change(change);
        }
        self.check();
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::JobSubmitted(job) => {
                assert!(!self.jobs.contains_key(&job.id), "{} was submitted twice", job.id);
                let key = job.key().map(|key| (&job.submitter, key));
                let same = self
                    .jobs
                    .values()
                    .find(|other| key.is_some() && other.key().map(|key| (&other.submitter, key)) == key);
                assert!(same.is_none(), "two jobs with one idempotency key");
                self.jobs.insert(job.id, JobRecord::clone(job));
            }
            Change::JobReleased { job, at_ms } => self.jobs.get_mut(job).unwrap().released_ms = Some(*at_ms),
            Change::RunChanged(run) => self.run(run),
            Change::Items { key, attempt, from, items } => self.items(key, *attempt, *from, items),
            Change::Progress { .. } | Change::AttemptEnded { .. } => {}
            Change::EventsPruned { below } => self.pruned = *below,
            Change::QueueOpened(queue) => {
                assert!(
                    self.queues.insert(queue.key.clone(), queue.clone()).is_none(),
                    "a queue was opened twice"
                );
            }
            Change::QueueClosed(key) => assert!(self.queues.remove(key).is_some(), "no such queue to close"),
            Change::AgentCounters(counters) => {
                if let Some(before) = self.agents.insert(counters.agent.clone(), counters.clone()) {
                    assert!(counters.last_dno >= before.last_dno, "dispatch numbers went back");
                }
            }
            Change::JobEnded { job, ended_ms, summary } => {
                assert!(self.may_end(*job, *summary), "a job ended twice");
                let record = self.jobs.get_mut(job).unwrap();
                (record.ended_ms, record.summary) = (Some(*ended_ms), Some(*summary));
                let last =
                    self.runs.values().filter(|run| run.key.job == *job).filter_map(|run| run.ended_ms).max();
                assert_eq!(last, Some(*ended_ms), "a job ends with the last of its runs");
            }
            Change::ArgumentsMasked(job) => {
                let record = self.jobs.get_mut(job).unwrap();
                assert!(record.ended_ms.is_some(), "the arguments of an open job were masked");
                self.masked.insert(*job, record.redact.to_vec());
            }
            Change::JobRedacted(job) => self.jobs.get_mut(&job.id).unwrap().redact = job.redact.clone(),
            Change::JobDeleted(job) => {
                self.deleted.push(*job);
                self.jobs.remove(job);
                self.runs.retain(|key, _| key.job != *job);
                self.items.retain(|(key, _), _| key.job != *job);
                self.callbacks.retain(|(id, _), _| id != job);
            }
            Change::Event(event) => {
                assert_eq!(event.n, self.events.len() as u64 + 1, "events are numbered without gaps");
                self.events.push(event.clone());
                self.found(event);
            }
            Change::Denied(denial) => {
                let before = self.denied.insert(denial.denied.clone(), denial.clone());
                assert_eq!(before, None, "somebody was revoked twice");
            }
            Change::Allowed(denied) => {
                assert!(self.denied.remove(denied).is_some(), "nobody was revoked who is restored");
            }
            Change::Clock(anchor) => self.clock = Some(*anchor),
            Change::CallbackChanged(callback) => {
                let key = (callback.job, callback.serial);
                let last = self.callbacks.range((key.0, 0)..=(key.0, u32::MAX)).next_back();
                let last = last.map(|(id, _)| id.1);
                match self.callbacks.insert(key, callback.clone()) {
                    Some(before) => {
                        assert_eq!(before.state, CallbackState::Pending, "a callback went on after its end");
                    }
                    None => {
                        let fits = last.map_or(key.1 == 1, |last| key.1 > last);
                        assert!(fits, "callback {} of {} follows {last:?}", key.1, key.0);
                    }
                }
            }
        }
    }

    fn found(&mut self, event: &EventRecord) {
        if event.kind == EventKind::RunFound {
            let key = RunKey { job: event.job.unwrap(), agent: event.agent.clone().unwrap() };
            self.found.insert(key, event.attempt.unwrap());
        }
    }

    /// Items follow those before, without gaps.
    fn items(&mut self, key: &RunKey, attempt: Attempt, from: u64, items: &[Item]) {
        let stored = self.items.entry((key.clone(), attempt)).or_default();
        let last = stored.last().map_or(0, |item| item.n + 1);
        assert!(from == last || (self.lacks && from > last), "items of {key} do not follow");
        for (item, n) in items.iter().zip(from..) {
            assert_eq!(item.n, n, "a gap in the items of {key}");
            stored.push(item.clone());
        }
        let run = self.runs.get_mut(key).unwrap();
        assert_eq!(run.attempt, attempt);
        run.items = from + items.len() as u64;
    }

    /// Whether it had not ended, or one `unknown` less is left of it, or a newer agent's last word is one.
    fn may_end(&self, job: JobId, now: Summary) -> bool {
        let Some(before) = self.jobs[&job].summary else { return true };
        let last_word = |run: &RunRecord| {
            let is_unknown = run.state.ending().is_some_and(|end| end.outcome == Outcome::Unknown);
            run.key.job == job && run.corrected && is_unknown
        };
        let unknown = |summary: Summary| summary.count(Outcome::Unknown);
        unknown(now) + 1 == unknown(before) || (now == before && self.runs.values().any(last_word))
    }

    /// A terminal state is final but for `unknown`, once.
    fn run(&mut self, run: &RunRecord) {
        if let Some(before) = self.runs.get(&run.key)
            && let RunState::Ended(old) = &before.state
        {
            let RunState::Ended(new) = &run.state else { panic!("{} came back to life", run.key) };
            assert_eq!(old.outcome, Outcome::Unknown, "{}: an outcome was replaced", run.key);
            assert!(!before.corrected && run.corrected, "{}: unknown was replaced twice", run.key);
            // the last word of a newer agent is one that nobody knows here
            let code = new.fault.as_ref().map(|fault| &fault.code);
            assert!(new.outcome != Outcome::Unknown || code == Some(&FaultCode::Internal), "{}", run.key);
            assert_eq!((before.attempt, before.dno), (run.attempt, run.dno));
        }
        self.runs.insert(run.key.clone(), run.clone());
    }

    /// What holds between turns.
    fn check(&self) {
        for (key, record) in &self.queues {
            let holders: Vec<_> = self.of_queue(key).filter(|run| run.state.holds_slot()).collect();
            let found = |run: &&&RunRecord| self.found.get(&run.key) == Some(&run.attempt);
            let (slots, found) = (holders.len(), holders.iter().filter(found).count());
            assert!(
                slots <= record.concurrency as usize + found,
                "{slots} slots of {} are taken",
                record.concurrency
            );
            let waiting = self.of_queue(key).filter(|run| matches!(run.state, RunState::Queued)).count();
            assert!(slots + waiting > 0, "an empty queue is kept");
        }
        for (key, run) in &self.runs {
            let job = &self.jobs[&key.job];
            if matches!(run.state, RunState::Queued) || run.state.holds_slot() {
                let queue = job.spec.queue.as_ref();
                assert!(
                    queue.is_none_or(|queue| self.queues.contains_key(&queue.name)),
                    "{key} is in no queue"
                );
                assert!(job.ended_ms.is_none(), "{key} is open and its job has ended");
            }
            let last = self.agents.get(&key.agent).map_or(Dno(0), |counters| counters.last_dno);
            assert!(run.dno <= last, "{key} has a number that was not given out");
            let items = self.items.get(&(key.clone(), run.attempt)).map(Vec::as_slice).unwrap_or_default();
            let have = items.last().map_or(0, |item| item.n + 1);
            let agree = run.items == have || (self.lacks && run.items > have);
            assert!(agree, "{key}: its row has {} items, and there are {have}", run.items);
        }
        for job in self.jobs.values() {
            let runs: Vec<_> = job
                .agents
                .iter()
                .map(|agent| &self.runs[&RunKey { job: job.id, agent: agent.clone() }])
                .collect();
            let open = runs.iter().any(|run| !matches!(run.state, RunState::Ended(_)));
            assert_eq!(open, job.ended_ms.is_none(), "{}: job and runs disagree", job.id);
            if let Some(summary) = job.summary {
                for outcome in Outcome::ALL {
                    let count = runs
                        .iter()
                        .filter(|run| matches!(&run.state, RunState::Ended(end) if end.outcome == outcome))
                        .count();
                    assert_eq!(summary.count(outcome) as usize, count, "the summary of {} miscounts", job.id);
                }
            }
        }
    }

    pub(crate) fn of_queue(&self, key: &QueueKey) -> impl Iterator<Item = &RunRecord> {
        self.runs.values().filter(move |run| {
            self.jobs[&run.key.job].spec.queue.as_ref().is_some_and(|queue| queue.name == *key)
        })
    }

    pub(crate) fn find_key(&self, submitter: &Submitter, key: &str) -> Found {
        match self.jobs.values().find(|job| job.submitter == *submitter && job.key() == Some(key)) {
            Some(job) => Found::Taken { job: job.id, digest: job.digest },
            None => Found::Free,
        }
    }

    pub(crate) fn oldest(&self, whose: &Whose, limit: usize) -> (u64, Vec<EndedJob>) {
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
    pub(crate) fn records(&self) -> Records {
        let alive = |job: &JobId| self.runs.values().any(|run| run.key.job == *job && run.is_alive());
        let jobs: Vec<_> = self.jobs.values().filter(|job| alive(&job.id)).cloned().collect();
        Records {
            runs: self.runs.values().filter(|run| alive(&run.key.job)).cloned().collect(),
            jobs,
            queues: self.queues.values().cloned().collect(),
            agents: self.agents.values().cloned().collect(),
            callbacks: self
                .callbacks
                .values()
                .filter(|c| c.state == CallbackState::Pending)
                .cloned()
                .collect(),
            denied: self.denied.values().cloned().collect(),
            last_event: self.events.len() as u64,
            first_event: self.pruned.max(1),
            ended_jobs: self.jobs.values().filter(|job| job.ended_ms.is_some()).count() as u64,
            unreadable: Vec::new(),
        }
    }

    pub(crate) fn run_of(&self, job: JobId, agent: &PeerId) -> Option<&RunRecord> {
        self.runs.get(&RunKey { job, agent: agent.clone() })
    }

    pub(crate) fn spec_of(&self, job: JobId) -> Option<Arc<redpoll_common::job::JobSpec>> {
        self.jobs.get(&job).map(|job| Arc::clone(&job.spec))
    }
}
