//! Durations as text: `"30s"`, `"5m"`, `"1h 30m"`, `"2d"`; a day has 24 hours.

use std::fmt;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserializer, Serializer};

use super::ValueError;

/// The longest duration that is accepted: ten years, so that adding it to a clock cannot overflow.
pub const MAX_DURATION: Duration = Duration::from_secs(3650 * 86_400);

const EXPECTED: &str =
    "a duration with units, such as \"30s\", \"5m\", \"1h 30m\" or \"2d\", of at most 3650d";

/// The units that [`format_duration`] writes, with their length in nanoseconds.
const UNITS: [(u128, &str); 7] = [
    (86_400_000_000_000, "d"),
    (3_600_000_000_000, "h"),
    (60_000_000_000, "m"),
    (1_000_000_000, "s"),
    (1_000_000, "ms"),
    (1_000, "us"),
    (1, "ns"),
];

/// Reads a duration such as `30s`, `1h 30m` or `2d`. A plain `0` is zero; no other number goes without a unit.
///
/// # Errors
/// The text is no duration, has months or years, is negative or longer than [`MAX_DURATION`].
pub fn parse_duration(text: &str) -> Result<Duration, ValueError> {
    let bad = || ValueError::new(text, EXPECTED);
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    let span: Span = text.trim().parse().map_err(|_| bad())?;
    let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| bad())?;
    let duration = Duration::try_from(signed).map_err(|_| bad())?;
    if duration > MAX_DURATION { Err(bad()) } else { Ok(duration) }
}

/// Writes a duration the way [`parse_duration`] reads it: `1h 30m`, `250ms`, `0s`.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    let mut parts = Vec::new();
    for (length, unit) in UNITS {
        if rest >= length {
            parts.push(format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_duration(*duration))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(DurationVisitor)
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        parse_duration(text).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Duration, E> {
        if number == 0 {
            Ok(Duration::ZERO)
        } else {
            Err(E::invalid_type(Unexpected::Unsigned(number), &self))
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Duration, E> {
        if number == 0 { Ok(Duration::ZERO) } else { Err(E::invalid_type(Unexpected::Signed(number), &self)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_in_the_same_style() {
        for (text, millis) in [
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h 30m", 5_400_000),
            ("2d", 172_800_000),
            ("250ms", 250),
            ("1d 1ms", 86_400_001),
        ] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration, Duration::from_millis(millis), "{text}");
            assert_eq!(format_duration(duration), text);
        }
        assert_eq!(parse_duration("2w").unwrap(), Duration::from_secs(14 * 86_400));
        assert_eq!(parse_duration(" 90 s ").unwrap(), Duration::from_secs(90));
    }

    #[test]
    fn zero_needs_no_unit_and_every_other_number_does() {
        assert_eq!(parse_duration("0").unwrap(), Duration::ZERO);
        assert_eq!(parse_duration("0s").unwrap(), Duration::ZERO);
        assert_eq!(format_duration(Duration::ZERO), "0s");
        for bad in ["30", "", "-5s", "1mo", "1y", "soon", "5 parsecs", "99999d", "9999999999999999999999s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
