//! Callbacks under way. Who stops begins no further ones, waits for the answers of these, and cuts what lasts too long: it is tried again
//! by the next start.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

#[derive(Debug, Clone, Default)]
pub(super) struct Deliveries {
    /// No further ones begin.
    over: CancellationToken,
    cut: CancellationToken,
    under_way: TaskTracker,
}

impl Deliveries {
    /// Has one begin, which lasts until it is dropped. `None`: no more.
    pub(super) fn begin(&self) -> Option<UnderWay> {
        // before the look: who has forbidden further ones waits for this one, or it does not begin
        let token = self.under_way.token();
        (!self.over.is_cancelled()).then(|| UnderWay { cut: self.cut.clone(), _token: token })
    }

    /// From here on none begins; waits for those under way.
    pub(super) async fn end(&self) {
        self.over.cancel();
        self.under_way.close();
        self.under_way.wait().await;
    }

    /// Cuts those under way, and lets none begin.
    pub(super) fn cut(&self) {
        self.over.cancel();
        self.cut.cancel();
    }

    pub(super) fn count(&self) -> usize {
        self.under_way.len()
    }
}

/// One under way.
#[derive(Debug)]
pub(super) struct UnderWay {
    cut: CancellationToken,
    _token: TaskTrackerToken,
}

impl UnderWay {
    /// Does it, unless it is cut.
    pub(super) async fn perform(self, work: impl Future<Output = ()>) {
        let _cut = self.cut.run_until_cancelled(work).await;
    }
}
