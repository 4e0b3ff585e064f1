//! `rp.queues.*`: the queues that are there now.

use std::sync::Arc;

use redpoll_common::api::method;
use redpoll_common::api::queues::{
    QueueArguments, QueueCancelArguments, QueueListArguments, QueueRun, QueueSummary,
};
use redpoll_common::wire::{Fault, Raw, RawMap};
use redpoll_manager_core::jobs::view::QueueView;
use redpoll_net::registry::Duplicate;
use redpoll_net::{CallContext, Registry};

use super::arguments::{by, page_size, queue_key};
use super::depth::queue_name;
use super::jobs_cancel::{answer, no_queue, of_queue};
use super::jobs_rows::count;
use super::room::Room;
use super::{info, read, write};
use crate::clock::Clock;
use crate::engine::Engine;

/// Queues in one answer, unless asked for fewer or more.
const PAGE: u32 = 500;
/// Waiting runs in one answer, unless asked for fewer or more.
const RUNS: u32 = 100;
/// Runs that hold slots in one answer, at most; it counts all.
const SLOTS: usize = 1000;
/// The most queues, or waiting runs, in one answer.
const MAX_PAGE: u32 = 1000;

pub(super) fn register(registry: Registry, engine: &Engine) -> Result<Registry, Duplicate> {
    let engine = Arc::new(engine.clone());
    let (lister, shower, ender) = (engine.clone(), engine.clone(), engine);
    registry
        .with(info(method::QUEUES_LIST), move |call| {
            let engine = lister.clone();
            async move { list(&engine, &call).await }
        })?
        .with(info(method::QUEUES_SHOW), move |call| {
            let engine = shower.clone();
            async move { show(&engine, &call).await }
        })?
        .with(info(method::QUEUES_CANCEL), move |call| {
            let engine = ender.clone();
            async move { cancel(&engine, &call).await }
        })
}

async fn list(engine: &Engine, call: &CallContext) -> Result<Raw, Fault> {
    let arguments: QueueListArguments = read(&call.kwargs)?;
    let limit = page_size(arguments.limit, PAGE, MAX_PAGE)?;
    let after = arguments.after.as_ref().map(queue_key).transpose()?;
    // one more says whether there is more
    let all = engine.queues(after, limit + 1).await?;
    let (mut room, mut queues, mut last) = (Room::of(call), Vec::new(), None);
    let (mut next, clock) = (None, engine.store().clock());
    for queue in &all {
        let row = write(&summary(queue, clock))?;
        if queues.len() == limit || !room.take(&row) {
            next = last;
            break;
        }
        last = Some(queue.key.to_raw());
        queues.push(row);
    }
    Ok(RawMap::new().raws("queues", &queues).opt_raw("next", next.as_ref()).finish())
}

async fn show(engine: &Engine, call: &CallContext) -> Result<Raw, Fault> {
    let arguments: QueueArguments = read(&call.kwargs)?;
    let limit = page_size(arguments.limit, RUNS, MAX_PAGE)?;
    let key = queue_key(&arguments.name)?;
    let found = engine.queue_runs(key.clone(), SLOTS, limit).await?;
    let (queue, all) = found.ok_or_else(|| no_queue(&key))?;
    let (mut room, mut runs) = (Room::of(call), Vec::new());
    let queue = write(&summary(&queue, engine.store().clock()))?;
    let _always = room.take(&queue);
    for run in all {
        let row =
            QueueRun { job: run.job.to_string(), agent: run.agent.to_string(), state: run.state.to_owned() };
        let row = write(&row)?;
        if !room.take(&row) {
            break;
        }
        runs.push(row);
    }
    Ok(RawMap::new().raw("queue", &queue).raws("runs", &runs).finish())
}

async fn cancel(engine: &Engine, call: &CallContext) -> Result<Raw, Fault> {
    let arguments: QueueCancelArguments = read(&call.kwargs)?;
    let scope = of_queue(engine, queue_key(&arguments.name)?).await?;
    answer(&engine.cancel(scope, arguments.grace_ms, arguments.preview, by(call)).await?, call)
}

fn summary(queue: &QueueView, clock: &Clock) -> QueueSummary {
    QueueSummary {
        name: queue_name(&queue.key),
        concurrency: queue.concurrency,
        opened_ms: clock.told(queue.opened_ms),
        taken: count(queue.taken),
        waiting: count(queue.waiting),
    }
}
