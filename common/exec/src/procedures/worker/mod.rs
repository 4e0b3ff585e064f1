//! Long-lived processes that take one call after the other.
//!
//! - [`Pool`]: the workers of a procedure: which are free, and when another may be started.
//! - `task`: one worker from its start to its end. `process`: its streams. `talk`: one call.
//!
//! A worker is a task that owns its process. Free ones are in the pool as handles; a handle that is dropped ends its worker, so
//! that workers of a definition that is replaced go when they are free.

mod process;
mod talk;
mod task;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use redpoll_common::session::backoff::{Backoff, BackoffOptions};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_net::service::{Output, Stop, stop_fault};
use redpoll_net::{CallContext, random};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::Procedure;

/// The waits before a worker is started in place of one that died.
const RESTARTS: BackoffOptions = BackoffOptions {
    initial: Duration::from_millis(500),
    max: Duration::from_secs(60),
    stable_after: Duration::from_secs(60),
};

/// One call for a worker.
struct Work {
    call: u64,
    line: Bytes,
    stop: Stop,
    output: Output,
    /// Whether it is a run of a job, and when it is too late to begin.
    run: Option<Option<u64>>,
    /// Nobody wants the answer any more when the other end is gone.
    done: oneshot::Sender<Result<Raw, Fault>>,
}

/// A free worker.
struct Handle(mpsc::Sender<Work>);

/// The workers of a procedure.
pub(super) struct Pool {
    free: Mutex<Vec<Handle>>,
    restarts: Mutex<Restarts>,
}

/// When the next worker may be started.
struct Restarts {
    backoff: Backoff,
    not_before: Option<Instant>,
}

impl Default for Pool {
    fn default() -> Self {
        let backoff = Backoff::new(RESTARTS, random::number());
        Self { free: Mutex::default(), restarts: Mutex::new(Restarts { backoff, not_before: None }) }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("free", &lock(&self.free).len()).finish_non_exhaustive()
    }
}

/// Nothing panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// Has a call done by a free worker, or by a new one. The caller holds one of as many places as there may be workers.
    pub(super) async fn call(
        self: &Arc<Self>,
        procedure: &Arc<Procedure>,
        call: CallContext,
    ) -> Result<Raw, Fault> {
        let (number, line) = procedure.call_line(&call)?;
        let CallContext { stop, output, run, run_as, .. } = call;
        let (done, answer) = oneshot::channel();
        let run = run.map(|run| run.not_after);
        let work = Work { call: number, line, stop: stop.clone(), output, run, done };
        if let Some(work) = self.give(work) {
            self.wait(&stop).await?;
            if procedure.setting.stop.is_cancelled() {
                return Err(Fault::new(FaultCode::ShuttingDown, "this daemon is stopping; nothing ran"));
            }
            let task = task::run(Arc::downgrade(self), procedure.worker_setup(run_as.as_deref())?, work);
            procedure.setting.tracker.spawn(task);
        }
        let gone = || Fault::new(FaultCode::Internal, "the task of the worker ended without an answer");
        answer.await.unwrap_or_else(|_closed| Err(gone()))
    }

    /// Gives it to a free worker; gives it back when there is none. The one that was busy last comes first, so that those who
    /// are not needed end.
    fn give(&self, mut work: Work) -> Option<Work> {
        loop {
            let Some(Handle(worker)) = lock(&self.free).pop() else { return Some(work) };
            match worker.try_send(work) {
                Ok(()) => return None,
                // it has died; there may be another
                Err(mpsc::error::TrySendError::Closed(back) | mpsc::error::TrySendError::Full(back)) => {
                    work = back
                }
            }
        }
    }

    /// A worker is free.
    fn put(&self, worker: Handle) {
        let mut free = lock(&self.free);
        free.retain(|Handle(other)| !other.is_closed());
        free.push(worker);
    }

    /// Waits until a worker may be started.
    async fn wait(&self, stop: &Stop) -> Result<(), Fault> {
        let not_before = lock(&self.restarts).not_before;
        let Some(not_before) = not_before else { return Ok(()) };
        tokio::select! {
            biased; // a call that is stopped starts nothing
            reason = stop.stopped() => Err(stop_fault(reason)),
            () = sleep_until(not_before) => Ok(()),
        }
    }

    fn ready(&self) {
        let mut restarts = lock(&self.restarts);
        restarts.backoff.connected(Instant::now().into_std());
        restarts.not_before = None;
    }

    /// A worker died that nobody ended. Gives how long none is started.
    fn died(&self) -> Duration {
        let mut restarts = lock(&self.restarts);
        let now = Instant::now();
        let delay = restarts.backoff.ended(None, now.into_std());
        restarts.not_before = now.checked_add(delay);
        delay
    }
}
