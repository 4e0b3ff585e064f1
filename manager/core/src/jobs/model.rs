//! What the machine keeps in memory: open jobs and their runs, as small as they can be.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::sync::Arc;

use redpoll_common::ids::PeerId;
use redpoll_common::job::wire::RunRef;
use redpoll_common::job::{Attempt, Dno, Ending, JobId, JobSpec, Outcome, QueueKey, RunKey, RunState};

use super::put_back::PutOff;
use super::record::{Cancelling, JobRecord, RunRecord, Summary};

/// Where a run is in memory: its job, and its place among the job's runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) job: JobId,
    pub(super) index: u32,
}

/// A job of which a run is open, or ended as unknown and not corrected.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) record: Arc<JobRecord>,
    /// One per agent, in the agents' order.
    pub(super) runs: Box<[Run]>,
    pub(super) summary: Summary,
    /// How many of them have an outcome that later evidence may replace, and of how many it was. Counted, as there may be a hundred
    /// thousand, and each that is corrected asks.
    pub(super) replaceable: u32,
    pub(super) corrected: u32,
}

/// A point in time in a small space. Millisecond 0 counts as 1.
pub(super) type Stamp = Option<NonZeroU64>;

pub(super) fn stamp(ms: u64) -> Stamp {
    NonZeroU64::new(ms.max(1))
}

fn ms(stamp: Stamp) -> Option<u64> {
    stamp.map(NonZeroU64::get)
}

/// [`RunState`] without what is kept beside it, nor the content of an ending: the store has that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Held,
    Queued,
    Offered,
    Accepted,
    Running,
    InDoubt,
    Ended(Outcome),
}

impl Phase {
    /// Whether an agent has the run, or may have it.
    pub(super) fn is_dispatched(self) -> bool {
        match self {
            Self::Offered | Self::Accepted | Self::Running | Self::InDoubt => true,
            Self::Held | Self::Queued | Self::Ended(_) => false,
        }
    }

    pub(super) fn is_ended(self) -> bool {
        matches!(self, Self::Ended(_))
    }
}

#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) phase: Phase,
    pub(super) corrected: bool,
    pub(super) earlier: Option<Outcome>,
    /// What that was before the last attempt, if this process knows.
    pub(super) former: Option<Outcome>,
    pub(super) put_back: u16,
    pub(super) put_off: PutOff,
    /// How often it was tried before its time since this process began.
    pub(super) early: u16,
    pub(super) attempt: Attempt,
    pub(super) dno: Dno,
    pub(super) seq: u64,
    pub(super) items: u64,
    /// What its items count since this process began, over all attempts: [`Item::cost`](redpoll_common::job::Item::cost) of each.
    pub(super) output: u64,
    /// Its agent answered the offer before this one with having nothing of it.
    pub(super) was_absent: bool,
    pub(super) not_before: u64,
    pub(super) queued: Stamp,
    pub(super) offered: Stamp,
    pub(super) accepted: Stamp,
    pub(super) started: Stamp,
    pub(super) doubt: Stamp,
    pub(super) ended: Stamp,
    pub(super) cancel: Option<Cancelling>,
}

impl Run {
    pub(super) fn new(phase: Phase) -> Self {
        Self {
            phase,
            corrected: false,
            earlier: None,
            put_back: 0,
            put_off: PutOff::No,
            early: 0,
            former: None,
            attempt: Attempt(0),
            dno: Dno(0),
            seq: 0,
            items: 0,
            output: 0,
            was_absent: false,
            not_before: 0,
            queued: None,
            offered: None,
            accepted: None,
            started: None,
            doubt: None,
            ended: None,
            cancel: None,
        }
    }

    /// Takes back what [`Run::record`] made.
    pub(super) fn restore(record: &RunRecord) -> Self {
        let stamp = |at: Option<u64>| at.and_then(stamp);
        Self {
            phase: match &record.state {
                RunState::Held => Phase::Held,
                RunState::Queued => Phase::Queued,
                RunState::Offered(..) => Phase::Offered,
                RunState::Accepted(..) => Phase::Accepted,
                RunState::Running(..) => Phase::Running,
                RunState::InDoubt(..) => Phase::InDoubt,
                RunState::Ended(ending) => Phase::Ended(ending.outcome),
            },
            corrected: record.corrected,
            earlier: record.earlier,
            put_back: record.put_back,
            put_off: PutOff::No,
            early: 0,
            former: None,
            attempt: record.attempt,
            dno: record.dno,
            seq: record.seq,
            items: record.items,
            output: 0,
            was_absent: false,
            not_before: record.not_before_ms,
            queued: stamp(record.queued_ms),
            offered: stamp(record.offered_ms),
            accepted: stamp(record.accepted_ms),
            started: stamp(record.started_ms),
            doubt: stamp(record.doubt_ms),
            ended: stamp(record.ended_ms),
            cancel: record.cancel,
        }
    }

    /// The row for a store; `ending` is asked for when the run has ended.
    pub(super) fn record(&self, key: RunKey, ending: impl FnOnce(Outcome) -> Ending) -> RunRecord {
        let (attempt, dno) = (self.attempt, self.dno);
        RunRecord {
            key,
            seq: self.seq,
            state: match self.phase {
                Phase::Held => RunState::Held,
                Phase::Queued => RunState::Queued,
                Phase::Offered => RunState::Offered(attempt, dno),
                Phase::Accepted => RunState::Accepted(attempt, dno),
                Phase::Running => RunState::Running(attempt, dno),
                Phase::InDoubt => RunState::InDoubt(attempt, dno),
                Phase::Ended(outcome) => RunState::Ended(Box::new(ending(outcome))),
            },
            attempt,
            dno,
            queued_ms: ms(self.queued),
            offered_ms: ms(self.offered),
            accepted_ms: ms(self.accepted),
            started_ms: ms(self.started),
            doubt_ms: ms(self.doubt),
            ended_ms: ms(self.ended),
            not_before_ms: self.not_before,
            items: self.items,
            cancel: self.cancel,
            corrected: self.corrected,
            earlier: self.earlier,
            put_back: self.put_back,
        }
    }

