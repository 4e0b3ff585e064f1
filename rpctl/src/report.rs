//! Failures as people read them: one line what, one line why, one line what to do next.

use std::error::Error;
use std::fmt::Write as _;

use redpoll_common::api::method;
use redpoll_common::wire::{Fault, FaultCode};

use crate::exit::Exit;

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

/// What failed, and what to do next, for each code.
fn phrases(fault: &Fault, target: &Target) -> (String, String) {
    let (name, agent, verb) = (target.name(), target.agent(), target.verb());
    let again = match fault.retry_after_ms {
        Some(ms) => format!("try again in {} s", ms.div_ceil(1000)),
        None => "try again in a moment".to_owned(),
    };
    match &fault.code {
        FaultCode::Failed if fault.class.as_deref() == Some("SpawnError") => (
            format!("{name} could not be started"),
            "nothing ran; look at the program, its path, its permissions and its user".to_owned(),
        ),
        FaultCode::Failed => (
            format!("{name} failed"),
            "it ran and failed by its own account; look at what it works on".to_owned(),
        ),
        FaultCode::Rejected => (
            format!("{agent} rejected {verb}"),
            format!("nothing ran; the policy of the owner of {agent} decides, its policy.toml"),
        ),
        FaultCode::Forbidden => (
            format!("you may not use {verb}"),
            "use an operator's certificate; `rpctl certs show FILE` says whose yours is".to_owned(),
        ),
        FaultCode::UnknownMethod => (
            format!("the manager does not know {verb}"),
            "compare the versions: `rpctl --version` and `rpctl status`".to_owned(),
        ),
        FaultCode::UnknownProcedure => (
            match target {
                // what is missing is what the method was asked for
                Target::Agent { .. } => format!("{agent} has no such procedure"),
                Target::Procedure { .. } | Target::Manager { .. } => format!("{agent} does not offer {verb}"),
            },
            format!("see what it offers: rpctl agents procedures {agent}"),
        ),
        FaultCode::BadArguments => (
            format!("the arguments do not fit {verb}"),
            match target {
                Target::Procedure { .. } => {
                    format!("see what it takes: rpctl agents procedures {agent} -o yaml")
                }
                Target::Agent { .. } | Target::Manager { .. } => "see rpctl --help".to_owned(),
            },
        ),
        FaultCode::UnknownAgent | FaultCode::AgentAway => phrases_of_absence(fault, target),
        FaultCode::AgentGone => (
            format!("{agent} was lost during {verb}"),
            format!("it may have run: look at the machine before you repeat it; rpctl agents show {agent}"),
        ),
        FaultCode::TimedOut => {
            (format!("{name} took too long"), "give it longer with --timeout DUR".to_owned())
        }
        FaultCode::Cancelled => (
            format!("{name} was cancelled"),
            "somebody or something else ended it; the logs say more".to_owned(),
        ),
        FaultCode::TooLarge => (
            format!("{name}: a message is too large"),
            "ask for less at once, or in pieces; [session] frame_limit sets the limit".to_owned(),
        ),
        FaultCode::Overloaded => {
            (format!("{name}: too many calls in flight"), format!("nothing ran; {again}"))
        }
        FaultCode::ShuttingDown => (format!("{name}: it is stopping"), format!("nothing ran; {again}")),
        FaultCode::Internal => (
            format!("{name}: the system around it failed"),
            format!("the logs of {agent} and of the manager say more"),
        ),
        FaultCode::UnknownJob | FaultCode::IdemConflict | FaultCode::WrongState | FaultCode::StoreFull => {
            phrases_of_jobs(&fault.code, target, &again)
        }
        FaultCode::Unsettled => {
            (format!("{name} was done, and is not known to be settled"), format!("ask again: {again}"))
        }
        FaultCode::Other(code) => (
            format!("{name} ended with {code:?}, which this rpctl does not know"),
            "it may have run; use an rpctl as new as the manager".to_owned(),
        ),
    }
}

