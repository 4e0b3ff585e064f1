//! What a follower was told of each run, and which runs have more for it.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use redpoll_common::api::items::{FollowArguments, FollowFrom};
use redpoll_common::ids::PeerId;
use redpoll_common::job::{Attempt, RunKey};
use redpoll_common::wire::Fault;
use redpoll_manager_core::jobs::record::{JobRecord, Progress, RunRecord};

use super::arguments::{bad, since_or_recent};
use super::read::run_on;

/// Where a run begins that nothing is known of.
#[derive(Debug, Clone, Copy)]
enum Start {
    /// With the first item of its first attempt.
    First,
    /// In the attempt in force, with this item.
    Since(u64),
    /// In the attempt in force, with the last so many.
    Recent(u64),
}

/// What a follower keeps of a run's row while it waits: no fault and no result, which may be as large as a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) key: RunKey,
    pub(super) attempt: Attempt,
    pub(super) state: &'static str,
    pub(super) items: u64,
    pub(super) ended: bool,
    pub(super) corrected: bool,
}

impl Seen {
    pub(super) fn of(row: &RunRecord) -> Self {
        let RunRecord { key, attempt, state, items, corrected, .. } = row;
        let (state, ended) = (state.word(), state.ending().is_some());
        Self { key: key.clone(), attempt: *attempt, state, items: *items, ended, corrected: *corrected }
    }
}

/// The runs that are followed.
#[derive(Debug)]
pub(super) struct Runs {
    agents: Arc<[PeerId]>,
    told: Vec<Told>,
    /// Runs with news, or that may have some: each once.
    queue: VecDeque<usize>,
    /// How many have not been told to have ended.
    open: usize,
    start: Start,
}

/// What was told of one run. Small: there may be a hundred thousand.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    /// The attempt and the number of its next item; none before the run was looked at.
    pub(super) at: Option<(Attempt, u64)>,
    /// The last state, and of which attempt.
    pub(super) state: Option<(Attempt, &'static str)>,
    /// A hash of the last progress.
    pub(super) progress: Option<u64>,
    /// The end was told.
    pub(super) ended: bool,
    /// The correction of an end was.
    pub(super) corrected: bool,
    /// Nothing is told of it.
    left_out: bool,
    queued: bool,
}

impl Runs {
    /// Takes what the follower knows already.
    pub(super) fn new(job: &JobRecord, arguments: &FollowArguments) -> Result<Self, Fault> {
        since_or_recent(arguments.since, arguments.recent)?;
        let start = match (arguments.since, arguments.recent) {
            (Some(since), _) => Start::Since(since),
            (None, Some(recent)) => Start::Recent(recent),
            (None, None) => Start::First,
        };
        let agents = match &arguments.agent {
            Some(agent) => Arc::from([run_on(job.id, &job.agents, agent)?.agent]),
            None => job.agents.clone(),
        };
        let mut runs = Self {
            told: vec![Told::default(); agents.len()],
            queue: VecDeque::new(),
            open: agents.len(),
            agents,
            start,
        };
        for known in &arguments.from {
            // also one that is not followed has to be the job's
            let agent = run_on(job.id, &job.agents, &known.agent)?.agent;
            runs.know(&agent, known)?;
        }
        Ok(runs)
    }

    fn know(&mut self, agent: &PeerId, known: &FollowFrom) -> Result<(), Fault> {
        let Some(told) = self.index(agent).and_then(|index| self.told.get_mut(index)) else { return Ok(()) };
        if told.at.is_some() {
            return Err(bad(format!("from names {agent} twice")));
        }
        told.at = Some((Attempt(known.attempt), known.next));
        if known.ended {
            told.left_out = true;
            self.open -= 1;
        }
        Ok(())
    }

    /// How many ends have still to be told.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// The only run that is followed, if it is only one.
    pub(super) fn only(&self) -> Option<&PeerId> {
        if let [agent] = &*self.agents { Some(agent) } else { None }
    }

    /// Which one it is, if it is followed.
    pub(super) fn index(&self, agent: &PeerId) -> Option<usize> {
        self.agents.binary_search(agent).ok()
    }

    /// The agent of a run.
    pub(super) fn agent(&self, index: usize) -> Option<&PeerId> {
        self.agents.get(index)
    }

    /// Puts a run at the end of the queue, unless it stands there or nothing is told of it.
    pub(super) fn mark(&mut self, index: usize) {
        if let Some(told) = self.told.get_mut(index).filter(|told| !told.queued && !told.left_out) {
            told.queued = true;
            self.queue.push_back(index);
        }
    }

    /// The run that waits longest.
    pub(super) fn next(&mut self) -> Option<usize> {
        let index = self.queue.pop_front()?;
        if let Some(told) = self.told.get_mut(index) {
            told.queued = false;
        }
        Some(index)
    }

    /// What was told of a run, if its row says something else: where to begin with a run that is seen for the first time
    /// follows from it.
    pub(super) fn news(&mut self, index: usize, row: &Seen) -> Result<Option<Told>, Fault> {
        let Some(told) = self.told.get_mut(index).filter(|told| !told.left_out) else { return Ok(None) };
        let at = match told.at {
            Some(at) if told.state.is_none() && at.0 > row.attempt && at.0.0 > 1 => {
                let agent = &row.key.agent;
                let text =
                    format!("from names attempt {} of {agent}, which has had {} so far", at.0, row.attempt);
                return Err(bad(text));
            }
            Some(at) => at,
            None => begin(self.start, row),
        };
        told.at = Some(at);
        let behind = at.0 < row.attempt || (at.0 == row.attempt && at.1 < row.items);
        let state = told.state != Some((row.attempt, row.state));
        let end = row.ended && !told.knows_end(row);
        Ok((behind || state || end).then(|| told.clone()))
    }

    /// What was told of a run, whether there is more or not, unless it is left out.
    pub(super) fn told(&self, index: usize) -> Option<Told> {
        self.told.get(index).filter(|told| !told.left_out).cloned()
    }

    /// Notes what was told meanwhile.
    pub(super) fn note(&mut self, index: usize, now: Told) {
        if let Some(told) = self.told.get_mut(index) {
            self.open -= usize::from(now.ended && !told.ended);
            let (queued, left_out) = (told.queued, told.left_out);
            *told = Told { queued, left_out, ..now };
        }
    }
}

impl Told {
    /// Whether the end that a row has was told.
    pub(super) fn knows_end(&self, row: &Seen) -> bool {
        self.ended && self.corrected == row.corrected
    }

    /// Whether this progress is another one than was told before; notes it.
    pub(super) fn is_new(&mut self, attempt: Attempt, progress: &Progress) -> bool {
        let mut hasher = DefaultHasher::new();
        (attempt, progress.completed, progress.total).hash(&mut hasher);
        progress.details.as_ref().map(|details| details.as_bytes()).hash(&mut hasher);
        let hash = Some(hasher.finish());
        std::mem::replace(&mut self.progress, hash) != hash
    }
}

fn begin(start: Start, row: &Seen) -> (Attempt, u64) {
    match start {
        Start::First => (Attempt(row.attempt.0.min(1)), 0),
        // of an attempt that has still to come, too
        Start::Since(since) => (row.attempt.max(Attempt(1)), since),
        Start::Recent(recent) => (row.attempt, row.items.saturating_sub(recent)),
    }
}
