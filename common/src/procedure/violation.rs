//! What an executable does against the protocol.

use std::fmt;

/// What a line of an executable says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A value.
    Value,
    /// How far it is.
    Progress,
    /// The good end.
    Result,
    /// The bad end.
    Exception,
    /// A worker can take calls.
    Ready,
    /// An event for the manager.
    Emit,
    /// Something that the manager is asked for.
    Ask,
    /// The answer to a ping.
    Pong,
}

impl Kind {
    /// The key of the line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Progress => "progress",
            Self::Result => "result",
            Self::Exception => "exception",
            Self::Ready => "ready",
            Self::Emit => "emit",
            Self::Ask => "ask",
            Self::Pong => "pong",
        }
    }

    /// Whether nothing may follow it.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Result | Self::Exception)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an executable did against the protocol. Says which line and what kind of thing, never what it holds: that may be
/// secret. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A line has no end within the limit.
    #[error("line {line} of its standard output is longer than {limit} bytes, limits.line of the procedure")]
    TooLong {
        /// Which.
        line: u64,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A line is not JSON.
    #[error(
        "line {line} of its standard output is not JSON (byte {byte}); what is meant for people belongs to the standard error"
    )]
    NotJson {
        /// Which.
        line: u64,
        /// Where it stops to be JSON, from 1.
        byte: usize,
    },
    /// A line is JSON, and none of the kinds.
    #[error("line {line} of its standard output is no line of the protocol: {what}")]
    Shape {
        /// Which.
        line: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// What should be base64 is not.
    #[error("line {line} of its standard output: {kind} has something that should be base64 and is not")]
    Base64 {
        /// Which.
        line: u64,
        /// What the line is.
        kind: Kind,
    },
    /// A value that no message can carry.
    #[error("line {line} of its standard output: {kind} does not fit a message: {reason}")]
    Unfit {
        /// Which.
        line: u64,
        /// What the line is.
        kind: Kind,
        /// Why, without its content.
        reason: String,
    },
    /// A second result or exception.
    #[error("line {line} of its standard output is a {kind}, after the call had its end already")]
    SecondEnd {
        /// Which.
        line: u64,
        /// What the line is.
        kind: Kind,
    },
    /// Anything else after the end.
    #[error("line {line} of its standard output is a {kind}, after the end of the call")]
    AfterEnd {
        /// Which.
        line: u64,
        /// What the line is.
        kind: Kind,
    },
    /// A line for a call that this process was not given.
    #[error("line {line} of its standard output is a {kind} for call {call}, which it was not given")]
    StrangeCall {
        /// Which.
        line: u64,
        /// What the line is.
        kind: Kind,
        /// The call that it names.
        call: u64,
    },
    /// A line of a worker that names no call.
    #[error(
        "line {line} of its standard output is a {kind} without \"call\", which a worker adds to every line"
    )]
    NoCall {
        /// Which.
        line: u64,
        /// What the line is.
        kind: Kind,
    },
    /// A worker spoke before it said that it is ready.
    #[error("line {line} of its standard output is a {kind}, before {{\"ready\": true}}")]
    NotReady {
        /// Which.
        line: u64,
        /// What the line is.
        kind: Kind,
    },
    /// A worker said twice that it is ready.
    #[error("line {line} of its standard output says \"ready\" a second time")]
    ReadyAgain {
        /// Which.
        line: u64,
    },
    /// An answer to a ping that it was not sent, or that it has answered.
    #[error(
        "line {line} of its standard output answers ping {ping}, which it was not sent or has answered before"
    )]
    StrangePong {
        /// Which.
        line: u64,
        /// The ping that it names.
        ping: u64,
    },
    /// A process that is no worker said that it is ready.
    #[error("line {line} of its standard output says \"ready\"; only mode = \"worker\" does that")]
    NoWorker {
        /// Which.
        line: u64,
    },
}

impl Violation {
    /// What the line is, when nothing but its content is wrong.
    pub(super) fn of_content(&self) -> Option<Kind> {
        match self {
            Self::Base64 { kind, .. } | Self::Unfit { kind, .. } => Some(*kind),
            Self::TooLong { .. }
            | Self::NotJson { .. }
            | Self::Shape { .. }
            | Self::SecondEnd { .. }
            | Self::AfterEnd { .. }
            | Self::StrangeCall { .. }
            | Self::NoCall { .. }
            | Self::NotReady { .. }
            | Self::ReadyAgain { .. }
            | Self::StrangePong { .. }
            | Self::NoWorker { .. } => None,
        }
    }
}
