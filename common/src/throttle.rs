//! Which repeated refusals are worth a line in the log: one per key and window, and a bounded number in all.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a key stays quiet after a line.
pub const LOG_WINDOW: Duration = Duration::from_secs(60);
/// How many keys are remembered, and so how many lines one window can have.
pub const LOG_KEYS: usize = 1024;

/// A line that is due, and what was left out before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Lines of the same key that were left out since its last line.
    pub suppressed: u64,
    /// Lines of keys that got none of their own, since the last line of anybody: too many keys at once.
    pub unlisted: u64,
}

/// Lets one line per key and window through, and counts the others.
///
/// The key is whatever repeats: the address of a refused connection, a pair of address and reason, an agent that
/// sends unknown notifications. At most `capacity` keys are remembered. When another one comes, the key whose line is
/// oldest is forgotten if its window is over; otherwise the new one gets no line and is counted in
/// [`Due::unlisted`]: somebody with a million addresses can fill neither memory nor disk.
#[derive(Debug)]
pub struct LogThrottle<K> {
    window: Duration,
    capacity: usize,
    keys: BTreeMap<K, Line>,
    /// The remembered keys by the number of their last line: oldest first.
    order: BTreeMap<u64, K>,
    next: u64,
    unlisted: u64,
}

/// The last line of a key.
#[derive(Debug)]
struct Line {
    number: u64,
    at: Instant,
    suppressed: u64,
}

impl<K: Ord + Clone> LogThrottle<K> {
    /// One line per key and `window`, at most `capacity` keys (0 counts as 1).
    pub fn new(window: Duration, capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self { window, capacity, keys: BTreeMap::new(), order: BTreeMap::new(), next: 0, unlisted: 0 }
    }

    /// Notes that `key` did it again; `Some` when a line is due now.
    pub fn note(&mut self, key: &K, now: Instant) -> Option<Due> {
        let mut suppressed = 0;
        if let Some(line) = self.keys.get_mut(key) {
            if now.saturating_duration_since(line.at) < self.window {
                line.suppressed = line.suppressed.saturating_add(1);
                return None;
            }
            suppressed = line.suppressed;
            self.order.remove(&line.number);
        } else if self.keys.len() >= self.capacity && !self.forget_oldest(now) {
            self.unlisted = self.unlisted.saturating_add(1);
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.keys.insert(key.clone(), Line { number, at: now, suppressed: 0 });
        self.order.insert(number, key.clone());
        Some(Due { suppressed, unlisted: std::mem::take(&mut self.unlisted) })
    }

    /// Takes a key whose window is over and that had lines left out, with their number.
    ///
    /// Call until `None` now and then, so that the end of a burst is in the log too. Keys without anything left out
    /// are forgotten on the way.
    pub fn poll_suppressed(&mut self, now: Instant) -> Option<(K, u64)> {
        while let Some((key, suppressed)) = self.pop_oldest(now) {
            if suppressed > 0 {
                return Some((key, suppressed));
            }
        }
        None
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Makes room for another key, if the oldest line's window is over; what it left out counts as unlisted.
    fn forget_oldest(&mut self, now: Instant) -> bool {
        let Some((_, suppressed)) = self.pop_oldest(now) else { return false };
        self.unlisted = self.unlisted.saturating_add(suppressed);
        true
    }

    fn pop_oldest(&mut self, now: Instant) -> Option<(K, u64)> {
        let oldest = self.order.first_entry()?;
        let line = self.keys.get(oldest.get())?;
        if now.saturating_duration_since(line.at) < self.window {
            return None;
        }
        let key = oldest.remove();
        let line = self.keys.remove(&key)?;
        Some((key, line.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DUE: Option<Due> = Some(Due { suppressed: 0, unlisted: 0 });

    #[expect(clippy::disallowed_methods, reason = "some moment to count from; no rule reads it")]
    fn start() -> Instant {
        Instant::now()
    }

    fn after(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn one_line_a_minute_says_how_many_were_left_out() {
        let (mut throttle, now) = (LogThrottle::new(LOG_WINDOW, 8), start());
        assert_eq!(throttle.note(&"a", now), DUE);
        assert_eq!(throttle.note(&"a", now), None);
        assert_eq!(throttle.note(&"a", now + after(59)), None);
        assert_eq!(throttle.note(&"b", now + after(59)), DUE);
        assert_eq!(throttle.note(&"a", now + after(60)), Some(Due { suppressed: 2, unlisted: 0 }));
        assert_eq!(throttle.note(&"a", now + after(61)), None);
    }

    #[test]
    fn the_end_of_a_burst_is_told_too() {
        let (mut throttle, now) = (LogThrottle::new(LOG_WINDOW, 8), start());
        for key in ["a", "b", "b", "c", "c"] {
            throttle.note(&key, now);
        }
        assert_eq!(throttle.poll_suppressed(now + after(59)), None);
        assert_eq!(throttle.poll_suppressed(now + after(60)), Some(("b", 1)));
        assert_eq!(throttle.poll_suppressed(now + after(60)), Some(("c", 1)));
        assert_eq!(throttle.poll_suppressed(now + after(60)), None);
        assert!(throttle.is_empty());
    }

    #[test]
    fn a_flood_of_addresses_fills_neither_memory_nor_the_log() {
        let (mut throttle, now) = (LogThrottle::new(LOG_WINDOW, 4), start());
        let lines = (0..1000).filter(|address| throttle.note(address, now).is_some()).count();
        assert_eq!((lines, throttle.len()), (4, 4));
        // The oldest makes room once its window is over, and the flood is not forgotten.
        assert_eq!(throttle.note(&5000, now + after(60)), Some(Due { suppressed: 0, unlisted: 996 }));
        assert_eq!(throttle.len(), 4);
    }

    proptest! {
        #[test]
        fn every_note_is_a_line_or_counted_in_one(notes in prop::collection::vec((0_u8..12, 0_u64..30), 1..300)) {
            let (mut throttle, mut now) = (LogThrottle::new(LOG_WINDOW, 5), start());
            let mut last_line = BTreeMap::new();
            let mut told = 0;
            for (key, gap) in &notes {
                now += after(*gap);
                if let Some(due) = throttle.note(key, now) {
                    told += 1 + due.suppressed + due.unlisted;
                    if let Some(before) = last_line.insert(*key, now) {
                        prop_assert!(now - before >= LOG_WINDOW);
                    }
                }
                prop_assert!(throttle.len() <= 5);
                prop_assert_eq!(throttle.keys.len(), throttle.order.len());
            }
            while let Some((_, suppressed)) = throttle.poll_suppressed(now + LOG_WINDOW) {
                told += suppressed;
            }
            prop_assert!(throttle.is_empty());
            prop_assert_eq!(told + throttle.unlisted, notes.len() as u64);
        }
    }
}
