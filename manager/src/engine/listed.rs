//! Agents whose lists became known, until the machine has looked at them. Nothing is ever dropped, as it could be on the way through a
//! queue that is full: there are no more of them than agents.

use std::collections::BTreeSet;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redpoll_common::ids::PeerId;

#[derive(Debug, Default)]
pub(super) struct Listed(Mutex<BTreeSet<PeerId>>);

impl Listed {
    pub(super) fn note(&self, agent: PeerId) {
        self.agents().insert(agent);
    }

    pub(super) fn take(&self) -> BTreeSet<PeerId> {
        mem::take(&mut *self.agents())
    }

    fn agents(&self) -> MutexGuard<'_, BTreeSet<PeerId>> {
        // nothing panics while it holds the lock
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
