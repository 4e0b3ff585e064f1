//! What the events of the history say of runs and jobs: followed event by event, and all of it again from the beginning.

use std::collections::{BTreeMap, BTreeSet};

use redpoll_common::job::{Attempt, JobId, Outcome, QueueKey, RunKey, RunState};
use redpoll_manager_core::jobs::record::{CallbackState, EventKind, EventRecord, RunRecord};

use super::history::{holds, is_recorded};
use super::invariant::Check;
use super::store::Store;

/// What is told of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Story {
    attempt: Attempt,
    /// An agent has it, or may have it.
    at_agent: bool,
    doubt: bool,
    started: bool,
    cancelled: bool,
    put_back: u16,
    ended: Option<Outcome>,
    corrected: bool,
}

impl Default for Story {
    fn default() -> Self {
        Self {
            attempt: Attempt(0),
            at_agent: false,
            doubt: false,
            started: false,
            cancelled: false,
            put_back: 0,
            ended: None,
            corrected: false,
        }
    }
}

impl Story {
    /// As a row has it.
    pub(super) fn of(run: &RunRecord) -> Self {
        Self {
            attempt: run.attempt,
            at_agent: run.state.dispatch().is_some(),
            doubt: matches!(run.state, RunState::InDoubt(..)),
            started: run.started_ms.is_some(),
            cancelled: run.cancel.is_some(),
            put_back: run.put_back,
            ended: run.state.ending().map(|end| end.outcome),
            corrected: run.corrected,
        }
    }

    pub(super) fn is_at_agent(&self) -> bool {
        self.at_agent
    }

    /// An agent has it, and nobody doubts it.
    pub(super) fn is_followed(&self) -> bool {
        self.at_agent && !self.doubt
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    /// Takes an event in. Gives what speaks against it.
    pub(super) fn hear(&mut self, event: &EventRecord) -> Result<(), &'static str> {
        if event.attempt != Some(self.attempt).filter(|attempt| attempt.0 > 0) {
            return Err("it names another attempt");
        }
        let right = match event.kind {
            EventKind::RunStarted => {
                self.at_agent && !std::mem::replace(&mut self.started, true) && event.outcome.is_none()
            }
            EventKind::RunInDoubt => {
                self.at_agent && !std::mem::replace(&mut self.doubt, true) && event.outcome.is_none()
            }
            EventKind::RunRetried => {
                let may = [Outcome::Failed, Outcome::TimedOut, Outcome::Unknown];
                let may = event.outcome.is_some_and(|outcome| may.contains(&outcome)) && !self.cancelled;
                self.leaves() && may
            }
            EventKind::RunPutBack => {
                self.put_back = self.put_back.saturating_add(1);
                self.leaves() && event.outcome.is_none()
            }
            EventKind::RunEnded => {
                self.leaves();
                self.ended.is_none() && event.outcome.is_some()
            }
            EventKind::RunCorrected => {
                let replaced = self.ended == Some(Outcome::Unknown) && event.outcome != self.ended;
                !std::mem::replace(&mut self.corrected, true) && replaced && event.outcome.is_some()
            }
            // the attempt that was given up
            EventKind::RunFound => !std::mem::replace(&mut self.at_agent, true) && event.outcome.is_none(),
            EventKind::AgentConnected
            | EventKind::AgentDisconnected
            | EventKind::SpoolLost
            | EventKind::StoreBehind
            | EventKind::ClockSet
            | EventKind::HistoryBroken
            | EventKind::StoreDamaged
            | EventKind::ProcedureEnabled
            | EventKind::ProcedureDisabled
            | EventKind::AgentRevoked
            | EventKind::AgentRestored
            | EventKind::OperatorRevoked
            | EventKind::OperatorRestored
            | EventKind::JobSubmitted
            | EventKind::JobReleased
            | EventKind::CancelAsked
            | EventKind::JobEnded
            | EventKind::JobRecorded
            | EventKind::JobDeleted
            | EventKind::QueueOpened
            | EventKind::QueueClosed
            | EventKind::CallbackDelivered
            | EventKind::CallbackAbandoned
            | EventKind::Custom => return Err("it is not about a run"),
        };
        if matches!(event.kind, EventKind::RunEnded | EventKind::RunCorrected) {
            self.ended = event.outcome;
        } else if self.ended.is_some() {
            return Err("the run had ended");
        }
        if right { Ok(()) } else { Err("it cannot have happened then") }
    }

    /// No agent has it any more. Gives whether one had it.
    fn leaves(&mut self) -> bool {
        self.doubt = false;
        std::mem::take(&mut self.at_agent)
    }

    /// Whether a row is as the events left it. A new attempt, and how an agent has it, no event tells.
    pub(super) fn agrees(&self, row: &RunRecord) -> Result<(), &'static str> {
        let is = Self::of(row);
        let offered = !self.at_agent && self.ended.is_none() && is.at_agent && !is.doubt;
        let same = is.attempt == self.attempt;
        let next = is.attempt.0 == self.attempt.0 + 1 && offered && !is.started;
        let checks = [
            (is.ended == self.ended, "its end"),
            (is.corrected == self.corrected, "its correction"),
            (is.put_back == self.put_back, "how often it was put back"),
            (same || next, "its attempt"),
            (next || is.started == self.started, "its start"),
            (self.doubt || !is.doubt, "its doubt"),
            (next || is.at_agent == self.at_agent, "who has it"),
        ];
        checks.into_iter().find(|(right, _)| !right).map_or(Ok(()), |(_, what)| Err(what))
    }
}

/// What all events together say, from the first one on.
#[derive(Debug, Default)]
struct Tale {
    jobs: BTreeMap<JobId, Option<Outcome>>,
    released: BTreeSet<JobId>,
    recorded: BTreeMap<RunKey, Option<Outcome>>,
    runs: BTreeMap<RunKey, Fold>,
    queues: BTreeSet<QueueKey>,
    callbacks: BTreeMap<(JobId, EventKind), usize>,
}

