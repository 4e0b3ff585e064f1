//! Faults on demand, for tests of those who use a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Makes the commits of a store fail. Clones share their state; one without orders never interferes.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Orders>);

#[derive(Debug, Default)]
struct Orders {
    full: AtomicBool,
    low: AtomicBool,
    /// Calls until one fails; 0 is never.
    breaks_in: AtomicU64,
}

/// What a call meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// As if the disk were full, reserve and all.
    Full,
    /// As if fsync had failed.
    Broken,
}

impl Faults {
    /// From now on, until taken back, every commit meets a full disk.
    pub fn set_full(&self, full: bool) {
        self.0.full.store(full, Ordering::SeqCst);
    }

    /// From now on, until taken back, the store in memory says that it lives on its reserve.
    pub fn set_low(&self, low: bool) {
        self.0.low.store(low, Ordering::SeqCst);
    }

    pub(super) fn is_low(&self) -> bool {
        self.0.low.load(Ordering::SeqCst)
    }

    /// The `n`-th call from now, counted from 1, meets a broken disk; 0 takes it back.
    pub fn break_in(&self, n: u64) {
        self.0.breaks_in.store(n, Ordering::SeqCst);
    }

    /// Asked once per attempt to write a call.
    pub(super) fn next(&self) -> Option<Fault> {
        let step = |left: u64| left.checked_sub(1);
        if self.0.breaks_in.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step) == Ok(1) {
            return Some(Fault::Broken);
        }
        self.is_full().then_some(Fault::Full)
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.full.load(Ordering::SeqCst)
    }
}
