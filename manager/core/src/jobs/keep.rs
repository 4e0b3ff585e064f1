//! Retention: how long, and how many, ended jobs and events are kept.
//!
//! Ended jobs are in the store alone. When some may have to go, the machine asks which ended first, and decides. Those of operators and
//! those of agents are counted by themselves, and those of each agent: nobody's push out what another's were kept for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;

use redpoll_common::job::{JobId, Submitter};

use super::Jobs;
use super::effect::Effect;
use super::input::{EndedJob, Whose};
use super::model::Timer;
use super::record::{Change, EventKind};

/// Ended jobs beyond the limit before they are looked for, so that it is not done for each.
const SLACK: u64 = 64;

/// Of what may be deleted in one go, while the disk is full.
const FULL_SHARE: usize = 100;

/// Deletions that are remembered: far more than can be under way between a look into the store and its answer.
const RECENT: usize = 4096;

/// The jobs that were deleted last. Whoever asks for a deletion has seen the job in the store, and may have seen it before another's
/// deletion was there: a job is deleted, told and counted once.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    jobs: BTreeSet<JobId>,
    order: VecDeque<JobId>,
}

impl Deleted {
    /// `false` when it was deleted before.
    fn add(&mut self, id: JobId) -> bool {
        if !self.jobs.insert(id) {
            return false;
        }
        if self.order.len() == RECENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.jobs.remove(&oldest);
        }
        self.order.push_back(id);
        true
    }
}

/// What is known of the ended jobs that are stored of some.
#[derive(Debug, Default)]
struct Shelf {
    /// How many there are, but for those that ended while they were counted, or were deleted by others since; `None` before they were.
    stored: Option<u64>,
    /// [`Shelves::deletions`] when they were counted last: counting them in the store takes time by their number.
    counted: Option<u64>,
    finding: bool,
}

/// The ended jobs, by whose they are. Each has its own limit.
#[derive(Debug)]
pub(super) struct Shelves {
    of: BTreeMap<Whose, Shelf>,
    /// How many were deleted by others than retention: nobody here knows whose they were.
    deletions: u64,
}

impl Shelves {
    /// So many at most are of operators, and so many of agents. Of a single agent the store is asked when the first of its jobs ends.
    pub(super) fn new(ended: u64) -> Self {
        let shelf = || Shelf { stored: Some(ended), ..Shelf::default() };
        Self { of: BTreeMap::from([(Whose::Operators, shelf()), (Whose::Agents, shelf())]), deletions: 0 }
    }

    fn of(&mut self, whose: Whose) -> &mut Shelf {
        self.of.entry(whose).or_default()
    }
}

impl<T> Jobs<T> {
    /// Deletes a job that has ended, with whatever is kept of it here; `by` nobody when retention does. `false` when it is gone already.
    pub(super) fn delete_ended(&mut self, id: JobId, by: Option<&Submitter>, now_ms: u64) -> bool {
        if !self.deleted.add(id) {
            return false;
        }
        self.forget(id);
        self.drop_callbacks(id, now_ms);
        if by.is_some() {
            self.shelves.deletions += 1;
        }
        self.changes.push(Change::JobDeleted(id));
        self.job_event(id, EventKind::JobDeleted, by, now_ms);
        true
    }

    pub(super) fn prune_due(&mut self, now_ms: u64) {
        self.timers.insert((now_ms.saturating_add(self.settings.prune_every_ms.max(1)), Timer::Prune));
        for whose in [Whose::Operators, Whose::Agents] {
            self.shelves.of(whose.clone()).counted = None;
            self.find_oldest(whose);
        }
    }

    /// One more job of theirs has ended. When there may be too many, the oldest of these are looked for: of no others.
    pub(super) fn shelve(&mut self, submitter: &Submitter) {
        let all = match submitter.operator_id() {
            Some(_) => [Some(Whose::Operators), None],
            None => [Some(Whose::Agents), Some(Whose::Agent(submitter.clone()))],
        };
        for whose in all.into_iter().flatten() {
            let limit = self.keep_of(&whose);
            let shelf = self.shelves.of(whose.clone());
            shelf.stored = shelf.stored.map(|stored| stored.saturating_add(1));
            if shelf.stored.is_none_or(|stored| stored > limit.saturating_add(SLACK)) {
                self.find_oldest(whose);
            }
        }
    }

    fn keep_of(&self, whose: &Whose) -> u64 {
        match whose {
            Whose::Operators => self.settings.keep_jobs,
            Whose::Agents => self.settings.keep_of_agents,
            Whose::Agent(_) => self.settings.keep_per_agent,
        }
    }

    fn find_oldest(&mut self, whose: Whose) {
        let deletions = self.shelves.deletions;
        let shelf = self.shelves.of(whose.clone());
        if !mem::replace(&mut shelf.finding, true) {
            // those of one agent are few, and go by their age with the others of agents
            let is_one = matches!(whose, Whose::Agent(_));
            let count = is_one || shelf.stored.is_none() || shelf.counted != Some(deletions);
            shelf.counted = Some(deletions);
            self.effects.push(Effect::FindOldest { whose, limit: self.settings.prune_at_once, count });
        }
    }

    /// When a job that ended then is too old.
    fn due(&self, ended_ms: u64, keep: u64) -> u64 {
        self.anchor.map_or_else(|| ended_ms.saturating_add(keep), |anchor| anchor.due(ended_ms, keep))
    }

    /// Deletes those of the oldest that are too old or too many. One whose end has still to be told stays.
    ///
    /// Not more in one transaction than a few runs: while they are deleted nothing else is stored, and what is deleted takes room in the
    /// store's log first, which a full disk does not have.
    pub(super) fn oldest_found(
        &mut self,
        whose: Whose,
        stored: Option<u64>,
        jobs: Vec<EndedJob>,
        now_ms: u64,
    ) {
        let shelf = self.shelves.of(whose.clone());
        shelf.finding = false;
        // a look that failed has no number: nobody is one too many then
        let mut left = stored.or(shelf.stored);
        let limit = self.keep_of(&whose);
        let mut more = jobs.len() >= self.settings.prune_at_once;
        let most = self.settings.prune_runs / if self.store_full { FULL_SHARE } else { 1 };
        let (mut deleted, mut runs) = (false, 0_usize);
        for EndedJob { id, ended_ms, runs: of_job } in jobs {
            let old = self.settings.keep_ms.is_some_and(|keep| self.due(ended_ms, keep) <= now_ms);
            let open = self.jobs.get(&id).is_some_and(|job| job.summary.open > 0);
            if (old || left.is_some_and(|left| left > limit)) && !open && !self.has_callback(id) {
                if deleted && runs.saturating_add(of_job) > most {
                    more = true;
                    break;
                }
                // one that was deleted while they were looked for is among them, and has gone
                left = left.map(|left| left.saturating_sub(1));
                if self.delete_ended(id, None, now_ms) {
                    (deleted, runs) = (true, runs.saturating_add(of_job));
                }
            }
        }
        self.shelves.of(whose.clone()).stored = left;
        if deleted && matches!(whose, Whose::Agent(_)) {
            self.shelves.of(Whose::Agents).counted = None;
        }
        if more && deleted {
            self.find_oldest(whose);
        }
    }
}
