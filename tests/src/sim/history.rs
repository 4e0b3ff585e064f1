//! The history of events against the rows: each turn tells what it changes, once, and nothing else (I15).
//!
//! A turn is one transaction, so this is looked at where it reaches the disk. [`Before`] is what the rows were;
//! [`Before::judge`] compares with what they are, and with the events of the same turn. What [`told`](super::told) says of
//! single runs is part of it.

use std::collections::{BTreeMap, BTreeSet};

use redpoll_common::ids::PeerId;
use redpoll_common::job::{Attempt, Dno, JobId, Outcome, QueueKey, RunKey, RunState};
use redpoll_manager_core::jobs::record::{
    AgentCounters, CallbackState, Change, EventKind, EventRecord, RunRecord,
};

use super::invariant::{Check, Invariant, ensure};
use super::store::Store;
use super::told::Story;

/// What an event says, but for its time, its number and its words for people.
type Said = (EventKind, Option<JobId>, Option<PeerId>, Option<QueueKey>, Option<Attempt>, Option<Outcome>);

/// What a turn is about to change.
#[derive(Debug)]
pub(super) struct Before {
    /// The manager has just started: the turn says of what agents had that it is in doubt.
    first: bool,
    runs: BTreeMap<RunKey, Story>,
    agents: BTreeMap<PeerId, AgentCounters>,
    /// Of the jobs that are deleted, those that were there.
    stored: BTreeSet<JobId>,
}

pub(super) fn holds(holds: bool, detail: impl FnOnce() -> String) -> Check {
    ensure(holds, Invariant::HistoryTells, detail)
}

fn events(changes: &[Change]) -> impl Iterator<Item = &EventRecord> {
    changes.iter().filter_map(|change| if let Change::Event(event) = change { Some(event) } else { None })
}

fn rows(changes: &[Change]) -> impl Iterator<Item = &RunRecord> {
    changes.iter().filter_map(|change| if let Change::RunChanged(run) = change { Some(&**run) } else { None })
}

/// The run that an event is about.
fn run_of(event: &EventRecord) -> Option<RunKey> {
    let key = RunKey { job: event.job?, agent: event.agent.clone()? };
    event.kind.is_of_run().then_some(key)
}

/// A run that its agent made by itself: it was never offered, and has ended.
pub(super) fn is_recorded(run: &RunRecord) -> bool {
    run.attempt == Attempt(1) && run.dno == Dno(0)
}

impl Before {
    /// Looks at the rows before the turn.
    pub(super) fn look(store: &Store, changes: &[Change], first: bool) -> Self {
        let moved: BTreeSet<&PeerId> = events(changes)
            .filter(|event| matches!(event.kind, EventKind::AgentConnected | EventKind::AgentDisconnected))
            .filter_map(|event| event.agent.as_ref())
            .collect();
        let shaken = store.runs.values().filter(|run| run.state.dispatch().is_some());
        let shaken = shaken.filter(|run| first || moved.contains(&run.key.agent)).map(|run| run.key.clone());
        let shaken: Vec<RunKey> = if first || !moved.is_empty() { shaken.collect() } else { Vec::new() };
        let keys = rows(changes).map(|run| run.key.clone()).chain(events(changes).filter_map(run_of));
        let story = |key: RunKey| {
            let story = store.runs.get(&key).map_or_else(Story::default, Story::of);
            (key, story)
        };
        let agents = changes.iter().filter_map(|change| {
            if let Change::AgentCounters(counters) = change {
                store.agents.get(&counters.agent).cloned()
            } else {
                None
            }
        });
        let deleted = changes.iter().filter_map(|change| {
            if let Change::JobDeleted(job) = change {
                Some(*job).filter(|job| store.jobs.contains_key(job))
            } else {
                None
            }
        });
        Self {
            first,
            runs: keys.chain(shaken).map(story).collect(),
            agents: agents.map(|counters| (counters.agent.clone(), counters)).collect(),
            stored: deleted.collect(),
        }
    }

    /// Whether the turn told what it changed, now that it did.
    pub(super) fn judge(self, store: &Store, changes: &[Change]) -> Check {
        let mut expected: Vec<Said> =
            changes.iter().filter_map(|change| self.expected(changes, change)).collect();
        let mut said: Vec<Said> = events(changes).filter(|event| is_plain(event.kind)).map(said).collect();
        expected.sort();
        said.sort();
        holds(expected == said, || {
            let missing: Vec<_> = expected.iter().filter(|told| !said.contains(told)).collect();
            let untrue: Vec<_> = said.iter().filter(|told| !expected.contains(told)).collect();
            format!("the events of a turn lack {missing:?}, and say {untrue:?} or something twice")
        })?;
        self.judge_spools(changes)?;
        judge_cancels(store, changes, &self.runs)?;
        let first = self.first;
        self.runs.into_iter().try_for_each(|(key, story)| judge_run(store, changes, first, &key, story))
    }

