//! What really happened, whatever the product believes: processes that began, what they wrote, how they ended.

use std::collections::{BTreeMap, BTreeSet};

use redpoll_common::ids::PeerId;
use redpoll_common::job::{Attempt, ItemKind, JobId};
use redpoll_common::wire::Raw;

use super::invariant::{Check, Invariant, ensure};

/// One try of a run.
pub(super) type Try = (JobId, PeerId, Attempt);

/// What was seen of a try.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) starts: u32,
    /// How many of its processes run now.
    pub(super) running: u32,
    /// What it wrote, as the agent's own process read it.
    pub(super) written: Vec<(ItemKind, Raw)>,
    /// How its process ended by its own account: well or not.
    pub(super) exit: Option<bool>,
    /// When it began, and when it last gave something or was let go on, before it had to stop.
    pub(super) began_ms: u64,
    pub(super) gave_ms: u64,
    /// When its agent decided that it has to stop.
    pub(super) stopped_ms: Option<u64>,
}

impl Seen {
    /// What it gives while it ends counts for nothing.
    fn is_awake(&mut self, now_ms: u64) {
        if self.stopped_ms.is_none() {
            self.gave_ms = now_ms;
        }
    }
}

/// The outside witness.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    seen: BTreeMap<Try, Seen>,
    running: BTreeSet<Try>,
}

impl Oracle {
    pub(super) fn of(&self, of: &Try) -> Option<&Seen> {
        self.seen.get(of)
    }

    /// All tries of a run.
    pub(super) fn tries(&self, job: JobId, agent: &PeerId) -> impl Iterator<Item = (Attempt, &Seen)> {
        let (from, to) = ((job, agent.clone(), Attempt(0)), (job, agent.clone(), Attempt(u16::MAX)));
        self.seen.range(from..=to).map(|((_, _, attempt), seen)| (*attempt, seen))
    }

    /// How often anything of the run was started.
    pub(super) fn ever(&self, job: JobId, agent: &PeerId) -> u32 {
        self.tries(job, agent).map(|(_, seen)| seen.starts).sum()
    }

    pub(super) fn running(&self) -> impl Iterator<Item = &Try> {
        self.running.iter()
    }

    /// A process begins.
    pub(super) fn started(&mut self, of: &Try, repeatable: bool, now_ms: u64) -> Check {
        let (job, agent, attempt) = of;
        let others = self.tries(*job, agent).filter(|(other, seen)| other != attempt && seen.running > 0);
        let overlaps = others.count() > 0 && !repeatable;
        ensure(!overlaps, Invariant::NoOverlap, || {
            format!("attempt {attempt} of {job}/{agent} began beside another one")
        })?;
        self.running.insert(of.clone());
        let seen = self.seen.entry(of.clone()).or_default();
        seen.starts += 1;
        (seen.began_ms, seen.gave_ms) = (now_ms, now_ms);
        seen.running += 1;
        ensure(seen.starts == 1, Invariant::StartedOnce, || {
            format!("attempt {attempt} of {job}/{agent} was started {} times", seen.starts)
        })
    }

    pub(super) fn wrote(&mut self, of: &Try, kind: ItemKind, data: Raw, now_ms: u64) {
        let seen = self.seen.entry(of.clone()).or_default();
        seen.written.push((kind, data));
        seen.is_awake(now_ms);
    }

    /// A process that had to wait may go on: its silence was not its own.
    pub(super) fn let_on(&mut self, of: &Try, now_ms: u64) {
        self.seen.entry(of.clone()).or_default().is_awake(now_ms);
    }

    /// Its agent decided that a process has to stop; it says so once what was before is on its disk.
    pub(super) fn decided_to_stop(&mut self, of: &Try, now_ms: u64) {
        self.seen.entry(of.clone()).or_default().stopped_ms.get_or_insert(now_ms);
    }

    /// A process ended: by its own account, or killed.
    pub(super) fn ended(&mut self, of: &Try, exit: Option<bool>) {
        let seen = self.seen.entry(of.clone()).or_default();
        seen.running = seen.running.saturating_sub(1);
        seen.exit = exit;
        if seen.running == 0 {
            self.running.remove(of);
        }
    }
}
