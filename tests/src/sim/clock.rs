//! Time: one true clock that nobody in the run can see, and the clocks of the machines, which may be wrong.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What happens when, and what time it really is, in milliseconds since the run began.
#[derive(Debug)]
pub(super) struct Calendar<E> {
    now_ms: u64,
    /// Events of one millisecond happen in the order in which they were planned.
    planned: BTreeMap<(u64, u64), E>,
    count: u64,
    origin: Instant,
}

impl<E> Calendar<E> {
    pub(super) fn new() -> Self {
        // sessions count from some instant; which one makes no difference to them
        Self { now_ms: 0, planned: BTreeMap::new(), count: 0, origin: Instant::now() }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// The monotonic clock of every process.
    pub(super) fn instant(&self) -> Instant {
        self.origin + Duration::from_millis(self.now_ms)
    }

    /// The first millisecond at which this instant has come.
    pub(super) fn ms_of(&self, at: Instant) -> u64 {
        let after = at.saturating_duration_since(self.origin);
        u64::try_from(after.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }

    pub(super) fn plan(&mut self, at_ms: u64, event: E) {
        self.count += 1;
        self.planned.insert((at_ms.max(self.now_ms), self.count), event);
    }

    pub(super) fn planned(&self) -> impl Iterator<Item = &E> {
        self.planned.values()
    }

    /// The next event; its time is the present then.
    pub(super) fn next(&mut self) -> Option<E> {
        let ((at, _), event) = self.planned.pop_first()?;
        self.now_ms = at;
        Some(event)
    }
}

/// A wall clock: right at first, then where somebody put it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wall {
    ahead_ms: u64,
}

/// Wall clocks begin late enough to be set back: a day in the year 2023.
pub(super) const BEGIN_MS: u64 = 1_700_000_000_000;

impl Wall {
    pub(super) fn new() -> Self {
        Self { ahead_ms: BEGIN_MS }
    }

    pub(super) fn at(self, now_ms: u64) -> u64 {
        self.ahead_ms + now_ms
    }

    /// By how much it is ahead of the true time, in all.
    pub(super) fn set_ms(self) -> i64 {
        i64::try_from(i128::from(self.ahead_ms) - i128::from(BEGIN_MS)).unwrap_or(i64::MAX)
    }

    pub(super) fn forward(&mut self, ms: u64) {
        self.ahead_ms += ms;
    }

    pub(super) fn back(&mut self, ms: u64) {
        self.ahead_ms -= ms;
    }
}
