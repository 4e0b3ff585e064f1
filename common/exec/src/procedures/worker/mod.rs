//! Long-lived processes that take one call after the other.
//!
//! - [`Pool`]: the workers of a procedure: which are free, and who waits for one. `restarts`: when another may be started.
//! - `task`: one worker from its start to its end. `process`: its streams. `ready`: until it is. `talk`: one call. `idle`: between two.
//!   `health`: how they are. `recent`: the secrets of those before. `overdue`: what is due while it writes without a pause.
//!
//! A worker is a task that owns its process. Free ones are in the pool as handles; a handle that is dropped ends its worker, so
//! that workers of a definition that is replaced go when they are free.

mod health;
mod idle;
mod overdue;
mod process;
mod ready;
mod recent;
mod restarts;
mod talk;
mod task;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_net::service::{Output, Stop, stop_fault};
use redpoll_net::{CallContext, random};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

pub use self::health::{Deaths, Health};
use self::restarts::{Leave, Restarts, too_late};
use super::Procedure;
use crate::exec::programs::{Held, Programs};

/// One call for a worker.
struct Work {
    call: u64,
    line: Bytes,
    stop: Stop,
    output: Output,
    /// Whether it is a run of a job, and when it is too late to begin.
    run: Option<Option<u64>>,
    /// Somebody waits until the worker has ended that is killed with this call.
    held: Option<Held>,
    /// Nobody wants the answer any more when the other end is gone.
    done: oneshot::Sender<Told>,
}

impl Work {
    /// The worker is of no use, and nothing ran: another one is to do it.
    fn give_back(mut self) {
        let done = std::mem::replace(&mut self.done, oneshot::channel().0);
        // an error means that nobody wants it any more
        let _told = done.send(Told::Back(Box::new(self)));
    }
}

/// What becomes of a call that a worker was given.
#[expect(clippy::large_enum_variant, reason = "one a call, and nearly each is an end")]
enum Told {
    End(Result<Raw, Fault>),
    Back(Box<Work>),
}

/// A free worker.
struct Handle(mpsc::Sender<Work>);

/// The workers of a procedure.
pub(super) struct Pool {
    free: Mutex<Vec<Handle>>,
    restarts: Mutex<Restarts>,
    /// One is free, or what is known of the next start has changed.
    changed: Notify,
}

impl Default for Pool {
    fn default() -> Self {
        let restarts = Mutex::new(Restarts::new(random::number()));
        Self { free: Mutex::default(), restarts, changed: Notify::new() }
    }
}

/// A worker that takes calls, or is about to; it does not keep its pool alive.
struct Living(Weak<Pool>);

impl Living {
    fn new(pool: &Arc<Pool>) -> Self {
        lock(&pool.restarts).begun();
        Self(Arc::downgrade(pool))
    }

    /// Its pool, unless its definition was replaced.
    fn pool(&self) -> Option<Arc<Pool>> {
        self.0.upgrade()
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        if let Some(pool) = self.pool() {
            pool.tell(|restarts| restarts.left());
        }
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
        // a job's run that is refused is put back by its manager, a recurring one would be lost
        let is_patient = run.is_none() && output.is_recorded();
        let run = run.map(|run| run.not_after);
        let mut work = Work {
            call: number,
            line,
            stop,
            output,
            run,
            held: Programs::hold(),
            done: oneshot::channel().0,
        };
        loop {
            let (done, answer) = oneshot::channel();
            work.done = done;
            if let Some(work) = self.wait(&procedure.manifest().name, work, is_patient).await? {
                if procedure.setting.stop.is_cancelled() {
                    return Err(Fault::new(FaultCode::ShuttingDown, "this daemon is stopping; nothing ran"));
                }
                let setup = procedure.worker_setup(run_as.as_deref())?;
                procedure.make_room(self);
                procedure.setting.tracker.spawn(task::run(Living::new(self), setup, work));
            }
            let gone = || Fault::new(FaultCode::Internal, "the task of the worker ended without an answer");
            match answer.await.map_err(|_closed| gone())? {
                Told::End(end) => return end,
                // each that is of no use is dead, and how soon the next is started has a bound
                Told::Back(back) => work = *back,
            }
        }
    }

