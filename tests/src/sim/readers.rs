//! Readers: they join a run anywhere, read on by number, and must miss and repeat nothing.

use redpoll_common::job::{Attempt, ItemKind, RunKey};

use super::invariant::Check;
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
}

impl World {
    /// Everybody reads a little, and sometimes somebody new joins.
    pub(super) fn readers_read(&mut self) -> Check {
        if self.readers.len() < MAX_READERS && self.dice.percent(60) {
            self.reader_joins();
        }
        let mut readers = std::mem::take(&mut self.readers);
        for reader in &mut readers {
            let have = self.manager.store.items(&reader.key, reader.attempt).len();
            let until = have.min(reader.since + 1 + self.dice.index(8));
            while reader.since < until {
                self.judge_item(&reader.key, reader.attempt, reader.since, reader.truncated)?;
                let item = self.manager.store.items(&reader.key, reader.attempt).get(reader.since);
                reader.truncated |= item.is_some_and(|item| item.kind == ItemKind::Truncated);
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
        self.readers.push(Reader { key, attempt, since, truncated: false });
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
