//! What the machine wants done.

use std::sync::Arc;

use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::job::wire::{Ack, ResumeAnswer, RunRef};
use redpoll_common::job::{Attempt, Callback, JobId, JobSpec, Submitter};

use super::input::Whose;
use super::record::Change;
use crate::revoked::{Denial, Denied, MAX_REVOKED};

/// Commit `changes`, then perform `effects`, in order; turns in their order.
///
/// Several turns may be committed as one. When a commit fails the process has to end: the machine has moved on.
#[derive(Debug)]
#[must_use = "what is not committed is forgotten, and nobody is answered"]
pub struct Turn<T> {
    /// What the store writes, in one transaction.
    pub changes: Vec<Change>,
    /// What is done once the changes are on disk.
    pub effects: Vec<Effect<T>>,
}

/// Something to do after the changes of the turn are on disk.
#[derive(Debug)]
pub enum Effect<T> {
    /// Offer a run: on this connection or not at all. Offers to an agent leave in the order of their numbers.
    Offer(Box<Offer>),
    /// Ask an agent to end a run: on this connection or not at all.
    CancelOnAgent {
        /// The agent.
        agent: PeerId,
        /// Its connection.
        connection: ConnectionId,
        /// Job, attempt and number.
        run: RunRef,
        /// Between TERM and KILL.
        grace_ms: Option<u32>,
    },
    /// Close a connection: only the agent's next resume can tell what became of an offer.
    Disconnect {
        /// The agent.
        agent: PeerId,
        /// The connection.
        connection: ConnectionId,
    },
    /// Answer somebody.
    Answer(T, Result<Answer, Refusal>),
    /// Acknowledge a report.
    AckReport(T, Vec<Ack>),
    /// Tell an agent that its report does not count: a newer connection of it is in place, or it is shut out.
    RefuseReport(T),
    /// Let this one in no more, and close what it has. Whether it is closed, and nothing of it on the way, says
    /// [`Input::Cut`](super::input::Input::Cut) to the machine.
    Deny(Box<Denial>),
    /// Let this one in again.
    Allow(Denied),
    /// Answer a page of a resume.
    ResumeAnswer(T, ResumeAnswer),
    /// Tell an agent that its resume is refused: it shows numbers that nobody can have given out. It is offered nothing in this session,
    /// which goes on for calls.
    RefuseResume {
        /// Who waits for the answer.
        token: T,
        /// The agent.
        agent: PeerId,
        /// Whether it is the first time in its session.
        first: bool,
    },
    /// Tell the listeners that the history goes up to this number.
    Publish(u64),
    /// Tell the receiver of a callback, and the machine with [`Input::CallbackTried`](super::input::Input::CallbackTried) what came of it.
    Deliver {
        /// The job.
        job: JobId,
        /// With the job the id of the callback, for the receiver too.
        serial: u32,
        /// Who is told.
        target: Callback,
    },
    /// Look an idempotency key up in the store, after all turns before this one are in it; answer with [`Input::KeyFound`](super::input::Input::KeyFound).
    FindKey {
        /// Whose.
        submitter: Submitter,
        /// Which.
        key: String,
        /// The number of this look, for the answer: there may be an older one for the same key under way.
        look: u64,
    },
    /// Read which jobs of some ended first, and how many have; answer with [`Input::Oldest`](super::input::Input::Oldest).
    FindOldest {
        /// Of whom.
        whose: Whose,
        /// How many at most.
        limit: usize,
        /// Whether their number is asked for.
        count: bool,
    },
}

/// An offer of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// To whom.
    pub agent: PeerId,
    /// On which connection.
    pub connection: ConnectionId,
    /// Job, attempt and number.
    pub run: RunRef,
    /// What to run.
    pub spec: Arc<JobSpec>,
    /// When `start_within` is over, on the manager's count: what is left of it is told when the offer leaves.
    pub start_by_ms: Option<u64>,
    /// Who submitted it.
    pub submitter: Submitter,
}

/// A good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The job is on disk.
    Submitted {
        /// Its id.
        job: JobId,
        /// It was there before, under the same key.
        existing: bool,
    },
    /// The event is on disk.
    Emitted {
        /// Its number.
        n: u64,
    },
    /// They are shut out.
    Revoked {
        /// They were before.
        existing: bool,
    },
    /// They may come again.
    Restored,
    /// Nothing that was said on the connections has an effect any more.
    Cut,
    /// The job may start.
    Released,
    /// They end, or have ended.
    Cancelled(Cancelled),
    /// It is gone.
    Deleted,
}