/// The same for agents that are not there: the one that was meant, or some of a job.
fn phrases_of_absence(fault: &Fault, target: &Target) -> (String, String) {
    let (agent, verb, away) = (target.agent(), target.verb(), fault.code == FaultCode::AgentAway);
    if away && fault.message.contains("revoked") {
        let help = "who, and why: rpctl agents list --revoked; to take it back: rpctl agents restore ID";
        return (format!("{verb}: an agent is revoked"), help.to_owned());
    }
    match (target, away) {
        (Target::Manager { .. }, true) => (
            format!("{verb}: agents are not connected"),
            "since when and why: rpctl agents list; --offline wait lets the job wait for them".to_owned(),
        ),
        (Target::Manager { .. }, false) => {
            (format!("{verb}: an agent is not known"), "see which there are: rpctl agents list".to_owned())
        }
        (Target::Procedure { .. } | Target::Agent { .. }, true) => (
            format!("{agent} is not connected"),
            format!("nothing was sent; since when and why: rpctl agents show {agent}"),
        ),
        (Target::Procedure { .. } | Target::Agent { .. }, false) => {
            (format!("there is no agent {agent}"), "see which there are: rpctl agents list".to_owned())
        }
    }
}

/// The same for the codes that only jobs have; what is none of the others says that something is in another state.
fn phrases_of_jobs(code: &FaultCode, target: &Target, again: &str) -> (String, String) {
    let verb = target.verb();
    if *code == FaultCode::UnknownJob {
        return (format!("{verb}: there is no such job"), "see which there are: rpctl jobs list".to_owned());
    }
    if *code == FaultCode::IdemConflict {
        let help =
            "nothing was stored; look at the job that has the key, or use another --key for another job";
        return (format!("{verb}: the key is taken"), help.to_owned());
    }
    if *code == FaultCode::StoreFull {
        let help = format!("nothing was stored; make room on the manager's machine, or {again}");
        return (format!("{verb}: the manager's disk is full"), help);
    }
    let look = match target {
        Target::Agent { method: method::AGENTS_REVOKE | method::AGENTS_RESTORE, .. } => {
            "rpctl agents list --revoked".to_owned()
        }
        Target::Agent { agent, .. } => format!("rpctl agents procedures {agent}"),
        Target::Manager { method: method::OPERATORS_REVOKE | method::OPERATORS_RESTORE } => {
            "rpctl operators list --revoked".to_owned()
        }
        Target::Manager { method: method::EVENTS_LIST | method::EVENTS_FOLLOW } => "rpctl events".to_owned(),
        Target::Procedure { .. } | Target::Manager { .. } => {
            "rpctl jobs show JOB, rpctl queues list".to_owned()
        }
    };
    (format!("{verb}: not in this state"), format!("see how it stands: {look}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target::Procedure { agent: "web-1".into(), procedure: "sys.echo".into() }
    }

    #[test]
    fn every_fault_says_what_why_and_what_next() {
        let targets = [
            target(),
            Target::Agent { agent: "web-1".into(), method: "rp.x" },
            Target::Manager { method: "rp.x" },
        ];
        for target in &targets {
            for code in FaultCode::ALL.iter().chain([&FaultCode::Other("new".into())]) {
                let report = Report::of_fault(&Fault::new(code.clone(), "the reason"), target, false);
                assert!(report.why.contains("the reason"), "{report:?}");
                assert!(!report.what.is_empty() && !report.help.is_empty(), "{report:?}");
                assert_eq!(report.exit, Exit::of_fault(code));
            }
        }
    }

    #[test]
    fn a_procedures_own_failure_shows_class_and_on_demand_its_trace() {
        let mut fault = Fault::new(FaultCode::Failed, "bad thing");
        fault.class = Some("ValueError".into());
        fault.trace = Some("line 1\nline 2".into());
        let report = Report::of_fault(&fault, &target(), false);
        assert_eq!(
            (report.what.as_str(), report.why.as_str()),
            ("web-1: sys.echo failed", "ValueError: bad thing")
        );
        assert!(report.help.contains("-v") && report.details.is_none());
        let report = Report::of_fault(&fault, &target(), true);
        assert_eq!(report.details.as_deref(), Some("line 1\nline 2"));
    }

    #[test]
    fn a_long_reason_is_cut() {
        let fault = Fault::new(FaultCode::Internal, "ä".repeat(MAX_WHY * 2));
        assert_eq!(Report::of_fault(&fault, &target(), false).why.chars().count(), MAX_WHY + 1);
    }

    #[test]
    fn causes_stand_in_one_line_and_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] Middle);
        #[derive(Debug, thiserror::Error)]
        #[error("middle: inner")]
        struct Middle(#[source] std::fmt::Error);
        let error = Outer(Middle(std::fmt::Error));
        assert_eq!(chain(&error), format!("outer: middle: inner: {}", std::fmt::Error));
        let report = Report::of_error(Exit::Usage, &error, "h");
        assert_eq!(report.what, "outer");
        assert!(report.why.starts_with("middle"));
    }
}
