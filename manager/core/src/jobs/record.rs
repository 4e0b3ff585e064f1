//! What a store keeps of jobs: rows, and the changes that make them.
//!
//! The machine never reads a store. It is given [`Records`] once, at the start, and from then on says with each
//! [`Change`] what has to be written. A store applies the changes of a turn in their order and in one transaction.
//!
//! Times are milliseconds of the manager's [count](crate::clock), which began as UTC.

use std::sync::Arc;

use redpoll_common::ids::PeerId;
use redpoll_common::job::{
    Attempt, Callback, Dno, Item, JobId, JobSpec, Outcome, QueueKey, RunKey, RunState, Submitter,
};
use redpoll_common::wire::{Fault, Raw};

use crate::clock::Anchor;
use crate::revoked::{Denial, Denied};

pub use super::event::{CustomEvent, EventKind, EventRecord};

/// A digest of a spec together with its agents, made by the caller: equal digests are equal jobs.
pub type Digest = [u8; 32];

/// One job, without its runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRecord {
    /// Its id.
    pub id: JobId,
    /// Who submitted it.
    pub submitter: Submitter,
    /// Of spec and agents; what the same idempotency key has to bring again.
    pub digest: Digest,
    /// What was submitted; the idempotency key is in it, and the caller's info.
    pub spec: Arc<JobSpec>,
    /// Where it runs: sorted, without repetition, never empty. One run each.
    pub agents: Arc<[PeerId]>,
    /// The procedure may be repeated although it may have run: the submitter or the procedure's own declaration says so.
    pub idempotent: bool,
    /// The agents that say of the procedure that it looks after the machine, sorted: on them its runs have room when those of
    /// others have taken theirs.
    pub admin: Arc<[PeerId]>,
    /// Paths into the arguments that nobody may see, each below `args.` or `kwargs.`. Whoever shows the job masks them, and a store
    /// overwrites them with the end of the job.
    pub redact: Arc<[String]>,
    /// When it was accepted.
    pub submitted_ms: u64,
    /// When it could start: on submit, or when it was released. `None` while it is held.
    pub released_ms: Option<u64>,
    /// When the last of its runs ended: the latest [`RunRecord::ended_ms`], corrections included.
    pub ended_ms: Option<u64>,
    /// How its runs ended, once all have.
    pub summary: Option<Summary>,
}

impl JobRecord {
    /// The idempotency key, if the submitter gave one; unique per submitter among the stored jobs.
    pub fn key(&self) -> Option<&str> {
        self.spec.key.as_deref()
    }

    /// Whether its run there has room when those of others have taken theirs.
    pub fn is_admin_on(&self, agent: &PeerId) -> bool {
        self.admin.binary_search(agent).is_ok()
    }

    /// Whether it waits for its release.
    pub fn is_held(&self) -> bool {
        self.released_ms.is_none() && self.ended_ms.is_none()
    }
}

/// The runs of a job by their ends. `open` is 0 in stored summaries of ended jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// How many runs have not ended.
    pub open: u32,
    /// How many ended with each outcome, in the order of [`Outcome::ALL`].
    pub ended: [u32; 7],
}

impl Summary {
    /// How many runs ended so.
    pub fn count(&self, outcome: Outcome) -> u32 {
        self.ended.get(Self::place(outcome)).copied().unwrap_or(0)
    }

    /// All runs.
    pub fn total(&self) -> u32 {
        self.ended.iter().sum::<u32>() + self.open
    }

    /// The one outcome to show for the job: that of its runs if they agree; else the worst of them: `unknown`, `failed`,
    /// `timed_out`, `rejected`, `expired`, `cancelled`. `None` while a run is open.
    pub fn outcome(&self) -> Option<Outcome> {
        const WORST_FIRST: [Outcome; 7] = [
            Outcome::Unknown,
            Outcome::Failed,
            Outcome::TimedOut,
            Outcome::Rejected,
            Outcome::Expired,
            Outcome::Cancelled,
            Outcome::Succeeded,
        ];
        if self.open > 0 {
            return None;
        }
        WORST_FIRST.into_iter().find(|outcome| self.count(*outcome) > 0)
    }

    /// Counts so many runs more that ended so, or have not ended.
    pub fn count_in(&mut self, outcome: Option<Outcome>, runs: u32) {
        let count = match outcome {
            None => Some(&mut self.open),
            Some(outcome) => self.ended.get_mut(Self::place(outcome)),
        };
        if let Some(count) = count {
            *count = count.saturating_add(runs);
        }
    }

