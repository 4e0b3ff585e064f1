//! The public history: numbered records of what became of connections, jobs, runs and queues.

use redpoll_common::ids::PeerId;
use redpoll_common::job::{Attempt, JobId, Outcome, QueueKey};

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// An agent's session began.
    AgentConnected,
    /// An agent's session ended.
    AgentDisconnected,
    /// An agent came with another spool, or with an older state of its own.
    SpoolLost,
    /// A job was stored.
    JobSubmitted,
    /// A held job may start.
    JobReleased,
    /// Somebody asked for the end of a job or a run.
    CancelAsked,
    /// The last run of a job ended.
    JobEnded,
    /// A job was deleted, on request or by retention.
    JobDeleted,
    /// The procedure began.
    RunStarted,
    /// The agent of a run went away.
    RunInDoubt,
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
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 18] = [
        Self::AgentConnected,
        Self::AgentDisconnected,
        Self::SpoolLost,
        Self::JobSubmitted,
        Self::JobReleased,
        Self::CancelAsked,
        Self::JobEnded,
        Self::JobDeleted,
        Self::RunStarted,
        Self::RunInDoubt,
        Self::RunRetried,
        Self::RunPutBack,
        Self::RunEnded,
        Self::RunCorrected,
        Self::QueueOpened,
        Self::QueueClosed,
        Self::CallbackDelivered,
        Self::CallbackAbandoned,
    ];

    /// The text in stores, on the wire and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AgentConnected => "agent.connected",
            Self::AgentDisconnected => "agent.disconnected",
            Self::SpoolLost => "agent.spool_lost",
            Self::JobSubmitted => "job.submitted",
            Self::JobReleased => "job.released",
            Self::CancelAsked => "job.cancel_asked",
            Self::JobEnded => "job.ended",
            Self::JobDeleted => "job.deleted",
            Self::RunStarted => "run.started",
            Self::RunInDoubt => "run.in_doubt",
            Self::RunRetried => "run.retried",
            Self::RunPutBack => "run.put_back",
            Self::RunEnded => "run.ended",
            Self::RunCorrected => "run.corrected",
            Self::QueueOpened => "queue.opened",
            Self::QueueClosed => "queue.closed",
            Self::CallbackDelivered => "callback.delivered",
            Self::CallbackAbandoned => "callback.abandoned",
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
    /// When.
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
        }
    }
}
