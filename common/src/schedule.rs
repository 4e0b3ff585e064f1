//! When recurring procedures run: at regular times, each at most once at a time, nothing made up for twice.
//!
//! [`Schedules`] is told the time and what ended, and says what is to start. Times are milliseconds of a clock that goes on while
//! the machine sleeps and never goes back; a draw of lots is an argument.

use std::collections::{BTreeMap, BTreeSet};

/// When something runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From the start of one run to the start of the next, in milliseconds; 0 counts as 1.
    pub every_ms: u64,
    /// Up to how much later each run starts.
    pub jitter_ms: u64,
    /// Whether the first run is at once, rather than one interval later.
    pub at_start: bool,
}

/// A run that is to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Of which schedule.
    pub name: String,
    /// How many runs were left out since the last one: it ran still, or the machine slept.
    pub skipped: u64,
}

#[derive(Debug)]
struct Entry {
    timing: Timing,
    /// The next time of the regular grid.
    base: u64,
    /// The same and its jitter.
    due: u64,
    skipped: u64,
}

/// All schedules of one agent.
#[derive(Debug, Default)]
pub struct Schedules {
    entries: BTreeMap<String, Entry>,
    /// What runs, also of schedules that are gone: one that comes back waits for it.
    running: BTreeSet<String>,
}

impl Schedules {
    /// Takes what shall be there from now on: what is new or has other times begins, what is gone ends, the rest goes on as if
    /// nothing had been said. Of two with one name the later counts.
    pub fn set(
        &mut self,
        wanted: impl IntoIterator<Item = (String, Timing)>,
        now: u64,
        mut random: impl FnMut() -> u64,
    ) {
        let mut before = std::mem::take(&mut self.entries);
        for (name, timing) in wanted {
            let entry = match before.remove(&name) {
                Some(entry) if entry.timing == timing => entry,
                Some(_) | None => Entry::begin(timing, now, random()),
            };
            self.entries.insert(name, entry);
        }
    }

    /// When [`Schedules::poll_start`] has something to say.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.entries.values().map(|entry| entry.due).min()
    }

    /// The next run that is due, until there is none; it counts as running until [`Schedules::ended`]. Early and repeated calls
    /// do nothing.
    pub fn poll_start(&mut self, now: u64, mut random: impl FnMut() -> u64) -> Option<Start> {
        for (name, entry) in &mut self.entries {
            if entry.due > now {
                continue;
            }
            let missed = entry.pass(now, random());
            if self.running.contains(name) {
                // the ones missed, and this one
                entry.skipped = entry.skipped.saturating_add(missed).saturating_add(1);
                continue;
            }
            self.running.insert(name.clone());
            let skipped = std::mem::take(&mut entry.skipped).saturating_add(missed);
            return Some(Start { name: name.clone(), skipped });
        }
        None
    }

    /// A run has ended.
    pub fn ended(&mut self, name: &str) {
        self.running.remove(name);
    }

    /// How many runs have not ended.
    pub fn running(&self) -> usize {
        self.running.len()
    }
}

impl Entry {
    fn begin(timing: Timing, now: u64, random: u64) -> Self {
        let base = if timing.at_start { now } else { now.saturating_add(timing.every_ms.max(1)) };
        Self { timing, base, due: base.saturating_add(lot(timing, random)), skipped: 0 }
    }

    /// Goes on to the first time of the grid that is still to come, and gives how many were passed over.
    fn pass(&mut self, now: u64, random: u64) -> u64 {
        let every = self.timing.every_ms.max(1);
        let missed = now.saturating_sub(self.base) / every;
        self.base = self.base.saturating_add(every.saturating_mul(missed.saturating_add(1)));
        self.due = self.base.saturating_add(lot(self.timing, random));
        missed
    }
}

