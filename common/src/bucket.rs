//! A token bucket: how many things may happen per second, and how many at once.

use std::time::{Duration, Instant};

/// Grants up to `burst` things at once and `rate` per second in the long run.
///
/// Kept as one moment (the time at which the bucket will be full again) and compared in whole nanoseconds, so it
/// neither drifts nor needs a timer. The bucket is full at first.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    /// The time one token takes to come back, rounded up: the rate is never exceeded.
    interval: Duration,
    /// How far `full_at` may lie ahead before a token is taken.
    slack: Duration,
    /// When the bucket is full again; `None` = it has never been touched.
    full_at: Option<Instant>,
}

impl TokenBucket {
    /// A full bucket; `rate` (per second) and `burst` count as 1 when they are 0.
    pub fn new(rate: u32, burst: u32) -> Self {
        Self::every(Duration::from_nanos(1_000_000_000_u64.div_ceil(u64::from(rate.max(1)))), burst)
    }

    /// A full bucket to which a token comes back every `interval`: of 0, it is always full. A `burst` of 0 counts as 1.
    pub fn every(interval: Duration, burst: u32) -> Self {
        Self { interval, slack: interval.saturating_mul(burst.max(1) - 1), full_at: None }
    }

    /// Whether it is as it was at first.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
    }

    /// Takes a token, if there is one.
    ///
    /// A `now` that lies a little before an earlier one is harmless: no token comes back before its time.
    ///
    /// # Errors
    /// How long until there is a token again; nothing was taken.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        let ahead = full_at.saturating_duration_since(now);
        if ahead > self.slack {
            return Err(ahead.saturating_sub(self.slack));
        }
        self.full_at = Some(full_at + self.interval);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[expect(clippy::disallowed_methods, reason = "some moment to count from; no rule reads it")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_full_bucket_grants_its_burst_and_then_says_how_long_to_wait() {
        let (mut bucket, now) = (TokenBucket::new(10, 3), start());
        for _ in 0..3 {
            assert_eq!(bucket.take(now), Ok(()));
        }
        assert_eq!(bucket.take(now), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(now + Duration::from_millis(99)), Err(Duration::from_millis(1)));
        assert_eq!(bucket.take(now + Duration::from_millis(100)), Ok(()));
        assert_eq!(bucket.take(now + Duration::from_millis(100)), Err(Duration::from_millis(100)));
    }

    #[test]
    fn a_long_rest_fills_the_bucket_and_no_more() {
        let (mut bucket, now) = (TokenBucket::new(1000, 2), start());
        for later in [now, now + Duration::from_secs(7 * 86_400)] {
            assert_eq!(bucket.take(later), Ok(()));
            assert_eq!(bucket.take(later), Ok(()));
            assert!(bucket.take(later).is_err());
        }
    }

    #[test]
    fn a_token_may_take_longer_than_a_second_to_come_back_or_no_time() {
        let (mut slow, now) = (TokenBucket::every(Duration::from_secs(10), 2), start());
        assert_eq!((slow.take(now), slow.take(now)), (Ok(()), Ok(())));
        assert_eq!(slow.take(now + Duration::from_secs(4)), Err(Duration::from_secs(6)));
        assert_eq!(slow.take(now + Duration::from_secs(10)), Ok(()));
        let mut always = TokenBucket::every(Duration::ZERO, 1);
        assert!((0..1000).all(|_| always.take(now).is_ok()));
    }

    #[test]
    fn zero_counts_as_one() {
        let (mut bucket, now) = (TokenBucket::new(0, 0), start());
        assert_eq!(bucket.take(now), Ok(()));
        assert_eq!(bucket.take(now), Err(Duration::from_secs(1)));
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_grants_more_than_burst_and_rate(
            rate in 1_u32..2000,
            burst in 1_u32..50,
            gaps in prop::collection::vec(0_u64..20_000_000, 1..200),
        ) {
            let (mut bucket, mut now) = (TokenBucket::new(rate, burst), start());
            let mut granted = Vec::new();
            for gap in gaps {
                now += Duration::from_nanos(gap);
                match bucket.take(now) {
                    Ok(()) => granted.push(now),
                    // The wait it names is exact: one nanosecond less is refused, the wait itself is granted.
                    Err(wait) => {
                        prop_assert!(bucket.clone().take(now + wait - Duration::from_nanos(1)).is_err());
                        prop_assert!(bucket.clone().take(now + wait).is_ok());
                    }
                }
            }
            for (i, from) in granted.iter().enumerate() {
                for (n, to) in granted.iter().skip(i).enumerate() {
                    let earned = (*to - *from).as_nanos() * u128::from(rate) / 1_000_000_000;
                    prop_assert!((n as u128) < u128::from(burst) + earned + 1);
                }
            }
        }
    }
}
