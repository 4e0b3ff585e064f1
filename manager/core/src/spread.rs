//! When somebody who is sent away should come back.
//!
//! Many peers are sent away at the same moment: by a manager that stops, or by one that is full. The hint in their
//! goodbye decides whether they return in one moment too. Each hint is drawn uniformly and on its own, so the
//! arrivals form an even stream; the peers add back-off and jitter of their own and never come before the hint.

use std::time::Duration;

/// How many sessions per second [`spread`] lets come back while the span allows it.
///
/// Far below what one core can shake hands with, so that the returning fleet is not all that the manager does.
pub const RETURNS_PER_SECOND: u32 = 200;

/// The longest hint that [`retry_after`] gives.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// The hint for one of `sessions` peers when the manager stops: uniform in `[0, span)`, and sooner for a small fleet.
///
/// A fleet that comes back in less than `span` at [`RETURNS_PER_SECOND`] is spread over that shorter time: three
/// agents need not wait half a minute. `random` is uniform over all of `u64`, drawn anew for each peer.
pub fn spread(sessions: usize, span: Duration, random: u64) -> Duration {
    uniform(span.min(time_for(sessions, RETURNS_PER_SECOND)), random)
}

/// The hint for a peer that finds no room: uniform in `[0, waiting / rate)`, at most [`MAX_RETRY_AFTER`].
///
/// `waiting` is how many peers are waiting to get in, itself included; `rate` is how many may get in per second.
pub fn retry_after(waiting: usize, rate: u32, random: u64) -> Duration {
    uniform(time_for(waiting, rate).min(MAX_RETRY_AFTER), random)
}

/// The time that `count` arrivals take at `rate` per second; a rate of 0 counts as 1.
fn time_for(count: usize, rate: u32) -> Duration {
    let nanos = (count as u128) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Maps all of `u64` evenly to `[0, limit)`; limits above 584 years count as that.
fn uniform(limit: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
    let part = (u128::from(nanos) * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(part).unwrap_or(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SPAN: Duration = Duration::from_secs(30);

    #[test]
    fn ten_thousand_sessions_return_evenly_over_the_span() {
        // A full-period generator stands for the random source: deterministic, every bit pattern as likely.
        let mut random = 0_u64;
        let mut arrivals = [0_u32; 30];
        for _ in 0..10_000 {
            random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let second = spread(10_000, SPAN, random).as_secs();
            arrivals[usize::try_from(second).unwrap()] += 1;
        }
        assert!(arrivals.iter().all(|n| (250..=420).contains(n)), "{arrivals:?}");
    }

    #[test]
    fn a_small_fleet_is_not_kept_waiting() {
        assert_eq!(spread(0, SPAN, u64::MAX), Duration::ZERO);
        assert!(spread(3, SPAN, u64::MAX) < Duration::from_millis(15));
        assert!(spread(1000, SPAN, u64::MAX) < Duration::from_secs(5));
        assert!(spread(1_000_000, SPAN, u64::MAX) > Duration::from_millis(29_999));
    }

    #[test]
    fn the_hint_grows_with_the_number_that_wait() {
        assert_eq!(retry_after(1000, 100, 1 << 63), Duration::from_secs(5));
        assert_eq!(retry_after(1000, 100, 0), Duration::ZERO);
        assert_eq!(retry_after(10, 0, 1 << 63), Duration::from_secs(5));
        assert_eq!(retry_after(usize::MAX, 1, 1 << 63), MAX_RETRY_AFTER / 2);
    }

    proptest! {
        #[test]
        fn hints_stay_below_the_limit_and_rise_with_the_random_number(
            sessions in 1_usize..1_000_000,
            span_ms in 1_u64..600_000,
            one: u64,
            other: u64,
        ) {
            let span = Duration::from_millis(span_ms);
            let (low, high) = (one.min(other), one.max(other));
            prop_assert!(spread(sessions, span, high) < span);
            prop_assert!(spread(sessions, span, low) <= spread(sessions, span, high));
            prop_assert!(retry_after(sessions, 500, high) < MAX_RETRY_AFTER);
        }
    }
}
