//! Records of the store as operators see them.

use std::collections::BTreeMap;

use redpoll_common::api::jobs::{
    AttemptSummary, CallbackSummary, EndSummary, JobSummary, ProgressSummary, RunSummary,
};
use redpoll_common::job::{Ending, JobId, Outcome, RunState};
use redpoll_common::wire::Fault;
use redpoll_manager_core::jobs::record::{
    CallbackRecord, CallbackState, JobRecord, Progress, RunRecord, Summary,
};

use super::arguments::unread;
use crate::clock::Clock;
use crate::engine::Engine;
use crate::store::{AttemptRecord, Store};

/// A job in short. The runs of one that is open are counted in the store.
pub(super) async fn summary(store: &dyn Store, record: &JobRecord) -> Result<JobSummary, Fault> {
    let ends = match record.summary {
        Some(ends) => ends,
        None => store.tally(record.id).await.map_err(unread)?,
    };
    Ok(job(record, &ends, store.clock()))
}

/// The same of several. What is open the engine has counted; the store counts where that does not answer, and what ended meanwhile.
pub(super) async fn summaries(engine: &Engine, records: &[JobRecord]) -> Result<Vec<JobSummary>, Fault> {
    let open: Vec<JobId> =
        records.iter().filter(|record| record.summary.is_none()).map(|record| record.id).collect();
    let counted = match open.is_empty() {
        true => None,
        false => engine.summaries_if_quick(open.clone()).await,
    };
    let counted: BTreeMap<JobId, Summary> = open
        .into_iter()
        .zip(counted.unwrap_or_default())
        .filter_map(|(id, ends)| Some((id, ends?)))
        .collect();
    let (store, mut all) = (&**engine.store(), Vec::with_capacity(records.len()));
    for record in records {
        all.push(match counted.get(&record.id) {
            Some(ends) => job(record, ends, store.clock()),
            None => summary(store, record).await?,
        });
    }
    Ok(all)
}

fn job(record: &JobRecord, ends: &Summary, clock: &Clock) -> JobSummary {
    let ended = record.ended_ms.is_some();
    let outcomes = Outcome::ALL.into_iter().map(|outcome| (outcome, ends.count(outcome)));
    let outcomes = outcomes.filter(|(_, runs)| *runs > 0);
    let outcomes: BTreeMap<_, _> =
        outcomes.map(|(outcome, runs)| (outcome.as_str().to_owned(), u64::from(runs))).collect();
    JobSummary {
        job: record.id.to_string(),
        procedure: record.spec.procedure.clone(),
        submitter: record.submitter.to_string(),
        state: if ended {
            "ended"
        } else if record.is_held() {
            "held"
        } else {
            "open"
        }
        .to_owned(),
        outcome: ends.outcome().filter(|_| ended).map(|outcome| outcome.as_str().to_owned()),
        runs: count(record.agents.len()),
        open: if ended { 0 } else { ends.open.into() },
        outcomes,
        queue: record.spec.queue.as_ref().map(|queue| queue.name.to_raw()),
        key: record.key().map(str::to_owned),
        info: record.spec.info.clone(),
        submitted_ms: clock.told(record.submitted_ms),
        released_ms: clock.told_if(record.released_ms),
        ended_ms: clock.told_if(record.ended_ms),
    }
}

/// A run, without its result.
pub(super) async fn run(store: &dyn Store, record: &RunRecord) -> Result<RunSummary, Fault> {
    let offered = record.attempt.0 > 0;
    let progress = if offered { store.progress(&record.key).await.map_err(unread)? } else { None };
    let progress = progress.filter(|(attempt, _)| *attempt == record.attempt);
    let mut earlier = if offered { store.attempts(&record.key).await.map_err(unread)? } else { Vec::new() };
    // one that was given up and found again is in force, or has ended otherwise
    let is_known = record.state.ending().is_some_and(|ending| ending.started.is_some());
    if is_known || record.state.dispatch().is_some() {
        let given_up = |of: &AttemptRecord| of.attempt == record.attempt && of.outcome == Outcome::Unknown;
        earlier.retain(|of| !given_up(of));
    }
    let item_bytes = match record.items {
        0 => 0,
        _ => store.item_bytes(&record.key, record.attempt).await.map_err(unread)?,
    };
    let clock = store.clock();
    Ok(RunSummary {
        agent: record.key.agent.to_string(),
        state: record.state.word().to_owned(),
        attempt: record.attempt.0,
        dno: record.dno.0,
        queued_ms: clock.told_if(record.queued_ms),
        offered_ms: clock.told_if(record.offered_ms),
        accepted_ms: clock.told_if(record.accepted_ms),
        started_ms: clock.told_if(record.started_ms),
        doubt_ms: clock.told_if(record.doubt_ms),
        ended_ms: clock.told_if(record.ended_ms),
        corrected_ms: clock.told_if(record.ended_ms).filter(|_| record.corrected),
        items: record.items,
        item_bytes: Some(item_bytes),
        cancelling: record.cancel.is_some(),
        corrected: record.corrected,
        progress: progress.map(|(_, progress)| how_far(progress)),
        end: end_of(&record.state).map(|end| EndSummary { result: None, ..end }),
        earlier: earlier.into_iter().map(|earlier| attempt(earlier, clock)).collect(),
    })
}

/// How a run ended, if it has.
pub(super) fn end_of(state: &RunState) -> Option<EndSummary> {
    state.ending().map(end)
}

fn end(ending: &Ending) -> EndSummary {
    EndSummary {
        outcome: ending.outcome.as_str().to_owned(),
        started: ending.started,
        result: ending.result.clone(),
        fault: ending.fault.clone(),
        items: ending.items,
        duration_ms: ending.duration_ms,
    }
}

/// How far a run is.
pub(super) fn how_far(progress: Progress) -> ProgressSummary {
    let Progress { completed, total, details } = progress;
    ProgressSummary { completed, total, details }
}

fn attempt(record: AttemptRecord, clock: &Clock) -> AttemptSummary {
    AttemptSummary {
        attempt: record.attempt.0,
        outcome: record.outcome.as_str().to_owned(),
        fault: record.fault,
        ended_ms: clock.told(record.at_ms),
    }
}

/// The telling of an end.
pub(super) fn callback(record: CallbackRecord, clock: &Clock) -> CallbackSummary {
    let (state, pending) = match record.state {
        CallbackState::Pending => ("pending", true),
        CallbackState::Delivered => ("delivered", false),
        CallbackState::Abandoned => ("abandoned", false),
    };
    CallbackSummary {
        serial: record.serial,
        state: state.to_owned(),
        tries: record.tries,
        error: record.error,
        due_ms: pending.then(|| clock.told(record.due_ms)),
    }
}

/// A number of things in memory, for the wire.
pub(super) fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
