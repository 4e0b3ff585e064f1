//! What agents ask of their own accord: `rp.events.emit`, `rp.jobs.record`, and what is different about `rp.jobs.submit` and the
//! reading of jobs when an agent asks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redpoll_common::api::events::{EmitAnswer, EmitArguments, MAX_EMIT_DATA, MAX_EMIT_DEPTH, MAX_EMIT_NODES};
use redpoll_common::api::method;
use redpoll_common::api::record::{RecordAnswer, RecordArguments};
use redpoll_common::api::submit::SubmitArguments;
use redpoll_common::identity::Role;
use redpoll_common::job::{Ending, Submitter};
use redpoll_common::wire::{Fault, FaultCode, MAX_DEPTH, Raw, RawMap, scan};
use redpoll_manager_core::agents::Refused;
use redpoll_manager_core::jobs::Ended;
use redpoll_manager_core::jobs::record::JobRecord;
use redpoll_net::registry::Duplicate;
use redpoll_net::{CallContext, Registry};

use super::arguments::bad;
use super::submit::{check_procedure, check_size};
use super::{info, write};
use crate::catalogue::redact_of;
use crate::engine::{Engine, NewJob, digest};
use crate::state::Manager;

/// The longest a run may have been over when it is told: ten years. Beyond, the agent's clock is broken.
const MAX_AGE_MS: u64 = 10 * 366 * 86_400_000;
/// Levels that an answer puts around an item.
const AROUND_ITEM: usize = 4;

pub(super) fn register(
    registry: Registry,
    manager: &Arc<Manager>,
    engine: &Engine,
) -> Result<Registry, Duplicate> {
    let emitting = (manager.clone(), engine.clone());
    let recording = (manager.clone(), engine.clone());
    registry
        .with(info(method::EVENTS_EMIT), move |call| {
            let (manager, engine) = emitting.clone();
            async move { emit(&manager, &engine, &call).await }
        })?
        .with(info(method::JOBS_RECORD), move |call| {
            let (manager, engine) = recording.clone();
            async move { record(&manager, &engine, &call).await }
        })
}

async fn emit(manager: &Manager, engine: &Engine, call: &CallContext) -> Result<Raw, Fault> {
    let asked = EmitArguments::read(&call.kwargs)
        .map_err(|error| bad(format!("{}: {error}", method::EVENTS_EMIT)))?;
    check_kind(&asked.kind)?;
    check_data(&asked.data)?;
    manager.agent_rules.may_emit(&asked.kind).map_err(|refused| forbidden(&refused))?;
    pace(manager, call)?;
    let EmitArguments { kind, data } = asked;
    write(&EmitAnswer { n: engine.emit(call.caller.identity.id.clone(), kind, data).await? })
}

async fn record(manager: &Manager, engine: &Engine, call: &CallContext) -> Result<Raw, Fault> {
    let asked = RecordArguments::read(&call.kwargs)
        .map_err(|error| bad(format!("{}: {error}", method::JOBS_RECORD)))?;
    check_procedure("procedure", &asked.procedure)?;
    if asked.started_ms_ago.is_some_and(|ago| ago > MAX_AGE_MS) {
        return Err(bad("started_ms_ago says that the run began more than ten years ago"));
    }
    check_items(&asked)?;
    manager.agent_rules.may_record(&asked.procedure).map_err(|refused| forbidden(&refused))?;
    let agent = call.caller.identity.id.clone();
    let RecordArguments { key, schedule, procedure, kwargs, started_ms_ago, ending, items, dropped } = asked;
    let mut job = SubmitArguments::new(vec![agent.to_string()], procedure);
    job.spec.kwargs = kwargs;
    job.spec.key = Some(key);
    job.spec.info = RawMap::new().text("schedule", &schedule).finish();
    check_size(&job.spec, &manager.config)?;
    pace(manager, call)?;
    manager.may_record(&agent).map_err(|wait| {
        too_fast(
            "this agent has too many runs recorded: agents.record_interval and agents.record_burst",
            wait,
        )
    })?;
    let digest = digest::of(&job);
    let submitter = Submitter::of(&call.caller.identity);
    let agents = vec![agent];
    let redact = redact_of(manager, &agents, &job.spec.procedure).into();
    // it has ended: it needs no room, and is not tried again
    let (admin, idempotent) = (Arc::default(), false);
    // one that is unknown is kept
    let spec = Arc::new(job.spec.detached());
    let job = NewJob { submitter, spec, digest, agents, admin, idempotent, redact };
    let stored = engine.record(job, Ended { ending, started_ms_ago, items, dropped }).await?;
    write(&RecordAnswer { job: stored.job.to_string(), existing: stored.existing })
}

