//! Notices that this process stood still, alone or with its machine: what waits to be read may be hours old then, and its peer gave
//! it up long ago.

use std::time::Duration;

use tokio::time::Instant;

/// When something was heard last, also by a clock that goes on while the machine sleeps: `slept` is how long it has slept since its
/// boot, as [`slept`](crate::clock::slept) reads it.
#[derive(Debug)]
pub(super) struct Stale {
    /// After how long what comes is too old; `None`: never.
    after: Option<Duration>,
    heard: Instant,
    slept: Duration,
}

impl Stale {
    /// Begins at `now`.
    pub(super) fn new(after: Option<Duration>, now: Instant, slept: Duration) -> Self {
        Self { after, heard: now, slept }
    }

    /// A byte came in time.
    pub(super) fn heard(&mut self, now: Instant, slept: impl FnOnce() -> Duration) {
        if self.after.is_some() {
            (self.heard, self.slept) = (now, slept());
        }
    }

    /// For how long nothing was heard, if that is too long for what comes now.
    pub(super) fn silent_for(&self, now: Instant, slept: impl FnOnce() -> Duration) -> Option<Duration> {
        let after = self.after?;
        let asleep = slept().saturating_sub(self.slept);
        let silent = now.saturating_duration_since(self.heard).saturating_add(asleep);
        (silent >= after).then_some(silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn time_in_which_the_machine_slept_counts() {
        let now = Instant::now();
        let mut stale = Stale::new(Some(40 * SECOND), now, 7 * SECOND);
        let silent =
            |stale: &Stale, awake: u32, slept: u32| stale.silent_for(now + awake * SECOND, || slept * SECOND);
        assert_eq!((silent(&stale, 39, 7), silent(&stale, 40, 7)), (None, Some(40 * SECOND)));
        // it slept since
        assert_eq!((silent(&stale, 0, 46), silent(&stale, 0, 47)), (None, Some(40 * SECOND)));
        assert_eq!((silent(&stale, 9, 37), silent(&stale, 10, 37)), (None, Some(40 * SECOND)));
        stale.heard(now + 30 * SECOND, || 60 * SECOND);
        assert_eq!((silent(&stale, 69, 60), silent(&stale, 69, 61)), (None, Some(40 * SECOND)));
    }

    #[test]
    fn without_a_limit_nothing_is_too_old() {
        let now = Instant::now();
        let stale = Stale::new(None, now, Duration::ZERO);
        assert_eq!(stale.silent_for(now + 1_000_000 * SECOND, || 1_000_000 * SECOND), None);
    }
}
