//! The store on disk: one SQLite database, written by one thread.
//!
//! - [`Sqlite`]: opens it, hands changes to the writer and questions to the readers.
//! - `writer`: the thread; `write`: changes as SQL; `space`: what happens when the disk is full; `trouble`: what else can;
//!   `identity`: whether the files are still where they were.
//! - `log`: keeps its log short. `pool`: the reading connections; `read`: questions as SQL, `list` those for lists; `rows`: rows as
//!   records, `event` those of the history.
//! - `chain`: the hashes over the history. `compact`: writes the file anew, without what was deleted; `backup`: copies it; `restore`:
//!   puts a copy in place; `forgotten`: whom that would let in again; `whole`: what they share.
//! - `migrations`: from the version of an older build to ours; `files`: folder, modes and lock; `opening`: why it does not open.
//!
//! WAL, `synchronous=FULL`: a commit is on disk when it returns, by one fsync of the log. The writer itself moves the log into
//! the database between two commits, so that an error there is seen too. Only one process may have the store open. No
//! network file systems: their locks and fsyncs cannot be relied on.

mod backup;
mod chain;
mod compact;
mod event;
mod files;
mod forgotten;
mod identity;
mod list;
mod log;
mod mask;
mod migrations;
mod opening;
mod pool;
mod read;
mod restore;
mod rows;
mod space;
mod trouble;
mod whole;
mod write;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::BoxFuture;
use redpoll_common::ids::PeerId;
use redpoll_common::job::{Attempt, Item, JobId, RunKey, Submitter};
use redpoll_manager_core::jobs::Whose;
use redpoll_manager_core::jobs::record::{
    CallbackRecord, Change, JobRecord, Progress, Records, RunRecord, Summary,
};

use super::chain::{Begin, Verified};
use super::queue::{self, Intake};
use super::{
    AbortHook, AttemptRecord, CommitError, Counts, Durable, Faults, Filter, MAX_ITEMS, MAX_PAGE, Oldest,
    Page, ReadError, Room, Store, StoredEvent,
};
use crate::clock::{Clock, Hands};
use opening::{is_refusal, opening};
use pool::Pool;
use space::Gauge;

pub use backup::{BackupError, backup};
pub use compact::{CompactError, Compacted, compact};
pub use files::{DATABASE, look};
pub use forgotten::Forgotten;
pub use migrations::VERSION;
pub use opening::OpenError;
pub use restore::{Finished, Ready, RestoreError};
pub use whole::Extent;

/// How a store is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes set aside in a file of its own, given back to the file system when the disk is full: what is under way is
    /// recorded in them. 0 is none.
    pub reserve_bytes: u64,
    /// The largest size of the database file in bytes, the reserve of which stays for what is under way. `None` is no limit
    /// but the disk's.
    pub max_bytes: Option<u64>,
    /// Bytes of the log beyond which questions are held back for a moment, so that it can be cut.
    pub log_bytes: u64,
    /// How long a call waits for space when the reserve is used up too, before it fails.
    pub full_patience: Duration,
    /// Ends the process when the disk fails.
    pub abort: AbortHook,
    /// The clocks that its times are counted with.
    pub hands: Hands,
    /// For tests.
    pub faults: Faults,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            reserve_bytes: 64 * 1024 * 1024,
            max_bytes: None,
            log_bytes: 256 * 1024 * 1024,
            full_patience: Duration::from_secs(30),
            abort: AbortHook::default(),
            hands: Hands::default(),
            faults: Faults::default(),
        }
    }
}

/// A store in a folder.
pub struct Sqlite {
    folder: PathBuf,
    intake: Mutex<Option<Intake>>,
    gauge: Gauge,
    clock: Clock,
    readers: Pool,
    abort: AbortHook,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite")
            .field("folder", &self.folder)
            .field("room", &self.gauge.room())
            .finish_non_exhaustive()
    }
}

impl Sqlite {
    /// Opens the store in a folder (mode 0700), makes it if there is none, and brings it to the version of this build. Blocks.
    ///
    /// # Errors
    /// [`OpenError`] says what to do.
    pub fn open(folder: &Path, options: Options) -> Result<Self, OpenError> {
        let (files, lock) = files::Files::prepare(folder)?;
        let gauge = Gauge::default();
        let connection = writer::connect(&files)?;
        let readers = Pool::open(&files.database).map_err(|error| opening(&files.database, error))?;
        let (kept, newest_ms) = read::clock(&connection).map_err(|error| opening(&files.database, error))?;
        let clock = Clock::begin(options.hands.clone(), kept, newest_ms);
        let (intake, outlet) = queue::queue();
        let (path, abort) = (files.database.clone(), options.abort.clone());
        let writer =
            writer::Writer::new(connection, outlet, (files, lock), options, gauge.clone(), readers.turns());
        let writer = writer.map_err(|error| opening(&path, error))?;
        let writer = std::thread::Builder::new().name("store".to_owned()).spawn(move || writer.run());
        let writer = writer.map_err(|source| OpenError::File { path: folder.to_owned(), source })?;
        Ok(Self {
            folder: folder.to_owned(),
            intake: Mutex::new(Some(intake)),
            gauge,
            clock,
            readers,
            abort,
            writer: Mutex::new(Some(writer)),
        })
    }

    fn intake(&self) -> Option<Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as E;
        // one row of it, and not the database
        let is_row = matches!(
            error,
            E::FromSqlConversionFailure(..)
                | E::IntegralValueOutOfRange(..)
                | E::InvalidColumnType(..)
                | E::Utf8Error(..)
        );
        if is_row { Self::Damaged { what: error.to_string() } } else { Self::Failed(error.into()) }
    }
}

