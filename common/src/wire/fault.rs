//! Errors that cross the wire.

use std::fmt;

use super::Raw;

macro_rules! fault_codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal;)*) => {
        /// What kind of failure a [`Fault`] is, for programs. The texts are stable.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FaultCode {
            $($(#[$doc])* $variant,)*
            /// A code that this build does not know, passed on as it came.
            Other(String),
        }

        impl FaultCode {
            /// Every code that this build knows.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The text on the wire.
            pub fn as_str(&self) -> &str {
                match self { $(Self::$variant => $text,)* Self::Other(text) => text }
            }

            /// Reads the text on the wire.
            pub fn from_wire(text: &str) -> Self {
                match text { $($text => Self::$variant,)* _ => Self::Other(text.to_owned()) }
            }
        }
    };
}

fault_codes! {
    /// The procedure ran and failed by its own account; class, trace and the rest are its own.
    Failed = "failed";
    /// The agent's policy refused the call before anything ran.
    Rejected = "rejected";
    /// The caller may not use this method.
    Forbidden = "forbidden";
    /// The receiver has no such `rp.` method.
    UnknownMethod = "unknown_method";
    /// The agent does not offer this procedure, or not in this version.
    UnknownProcedure = "unknown_procedure";
    /// The arguments do not fit the method.
    BadArguments = "bad_arguments";
    /// No agent of this name has been seen.
    UnknownAgent = "unknown_agent";
    /// The agent is known and not connected; nothing was sent.
    AgentAway = "agent_away";
    /// The agent's connection ended during the call: it may have run.
    AgentGone = "agent_gone";
    /// The time limit passed.
    TimedOut = "timed_out";
    /// The caller cancelled, or its connection ended.
    Cancelled = "cancelled";
    /// The request, a value or the answer exceeds the frame limit.
    TooLarge = "too_large";
    /// Too many requests in flight; nothing ran.
    Overloaded = "overloaded";
    /// The receiver is stopping; nothing ran.
    ShuttingDown = "shutting_down";
    /// The system around the procedure failed.
    Internal = "internal";
    /// No job of this id is stored; or it has no run on this agent.
    UnknownJob = "unknown_job";
    /// The idempotency key was used for a different job. Nothing was stored.
    IdemConflict = "idem_conflict";
    /// The job or queue is not in the state that this needs: not held, not open, not ended.
    WrongState = "wrong_state";
    /// The manager's disk is full: no new jobs; nothing was stored.
    StoreFull = "store_full";
    /// It is done and on disk; whether everything that follows from it has happened is not known.
    Unsettled = "unsettled";
}

impl fmt::Display for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error that crosses the wire: a stable code, a text, and what a procedure's exception carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// For programs.
    pub code: FaultCode,
    /// For people. Never empty, never with secrets or paths of the reporting side.
    pub message: String,
    /// The exception's class.
    pub class: Option<String>,
    /// The module of the exception's class.
    pub module: Option<String>,
    /// The exception's stack trace, as text.
    pub trace: Option<String>,
    /// The exception's arguments.
    pub args: Option<Raw>,
    /// The exception's attributes.
    pub state: Option<Raw>,
    /// Whatever else the failing side wants to tell.
    pub data: Option<Raw>,
    /// The caller may try again after this time.
    pub retry_after_ms: Option<u64>,
}

impl Fault {
    /// A fault with a code and a message.
    pub fn new(code: FaultCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            class: None,
            module: None,
            trace: None,
            args: None,
            state: None,
            data: None,
            retry_after_ms: None,
        }
    }

    /// The same with details for programs.
    pub fn with_data(mut self, data: Raw) -> Self {
        self.data = Some(data);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_and_unknown_ones_pass_through() {
        for code in FaultCode::ALL {
            assert_eq!(&FaultCode::from_wire(code.as_str()), code);
        }
        assert_eq!(FaultCode::from_wire("new_one").as_str(), "new_one");
    }
}
