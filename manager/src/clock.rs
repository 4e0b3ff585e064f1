//! The count of time of a running manager: what the rules of [`redpoll_manager_core::clock`] need from the operating system.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};

use redpoll_exec::clock::{boot_bytes, boot_ms};
use redpoll_manager_core::clock::{Anchor, Readings};
use redpoll_net::clock::wall_ms;

/// How long reading two clocks may take, in milliseconds. What takes longer was interrupted, and what was read is not of one moment.
const AT_ONCE_MS: u64 = 50;

/// A manager's count of time. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    hands: Hands,
    /// As it was at the start; only how far the wall clock is ahead changes.
    begun: Anchor,
    ahead_ms: AtomicI64,
    /// What was kept is another one.
    is_new: bool,
}

impl Clock {
    /// Goes on from what a store kept. `newest_ms` is the time of the last thing in it.
    pub fn begin(hands: Hands, kept: Option<Anchor>, newest_ms: u64) -> Self {
        let begun = Anchor::begin(kept, newest_ms, hands.readings());
        let (ahead_ms, is_new) = (AtomicI64::new(begun.ahead_ms), kept != Some(begun));
        Self(Arc::new(Shared { hands, begun, ahead_ms, is_new }))
    }

    /// The count now. Never goes back.
    pub fn now_ms(&self) -> u64 {
        self.0.begun.at(self.0.hands.boot_ms())
    }

    /// A counted time as the wall clock is set now.
    pub fn told(&self, counted_ms: u64) -> u64 {
        self.anchor().told(counted_ms)
    }

    /// The same of a time that may not have come.
    pub fn told_if(&self, counted_ms: Option<u64>) -> Option<u64> {
        counted_ms.map(|counted_ms| self.told(counted_ms))
    }

    /// The count of a time by the wall clock as it is set now.
    pub fn counted(&self, told_ms: u64) -> u64 {
        self.anchor().counted(told_ms)
    }

    /// What has to be kept.
    pub fn anchor(&self) -> Anchor {
        Anchor { ahead_ms: self.0.ahead_ms.load(Ordering::Relaxed), ..self.0.begun }
    }

    /// Whether the store has another one than this began with.
    pub fn is_new(&self) -> bool {
        self.0.is_new
    }

    /// Looks whether the wall clock was set since the last look: by how many milliseconds, below 0 for back. For one caller.
    pub fn look(&self) -> Option<i64> {
        let before = self.0.hands.boot_ms();
        let now = self.0.hands.readings();
        if now.boot_ms.saturating_sub(before) > AT_ONCE_MS {
            return None;
        }
        let anchor = self.anchor();
        let by = anchor.set_by(now)?;
        self.0.ahead_ms.store(anchor.moved(by).ahead_ms, Ordering::Relaxed);
        Some(by)
    }
}

/// The clocks that are read.
#[derive(Debug, Clone, Default)]
pub enum Hands {
    /// Those of the machine.
    #[default]
    Machine,
    /// Those that a test moves.
    Moved(Arc<Moved>),
}

/// Clocks that a test moves.
#[derive(Debug, Default)]
pub struct Moved {
    /// How often the machine has booted.
    pub boots: AtomicU8,
    /// [`Readings::boot_ms`].
    pub boot_ms: AtomicU64,
    /// [`Readings::wall_ms`].
    pub wall_ms: AtomicU64,
}

impl Hands {
    fn boot_ms(&self) -> u64 {
        match self {
            Self::Machine => boot_ms(),
            Self::Moved(moved) => moved.boot_ms.load(Ordering::Relaxed),
        }
    }

    /// The wall clock first: whoever read the other one before knows how long both took.
    fn readings(&self) -> Readings {
        match self {
            Self::Machine => {
                let wall_ms = wall_ms();
                Readings { boot: boot_of_this(), boot_ms: boot_ms(), wall_ms }
            }
            Self::Moved(moved) => Readings {
                boot: Some([moved.boots.load(Ordering::Relaxed); 16]),
                boot_ms: self.boot_ms(),
                wall_ms: moved.wall_ms.load(Ordering::Relaxed),
            },
        }
    }
}

/// Read once: it cannot change while the process lives.
fn boot_of_this() -> Option<[u8; 16]> {
    static BOOT: std::sync::OnceLock<Option<[u8; 16]>> = std::sync::OnceLock::new();
    *BOOT.get_or_init(boot_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_counts_on_and_finds_nothing_set() {
        let clock = Clock::begin(Hands::Machine, None, 0);
        let (first, second) = (clock.now_ms(), clock.now_ms());
        assert!(first <= second && clock.is_new());
        assert!(clock.told(second).abs_diff(wall_ms()) < 60_000);
        assert_eq!(clock.look(), None);
        let again = Clock::begin(Hands::Machine, Some(clock.anchor()), second);
        assert!(!again.is_new() && again.now_ms() >= second);
    }

    #[test]
    fn a_wall_clock_that_is_set_is_seen_once() {
        let moved = Arc::new(Moved::default());
        moved.wall_ms.store(1_000_000, Ordering::Relaxed);
        let clock = Clock::begin(Hands::Moved(moved.clone()), None, 0);
        moved.boot_ms.store(10, Ordering::Relaxed);
        moved.wall_ms.store(5_000_010, Ordering::Relaxed);
        assert_eq!((clock.look(), clock.look()), (Some(4_000_000), None));
        assert_eq!(
            (clock.now_ms(), clock.told(1_000_010), clock.counted(5_000_010)),
            (1_000_010, 5_000_010, 1_000_010)
        );
        assert_eq!(clock.told_if(None), None);
    }
}
