//! The connections that read: each question gets one for itself, on a thread where it may block, and gives it back with
//! its transaction over. So no read transaction outlives a question, and the log can always be moved into the database.

use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake};
use std::thread::Thread;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::store::ReadError;

/// How many questions are answered at a time; others wait in their order.
const READERS: u32 = 4;
/// The page cache of each, in KiB.
const CACHE_KIB: i64 = 4096;
/// How many prepared statements each keeps.
const STATEMENTS: usize = 64;

/// The connections that nobody asks just now.
type Free = Arc<Mutex<Vec<Connection>>>;

#[derive(Debug)]
pub(super) struct Pool {
    free: Free,
    turns: Arc<Semaphore>,
    /// The questions under way, also those that nobody waits for any more.
    questions: TaskTracker,
}

impl Pool {
    pub(super) fn open(database: &Path) -> rusqlite::Result<Self> {
        let connections = (0..READERS).map(|_| connect(database)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            free: Arc::new(Mutex::new(connections)),
            turns: Arc::new(Semaphore::new(READERS as usize)),
            questions: TaskTracker::new(),
        })
    }

    /// What questions take before they are asked.
    pub(super) fn turns(&self) -> Turns {
        Turns(self.turns.clone())
    }

    /// Asks a question. All its statements see the same state.
    pub(super) fn ask<T, F>(&self, question: F) -> BoxFuture<'_, Result<T, ReadError>>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, ReadError> + Send + 'static,
    {
        Box::pin(async move {
            let turn = self.turns.clone().acquire_owned().await.map_err(|_closed| ReadError::Stopped)?;
            let free = self.free.clone();
            let asked = self.questions.spawn_blocking(move || {
                // before the connection: whoever has the next turn finds it
                let _turn = turn;
                let taken = Taken::of(free)?;
                answer(taken.connection()?, question)
            });
            asked.await.unwrap_or_else(|error| Err(ReadError::Failed(error.into())))
        })
    }

    /// Turns questions away from now on, waits for the answers under way, and closes the connections.
    pub(super) async fn close(&self) {
        self.turns.close();
        self.questions.close();
        self.questions.wait().await;
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A connection on loan: it goes back when this is dropped, also by a question that panics, whose transaction is over by then.
struct Taken {
    connection: Option<Connection>,
    free: Free,
}

impl Taken {
    fn of(free: Free) -> Result<Self, ReadError> {
        let taken = free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Ok(Self { connection: Some(taken.ok_or(ReadError::Stopped)?), free })
    }

    fn connection(&self) -> Result<&Connection, ReadError> {
        self.connection.as_ref().ok_or(ReadError::Stopped)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.extend(self.connection.take());
    }
}

/// The turns of the questions, for somebody who wants that none is under way.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Semaphore>);

impl Turns {
    /// Holds new questions back and waits for those under way, up to a limit. Gives nothing when they last longer. Blocks; the questions
    /// go on when what it gives is dropped.
    pub(super) fn hold(&self, within: Duration) -> Option<OwnedSemaphorePermit> {
        // fair: who asks later waits behind it
        wait(self.0.clone().acquire_many_owned(READERS), within)?.ok()
    }
}

/// Wakes a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on this thread, which has no runtime, for something that needs none.
fn wait<F: Future>(future: F, within: Duration) -> Option<F::Output> {
    let deadline = Instant::now() + within;
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let (mut context, mut future) = (Context::from_waker(&waker), pin!(future));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        std::thread::park_timeout(left);
    }
}

fn answer<T>(
    connection: &Connection,
    question: impl FnOnce(&Connection) -> Result<T, ReadError>,
) -> Result<T, ReadError> {
    let snapshot = connection.unchecked_transaction()?;
    let answer = question(connection);
    snapshot.finish()?;
    answer
}

fn connect(database: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.busy_timeout(super::writer::BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_that_panics_costs_no_connection_and_is_told_as_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (n)").unwrap();
        let pool = Pool::open(&path).unwrap();
        for _ in 0..=READERS {
            let asked = pool.ask(|_| -> Result<(), ReadError> { panic!("as it was told to") }).await;
            assert!(matches!(asked, Err(ReadError::Failed(_))), "{asked:?}");
        }
        let count = |db: &Connection| Ok(db.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?);
        assert_eq!(pool.ask::<i64, _>(count).await.unwrap(), 0);
        pool.close().await;
        assert!(matches!(pool.ask::<i64, _>(count).await, Err(ReadError::Stopped)));
    }
}
