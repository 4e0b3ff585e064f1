//! Notices that this process stood still, alone or with its machine: what waits to be read may be hours old then, and its peer gave
//! it up long ago.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::slept;

/// When something was heard last, also by a clock that goes on while the machine sleeps.
#[derive(Debug)]
pub(super) struct Stale {
    /// After how long what comes is too old; `None`: never.
    after: Option<Duration>,
    heard: Instant,
    slept: Duration,
}

impl Stale {
    /// Begins at `now`.
    pub(super) fn new(after: Option<Duration>, now: Instant) -> Self {
        Self { after, heard: now, slept: slept() }
    }

    /// A byte came in time.
    pub(super) fn heard(&mut self, now: Instant) {
        if self.after.is_some() {
            (self.heard, self.slept) = (now, slept());
        }
    }

    /// For how long nothing was heard, if that is too long for what comes now.
    pub(super) fn silent_for(&self, now: Instant) -> Option<Duration> {
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
        let mut stale = Stale::new(Some(40 * SECOND), now);
        assert_eq!(stale.silent_for(now + 39 * SECOND), None);
        assert!(stale.silent_for(now + 40 * SECOND).is_some_and(|silent| silent >= 40 * SECOND));
        // as if it had slept for so long since
        let before = slept();
        if before >= 40 * SECOND {
            stale.slept = before - 40 * SECOND;
            assert!(stale.silent_for(now).is_some());
        }
        stale.heard(now + 30 * SECOND);
        assert_eq!(stale.silent_for(now + 69 * SECOND), None);
        assert_eq!(Stale::new(None, now).silent_for(now + 1_000_000 * SECOND), None);
    }
}
