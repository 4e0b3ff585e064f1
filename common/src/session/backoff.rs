//! When a dialler tries again: exponential back-off with full jitter and a floor from the manager.

use std::time::{Duration, Instant};

use super::mix;
use crate::wire::{Bye, ByeCode, bye::Reaction};

/// The numbers of a back-off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffOptions {
    /// The bound of the first delay.
    pub initial: Duration,
    /// No bound exceeds this.
    pub max: Duration,
    /// After a session of at least this long the count starts again.
    pub stable_after: Duration,
}

impl Default for BackoffOptions {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(300),
            stable_after: Duration::from_secs(60),
        }
    }
}

/// Decides the delay before each attempt: uniformly from zero to `initial · 2ⁿ`, at most `max`
/// ("full jitter", Brooker, *Exponential Backoff and Jitter*, 2015), and never less than the manager's hint.
#[derive(Debug)]
pub struct Backoff {
    options: BackoffOptions,
    attempt: u32,
    up_since: Option<Instant>,
    seed: u64,
}

impl Backoff {
    /// Starts fresh; `seed` should differ from machine to machine.
    pub fn new(options: BackoffOptions, seed: u64) -> Self {
        Self { options, attempt: 0, up_since: None, seed }
    }

    /// How many attempts have failed in a row.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// A session began.
    pub fn connected(&mut self, now: Instant) {
        self.up_since = Some(now);
    }

    /// A session or an attempt ended, with the manager's goodbye if there was one. Gives the delay to wait.
    ///
    /// Also after a clean end: a manager that closes at once must not be hammered.
    pub fn ended(&mut self, bye: Option<&Bye>, now: Instant) -> Duration {
        if self
            .up_since
            .take()
            .is_some_and(|since| now.saturating_duration_since(since) >= self.options.stable_after)
        {
            self.attempt = 0;
        }
        let hint = bye.and_then(|bye| bye.retry_after_ms).map_or(Duration::ZERO, Duration::from_millis);
        // a hint is obeyed up to an hour; a confused manager must not silence an agent for ever
        let floor = hint.min(Duration::from_secs(3600));
        let reaction = bye.and_then(|bye| bye.code).map_or(Reaction::BackOff, ByeCode::reaction);
        self.seed = self.seed.wrapping_add(1);
        let share = (mix(self.seed) >> 11) as f64 / (1u64 << 53) as f64;
        let delay = if reaction == Reaction::ComeBackSlowly {
            // nothing changes by itself: half of the longest delay at least
            self.options.max.mul_f64(0.5 + 0.5 * share)
        } else {
            let bound = self
                .options
                .initial
                .saturating_mul(1u32.checked_shl(self.attempt.min(31)).unwrap_or(u32::MAX))
                .min(self.options.max);
            bound.mul_f64(share)
        };
        self.attempt = self.attempt.saturating_add(1);
        delay.max(floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test's starting point, not a measurement")]
        Instant::now()
    }

    #[test]
    fn delays_are_bounded_and_jittered() {
        let now = start();
        let mut seen = Vec::new();
        for seed in 0..200u64 {
            let mut backoff = Backoff::new(BackoffOptions::default(), seed << 32);
            for n in 0..20u32 {
                let delay = backoff.ended(None, now);
                let bound = Duration::from_secs(1u64 << n.min(9)).min(Duration::from_secs(300));
                assert!(delay <= bound, "attempt {n}: {delay:?}");
                if n == 10 {
                    seen.push(delay);
                }
            }
        }
        let mean = seen.iter().sum::<Duration>() / 200;
        assert!((120..180).contains(&mean.as_secs()), "full jitter over 300 s, mean {mean:?}");
    }

    #[test]
    fn it_starts_again_after_a_stable_minute_only() {
        let now = start();
        let mut backoff = Backoff::new(BackoffOptions::default(), 1);
        for _ in 0..10 {
            backoff.ended(None, now);
        }
        backoff.connected(now);
        backoff.ended(None, now + Duration::from_secs(59));
        assert_eq!(backoff.attempt(), 11);
        backoff.connected(now);
        backoff.ended(None, now + Duration::from_secs(60));
        assert_eq!(backoff.attempt(), 1);
    }

    #[test]
    fn the_managers_hint_is_a_floor() {
        let now = start();
        let mut backoff = Backoff::new(BackoffOptions::default(), 1);
        let bye = Bye::new(ByeCode::ShuttingDown, "x").retry_after(Duration::from_secs(20));
        assert!(backoff.ended(Some(&bye), now) >= Duration::from_secs(20));
        let bye = Bye::new(ByeCode::ShuttingDown, "x").retry_after(Duration::MAX);
        assert!(backoff.ended(Some(&bye), now) <= Duration::from_secs(3600));
    }

    #[test]
    fn a_refusal_that_needs_a_person_is_retried_slowly_until_another_end() {
        let now = start();
        let mut backoff = Backoff::new(BackoffOptions::default(), 1);
        let delay = backoff.ended(Some(&Bye::new(ByeCode::Unauthorized, "x")), now);
        assert!(delay >= Duration::from_secs(150));
        assert!(backoff.ended(None, now) <= Duration::from_secs(2), "the second of the ordinary delays");
    }

    #[test]
    fn a_slow_return_takes_half_of_the_longest_delay_at_least_and_all_of_it_at_most() {
        let now = start();
        let delays: Vec<Duration> = (0..200_u64)
            .map(|seed| {
                let mut backoff = Backoff::new(BackoffOptions::default(), seed << 32);
                backoff.ended(Some(&Bye::new(ByeCode::Unauthorized, "x")), now)
            })
            .collect();
        let (least, most) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
        assert!((150..165).contains(&least.as_secs()), "{least:?}");
        assert!((285..=300).contains(&most.as_secs()), "{most:?}");
    }
}
