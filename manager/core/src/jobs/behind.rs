//! An older store was put back: an agent has seen numbers that this store never gave out. What was decided since the copy was made is
//! lost, so that what waited in it may have run meanwhile.
//!
//! | in the store | the agent shows | then |
//! |---|---|---|
//! | waits, or was offered under a lower number | a row under a number that was given out since | follow that |
//! | was offered or accepted | nothing | `unknown`: it may have ended, and its end been acknowledged |
//! | waits or is held, and was submitted before this manager began | nothing | `unknown`, unless it may be repeated |
//! | was submitted since | nothing | it is in no lost part: it starts |

use std::collections::BTreeMap;

use redpoll_common::ids::PeerId;
use redpoll_common::job::wire::{ResumeRow, SpoolState};
use redpoll_common::job::{Dno, Outcome};

use super::Jobs;
use super::agents::Link;
use super::model::{At, Job, Phase, stamp};
use super::record::{Change, EventKind};

/// Why nobody knows what became of a run.
pub(super) const STORE_BEHIND: &str = "the manager's store is an older copy, and the agent was offered runs since: it may have run (store_behind)";

impl<T> Jobs<T> {
    /// Takes a row as the truth about a run of which the store has an older state.
    pub(super) fn adopt(&mut self, at: At, agent: &PeerId, row: &ResumeRow, now_ms: u64) {
        let link = self.agents.get(agent).map(|entry| &entry.link);
        let Some(Link::Resuming { behind: Some(ours), .. }) = link else { return };
        if row.run.dno <= *ours || row.state == SpoolState::Absent {
            return;
        }
        let open = |phase: Phase| phase == Phase::Queued || phase.is_dispatched();
        if !self.run(at).is_some_and(|run| open(run.phase) && run.dno < row.run.dno) {
            return;
        }
        let counters = &mut self.agent_mut(agent).counters;
        counters.last_dno = counters.last_dno.max(row.run.dno);
        let counters = counters.clone();
        self.changes.push(Change::AgentCounters(counters));
        self.change(at, now_ms, |run| {
            run.phase = Phase::Offered;
            (run.attempt, run.dno) = (row.run.attempt, row.run.dno);
            (run.items, run.not_before) = (0, 0);
            (run.offered, run.accepted, run.started, run.doubt) = (stamp(now_ms), None, None, None);
            if row.run.attempt.0 > 1 {
                // nobody knows what became of those before
                run.earlier = run.earlier.or(Some(Outcome::Unknown));
            }
        });
        self.write(at);
        self.run_event(at, EventKind::RunFound, None, None, now_ms);
    }

    /// The agent has told everything: what else waited for it in the copy may have run.
    pub(super) fn end_stale(&mut self, agent: &PeerId, now_ms: u64) {
        if self.stale.is_none() {
            self.stale = Some(self.find_stale());
        }
        let stale = self.stale.as_mut().and_then(|stale| stale.remove(agent)).unwrap_or_default();
        for at in stale {
            if !self.run(at).is_some_and(|run| matches!(run.phase, Phase::Held | Phase::Queued)) {
                continue;
            }
            if self.job_of(at).is_some_and(Job::may_run_again) {
                // it starts, but that it never ran nobody can say any more
                let run = self.jobs.get_mut(&at.job).and_then(|job| job.run_mut(at.index));
                if let Some(run) = run {
                    run.earlier = run.earlier.or(Some(Outcome::Unknown));
                    run.former = run.former.or(run.earlier);
                    self.write(at);
                }
            } else {
                self.end_unknown_for_good(at, STORE_BEHIND, now_ms);
            }
        }
    }

    /// O(n) in what is open, once: with the first agent that shows that the store is behind.
    fn find_stale(&self) -> BTreeMap<PeerId, Vec<At>> {
        let mut found: BTreeMap<PeerId, Vec<At>> = BTreeMap::new();
        for job in self.jobs.values().filter(|job| job.record.submitted_ms < self.began_ms) {
            for at in job.places().filter(|at| job.waits(at.index)) {
                if let Some(agent) = job.agent(at.index) {
                    found.entry(agent.clone()).or_default().push(at);
                }
            }
        }
        found
    }
}

impl Job {
    fn may_run_again(&self) -> bool {
        self.record.idempotent && self.record.spec.max_attempts > 1
    }

    fn waits(&self, index: u32) -> bool {
        self.run(index).is_some_and(|run| matches!(run.phase, Phase::Held | Phase::Queued))
    }
}

/// How many numbers a store can be behind: far more than any manager gives out in the time that a copy of its store is of use.
const MOST_BEHIND: u64 = 1 << 32;
/// What an agent may show in any case. It takes no number far beyond those that it has seen, so that somebody who was its manager for a
/// while, and was not to be trusted, needs more offers than anybody can make to get it there.
const REACHABLE: u64 = 1 << 62;

/// Whether an agent can have seen this number. One that was never given out would be the last that it ever can be given.
pub(super) fn is_possible(ours: Dno, seen: Dno) -> bool {
    seen.0 <= ours.0.saturating_add(MOST_BEHIND).max(REACHABLE)
}

/// What the first page of a session proves of the numbers: those that this store knew, if the agent has seen higher ones.
pub(super) fn behind(ours: Dno, max_dno: Dno) -> Option<Dno> {
    (max_dno > ours).then_some(ours)
}