fn lot(timing: Timing, random: u64) -> u64 {
    // 0 to jitter, both included
    timing.jitter_ms.checked_add(1).map_or(random, |range| random % range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NO_JITTER: Timing = Timing { every_ms: 100, jitter_ms: 0, at_start: false };

    fn one(timing: Timing) -> Schedules {
        let mut schedules = Schedules::default();
        schedules.set([("a".to_owned(), timing)], 1_000, || 7);
        schedules
    }

    fn start(schedules: &mut Schedules, now: u64) -> Option<u64> {
        schedules.poll_start(now, || 7).map(|start| start.skipped)
    }

    #[test]
    fn the_first_run_is_one_interval_later_or_at_once() {
        let mut later = one(NO_JITTER);
        assert_eq!((start(&mut later, 1_099), later.poll_timeout()), (None, Some(1_100)));
        assert_eq!((start(&mut later, 1_100), start(&mut later, 1_100)), (Some(0), None));
        let mut at_once = one(Timing { at_start: true, ..NO_JITTER });
        assert_eq!((start(&mut at_once, 1_000), at_once.poll_timeout()), (Some(0), Some(1_100)));
    }

    #[test]
    fn runs_keep_to_the_grid_however_late_each_of_them_starts() {
        let mut schedules = one(NO_JITTER);
        for (now, next) in [(1_150, 1_200), (1_299, 1_300), (1_300, 1_400)] {
            assert_eq!(start(&mut schedules, now), Some(0), "{now}");
            schedules.ended("a");
            assert_eq!(schedules.poll_timeout(), Some(next));
        }
    }

    #[test]
    fn a_run_that_takes_longer_skips_those_it_overlaps_and_the_next_one_says_how_many() {
        let mut schedules = one(NO_JITTER);
        assert_eq!(start(&mut schedules, 1_100), Some(0));
        assert_eq!(start(&mut schedules, 1_200), None);
        assert_eq!((start(&mut schedules, 1_300), schedules.poll_timeout()), (None, Some(1_400)));
        schedules.ended("a");
        assert_eq!(start(&mut schedules, 1_350), None, "what was skipped is not made up for");
        assert_eq!(start(&mut schedules, 1_400), Some(2));
    }

    #[test]
    fn after_a_sleep_of_the_machine_there_is_one_run_and_not_many() {
        let mut schedules = one(NO_JITTER);
        assert_eq!(start(&mut schedules, 1_000_050), Some(9_989));
        schedules.ended("a");
        assert_eq!((start(&mut schedules, 1_000_099), schedules.poll_timeout()), (None, Some(1_000_100)));
    }

    #[test]
    fn a_reload_begins_what_is_new_or_changed_and_leaves_the_rest() {
        let mut schedules = one(NO_JITTER);
        let wanted = |names: &[(&str, u64)]| -> Vec<(String, Timing)> {
            let timing = |every_ms| Timing { every_ms, ..NO_JITTER };
            names.iter().map(|(name, every)| ((*name).to_owned(), timing(*every))).collect()
        };
        schedules.set(wanted(&[("a", 100), ("b", 500)]), 1_090, || 0);
        assert_eq!(schedules.poll_timeout(), Some(1_100), "as it was");
        assert_eq!(start(&mut schedules, 1_100), Some(0));
        schedules.set(wanted(&[("b", 600)]), 1_110, || 0);
        assert_eq!(
            (schedules.poll_timeout(), schedules.running()),
            (Some(1_710), 1),
            "a runs, and b begins anew"
        );
        // it comes back while its old run goes on
        schedules.set(wanted(&[("a", 100)]), 1_120, || 0);
        assert_eq!(start(&mut schedules, 1_220), None);
        schedules.ended("a");
        assert_eq!(start(&mut schedules, 1_320), Some(1));
    }

    proptest! {
        #[test]
        fn no_two_runs_of_one_schedule_at_a_time_and_jitter_does_not_add_up(
            every in 1_u64..1_000,
            jitter in 0_u64..2_000,
            steps in prop::collection::vec((0_u64..3_000, any::<u64>(), any::<bool>()), 1..100),
        ) {
            let timing = Timing { every_ms: every, jitter_ms: jitter, at_start: true };
            let mut schedules = Schedules::default();
            let (mut now, mut running) = (5_u64, false);
            schedules.set([("a".to_owned(), timing)], now, || 3);
            for (pass, random, ends) in steps {
                now += pass;
                if ends {
                    schedules.ended("a");
                    running = false;
                }
                let started = schedules.poll_start(now, || random).is_some();
                prop_assert!(!(started && running));
                running |= started;
                prop_assert!(schedules.poll_start(now, || random).is_none());
                let due = schedules.poll_timeout().unwrap();
                prop_assert!(due > now, "nothing that is due is left");
                // never further off than one interval and the jitter
                prop_assert!(due <= now + every + jitter);
            }
        }
    }
}
