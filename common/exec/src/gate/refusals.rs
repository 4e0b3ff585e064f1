//! What of the refusals is in the log: whoever asks in vain without end fills no disk with it.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use redpoll_common::throttle::{LOG_WINDOW, LogThrottle};
use tracing::info;

/// How many operators and rules are told apart; further ones are only counted for as long as none of these is a minute old.
const KEYS: usize = 256;

/// For whom it was asked, and the rule that refused.
type Key = (String, String);

/// Writes one line for each operator and rule in a minute, and counts the others.
#[derive(Debug)]
pub(super) struct Refusals(Mutex<LogThrottle<Key>>);

impl Default for Refusals {
    fn default() -> Self {
        Self(Mutex::new(LogThrottle::new(LOG_WINDOW, KEYS)))
    }
}

impl Refusals {
    /// Something was refused.
    pub(super) fn note(&self, (operator, rule): (&str, &str), procedure: &str, why: &str, now: Instant) {
        let Some(left_out) = self.due((operator, rule), now) else { return };
        info!(procedure, operator, rule, why = ?why, left_out, "refused by the policy");
    }

    /// How many were left out before this one, if a line is due.
    fn due(&self, (operator, rule): (&str, &str), now: Instant) -> Option<u64> {
        // nothing panics while it holds the lock
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = lines.note(&(operator.to_owned(), rule.to_owned()), now)?;
        Some(due.suppressed.saturating_add(due.unlisted))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_operator_has_a_line_for_each_rule_in_a_minute_and_the_others_are_counted() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.due(("mallory", "default"), now), Some(0));
        for _ in 0..2000 {
            assert_eq!(refusals.due(("mallory", "default"), now), None);
        }
        assert_eq!(refusals.due(("mallory", "other"), now), Some(0));
        assert_eq!(refusals.due(("ada", "default"), now), Some(0));
        assert_eq!(refusals.due(("mallory", "default"), now + Duration::from_secs(60)), Some(2000));
        // names without end are no lines without end
        let told = (0..10_000).filter(|n| refusals.due((&n.to_string(), "default"), now).is_some()).count();
        assert!(told <= KEYS, "{told}");
    }
}
