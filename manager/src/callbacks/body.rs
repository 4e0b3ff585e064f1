//! What a callback is told: the job and its runs, as the store has them at the moment of the try.

use std::collections::BTreeMap;

use bytes::Bytes;
use redpoll_common::job::Outcome;
use redpoll_common::wire::Fault;
use redpoll_manager_core::jobs::record::RunRecord;
use redpoll_schema::Json;
use serde::Serialize;

use super::gather::{Found, ending, gather};
use super::{Delivery, MAX_BODY};
use crate::clock::Clock;
use crate::store::Store;

#[derive(Serialize)]
struct Body<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    cluster: &'a str,
    job: JobPart<'a>,
    runs: Vec<RunPart<'a>>,
    /// There are runs beyond those listed.
    #[serde(skip_serializing_if = "is_false")]
    more: bool,
    #[serde(skip_serializing_if = "is_false")]
    results_left_out: bool,
}

#[derive(Serialize)]
struct JobPart<'a> {
    id: String,
    procedure: &'a str,
    submitter: &'a str,
    info: Json<'a>,
    key: Option<&'a str>,
    queue: Option<Json<'a>>,
    submitted_ms: u64,
    released_ms: Option<u64>,
    ended_ms: Option<u64>,
    outcome: Option<&'static str>,
    outcomes: BTreeMap<&'static str, u32>,
}

#[derive(Serialize)]
struct RunPart<'a> {
    agent: &'a str,
    attempt: u16,
    outcome: Option<&'static str>,
    started: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Json<'a>>,
    fault: Option<FaultPart<'a>>,
    items: u64,
    duration_ms: Option<u64>,
}

#[derive(Serialize)]
struct FaultPart<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Json<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Json<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Json<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

/// Reads a job and writes it as the body of a delivery, at most [`MAX_BODY`] bytes.
///
/// # Errors
/// In one line: the store cannot be read, or the job is not in it.
pub(super) async fn read(store: &dyn Store, cluster: &str, delivery: Delivery) -> Result<Bytes, String> {
    let mut found = gather(store, delivery.job).await?;
    let mut body = write(&found, cluster, delivery, store.clock())?;
    // JSON may be longer than what was counted
    if body.len() > MAX_BODY && found.whole {
        found.leave_out();
        body = write(&found, cluster, delivery, store.clock())?;
    }
    // Many long messages of faults do not fit either: the first of them say as much to a receiver.
    while body.len() > MAX_BODY && !found.runs.is_empty() {
        let len = found.runs.len();
        found.runs.truncate((len * MAX_BODY / body.len()).min(len - 1));
        body = write(&found, cluster, delivery, store.clock())?;
    }
    Ok(body)
}

fn write(found: &Found, cluster: &str, delivery: Delivery, clock: &Clock) -> Result<Bytes, String> {
    let body = Body {
        id: delivery.to_string(),
        kind: if delivery.serial <= 1 { "job.ended" } else { "job.corrected" },
        cluster,
        job: job_part(found, clock),
        runs: found.runs.iter().map(run_part).collect(),
        more: found.job.agents.len() > found.runs.len(),
        results_left_out: !found.whole,
    };
    let text = serde_json::to_vec(&body).map_err(|error| format!("the job cannot be written: {error}"))?;
    Ok(text.into())
}

fn job_part<'a>(found: &'a Found, clock: &Clock) -> JobPart<'a> {
    let job = &found.job;
    let summary = job.summary.unwrap_or_default();
    let outcomes = Outcome::ALL.into_iter().map(|outcome| (outcome.as_str(), summary.count(outcome)));
    JobPart {
        id: job.id.to_string(),
        procedure: &job.spec.procedure,
        submitter: job.submitter.as_str(),
        info: Json(&job.spec.info),
        key: job.key(),
        queue: found.queue.as_ref().map(Json),
        submitted_ms: clock.told(job.submitted_ms),
        released_ms: clock.told_if(job.released_ms),
        ended_ms: clock.told_if(job.ended_ms),
        outcome: job.summary.and_then(|summary| summary.outcome()).map(Outcome::as_str),
        outcomes: outcomes.filter(|(_, count)| *count > 0).collect(),
    }
}

fn run_part(run: &RunRecord) -> RunPart<'_> {
    let ending = ending(run);
    RunPart {
        agent: run.key.agent.as_str(),
        attempt: run.attempt.0,
        outcome: ending.map(|ending| ending.outcome.as_str()),
        started: ending.and_then(|ending| ending.started),
        result: ending.and_then(|ending| ending.result.as_ref()).map(Json),
        fault: ending.and_then(|ending| ending.fault.as_ref()).map(fault_part),
        items: ending.map_or(run.items, |ending| ending.items),
        duration_ms: ending.and_then(|ending| ending.duration_ms),
    }
}

fn fault_part(fault: &Fault) -> FaultPart<'_> {
    FaultPart {
        code: fault.code.as_str(),
        message: &fault.message,
        class: fault.class.as_deref(),
        module: fault.module.as_deref(),
        trace: fault.trace.as_deref(),
        args: fault.args.as_ref().map(Json),
        state: fault.state.as_ref().map(Json),
        data: fault.data.as_ref().map(Json),
        retry_after_ms: fault.retry_after_ms,
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}
