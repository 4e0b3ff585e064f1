//! Why something was not written, and whether the process can live with that.

use std::io;
use std::path::PathBuf;

use rusqlite::{Connection, ErrorCode, ffi};

/// Why a transaction was not committed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// No space. Nothing of it is stored, and it can be tried again.
    #[error("the disk is full")]
    Full,
    /// Anything else: nobody can say what is on disk.
    #[error(
        "the store's disk failed, and nobody can say what is on it: {1} (SQLite code {0}). \
         help: look at the disk; what was acknowledged is found again at the next start"
    )]
    Broken(i32, rusqlite::Error),
    /// The history would have a hole for ever: whoever numbers the events knows another one than is stored.
    #[error(
        "event {event} does not follow on {last}, the last that is stored: nothing more is written. \
         help: this is an error of the manager, please report it; what was acknowledged is found again at the next start"
    )]
    Hole { event: u64, last: u64 },
    /// What is written is found by nobody.
    #[error(
        "{} was removed, or another file has its place: what is written to the one that is open would be lost, and nothing more is. \
         help: put it back with its jobs.db-wal, or a copy with redpoll-manager store restore, then start the manager again",
        .0.display()
    )]
    Gone(PathBuf),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Broken(error.sqlite_error().map_or(0, |error| error.extended_code), error)
    }
}

/// Whether it is only space that is wanting. To be asked of the connection on which it happened, before it does anything else.
pub(super) fn is_full(connection: &Connection, error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| match error.extended_code {
        // the log's index is a file too, and is grown like one
        ffi::SQLITE_IOERR_SHMSIZE => true,
        // to SQLite a quota that is used up is an error like any other
        ffi::SQLITE_IOERR_WRITE => is_no_room(&io::Error::from_raw_os_error(system_error(connection))),
        _ => error.code == ErrorCode::DiskFull,
    })
}

/// Whether an error says that the disk, or the share of it that we may have, is used up.
pub(super) fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What the operating system said of the last error of a connection.
#[expect(unsafe_code, reason = "no safe wrapper tells the number")]
fn system_error(connection: &Connection) -> i32 {
    // SAFETY: the connection is open while it is borrowed, and no other thread uses it meanwhile: it cannot be shared
    unsafe { ffi::sqlite3_system_errno(connection.handle()) }
}

impl Trouble {
    /// What an error on a connection comes to.
    pub(super) fn on(self, connection: &Connection) -> Self {
        match self {
            Self::Broken(_, error) if is_full(connection, &error) => Self::Full,
            Self::Broken(..) | Self::Full | Self::Hole { .. } | Self::Gone(_) => self,
        }
    }

    /// Work that can be done later: a full disk is no reason to stop.
    pub(super) fn only_broken(self) -> Result<(), Self> {
        match self {
            Self::Full => Ok(()),
            Self::Broken(..) | Self::Hole { .. } | Self::Gone(_) => Err(self),
        }
    }
}

/// What a broken disk looks like.
pub(super) fn io_error() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_FSYNC), None)
}