/// What all events of a run say.
#[derive(Debug, Default)]
struct Fold {
    ended: Option<Outcome>,
    corrected: bool,
    put_back: u16,
    /// The last attempt that was told to have begun.
    started: Option<Attempt>,
    /// The highest attempt that was told of.
    attempt: Option<Attempt>,
    /// It was told to be in doubt, and nothing after that ended the doubt; what is only followed again is not told.
    doubt: bool,
}

impl Tale {
    fn hear(&mut self, event: &EventRecord) {
        let (Some(job), agent) = (event.job, event.agent.clone()) else {
            if let Some(queue) = event.queue.clone() {
                _ = if event.kind == EventKind::QueueOpened {
                    self.queues.insert(queue)
                } else {
                    self.queues.remove(&queue)
                };
            }
            return;
        };
        match (event.kind, agent) {
            (EventKind::JobSubmitted, _) => drop(self.jobs.insert(job, None)),
            (EventKind::JobRecorded, Some(agent)) => {
                self.jobs.insert(job, event.outcome);
                self.recorded.insert(RunKey { job, agent }, event.outcome);
            }
            (EventKind::JobEnded, _) => drop(self.jobs.insert(job, event.outcome)),
            (EventKind::JobReleased, _) => drop(self.released.insert(job)),
            (EventKind::JobDeleted, _) => self.forget(job),
            (EventKind::CallbackDelivered | EventKind::CallbackAbandoned, _) => {
                *self.callbacks.entry((job, event.kind)).or_default() += 1;
            }
            (_, Some(agent)) => self.runs.entry(RunKey { job, agent }).or_default().hear(event),
            (_, None) => {}
        }
    }

    fn forget(&mut self, job: JobId) {
        self.jobs.remove(&job);
        self.released.remove(&job);
        self.runs.retain(|key, _| key.job != job);
        self.recorded.retain(|key, _| key.job != job);
        self.callbacks.retain(|(of, _), _| *of != job);
    }
}

impl Fold {
    fn hear(&mut self, event: &EventRecord) {
        self.attempt = self.attempt.max(event.attempt);
        // one that is told to have begun while its agent is away is in doubt all the same
        if event.kind != EventKind::RunStarted {
            self.doubt = event.kind == EventKind::RunInDoubt;
        }
        if event.kind == EventKind::RunStarted {
            self.started = event.attempt;
        }
        self.put_back = self.put_back.saturating_add(u16::from(event.kind == EventKind::RunPutBack));
        if matches!(event.kind, EventKind::RunEnded | EventKind::RunCorrected) {
            self.ended = event.outcome;
            self.corrected |= event.kind == EventKind::RunCorrected;
        }
    }

    /// Whether it is what a row says.
    fn is(&self, row: &RunRecord) -> bool {
        let begun = Some(row.attempt).filter(|_| row.started_ms.is_some());
        let begun = begun.is_none_or(|attempt| self.started == Some(attempt));
        self.ended == row.state.ending().map(|end| end.outcome)
            && self.corrected == row.corrected
            && self.put_back == row.put_back
            && self.attempt.is_none_or(|attempt| attempt <= row.attempt)
            && begun
            && (self.doubt || !matches!(row.state, RunState::InDoubt(..)))
    }
}

/// Tells the whole history again and compares with the rows: what was lost in a crash was lost from both.
pub(super) fn judge_replay(store: &Store) -> Check {
    let mut tale = Tale::default();
    store.events.iter().for_each(|event| tale.hear(event));
    let told: Vec<_> = tale.jobs.keys().collect();
    let stored: Vec<_> = store.jobs.keys().collect();
    holds(told == stored, || {
        format!("the history has {} jobs, and {} are stored", told.len(), stored.len())
    })?;
    for (id, outcome) in &tale.jobs {
        let Some(job) = store.jobs.get(id) else { continue };
        let ended = job.summary.filter(|_| job.ended_ms.is_some()).and_then(|summary| summary.outcome());
        holds(ended == *outcome, || format!("{id} ended as {ended:?}, and {outcome:?} was told"))?;
        let released = job.released_ms.is_some() || !tale.released.contains(id);
        holds(released, || format!("the release of {id} was told, and it is held"))?;
        for kind in [EventKind::CallbackDelivered, EventKind::CallbackAbandoned] {
            let state = if kind == EventKind::CallbackDelivered {
                CallbackState::Delivered
            } else {
                CallbackState::Abandoned
            };
            let rows = store.callbacks.range((*id, 0)..=(*id, u32::MAX));
            let rows = rows.filter(|(_, callback)| callback.state == state).count();
            let told = tale.callbacks.get(&(*id, kind)).copied().unwrap_or(0);
            holds(rows == told, || format!("{rows} callbacks of {id} are {state:?}, and {told} were told"))?;
        }
    }
    let none = Fold::default();
    for (key, row) in &store.runs {
        let fold = tale.runs.get(key).unwrap_or(&none);
        let fits = if is_recorded(row) {
            tale.recorded.get(key).copied().flatten() == row.state.ending().map(|end| end.outcome)
        } else {
            fold.is(row)
        };
        holds(fits, || format!("{key} is {}, and the history tells {fold:?}", row.state.word()))?;
    }
    let missing = tale.runs.keys().find(|key| !store.runs.contains_key(key));
    holds(missing.is_none(), || format!("the history tells of {missing:?}, which is not stored"))?;
    holds(tale.queues.iter().eq(store.queues.keys()), || {
        format!("the history has the queues {:?}, and {:?} are stored", tale.queues, store.queues.keys())
    })
}
