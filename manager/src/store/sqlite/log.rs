//! The log: moved into the database when it is long, and cut to nothing before it grows without end.
//!
//! SQLite begins the log anew only once all of it is in the database and nobody reads from it. With questions that overlap somebody
//! always does, so beyond a size they are held back for a moment.

use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

use super::pool::Turns;
use super::trouble::{Trouble, is_full};
use super::writer::BUSY;

/// Bytes of the log after which it is moved into the database.
const MOVE_BYTES: u64 = 16 * 1024 * 1024;
/// The largest file that is kept for it once it begins anew.
pub(super) const KEPT_BYTES: u64 = 64 * 1024 * 1024;
/// How long the writer waits for the questions under way before it cuts the log.
const CUT_WITHIN: Duration = Duration::from_secs(1);
/// How soon it tries again after somebody else than they kept it from that.
const CUT_AGAIN: Duration = Duration::from_secs(10);

/// Looks after the length of the log.
#[derive(Debug)]
pub(super) struct Log {
    turns: Turns,
    /// Pages after which it is moved, and cut.
    moved_at: u64,
    cut_at: u64,
    not_before: Option<Instant>,
}

impl Log {
    /// For a log that is cut at a size.
    pub(super) fn new(turns: Turns, cut_bytes: u64, page: u64) -> Self {
        let moved_at = MOVE_BYTES.min(cut_bytes / 4) / page;
        Self { turns, moved_at, cut_at: cut_bytes / page, not_before: None }
    }

    /// Moves it or cuts it if it is time. Without space for that it stays as it is.
    pub(super) fn tidy(&mut self, connection: &Connection) -> Result<(), Trouble> {
        let pages = pages(connection)?;
        if pages < self.moved_at {
            return Ok(());
        }
        move_into(connection)?;
        if pages < self.cut_at || self.not_before.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        let held = self.turns.hold(CUT_WITHIN);
        let is_cut = cut(connection)?;
        drop(held);
        if is_cut {
            self.not_before = None;
        } else if self.not_before.replace(Instant::now() + CUT_AGAIN).is_none() {
            tracing::warn!(
                pages,
                "the log of the store cannot be cut, and grows: somebody reads the database for long. help: is a backup being made?"
            );
        }
        Ok(())
    }
}

/// Moves the log into the database, as far as readers let it. Without space for that it stays as it is.
pub(super) fn move_into(connection: &Connection) -> Result<(), Trouble> {
    let moved = connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)");
    let moved = moved.and_then(|mut statement| statement.query_row([], |_row| Ok(())));
    moved.map_err(|error| Trouble::from(error).on(connection)).or_else(Trouble::only_broken)
}

/// Cuts the log to nothing, unless somebody reads from it: it does not wait for them. Gives whether it is cut; without space it is not.
pub(super) fn cut(connection: &Connection) -> rusqlite::Result<bool> {
    connection.busy_timeout(Duration::ZERO)?;
    let cut = match connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)) {
        Ok(busy) => Ok(busy == 0),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(false),
        Err(error) if is_full(connection, &error) => Ok(false),
        Err(error) => Err(error),
    };
    connection.busy_timeout(BUSY)?;
    cut
}

fn pages(connection: &Connection) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?;
    let pages: i64 = statement.query_row([], |row| row.get(1))?;
    Ok(u64::try_from(pages).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;
    use std::sync::mpsc;

    use redpoll_manager_core::jobs::record::{Change, EventKind, EventRecord};
    use tokio::sync::oneshot;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::super::whole::{log_of, size};
    use super::super::{DATABASE, Options, Sqlite};
    use super::*;
    use crate::store::Store as _;

    /// How long a question lasts when the next one is held back.
    const HELD_BACK: Duration = Duration::from_millis(100);
    const CUT: u64 = 1024 * 1024;

    /// Asks so that there is always a question under way that reads from the log: each waits until the next one has begun to read.
    async fn overlapping(store: Arc<Sqlite>, stop: CancellationToken) {
        let asked = TaskTracker::new();
        let mut before = None::<mpsc::SyncSender<()>>;
        while !stop.is_cancelled() {
            let (next, next_began) = mpsc::sync_channel(1);
            let (begins, began) = oneshot::channel();
            let (store, before) = (store.clone(), before.replace(next));
            asked.spawn(async move {
                let question = store.readers.ask(move |connection| {
                    connection.query_row("SELECT count(*) FROM event", [], |_row| Ok(()))?;
                    before.map(|before| before.send(()));
                    begins.send(()).unwrap();
                    let _held_back = next_began.recv_timeout(HELD_BACK);
                    Ok(())
                });
                question.await.unwrap();
            });
            began.await.unwrap();
        }
        drop(before);
        asked.close();
        asked.wait().await;
    }

    fn event(n: u64) -> Change {
        let detail = Some("x".repeat(20_000));
        let kind = EventKind::AgentConnected;
        let (job, agent, queue, attempt, outcome, custom) = (None, None, None, None, None, None);
        Change::Event(EventRecord { n, at_ms: 1, kind, job, agent, queue, attempt, outcome, detail, custom })
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn questions_that_always_overlap_do_not_let_the_log_grow_without_end() {
        let permissions = std::fs::Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().permissions(permissions).tempdir().unwrap();
        let options = Options { reserve_bytes: 0, log_bytes: CUT, ..Options::default() };
        let store = Arc::new(Sqlite::open(folder.path(), options).unwrap());
        let (stop, log) = (CancellationToken::new(), log_of(&folder.path().join(DATABASE)));
        let tracker = TaskTracker::new();
        let asking = tracker.spawn(overlapping(store.clone(), stop.clone()));
        let mut longest = 0;
        for n in 1..=300 {
            store.commit(vec![event(n)]).await.unwrap();
            longest = longest.max(size(&log));
        }
        stop.cancel();
        asking.await.unwrap();
        store.close().await;
        assert!(
            longest > CUT / 2 && longest < CUT * 3 / 2,
            "300 events of 20 kB made a log of {longest} bytes"
        );
    }
}
