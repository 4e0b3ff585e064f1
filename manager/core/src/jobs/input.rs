//! What the machine is told.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use redpoll_common::identity::Identity;
use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::job::wire::{ResumeRow, RunReport, SpoolState};
use redpoll_common::job::{Dno, Ending, Item, JobId, JobSpec, QueueKey, Submitter};
use redpoll_common::wire::{Fault, Raw};

use super::criteria::Criteria;
use super::record::Digest;
use super::settings::Settings;
use crate::clock::Anchor;
use crate::revoked::{Denial, Denied};

/// Something happened. `T` stands for whoever waits for an answer.
#[derive(Debug)]
pub enum Input<T> {
    /// Somebody submits a job.
    Submit(Box<Submit<T>>),
    /// An agent tells of a run that it made by itself: a job, of the one agent, that has ended. The same key again is the
    /// same job.
    Record(Box<Submit<T>>, Box<Ended>),
    /// An agent puts an event into the public history.
    Emit {
        /// Who waits.
        token: T,
        /// The agent.
        agent: PeerId,
        /// What happened, without the prefix.
        name: String,
        /// Anything about it.
        data: Raw,
    },
    /// An agent has done what an operator wanted of one of its procedures.
    Switched {
        /// Who waits.
        token: T,
        /// The agent.
        agent: PeerId,
        /// The procedure, as the operator named it.
        procedure: String,
        /// Whether it is offered again, or no more.
        on: bool,
        /// Who wanted it.
        operator: String,
    },
    /// Somebody shuts an agent or an operator out. Its time is set by the machine.
    Revoke {
        /// Who waits.
        token: T,
        /// Whom, by whom and why.
        denial: Box<Denial>,
    },
    /// Somebody takes that back.
    Restore {
        /// Who waits.
        token: T,
        /// Who may come again.
        denied: Denied,
        /// Who wants it.
        by: Submitter,
    },
    /// The sessions of somebody who was shut out are closed: what comes of them after this has no effect, and what came before it is on
    /// disk when this is answered.
    Cut {
        /// Who waits.
        token: T,
        /// Whose.
        who: Identity,
        /// The newest connection of those that were closed.
        connection: ConnectionId,
        /// They are out with every certificate, not with one alone.
        whole: bool,
    },
    /// What [`Effect::FindKey`](super::effect::Effect::FindKey) found.
    KeyFound {
        /// As asked.
        submitter: Submitter,
        /// As asked.
        key: String,
        /// As asked; of no effect when nobody waits for this look any more.
        look: u64,
        /// What the store has under it.
        found: Found,
    },
    /// Somebody releases a held job.
    Release {
        /// Who waits.
        token: T,
        /// The job.
        job: JobId,
        /// Those of its agents that are not connected now, as a submit would say it; only a job that skips them asks.
        away: BTreeSet<PeerId>,
        /// Who wants it, for the history; `None` when nobody knows.
        by: Option<Submitter>,
    },
    /// Somebody wants runs to end.
    Cancel {
        /// Who waits.
        token: T,
        /// Which runs.
        scope: Scope,
        /// Between TERM and KILL, if not as the job says.
        grace_ms: Option<u32>,
        /// Only say which jobs it would be.
        preview: bool,
        /// Who wants it, for the history; `None` when nobody knows.
        by: Option<Submitter>,
    },
    /// Somebody wants an ended job gone. The caller has seen that it is stored.
    Delete {
        /// Who waits.
        token: T,
        /// The job.
        job: JobId,
        /// Who wants it, for the history; `None` when nobody knows.
        by: Option<Submitter>,
    },
    /// An agent's session began. Nothing is offered before the last page of its resume was answered.
    AgentUp {
        /// The agent.
        agent: PeerId,
        /// Its connection; a later one has a higher number.
        connection: ConnectionId,
    },
    /// An agent's session ended. Of no effect when a newer connection is in place.
    AgentDown {
        /// The agent.
        agent: PeerId,
        /// The connection that ended.
        connection: ConnectionId,
        /// Why, for the event.
        reason: String,
    },
    /// An agent tells what it has.
    Resume(ResumePage<T>),
    /// An agent answered an offer, or never will.
    OfferAnswered {
        /// The agent.
        agent: PeerId,
        /// On which connection it said so. Of no effect when a newer one is in place, or it was cut.
        connection: ConnectionId,
        /// The job offered.
        job: JobId,
        /// Under which number.
        dno: Dno,
        /// What it said.
        answer: OfferAnswer,
    },
    /// An agent answered a cancel. One that is lost is not told: the next resume settles it.
    CancelAnswered {
        /// The agent.
        agent: PeerId,
        /// On which connection it said so. Of no effect when a newer one is in place, or it was cut.
        connection: ConnectionId,
        /// The job.
        job: JobId,
        /// The number of the dispatch that was to be cancelled.
        dno: Dno,
        /// Where the run is on the agent.
        state: SpoolState,
    },
    /// An agent reports.
    Report {
        /// Who waits for the acknowledgement.
        token: T,
        /// The agent.
        agent: PeerId,
        /// On which connection it said so. Of no effect when a newer one is in place, or it was cut.
        connection: ConnectionId,
        /// What it reports, in its order.
        reports: Vec<RunReport>,
    },
    /// What became of [`Effect::Deliver`](super::effect::Effect::Deliver).
    CallbackTried {
        /// As in the effect.
        job: JobId,
        /// As in the effect.
        serial: u32,
        /// Why it was not taken; `None` when it was.
        error: Option<NotTaken>,
    },
    /// More of a job's arguments must not be seen than was known when it was submitted. Of no effect when it has ended and can never
    /// be corrected.
    Redact {
        /// The job.
        job: JobId,
        /// Paths, as in [`JobRecord::redact`](super::record::JobRecord::redact).
        paths: Vec<String>,
    },
    /// The answer to [`Effect::FindOldest`](super::effect::Effect::FindOldest).
    Oldest {
        /// As asked.
        whose: Whose,
        /// How many ended jobs of theirs are stored, if that was asked for.
        stored: Option<u64>,
        /// The ones that ended first, in the order of their ends.
        jobs: Vec<EndedJob>,
    },
    /// The disk is full, or is no longer: new jobs are refused while it is.
    StoreFull(bool),
    /// The settings were reloaded.
    Settings(Settings),
    /// The count of time is anchored anew.
    Clock {
        /// Where it stands.
        anchor: Anchor,
        /// By how many milliseconds the wall clock was set; 0 when it was not.
        set_by_ms: i64,
    },
    /// The manager stood still for longer than it ever does by itself, with its machine or alone: agents could not return meanwhile.
    StoodStill,
    /// The stored history is not as it was written.
    HistoryBroken {
        /// Where, and how.
        detail: String,
    },
}

