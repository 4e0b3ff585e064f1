//! The one thread that writes: takes what waits, commits it as one transaction, answers, and between two commits moves the log
//! into the database and looks after the space.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use redpoll_manager_core::chain::Chain;
use redpoll_manager_core::jobs::record::Change;
use rusqlite::{Connection, OpenFlags, ffi};

use super::files::{Files, Lock};
use super::identity::Opened;
use super::log::{self, Log};
use super::mask;
use super::migrations::{self, MigrationError};
use super::pool::Turns;
use super::space::{Gauge, Space, page_size};
use super::trouble::{Trouble, io_error};
use super::{OpenError, Options, chain, is_refusal, opening, write};
use crate::store::faults::Fault;
use crate::store::queue::{Beginning, Call, Group, Outlet};
use crate::store::{AbortHook, CommitError, Faults, Room};

/// How long a connection waits for a lock. Nobody else writes, so it does so only while a log is recovered.
pub(super) const BUSY: Duration = Duration::from_secs(5);
/// How often the writer looks after the space while it is scarce.
const SPACE_CHECK: Duration = Duration::from_secs(1);
/// How long the writer sleeps when nothing comes and nothing is wrong.
const IDLE: Duration = Duration::from_secs(60);
/// How soon a call that found no space is tried again.
const FULL_RETRY: Duration = Duration::from_millis(100);
/// The page cache, in KiB.
const CACHE_KIB: i64 = 32 * 1024;
/// How many prepared statements are kept.
const STATEMENTS: usize = 128;
/// How soon after secrets were overwritten the log is cut that still has them: as soon as nothing else is to be done for so long.
const SCRUB_AFTER: Duration = Duration::from_millis(200);
/// How long that is put off while there is always something else to do.
const SCRUB_WITHIN: Duration = Duration::from_secs(5);
/// The version that brought the chain of the history.
const BEFORE_CHAIN: usize = 6;
/// "RPjb": says that a database is ours.
pub(super) const APPLICATION: i64 = 0x5250_6a62;

/// Opens the database for writing and brings it to the version of this build. With a full disk the reserve is given up for it.
pub(super) fn connect(files: &Files) -> Result<Connection, OpenError> {
    match open(files) {
        Err(OpenError::Refused { .. } | OpenError::Migration { .. })
            if std::fs::remove_file(&files.reserve).is_ok() =>
        {
            open(files)
        }
        other => other,
    }
}

fn open(files: &Files) -> Result<Connection, OpenError> {
    let path = &files.database;
    let at = |error| opening(path, error);
    let mut connection = prepare(path).map_err(at)?;
    let ours = |connection: &Connection| {
        let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((application, tables))
    };
    match ours(&connection).map_err(at)? {
        (APPLICATION, _) => {}
        (0, 0) => connection.pragma_update(None, "application_id", APPLICATION).map_err(at)?,
        _ => return Err(OpenError::NotAStore { path: path.clone() }),
    }
    let found = migrations::migrate(&mut connection, migrations::STEPS).map_err(|error| match error {
        MigrationError::Newer(found) => {
            OpenError::Newer { path: path.clone(), found, known: migrations::VERSION }
        }
        MigrationError::Step(version, source) if is_refusal(&source) => {
            OpenError::Migration { path: path.clone(), version, source: source.into() }
        }
        MigrationError::Step(_, source) => opening(path, source),
    })?;
    first_rows(&connection).map_err(at)?;
    if let Err(error) = connection.execute_batch(migrations::INDEX) {
        // on a full disk, say: retention takes longer without it
        tracing::warn!(%error, "an index of the store cannot be made; the next start tries again");
    }
    if (1..BEFORE_CHAIN).contains(&found) {
        let event = chain::last(&connection).map_err(at)?;
        tracing::info!(event, "the history is chained from here on: what happened up to this event is not");
    }
    Ok(connection)
}

/// Looks into each table, so that a file in shreds is refused here and not in the middle of the work.
fn first_rows(connection: &Connection) -> rusqlite::Result<()> {
    let mut tables = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let mut names = tables.query([])?;
    while let Some(name) = names.next()? {
        let sql = format!("SELECT * FROM {} LIMIT 1", name.get::<_, String>(0)?);
        connection.prepare(&sql)?.query([])?.next()?;
    }
    Ok(())
}

