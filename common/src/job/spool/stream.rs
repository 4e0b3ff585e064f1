//! The items of one run: numbered, waiting for the disk, on the way, acknowledged.
//!
//! ```text
//!  0 …… acked_n …… sent_n …… committed_n …… next_n
//!       └ on the way ┘ └ on disk ┘ └ pending ┘
//! ```
//! What is on disk and not yet sent stays in memory only up to a limit; beyond it is read back when its turn comes.

use std::collections::{BTreeMap, VecDeque};

use super::fit::{VALUES, to_u64, values_of_item};
use crate::job::item::{Item, ItemKind};
use crate::wire::Raw;

/// The items of a run.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) next_n: u64,
    pub(super) acked_n: u64,
    pub(super) committed_n: u64,
    pub(super) sent_n: u64,
    pending: Vec<Item>,
    pending_bytes: u64,
    /// Committed items from `sent_n` on, in memory.
    cache: VecDeque<Item>,
    cache_bytes: u64,
    /// A read from the disk is under way.
    loading: bool,
    /// Number after the last, and bytes, of each committed batch that is not acknowledged whole.
    ledger: VecDeque<(u64, u64)>,
    ledger_bytes: u64,
    /// The same of what is on the way.
    flight: VecDeque<(u64, u64)>,
    flight_bytes: u64,
    /// Bytes of all items of the attempt.
    pub(super) total_bytes: u64,
    /// Bytes dropped, by kind, once the quota was reached.
    dropped: BTreeMap<ItemKind, u64>,
}

impl Stream {
    /// The items of a run as the disk has them.
    pub(super) fn recovered(acked_n: u64, next_n: u64, batches: impl Iterator<Item = (u64, u64)>) -> Self {
        let ledger: VecDeque<_> = batches.filter(|(until, _)| *until > acked_n).collect();
        let ledger_bytes = ledger.iter().map(|(_, bytes)| bytes).sum();
        Self {
            next_n,
            acked_n,
            committed_n: next_n,
            sent_n: acked_n,
            ledger,
            ledger_bytes,
            ..Self::default()
        }
    }

    /// Numbers an item.
    pub(super) fn push(&mut self, kind: ItemKind, data: Raw) {
        let item = Item { n: self.next_n, kind, data };
        self.next_n += 1;
        self.pending_bytes += item.cost();
        self.total_bytes += item.cost();
        self.pending.push(item);
    }

    /// Counts an item that is not kept, but for its begin.
    pub(super) fn drop_item(&mut self, kind: ItemKind, data: &Raw, kept: Option<&Raw>) {
        let len = data.content_len().saturating_sub(kept.map_or(0, Raw::content_len));
        *self.dropped.entry(kind).or_default() += to_u64(len);
    }

    pub(super) fn is_dropping(&self) -> bool {
        !self.dropped.is_empty()
    }

