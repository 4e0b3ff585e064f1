//! `rp.jobs.follow`: past and future of a job's runs, to their ends, without gap or repetition.
//!
//! A follower is told what is on disk, and nothing else. It is woken for the runs that changed, reads their rows and what they
//! have after the last item that was told, and tells that, one page of one run after the other: a run that gives much does
//! not keep the others waiting, and a follower that takes nothing holds no more than one page in memory.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use redpoll_common::api::items::FollowArguments;
use redpoll_common::ids::PeerId;
use redpoll_common::job::{Attempt, Item, JobId, RunKey};
use redpoll_common::wire::{Fault, Raw};
use redpoll_manager_core::jobs::record::RunRecord;
use redpoll_net::CallContext;
use tokio::time::sleep_until;
use tracing::warn;

use super::arguments::{job_id, stopping, unread};
use super::follow_runs::{Runs, Told};
use super::follow_tell::Teller;
use super::jobs::stored;
use super::jobs_result::with_result;
use super::{jobs_rows, read, write};
use crate::engine::{Engine, JobWatch, unknown_job};
use crate::state::Manager;
use crate::store::Store;

/// Items read at a time: a run's turn, before the others have theirs.
pub const PAGE: usize = 4096;
/// Rows of runs read at a time: a fault may be as large as a frame.
const CHUNK: usize = 250;
/// How often all runs are looked at, if nobody says that something changed.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How much more often than one look takes it may not be.
const LOOK_SHARE: u32 = 20;

pub(super) async fn follow(manager: &Manager, engine: &Engine, call: &CallContext) -> Result<Raw, Fault> {
    let arguments: FollowArguments = read(&call.kwargs)?;
    let job = job_id(&arguments.job)?;
    // before anything is read: what is committed meanwhile wakes it
    let watch = engine.watch(job);
    let store = &**engine.store();
    let runs = Runs::new(&stored(store, call, job).await?, &arguments)?;
    tokio::select! {
        biased;
        () = manager.draining() => Err(stopping()),
        told = Follower { store, job, call, runs }.run(watch) => told,
    }
}

struct Follower<'a> {
    store: &'a dyn Store,
    job: JobId,
    call: &'a CallContext,
    runs: Runs,
}