    pub(super) fn add(&mut self, outcome: Outcome) {
        if let Some(count) = self.ended.get_mut(Self::place(outcome)) {
            *count += 1;
        }
    }

    pub(super) fn remove(&mut self, outcome: Outcome) {
        if let Some(count) = self.ended.get_mut(Self::place(outcome)) {
            *count = count.saturating_sub(1);
        }
    }

    fn place(outcome: Outcome) -> usize {
        Outcome::ALL.iter().position(|other| *other == outcome).unwrap_or(usize::MAX)
    }
}

/// The work of a job on one agent: the whole row, also when only one field of it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    /// Job and agent.
    pub key: RunKey,
    /// Its place among all waiting runs: lower is earlier. Given on submit or release; a retry keeps it.
    pub seq: u64,
    /// Where it is. The dispatch inside an open state is `(attempt, dno)` below.
    pub state: RunState,
    /// The attempt in force or the last one; `Attempt(0)` before the first offer.
    pub attempt: Attempt,
    /// Its dispatch number; `Dno(0)` before the first offer. Kept after the end: later evidence must name it.
    pub dno: Dno,
    /// When it began to wait, first.
    pub queued_ms: Option<u64>,
    /// When the offer of this attempt was committed.
    pub offered_ms: Option<u64>,
    /// When the agent's accept came.
    pub accepted_ms: Option<u64>,
    /// When the procedure began, by the agent's account of how long ago that was.
    pub started_ms: Option<u64>,
    /// Since when it is in doubt. Of one that waits: since when the attempt before was, which was given up, and which its agent may
    /// still have.
    pub doubt_ms: Option<u64>,
    /// When its end was recorded; of a corrected one, the correction.
    pub ended_ms: Option<u64>,
    /// Before when it is not tried again; 0 is no wait.
    pub not_before_ms: u64,
    /// How many items of this attempt are stored. A store sets it also with every [`Change::Items`].
    pub items: u64,
    /// Somebody asked for its end, and with which grace; it is never started or tried again.
    pub cancel: Option<Cancelling>,
    /// The outcome `unknown` was replaced by later evidence, as may happen once, or is the last word of an agent that says it with a word of
    /// a newer version.
    pub corrected: bool,
    /// How the last of the earlier attempts that ran, or may have, ended. With it the run cannot end as if it never ran.
    pub earlier: Option<Outcome>,
    /// How many of the attempts were put back: its agent had no room for them. They do not count against the attempts that the
    /// job may have.
    pub put_back: u16,
}

/// An acknowledged cancel that waits for the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancelling {
    /// Between TERM and KILL; `None` is what the job or the agent says.
    pub grace_ms: Option<u32>,
}

impl RunRecord {
    /// Whether a machine needs it after a restart: it is open, or its outcome may still be replaced.
    pub fn is_alive(&self) -> bool {
        match &self.state {
            // evidence names the number of an offer, and this one was never offered: an agent recorded it, or it waited in a store that
            // was an older copy
            RunState::Ended(_) if self.dno.0 == 0 => false,
            RunState::Ended(ending) => ending.outcome == Outcome::Unknown && !self.corrected,
            RunState::Held
            | RunState::Queued
            | RunState::Offered(..)
            | RunState::Accepted(..)
            | RunState::Running(..)
            | RunState::InDoubt(..) => true,
        }
    }
}

/// A queue in which something waits or runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRecord {
    /// Its name.
    pub key: QueueKey,
    /// How many of its runs agents may have at a time, from the job that made it.
    pub concurrency: u32,
    /// When it was made.
    pub opened_ms: u64,
}

/// The dispatch numbers of one agent. Never deleted while the agent may come back: numbers must not be used twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentCounters {
    /// The agent.
    pub agent: PeerId,
    /// The spool that it showed last; `None` before its first session.
    pub spool: Option<[u8; 16]>,
    /// The highest number given out.
    pub last_dno: Dno,
    /// The highest number which the agent is known to have on disk. A spool that shows less was rolled back.
    pub seen_dno: Dno,
}

/// Where the telling of an end stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallbackState {
    /// It is due at [`CallbackRecord::due_ms`], or under way.
    Pending,
    /// The receiver took it. Recorded once.
    Delivered,
    /// It was tried often enough.
    Abandoned,
}

