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
use super::depth::queue_name;
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

/// The rows of one answer. What is open the engine has counted; the store counts where that does not answer, and what ended meanwhile.
pub(super) struct Rows<'a> {
    engine: &'a Engine,
    /// The engine answers: one that stands is waited for once in an answer.
    answers: bool,
}

impl<'a> Rows<'a> {
    pub(super) fn new(engine: &'a Engine) -> Self {
        Self { engine, answers: true }
    }

    /// Those of the next of its jobs.
    pub(super) async fn of(&mut self, records: &[JobRecord]) -> Result<Vec<JobSummary>, Fault> {
        let counted = self.counted(records).await;
        let (store, mut all) = (&**self.engine.store(), Vec::with_capacity(records.len()));
        for record in records {
            all.push(match counted.get(&record.id) {
                Some(ends) => job(record, ends, store.clock()),
                None => summary(store, record).await?,
            });
        }
        Ok(all)
    }

    /// What the engine has counted of those that are open to it as well.
    async fn counted(&mut self, records: &[JobRecord]) -> BTreeMap<JobId, Summary> {
        let open = records.iter().filter(|record| record.summary.is_none()).map(|record| record.id);
        let open: Vec<JobId> = if self.answers { open.collect() } else { Vec::new() };
        if open.is_empty() {
            return BTreeMap::new();
        }
        let counted = self.engine.summaries_if_quick(open.clone()).await;
        self.answers = counted.is_some();
        // it is ahead of the disk: a job whose last end is not stored yet has the counts of its record
        let counted = open.into_iter().zip(counted.unwrap_or_default());
        counted.filter_map(|(id, ends)| Some((id, ends.filter(|ends| ends.open > 0)?))).collect()
    }
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
        queue: record.spec.queue.as_ref().map(|queue| queue_name(&queue.name)),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use redpoll_common::api::submit::SubmitArguments;
    use redpoll_common::ids::PeerId;
    use tokio::time::Instant;

    use super::*;
    use crate::engine::open::EXTRA_PATIENCE;
    use crate::engine::{NewJob, digest, testing};

    async fn record(engine: &Engine) -> JobRecord {
        let asked = SubmitArguments::new(vec!["a".to_owned()], "p");
        let agent = PeerId::parse("a").unwrap();
        let job = NewJob {
            submitter: agent.clone().into(),
            digest: digest::of(&asked),
            spec: Arc::new(asked.spec),
            agents: vec![agent],
            admin: Arc::default(),
            idempotent: false,
            redact: Arc::default(),
        };
        let job = engine.submit(job).await.unwrap().job;
        engine.store().job(job).await.unwrap().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_stands_is_waited_for_once_in_an_answer() {
        let engine = testing::engine().await;
        let jobs = [record(&engine).await];
        let stands = testing::ahead(&engine, None);
        let (begin, mut rows) = (Instant::now(), Rows::new(&stands));
        for _ in 0..3 {
            assert_eq!(rows.of(&jobs).await.unwrap().first().unwrap().open, 1, "as the store says");
        }
        let waited = begin.elapsed();
        assert!(waited < EXTRA_PATIENCE * 2, "{waited:?}");
    }

    #[tokio::test]
    async fn a_job_whose_last_end_is_not_stored_yet_has_the_counts_of_its_record() {
        let engine = testing::engine().await;
        let jobs = [record(&engine).await];
        let ended = Summary { open: 0, ended: [1, 0, 0, 0, 0, 0, 0] };
        let two = Summary { open: 2, ..Summary::default() };
        for (said, open) in [(ended, 1), (two, 2)] {
            let ahead = testing::ahead(&engine, Some(said));
            let rows = Rows::new(&ahead).of(&jobs).await.unwrap();
            let row = rows.first().unwrap();
            assert_eq!((row.state.as_str(), row.open), ("open", open));
        }
    }
}