    /// Says in the record itself what was dropped; once, at the end.
    pub(super) fn close(&mut self) {
        for (kind, bytes) in std::mem::take(&mut self.dropped) {
            self.push(ItemKind::Truncated, kind.dropped(bytes));
        }
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Bytes that are not on disk yet.
    pub(super) fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    /// Bytes that the manager has not acknowledged.
    pub(super) fn unacked_bytes(&self) -> u64 {
        self.ledger_bytes + self.pending_bytes
    }

    /// Takes what is to be written to disk next. Counts it as committed: what is put out after the commit may rely on it.
    pub(super) fn commit(&mut self, window: u64) -> Vec<Item> {
        let items = std::mem::take(&mut self.pending);
        let bytes = std::mem::take(&mut self.pending_bytes);
        if items.is_empty() {
            return items;
        }
        let follows = !self.loading && self.sent_n + to_u64(self.cache.len()) == self.committed_n;
        self.committed_n = self.next_n;
        self.ledger.push_back((self.next_n, bytes));
        self.ledger_bytes += bytes;
        if follows && self.cache_bytes + bytes <= window.saturating_mul(2) {
            self.cache_bytes += bytes;
            self.cache.extend(items.iter().cloned());
        }
        items
    }

    /// Whether something may be sent now, or read back to be sent.
    pub(super) fn may_send(&self, window: u64) -> bool {
        // an item larger than the window goes alone
        let fits = self.flight_bytes == 0 || self.flight_bytes + self.next_cost().unwrap_or(1) <= window;
        self.sent_n < self.committed_n && fits && !self.loading
    }

    /// Whether all that exists was sent.
    pub(super) fn is_sent(&self) -> bool {
        self.sent_n == self.next_n
    }

    /// From which item on to read back before anything can be sent; counts the read as under way.
    pub(super) fn start_load(&mut self, window: u64) -> Option<u64> {
        if !self.may_send(window) || !self.cache.is_empty() {
            return None;
        }
        self.loading = true;
        Some(self.sent_n)
    }

    /// Takes what was read back.
    pub(super) fn loaded(&mut self, items: Vec<Item>) {
        self.loading = false;
        let fits = items.first().is_some_and(|item| item.n <= self.sent_n) && self.cache.is_empty();
        if fits {
            self.cache
                .extend(items.into_iter().filter(|item| item.n >= self.sent_n && item.n < self.committed_n));
            self.cache_bytes = self.cache.iter().map(Item::cost).sum();
        }
    }

    /// What the next item to send costs, if it is in memory.
    pub(super) fn next_cost(&self) -> Option<u64> {
        self.cache.front().map(Item::cost)
    }

    /// Takes items to send: at most `count` with at most `bytes` bytes, within the window, but at least one if the
    /// window has room for it.
    pub(super) fn take(&mut self, count: usize, bytes: u64, window: u64) -> Vec<Item> {
        let (mut items, mut taken, mut values) = (Vec::new(), 0, 0);
        let window_room = window.saturating_sub(self.flight_bytes);
        let room = bytes.min(window_room);
        while let Some(item) = self.cache.front() {
            values += values_of_item(item);
            let cost = item.cost();
            let first = items.is_empty() && (self.flight_bytes == 0 || cost <= window_room);
            if !first && (taken + cost > room || items.len() >= count || values > VALUES) {
                break;
            }
            taken += cost;
            self.cache_bytes = self.cache_bytes.saturating_sub(cost);
            self.sent_n = item.n + 1;
            items.extend(self.cache.pop_front());
        }
        if taken > 0 {
            self.flight.push_back((self.sent_n, taken));
            self.flight_bytes += taken;
        }
        items
    }

    /// The manager has the items below `next_n`. Gives whether that is news.
    pub(super) fn ack(&mut self, next_n: u64) -> bool {
        let next_n = next_n.min(self.sent_n);
        if next_n <= self.acked_n {
            return false;
        }
        self.acked_n = next_n;
        self.ledger_bytes = self.ledger_bytes.saturating_sub(pop_below(&mut self.ledger, next_n));
        self.flight_bytes = self.flight_bytes.saturating_sub(pop_below(&mut self.flight, next_n));
        true
    }

    /// Nothing is on the way any more; sending goes on from item `from`, or from the first that is not acknowledged.
    pub(super) fn rewind(&mut self, from: u64) {
        let from = from.clamp(self.acked_n, self.committed_n.max(self.acked_n));
        self.flight.clear();
        self.flight_bytes = 0;
        if from != self.sent_n {
            self.cache.clear();
            self.cache_bytes = 0;
            self.sent_n = from;
        }
    }
}

/// Removes the batches that end at or before item `next_n`; gives their bytes.
fn pop_below(batches: &mut VecDeque<(u64, u64)>, next_n: u64) -> u64 {
    let mut sum = 0;
    while let Some((_, bytes)) = batches.pop_front_if(|(until, _)| *until <= next_n) {
        sum += bytes;
    }
    sum
}
