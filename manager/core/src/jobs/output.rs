//! How much a run may give: its agent keeps to the limit of the job, and an agent that is not what it was must not fill the disk that all
//! others need.

use redpoll_common::job::{Ending, ITEM_OVERHEAD, Outcome, Overflow};
use redpoll_common::wire::{Fault, FaultCode};

use super::Jobs;
use super::model::{At, Job, Run};

/// Items that an attempt may have: far more than anybody stores, far from the end of what numbers count.
pub(super) const MAX_ITEMS: u64 = 1 << 48;
/// The most that an agent keeps of an attempt when the job does not say: the upper end of its `limits.output`.
const MOST: u64 = 1 << 30;
/// What is let through beyond a quarter of the limit: an agent counts the same, and says besides what it dropped.
const BESIDE: u64 = 1 << 20;

impl<T> Jobs<T> {
    /// Whether a run has given more than an agent that keeps to its limit lets through, with items that count so much.
    pub(super) fn is_too_much(&self, at: At, cost: u64) -> bool {
        let found = self.job_of(at).and_then(|job| Some((job, job.run(at.index)?)));
        found.is_some_and(|(job, run)| {
            most(job, run).is_some_and(|most| run.output.saturating_add(cost) > most)
        })
    }

    /// Ends a run that gives too much, for good: it is not its procedure that failed. Nothing changes in one that has ended.
    pub(super) fn end_flooding(&mut self, at: At, now_ms: u64) {
        let text = format!(
            "its agent told far more than the output limit lets it keep, where each item counts {ITEM_OVERHEAD} bytes besides its own: \
             the rest was not stored"
        );
        let ending = Ending {
            outcome: Outcome::Failed,
            started: Some(true),
            result: None,
            fault: Some(Fault::new(FaultCode::TooLarge, text)),
            items: self.run(at).map_or(0, |run| run.items),
            duration_ms: None,
        };
        self.end(at, ending, now_ms);
    }
}

/// What the items of a run may count, over all of its attempts; `None` when the submitter wants all that it gives.
fn most(job: &Job, run: &Run) -> Option<u64> {
    let limits = &job.record.spec.limits;
    if limits.overflow == Overflow::Block {
        return None;
    }
    let output = limits.output.unwrap_or(MOST).min(MOST);
    let attempt = output.saturating_add(output / 4).saturating_add(BESIDE);
    // what was put back gave nothing
    let attempts = run.attempt.0.saturating_sub(run.put_back).max(1);
    Some(attempt.saturating_mul(attempts.into()))
}
