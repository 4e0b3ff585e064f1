//! `rp.jobs.cancel`: ends runs of one job, of a queue, or all open ones that meet criteria.

use redpoll_common::api::jobs::{CancelAnswer, CancelArguments, ReachedRun};
use redpoll_common::identity::Role;
use redpoll_common::ids::PeerId;
use redpoll_common::job::{JobId, QueueKey, RunKey};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_manager_core::jobs::criteria::Criteria;
use redpoll_manager_core::jobs::effect::{Cancelled, Reached};
use redpoll_manager_core::jobs::input::Scope;
use redpoll_net::CallContext;

use super::arguments::{bad, by, job_id, queue_key, unknown_run, unread};
use super::asks;
use super::jobs::stored;
use super::jobs_rows::count;
use super::room::Room;
use super::{read, write};
use crate::engine::Engine;
use crate::state::{Manager, parse_agent};

/// Jobs that one answer names, at most; it counts all.
const MAX_JOBS: usize = 10_000;
/// Bytes of an id of a job in an answer.
const ID_BYTES: usize = 34;

pub(super) async fn cancel(manager: &Manager, engine: &Engine, call: &CallContext) -> Result<Raw, Fault> {
    let arguments: CancelArguments = read(&call.kwargs)?;
    asks::keep_pace(manager, call)?;
    let CancelArguments { job, agent, queue, criteria, grace_ms, preview } = arguments;
    if agent.is_some() && job.is_none() {
        return Err(bad("agent goes with job: it names one run of it"));
    }
    if call.caller.identity.role == Role::Agent && job.is_none() {
        let text = "an agent cancels its own jobs, one by one: name the job";
        return Err(Fault::new(FaultCode::Forbidden, text));
    }
    let scope = match (job, queue, criteria) {
        (Some(job), None, None) => {
            let agent = agent.as_deref().map(parse_agent).transpose()?;
            of_job(engine, call, job_id(&job)?, agent).await?
        }
        (None, Some(queue), None) => of_queue(engine, queue_key(&queue)?).await?,
        (None, None, Some(criteria)) => {
            let criteria = Criteria::parse(&criteria).map_err(|error| bad(format!("where: {error}")))?;
            let clock = engine.store().clock();
            Scope::Where(criteria.with_times(&|told_ms| clock.counted(told_ms)))
        }
        (None, None, None) => {
            return Err(bad("exactly one of job, queue and where says what to cancel; none did"));
        }
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
            return Err(bad("exactly one of job, queue and where says what to cancel; there were several"));
        }
    };
    answer(&engine.cancel(scope, grace_ms, preview, by(call)).await?, call)
}

async fn of_job(
    engine: &Engine,
    call: &CallContext,
    id: JobId,
    agent: Option<PeerId>,
) -> Result<Scope, Fault> {
    let store = &**engine.store();
    let record = stored(store, call, id).await?;
    let over = |what: &str| Fault::new(FaultCode::WrongState, format!("{what} has ended"));
    if let Some(agent) = agent {
        let key = RunKey { job: id, agent };
        let run = store.run(&key).await.map_err(unread)?;
        let run = run.ok_or_else(|| unknown_run(id, &key.agent))?;
        if run.state.ending().is_some() {
            return Err(over(&format!("the run of {id} on {}", key.agent)));
        }
        return Ok(Scope::Run(id, key.agent));
    }
    if record.ended_ms.is_some() { Err(over(&format!("the job {id}"))) } else { Ok(Scope::Job(id)) }
}

/// All of a queue that is there.
pub(super) async fn of_queue(engine: &Engine, key: QueueKey) -> Result<Scope, Fault> {
    match engine.queue(key.clone()).await? {
        Some(_) => Ok(Scope::Queue(key)),
        None => Err(no_queue(&key)),
    }
}

/// The fault for a queue that is not there.
pub(super) fn no_queue(key: &QueueKey) -> Fault {
    let text = format!(
        "there is no queue {key}: it is gone, or never was; a queue is there while something waits or runs in it"
    );
    Fault::new(FaultCode::WrongState, text)
}

/// Tells what was reached, with as many runs and ids as fit.
pub(super) fn answer(reached: &Cancelled, call: &CallContext) -> Result<Raw, Fault> {
    let mut room = Room::of(call);
    let mut runs = Vec::with_capacity(reached.runs.len());
    for Reached { job, agent, state, attempt } in &reached.runs {
        let (job, agent, state) = (job.to_string(), agent.to_string(), (*state).to_owned());
        let run = ReachedRun { job, agent, state, attempt: attempt.0 };
        if !room.take(&write(&run)?) {
            break;
        }
        runs.push(run);
    }
    let named = (room.bytes() / ID_BYTES).min(MAX_JOBS);
    write(&CancelAnswer {
        jobs: reached.jobs.iter().take(named).map(JobId::to_string).collect(),
        total: count(reached.jobs.len()),
        ended: reached.ended,
        asked: reached.asked,
        runs,
    })
}
