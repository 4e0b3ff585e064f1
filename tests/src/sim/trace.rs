//! What happened, as a number, and as lines if somebody wants to read it.

use std::fmt::{self, Write as _};

/// Sums up every event of a run. Two runs of a seed have the same sum, or something in them is not decided by the seed.
#[derive(Debug)]
pub(super) struct Trace {
    hash: Fnv,
    /// Lines are kept from the beginning on, when they are asked for.
    lines: Option<Vec<String>>,
}

/// FNV-1a, 64 bits: the same on every machine and in every build, unlike the hashers of the standard library.
#[derive(Debug, Clone, Copy)]
struct Fnv(u64);

impl Fnv {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.take(text.as_bytes());
        Ok(())
    }
}

impl Trace {
    pub(super) fn new(keep: bool) -> Self {
        Self { hash: Fnv(0xcbf2_9ce4_8422_2325), lines: keep.then(Vec::new) }
    }

    pub(super) fn is_kept(&self) -> bool {
        self.lines.is_some()
    }

    /// An event.
    pub(super) fn note(&mut self, at_ms: u64, what: fmt::Arguments<'_>) {
        self.hash.take(&at_ms.to_le_bytes());
        // into a number: it cannot fail
        let _ = self.hash.write_fmt(what);
        self.say(at_ms, what);
    }

    /// Bytes that belong to the event before.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.hash.take(bytes);
    }

    /// More about an event, for people only.
    pub(super) fn say(&mut self, at_ms: u64, what: fmt::Arguments<'_>) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{at_ms:>8} {what}"));
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash.0
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}