/// One end that somebody wants to be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackRecord {
    /// The job.
    pub job: JobId,
    /// 1 for the end of the job; higher for corrections of it, and higher with each. `(job, serial)` is the id for the receiver.
    pub serial: u32,
    /// Who is told.
    pub target: Callback,
    /// Where it stands.
    pub state: CallbackState,
    /// When it is tried next.
    pub due_ms: u64,
    /// How often it was tried, the successful try included.
    pub tries: u32,
    /// Why it failed last.
    pub error: Option<String>,
}

/// How far a run is, by its own account; the latest replaces the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// How much is done.
    pub completed: Option<u64>,
    /// Of how much.
    pub total: Option<u64>,
    /// Anything.
    pub details: Option<Raw>,
}

/// What a store writes. The changes of one turn are one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new job; its runs follow as [`Change::RunChanged`] in the same turn.
    JobSubmitted(Arc<JobRecord>),
    /// A held job may start.
    JobReleased {
        /// The job.
        job: JobId,
        /// [`JobRecord::released_ms`].
        at_ms: u64,
    },
    /// A run is new or changed: the whole row.
    RunChanged(Box<RunRecord>),
    /// Items of an attempt, without gap after those that are stored; [`RunRecord::items`] becomes `from + items.len()`.
    Items {
        /// The run.
        key: RunKey,
        /// The attempt.
        attempt: Attempt,
        /// The number of the first one.
        from: u64,
        /// The items, never none.
        items: Vec<Item>,
    },
    /// How far an attempt is; replaces what was stored.
    Progress {
        /// The run.
        key: RunKey,
        /// The attempt.
        attempt: Attempt,
        /// How far.
        progress: Progress,
    },
    /// An attempt that is tried again ended so. The row of the run goes on with the next attempt.
    AttemptEnded {
        /// The run.
        key: RunKey,
        /// The attempt.
        attempt: Attempt,
        /// How it ended.
        outcome: Outcome,
        /// Why.
        fault: Option<Box<Fault>>,
        /// When.
        at_ms: u64,
    },
    /// A queue was made.
    QueueOpened(QueueRecord),
    /// A queue is gone.
    QueueClosed(QueueKey),
    /// The dispatch numbers of an agent.
    AgentCounters(AgentCounters),
    /// All runs of a job have ended; comes again, with a later time, when an outcome was corrected. Nothing of the job is offered
    /// after it.
    JobEnded {
        /// The job.
        job: JobId,
        /// [`JobRecord::ended_ms`].
        ended_ms: u64,
        /// [`JobRecord::summary`].
        summary: Summary,
    },
    /// The job has ended, and nobody needs its arguments any more: what [`JobRecord::redact`] names is overwritten, so that nothing of
    /// it stays on the disk. Comes again with a correction.
    ArgumentsMasked(JobId),
    /// [`JobRecord::redact`] has grown; nothing else of the record is different.
    JobRedacted(Arc<JobRecord>),
    /// The job is gone with its runs, items, progress and callbacks, and its key is free. Nothing happens if it is not
    /// stored.
    JobDeleted(JobId),
    /// One more event.
    Event(EventRecord),
    /// Events below this number are gone.
    EventsPruned {
        /// The first number that is kept.
        below: u64,
    },
    /// A callback is new or changed: the whole row.
    CallbackChanged(CallbackRecord),
    /// Somebody is shut out.
    Denied(Denial),
    /// Is let in again.
    Allowed(Denied),
    /// Where the count of time stands: the one row of its kind.
    Clock(Anchor),
}

/// What a machine is given at the start: everything that is not over.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// The jobs that have not ended, and the ended ones of which [`RunRecord::is_alive`] holds for a run.
    pub jobs: Vec<JobRecord>,
    /// All runs of these jobs, also the ended ones; results and faults are left out of their endings.
    pub runs: Vec<RunRecord>,
    /// All queues.
    pub queues: Vec<QueueRecord>,
    /// All agents' counters.
    pub agents: Vec<AgentCounters>,
    /// The callbacks that are pending.
    pub callbacks: Vec<CallbackRecord>,
    /// Who is shut out.
    pub denied: Vec<Denial>,
    /// The number of the last event, 0 if there was none.
    pub last_event: u64,
    /// The number of the first one that is stored, 0 if none is.
    pub first_event: u64,
    /// How many ended jobs are stored.
    pub ended_jobs: u64,
    /// The jobs that are not over, of which a row cannot be read: they are left out of the above, but for runs that can be.
    pub unreadable: Vec<JobId>,
}
