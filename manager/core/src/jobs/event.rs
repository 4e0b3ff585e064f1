//! The public history: numbered records of what became of connections, jobs, runs and queues.

use std::borrow::Cow;

use redpoll_common::api::events::CUSTOM_PREFIX;
use redpoll_common::ids::PeerId;
use redpoll_common::job::{Attempt, JobId, Outcome, QueueKey};
use redpoll_common::wire::Raw;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// An agent's session began.
    AgentConnected,
    /// An agent's session ended.
    AgentDisconnected,
    /// An agent came with another spool, or with an older state of its own.
    SpoolLost,
    /// An agent has seen numbers that this store never gave out: an older copy of it was put back, or another manager had the
    /// agent.
    StoreBehind,
    /// A job was stored.
    JobSubmitted,
    /// A held job may start.
    JobReleased,
    /// Somebody asked for the end of a job or a run.
    CancelAsked,
    /// The last run of a job ended.
    JobEnded,
    /// A run that an agent made by itself became a job that has ended.
    JobRecorded,
    /// A job was deleted, on request or by retention.
    JobDeleted,
    /// The procedure began.
    RunStarted,
    /// The agent of a run went away.
    RunInDoubt,
    /// An agent shows a run under a number that this store, an older copy, never gave out, or an attempt that was given up: it is
    /// followed.
    RunFound,
    /// A run is tried again.
    RunRetried,
    /// Its agent had no room for a run, or stops; it waits on.
    RunPutBack,
    /// A run ended.
    RunEnded,
    /// Later evidence replaced the outcome `unknown`.
    RunCorrected,
    /// A queue was made.
    QueueOpened,
    /// A queue is gone.
    QueueClosed,
    /// A callback was delivered.
    CallbackDelivered,
    /// A callback was given up.
    CallbackAbandoned,
    /// The manager's wall clock was set; times are told anew by it.
    ClockSet,
    /// At its start the manager found its history changed: see [`crate::chain`].
    HistoryBroken,
    /// At its start the manager found a job in its store that it cannot read: nothing of it runs.
    StoreDamaged,
    /// An operator had an agent offer a procedure again.
    ProcedureEnabled,
    /// An operator had an agent offer a procedure no more.
    ProcedureDisabled,
    /// An operator shut an agent out, or one of its certificates.
    AgentRevoked,
    /// An operator lets an agent in again.
    AgentRestored,
    /// An operator shut an operator out, or one of their certificates.
    OperatorRevoked,
    /// An operator lets an operator in again.
    OperatorRestored,
    /// An agent says something of its own: see [`EventRecord::custom`].
    Custom,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 31] = [
        Self::AgentConnected,
        Self::AgentDisconnected,
        Self::SpoolLost,
        Self::StoreBehind,
        Self::JobSubmitted,
        Self::JobReleased,
        Self::CancelAsked,
        Self::JobEnded,
        Self::JobRecorded,
        Self::JobDeleted,
        Self::RunStarted,
        Self::RunInDoubt,
        Self::RunFound,
        Self::RunRetried,
        Self::RunPutBack,
        Self::RunEnded,
        Self::RunCorrected,
        Self::QueueOpened,
        Self::QueueClosed,
        Self::CallbackDelivered,
        Self::CallbackAbandoned,
        Self::ClockSet,
        Self::HistoryBroken,
        Self::StoreDamaged,
        Self::ProcedureEnabled,
        Self::ProcedureDisabled,
        Self::AgentRevoked,
        Self::AgentRestored,
        Self::OperatorRevoked,
        Self::OperatorRestored,
        Self::Custom,
    ];

    /// The text in stores, on the wire and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AgentConnected => "agent.connected",
            Self::AgentDisconnected => "agent.disconnected",
            Self::SpoolLost => "agent.spool_lost",
            Self::StoreBehind => "manager.store_behind",
            Self::JobSubmitted => "job.submitted",
            Self::JobReleased => "job.released",
            Self::CancelAsked => "job.cancel_asked",
            Self::JobEnded => "job.ended",
            Self::JobRecorded => "job.recorded",
            Self::JobDeleted => "job.deleted",
            Self::RunStarted => "run.started",
            Self::RunInDoubt => "run.in_doubt",
            Self::RunFound => "run.found",
            Self::RunRetried => "run.retried",
            Self::RunPutBack => "run.put_back",
            Self::RunEnded => "run.ended",
            Self::RunCorrected => "run.corrected",
            Self::QueueOpened => "queue.opened",
            Self::QueueClosed => "queue.closed",
            Self::CallbackDelivered => "callback.delivered",
            Self::CallbackAbandoned => "callback.abandoned",
            Self::ClockSet => "manager.clock_set",
            Self::HistoryBroken => "manager.history_broken",
            Self::StoreDamaged => "manager.store_damaged",
            Self::ProcedureEnabled => "procedure.enabled",
            Self::ProcedureDisabled => "procedure.disabled",
            Self::AgentRevoked => "agent.revoked",
            Self::AgentRestored => "agent.restored",
            Self::OperatorRevoked => "operator.revoked",
            Self::OperatorRestored => "operator.restored",
            Self::Custom => "custom",
        }
    }

    /// Whether it is about a run: it names a job and an agent, and once the run was offered the attempt.
    pub fn is_of_run(self) -> bool {
        match self {
            Self::RunStarted
            | Self::RunInDoubt
            | Self::RunFound
            | Self::RunRetried
            | Self::RunPutBack
            | Self::RunEnded
            | Self::RunCorrected => true,
            Self::AgentConnected
            | Self::AgentDisconnected
            | Self::SpoolLost
            | Self::StoreBehind
            | Self::JobSubmitted
            | Self::JobReleased
            | Self::CancelAsked
            | Self::JobEnded
            | Self::JobRecorded
            | Self::JobDeleted
            | Self::QueueOpened
            | Self::QueueClosed
            | Self::CallbackDelivered
            | Self::CallbackAbandoned
            | Self::ClockSet
            | Self::HistoryBroken
            | Self::StoreDamaged
            | Self::ProcedureEnabled
            | Self::ProcedureDisabled
            | Self::AgentRevoked
            | Self::AgentRestored
            | Self::OperatorRevoked
            | Self::OperatorRestored
            | Self::Custom => false,
        }
    }

    /// Reads the text.
    pub fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// One record of the public history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// Its number, from 1, without gaps.
    pub n: u64,
    /// When, [counted](crate::clock).
    pub at_ms: u64,
    /// What.
    pub kind: EventKind,
    /// About which job.
    pub job: Option<JobId>,
    /// About which agent; with a job, about the run.
    pub agent: Option<PeerId>,
    /// About which queue.
    pub queue: Option<QueueKey>,
    /// Which attempt.
    pub attempt: Option<Attempt>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Whatever else a person wants to know, short: a reason, the code of a fault.
    pub detail: Option<String>,
    /// What an agent says, of [`EventKind::Custom`] alone.
    pub custom: Option<Box<CustomEvent>>,
}

