//! Reads what a callback is told: a job with its runs, never much more of it than a body can carry.

use redpoll_common::job::{Ending, JobId, Outcome, RunState};
use redpoll_common::session::chain;
use redpoll_common::wire::{Fault, Raw};
use redpoll_manager_core::jobs::record::{JobRecord, RunRecord};

use super::{MAX_BODY, MAX_RUNS};
use crate::store::{ReadError, Store};

/// How many runs are read at a time: faults may be long, and only what has been read can be counted.
const PAGE: usize = 50;

/// A job with as many of its runs as a body may list, in the order of their agents.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) job: JobRecord,
    pub(super) queue: Option<Raw>,
    pub(super) runs: Vec<RunRecord>,
    /// The results are there, and faults with all they have.
    pub(super) whole: bool,
    /// Bytes of results and of the details of faults, so far.
    details: usize,
    /// Bytes of what stays without them.
    words: usize,
}

/// Reads a job.
///
/// # Errors
/// In one line: the store cannot be read, or the job is not in it.
pub(super) async fn gather(store: &dyn Store, id: JobId) -> Result<Found, String> {
    let reading = |error: ReadError| format!("the store cannot be read: {}", chain(&error));
    let job = store.job(id).await.map_err(reading)?;
    let job = job.ok_or_else(|| "the job is not stored any more".to_owned())?;
    let queue = job.spec.queue.as_ref().map(|queue| queue.name.to_raw());
    let mut found = Found { job, queue, runs: Vec::new(), whole: true, details: 0, words: 0 };
    let mut after = None;
    while found.runs.len() < MAX_RUNS {
        let page = store.runs(id, after, PAGE.min(MAX_RUNS - found.runs.len())).await.map_err(reading)?;
        after = page.last().map(|run| run.key.agent.clone());
        if after.is_none() {
            break;
        }
        for run in page {
            if found.words > MAX_BODY {
                return Ok(found);
            }
            let run = if found.whole { with_result(store, run).await.map_err(reading)? } else { run };
            found.take(run);
        }
    }
    Ok(found)
}

/// The run with its result, which a list of runs does not have.
async fn with_result(store: &dyn Store, run: RunRecord) -> Result<RunRecord, ReadError> {
    match ending(&run) {
        Some(end) if end.outcome == Outcome::Succeeded => Ok(store.run(&run.key).await?.unwrap_or(run)),
        Some(_) | None => Ok(run),
    }
}

impl Found {
    fn take(&mut self, mut run: RunRecord) {
        if !self.whole {
            shorten(&mut run);
        }
        let fault = ending(&run).and_then(|ending| ending.fault.as_ref());
        let result = ending(&run).and_then(|ending| ending.result.as_ref());
        self.details += result.map_or(0, Raw::len) + fault.map_or(0, details);
        self.words += run.key.agent.as_str().len() + fault.map_or(0, |fault| fault.message.len());
        self.runs.push(run);
        if self.whole && self.details > MAX_BODY {
            self.leave_out();
        }
    }

    /// Leaves out the results, and of faults what is more than their code and message.
    pub(super) fn leave_out(&mut self) {
        self.whole = false;
        self.runs.iter_mut().for_each(shorten);
    }
}

fn details(fault: &Fault) -> usize {
    let texts = [&fault.class, &fault.module, &fault.trace].into_iter().flatten().map(String::len);
    let values = [&fault.args, &fault.state, &fault.data].into_iter().flatten().map(Raw::len);
    texts.chain(values).sum()
}

fn shorten(run: &mut RunRecord) {
    if let RunState::Ended(ending) = &mut run.state {
        ending.result = None;
        if let Some(fault) = &mut ending.fault {
            let message = std::mem::take(&mut fault.message);
            *fault = Fault::new(fault.code.clone(), message);
        }
    }
}

/// How a run ended, if it has.
pub(super) fn ending(run: &RunRecord) -> Option<&Ending> {
    match &run.state {
        RunState::Ended(ending) => Some(ending),
        RunState::Held
        | RunState::Queued
        | RunState::Offered(..)
        | RunState::Accepted(..)
        | RunState::Running(..)
        | RunState::InDoubt(..) => None,
    }
}
