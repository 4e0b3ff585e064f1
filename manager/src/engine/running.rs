//! The engine's tasks, and how they end.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::deliveries::Deliveries;

/// The engine's tasks.
#[derive(Debug)]
pub struct Running {
    pub(super) stop: CancellationToken,
    pub(super) tracker: TaskTracker,
    pub(super) deliveries: Deliveries,
}

impl Running {
    /// Begins no further callbacks, and waits for those under way, whose answers are recorded.
    pub async fn callbacks(&self) {
        self.deliveries.end().await;
    }

    /// How many callbacks are under way.
    pub fn callbacks_under_way(&self) -> usize {
        self.deliveries.count()
    }

    /// Takes what is in the inbox, commits and performs it, and ends. Nobody should send any more. Callbacks that are under way are cut,
    /// and stay pending.
    pub async fn stop(self) {
        self.deliveries.cut();
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
