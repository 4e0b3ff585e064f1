//! What is open, for whoever asks. What has ended is in the store.

use std::ops::Bound;
use std::sync::Arc;

use redpoll_common::ids::PeerId;
use redpoll_common::job::{Attempt, JobId, Outcome, QueueKey};

use super::Jobs;
use super::model::{Job, Phase, Queue, Run};
use super::record::{JobRecord, Summary};

/// An open job, or one with a run whose outcome may still be replaced.
#[derive(Debug, Clone, Copy)]
pub struct JobView<'a> {
    /// The job.
    pub record: &'a Arc<JobRecord>,
    /// Its runs by their ends.
    pub summary: Summary,
    runs: &'a [Run],
}

/// A run of it, in short; the whole row is in the store.
#[derive(Debug, Clone, Copy)]
pub struct RunView<'a> {
    /// The agent.
    pub agent: &'a PeerId,
    /// Its state in one word, as [`RunState::word`](redpoll_common::job::RunState::word).
    pub state: &'static str,
    /// How it ended, if it has.
    pub outcome: Option<Outcome>,
    /// The attempt in force or the last one.
    pub attempt: Attempt,
    /// Somebody asked for its end.
    pub cancelling: bool,
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueView {
    /// Its name.
    pub key: QueueKey,
    /// Its slots.
    pub concurrency: u32,
    /// When it was made.
    pub opened_ms: u64,
    /// How many slots are taken: by runs that agents have, or may have.
    pub taken: usize,
    /// How many runs wait.
    pub waiting: usize,
}

impl<T> Jobs<T> {
    /// A job that is in memory: open, or with an outcome that may be replaced.
    pub fn job(&self, id: JobId) -> Option<JobView<'_>> {
        self.jobs.get(&id).map(Job::view)
    }

    /// All jobs of which a run is open, oldest first. O(n) in their number.
    pub fn open_jobs(&self) -> impl Iterator<Item = JobView<'_>> {
        self.jobs.values().filter(|job| job.summary.open > 0).map(Job::view)
    }

    /// The jobs on an agent of which a run is open, its own or another's, and those that ended as unknown and may be corrected: oldest
    /// first. O(n) in their number.
    pub fn alive_on(&self, agent: &PeerId) -> impl Iterator<Item = JobId> {
        self.alive.on(agent)
    }

    /// All queues, by name.
    pub fn queues(&self) -> impl Iterator<Item = QueueView> {
        self.queues_after(None)
    }

    /// The queues whose names come after this one, by name. What is before it takes no time.
    pub fn queues_after(&self, after: Option<&QueueKey>) -> impl Iterator<Item = QueueView> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.queues.range((from, Bound::Unbounded)).map(|(key, queue)| queue.view(key))
    }

    /// One queue.
    pub fn queue(&self, key: &QueueKey) -> Option<QueueView> {
        self.queues.get(key).map(|queue| queue.view(key))
    }

    /// The runs of a queue: the first `slots` that hold its slots, then the first `waiting` that wait, in their order.
    pub fn queue_runs(
        &self,
        key: &QueueKey,
        slots: usize,
        waiting: usize,
    ) -> impl Iterator<Item = (JobId, RunView<'_>)> {
        let queue = self.queues.get(key);
        let holding = queue.into_iter().flat_map(move |queue| queue.slots.iter().take(slots));
        let waiting = queue.into_iter().flat_map(move |queue| queue.waiting.values().take(waiting));
        holding.chain(waiting).filter_map(|at| {
            let job = self.jobs.get(&at.job)?;
            Some((at.job, job.run(at.index)?.view(job.agent(at.index)?)))
        })
    }

    /// How many runs have not ended.
    pub fn open_runs(&self) -> usize {
        self.open_runs
    }
}

impl Job {
    fn view(&self) -> JobView<'_> {
        JobView { record: &self.record, summary: self.summary, runs: &self.runs }
    }
}

impl Run {
    pub(super) fn view<'a>(&self, agent: &'a PeerId) -> RunView<'a> {
        let (state, outcome) = match self.phase {
            Phase::Held => ("held", None),
            Phase::Queued => ("queued", None),
            Phase::Offered => ("offered", None),
            Phase::Accepted => ("accepted", None),
            Phase::Running => ("running", None),
            Phase::InDoubt => ("in_doubt", None),
            Phase::Ended(outcome) => ("ended", Some(outcome)),
        };
        RunView { agent, state, outcome, attempt: self.attempt, cancelling: self.cancel.is_some() }
    }
}

impl Queue {
    fn view(&self, key: &QueueKey) -> QueueView {
        QueueView {
            key: key.clone(),
            concurrency: self.concurrency,
            opened_ms: self.opened_ms,
            taken: self.slots.len(),
            waiting: self.waiting.len(),
        }
    }
}

impl<'a> JobView<'a> {
    /// Its runs, by agent.
    pub fn runs(&self) -> impl Iterator<Item = RunView<'a>> + use<'a> {
        self.record.agents.iter().zip(self.runs).map(|(agent, run)| run.view(agent))
    }
}
