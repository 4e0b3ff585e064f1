//! The states of a run, and how it ends.

use std::fmt;

use super::ids::{Attempt, Dno};
use crate::wire::{Fault, Raw};

/// How a run ended. Exactly one; only `unknown` may be replaced, once, by later evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The procedure gave a result. It was started once.
    Succeeded,
    /// The procedure failed by its own account, or the system around it did. See the fault.
    Failed,
    /// The agent refused before anything ran.
    Rejected,
    /// Cancelled; [`Ending::started`] says whether it had begun.
    Cancelled,
    /// `run_timeout` or `idle_timeout` ended it.
    TimedOut,
    /// `start_within` passed, or the agent was away and the job does not wait. It never ran.
    Expired,
    /// It may have run or not; nobody can tell yet.
    Unknown,
}

impl Outcome {
    /// Every outcome, for tables that must not forget one.
    pub const ALL: [Self; 7] = [
        Self::Succeeded,
        Self::Failed,
        Self::Rejected,
        Self::Cancelled,
        Self::TimedOut,
        Self::Expired,
        Self::Unknown,
    ];

    /// The text on the wire, in stores and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
        }
    }

    /// Reads the text.
    pub fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// How.
    pub outcome: Outcome,
    /// Whether the procedure was started; `None` when nobody can tell.
    pub started: Option<bool>,
    /// The result, when it succeeded.
    pub result: Option<Raw>,
    /// Why, when it did not.
    pub fault: Option<Fault>,
    /// How many items the attempt has.
    pub items: u64,
    /// How long it ran, in milliseconds, on the agent's own clock.
    pub duration_ms: Option<u64>,
}

impl Ending {
    /// An end before any start.
    pub fn unstarted(outcome: Outcome, fault: Fault) -> Self {
        Self { outcome, started: Some(false), result: None, fault: Some(fault), items: 0, duration_ms: None }
    }
}

/// Where a run is, as the manager sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// Stored and not to be started before somebody releases it.
    Held,
    /// Waits for its queue, its agent or its turn.
    Queued,
    /// Committed under a dispatch number; the offer may be on its way.
    Offered(Attempt, Dno),
    /// The agent has it on disk and will start it.
    Accepted(Attempt, Dno),
    /// The agent says that it has begun.
    Running(Attempt, Dno),
    /// The agent's session ended meanwhile; the run keeps its queue slot until the agent tells.
    InDoubt(Attempt, Dno),
    /// It ended.
    Ended(Box<Ending>),
}

impl RunState {
    /// The state in one word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Queued => "queued",
            Self::Offered(..) => "offered",
            Self::Accepted(..) => "accepted",
            Self::Running(..) => "running",
            Self::InDoubt(..) => "in_doubt",
            Self::Ended(_) => "ended",
        }
    }

    /// How it ended, if it has.
    pub fn ending(&self) -> Option<&Ending> {
        match self {
            Self::Ended(ending) => Some(ending),
            Self::Held
            | Self::Queued
            | Self::Offered(..)
            | Self::Accepted(..)
            | Self::Running(..)
            | Self::InDoubt(..) => None,
        }
    }

    /// The attempt and dispatch number in force, if one is.
    pub fn dispatch(&self) -> Option<(Attempt, Dno)> {
        match self {
            Self::Offered(attempt, dno)
            | Self::Accepted(attempt, dno)
            | Self::Running(attempt, dno)
            | Self::InDoubt(attempt, dno) => Some((*attempt, *dno)),
            Self::Held | Self::Queued | Self::Ended(_) => None,
        }
    }

    /// Whether it occupies a slot of its queue: an agent has it, or may have it.
    pub fn holds_slot(&self) -> bool {
        self.dispatch().is_some()
    }
}
