//! A mark that all descendants of a process inherit, whatever they do to their group, session, parents and environment: the
//! timer slack of the thread that starts it, a few microseconds more or less, which `fork` and `exec` hand down.
//!
//! Reading it of other processes takes `CAP_SYS_NICE`, which an agent that runs as root has. Where it cannot be read nothing
//! is found by it. A mark says nothing across agents: only of children of this process, which orphans of its runs become,
//! see [`adopted`](super::adopted). Runs share a mark after [`MARKS`] others; the time of their start tells them apart.

use std::fs;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::thread::{current_timer_slack, set_current_timer_slack};

/// The smallest mark, in nanoseconds: above the kernel's default of 50,000, so that what was never marked has none.
const FIRST: u64 = 50_001;
/// How many marks there are. The largest is a tenth of a millisecond.
const MARKS: u64 = 50_000;

/// The mark of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(NonZeroU64);

impl Mark {
    /// Does `start` on this thread, so that the process that it starts has a mark. `None`: the kernel has no marks.
    pub(super) fn on<T>(start: impl FnOnce() -> T) -> (Option<Self>, T) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % MARKS;
        let before = current_timer_slack().ok().and_then(NonZeroU64::new);
        let (Some(before), Some(mark)) = (before, NonZeroU64::new(number)) else { return (None, start()) };
        if set_current_timer_slack(Some(mark)).is_err() {
            return (None, start());
        }
        let started = start();
        // the thread is used again, for others
        let _was_possible = set_current_timer_slack(Some(before));
        (Some(Self(mark)), started)
    }

    /// Whether a process has it. False if that may not be read.
    pub(super) fn is_on(self, pid: i32) -> bool {
        fs::read_to_string(format!("/proc/{pid}/timerslack_ns"))
            .is_ok_and(|slack| slack.trim().parse() == Ok(self.0.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_has_its_own_slack_again_afterwards() {
        let before = current_timer_slack().unwrap();
        let (mark, within) = Mark::on(|| current_timer_slack().unwrap());
        assert_eq!(mark.map(|mark| mark.0.get()), Some(within));
        assert_ne!(within, before);
        assert_eq!(current_timer_slack().unwrap(), before);
        let (next, _) = Mark::on(|| ());
        assert_ne!(next, mark, "each run has its own");
    }
}
