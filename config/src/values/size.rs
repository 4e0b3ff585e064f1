//! Sizes as text: `"1MiB"`, `"64 KiB"`, `"500kB"`, or a plain number of bytes.

use std::fmt;

use bytesize::ByteSize;
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserializer, Serializer};

use super::ValueError;

const EXPECTED: &str = "a size such as \"64KiB\", \"1MiB\" or a number of bytes";

/// The units that [`format_size`] writes, with their length in bytes.
const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];

/// Reads a size in bytes: `1MiB`, `64 KiB`, `500kB` (1000 bytes each), `4096`.
///
/// # Errors
/// The text is no size.
pub fn parse_size(text: &str) -> Result<u64, ValueError> {
    let size: ByteSize = text.trim().parse().map_err(|_| ValueError::new(text, EXPECTED))?;
    Ok(size.as_u64())
}

/// Writes a size exactly, in the largest binary unit that divides it: `1MiB`, `1537B`.
pub fn format_size(bytes: u64) -> String {
    let fitting = UNITS.iter().find(|(length, _)| bytes >= *length && bytes.is_multiple_of(*length));
    match fitting {
        Some((length, unit)) => format!("{}{unit}", bytes / length),
        None => format!("{bytes}B"),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's `with` passes a reference")]
pub(crate) fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_size(*bytes))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    deserializer.deserialize_any(SizeVisitor)
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        parse_size(text).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
        u64::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_exactly_and_read_back() {
        for (text, bytes) in
            [("1MiB", 1 << 20), ("256KiB", 256 << 10), ("1537B", 1537), ("0B", 0), ("3GiB", 3 << 30)]
        {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
            assert_eq!(format_size(bytes), text);
        }
        assert_eq!(parse_size("4096").unwrap(), 4096);
        assert_eq!(parse_size("1.5 MiB").unwrap(), 3 << 19);
        assert_eq!(parse_size("1kB").unwrap(), 1000);
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for bad in ["", "-1", "MiB", "1 apple", "-1KiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