fn prepare(path: &std::path::Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    // so that what was deleted can be given back to the disk; counts only for a database that is still empty
    connection.pragma_update(None, "auto_vacuum", "incremental")?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CANTOPEN), None));
    }
    connection.pragma_update(None, "synchronous", "full")?;
    mask::sparingly(&connection)?;
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", i64::try_from(log::KEPT_BYTES).unwrap_or(-1))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

pub(super) struct Writer {
    connection: Connection,
    outlet: Outlet,
    chain: Chain,
    /// The number of the last event that was there when it began.
    found: u64,
    space: Space,
    log: Log,
    opened: Opened,
    patience: Duration,
    abort: AbortHook,
    faults: Faults,
    /// The lowest epoch whose calls are taken. After one is refused it is the next one: later calls build on it.
    epoch: u64,
    /// Since when the log holds secrets that are overwritten in the database.
    scrub: Option<Instant>,
    /// Held until the thread ends, that is after the connection is closed.
    _lock: Lock,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        outlet: Outlet,
        (files, lock): (Files, Lock),
        options: Options,
        gauge: Gauge,
        turns: Turns,
    ) -> rusqlite::Result<Self> {
        let opened = Opened::look(&files.database);
        let space = Space::new(&connection, files.reserve, &options, gauge)?;
        let log = Log::new(turns, options.log_bytes, page_size(&connection)?);
        let chain = chain::load(&connection)?;
        let Options { full_patience, abort, faults, .. } = options;
        // who died before the log was cut left it behind
        let scrub = Some(Instant::now());
        let patience = full_patience;
        let found = chain.head().n;
        Ok(Self {
            connection,
            outlet,
            chain,
            found,
            space,
            log,
            opened,
            patience,
            abort,
            faults,
            epoch: 0,
            scrub,
            _lock: lock,
        })
    }

    /// Writes until there is nobody left who could ask for it.
    pub(super) fn run(mut self) {
        loop {
            let patience = if self.space.room() == Room::Plenty { IDLE } else { SPACE_CHECK };
            let patience = if self.scrub.is_some() { SCRUB_AFTER } else { patience };
            let Ok(Group { calls, mut then }) = self.outlet.group(patience) else { return };
            let idle = calls.is_empty();
            let mut calls = VecDeque::from(calls);
            // before anything is acknowledged; also when nothing came
            let done = self.opened.check().and_then(|()| self.store(&mut calls)).and_then(|()| {
                then.take().into_iter().for_each(|then| self.begin(then));
                self.tidy()?;
                self.scrub(idle)
            });
            if let Err(reason) = done {
                // who waits for an answer that nobody can give is not told that it failed: the process ends first
                self.abort.call(&reason.to_string());
                return;
            }
        }
    }

    /// Somebody is about to read the state from which he goes on.
    fn begin(&mut self, then: Beginning) {
        self.epoch = self.epoch.max(then.epoch);
        then.begun();
    }

    /// Writes calls and answers them. After an error those stay that nobody can answer.
    fn store(&mut self, calls: &mut VecDeque<Call>) -> Result<(), Trouble> {
        let (group, late) = calls.drain(..).partition::<VecDeque<_>, _>(|call| call.epoch >= self.epoch);
        *calls = group;
        late.into_iter().for_each(|call| call.answer(Err(CommitError::Full)));
        if calls.is_empty() {
            return Ok(());
        }
        let masks =
            |call: &Call| call.changes.iter().any(|change| matches!(change, Change::ArgumentsMasked(_)));
        if calls.iter().any(masks) {
            self.scrub.get_or_insert_with(Instant::now);
        }
        match self.write(calls.make_contiguous()) {
            Ok(()) => {
                self.space.found();
                calls.drain(..).for_each(|call| call.answer(Ok(())));
                Ok(())
            }
            Err(Trouble::Full) => self.store_in_need(calls),
            Err(broken @ (Trouble::Broken(..) | Trouble::Hole { .. } | Trouble::Gone(_))) => Err(broken),
        }
    }

    /// One by one, in their order, from the reserve, and then waiting for space. What cannot be stored within the patience fails, with
    /// all that comes behind it.
    fn store_in_need(&mut self, calls: &mut VecDeque<Call>) -> Result<(), Trouble> {
        self.space.release(&self.connection)?;
        let mut deadline = Instant::now() + self.patience;
        while let Some(call) = calls.front() {
            match self.write(std::slice::from_ref(call)) {
                Ok(()) => {
                    self.space.found();
                    deadline = Instant::now() + self.patience;
                    calls.pop_front().into_iter().for_each(|call| call.answer(Ok(())));
                }
                Err(broken @ (Trouble::Broken(..) | Trouble::Hole { .. } | Trouble::Gone(_))) => {
                    return Err(broken);
                }
                Err(Trouble::Full) => {
                    self.space.exhausted();
                    if Instant::now() >= deadline {
                        tracing::error!(
                            calls = calls.len(),
                            "the disk is full, also the reserve: changes were not stored"
                        );
                        self.refuse(calls);
                        return Ok(());
                    }
                    std::thread::sleep(FULL_RETRY);
                    log::move_into(&self.connection)?;
                }
            }
        }
        Ok(())
    }

    /// Refuses calls, and all that come after them until somebody takes the state from the store anew.
    fn refuse(&mut self, calls: &mut VecDeque<Call>) {
        let newest = calls.iter().map(|call| call.epoch).max();
        self.epoch = self.epoch.max(newest.map_or(0, |newest| newest + 1));
        calls.drain(..).for_each(|call| call.answer(Err(CommitError::Full)));
    }

    /// Commits calls as one transaction, or nothing of them.
    fn write(&mut self, calls: &[Call]) -> Result<(), Trouble> {
        let head = self.chain.head();
        let done = self.transaction(calls).map_err(|trouble| trouble.on(&self.connection));
        if done.is_err() {
            self.chain.go_back(head);
            if !self.connection.is_autocommit() {
                self.connection.execute_batch("ROLLBACK")?;
            }
        }
        done
    }

    fn transaction(&mut self, calls: &[Call]) -> Result<(), Trouble> {
        let head = self.chain.head();
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for call in calls {
            for (index, change) in call.changes.iter().enumerate() {
                if let Some(masked @ Change::ArgumentsMasked(of)) = call.changes.get(index + 1)
                    && matches!(change, Change::JobEnded { job, .. } if job == of)
                {
                    // before the row grows by its end: what grows may be moved, and leave a copy where it was
                    write::apply(&self.connection, &mut self.chain, masked)?;
                }
                self.follows(change)?;
                write::apply(&self.connection, &mut self.chain, change)?;
            }
            match self.faults.next() {
                None => {}
                Some(Fault::Full) => return Err(Trouble::Full),
                Some(Fault::Broken) => return Err(io_error().into()),
            }
        }
        if self.chain.head() != head {
            chain::keep_head(&self.connection, self.chain.head())?;
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// Each event follows on the one before, that this writer wrote. What it found at its start may have been changed by somebody.
    fn follows(&self, change: &Change) -> Result<(), Trouble> {
        let (found, last) = (self.found, self.chain.head().n);
        if let Change::Event(event) = change
            && last != found
            && event.n > last + 1
        {
            return Err(Trouble::Hole { event: event.n, last });
        }
        Ok(())
    }

    fn tidy(&mut self) -> Result<(), Trouble> {
        self.log.tidy(&self.connection)?;
        if self.space.is_due(SPACE_CHECK) {
            self.space.restore(&self.connection).or_else(Trouble::only_broken)?;
        }
        Ok(())
    }

    /// Cuts the log to nothing, once secrets were overwritten in the database that it still holds. Never waits for readers: then it
    /// is tried again.
    fn scrub(&mut self, idle: bool) -> Result<(), Trouble> {
        if self.scrub.is_none_or(|since| !idle && since.elapsed() < SCRUB_WITHIN) {
            return Ok(());
        }
        if log::cut(&self.connection)? {
            self.scrub = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a connection that syncs less is seen only when the power fails: tests/power_loss.rs.
    #[test]
    fn a_commit_is_synced_before_it_returns() {
        let folder = tempfile::tempdir().unwrap();
        let (files, _lock) = Files::prepare(&folder.path().join("store")).unwrap();
        for _ in 0..2 {
            let connection = connect(&files).unwrap();
            let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, String>(0));
            assert_eq!(pragma("journal_mode").unwrap(), "wal");
            let synchronous: i64 =
                connection.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
            assert_eq!(synchronous, 2, "FULL");
        }
    }
}