    /// Whether a report about this dispatch is about what the run is now.
    pub(super) fn is_about(&self, about: &RunRef) -> bool {
        self.attempt == about.attempt && self.dno == about.dno
    }

    /// Whether it waits for its next attempt because the one before was given up without a word of its agent, which may have it.
    pub(super) fn is_given_up(&self) -> bool {
        self.phase == Phase::Queued && self.doubt.is_some()
    }

    /// Whether later evidence may replace its outcome: it would have to name the number of an offer.
    pub(super) fn is_replaceable(&self) -> bool {
        self.phase == Phase::Ended(Outcome::Unknown) && !self.corrected && self.dno.0 > 0
    }
}

impl Job {
    /// A job of which nothing has ended.
    pub(super) fn new(record: Arc<JobRecord>, runs: Box<[Run]>, open: u32) -> Self {
        Self { record, runs, summary: Summary { open, ..Summary::default() }, replaceable: 0, corrected: 0 }
    }

    pub(super) fn agent(&self, index: u32) -> Option<&PeerId> {
        self.record.agents.get(usize::try_from(index).ok()?)
    }

    pub(super) fn run(&self, index: u32) -> Option<&Run> {
        self.runs.get(usize::try_from(index).ok()?)
    }

    pub(super) fn run_mut(&mut self, index: u32) -> Option<&mut Run> {
        self.runs.get_mut(usize::try_from(index).ok()?)
    }

    pub(super) fn index_of(&self, agent: &PeerId) -> Option<u32> {
        u32::try_from(self.record.agents.binary_search(agent).ok()?).ok()
    }

    pub(super) fn queue(&self) -> Option<&QueueKey> {
        self.record.spec.queue.as_ref().map(|queue| &queue.name)
    }

    /// With whom its run on this agent competes.
    pub(super) fn class(&self, index: u32) -> Class {
        match self.agent(index) {
            Some(agent) if self.record.is_admin_on(agent) => Class::Admin,
            Some(_) | None => Class::Ordinary,
        }
    }

    /// When a run that has not started by then ends as expired.
    pub(super) fn deadline(&self) -> Option<u64> {
        let within = self.record.spec.limits.start_within?;
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        Some(self.record.released_ms?.saturating_add(within))
    }

    /// Bytes of what its submitter chose, which is in memory as long as it is.
    pub(super) fn weight(&self) -> u64 {
        weight(&self.record.spec)
    }

    /// Whether something of it is open, or may still be replaced.
    pub(super) fn may_change(&self) -> bool {
        self.summary.open > 0 || self.replaceable > 0
    }

    /// Changes a run, and counts it anew.
    pub(super) fn change(&mut self, index: u32, change: impl FnOnce(&mut Run)) -> Option<()> {
        let run = self.run_mut(index)?;
        let counts = |run: &Run| [run.is_replaceable(), run.corrected].map(u32::from);
        let was = counts(run);
        change(run);
        let is = counts(run);
        for (number, (was, is)) in
            [&mut self.replaceable, &mut self.corrected].into_iter().zip(was.into_iter().zip(is))
        {
            *number = number.saturating_sub(was).saturating_add(is);
        }
        Some(())
    }

    /// The places of its runs.
    pub(super) fn places(&self) -> impl Iterator<Item = At> + use<> {
        let job = self.record.id;
        (0..u32::try_from(self.runs.len()).unwrap_or(u32::MAX)).map(move |index| At { job, index })
    }
}

/// See [`Job::weight`].
pub(super) fn weight(spec: &JobSpec) -> u64 {
    let bytes =
        [&spec.args, &spec.kwargs, &spec.info].map(|part| u64::try_from(part.len()).unwrap_or(u64::MAX));
    bytes.into_iter().fold(0, u64::saturating_add)
}

/// A queue in which something waits or runs.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) concurrency: u32,
    pub(super) opened_ms: u64,
    /// What waits, also for its agent or for a retry, in order.
    pub(super) waiting: BTreeMap<u64, At>,
    /// What agents have or may have: the taken slots.
    pub(super) slots: BTreeSet<At>,
    /// The first of each lane whose agent takes offers: what can start.
    pub(super) heads: BTreeSet<(u64, PeerId, Class)>,
}

impl Queue {
    pub(super) fn has_slot(&self) -> bool {
        u32::try_from(self.slots.len()).is_ok_and(|taken| taken < self.concurrency)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.slots.is_empty()
    }
}

/// With whom a run competes for the room of its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Of a procedure that looks after the machine: those of the others do not keep it out.
    Admin,
    Ordinary,
}

impl Class {
    pub(super) const ALL: [Self; 2] = [Self::Admin, Self::Ordinary];
}

/// What waits for one agent in one queue, or in none: a lane for each class, in order of `seq`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneKey {
    pub(super) agent: PeerId,
    pub(super) class: Class,
    pub(super) queue: Option<QueueKey>,
    pub(super) seq: u64,
}

/// What is due at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A waiting run was not started in time.
    Expire(At),
    /// A run may be tried again.
    Retry(At),
    /// An agent that stopped is still there.
    Takes(PeerId),
    /// A run was in doubt for long enough.
    GiveUp(At),
    /// A callback is to be delivered.
    Callback(JobId, u32),
    /// Look for jobs that are too old.
    Prune,
}