impl Follower<'_> {
    async fn run(mut self, mut watch: JobWatch) -> Result<Raw, Fault> {
        let mut next_look = self.look().await?;
        loop {
            // a run that always has more must not hide that others changed
            if let Some(changed) = watch.changed().now_or_never() {
                self.mark(changed).await?;
            }
            if let Some(index) = self.runs.next() {
                self.turn(index).await?;
            } else if self.runs.open() == 0 {
                let record = stored(self.store, self.call, self.job).await?;
                return write(&jobs_rows::summary(self.store, &record).await?);
            } else {
                tokio::select! {
                    changed = watch.changed() => self.mark(changed).await?,
                    () = sleep_until(next_look.into()) => next_look = self.look().await?,
                }
            }
        }
    }

    /// Notes whose runs changed.
    async fn mark(&mut self, changed: BTreeSet<PeerId>) -> Result<(), Fault> {
        if changed.is_empty() {
            // when only the job changed it may have been deleted
            stored(self.store, self.call, self.job).await?;
        }
        for agent in changed {
            if let Some(index) = self.runs.index(&agent) {
                self.runs.mark(index);
            }
        }
        Ok(())
    }

    /// Looks at all runs, tells what is new, and says when to look again.
    async fn look(&mut self) -> Result<Instant, Fault> {
        let began = Instant::now();
        if let Some(index) = self.runs.only().and_then(|agent| self.runs.index(agent)) {
            self.turn(index).await?;
        } else {
            let mut after: Option<PeerId> = None;
            loop {
                let page = self.store.runs(self.job, after.clone(), CHUNK).await.map_err(unread)?;
                let whole = page.len() == CHUNK;
                for row in page {
                    after = Some(row.key.agent.clone());
                    let Some(index) = self.runs.index(&row.key.agent) else { continue };
                    if let Some(told) = self.runs.news(index, &row)? {
                        self.tell(index, told, row).await?;
                    }
                }
                if !whole {
                    break;
                }
            }
            if after.is_none() {
                return Err(unknown_job(self.job));
            }
        }
        let took = began.elapsed();
        Ok(Instant::now() + LOOK_EVERY.max(took * LOOK_SHARE))
    }

    /// Tells what is new of one run.
    async fn turn(&mut self, index: usize) -> Result<(), Fault> {
        let Some(agent) = self.runs.agent(index).cloned() else { return Ok(()) };
        let key = RunKey { job: self.job, agent };
        // the row before the items: what it says to be stored is stored when they are read
        let row = self.store.run(&key).await.map_err(unread)?.ok_or_else(|| unknown_job(self.job))?;
        // progress changes without the row
        let news = self.runs.news(index, &row)?.or_else(|| self.runs.told(index));
        match news {
            Some(told) => self.tell(index, told, row).await,
            None => Ok(()),
        }
    }

    /// Tells one page of a run, and what else its row says if that was all.
    async fn tell(&mut self, index: usize, mut told: Told, row: RunRecord) -> Result<(), Fault> {
        let at = told.at.unwrap_or((row.attempt, 0));
        let (at, items) = self.items(&row, at).await?;
        let attempt = if items.is_empty() { row.attempt } else { at.0 };
        let mut teller = Teller::new(self.call, row.key.agent.as_str(), attempt);
        let state = Some((row.attempt, row.state.word()));
        let in_force = attempt == row.attempt;
        let ended = row.state.ending().is_some();
        if in_force && !ended && told.state != state {
            teller.state(row.state.word());
            told.state = state;
        }
        let mut at = at;
        for item in items {
            at.1 = item.n.saturating_add(1);
            teller.item(item).await?;
        }
        told.at = Some(at);
        let more = at.0 < row.attempt || (at.0 == row.attempt && at.1 < row.items);
        if in_force {
            self.progress(&row, &mut told, &mut teller).await?;
        }
        if in_force && ended && !more && !told.knows_end(&row) {
            let row = with_result(self.store, row).await?;
            if told.state != state {
                teller.state(row.state.word());
                told.state = state;
            }
            if let Some(end) = jobs_rows::end_of(&row.state) {
                teller.end(end).await?;
            }
            (told.ended, told.corrected) = (true, row.corrected);
        }
        teller.send().await?;
        self.runs.note(index, told);
        if more {
            self.runs.mark(index);
        }
        Ok(())
    }

    /// The next page of items, and where it begins: what is left of the attempts before comes first.
    async fn items(
        &self,
        row: &RunRecord,
        mut at: (Attempt, u64),
    ) -> Result<((Attempt, u64), Vec<Item>), Fault> {
        while at.0 < row.attempt || (at.0 == row.attempt && at.1 < row.items) {
            let page = self.store.items(&row.key, at.0, at.1, PAGE).await.map_err(unread)?;
            if page.is_empty() && at.0 == row.attempt {
                // they were acknowledged, and are gone from a store that was put back: nobody has them, and the end comes after them
                warn_of_missing(&row.key, at, row.items);
                return Ok(((at.0, row.items), page));
            }
            if !page.is_empty() || at.0 >= row.attempt {
                return Ok((at, page));
            }
            at = (Attempt(at.0.0.saturating_add(1)), 0);
        }
        Ok((at, Vec::new()))
    }

    async fn progress(&self, row: &RunRecord, told: &mut Told, teller: &mut Teller<'_>) -> Result<(), Fault> {
        // what was never offered has none
        if row.attempt.0 == 0 {
            return Ok(());
        }
        let progress = self.store.progress(&row.key).await.map_err(unread)?;
        match progress.filter(|(attempt, _)| *attempt == row.attempt) {
            Some((attempt, progress)) if told.is_new(attempt, &progress) => {
                teller.progress(jobs_rows::how_far(progress)).await
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// A reader sees by the numbers of the items, and by how many its end counts, that some are missing; a person should too.
pub(super) fn warn_of_missing(run: &RunKey, from: (Attempt, u64), until: u64) {
    let (job, agent, attempt, from) = (run.job, &run.agent, from.0, from.1);
    warn!(%job, %agent, %attempt, from, until, "the store lacks items of a run: was an older copy of it put back?");
}
