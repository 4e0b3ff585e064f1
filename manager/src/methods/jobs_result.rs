//! `rp.jobs.result`: what came of a job, now or once it has ended.

use std::time::Duration;

use redpoll_common::api::jobs::{JobSummary, ResultArguments, RunResult};
use redpoll_common::ids::PeerId;
use redpoll_common::job::{JobId, Outcome, RunKey};
use redpoll_common::wire::{Fault, Raw, RawMap};
use redpoll_manager_core::jobs::record::{JobRecord, RunRecord};
use redpoll_net::CallContext;
use tokio::time::{Instant, sleep, sleep_until};

use super::arguments::{job_id, stopping, unknown_run, unread};
use super::jobs::stored;
use super::read::run_on;
use super::room::Room;
use super::{jobs_rows, read, write};
use crate::engine::{Engine, JobWatch, unknown_job};
use crate::state::{Manager, parse_agent};
use crate::store::{Store, may_go_on};

/// How often the store is looked at while nobody says that something changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long before the caller's own deadline the answer leaves.
const MARGIN: Duration = Duration::from_millis(250);
/// Longer waits count as this one.
const MAX_WAIT: Duration = Duration::from_secs(366 * 86_400);
/// Runs read at a time: a fault may be as large as a frame.
const CHUNK: usize = 100;
/// Runs in one answer, at most.
const MAX_RUNS: usize = 1000;

pub(super) async fn result(manager: &Manager, engine: &Engine, mut call: CallContext) -> Result<Raw, Fault> {
    let arguments: ResultArguments = read(&call.kwargs)?;
    call.release_arguments();
    let call = &call;
    let id = job_id(&arguments.job)?;
    let after = arguments.after.as_deref().map(parse_agent).transpose()?;
    let wait = Duration::from_millis(arguments.wait_ms.unwrap_or(0)).min(MAX_WAIT);
    // before the store is read, or an end between the two would be slept through
    let watch = engine.watch(id);
    let store = &**engine.store();
    let mut record = stored(store, call, id).await?;
    let key = arguments.agent.map(|agent| run_on(id, &record.agents, &agent)).transpose()?;
    if !wait.is_zero() {
        let now = Instant::now();
        let until = call
            .deadline
            .map_or(now + wait, |deadline| (now + wait).min(deadline.checked_sub(MARGIN).unwrap_or(now)));
        let awaited = Awaited { job: id, run: key.clone(), ended_to: None, open: None };
        tokio::select! {
            biased;
            () = manager.draining() => return Err(stopping()),
            ended = awaited.ended(store, watch) => ended?,
            () = sleep_until(until) => {}
        }
        record = stored(store, call, id).await?;
    }
    answer(store, &record, key, after, call).await
}

/// What is waited for: one run, or all of a job.
struct Awaited {
    job: JobId,
    run: Option<RunKey>,
    /// The runs up to this agent have ended, for good: nothing opens a run again.
    ended_to: Option<PeerId>,
    /// A run that had not. As long as it has not, the job has not.
    open: Option<PeerId>,
}

impl Awaited {
    async fn ended(mut self, store: &dyn Store, mut watch: JobWatch) -> Result<(), Fault> {
        while !self.is_over(store).await? {
            loop {
                tokio::select! {
                    changed = watch.changed() => {
                        // when only the job changed it may have been deleted
                        let open = self.open.as_ref();
                        if changed.is_empty() || open.is_none_or(|open| changed.contains(open)) {
                            break;
                        }
                    }
                    () = sleep(LOOK_EVERY) => break,
                }
            }
        }
        Ok(())
    }

    async fn is_over(&mut self, store: &dyn Store) -> Result<bool, Fault> {
        if let Some(key) = &self.run {
            let run = store.run(key).await.map_err(unread)?;
            self.open = Some(key.agent.clone());
            return Ok(run.is_none_or(|run| run.state.ending().is_some()));
        }
        loop {
            let page = store.runs(self.job, self.ended_to.clone(), CHUNK).await.map_err(unread)?;
            let whole = may_go_on(&page, CHUNK);
            for run in page {
                if run.state.ending().is_none() {
                    self.open = Some(run.key.agent);
                    return Ok(false);
                }
                self.ended_to = Some(run.key.agent);
            }
            if !whole {
                return Ok(true);
            }
        }
    }
}

async fn answer(
    store: &dyn Store,
    record: &JobRecord,
    only: Option<RunKey>,
    mut after: Option<PeerId>,
    call: &CallContext,
) -> Result<Raw, Fault> {
    let mut page = Page::new(jobs_rows::summary(store, record).await?, call)?;
    if let Some(key) = only {
        let run = store.run(&key).await.map_err(unread)?;
        page.add(&run.ok_or_else(|| unknown_run(key.job, &key.agent))?)?;
        return Ok(page.finish(None));
    }
    loop {
        let rows = store.runs(record.id, after.clone(), CHUNK).await.map_err(unread)?;
        let whole = may_go_on(&rows, CHUNK);
        for row in rows {
            let row = with_result(store, row).await?;
            if page.runs.len() == MAX_RUNS || !page.add(&row)? {
                return Ok(page.finish(after.as_ref()));
            }
            after = Some(row.key.agent);
        }
        if !whole {
            return Ok(page.finish(None));
        }
    }
}

/// The run with its result, which lists of runs leave out.
pub(super) async fn with_result(store: &dyn Store, row: RunRecord) -> Result<RunRecord, Fault> {
    match row.state.ending() {
        Some(ending) if ending.outcome == Outcome::Succeeded => {
            store.run(&row.key).await.map_err(unread)?.ok_or_else(|| unknown_job(row.key.job))
        }
        Some(_) | None => Ok(row),
    }
}

/// An answer that is being filled.
struct Page<'a> {
    call: &'a CallContext,
    summary: JobSummary,
    job: Raw,
    room: Room,
    runs: Vec<Raw>,
}

impl<'a> Page<'a> {
    fn new(summary: JobSummary, call: &'a CallContext) -> Result<Self, Fault> {
        let (job, mut room) = (write(&summary)?, Room::of(call));
        if !room.take(&job) {
            return Err(room.too_large("what is told of the job", &job));
        }
        Ok(Self { call, summary, job, room, runs: Vec::new() })
    }

    /// Adds a run, unless it does not fit any more. A large one goes alone, and without the caller's info if it must.
    fn add(&mut self, row: &RunRecord) -> Result<bool, Fault> {
        let run = write(&RunResult {
            agent: row.key.agent.to_string(),
            state: row.state.word().to_owned(),
            attempt: row.attempt.0,
            end: jobs_rows::end_of(&row.state),
        })?;
        if !self.room.take(&run) {
            if !self.runs.is_empty() {
                return Ok(false);
            }
            self.summary.info = Raw::nil();
            self.job = write(&self.summary)?;
            self.room = Room::of(self.call);
            if !(self.room.take(&self.job) && self.room.take(&run)) {
                return Err(self.room.too_large(&format!("what came of the run on {}", row.key.agent), &run));
            }
        }
        self.runs.push(run);
        Ok(true)
    }

    fn finish(self, next: Option<&PeerId>) -> Raw {
        let map = RawMap::new().raw("job", &self.job).raws("runs", &self.runs);
        map.opt_text("next", next.map(PeerId::as_str)).finish()
    }
}
