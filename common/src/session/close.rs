//! Why a session ended.

use std::fmt;
use std::time::Duration;

use crate::rounding::rounded;
use crate::wire::{Bye, ByeCode};

/// Why a session ended: the same value for everyone who waited on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// We said goodbye.
    Ours(Bye),
    /// The peer said goodbye.
    Theirs(Bye),
    /// The peer broke the protocol; it was told.
    Violation(Bye),
    /// No byte came for this long.
    Silent(Duration),
    /// The peer read nothing for this long although we had something for it.
    Stalled(Duration),
    /// The connection broke; the text says how.
    Lost(String),
    /// The peer closed the connection without a goodbye.
    Ended,
}

impl CloseReason {
    /// The goodbye of the peer, if it said one.
    pub fn their_bye(&self) -> Option<&Bye> {
        match self {
            Self::Theirs(bye) => Some(bye),
            Self::Ours(_)
            | Self::Violation(_)
            | Self::Silent(_)
            | Self::Stalled(_)
            | Self::Lost(_)
            | Self::Ended => None,
        }
    }

    /// A short word for logs and counters.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ours(bye) | Self::Theirs(bye) | Self::Violation(bye) => {
                bye.code.map_or("bye", ByeCode::as_str)
            }
            Self::Silent(_) => "silent",
            Self::Stalled(_) => "stalled",
            Self::Lost(_) => "lost",
            Self::Ended => "ended",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(bye) => write!(f, "we closed: {bye}"),
            Self::Theirs(bye) => write!(f, "the peer closed: {bye}"),
            Self::Violation(bye) => write!(f, "the peer broke the protocol: {bye}"),
            Self::Silent(after) => write!(f, "no byte for {} s", rounded(*after).as_secs_f32()),
            Self::Stalled(after) => {
                write!(f, "the peer read nothing for {} s", rounded(*after).as_secs_f32())
            }
            Self::Lost(how) => write!(f, "the connection broke: {how}"),
            Self::Ended => f.write_str("the peer ended the connection without a goodbye"),
        }
    }
}
