//! How many places of the manager's procedures agents have: one that is stolen must not keep operators, or the other agents, out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redpoll_common::identity::{Identity, Role};
use redpoll_common::ids::PeerId;

/// The places that agents have, by agent.
#[derive(Debug, Clone, Default)]
pub(super) struct Shares(Arc<Mutex<BTreeMap<PeerId, usize>>>);

impl Shares {
    /// A share of so many places for whoever calls. `None` when an agent has half of them, or all agents together three quarters: one is
    /// left for operators, unless there is but one.
    pub(super) fn take(&self, caller: &Identity, places: usize) -> Option<Share> {
        let agent = match caller.role {
            Role::Agent => caller.id.clone(),
            Role::Operator | Role::Manager => return Some(Share(None)),
        };
        let mut shares = self.lock();
        let (has, all) = (shares.get(&agent).copied().unwrap_or(0), shares.values().sum::<usize>());
        let of_all = (places - places.div_ceil(4)).max(1);
        if has >= places.div_ceil(2) || all >= of_all {
            return None;
        }
        *shares.entry(agent.clone()).or_default() += 1;
        Some(Share(Some((self.clone(), agent))))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerId, usize>> {
        // nothing panics while it holds the lock
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One place of its caller's share, which operators have none of; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share(Option<(Shares, PeerId)>);

impl Drop for Share {
    fn drop(&mut self) {
        let Some((shares, agent)) = self.0.take() else { return };
        let mut shares = shares.lock();
        if let Some(has) = shares.get_mut(&agent) {
            *has -= 1;
            if *has == 0 {
                shares.remove(&agent);
            }
        }
    }
}