    /// What a change has to be told as, if it is one that is told as it is.
    fn expected(&self, changes: &[Change], change: &Change) -> Option<Said> {
        let about = |kind, job| (kind, Some(job), None, None, None, None);
        let recorded = |job: JobId| rows(changes).any(|run| run.key.job == job && is_recorded(run));
        match change {
            Change::JobSubmitted(job) if recorded(job.id) => None,
            Change::JobSubmitted(job) => Some(about(EventKind::JobSubmitted, job.id)),
            Change::JobReleased { job, .. } => Some(about(EventKind::JobReleased, *job)),
            Change::JobEnded { job, .. } if recorded(*job) => None,
            Change::JobEnded { job, summary, .. } => {
                Some((EventKind::JobEnded, Some(*job), None, None, None, summary.outcome()))
            }
            // one that is not there is not deleted
            Change::JobDeleted(job) if self.stored.contains(job) => Some(about(EventKind::JobDeleted, *job)),
            Change::QueueOpened(queue) => {
                Some((EventKind::QueueOpened, None, None, Some(queue.key.clone()), None, None))
            }
            Change::QueueClosed(key) => {
                Some((EventKind::QueueClosed, None, None, Some(key.clone()), None, None))
            }
            Change::CallbackChanged(callback) => match callback.state {
                CallbackState::Pending => None,
                CallbackState::Delivered => Some(about(EventKind::CallbackDelivered, callback.job)),
                CallbackState::Abandoned => Some(about(EventKind::CallbackAbandoned, callback.job)),
            },
            Change::RunChanged(run) if is_recorded(run) && self.is_new(&run.key) => {
                let RunKey { job, agent } = run.key.clone();
                let outcome = run.state.ending().map(|end| end.outcome);
                Some((EventKind::JobRecorded, Some(job), Some(agent), None, None, outcome))
            }
            Change::AttemptEnded { key, attempt, outcome, .. } => {
                let (job, agent) = (Some(key.job), Some(key.agent.clone()));
                Some((EventKind::RunRetried, job, agent, None, Some(*attempt), Some(*outcome)))
            }
            Change::Denied(denial) => {
                Some((EventKind::AgentRevoked, None, Some(denial.denied.id.clone()), None, None, None))
            }
            Change::Allowed(denied) => {
                Some((EventKind::AgentRestored, None, Some(denied.id.clone()), None, None, None))
            }
            Change::JobDeleted(_)
            | Change::RunChanged(_)
            | Change::Items { .. }
            | Change::Progress { .. }
            | Change::AgentCounters(_)
            | Change::ArgumentsMasked(_)
            | Change::JobRedacted(_)
            | Change::Event(_)
            | Change::Clock(_)
            | Change::EventsPruned { .. } => None,
        }
    }

    fn is_new(&self, key: &RunKey) -> bool {
        self.runs.get(key).is_some_and(|story| *story == Story::default())
    }

    /// A spool is called lost when, and only when, the agent came with another one, or with less than was known of it.
    fn judge_spools(&self, changes: &[Change]) -> Check {
        let lost = events(changes).filter(|event| event.kind == EventKind::SpoolLost);
        let lost: Vec<Option<&PeerId>> = lost.map(|event| event.agent.as_ref()).collect();
        let mut seen = 0;
        for change in changes {
            let Change::AgentCounters(after) = change else { continue };
            let Some(before) = self.agents.get(&after.agent) else { continue };
            let other = before.spool.is_some() && before.spool != after.spool;
            let told = lost.iter().filter(|agent| **agent == Some(&after.agent)).count();
            seen += told;
            holds(told > 0 || !(other || after.seen_dno < before.seen_dno), || {
                format!("the spool of {} was lost, and no event tells", after.agent)
            })?;
        }
        holds(seen >= lost.len(), || format!("the spools of {lost:?} are called lost, and no row says so"))
    }
}

