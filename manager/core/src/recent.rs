//! How often something happened lately.

use std::time::{Duration, Instant};

/// How far back peers that found no seat count as still waiting, at least; at most twice as far.
pub(crate) const WAITING_WINDOW: Duration = Duration::from_secs(30);

/// Counts what happened lately: between one and two [`WAITING_WINDOW`]s back.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    began: Option<Instant>,
    current: usize,
    before: usize,
}

impl Recent {
    /// It happened.
    pub(crate) fn note(&mut self, now: Instant) {
        self.turn(now);
        self.current = self.current.saturating_add(1);
    }

    /// How often it did.
    pub(crate) fn count(&mut self, now: Instant) -> usize {
        self.turn(now);
        self.current.saturating_add(self.before)
    }

    fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(*self.began.get_or_insert(now));
        if age >= WAITING_WINDOW {
            self.before = if age < WAITING_WINDOW * 2 { self.current } else { 0 };
            self.current = 0;
            self.began = Some(now);
        }
    }
}
