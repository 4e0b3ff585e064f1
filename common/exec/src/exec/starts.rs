//! The starts of programs that are under way: each has a thread, which nobody can take from it when a network file system hangs.
//! They must not use up the threads that everything else needs, the end of what runs first of all.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::START_WAIT;

/// How many starts may hang before nothing more is started. The runtime has 512 threads for what blocks, and those who start wait here for
/// [`START_WAIT`] before one counts: a burst of starts on a machine that is well is never counted.
pub(super) const MAX_HUNG: usize = 32;

/// Those of this process.
pub(super) static STARTS: Starts = Starts::new();

/// Which are under way.
pub(super) struct Starts(Mutex<UnderWay>);

struct UnderWay {
    /// The number of the next.
    next: u64,
    /// When each began; in this order, too.
    begun: BTreeMap<u64, Instant>,
}

impl Starts {
    const fn new() -> Self {
        Self(Mutex::new(UnderWay { next: 0, begun: BTreeMap::new() }))
    }

    /// Whether so many hang that one more must not.
    pub(super) fn hang(&self) -> bool {
        self.hang_at(Instant::now())
    }

    fn hang_at(&self, now: Instant) -> bool {
        let under_way = self.under_way();
        let is_hung = |begun: &&Instant| now.saturating_duration_since(**begun) >= START_WAIT;
        under_way.begun.values().take(MAX_HUNG).take_while(is_hung).count() >= MAX_HUNG
    }

    /// One begins, on the thread that has it. It is under way until this is dropped, whoever waits for it.
    pub(super) fn begin(&'static self) -> Start {
        self.begin_at(Instant::now())
    }

    fn begin_at(&'static self, now: Instant) -> Start {
        let mut under_way = self.under_way();
        let number = under_way.next;
        under_way.next = number.wrapping_add(1);
        under_way.begun.insert(number, now);
        Start { starts: self, number }
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        // nothing panics while it holds the lock
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A start that is under way.
pub(super) struct Start {
    starts: &'static Starts,
    number: u64,
}

impl Drop for Start {
    fn drop(&mut self) {
        self.starts.under_way().begun.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{ExecError, ProcessSpec, start};
    use super::*;

    #[test]
    fn starts_that_hang_are_counted_and_those_of_a_burst_are_not() {
        static STARTS: Starts = Starts::new();
        let begun = Instant::now();
        let mut hung: Vec<Start> = (0..MAX_HUNG).map(|_| STARTS.begin_at(begun)).collect();
        let later = begun + START_WAIT;
        assert!(!STARTS.hang_at(later - Duration::from_millis(1)), "they may just be many");
        assert!(STARTS.hang_at(later));
        let burst: Vec<Start> = (0..1000).map(|_| STARTS.begin_at(later)).collect();
        assert!(STARTS.hang_at(later));
        hung.pop();
        assert!(!STARTS.hang_at(later + START_WAIT / 2), "one went on, and the others have just begun");
        drop((hung, burst));
        assert!(STARTS.under_way().begun.is_empty());
    }

    #[tokio::test]
    async fn while_too_many_starts_hang_one_more_is_refused_and_may_be_tried_again() {
        if std::env::var_os("NEXTEST").is_none() {
            return; // they are counted for the whole process, which is another for each test only there
        }
        let begun = Instant::now().checked_sub(START_WAIT).unwrap();
        let mut hung: Vec<Start> = (0..MAX_HUNG).map(|_| STARTS.begin_at(begun)).collect();
        let Err(refused) = start(spec()).await else { unreachable!("it was started") };
        assert!(matches!(refused, ExecError::Hang { .. }), "{refused}");
        assert!(refused.is_passing() && !refused.may_have_begun() && !refused.is_bad_request());
        hung.pop();
        assert!(start(spec()).await.is_ok());
    }

    fn spec() -> ProcessSpec {
        ProcessSpec {
            argv: vec!["true".into()],
            env: BTreeMap::new(),
            cwd: None,
            stdin: None,
            run_timeout: None,
            grace: Duration::ZERO,
            output_limit: 0,
            not_after: None,
            confine: None,
            noting: None,
        }
    }
}
