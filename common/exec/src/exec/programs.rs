//! Who waits until the programs that a future has started have ended, also when that future was dropped.

use std::future::Future;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::KILL_WAIT;

/// How long dropped programs are waited for: for longer than anybody tries to end them.
const WAIT: Duration = KILL_WAIT.saturating_mul(2);

tokio::task_local! {
    static PROGRAMS: Programs;
}

/// What ends programs that were dropped. It takes more at any time, and is waited for only when there are none.
static ENDING: LazyLock<TaskTracker> = LazyLock::new(|| {
    let tracker = TaskTracker::new();
    tracker.close();
    tracker
});

/// The programs that a future has started itself, in its own task, until nothing of them is left.
#[derive(Debug, Clone, Default)]
pub struct Programs {
    tracker: TaskTracker,
    left: Arc<AtomicUsize>,
}

impl Programs {
    /// Does it, and knows of the programs that it starts.
    pub fn within<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        PROGRAMS.scope(self.clone(), future)
    }

    /// Waits until they have ended, those of a dropped future, too, or until they are given up. Says how many processes outlived
    /// SIGKILL. For after the future.
    pub async fn ended(&self) -> usize {
        self.tracker.close();
        let waited = timeout(WAIT, self.tracker.wait()).await;
        let left = self.left.load(Ordering::Acquire);
        if waited.is_err() { left.max(1) } else { left }
    }

    /// What a program holds until nothing of it is left, if somebody wants to know.
    pub(crate) fn hold() -> Option<Held> {
        let programs = PROGRAMS.try_with(Self::clone).ok()?;
        Some(Held { _token: programs.tracker.token(), left: programs.left })
    }
}

/// A program that somebody waits for.
#[derive(Debug)]
pub(crate) struct Held {
    _token: TaskTrackerToken,
    left: Arc<AtomicUsize>,
}

impl Held {
    /// So many of its processes are given up.
    pub(crate) fn gave_up(&self, left: usize) {
        self.left.fetch_add(left, Ordering::AcqRel);
    }
}

/// Ends what was dropped, beside everything else.
pub(super) fn end_beside(runtime: &Handle, end: impl Future<Output = ()> + Send + 'static) {
    ENDING.spawn_on(end, runtime);
}

/// Waits until all programs that were dropped have ended. For the end of a process, which would leave them half ended; give it a
/// deadline, because what hangs in the kernel has no end.
pub async fn settled() {
    ENDING.wait().await;
}
