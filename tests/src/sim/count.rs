//! The manager's count of time, on a machine whose wall clock is set and which reboots: it goes on as the true time does (I13).

use redpoll_common::job::{RunKey, RunState};
use redpoll_manager_core::clock::{Anchor, Readings};
use redpoll_manager_core::jobs::Input;

use super::clock::BEGIN_MS;
use super::invariant::{Check, Invariant, ensure};
use super::manager::{Room, Token};
use super::world::World;

/// How late a run may expire at a manager that has nothing to wait for, in milliseconds.
const SLACK_MS: u64 = 1_000;

/// Where the count stands, and what is known of it outside.
#[derive(Debug)]
pub(super) struct Count {
    anchor: Anchor,
    /// Which boot of the machine it is, and when that was.
    boot: u8,
    booted_at: u64,
    /// By how much the count is ahead of the true time; only a reboot may change that.
    ahead_ms: i64,
}

impl Count {
    pub(super) fn new() -> Self {
        let anchor = Anchor { boot: None, base_ms: 0, ahead_ms: 0, ahead_at_boot_ms: 0 };
        Self { anchor, boot: 1, booted_at: 0, ahead_ms: 0 }
    }

    /// The machine of the manager boots.
    pub(super) fn reboot(&mut self, now_ms: u64) {
        self.boot = self.boot.wrapping_add(1);
        self.booted_at = now_ms;
    }

    /// The true time at which the count will be this.
    pub(super) fn when(&self, count_ms: u64) -> u64 {
        count_ms.saturating_add_signed(-self.anchor.base_ms) + self.booted_at
    }
}

impl World {
    /// The count now.
    pub(super) fn count_ms(&self) -> u64 {
        self.manager.count.anchor.at(self.calendar.now_ms() - self.manager.count.booted_at)
    }

    fn readings(&self) -> Readings {
        let (now, count) = (self.calendar.now_ms(), &self.manager.count);
        let wall_ms = self.manager.wall.at(now);
        Readings { boot: Some([count.boot; 16]), boot_ms: now - count.booted_at, wall_ms }
    }

    /// A process of the manager begins to count. Gives what it has to write down, if anything.
    pub(super) fn begin_count(&mut self) -> Result<Option<Input<Token>>, super::Violation> {
        let (kept, newest) = (self.manager.store.anchor, self.manager.store.newest_ms);
        let readings = self.readings();
        let anchor = Anchor::begin(kept, newest, readings);
        self.manager.count.anchor = anchor;
        let (count, truth) = (self.count_ms(), BEGIN_MS + self.calendar.now_ms());
        let ahead_ms = i64::try_from(i128::from(count) - i128::from(truth)).unwrap_or(i64::MAX);
        let same_boot = kept.is_none_or(|kept| kept.boot == readings.boot);
        // over a boot it goes by the wall clock, which may have been set since
        let set = kept.is_some_and(|kept| {
            kept.told(truth.saturating_add_signed(self.manager.count.ahead_ms)) != readings.wall_ms
        });
        // nothing that was counted is on disk: it begins
        let held = kept.is_none() || ahead_ms == self.manager.count.ahead_ms || (!same_boot && set);
        ensure(held && count >= newest, Invariant::StartsInTime, || {
            format!(
                "the count began {ahead_ms} ms ahead, was {} ms ahead, and {newest} was reached",
                self.manager.count.ahead_ms
            )
        })?;
        self.leaps_begin(kept != Some(anchor));
        if !same_boot && set {
            self.tally.hit("count went by a wall clock that was set");
        }
        self.manager.count.ahead_ms = ahead_ms;
        Ok((kept != Some(anchor)).then_some(Input::Clock { anchor, set_by_ms: 0 }))
    }

    /// The manager looks at its clocks, as it does in each turn.
    pub(super) fn manager_looks(&mut self) -> Check {
        let count = &mut self.manager.count;
        if self.manager.jobs.is_none() {
            return Ok(());
        }
        let (now, anchor) = (self.calendar.now_ms(), count.anchor);
        let readings = Readings {
            boot: Some([count.boot; 16]),
            boot_ms: now - count.booted_at,
            wall_ms: self.manager.wall.at(now),
        };
        let Some(set_by_ms) = anchor.set_by(readings) else { return Ok(()) };
        count.anchor = anchor.moved(set_by_ms);
        self.tally.hit("manager saw its clock set");
        let anchor = self.manager.count.anchor;
        self.tell_manager(Input::Clock { anchor, set_by_ms })
    }

    /// The count is where it should be, and no run waits for longer than it may.
    pub(super) fn judge_count(&self) -> Check {
        let Some(jobs) = &self.manager.jobs else { return Ok(()) };
        let count = self.count_ms();
        let truth = (BEGIN_MS + self.calendar.now_ms()).saturating_add_signed(self.manager.count.ahead_ms);
        ensure(count == truth, Invariant::StartsInTime, || {
            format!("the count is {count}, and should be {truth}")
        })?;
        // what is due is about to be done, and what is done about to be written
        let busy = !self.manager.turns.is_empty() || jobs.poll_timeout().is_none_or(|due| due <= count);
        if busy || self.manager.room != Room::Plenty {
            return Ok(());
        }
        let late = self.manager.store.runs.values().find(|run| {
            let deadline = self.manager.store.deadline(&run.key);
            matches!(run.state, RunState::Queued)
                && deadline.is_some_and(|deadline| deadline + SLACK_MS < count)
        });
        ensure(late.is_none(), Invariant::StartsInTime, || {
            format!("{:?} waits longer than start_within", late.map(|run| &run.key))
        })
    }
}

impl super::store::Store {
    /// By when a run has to start.
    pub(super) fn deadline(&self, key: &RunKey) -> Option<u64> {
        let job = self.jobs.get(&key.job)?;
        let within = u64::try_from(job.spec.limits.start_within?.as_millis()).ok()?;
        job.released_ms?.checked_add(within)
    }

    /// What the manager says of times, when it writes a run down.
    pub(super) fn check_times(
        &self,
        before: Option<&RunState>,
        run: &redpoll_manager_core::jobs::record::RunRecord,
    ) -> Check {
        let Some(deadline) = self.deadline(&run.key) else { return Ok(()) };
        if let (Some(RunState::Queued), RunState::Ended(end), Some(ended)) =
            (before, &run.state, run.ended_ms)
            && end.outcome == redpoll_common::job::Outcome::Expired
        {
            ensure(ended >= deadline, Invariant::StartsInTime, || {
                format!("{} expired at {ended}, before {deadline}", run.key)
            })?;
        }
        if let (RunState::Offered(..), Some(offered)) = (&run.state, run.offered_ms) {
            ensure(offered < deadline, Invariant::StartsInTime, || {
                format!("{} was offered at {offered}, after {deadline}", run.key)
            })?;
        }
        Ok(())
    }
}
