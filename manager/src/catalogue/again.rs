//! Asking an agent for its list again, when a question or its answer was lost: how long to wait for an answer, how long until the next
//! question, and when to leave it.

use std::time::{Duration, Instant};

use redpoll_common::session::backoff::{Backoff, BackoffOptions};

/// How long an agent may take for a page when it is asked first, and the most that it is given later: each time twice as long.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));
/// The bound of the first wait between two questions, and of every other.
const WAIT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// Questions in a row; the next announcement, or the next session, begins anew.
const QUESTIONS: u32 = 8;

/// The questions for one list.
#[derive(Debug)]
pub(super) struct Again {
    backoff: Backoff,
    seed: u64,
}

impl Again {
    /// None was asked yet; `seed` should differ from session to session.
    pub(super) fn new(seed: u64) -> Self {
        let (initial, max) = WAIT;
        let options = BackoffOptions { initial, max, stable_after: Duration::MAX };
        Self { backoff: Backoff::new(options, seed), seed }
    }

    /// How long the agent may take for the next page.
    pub(super) fn patience(&self) -> Duration {
        let (first, most) = PATIENCE;
        // an agent that was slow, and not deaf, would never get it done otherwise
        first.saturating_mul(1 << self.backoff.attempt().min(QUESTIONS)).min(most)
    }

    /// A question brought nothing: how long until the next, or `None` when it was the last.
    pub(super) fn failed(&mut self, now: Instant) -> Option<Duration> {
        let wait = self.backoff.ended(None, now);
        (self.backoff.attempt() < QUESTIONS).then_some(wait)
    }

    /// What was asked for is known, or not wanted any more.
    pub(super) fn settled(&mut self) {
        *self = Self::new(self.seed.wrapping_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_come_later_and_later_are_waited_for_longer_and_end() {
        let mut again = Again::new(7);
        let now = Instant::now();
        let mut bound = WAIT.0;
        let mut patience = PATIENCE.0;
        for question in 1..QUESTIONS {
            assert_eq!(again.patience(), patience, "question {question}");
            let wait = again.failed(now).unwrap();
            assert!(wait <= bound, "{wait:?} after question {question}");
            (bound, patience) = ((bound * 2).min(WAIT.1), (patience * 2).min(PATIENCE.1));
        }
        assert_eq!(again.failed(now), None);
        again.settled();
        assert_eq!(again.patience(), PATIENCE.0);
        assert!(again.failed(now).is_some());
    }
}
