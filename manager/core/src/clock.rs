//! The manager's count of time: what durations are measured with, and which clock time that is for people.
//!
//! A wall clock can be set, forward by a month or back by an hour, and nothing that is a duration may follow it: what is kept for
//! thirty days must not be deleted, what may wait for two hours must not expire. So times of jobs are **counted**: in milliseconds that
//! go on with the boot-time clock, also while the machine sleeps and while no manager runs. The count began as the wall clock; an
//! [`Anchor`] says where it stands, and how far the wall clock is ahead of it.
//!
//! Whoever shows a time gives it as the wall clock is set *now* ([`Anchor::told`]). So the time between two of them is always the
//! time that passed, and after a wrong clock was corrected, what it stamped is right too.
//!
//! Only where the machine was off in between there is nothing but the wall clock to tell how long: there the count goes on by it,
//! and never back.

use std::time::Duration;

/// By how much the wall clock may move away before it counts as set. Less is the work of those who keep it in step.
pub const TOLERANCE: Duration = Duration::from_millis(500);

/// How long after a boot the wall clock may still be wrong: what it says of the time in which the machine was off is not acted on before.
pub const SETTLING: Duration = Duration::from_secs(3600);

/// What the clocks of a machine say in one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readings {
    /// The kernel's name of this boot; `None` where it has none.
    pub boot: Option<[u8; 16]>,
    /// Milliseconds since the boot, with those in which the machine slept.
    pub boot_ms: u64,
    /// UTC milliseconds since 1970, as far as the machine knows.
    pub wall_ms: u64,
}

/// Where the count stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// The boot for which it holds.
    pub boot: Option<[u8; 16]>,
    /// The count at the moment of the boot. Below 0 where the machine is up for longer than its clock says that there was time.
    pub base_ms: i64,
    /// How far the wall clock is ahead of the count; below 0 when it is behind.
    pub ahead_ms: i64,
    /// How far it was ahead at the boot: where it is less now, the wall clock was set back since.
    pub ahead_at_boot_ms: i64,
}

impl Anchor {
    /// Goes on from what was kept, or begins with the wall clock. `newest_ms` is the latest count that is known to have been
    /// reached: it is never gone below. Within one boot nothing changes, and [`Anchor::set_by`] tells whether the clock was set meanwhile.
    pub fn begin(kept: Option<Self>, newest_ms: u64, now: Readings) -> Self {
        let count = match kept {
            Some(kept) if kept.boot.is_some() && kept.boot == now.boot => {
                if kept.at(now.boot_ms) >= newest_ms {
                    return kept;
                }
                newest_ms
            }
            Some(kept) => kept.counted(now.wall_ms),
            None => now.wall_ms,
        };
        let count = count.max(newest_ms);
        let ahead_ms = difference(now.wall_ms, count);
        let base_ms = difference(count, now.boot_ms);
        Self { boot: now.boot, base_ms, ahead_ms, ahead_at_boot_ms: ahead_ms }
    }

    /// The count when the boot-time clock shows this.
    pub fn at(&self, boot_ms: u64) -> u64 {
        boot_ms.saturating_add_signed(self.base_ms)
    }

    /// A counted time as the wall clock is set now, in UTC milliseconds.
    pub fn told(&self, counted_ms: u64) -> u64 {
        counted_ms.saturating_add_signed(self.ahead_ms)
    }

    /// The count of a time by the wall clock as it is set now.
    pub fn counted(&self, told_ms: u64) -> u64 {
        told_ms.saturating_add_signed(self.ahead_ms.saturating_neg())
    }

    /// When that much time has passed since a count, for what cannot be undone. How long the machine was off only the wall clock said: of
    /// what is from before the boot nothing is due within [`SETTLING`] of it, and by as much later as the wall clock was set back since
    /// the boot. What it was set by before that is no matter: the count went on by what it said then.
    pub fn due(&self, since_ms: u64, after_ms: u64) -> u64 {
        let due = since_ms.saturating_add(after_ms);
        let boot_ms = self.at(0);
        if since_ms >= boot_ms {
            return due;
        }
        let settling = u64::try_from(SETTLING.as_millis()).unwrap_or(u64::MAX);
        let set_back = self.ahead_ms.saturating_sub(self.ahead_at_boot_ms).min(0).unsigned_abs();
        due.saturating_add(set_back).max(boot_ms.saturating_add(settling))
    }

    /// By how many milliseconds the wall clock was set since, if it was: below 0 for back.
    pub fn set_by(&self, now: Readings) -> Option<i64> {
        let ahead = difference(now.wall_ms, self.at(now.boot_ms));
        let by = ahead.saturating_sub(self.ahead_ms);
        (u128::from(by.unsigned_abs()) >= TOLERANCE.as_millis()).then_some(by)
    }

