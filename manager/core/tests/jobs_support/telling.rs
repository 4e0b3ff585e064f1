//! Whether the history says what happened, all of it and nothing else.
//!
//! [`judge`] takes the rows before a turn and the turn's changes, and gives what does not fit. A run's events are walked in
//! their order, from the row before to the row after: `run.started`, `run.in_doubt`, `run.put_back`, `run.retried`, `run.ended` and
//! `run.corrected` are said whenever they happen and never otherwise. To be offered, accepted and followed again is silent.
//! Everything else that an event tells has a change of its own: [`fact`] gives the words for both, which have to be equal.

use std::collections::{BTreeMap, BTreeSet};

use redpoll_common::job::{Attempt, JobId, Outcome, RunKey, RunState};
use redpoll_manager_core::jobs::record::{CallbackState, Change, EventKind, EventRecord, RunRecord};
use redpoll_manager_core::jobs::{Effect, Turn};

use super::store::Store;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    /// With its agent.
    Away,
    Doubt,
    Ended(Outcome),
}

/// What is known of a run by its row before and the events since.
#[derive(Debug, Clone, Copy)]
struct Tale {
    stage: Stage,
    attempt: Attempt,
    started: bool,
    put_back: u16,
    corrected: bool,
}

struct Judge<'a> {
    before: &'a Store,
    changes: &'a [Change],
    rows: BTreeMap<&'a RunKey, &'a RunRecord>,
    tales: BTreeMap<RunKey, Tale>,
    /// The jobs of which an end has to be told, once for each time.
    ends: Vec<JobId>,
    wrong: Vec<String>,
}

/// What is wrong with the events of a turn; nothing, if it is all right.
pub(crate) fn judge(before: &Store, changes: &[Change]) -> Vec<String> {
    let rows = changes.iter().filter_map(|change| match change {
        Change::RunChanged(row) => Some((&row.key, &**row)),
        _ => None,
    });
    let rows: BTreeMap<_, _> = rows.collect();
    let mut judge =
        Judge { before, changes, rows, tales: BTreeMap::new(), ends: Vec::new(), wrong: Vec::new() };
    for key in judge.rows.keys().copied().collect::<Vec<_>>() {
        judge.tale(key);
    }
    let events: Vec<&EventRecord> = changes
        .iter()
        .filter_map(|change| if let Change::Event(event) = change { Some(event) } else { None })
        .collect();
    for (event, n) in events.iter().zip(before.events.len() as u64 + 1..) {
        judge.check(event.n == n, || format!("event {n} has the number {}", event.n));
        judge.event(event);
    }
    judge.facts(&events);
    judge.cancels(&events);
    judge.rows();
    judge.wrong
}

/// Whether the listeners are told of every event of the turn, and of no other.
pub(crate) fn is_published<T>(turn: &Turn<T>) -> bool {
    let events = turn.changes.iter().filter_map(|change| match change {
        Change::Event(event) => Some(event.n),
        _ => None,
    });
    let published = turn.effects.iter().filter_map(|effect| match effect {
        Effect::Publish(n) => Some(*n),
        _ => None,
    });
    events.eq(published)
}

/// What a change is, in the words of the event that tells of it; `None` when runs' rows tell, or nothing has to be told.
fn fact(before: &Store, change: &Change) -> Option<String> {
    Some(match change {
        Change::JobSubmitted(job) => format!("job.submitted {}", job.id),
        Change::JobReleased { job, .. } => format!("job.released {job}"),
        Change::JobEnded { job, summary, .. } => format!("job.ended {job} {:?}", summary.outcome()),
        Change::JobDeleted(job) if !before.jobs.contains_key(job) => format!("nothing: {job} was gone"),
        Change::JobDeleted(job) => format!("job.deleted {job}"),
        Change::AttemptEnded { key, attempt, outcome, .. } => {
            format!("run.retried {key} {attempt} {outcome}")
        }
        Change::QueueOpened(queue) => format!("queue.opened {:?}", queue.key),
        Change::QueueClosed(key) => format!("queue.closed {key:?}"),
        Change::CallbackChanged(callback) => match callback.state {
            CallbackState::Pending => return None,
            CallbackState::Delivered => format!("callback.delivered {}", callback.job),
            CallbackState::Abandoned => format!("callback.abandoned {}", callback.job),
        },
        Change::Denied(denial) => format!("{}.revoked {}", denial.denied.role, denial.denied.id),
        Change::Allowed(denied) => format!("{}.restored {}", denied.role, denied.id),
        Change::RunChanged(_)
        | Change::Items { .. }
        | Change::Progress { .. }
        | Change::AgentCounters(_)
        | Change::ArgumentsMasked(_)
        | Change::JobRedacted(_)
        | Change::Event(_)
        | Change::Clock(_)
        | Change::EventsPruned { .. } => return None,
    })
}

