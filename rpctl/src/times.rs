//! Points in time and durations as people read and type them. Machine formats show milliseconds as they came.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use redpoll_config::format_duration;

/// A point in time, given in UTC milliseconds, to the second of the local clock: `2026-11-28 14:23:48`.
pub fn local(ms: u64) -> String {
    in_zone(ms, &TimeZone::system())
}

/// The same, or a dash.
pub fn local_or_dash(ms: Option<u64>) -> String {
    ms.map_or_else(|| "-".to_owned(), local)
}

fn in_zone(ms: u64, zone: &TimeZone) -> String {
    let at = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    // a clock that is off by ten thousand years is shown as it is
    at.map_or_else(|| format!("{ms} ms"), |at| zone.to_datetime(at).strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// A duration in its two largest units; milliseconds below a second.
pub fn short(ms: u64) -> String {
    if ms < 1000 {
        return format!("{ms}ms");
    }
    let text = format_duration(Duration::from_secs(ms / 1000));
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// Since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// For so many milliseconds.
    Ago(u64),
    /// Since this time, in UTC milliseconds.
    At(u64),
}

/// Reads since when: a duration before now such as `2h`, or a time: `2026-11-28`, `2026-11-28 14:00`, both of the local
/// clock, or with a zone as in `2026-11-28T14:00:00Z`.
///
/// # Errors
/// A text that says what is expected.
pub fn since(text: &str) -> Result<Since, String> {
    if let Ok(ago) = redpoll_config::parse_duration(text) {
        return Ok(Since::Ago(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)));
    }
    let at = text.parse::<Timestamp>().ok().or_else(|| {
        let civil = text.parse::<DateTime>().ok();
        let civil = civil.or_else(|| text.parse::<Date>().ok().map(|date| date.at(0, 0, 0, 0)))?;
        TimeZone::system().to_timestamp(civil).ok()
    });
    let ms = at.and_then(|at| u64::try_from(at.as_millisecond()).ok());
    ms.map(Since::At).ok_or_else(|| {
        "expected a duration such as \"2h\", of at most 3650d, or a time such as \"2026-11-28 14:00\""
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_to_the_second() {
        assert_eq!(in_zone(1_764_340_000_999, &TimeZone::UTC), "2025-11-28 14:26:40");
        let berlin = TimeZone::fixed(jiff::tz::offset(1));
        assert_eq!(in_zone(1_764_340_000_000, &berlin), "2025-11-28 15:26:40");
        assert_eq!(in_zone(u64::MAX, &TimeZone::UTC), format!("{} ms", u64::MAX));
    }

    #[test]
    fn since_is_a_duration_or_a_time() {
        let now = 1_764_340_000_000;
        assert_eq!(since("2h"), Ok(Since::Ago(7_200_000)));
        assert_eq!(since("2025-11-28T14:26:40Z"), Ok(Since::At(now)));
        assert_eq!(since("2025-11-28T15:26:40+01:00"), Ok(Since::At(now)));
        let Ok(Since::At(day)) = since("2025-11-28") else { panic!("no time") };
        assert_eq!(since("2025-11-28 00:30"), Ok(Since::At(day + 1_800_000)));
        for bad in ["", "soon", "5", "2025-13-01", "1960-01-01T00:00:00Z"] {
            assert!(since(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_person_reads_two_units_of_a_duration() {
        assert_eq!(short(90_061_500), "1d 1h");
        assert_eq!(short(999), "999ms");
        assert_eq!(short(1000), "1s");
    }
}
