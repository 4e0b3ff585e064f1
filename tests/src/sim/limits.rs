//! Limits of what runs: nobody is stopped before one is reached, and everybody is soon after.
//!
//! Counted by the time of the world, which is that of the boot-time clock of any machine between two boots; and no run outlives a
//! boot.

use redpoll_common::job::{Attempt, RunKey};

use super::invariant::{Check, Invariant, ensure};
use super::oracle::Try;
use super::world::World;

/// How much later than its limit an agent may decide that a program has to stop: what passes until it hears that it began.
const SLACK_MS: u64 = 100;

impl World {
    /// Of an attempt it was said that it timed out.
    pub(super) fn judge_timeout(&self, key: &RunKey, attempt: Attempt) -> Check {
        let of: Try = (key.job, key.agent.clone(), attempt);
        let limits = self.operators.spec(key.job).map(|spec| spec.limits).unwrap_or_default();
        let Some((seen, stopped)) = self.oracle.of(&of).and_then(|seen| Some((seen, seen.stopped_ms?)))
        else {
            return ensure(false, Invariant::TruthfulEnd, || {
                format!("{key} timed out, and nobody stopped it")
            });
        };
        let (ran, silent) = (stopped - seen.began_ms, stopped - seen.gave_ms);
        let due = |limit: Option<std::time::Duration>, after: u64| {
            limit.is_some_and(|limit| {
                let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
                (limit..=limit.saturating_add(SLACK_MS)).contains(&after)
            })
        };
        ensure(
            due(limits.run_timeout, ran) || due(limits.idle_timeout, silent),
            Invariant::TruthfulEnd,
            || {
                format!(
                    "attempt {attempt} of {key} timed out after {ran} ms, silent for {silent} ms: {limits:?}"
                )
            },
        )
    }

    /// A program runs whose agent lives: not beyond what it may.
    pub(super) fn judge_overrun(&self, of: &Try) -> Check {
        let limit = self.operators.spec(of.0).and_then(|spec| spec.limits.run_timeout);
        let (Some(limit), Some(seen)) = (limit, self.oracle.of(of)) else { return Ok(()) };
        let ran = u128::from(self.calendar.now_ms() - seen.began_ms);
        let held = seen.stopped_ms.is_some() || ran <= limit.as_millis() + u128::from(SLACK_MS);
        ensure(held, Invariant::TruthfulEnd, || {
            format!("attempt {} of {} on {} may run for {limit:?}, and runs for {ran} ms", of.2, of.0, of.1)
        })
    }
}