/// The same of an event.
fn said(event: &EventRecord) -> Vec<String> {
    let kind = event.kind.as_str();
    let job = event.job.map(|job| job.to_string()).unwrap_or_default();
    match event.kind {
        EventKind::JobSubmitted
        | EventKind::JobReleased
        | EventKind::JobDeleted
        | EventKind::CallbackDelivered
        | EventKind::CallbackAbandoned => vec![format!("{kind} {job}")],
        EventKind::JobEnded => vec![format!("{kind} {job} {:?}", event.outcome)],
        // the one event of such a job
        EventKind::JobRecorded => {
            vec![format!("job.submitted {job}"), format!("job.ended {job} {:?}", event.outcome)]
        }
        EventKind::RunRetried => {
            let (agent, attempt) = (event.agent.as_ref().unwrap(), event.attempt.unwrap());
            vec![format!("{kind} {job}/{agent} {attempt} {}", event.outcome.unwrap())]
        }
        EventKind::AgentRevoked | EventKind::AgentRestored => {
            vec![format!("{kind} {}", event.agent.as_ref().unwrap())]
        }
        // whom: the first word of what it says
        EventKind::OperatorRevoked | EventKind::OperatorRestored => {
            let detail = event.detail.as_deref().unwrap_or_default();
            vec![format!("{kind} {}", detail.split(' ').next().unwrap_or_default())]
        }
        EventKind::QueueOpened | EventKind::QueueClosed => {
            vec![format!("{kind} {:?}", event.queue.as_ref().unwrap())]
        }
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
        | EventKind::Custom => Vec::new(),
    }
}

