//! What a run gives, kept up to a bound; the rest is counted.

use redpoll_common::job::spool::fits;
use redpoll_common::job::{Item, ItemKind};
use redpoll_common::wire::{Raw, scan};
use redpoll_net::service::RunEvent;

/// Items that are kept of a run.
pub(super) const MAX_ITEMS: usize = 1_000;
/// Bytes of items that are kept of a run.
pub(super) const MAX_BYTES: usize = 256 * 1024;
/// Values inside these items.
const MAX_NODES: usize = 32_768;

/// The items of one run.
#[derive(Debug, Default)]
pub(super) struct Collected {
    items: Vec<Item>,
    bytes: usize,
    nodes: usize,
    max_bytes: usize,
    /// Something was left out: nothing is taken any more, so that what is kept has no gap in it.
    full: bool,
    left_out: [u64; 3],
}

impl Collected {
    /// Keeps as much as a frame of this size can carry beside a result.
    pub(super) fn within(frame_limit: usize) -> Self {
        Self { max_bytes: MAX_BYTES.min(frame_limit / 4), ..Self::default() }
    }

    pub(super) fn take(&mut self, event: RunEvent) {
        let RunEvent::Item(kind, data) = event else { return };
        let nodes = scan::measure(data.as_bytes()).map_or(MAX_NODES, |cost| cost.nodes);
        let bytes = self.bytes.saturating_add(data.len()).saturating_add(32);
        let nodes = self.nodes.saturating_add(nodes).saturating_add(6);
        let is_beyond = bytes > self.max_bytes || nodes > MAX_NODES || !fits(&data, self.max_bytes);
        self.full |= self.items.len() >= MAX_ITEMS || is_beyond;
        if self.full {
            let len = u64::try_from(data.len()).unwrap_or(u64::MAX);
            if let Some(left_out) = place(kind).and_then(|place| self.left_out.get_mut(place)) {
                *left_out = left_out.saturating_add(len);
            }
            return;
        }
        (self.bytes, self.nodes) = (bytes, nodes);
        self.push(kind, data);
    }

    fn push(&mut self, kind: ItemKind, data: Raw) {
        let n = u64::try_from(self.items.len()).unwrap_or(u64::MAX);
        self.items.push(Item { n, kind, data });
    }

    /// What was kept, and after it what was left out.
    pub(super) fn finish(mut self) -> Vec<Item> {
        for kind in [ItemKind::Value, ItemKind::Stdout, ItemKind::Stderr] {
            let bytes = place(kind).and_then(|place| self.left_out.get(place)).copied().unwrap_or(0);
            if bytes > 0 {
                self.push(ItemKind::Truncated, kind.dropped(bytes));
            }
        }
        self.items
    }
}

fn place(kind: ItemKind) -> Option<usize> {
    match kind {
        ItemKind::Value => Some(0),
        ItemKind::Stdout => Some(1),
        ItemKind::Stderr => Some(2),
        ItemKind::Truncated => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(bytes: usize) -> RunEvent {
        RunEvent::Item(ItemKind::Value, Raw::text(&"x".repeat(bytes)))
    }

    #[test]
    fn what_is_beyond_the_bound_is_counted_and_said_after_what_is_kept() {
        let mut collected = Collected::within(usize::MAX);
        for _ in 0..MAX_ITEMS {
            collected.take(value(1));
        }
        collected.take(value(3));
        collected.take(RunEvent::Item(ItemKind::Stderr, Raw::bin(b"ab")));
        let items = collected.finish();
        assert_eq!(items.len(), MAX_ITEMS + 2);
        assert!(items.iter().zip(0..).all(|(item, n)| item.n == n), "numbered without gaps");
        let said: Vec<_> = items.iter().rev().take(2).map(|item| item.kind).collect();
        assert_eq!(said, [ItemKind::Truncated; 2]);
        let bytes: std::collections::BTreeMap<String, serde_json::Value> =
            items[MAX_ITEMS].data.decode().unwrap();
        assert_eq!((bytes["stream"].as_str(), bytes["bytes"].as_u64()), (Some("value"), Some(4)));
    }

    #[test]
    fn a_value_that_nests_too_deep_is_left_out() {
        let mut collected = Collected::within(usize::MAX);
        let deep = Raw::parse([vec![0x91; 28], vec![0xc0]].concat().into()).unwrap();
        collected.take(RunEvent::Item(ItemKind::Value, deep));
        let kinds: Vec<_> = collected.finish().into_iter().map(|item| item.kind).collect();
        assert_eq!(kinds, [ItemKind::Truncated]);
    }

    #[test]
    fn nothing_small_is_taken_after_something_large_was_left_out() {
        let mut collected = Collected::within(4_096);
        collected.take(value(100));
        collected.take(value(2_000));
        collected.take(value(1));
        let kinds: Vec<_> = collected.finish().into_iter().map(|item| item.kind).collect();
        assert_eq!(kinds, [ItemKind::Value, ItemKind::Truncated]);
    }
}
