//! `rp.jobs.show`, `rp.jobs.release` and `rp.jobs.delete`: one job.

use std::collections::BTreeMap;

use redpoll_common::api::jobs::{JobArguments, JobShowArguments};
use redpoll_common::api::submit::SubmitArguments;
use redpoll_common::identity::Role;
use redpoll_common::job::{JobId, JobSpec};
use redpoll_common::wire::{Fault, FaultCode, Fields, Raw, RawMap};
use redpoll_manager_core::jobs::record::JobRecord;
use redpoll_net::CallContext;

use super::arguments::{by, job_id, page_size, unread};
use super::asks::may_see;
use super::room::Room;
use super::{jobs_rows, read, write};
use crate::catalogue;
use crate::engine::{Engine, unknown_job};
use crate::state::{Manager, parse_agent};
use crate::store::spec::masked;
use crate::store::{ReadError, Store, may_go_on};

/// Runs in one answer, unless asked for fewer or more.
const PAGE: u32 = 100;
/// The most runs in one answer.
const MAX_PAGE: u32 = 1000;
/// Runs read at a time: a fault may be as large as a frame.
const CHUNK: usize = 100;
/// The callbacks that are shown, the latest: one job may have one for each corrected run.
const CALLBACKS: usize = 100;

/// What [`SubmitArguments`] writes that is no option, or told elsewhere.
const NO_OPTIONS: [&str; 8] =
    ["agents", "procedure", "args", "kwargs", "queue", "key", "info", "concurrency"];

pub(super) async fn show(manager: &Manager, engine: &Engine, call: &CallContext) -> Result<Raw, Fault> {
    let store = &**engine.store();
    let arguments: JobShowArguments = read(&call.kwargs)?;
    let limit = page_size(arguments.limit, PAGE, MAX_PAGE)?;
    let mut after = arguments.after.as_deref().map(parse_agent).transpose()?;
    let record = stored(store, call, job_id(&arguments.job)?).await?;
    let mut room = Room::of(call);
    let job = write(&jobs_rows::summary(store, &record).await?)?;
    let options = write(&options(&record.spec)?)?;
    let queue_concurrency = queue_concurrency(engine, &record).await;
    let callbacks = store.callbacks(record.id).await.map_err(unread)?;
    let latest = callbacks.len().saturating_sub(CALLBACKS);
    let callbacks: Vec<_> = callbacks
        .into_iter()
        .skip(latest)
        .map(|callback| jobs_rows::callback(callback, store.clock()))
        .collect();
    let callbacks = write(&callbacks)?;
    let (args, kwargs) = shown_arguments(manager, &record);
    for part in [&job, &args, &kwargs, &options, &callbacks] {
        if !room.take(part) {
            return Err(room.too_large(&format!("a part of the job {}", record.id), part));
        }
    }
    let (mut runs, mut next) = (Vec::new(), None);
    'pages: loop {
        let wanted = (limit + 1 - runs.len()).min(CHUNK);
        let page = store.runs(record.id, after.clone(), wanted).await.map_err(unread)?;
        let whole = may_go_on(&page, wanted);
        for row in page {
            let run = write(&jobs_rows::run(store, &row).await?)?;
            if runs.len() == limit || !room.take(&run) {
                if runs.is_empty() {
                    return Err(
                        room.too_large(&format!("what is told of the run on {}", row.key.agent), &run)
                    );
                }
                next = after;
                break 'pages;
            }
            after = Some(row.key.agent);
            runs.push(run);
        }
        if !whole {
            break;
        }
    }
    let map = RawMap::with_capacity(room.bytes()).raw("job", &job);
    let map = map.raw("args", &args).raw("kwargs", &kwargs).raw("options", &options);
    let map = map.opt_uint("queue_concurrency", queue_concurrency);
    let map = map.raws("runs", &runs).raw("callbacks", &callbacks);
    Ok(map.opt_text("next", next.as_ref().map(|agent| agent.as_str())).finish())
}

/// How many may run at a time in the queue that an open job stands in, or is about to: the first job of the queue said it.
async fn queue_concurrency(engine: &Engine, record: &JobRecord) -> Option<u64> {
    let queue = record.spec.queue.as_ref().filter(|_| record.ended_ms.is_none())?;
    let there = engine.queue_if_quick(queue.name.clone()).await?;
    Some(there.concurrency.into())
}

/// The arguments of a job without what nobody may see, by what was known at its submit and by what is known now.
fn shown_arguments(manager: &Manager, record: &JobRecord) -> (Raw, Raw) {
    let spec = &record.spec;
    let mut redact = record.redact.to_vec();
    redact.extend(catalogue::redact_of(manager, &record.agents, &spec.procedure));
    redact.sort_unstable();
    redact.dedup();
    masked(&spec.args, &spec.kwargs, &redact).unwrap_or_else(|| (spec.args.clone(), spec.kwargs.clone()))
}

/// What the submitter asked for beyond, by the names that a submit has for it.
fn options(spec: &JobSpec) -> Result<BTreeMap<String, Raw>, Fault> {
    let concurrency = spec.queue.as_ref().map(|queue| queue.concurrency);
    let spec = JobSpec {
        args: Raw::empty_array(),
        kwargs: Raw::empty_map(),
        info: Raw::nil(),
        queue: None,
        key: None,
        ..spec.clone()
    };
    let written = SubmitArguments { agents: Vec::new(), spec }.write();
    let unreadable = |error: &dyn std::fmt::Display| Fault::new(FaultCode::Internal, error.to_string());
    let fields = Fields::of(&written).map_err(|error| unreadable(&error))?;
    let mut options = BTreeMap::new();
    for (name, value) in fields.iter().filter(|(name, _)| !NO_OPTIONS.contains(name)) {
        let value = Raw::parse(bytes::Bytes::copy_from_slice(value)).map_err(|error| unreadable(&error))?;
        options.insert(name.to_owned(), value);
    }
    if let Some(concurrency) = concurrency {
        options.insert("concurrency".to_owned(), write(&concurrency)?);
    }
    Ok(options)
}

/// Lets a held job start.
pub(super) async fn release(engine: &Engine, call: &CallContext) -> Result<Raw, Fault> {
    let arguments: JobArguments = read(&call.kwargs)?;
    let job = stored(&**engine.store(), call, job_id(&arguments.job)?).await?;
    if job.ended_ms.is_some() {
        return Err(Fault::new(
            FaultCode::WrongState,
            format!("the job {} has ended; it is not held", job.id),
        ));
    }
    engine.release(job.id, by(call)).await?;
    Ok(Raw::nil())
}

/// Deletes an ended job.
pub(super) async fn delete(engine: &Engine, call: &CallContext) -> Result<Raw, Fault> {
    let arguments: JobArguments = read(&call.kwargs)?;
    let id = job_id(&arguments.job)?;
    let seen = match engine.store().job(id).await {
        Ok(found) => found.is_some_and(|job| may_see(call, &job)),
        // nobody else gets rid of it
        Err(ReadError::Damaged { .. }) => call.caller.identity.role == Role::Operator,
        Err(error) => return Err(unread(error)),
    };
    if !seen {
        return Err(unknown_job(id));
    }
    engine.delete(id, by(call)).await?;
    Ok(Raw::nil())
}

/// A job, which has to be there, and be the caller's to see: to an agent, the jobs of others do not exist.
pub(super) async fn stored(store: &dyn Store, call: &CallContext, id: JobId) -> Result<JobRecord, Fault> {
    let found = store.job(id).await.map_err(unread)?;
    found.filter(|job| may_see(call, job)).ok_or_else(|| unknown_job(id))
}