/// A job to store.
#[derive(Debug)]
pub struct Submit<T> {
    /// Who waits for the id.
    pub token: T,
    /// The id that it gets: fresh, from [`JobId::new`].
    pub id: JobId,
    /// Who submits.
    pub submitter: Submitter,
    /// What, checked and with its defaults.
    pub spec: Arc<JobSpec>,
    /// Of spec and agents.
    pub digest: Digest,
    /// The agents, each with whether it is connected now.
    pub agents: Vec<(PeerId, bool)>,
    /// Those of them that say of the procedure that it looks after the machine.
    pub admin: Arc<[PeerId]>,
    /// The procedure itself declares that it may be repeated.
    pub idempotent: bool,
    /// [`JobRecord::redact`](super::record::JobRecord::redact).
    pub redact: Arc<[String]>,
}

/// The end of a run that nobody asked for.
#[derive(Debug)]
pub struct Ended {
    /// How it ended; how many items there are says `items`.
    pub ending: Ending,
    /// Milliseconds since it was started; `None` when it never was.
    pub started_ms_ago: Option<u64>,
    /// What it gave, numbered from 0 without gaps.
    pub items: Vec<Item>,
    /// How many older ones the agent lost before it could tell of them.
    pub dropped: u64,
}

/// Of whom ended jobs are counted by themselves: what agents submit and have recorded pushes out nothing of operators, and what one of
/// them does, nothing of another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// Of all operators.
    Operators,
    /// Of all agents.
    Agents,
    /// Of this one, which is an agent.
    Agent(Submitter),
}

impl Whose {
    /// Whether a job of this submitter is among them.
    pub fn has(&self, submitter: &Submitter) -> bool {
        match self {
            Self::Operators => submitter.operator_id().is_some(),
            Self::Agents => submitter.operator_id().is_none(),
            Self::Agent(agent) => submitter == agent,
        }
    }
}

/// A job that has ended, as retention looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedJob {
    /// Its id.
    pub id: JobId,
    /// When it ended.
    pub ended_ms: u64,
    /// How many runs it has: about how much it is to delete it.
    pub runs: usize,
}

/// What a store has under an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Free,
    /// A job.
    Taken {
        /// Its id.
        job: JobId,
        /// Its digest.
        digest: Digest,
    },
    /// The store could not be read.
    Unreadable,
}

/// Which runs are meant.
#[derive(Debug, Clone, PartialEq)]
pub enum Scope {
    /// One run.
    Run(JobId, PeerId),
    /// All runs of a job.
    Job(JobId),
    /// All runs that wait or run in a queue. Held jobs are in no queue yet.
    Queue(QueueKey),
    /// All open runs that meet the criteria.
    Where(Criteria),
}

/// What became of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfferAnswer {
    /// The agent has it on disk.
    Accepted,
    /// The agent refused; it did not start and never will under this number.
    Refused(Fault),
    /// The agent has seen the number before; this is what it knows of it.
    Known(SpoolState),
    /// The offer could not be sent and will not be, for instance because it is larger than a frame.
    Unsendable(Fault),
    /// No answer came in time, or one that says nothing. The machine asks for the connection to be closed.
    Lost,
}

/// One page of what an agent has.
#[derive(Debug)]
pub struct ResumePage<T> {
    /// Who waits for the answer.
    pub token: T,
    /// The agent.
    pub agent: PeerId,
    /// Its connection.
    pub connection: ConnectionId,
    /// The id of its spool.
    pub spool: [u8; 16],
    /// The highest dispatch number it has seen.
    pub max_dno: Dno,
    /// Whether no page follows.
    pub last: bool,
    /// Its rows, of this page.
    pub rows: Vec<ResumeRow>,
}

/// Why a callback was not taken; as a text, all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTaken {
    /// In the manager's words: this the history has, which every operator reads and which outlives the job.
    pub why: String,
    /// What the receiver itself said, which may be anything: whoever may see the job reads it beside the callback.
    pub said: Option<String>,
}

impl From<String> for NotTaken {
    fn from(why: String) -> Self {
        Self { why, said: None }
    }
}

impl From<&str> for NotTaken {
    fn from(why: &str) -> Self {
        why.to_owned().into()
    }
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { why, said } = self;
        match said {
            Some(said) => write!(f, "{why}: {said}"),
            None => write!(f, "{why}"),
        }
    }
}
