//! `rp.jobs.follow`: past and future of a job's runs, to their ends, without gap or repetition.
//!
//! A follower is told what is on disk, and nothing else. It is woken for the runs that changed, reads their rows and what they
//! have after the last item that was told, and tells that, one page of one run after the other: a run that gives much does
//! not keep the others waiting. What may be large is read when there is credit for it: a follower that takes nothing holds no more than
//! one value in memory.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use redpoll_common::api::items::{FollowArguments, Missing};
use redpoll_common::ids::PeerId;
use redpoll_common::job::{Attempt, Item, JobId, RunKey};
use redpoll_common::wire::{Fault, Raw};
use redpoll_manager_core::jobs::record::RunRecord;
use redpoll_net::CallContext;
use tokio::time::sleep_until;
use tracing::warn;

use super::arguments::{job_id, stopping, unread};
use super::call::undelivered;
use super::follow_runs::{Runs, Seen, Told};
use super::follow_tell::{BATCH, Teller};
use super::jobs::stored;
use super::{jobs_rows, read, write};
use crate::engine::{Engine, JobWatch, unknown_job};
use crate::state::Manager;
use crate::store::{Store, may_go_on};

/// Items read at a time: a run's turn, before the others have theirs.
pub const PAGE: usize = 1024;
/// Rows of runs read at a time.
const CHUNK: usize = 250;
/// How often all runs are looked at, if nobody says that something changed.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How much more often than one look takes it may not be.
const LOOK_SHARE: u32 = 20;

pub(super) async fn follow(manager: &Manager, engine: &Engine, mut call: CallContext) -> Result<Raw, Fault> {
    let arguments: FollowArguments = read(&call.kwargs)?;
    call.release_arguments();
    let call = &call;
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

/// Where items begin, the items, and with which number it goes on where there are none.
type Page = ((Attempt, u64), Vec<Item>, Option<u64>);

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
                let whole = may_go_on(&page, CHUNK);
                let seen: Vec<Seen> = page.iter().map(Seen::of).collect();
                drop(page);
                for row in seen {
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
        let row = Seen::of(&self.row(&key).await?);
        // progress changes without the row
        let news = self.runs.news(index, &row)?.or_else(|| self.runs.told(index));
        match news {
            Some(told) => self.tell(index, told, row).await,
            None => Ok(()),
        }
    }

    async fn row(&self, key: &RunKey) -> Result<RunRecord, Fault> {
        self.store.run(key).await.map_err(unread)?.ok_or_else(|| unknown_job(self.job))
    }

    /// Tells one page of a run, and what else its row says if that was all.
    async fn tell(&mut self, index: usize, mut told: Told, row: Seen) -> Result<(), Fault> {
        let at = told.at.unwrap_or((row.attempt, 0));
        let (mut at, items, until) = self.items(&row, at).await?;
        let attempt = if items.is_empty() { row.attempt } else { at.0 };
        let mut teller = Teller::new(self.call, row.key.agent.as_str(), attempt);
        let state = Some((row.attempt, row.state));
        let in_force = attempt == row.attempt;
        if in_force && !row.ended && told.state != state {
            teller.state(row.state);
            told.state = state;
        }
        for item in items {
            self.pass(&row.key, &mut at, item.n, &mut teller).await?;
            at.1 = item.n.saturating_add(1);
            teller.item(item).await?;
        }
        if let Some(until) = until {
            self.pass(&row.key, &mut at, until, &mut teller).await?;
        }
        told.at = Some(at);
        let mut more = at.0 < row.attempt || (at.0 == row.attempt && at.1 < row.items);
        if in_force {
            self.progress(&row, &mut told, &mut teller).await?;
        }
        if in_force && row.ended && !more && !told.knows_end(&row) {
            more = !self.end(&row, &mut told, &mut teller).await?;
        }
        teller.send().await?;
        self.runs.note(index, told);
        if more {
            self.runs.mark(index);
        }
        Ok(())
    }

    /// Goes on with this number, and tells what is missing before it.
    async fn pass(
        &self,
        run: &RunKey,
        at: &mut (Attempt, u64),
        next: u64,
        teller: &mut Teller<'_>,
    ) -> Result<(), Fault> {
        if at.1 < next {
            let missing = Missing { from: at.1, until: next };
            warn_of_missing(run, at.0, missing);
            at.1 = next;
            teller.missing(missing).await?;
        }
        Ok(())
    }

    /// Tells how a run ended. `false` when its row says by now that there is something else before.
    async fn end(&self, seen: &Seen, told: &mut Told, teller: &mut Teller<'_>) -> Result<bool, Fault> {
        teller.make_room().await?;
        let row = self.row(&seen.key).await?;
        let now = Seen::of(&row);
        if !now.ended || (now.attempt, now.items) != (seen.attempt, seen.items) {
            return Ok(false);
        }
        let state = Some((now.attempt, now.state));
        if told.state != state {
            teller.state(now.state);
            told.state = state;
        }
        if let Some(end) = jobs_rows::end_of(&row.state) {
            teller.end(end).await?;
        }
        (told.ended, told.corrected) = (true, now.corrected);
        Ok(true)
    }

    /// The next page of items, and where it begins: what is left of the attempts before comes first. At last the number to go on with
    /// when all that was acknowledged after it is gone.
    async fn items(&self, row: &Seen, mut at: (Attempt, u64)) -> Result<Page, Fault> {
        while at.0 < row.attempt || (at.0 == row.attempt && at.1 < row.items) {
            let page = self.page(&row.key, at).await?;
            if page.is_empty() && at.0 == row.attempt {
                // nobody has them, and the end comes after them
                return Ok((at, page, Some(row.items)));
            }
            if !page.is_empty() || at.0 >= row.attempt {
                return Ok((at, page, None));
            }
            at = (Attempt(at.0.0.saturating_add(1)), 0);
        }
        Ok((at, Vec::new(), None))
    }

    /// Items for which there is credit: as much as a value holds, or one that is larger.
    async fn page(&self, run: &RunKey, (attempt, from): (Attempt, u64)) -> Result<Vec<Item>, Fault> {
        let mut bytes = BATCH;
        loop {
            self.call.output.ready(bytes).await.map_err(|error| undelivered(self.call, error))?;
            let page = self.store.items_within(run, attempt, from, (PAGE, BATCH)).await.map_err(unread)?;
            bytes = page.iter().map(|item| item.data.len()).sum();
            if bytes <= BATCH || self.call.output.is_ready(&[bytes]) {
                return Ok(page);
            }
            // read again when it can leave
        }
    }

    async fn progress(&self, row: &Seen, told: &mut Told, teller: &mut Teller<'_>) -> Result<(), Fault> {
        // what was never offered has none
        if row.attempt.0 == 0 {
            return Ok(());
        }
        teller.make_room().await?;
        let progress = self.store.progress(&row.key).await.map_err(unread)?;
        match progress.filter(|(attempt, _)| *attempt == row.attempt) {
            Some((attempt, progress)) if told.is_new(attempt, &progress) => {
                teller.progress(jobs_rows::how_far(progress)).await
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// A reader is told which items are missing; a person should know, too.
pub(super) fn warn_of_missing(run: &RunKey, attempt: Attempt, missing: Missing) {
    let (job, agent, Missing { from, until }) = (run.job, &run.agent, missing);
    warn!(%job, %agent, %attempt, from, until, "the store lacks items of a run: was an older copy of it put back?");
}
