//! The chain over the history (I15): the events as they reach the disk, in a store of the product beside the one of this world.
//!
//! After each transaction the new events have to follow on all before them, and what the store calls its head has to be the last of
//! them. Whenever a manager starts, everything that is kept has to fit; and the heads that somebody wrote down at earlier starts have to
//! be in it, as long as retention has not deleted them.

use futures_util::FutureExt as _;
use redpoll_manager::store::chain::{Begin, Verified};
use redpoll_manager::store::{AbortHook, Faults, Memory, Store as _};
use redpoll_manager_core::chain::Point;
use redpoll_manager_core::jobs::record::Change;

use super::history::holds;
use super::invariant::Check;

/// The history with its hashes.
#[derive(Debug)]
pub(super) struct Chained {
    store: Memory,
    /// Up to where it was checked.
    at: Point,
    /// Written down somewhere else.
    heads: Vec<Point>,
}

impl Default for Chained {
    fn default() -> Self {
        let store = Memory::new(Faults::default(), AbortHook::default());
        Self { store, at: Point::default(), heads: Vec::new() }
    }
}

impl Chained {
    /// One transaction, of which only what the history is made of matters here.
    pub(super) fn apply(&mut self, changes: &[Change]) -> Check {
        let of_history = |change: &&Change| matches!(change, Change::Event(_) | Change::EventsPruned { .. });
        let changes: Vec<Change> = changes.iter().filter(of_history).cloned().collect();
        if changes.is_empty() {
            return Ok(());
        }
        let number = |change: &Change| if let Change::Event(event) = change { Some(event.n) } else { None };
        let last = changes.iter().rev().find_map(number);
        let stored = self.store.commit(changes).now_or_never();
        holds(stored == Some(Ok(())), || format!("the history takes no events: {stored:?}"))?;
        self.at = self.verify(Begin::After(self.at))?.at;
        holds(last.is_none_or(|last| last == self.at.n), || {
            format!("the chain ends with {}, and {last:?} was written last", self.at.n)
        })
    }

    /// Everything that is kept, and every head of before.
    pub(super) fn judge_whole(&mut self) -> Check {
        let whole = self.verify(Begin::Oldest)?;
        holds(whole.at == self.at, || format!("the chain ends with {}, not {}", whole.at.n, self.at.n))?;
        self.heads.retain(|head| head.n >= whole.from.n);
        for head in &self.heads {
            let from = self.verify(Begin::After(*head))?.from;
            holds(from == *head, || format!("a check after {} began elsewhere", head.n))?;
        }
        self.heads.push(self.at);
        Ok(())
    }

    fn verify(&self, begin: Begin) -> Result<Verified, super::Violation> {
        let (mut begin, mut first) = (begin, None);
        loop {
            let part = self.store.verify(begin, None, usize::MAX).now_or_never();
            let part = part.and_then(Result::ok);
            holds(part.is_some(), || "the history cannot be read".to_owned())?;
            let Some(part) = part else { continue };
            let from = *first.get_or_insert(part.from);
            let flaw = part.flaw;
            holds(flaw.is_none(), || {
                format!("the chain is broken: {}", flaw.map_or_else(String::new, |flaw| flaw.to_string()))
            })?;
            if !part.more {
                return Ok(Verified { from, ..part });
            }
            begin = Begin::After(part.at);
        }
    }
}