impl Judge<'_> {
    fn check(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(otherwise());
        }
    }

    /// The tale of a run, which begins with its row before; a new one waits.
    fn tale(&mut self, key: &RunKey) -> &mut Tale {
        let before = self.before.runs.get(key);
        self.tales.entry(key.clone()).or_insert_with(|| {
            let new = Tale {
                stage: Stage::Waiting,
                attempt: Attempt(0),
                started: false,
                put_back: 0,
                corrected: false,
            };
            before.map_or(new, |row| Tale {
                stage: stage(&row.state),
                attempt: row.attempt,
                started: row.started_ms.is_some(),
                put_back: row.put_back,
                corrected: row.corrected,
            })
        })
    }

    fn event(&mut self, event: &EventRecord) {
        let of_run = event.job.zip(event.agent.clone()).map(|(job, agent)| RunKey { job, agent });
        if event.kind.is_of_run() {
            match of_run {
                Some(key) => self.run_event(event, &key),
                None => self.wrong.push(format!("event {} names no run", event.n)),
            }
        } else if event.kind == EventKind::JobRecorded {
            let (key, outcome) = (of_run.unwrap(), event.outcome.unwrap());
            let tale = self.tale(&key);
            (tale.stage, tale.attempt) = (Stage::Ended(outcome), Attempt(1));
            self.ends.push(key.job);
        } else if event.kind == EventKind::JobEnded {
            let job = event.job.unwrap();
            let due = self.ends.iter().position(|other| *other == job);
            self.check(due.is_some(), || format!("{job} did not end"));
            due.map(|place| self.ends.remove(place));
            let outcome = self.worst(job);
            self.check(event.outcome == outcome, || {
                format!("{job} ended as {outcome:?}, not {:?}", event.outcome)
            });
        }
    }

    /// The attempt that was given up, or one under a number that the store never knew.
    fn found(&mut self, event: &EventRecord, key: &RunKey) {
        let dno = |row: Option<&RunRecord>| row.map(|row| row.dno);
        let other = dno(self.rows.get(key).copied()) != dno(self.before.runs.get(key));
        let tale = self.tale(key);
        let was = *tale;
        let said = event.attempt.unwrap_or(Attempt(0));
        let same = said == tale.attempt && tale.stage == Stage::Waiting;
        let ended = matches!(tale.stage, Stage::Ended(_));
        (tale.stage, tale.attempt, tale.started) = (Stage::Away, said, same && tale.started);
        let fits = !ended && said >= was.attempt && said.0 > 0 && (same || other) && event.outcome.is_none();
        self.check(fits, || format!("run.found of {key} {said} after {was:?}"));
    }

    fn run_event(&mut self, event: &EventRecord, key: &RunKey) {
        let kind = event.kind;
        if kind == EventKind::RunFound {
            return self.found(event, key);
        }
        let tale = self.tale(key);
        let was = *tale;
        let said = event.attempt.unwrap_or(Attempt(0));
        // what waited may have been offered meanwhile, by the same turn
        if tale.stage == Stage::Waiting && said.0 == tale.attempt.0 + 1 {
            (tale.stage, tale.attempt, tale.started) = (Stage::Away, said, false);
        }
        let right = said == tale.attempt;
        let with_agent = matches!(tale.stage, Stage::Away | Stage::Doubt);
        let outcome = event.outcome;
        // of a newer agent, whose word for it is not known here
        let last_word = outcome == Some(Outcome::Unknown) && event.detail.as_deref() == Some("internal");
        let fits = match kind {
            EventKind::RunStarted => with_agent && !tale.started && outcome.is_none(),
            EventKind::RunInDoubt => tale.stage == Stage::Away && outcome.is_none(),
            EventKind::RunPutBack => with_agent && outcome.is_none(),
            EventKind::RunRetried => with_agent && outcome.is_some(),
            EventKind::RunEnded => !matches!(tale.stage, Stage::Ended(_)) && outcome.is_some(),
            _ => {
                let better = outcome.is_some_and(|outcome| outcome != Outcome::Unknown) || last_word;
                tale.stage == Stage::Ended(Outcome::Unknown) && !tale.corrected && better
            }
        };
        match kind {
            EventKind::RunStarted => tale.started = true,
            EventKind::RunInDoubt => tale.stage = Stage::Doubt,
            EventKind::RunPutBack => (tale.stage, tale.put_back) = (Stage::Waiting, tale.put_back + 1),
            EventKind::RunRetried => tale.stage = Stage::Waiting,
            _ => tale.stage = Stage::Ended(outcome.unwrap_or(Outcome::Unknown)),
        }
        tale.corrected |= kind == EventKind::RunCorrected || (kind == EventKind::RunEnded && last_word);
        self.check(right && fits, || format!("{} of {key} {said} {outcome:?} after {was:?}", kind.as_str()));
        if matches!(kind, EventKind::RunEnded | EventKind::RunCorrected) {
            if self.worst(key.job).is_some() {
                self.ends.push(key.job);
            }
            let row = self.rows.get(key).filter(|row| row.ended_ms == Some(event.at_ms));
            let code = row.and_then(|row| Some(row.state.ending()?.fault.as_ref()?.code.to_string()));
            self.check(row.is_some() && code == event.detail, || {
                format!("{key} ended by {code:?}: {event:?}")
            });
        }
    }

    /// The outcome of a job by its runs' tales, the worst; `None` while one is open.
    fn worst(&mut self, job: JobId) -> Option<Outcome> {
        let submitted = self.changes.iter().find_map(|change| match change {
            Change::JobSubmitted(record) if record.id == job => Some(&**record),
            _ => None,
        });
        let agents = &self.before.jobs.get(&job).or(submitted)?.agents;
        let mut outcomes = Vec::new();
        for agent in agents.iter() {
            let key = RunKey { job, agent: agent.clone() };
            let Stage::Ended(outcome) = self.tale(&key).stage else { return None };
            outcomes.push(outcome);
        }
        let order = ["unknown", "failed", "timed_out", "rejected", "expired", "cancelled", "succeeded"];
        outcomes.into_iter().min_by_key(|outcome| order.iter().position(|word| *word == outcome.as_str()))
    }

    /// Changes and events say the same.
    fn facts(&mut self, events: &[&EventRecord]) {
        let changes = self.changes;
        let mut happened: Vec<String> =
            changes.iter().filter_map(|change| fact(self.before, change)).collect();
        let mut told: Vec<String> = events.iter().flat_map(|event| said(event)).collect();
        happened.sort();
        told.sort();
        self.check(happened == told, || format!("happened: {happened:?}; told: {told:?}"));
        let ends = std::mem::take(&mut self.ends);
        let recorded = |job: &JobId| {
            events.iter().any(|event| event.kind == EventKind::JobRecorded && event.job == Some(*job))
        };
        let untold: Vec<JobId> = ends.into_iter().filter(|job| !recorded(job)).collect();
        self.check(untold.is_empty(), || format!("the ends of {untold:?} are not told"));
        for event in events.iter().filter(|event| event.kind == EventKind::SpoolLost) {
            let shown = |change: &Change| matches!(change, Change::AgentCounters(row) if Some(&row.agent) == event.agent.as_ref());
            self.check(changes.iter().any(shown), || format!("no spool was shown: {event:?}"));
        }
    }

    /// Whoever is asked to end, and whoever ends at once, was asked for.
    fn cancels(&mut self, events: &[&EventRecord]) {
        let asked: BTreeSet<JobId> = events
            .iter()
            .filter(|event| event.kind == EventKind::CancelAsked)
            .filter_map(|event| event.job)
            .collect();
        let mut reached = BTreeSet::new();
        for (key, row) in self.rows.clone() {
            let was = self.before.runs.get(key).and_then(|row| row.cancel);
            let fresh = row.cancel.is_some() && was.is_none();
            self.check(!fresh || asked.contains(&key.job), || format!("nobody asked for the end of {key}"));
            let ended = row.state.ending().is_some_and(|end| end.outcome == Outcome::Cancelled);
            if row.cancel.is_some() || ended {
                reached.insert(key.job);
            }
        }
        for job in asked.difference(&reached) {
            self.wrong.push(format!("the cancel of {job} reached none of its runs"));
        }
    }

    /// Where the events lead is where the rows are.
    fn rows(&mut self) {
        for (key, tale) in self.tales.clone() {
            let before = self.before.runs.get(&key);
            let Some(row) = self.rows.get(&key).copied().or(before) else {
                self.wrong.push(format!("events of {key}, which is not there"));
                continue;
            };
            let next = tale.stage == Stage::Waiting && row.attempt.0 == tale.attempt.0 + 1;
            let fits = match stage(&row.state) {
                // offered, or followed again, in silence
                Stage::Away => next || matches!(tale.stage, Stage::Away | Stage::Doubt),
                there => tale.stage == there,
            };
            let same = next || (row.attempt == tale.attempt && (row.started_ms.is_some() == tale.started));
            let recorded = row.dno.0 == 0 && row.state.ending().is_some() && before.is_none();
            let counts = (row.put_back, row.corrected) == (tale.put_back, tale.corrected);
            let fits = fits && (same || recorded) && counts && (!next || row.started_ms.is_none());
            let held = before.map(|row| &row.state) == Some(&RunState::Held);
            let released =
                |change: &Change| matches!(change, Change::JobReleased { job, .. } if *job == key.job);
            let stays = matches!(row.state, RunState::Held | RunState::Ended(_));
            let fits = fits && (!held || stays || self.changes.iter().any(released));
            let new = |change: &Change| matches!(change, Change::JobSubmitted(job) if job.id == key.job);
            let fits = fits && (before.is_some() || self.changes.iter().any(new));
            self.check(fits, || format!("by its events {key} is {tale:?}, and its row is {row:?}"));
        }
    }
}

fn stage(state: &RunState) -> Stage {
    match state {
        RunState::Held | RunState::Queued => Stage::Waiting,
        RunState::Offered(..) | RunState::Accepted(..) | RunState::Running(..) => Stage::Away,
        RunState::InDoubt(..) => Stage::Doubt,
        RunState::Ended(ending) => Stage::Ended(ending.outcome),
    }
}