/// The type of an event: words of lower-case letters, digits, `_` and `-`, with dots between them.
fn check_kind(kind: &str) -> Result<(), Fault> {
    let good_word = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
    };
    if kind.split('.').all(good_word) {
        return Ok(());
    }
    Err(bad(format!(
        "type {kind:?} is not words of a-z, 0-9, _ and - with dots between them, such as disk.full"
    )))
}

/// An event is read again and again, beside hundreds of others: its data has to be small.
fn check_data(data: &Raw) -> Result<(), Fault> {
    let too_large =
        |text: String| Err(Fault::new(FaultCode::TooLarge, format!("{text}; nothing was stored")));
    if data.len() > MAX_EMIT_DATA {
        return too_large(format!("data has {} bytes; the limit is {MAX_EMIT_DATA}", data.len()));
    }
    let Ok(cost) = scan::measure(data.as_bytes()) else { return Err(bad("data is no value")) };
    let nodes = u64::try_from(cost.nodes).unwrap_or(u64::MAX);
    if nodes > MAX_EMIT_NODES {
        return too_large(format!("data has {nodes} values; the limit is {MAX_EMIT_NODES}"));
    }
    if cost.depth > MAX_EMIT_DEPTH {
        return too_large(format!("data nests {} levels deep; the limit is {MAX_EMIT_DEPTH}", cost.depth));
    }
    Ok(())
}

/// What came in one frame must go out in others, which put a little more around it.
fn check_items(asked: &RecordArguments) -> Result<(), Fault> {
    let values = asked.items.iter().map(|item| &item.data);
    for value in values.chain(asked.ending.result.as_ref()) {
        let depth = scan::measure(value.as_bytes()).map_or(MAX_DEPTH, |cost| cost.depth);
        let max = MAX_DEPTH - AROUND_ITEM;
        if depth > max {
            return Err(bad(format!("a value or the result nests {depth} levels deep; the limit is {max}")));
        }
    }
    let Ending { outcome, ref fault, .. } = asked.ending;
    let good = fault.is_none() == (outcome == redpoll_common::job::Outcome::Succeeded);
    if good { Ok(()) } else { Err(bad("ending has a fault exactly when it did not succeed")) }
}

/// What an agent may submit, beside what everybody may.
///
/// # Errors
/// The fault says which key of the configuration would allow it.
pub(super) fn check_submit(
    manager: &Manager,
    call: &CallContext,
    asked: &SubmitArguments,
) -> Result<(), Fault> {
    let who = &call.caller.identity;
    if who.role != Role::Agent {
        return Ok(());
    }
    let rules = &manager.agent_rules;
    rules.may_submit(&asked.spec.procedure).map_err(|refused| forbidden(&refused))?;
    rules.may_submit_on(&who.id, &asked.agents).map_err(|refused| forbidden(&refused))?;
    if asked.spec.callback.is_some() {
        return Err(Fault::new(
            FaultCode::Forbidden,
            "jobs of agents have no callbacks; leave `callback` out",
        ));
    }
    if asked.spec.held {
        let text = "jobs of agents are not held, for an agent may not release them; leave `held` out";
        return Err(Fault::new(FaultCode::Forbidden, text));
    }
    pace(manager, call)
}

/// Whether the caller may know of a job: operators of all, agents of their own.
pub(super) fn may_see(call: &CallContext, job: &JobRecord) -> bool {
    let who = &call.caller.identity;
    match who.role {
        Role::Operator => true,
        Role::Agent | Role::Manager => job.submitter == Submitter::of(who),
    }
}

/// Keeps the caller to its pace, if it is an agent.
pub(crate) fn keep_pace(manager: &Manager, call: &CallContext) -> Result<(), Fault> {
    match call.caller.identity.role {
        Role::Agent => pace(manager, call),
        Role::Operator | Role::Manager => Ok(()),
    }
}

/// Keeps an agent to its pace.
fn pace(manager: &Manager, call: &CallContext) -> Result<(), Fault> {
    let taken = manager.with_rates(|rates| rates.take(&call.caller.identity.id, Instant::now()));
    taken.map_err(|wait| too_fast("this agent asks for too much: agents.rate and agents.burst", wait))
}

fn too_fast(what: &str, wait: Duration) -> Fault {
    let text = format!("{what} of the manager are used up; nothing was done");
    let mut fault = Fault::new(FaultCode::Overloaded, text);
    fault.retry_after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1));
    fault
}

fn forbidden(refused: &Refused) -> Fault {
    Fault::new(FaultCode::Forbidden, format!("{refused}; nothing was stored"))
}