impl Store for Sqlite {
    fn enqueue(&self, changes: Vec<Change>) -> BoxFuture<'_, Durable> {
        // now, not when it has its place: somebody may recover in between
        let epoch = self.intake().map_or(0, |intake| intake.epoch());
        #[expect(
            clippy::async_yields_async,
            reason = "a place in the queue is waited for first, the disk later"
        )]
        Box::pin(async move {
            match self.intake() {
                Some(intake) => intake.push(changes, epoch).await,
                None => Durable::settled(Err(CommitError::Stopped)),
            }
        })
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn room(&self) -> Room {
        self.gauge.room()
    }

    fn recover(&self) -> BoxFuture<'_, Result<Records, ReadError>> {
        let epoch = self.intake().map_or(0, |intake| intake.next_epoch());
        Box::pin(async move {
            // before it reads: what is written after that is of those who know what it read
            self.intake().ok_or(ReadError::Stopped)?.begin(epoch).await.ok_or(ReadError::Stopped)?;
            self.readers.ask(read::recover).await
        })
    }

    fn give_up(&self, last_word: &str) {
        self.abort.call(last_word);
    }

    fn job(&self, id: JobId) -> BoxFuture<'_, Result<Option<JobRecord>, ReadError>> {
        self.readers.ask(move |connection| read::job(connection, id))
    }

    fn by_key(
        &self,
        submitter: &Submitter,
        key: &str,
    ) -> BoxFuture<'_, Result<Option<JobRecord>, ReadError>> {
        let (submitter, key) = (submitter.clone(), key.to_owned());
        self.readers.ask(move |connection| read::by_key(connection, &submitter, &key))
    }

    fn list(
        &self,
        filter: Filter,
        before: Option<JobId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page, ReadError>> {
        self.readers.ask(move |connection| list::list(connection, &filter, before, limit.min(MAX_PAGE)))
    }

    fn runs(
        &self,
        job: JobId,
        after: Option<PeerId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRecord>, ReadError>> {
        self.readers.ask(move |connection| read::runs(connection, job, after.as_ref(), limit.min(MAX_PAGE)))
    }

    fn run(&self, key: &RunKey) -> BoxFuture<'_, Result<Option<RunRecord>, ReadError>> {
        let key = key.clone();
        self.readers.ask(move |connection| read::run(connection, &key))
    }

    fn tally(&self, job: JobId) -> BoxFuture<'_, Result<Summary, ReadError>> {
        self.readers.ask(move |connection| read::tally(connection, job))
    }

    fn attempts(&self, key: &RunKey) -> BoxFuture<'_, Result<Vec<AttemptRecord>, ReadError>> {
        let key = key.clone();
        self.readers.ask(move |connection| read::attempts(connection, &key))
    }

    fn items_within(
        &self,
        key: &RunKey,
        attempt: Attempt,
        from: u64,
        (limit, bytes): (usize, usize),
    ) -> BoxFuture<'_, Result<Vec<Item>, ReadError>> {
        let (key, limit) = (key.clone(), (limit.min(MAX_ITEMS), bytes));
        self.readers.ask(move |connection| read::items(connection, &key, attempt, from, limit))
    }

    fn next_item(&self, key: &RunKey, attempt: Attempt) -> BoxFuture<'_, Result<u64, ReadError>> {
        let key = key.clone();
        self.readers.ask(move |connection| read::next_item(connection, &key, attempt))
    }

    fn item_bytes(&self, key: &RunKey, attempt: Attempt) -> BoxFuture<'_, Result<u64, ReadError>> {
        let key = key.clone();
        self.readers.ask(move |connection| read::item_bytes(connection, &key, attempt))
    }

    fn progress(&self, key: &RunKey) -> BoxFuture<'_, Result<Option<(Attempt, Progress)>, ReadError>> {
        let key = key.clone();
        self.readers.ask(move |connection| read::progress(connection, &key))
    }

    fn callbacks(&self, job: JobId) -> BoxFuture<'_, Result<Vec<CallbackRecord>, ReadError>> {
        self.readers.ask(move |connection| read::callbacks(connection, job))
    }

    fn events(&self, since: u64, limit: usize) -> BoxFuture<'_, Result<Vec<StoredEvent>, ReadError>> {
        self.readers.ask(move |connection| read::events(connection, since, limit.min(MAX_PAGE)))
    }

    fn verify(
        &self,
        begin: Begin,
        until: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Verified, ReadError>> {
        self.readers.ask(move |connection| chain::verify(connection, begin, until, limit))
    }

    fn counts(&self) -> BoxFuture<'_, Result<Counts, ReadError>> {
        self.readers.ask(read::counts)
    }

    fn oldest(&self, whose: &Whose, limit: usize, count: bool) -> BoxFuture<'_, Result<Oldest, ReadError>> {
        let whose = whose.clone();
        self.readers.ask(move |connection| read::oldest(connection, &whose, limit.min(MAX_PAGE), count))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let intake = self.intake.lock().unwrap_or_else(PoisonError::into_inner).take();
            // before the writer: whoever closes last moves the log into the database and removes it, and two that close at the same
            // time take each other for somebody who stays
            self.readers.close().await;
            drop(intake);
            let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(writer) = writer {
                // the thread has no panics of its own, and what it was given is answered either way
                let _ = tokio::task::spawn_blocking(move || writer.join()).await;
            }
        })
    }
}
