//! Clock times as certificates and people write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Seconds since 1970, negative before it; saturates at the ends of `i64`.
pub(crate) fn unix_seconds(moment: SystemTime) -> i64 {
    match moment.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds),
    }
}

/// The moment that lies `seconds` after (or before) 1970, or 1970 where the platform cannot hold it.
pub(crate) fn from_unix_seconds(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let moment =
        if seconds < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    moment.unwrap_or(UNIX_EPOCH)
}

/// The moment as `2026-01-31T12:00:00Z`, or as seconds since 1970 when no calendar reaches that far.
pub(crate) fn text(moment: SystemTime) -> String {
    let seconds = unix_seconds(moment);
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{seconds} s after 1970"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_survive_the_way_to_seconds_and_back() {
        for seconds in [i64::from(i32::MIN), -1, 0, 1, 253_402_300_799] {
            assert_eq!(unix_seconds(from_unix_seconds(seconds)), seconds);
        }
        assert_eq!(text(from_unix_seconds(1_769_860_800)), "2026-01-31T12:00:00Z");
        assert_eq!(text(from_unix_seconds(-1)), "1969-12-31T23:59:59Z");
        assert!(text(from_unix_seconds(i64::MAX)).ends_with("after 1970") || cfg!(not(target_os = "linux")));
    }
}
