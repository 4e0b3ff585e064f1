//! What a run did that the runner has not taken in: it may be behind, with a slow disk, and no limit of time ends a run for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redpoll_common::job::spool::Untaken;

use crate::clock::boot_ms;

/// It waits at this moment to hand something over.
const WAITS: u64 = u64::MAX;
/// Not yet.
const NEVER: u64 = 0;

/// What a run did last. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    shared: Arc<Shared>,
}

/// Moments of the boot-time clock.
#[derive(Debug)]
struct Shared {
    gave: AtomicU64,
    ended: AtomicU64,
}

impl Default for Shared {
    fn default() -> Self {
        Self { gave: AtomicU64::new(NEVER), ended: AtomicU64::new(NEVER) }
    }
}

impl Given {
    /// It waits for the runner, until [`gave`](Self::gave).
    pub(super) fn waits(&self) {
        self.shared.gave.store(WAITS, Ordering::Release);
    }

    /// It handed something over.
    pub(super) fn gave(&self) {
        self.shared.gave.store(boot_ms(), Ordering::Release);
    }

    /// Its procedure has ended.
    pub(super) fn ended(&self) {
        self.shared.ended.store(boot_ms(), Ordering::Release);
    }

    /// What the runner may not have heard.
    pub(super) fn untaken(&self) -> impl Iterator<Item = Untaken> + use<> {
        let at = |moment: &AtomicU64| match moment.load(Ordering::Acquire) {
            NEVER => None,
            WAITS => Some(boot_ms()),
            at => Some(at),
        };
        let ended = at(&self.shared.ended).map(Untaken::Ended);
        at(&self.shared.gave).map(Untaken::Gave).into_iter().chain(ended)
    }
}
