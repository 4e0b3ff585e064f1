//! Readers: they join a run anywhere, read on by number, and must miss and repeat nothing.

use std::collections::VecDeque;

use redpoll_common::job::{Attempt, Item, ItemKind, RunKey};
use redpoll_manager::methods::{FOLLOW_BATCH, FOLLOW_PAGE};

use super::invariant::{Check, Invariant, ensure};
use super::world::World;

/// Readers at a time.
const MAX_READERS: usize = 6;

/// Somebody who reads along.
#[derive(Debug)]
pub(super) struct Reader {
    key: RunKey,
    attempt: Attempt,
    /// The number of the next item it wants.
    since: usize,
    truncated: bool,
    /// Read from the store, and not taken yet.
    page: VecDeque<Item>,
}

impl Reader {
    /// How many items wait for it, their bytes, and those of the largest.
    pub(super) fn holds(&self) -> (usize, usize, usize) {
        let bytes = || self.page.iter().map(|item| item.data.len());
        (self.page.len(), bytes().sum(), bytes().max().unwrap_or(0))
    }

    /// Takes the next page: as much as one value to a follower holds.
    fn fill(&mut self, items: &[Item]) {
        for item in items.iter().skip(self.since).take(FOLLOW_PAGE) {
            if self.holds().1 >= FOLLOW_BATCH {
                break;
            }
            self.page.push_back(item.clone());
        }
    }
}

impl World {
    /// Everybody reads a little, and sometimes somebody new joins.
    pub(super) fn readers_read(&mut self) -> Check {
        if self.readers.len() < MAX_READERS && self.dice.percent(60) {
            self.reader_joins();
        }
        let mut readers = std::mem::take(&mut self.readers);
        for reader in &mut readers {
            if reader.page.is_empty() {
                reader.fill(self.manager.store.items(&reader.key, reader.attempt));
            }
            for _ in 0..=self.dice.index(8) {
                let Some(item) = reader.page.pop_front() else { break };
                self.judge_item(&reader.key, reader.attempt, reader.since, reader.truncated)?;
                let stored = self.manager.store.items(&reader.key, reader.attempt).get(reader.since);
                ensure(stored.is_none_or(|stored| *stored == item), Invariant::GaplessItems, || {
                    format!("item {} of {} changed after it was read", item.n, reader.key)
                })?;
                reader.truncated |= item.kind == ItemKind::Truncated;
                reader.since += 1;
            }
        }
        // some lose interest
        if self.dice.percent(25) && !readers.is_empty() {
            readers.remove(self.dice.index(readers.len()));
        }
        self.readers = readers;
        Ok(())
    }

    fn reader_joins(&mut self) {
        let runs: Vec<(RunKey, Attempt, bool, u64)> = self
            .manager
            .store
            .runs
            .values()
            .filter(|run| run.attempt.0 > 0)
            .map(|run| (run.key.clone(), run.attempt, run.state.holds_slot(), run.items))
            .collect();
        let Some((key, attempt, open, items)) = self.dice.pick(&runs) else { return };
        let since = self.dice.index(usize::try_from(items).unwrap_or(0) + 1);
        if open && items > 0 {
            self.tally.hit("reader joined while it ran");
        }
        self.readers.push(Reader { key, attempt, since, truncated: false, page: VecDeque::new() });
    }

    /// At the end somebody reads everything there is.
    pub(super) fn read_everything(&self) -> Check {
        for run in self.manager.store.runs.values() {
            let mut truncated = false;
            for (n, item) in self.manager.store.items(&run.key, run.attempt).iter().enumerate() {
                self.judge_item(&run.key, run.attempt, n, truncated)?;
                truncated |= item.kind == ItemKind::Truncated;
            }
        }
        Ok(())
    }
}
