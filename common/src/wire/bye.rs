//! The last message of a connection, and what its receiver should do about it.

use std::fmt::{self, Write as _};
use std::time::Duration;

/// Ends a connection and says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bye {
    /// Text for logs.
    pub reason: String,
    /// What it means for the receiver; `None` from a peer of protocol 0.
    pub code: Option<ByeCode>,
    /// The receiver waits at least this long before it dials again.
    pub retry_after_ms: Option<u64>,
}

impl Bye {
    /// A goodbye without a retry hint.
    pub fn new(code: ByeCode, reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), code: Some(code), retry_after_ms: None }
    }

    /// The same with a hint when to dial again.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self
    }
}

impl fmt::Display for Bye {
    /// In one line: the reason is a peer's text and goes into logs, where it must not begin a line of its own or move a
    /// cursor.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = self.code {
            write!(f, "{code}: ")?;
        }
        for character in self.reason.chars() {
            match character {
                '"' | '\'' => f.write_char(character)?,
                other => write!(f, "{}", other.escape_debug())?,
            }
        }
        Ok(())
    }
}

/// How the receiver of a goodbye behaves afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reaction {
    /// Come back, not before the hint.
    ComeBack,
    /// Come back slowly, and tell a person: nothing changes by itself.
    ComeBackSlowly,
    /// One side broke the protocol: back off like after a lost connection.
    BackOff,
}

macro_rules! bye_codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal => $reaction:ident;)*) => {
        /// Why a connection ended, for programs. The texts are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ByeCode {
            $($(#[$doc])* $variant,)*
            /// A code that this build does not know.
            Unknown,
        }

        impl ByeCode {
            /// Every code that this build knows.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The text on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* Self::Unknown => "unknown" }
            }

            /// Reads the text on the wire; a text that this build does not know is [`ByeCode::Unknown`].
            pub fn from_wire(text: &str) -> Self {
                match text { $($text => Self::$variant,)* _ => Self::Unknown }
            }

            /// What the receiver does.
            pub fn reaction(self) -> Reaction {
                match self { $(Self::$variant => Reaction::$reaction,)* Self::Unknown => Reaction::BackOff }
            }
        }
    };
}

bye_codes! {
    /// The sender is stopping.
    ShuttingDown = "shutting_down" => ComeBack;
    /// The sender has no room now.
    Overloaded = "overloaded" => ComeBack;
    /// A newer connection of the same peer took over.
    Replaced = "replaced" => ComeBack;
    /// The connection was not needed any more.
    Idle = "idle" => ComeBack;
    /// The certificate or the hello does not entitle the receiver to a session.
    Unauthorized = "unauthorized" => ComeBackSlowly;
    /// The certificate was revoked.
    Revoked = "revoked" => ComeBackSlowly;
    /// The machine's state contradicts what the manager knows; a person must look.
    Quarantined = "quarantined" => ComeBackSlowly;
    /// There is no protocol version that both speak.
    Version = "version" => ComeBackSlowly;
    /// A message came that has no place there, such as a second hello.
    Protocol = "protocol" => BackOff;
    /// Bytes came that are not a message.
    Malformed = "malformed" => BackOff;
    /// A frame exceeds the limit.
    TooLarge = "too_large" => BackOff;
    /// The receiver sent more than it had credit for, or read too slowly.
    Flow = "flow" => BackOff;
}

impl fmt::Display for ByeCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stays_in_its_line_and_moves_no_cursor() {
        let bye = |reason: &str| Bye::new(ByeCode::Idle, reason).to_string();
        assert_eq!(bye("it's \"done\" – ä"), "idle: it's \"done\" – ä");
        assert_eq!(bye("a\nERROR b\r\u{1b}[2J\u{202e}"), "idle: a\\nERROR b\\r\\u{1b}[2J\\u{202e}");
    }

    #[test]
    fn every_code_reads_back_and_unknown_ones_back_off() {
        for code in ByeCode::ALL {
            assert_eq!(ByeCode::from_wire(code.as_str()), *code);
        }
        assert_eq!(ByeCode::from_wire("from_the_future"), ByeCode::Unknown);
        assert_eq!(ByeCode::Unknown.reaction(), Reaction::BackOff);
    }
}
