//! How somebody who waits for a job learns that it changed.

use std::collections::BTreeSet;
use std::future::Future;

use redpoll_common::ids::PeerId;

use crate::engine::JobWatch;

/// Wakes after each commit that touched a job, from when it was made on. Made before the store is read, it misses nothing.
pub trait Watch: Send {
    /// Waits for the next change, and gives the agents whose runs changed since the last call: possibly none, when only
    /// the job's own row did. Cancel-safe.
    fn changed(&mut self) -> impl Future<Output = BTreeSet<PeerId>> + Send;
}

impl Watch for JobWatch {
    fn changed(&mut self) -> impl Future<Output = BTreeSet<PeerId>> + Send {
        Self::changed(self)
    }
}
