//! A mark that all descendants of a process inherit, whatever they do to their group, session, parents and environment: the
//! timer slack of the thread that starts it, a few microseconds more or less, which `fork` and `exec` hand down.
//!
//! Reading it of other processes takes `CAP_SYS_NICE`, which an agent that runs as root has. Where it cannot be read nothing
//! is found by it. A mark says nothing across agents: only of children of this process, which orphans of its runs become,
//! see [`adopted`](super::adopted). No two runs have the same at a time. What a run has left behind on purpose keeps its mark, and may
//! share it with a later run after [`MARKS`] others; the time of their start tells them apart.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::num::NonZeroU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::thread::{current_timer_slack, set_current_timer_slack};

use super::tree::seen;

/// The smallest mark, in nanoseconds: above the kernel's default of 50,000, so that what was never marked has none.
const FIRST: u64 = 50_001;
/// How many marks there are. The largest is a tenth of a millisecond. The tests get to the last of them.
const MARKS: u64 = if cfg!(test) { 3 } else { 50_000 };

/// The mark of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(NonZeroU64);

/// What is known of the marks.
#[derive(Debug)]
struct Marks {
    /// Those of runs that have not ended.
    given: BTreeSet<u64>,
    /// Where to look for the next.
    next: u64,
}

static GIVEN: Mutex<Marks> = Mutex::new(Marks { given: BTreeSet::new(), next: 0 });

fn marks() -> MutexGuard<'static, Marks> {
    // nothing panics while it holds the lock
    GIVEN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Marks {
    /// One that no run has, and that was given back longest ago. `None`: all are given.
    fn take(&mut self) -> Option<u64> {
        let number =
            (0..MARKS).map(|n| (self.next + n) % MARKS).find(|number| !self.given.contains(number))?;
        self.next = number + 1;
        self.given.insert(number);
        Some(number)
    }
}

/// A mark that no other run is given as long as this lives.
#[derive(Debug)]
pub(super) struct Given(u64);

impl Given {
    fn take() -> Option<Self> {
        marks().take().map(Self)
    }

    pub(super) fn mark(&self) -> Option<Mark> {
        NonZeroU64::new(FIRST + self.0).map(Mark)
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        marks().given.remove(&self.0);
    }
}

impl Mark {
    /// Does `start` on this thread, so that the process that it starts has a mark. `None`: the kernel has no marks, or all are given.
    pub(super) fn on<T>(start: impl FnOnce() -> T) -> (Option<Given>, T) {
        let before = current_timer_slack().ok().and_then(NonZeroU64::new);
        let given = Given::take();
        let (Some(before), Some(Self(mark))) = (before, given.as_ref().and_then(Given::mark)) else {
            return (None, start());
        };
        if set_current_timer_slack(Some(mark)).is_err() {
            return (None, start());
        }
        let started = start();
        // the thread is used again, for others
        let _was_possible = set_current_timer_slack(Some(before));
        (given, started)
    }

    /// Whether a process has it. False if that may not be read.
    ///
    /// # Errors
    /// Those of [`seen`].
    pub(super) fn is_on(self, pid: i32) -> io::Result<bool> {
        Ok(slack(pid)? == Some(self.0.get()))
    }
}

/// Whether a process has the mark of some run that was started here. False if that may not be read, or if this process has that mark
/// itself, from whoever started it: then all that it starts has.
pub(super) fn is_marked(pid: i32) -> bool {
    let own = current_timer_slack().ok();
    slack(pid)
        .ok()
        .flatten()
        .is_some_and(|slack| (FIRST..FIRST + MARKS).contains(&slack) && Some(slack) != own)
}

fn slack(pid: i32) -> io::Result<Option<u64>> {
    let text = seen(fs::read_to_string(format!("/proc/{pid}/timerslack_ns")))?;
    Ok(text.and_then(|text| text.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_has_its_own_slack_again_afterwards() {
        let before = current_timer_slack().unwrap();
        let (given, within) = Mark::on(|| current_timer_slack().unwrap());
        let mark = given.as_ref().and_then(Given::mark);
        assert_eq!(mark.map(|mark| mark.0.get()), Some(within));
        assert_ne!(within, before);
        assert_eq!(current_timer_slack().unwrap(), before);
        let (next, ()) = Mark::on(|| ());
        assert_ne!(next.as_ref().and_then(Given::mark), mark, "each run has its own");
    }

    #[test]
    fn no_mark_is_given_twice_at_a_time_and_the_newest_is_given_last_again() {
        let mut marks = Marks { given: BTreeSet::new(), next: 0 };
        assert_eq!([(); 4].map(|()| marks.take()), [Some(0), Some(1), Some(2), None]);
        marks.given = BTreeSet::from([0]);
        assert_eq!([marks.take(), marks.take(), marks.take()], [Some(1), Some(2), None]);
        marks.given.clear();
        assert_eq!([marks.take(), marks.take(), marks.take()], [Some(0), Some(1), Some(2)]);
    }
}