    /// The same after the wall clock was set.
    #[must_use]
    pub fn moved(self, by_ms: i64) -> Self {
        Self { ahead_ms: self.ahead_ms.saturating_add(by_ms), ..self }
    }
}

fn difference(from: u64, less: u64) -> i64 {
    let whole = i128::from(from) - i128::from(less);
    i64::try_from(whole).unwrap_or(if whole < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const DAY: u64 = 24 * HOUR;
    /// Some day of the year 2023.
    const THEN: u64 = 1_700_000_000_000;

    fn readings(boot: u8, boot_ms: u64, wall_ms: u64) -> Readings {
        Readings { boot: Some([boot; 16]), boot_ms, wall_ms }
    }

    #[test]
    fn the_count_begins_as_the_wall_clock_and_goes_on_by_the_boot_time_clock() {
        let anchor = Anchor::begin(None, 0, readings(1, HOUR, THEN));
        assert_eq!((anchor.at(HOUR), anchor.at(3 * HOUR)), (THEN, THEN + 2 * HOUR));
        assert_eq!(anchor.told(THEN + 7), THEN + 7);
    }

    #[test]
    fn a_clock_that_is_set_moves_what_is_told_and_not_what_is_counted() {
        for by in [40 * 24 * 3_600_000_i64, -2 * 3_600_000, 500, -500] {
            let anchor = Anchor::begin(None, 0, readings(1, 0, THEN));
            let now = readings(1, 1_000, (THEN + 1_000).saturating_add_signed(by));
            assert_eq!(anchor.set_by(now), Some(by));
            let moved = anchor.moved(by);
            assert_eq!(moved.at(1_000), THEN + 1_000);
            assert_eq!(moved.told(THEN), THEN.saturating_add_signed(by));
            assert_eq!(moved.counted(moved.told(THEN + 5)), THEN + 5);
            assert_eq!(moved.set_by(now), None);
        }
        let anchor = Anchor::begin(None, 0, readings(1, 0, THEN));
        assert_eq!(anchor.set_by(readings(1, 1_000, THEN + 1_499)), None);
        assert_eq!(anchor.set_by(readings(1, 1_000, THEN + 501)), None);
    }

    #[test]
    fn a_new_manager_of_the_same_boot_counts_on_whatever_the_clock_says() {
        let anchor = Anchor::begin(None, 0, readings(1, 0, THEN));
        for wall in [THEN + 40 * DAY, THEN + HOUR, THEN - DAY] {
            let next = Anchor::begin(Some(anchor), THEN, readings(1, HOUR, wall));
            assert_eq!((next, next.at(HOUR)), (anchor, THEN + HOUR));
            let by = next.set_by(readings(1, HOUR, wall)).unwrap_or(0);
            assert_eq!(next.moved(by).told(THEN + HOUR), wall);
        }
    }

    #[test]
    fn after_a_boot_the_wall_clock_says_how_long_the_machine_was_off() {
        // its clock was an hour behind the count, and still is
        let anchor = Anchor::begin(None, 0, readings(1, 0, THEN)).moved(-(3_600_000));
        let next = Anchor::begin(Some(anchor), THEN + DAY, readings(2, 5_000, THEN + 2 * DAY - HOUR));
        assert_eq!(next.at(5_000), THEN + 2 * DAY);
        assert_eq!(next.told(THEN + 2 * DAY), THEN + 2 * DAY - HOUR);
        // without names of boots each may be another one
        let nameless = Readings { boot: None, ..readings(1, 9 * HOUR, THEN + HOUR) };
        let next = Anchor::begin(Some(Anchor { boot: None, ..anchor }), THEN, nameless);
        assert_eq!(next.at(9 * HOUR), THEN + 2 * HOUR);
    }

    #[test]
    fn the_count_never_goes_below_what_was_reached() {
        // a machine whose clock is wrong until it has a network
        let anchor = Anchor::begin(None, 0, readings(1, 0, THEN));
        let next = Anchor::begin(Some(anchor), THEN + DAY, readings(2, 4_000, 0));
        assert_eq!(next.at(4_000), THEN + DAY);
        assert_eq!(next.at(5_000), THEN + DAY + 1_000);
        // and then has it
        let by = next.set_by(readings(2, 6_000, THEN + 2 * DAY)).unwrap();
        assert_eq!(next.moved(by).told(THEN + DAY + 2_000), THEN + 2 * DAY);
        // a store that is ahead of what it kept, as one that was put together by hand
        let next = Anchor::begin(Some(anchor), THEN + DAY, readings(1, 4_000, THEN));
        assert_eq!((next.at(4_000), next.told(THEN + DAY)), (THEN + DAY, THEN));
        // the same for the first start
        assert_eq!(Anchor::begin(None, THEN, readings(1, 0, 7)).at(0), THEN);
    }

    #[test]
    fn what_is_from_before_a_boot_is_due_when_the_clock_can_be_believed() {
        let before = Anchor::begin(None, 0, readings(1, 0, THEN));
        // its clock is sixty days ahead after the boot, until it has a network
        let anchor = Anchor::begin(Some(before), THEN + HOUR, readings(2, 0, THEN + 60 * DAY));
        let (old, keep) = (THEN + HOUR, 30 * DAY);
        assert_eq!(anchor.due(old, keep), anchor.at(HOUR), "not within an hour");
        let by = anchor.set_by(readings(2, 60_000, THEN + 2 * HOUR)).unwrap();
        let moved = anchor.moved(by);
        let due = old + keep + 60 * DAY - 2 * HOUR + 60_000;
        assert_eq!(moved.due(old, keep), due);
        // and what is from after it as ever
        let since = moved.at(60_000);
        assert_eq!(moved.due(since, keep), since + keep);
        assert_eq!(before.due(THEN + 7, keep), THEN + 7 + keep);
    }

    #[test]
    fn a_clock_that_was_wrong_before_the_boot_holds_nothing_up() {
        // sixty days ahead, and corrected: the count stays ahead of it from then on
        let before = Anchor::begin(None, 0, readings(1, 0, THEN + 60 * DAY)).moved(-60 * 86_400_000_i64);
        let (old, keep) = (THEN + 60 * DAY + HOUR, 40 * DAY);
        let anchor = Anchor::begin(Some(before), old, readings(2, 0, THEN + 31 * DAY));
        assert_eq!((anchor.at(0), anchor.ahead_ms), (THEN + 91 * DAY, -60 * 86_400_000_i64));
        assert_eq!(anchor.due(old, keep), old + keep);
        assert_eq!(anchor.due(old, DAY), anchor.at(HOUR));
        // only what it is set back by now does, also for a new manager
        let moved = anchor.moved(-86_400_000);
        let next = Anchor::begin(Some(moved), old, readings(2, HOUR, THEN + 30 * DAY + HOUR));
        assert_eq!((next, next.due(old, keep)), (moved, old + keep + DAY));
    }

    #[test]
    fn a_clock_that_is_set_back_after_the_boot_keeps_what_is_old_also_where_it_stays_ahead() {
        // one without a clock of its own, which lost ninety days to the true time
        let before = Anchor::begin(None, 0, readings(1, 0, THEN)).moved(90 * 86_400_000_i64);
        let (old, keep) = (THEN + HOUR, 30 * DAY);
        let off = THEN + 90 * DAY + 2 * HOUR;
        let anchor = Anchor::begin(Some(before), old, readings(2, 0, off + 60 * DAY));
        assert_eq!(anchor.at(0), THEN + 60 * DAY + 2 * HOUR);
        let by = anchor.set_by(readings(2, 60_000, off + 60_000)).unwrap();
        let moved = anchor.moved(by);
        assert_eq!((by, moved.ahead_ms), (-60 * 86_400_000_i64, 30 * 86_400_000_i64));
        assert_eq!(moved.due(old, keep), old + keep + 60 * DAY);
        let next = Anchor::begin(Some(moved), old, readings(2, HOUR, off + HOUR));
        assert_eq!((next, next.due(old, keep)), (moved, old + keep + 60 * DAY));
    }

    #[test]
    fn nonsense_stops_at_the_ends_of_time() {
        let anchor =
            Anchor { boot: Some([1; 16]), base_ms: i64::MIN, ahead_ms: i64::MAX, ahead_at_boot_ms: 0 };
        assert_eq!(anchor.at(5), 0);
        let far = readings(1, u64::MAX, u64::MAX);
        let begun = Anchor::begin(Some(anchor), u64::MAX, far);
        assert_eq!((begun.at(u64::MAX), begun.set_by(far)), (u64::MAX, None));
        assert_eq!(anchor.moved(i64::MAX).told(u64::MAX), u64::MAX);
        assert!(anchor.set_by(far).is_none_or(|by| by != 0));
        let back = Anchor { base_ms: 5, ahead_ms: i64::MIN, ahead_at_boot_ms: i64::MAX, ..anchor };
        assert_eq!(back.due(4, u64::MAX), u64::MAX);
    }
}