/// Events that are told by the change beside them, whatever was before.
fn is_plain(kind: EventKind) -> bool {
    match kind {
        EventKind::JobSubmitted
        | EventKind::JobReleased
        | EventKind::JobEnded
        | EventKind::JobRecorded
        | EventKind::JobDeleted
        | EventKind::RunRetried
        | EventKind::QueueOpened
        | EventKind::QueueClosed
        | EventKind::AgentRevoked
        | EventKind::AgentRestored
        | EventKind::OperatorRevoked
        | EventKind::OperatorRestored
        | EventKind::CallbackDelivered
        | EventKind::CallbackAbandoned => true,
        EventKind::AgentConnected
        | EventKind::AgentDisconnected
        | EventKind::SpoolLost
        | EventKind::StoreBehind
        | EventKind::ClockSet
        | EventKind::HistoryBroken
        | EventKind::StoreDamaged
        | EventKind::ProcedureEnabled
        | EventKind::ProcedureDisabled
        | EventKind::CancelAsked
        | EventKind::RunStarted
        | EventKind::RunInDoubt
        | EventKind::RunFound
        | EventKind::RunPutBack
        | EventKind::RunEnded
        | EventKind::RunCorrected
        | EventKind::Custom => false,
    }
}

fn said(event: &EventRecord) -> Said {
    let EventRecord { kind, job, agent, queue, attempt, outcome, .. } = event.clone();
    (kind, job, agent, queue, attempt, outcome)
}

/// A cancel is told once for each job of which a run is to end by it, and no run is to end without.
fn judge_cancels(store: &Store, changes: &[Change], before: &BTreeMap<RunKey, Story>) -> Check {
    let mut asked = BTreeSet::new();
    for event in events(changes).filter(|event| event.kind == EventKind::CancelAsked) {
        let Some(job) = event.job else { return holds(false, || "a cancel of nothing".to_owned()) };
        let ended = |run: &RunRecord| {
            let now = rows(changes).any(|row| row.key == run.key);
            now && run.state.ending().is_some_and(|end| end.outcome == Outcome::Cancelled)
        };
        let real =
            store.runs_of(job).any(|run| run.state.ending().is_none() && run.cancel.is_some() || ended(run));
        holds(asked.insert(job) && real, || format!("a cancel of {job} is told that was none, or twice"))?;
    }
    for run in rows(changes) {
        let Some(story) = before.get(&run.key).filter(|story| !story.is_cancelled()) else { continue };
        let never_left = run.state.ending().is_some_and(|end| end.outcome == Outcome::Cancelled);
        let now = run.cancel.is_some() || (never_left && !story.is_at_agent() && !is_recorded(run));
        holds(!now || asked.contains(&run.key.job), || {
            format!("no event tells of the cancel of {}", run.key)
        })?;
    }
    Ok(())
}

/// The events of one run in this turn, in their order, lead from the row before to the row after.
fn judge_run(store: &Store, changes: &[Change], first: bool, key: &RunKey, mut story: Story) -> Check {
    let shaken = events(changes).any(|event| {
        matches!(event.kind, EventKind::AgentConnected | EventKind::AgentDisconnected)
            && event.agent.as_ref() == Some(&key.agent)
    });
    let must_doubt = story.is_followed() && (first || shaken);
    let of_run = |event: &&EventRecord| {
        event.job == Some(key.job) && event.agent.as_ref() == Some(&key.agent) && run_of(event).is_some()
    };
    let (mut doubts, mut last) = (0, None);
    for event in events(changes).filter(of_run) {
        let heard = story.hear(event);
        holds(heard.is_ok(), || {
            format!(
                "event {}, {}, of {key}: {}",
                event.n,
                event.kind.as_str(),
                heard.err().unwrap_or_default()
            )
        })?;
        doubts += u32::from(event.kind == EventKind::RunInDoubt);
        if matches!(event.kind, EventKind::RunEnded | EventKind::RunCorrected) {
            last = Some(event);
        }
    }
    holds(doubts == u32::from(must_doubt), || {
        format!("{key} is told {doubts} times to be in doubt, and its agent came or went: {must_doubt}")
    })?;
    let Some(row) = store.runs.get(key) else {
        return holds(false, || format!("the events of a turn tell of {key}, which is not stored"));
    };
    if is_recorded(row) {
        return holds(last.is_none(), || format!("{key} was recorded, and has ended again"));
    }
    let agrees = story.agrees(row);
    holds(agrees.is_ok(), || {
        format!(
            "{key} is {}, and its events say otherwise: {}",
            row.state.word(),
            agrees.err().unwrap_or_default()
        )
    })?;
    let RunState::Ended(end) = &row.state else { return Ok(()) };
    let code = end.fault.as_ref().map(|fault| fault.code.to_string());
    holds(last.is_none_or(|event| event.detail == code), || {
        format!("the end of {key} has the fault {code:?}, and its event says another one")
    })
}
