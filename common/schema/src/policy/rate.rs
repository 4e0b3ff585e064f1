//! How often a rule allows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// So many calls per so long. After a pause, as many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub count: u32,
    /// Per how long, not zero.
    pub per: Duration,
}

/// What is left of each rule's rate. Rules are known by their place, so a new policy begins with full buckets.
#[derive(Debug, Default)]
pub struct Buckets {
    /// When each bucket would be full again, by the rule's place.
    full_at: BTreeMap<usize, Instant>,
}

impl Buckets {
    /// Takes one call of a rule.
    ///
    /// # Errors
    /// How long to wait until there is one.
    pub fn take(&mut self, rule: usize, rate: Rate, now: Instant) -> Result<(), Duration> {
        let after = self.after(rule, rate, now)?;
        self.full_at.insert(rule, after);
        Ok(())
    }

    /// Gives one call of a rule back that was taken: nothing came of it.
    pub fn give_back(&mut self, rule: usize, rate: Rate) {
        if let Some(full_at) = self.full_at.get_mut(&rule) {
            // one that is full already stays so
            *full_at = full_at.checked_sub(step(rate)).unwrap_or(*full_at);
        }
    }

    /// Whether a rule has a call left. Takes none.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn look(&self, rule: usize, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.after(rule, rate, now).map(|_full_at| ())
    }

    /// When the bucket of a rule would be full again, once a call were taken.
    fn after(&self, rule: usize, rate: Rate, now: Instant) -> Result<Instant, Duration> {
        let full_at = self.full_at.get(&rule).copied().unwrap_or(now).max(now);
        // a bucket that would be full only after `per` holds less than one
        let after = full_at + step(rate);
        let over = after.saturating_duration_since(now).saturating_sub(rate.per);
        if over.is_zero() { Ok(after) } else { Err(over) }
    }
}

/// How long until one more is allowed.
fn step(rate: Rate) -> Duration {
    rate.per / rate.count.max(1)
}
