//! Arguments as peers wrote them, and what the store says, in the words of faults.

use redpoll_common::ids::PeerId;
use redpoll_common::job::{JobId, QueueKey, Submitter};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_net::CallContext;

use crate::engine::unreadable;
use crate::store::ReadError;

/// A fault that says what is wrong with an argument.
pub(super) fn bad(text: impl Into<String>) -> Fault {
    Fault::new(FaultCode::BadArguments, text)
}

/// How many rows are asked for.
pub(super) fn page_size(asked: Option<u32>, unless_given: u32, max: u32) -> Result<usize, Fault> {
    let limit = asked.unwrap_or(unless_given);
    if !(1..=max).contains(&limit) {
        return Err(bad(format!("limit is {limit}; it must be 1 to {max}")));
    }
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// The id of a job.
pub(super) fn job_id(text: &str) -> Result<JobId, Fault> {
    JobId::parse(text).map_err(|error| bad(error.to_string()))
}

/// The name of a queue: a text or a map.
pub(super) fn queue_key(name: &Raw) -> Result<QueueKey, Fault> {
    QueueKey::parse(name).map_err(|error| bad(error.to_string()))
}

/// At most one of two ways to say where to begin.
pub(super) fn since_or_recent(since: Option<u64>, recent: Option<u64>) -> Result<(), Fault> {
    if since.is_some() && recent.is_some() {
        return Err(bad("since and recent exclude each other"));
    }
    Ok(())
}

/// The fault for a job that has no run on this agent.
pub(super) fn unknown_run(job: JobId, agent: &PeerId) -> Fault {
    Fault::new(FaultCode::UnknownJob, format!("the job {job} has no run on {agent}"))
}

/// The fault for whoever has to go elsewhere, or come back.
pub(super) fn stopping() -> Fault {
    Fault::new(FaultCode::ShuttingDown, "the manager is stopping; go on where you are when it is back")
}

/// The fault for what the store could not tell. Its cause is for the log alone.
pub(super) fn unread(error: ReadError) -> Fault {
    match error {
        ReadError::Stopped => stopping(),
        ReadError::Failed(_) | ReadError::Damaged { .. } => unreadable(&error),
    }
}

/// Who asks, for the history.
pub(super) fn by(call: &CallContext) -> Submitter {
    Submitter::of(&call.caller.identity)
}
