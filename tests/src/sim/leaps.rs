//! The manager's wall clock is set: one event for each leap over the limit that says by how much, and none without (I15).

use std::time::Duration;

use redpoll_manager_core::clock::TOLERANCE;
use redpoll_manager_core::jobs::record::{Change, EventKind};

use super::history::holds;
use super::invariant::Check;
use super::world::World;

/// What the history has told of the wall clock, as it is known outside.
#[derive(Debug, Default)]
pub(super) struct Leaps {
    /// By how much it was ahead after each event that told of a leap; those that were lost with the process are taken back.
    told: Vec<i64>,
    /// By how much when the count was anchored last, and how many leaps had been told by then: a boot begins anew.
    anchored: (i64, usize),
}

impl Leaps {
    fn last(&self) -> i64 {
        let (at, count) = self.anchored;
        if self.told.len() > count { self.told.last().copied().unwrap_or(at) } else { at }
    }

    fn untold(&self, set_ms: i64) -> Option<i64> {
        let by = set_ms - self.last();
        (u128::from(by.unsigned_abs()) >= TOLERANCE.as_millis()).then_some(by)
    }
}

impl World {
    /// A process of the manager begins to count; `anew`: by the wall clock.
    pub(super) fn leaps_begin(&mut self, anew: bool) {
        let events = &self.manager.store.events;
        let durable = events.iter().filter(|event| event.kind == EventKind::ClockSet).count();
        self.leaps.told.truncate(durable);
        if anew {
            self.leaps.anchored = (self.manager.wall.set_ms(), durable);
        }
    }

    /// What a turn tells of the wall clock is what happened to it.
    pub(super) fn judge_told_leaps(&mut self, changes: &[Change]) -> Check {
        for change in changes {
            let Change::Event(event) = change else { continue };
            if event.kind != EventKind::ClockSet {
                continue;
            }
            let set_ms = self.manager.wall.set_ms();
            let words = self.leaps.untold(set_ms).map(|by| {
                let way = if by > 0 { "forward" } else { "back" };
                format!("{way} by {:?}", Duration::from_millis(by.unsigned_abs()))
            });
            holds(words.is_some() && event.detail == words, || {
                format!(
                    "event {} says that the clock was set {:?}, and it was {words:?}",
                    event.n, event.detail
                )
            })?;
            self.leaps.told.push(set_ms);
        }
        Ok(())
    }

    /// No leap is left untold while the manager runs.
    pub(super) fn judge_leaps(&self) -> Check {
        let untold = self.leaps.untold(self.manager.wall.set_ms()).filter(|_| self.manager.jobs.is_some());
        holds(untold.is_none(), || format!("the clock was set by {untold:?} ms, and no event tells"))
    }
}