/// What a cancel reached, or would reach.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cancelled {
    /// The jobs, those with an open run in scope.
    pub jobs: Vec<JobId>,
    /// How many runs ended at once: they never started and never will.
    pub ended: u32,
    /// How many their agents end.
    pub asked: u32,
    /// The first [`REACHED`] of these runs, as they were before, by job and agent.
    pub runs: Vec<Reached>,
}

/// Runs that the answer to a cancel names; it counts all.
pub const REACHED: usize = 100;

/// A run that a cancel reached, or would reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// The job.
    pub job: JobId,
    /// The agent.
    pub agent: PeerId,
    /// Its state before, in one word.
    pub state: &'static str,
    /// The attempt in force, or the last one.
    pub attempt: Attempt,
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The key is in use for something else.
    #[error("the key was used for job {job}, which is a different one")]
    IdemConflict {
        /// For what.
        job: JobId,
    },
    /// The job requires agents that are not connected.
    #[error("{} of its agents are not connected", agents.len())]
    AgentsAway {
        /// Which, sorted.
        agents: Vec<PeerId>,
    },
    /// The job names no agent.
    #[error("a job needs at least one agent")]
    NoAgents,
    /// There are too many open runs.
    #[error("there are {open} open runs, the job has {runs}, and {limit} are the limit")]
    TooManyRuns {
        /// How many are open.
        open: usize,
        /// How many the job has.
        runs: usize,
        /// How many may be.
        limit: usize,
    },
    /// The jobs in memory have too many arguments.
    #[error(
        "jobs that are open, or ended as unknown, have {bytes} bytes of args, kwargs and info with this one, which has {of_job}, \
         and {limit} are the limit"
    )]
    TooManyBytes {
        /// How many bytes it would be.
        bytes: u64,
        /// How many of them the job has.
        of_job: u64,
        /// How many may be.
        limit: u64,
    },
    /// The agent that submits has too many open runs.
    #[error("this agent's jobs have {open} open runs, this one has {runs}, and {limit} are the limit")]
    TooManyRunsOfAgent {
        /// How many are open.
        open: usize,
        /// How many the job has.
        runs: usize,
        /// How many may be.
        limit: usize,
    },
    /// The jobs in memory of the agent that submits have too many arguments.
    #[error(
        "this agent's jobs that are open, or ended as unknown, have {bytes} bytes of args, kwargs and info with this one, which has \
         {of_job}, and {limit} are the limit"
    )]
    TooManyBytesOfAgent {
        /// How many bytes it would be.
        bytes: u64,
        /// How many of them the job has.
        of_job: u64,
        /// How many may be.
        limit: u64,
    },
    /// Agents of the job are shut out.
    #[error("{} of its agents are revoked", agents.len())]
    AgentsRevoked {
        /// Which, sorted.
        agents: Vec<PeerId>,
    },
    /// Whoever asks was shut out meanwhile.
    #[error("whoever asks is revoked")]
    Revoked,
    /// A certificate of theirs was, and it may have come with that one.
    #[error("a certificate of whoever asks was revoked meanwhile")]
    CertificateRevoked,
    /// Nobody of this name is shut out, or no such certificate.
    #[error("it is not revoked")]
    NotRevoked,
    /// The list of who is shut out is full.
    #[error("the list of who is revoked holds {MAX_REVOKED} entries and is full")]
    ListFull,
    /// The disk is full.
    #[error("the store is full")]
    StoreFull,
    /// The store could not be read.
    #[error("the store cannot be read")]
    StoreUnreadable,
    /// No open job has this id, or not on this agent.
    #[error("there is no such open job")]
    NotOpen,
    /// The criteria ask too much of too many: nothing else of the manager goes on while they are compared.
    #[error(
        "the criteria make {comparisons} comparisons over all that is open, and {limit} are the limit: use fewer conditions and \
         values, or cancel by job or queue"
    )]
    TooManyComparisons {
        /// How many, at most.
        comparisons: u64,
        /// How many may be.
        limit: u64,
    },
    /// It was released before, or never held.
    #[error("the job is not held")]
    NotHeld,
    /// It has to end first.
    #[error("the job has not ended; cancel it first")]
    StillOpen,
}
