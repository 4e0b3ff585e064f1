//! Retention: how long, and how many, ended jobs and events are kept.
//!
//! Ended jobs are in the store alone; how many they are is counted here, as counting them there takes time by their number. When some
//! may have to go, the machine asks which ended first, and decides.

use std::collections::{BTreeSet, VecDeque};

use redpoll_common::job::{JobId, Submitter};

use super::Jobs;
use super::effect::Effect;
use super::input::EndedJob;
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

impl<T> Jobs<T> {
    /// Deletes a job that has ended, with whatever is kept of it here; `by` nobody when retention does. `false` when it is gone already.
    pub(super) fn delete_ended(&mut self, id: JobId, by: Option<&Submitter>, now_ms: u64) -> bool {
        if !self.deleted.add(id) {
            return false;
        }
        self.forget(id);
        self.drop_callbacks(id, now_ms);
        self.ended_jobs = self.ended_jobs.saturating_sub(1);
        self.changes.push(Change::JobDeleted(id));
        self.job_event(id, EventKind::JobDeleted, by, now_ms);
        true
    }

    pub(super) fn prune_due(&mut self, now_ms: u64) {
        self.timers.insert((now_ms.saturating_add(self.settings.prune_every_ms.max(1)), Timer::Prune));
        self.find_oldest();
    }

    pub(super) fn prune_if_many(&mut self) {
        if self.ended_jobs > self.settings.keep_jobs.saturating_add(SLACK) {
            self.find_oldest();
        }
    }

    fn find_oldest(&mut self) {
        if !self.finding_oldest {
            self.finding_oldest = true;
            self.effects.push(Effect::FindOldest { limit: self.settings.prune_at_once });
        }
    }

    /// Deletes those of the oldest that are too old or too many. One whose end has still to be told stays.
    ///
    /// Not more in one transaction than a few runs: while they are deleted nothing else is stored, and what is deleted takes room in the
    /// store's log first, which a full disk does not have.
    pub(super) fn oldest_found(&mut self, jobs: Vec<EndedJob>, now_ms: u64) {
        self.finding_oldest = false;
        let mut more = jobs.len() >= self.settings.prune_at_once;
        let most = self.settings.prune_runs / if self.store_full { FULL_SHARE } else { 1 };
        let (mut deleted, mut runs) = (false, 0_usize);
        for EndedJob { id, ended_ms, runs: of_job } in jobs {
            let old = self.settings.keep_ms.is_some_and(|keep| ended_ms.saturating_add(keep) <= now_ms);
            let open = self.jobs.get(&id).is_some_and(|job| job.summary.open > 0);
            if (old || self.ended_jobs > self.settings.keep_jobs) && !open && !self.has_callback(id) {
                if deleted && runs.saturating_add(of_job) > most {
                    more = true;
                    break;
                }
                if self.delete_ended(id, None, now_ms) {
                    (deleted, runs) = (true, runs.saturating_add(of_job));
                }
            }
        }
        if more && deleted {
            self.find_oldest();
        }
    }
}
