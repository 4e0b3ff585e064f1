//! Failures as people read them: one line what, one line why, one line what to do next.

mod phrases;

use std::error::Error;
use std::fmt::Write as _;

use redpoll_common::wire::{Fault, FaultCode};

use crate::exit::Exit;
use phrases::phrases;

/// The longest `why` that is shown, in characters. The tail of a program's output may be in it.
const MAX_WHY: usize = 2000;

/// A failure: three lines and an exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What did not happen.
    pub what: String,
    /// Why not.
    pub why: String,
    /// What to do next.
    pub help: String,
    /// How the program ends.
    pub exit: Exit,
    /// More lines after the three, such as a trace.
    pub details: Option<String>,
}

impl Report {
    /// Any failure.
    pub fn new(exit: Exit, what: impl Into<String>, why: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), help: help.into(), exit, details: None }
    }

    /// Wrong usage, configuration or local file: nothing was sent.
    pub fn usage(what: impl Into<String>, why: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what, why, help)
    }

    /// A failure that has a Rust error: its own text is the what, its causes are the why.
    pub fn of_error(exit: Exit, error: &(dyn Error + 'static), help: impl Into<String>) -> Self {
        let why = match error.source() {
            Some(source) => chain(source),
            None => "there is no further cause".to_owned(),
        };
        Self::new(exit, error.to_string(), why, help)
    }

    /// The answer of a method that the manager serves itself, or of a procedure, was a fault.
    pub fn of_fault(fault: &Fault, target: &Target, verbose: bool) -> Self {
        let (what, help) = phrases(fault, target);
        let mut why = match (&fault.code, &fault.class) {
            (FaultCode::Failed, Some(class)) => format!("{class}: {}", fault.message),
            (_, _) => format!("{} ({})", fault.message, fault.code),
        };
        if let Some((end, _)) = why.char_indices().nth(MAX_WHY) {
            why.truncate(end);
            why.push('…');
        }
        let help = match &fault.trace {
            Some(_) if !verbose => format!("{help}; -v shows the trace"),
            Some(_) | None => help,
        };
        let details = fault.trace.clone().filter(|_| verbose);
        Self { what, why, help, exit: Exit::of_fault(&fault.code), details }
    }
}

/// An error and all its causes in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        // Several libraries repeat their cause in their own text.
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// What a request was for, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A procedure on an agent.
    Procedure {
        /// The agent.
        agent: String,
        /// The procedure.
        procedure: String,
    },
    /// A question to the manager about an agent.
    Agent {
        /// The agent.
        agent: String,
        /// The manager's method.
        method: &'static str,
    },
    /// A question to the manager.
    Manager {
        /// The manager's method.
        method: &'static str,
    },
}

impl Target {
    /// Who and what: `web-1: sys.echo`, `rp.status`.
    pub fn name(&self) -> String {
        match self {
            Self::Procedure { agent, procedure } => format!("{agent}: {procedure}"),
            Self::Agent { agent, method } => format!("{agent}: {method}"),
            Self::Manager { method } => (*method).to_owned(),
        }
    }

    fn agent(&self) -> &str {
        match self {
            Self::Procedure { agent, .. } | Self::Agent { agent, .. } => agent,
            Self::Manager { .. } => "the agent",
        }
    }

    fn verb(&self) -> &str {
        match self {
            Self::Procedure { procedure, .. } => procedure,
            Self::Agent { method, .. } | Self::Manager { method } => method,
        }
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