    /// Waits until a worker is free, which is given the call, or until one may be started for it, which gives it back.
    async fn wait(&self, procedure: &str, mut work: Work, is_patient: bool) -> Result<Option<Work>, Fault> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // what changes from here on is not missed
            changed.as_mut().enable();
            let Some(back) = self.give(work) else { return Ok(None) };
            work = back;
            let now = Instant::now();
            let leave = lock(&self.restarts).leave(now, is_patient);
            let at = match leave {
                Leave::Now => return Ok(Some(work)),
                Leave::At(at) => at,
                Leave::TooLate { at, deaths, last } => {
                    return Err(too_late(procedure, deaths, &last, at.saturating_duration_since(now)));
                }
            };
            tokio::select! {
                biased; // a call that is stopped starts nothing
                reason = work.stop.stopped() => return Err(stop_fault(reason)),
                () = changed => {}
                () = sleep_until(at) => {}
            }
        }
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

    /// Lets free workers go but for these many, those first that have had nothing to do for longest. Gives how many stay.
    pub(super) fn keep(&self, most: usize) -> usize {
        let mut free = lock(&self.free);
        free.retain(|Handle(worker)| !worker.is_closed());
        let surplus = free.len().saturating_sub(most);
        // a worker whose handle is gone ends
        free.drain(..surplus);
        free.len()
    }

    /// A worker is free.
    fn put(&self, worker: Handle) {
        let mut free = lock(&self.free);
        free.retain(|Handle(other)| !other.is_closed());
        free.push(worker);
        drop(free);
        self.changed.notify_waiters();
    }

    /// Tells what is known of the next start, and those who wait for it.
    fn tell<T>(&self, what: impl FnOnce(&mut Restarts) -> T) -> T {
        let told = what(&mut lock(&self.restarts));
        self.changed.notify_waiters();
        told
    }

    fn ready(&self) {
        self.tell(|restarts| restarts.ready(Instant::now()));
    }

    /// A call had its end, a result or an exception.
    fn served(&self) {
        self.tell(|restarts| restarts.served(Instant::now()));
    }

    /// A worker died that nobody ended; `how` follows "it". Gives how long none is started.
    fn died(&self, how: String) -> Duration {
        self.tell(|restarts| restarts.died(how, Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use redpoll_common::identity::Identity;
    use redpoll_net::service::{StopHandle, detached_call};
    use redpoll_net::transport::PeerInfo;
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(10);

    fn work() -> (Work, StopHandle) {
        let caller = PeerInfo {
            identity: Identity::parse("spiffe://home/manager/m").unwrap(),
            address: "test".into(),
            ip: None,
            speaks_rp1: true,
            certificate: None,
        };
        let (call, _values, handle) = detached_call(caller, "p", Raw::empty_array(), Raw::empty_map());
        let CallContext { stop, output, .. } = call;
        let done = oneshot::channel().0;
        (Work { call: 1, line: Bytes::new(), stop, output, run: None, held: None, done }, handle)
    }

    /// A pool whose workers died until the next start is further away than a call waits.
    fn given_up() -> Arc<Pool> {
        let pool = Arc::new(Pool::default());
        while pool.died("exited with 7".to_owned()) < Duration::from_secs(5) {}
        pool
    }

    type Waiting = JoinSet<Result<bool, Fault>>;

    /// A call that waits: whether a worker is to be started for it.
    fn waiting(pool: &Arc<Pool>, is_patient: bool) -> Waiting {
        let pool = pool.clone();
        let mut waiting = JoinSet::new();
        waiting.spawn(async move {
            let (work, _handle) = work();
            Ok(pool.wait("p", work, is_patient).await?.is_some())
        });
        waiting
    }

    async fn within(wait: Duration, waiting: &mut Waiting) -> Option<Result<bool, Fault>> {
        timeout(wait, waiting.join_next()).await.ok().map(|ended| ended.unwrap().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_refused_when_the_last_worker_is_gone_and_a_patient_one_is_not() {
        let pool = given_up();
        let living = Living::new(&pool);
        let (mut waits, mut patient) = (waiting(&pool, false), waiting(&pool, true));
        assert!(within(MOMENT, &mut waits).await.is_none(), "one lives");
        drop(living);
        let fault = within(MOMENT, &mut waits).await.unwrap().unwrap_err();
        assert_eq!(fault.code, FaultCode::Overloaded);
        assert!(fault.message.contains("at last it exited with 7;"), "{fault}");
        assert!(within(MOMENT, &mut patient).await.is_none());
        let may_start = within(Duration::from_secs(60), &mut patient).await.unwrap().unwrap();
        assert!(may_start, "it waits as long as it takes");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_given_to_a_worker_that_is_free_before_another_may_be_started() {
        let pool = given_up();
        let _living = Living::new(&pool);
        let mut waits = waiting(&pool, false);
        assert!(within(MOMENT, &mut waits).await.is_none());
        let (give, mut given) = mpsc::channel(1);
        pool.put(Handle(give));
        assert!(!within(MOMENT, &mut waits).await.unwrap().unwrap(), "nothing is to be started");
        assert!(given.try_recv().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_goes_on_when_a_call_elsewhere_had_its_end() {
        let pool = given_up();
        let mut patient = waiting(&pool, true);
        assert!(within(MOMENT, &mut patient).await.is_none());
        pool.served();
        assert!(within(Duration::from_secs(1), &mut patient).await.unwrap().unwrap());
    }
}
