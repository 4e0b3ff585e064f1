//! Durations for people.

use std::time::Duration;

/// A duration as somebody says it: to a tenth of a second, below a second to a millisecond. Clocks tell nine digits, of which nobody wants
/// more than these.
pub fn rounded(duration: Duration) -> Duration {
    let step = if duration < Duration::from_secs(1) { 1 } else { 100 };
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(millis.saturating_add(step / 2) / step * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_has_few_digits() {
        for (exact, told) in [
            (Duration::from_micros(40_002_480), "40s"),
            (Duration::from_nanos(9_999_821_856), "10s"),
            (Duration::from_millis(1_251), "1.3s"),
            (Duration::from_micros(498_700), "498ms"),
            (Duration::from_millis(50), "50ms"),
            (Duration::ZERO, "0ns"),
        ] {
            assert_eq!(format!("{:?}", rounded(exact)), told);
        }
        assert!(rounded(Duration::MAX) > Duration::from_secs(1 << 40));
    }
}
