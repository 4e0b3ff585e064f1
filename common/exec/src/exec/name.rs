//! Names of runs.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A name that no other run on this machine has, also not one of another agent or of one that died.
pub(crate) fn unique_name() -> String {
    static SINCE: OnceLock<u128> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since = SINCE
        .get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_nanos()));
    format!("{}.{since:x}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether it is one that [`unique_name`] could have made.
pub(super) fn is_unique_name(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    let is_of = |part: &str, digit: fn(u8) -> bool| !part.is_empty() && part.bytes().all(digit);
    let is_decimal = |part: &str| is_of(part, |byte| byte.is_ascii_digit());
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    matches!(parts[..], [process, since, number] if is_decimal(process) && is_of(since, is_hex) && is_decimal(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_from_those_of_others() {
        let (one, two) = (unique_name(), unique_name());
        assert!(one != two && is_unique_name(&one) && is_unique_name(&two), "{one} {two}");
        assert!(is_unique_name("123.18fa.0"));
        for other in
            ["", "123", "123.18fa", "..", "1.2.", "1.2.3.4", "x.2.3", "1.G.3", "1.2.c", "1.2.3.scope"]
        {
            assert!(!is_unique_name(other), "{other}");
        }
    }
}