/// What an agent says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomEvent {
    /// What happened, as the agent names it.
    pub name: String,
    /// Anything about it.
    pub data: Raw,
}

/// Bytes that the detail of an event may have.
pub const MAX_DETAIL: usize = 2048;

/// The front of a detail that is longer than [`MAX_DETAIL`]: what peers say gets into some, and an event has to fit any frame.
pub fn shortened(mut detail: String) -> String {
    const MARK: &str = "…";
    if detail.len() > MAX_DETAIL {
        detail.truncate(detail.floor_char_boundary(MAX_DETAIL - MARK.len()));
        detail.push_str(MARK);
    }
    detail
}

impl EventRecord {
    pub(super) fn new(n: u64, at_ms: u64, kind: EventKind) -> Self {
        Self {
            n,
            at_ms,
            kind,
            job: None,
            agent: None,
            queue: None,
            attempt: None,
            outcome: None,
            detail: None,
            custom: None,
        }
    }

    /// What it is about, in one word with dots: of an agent's own event the name behind a prefix that no event of the
    /// manager's has.
    pub fn kind_text(&self) -> Cow<'static, str> {
        match &self.custom {
            Some(custom) => format!("{CUSTOM_PREFIX}{}", custom.name).into(),
            None => self.kind.as_str().into(),
        }
    }
}
