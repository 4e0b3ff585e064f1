//! Why something was not written, and whether the process can live with that.

use rusqlite::{ErrorCode, ffi};

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
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        if is_full(&error) {
            return Self::Full;
        }
        Self::Broken(error.sqlite_error().map_or(0, |error| error.extended_code), error)
    }
}

/// Whether it is only space that is wanting.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    // the log's index is a file too, and is grown like one
    error.sqlite_error().is_some_and(|error| {
        error.code == ErrorCode::DiskFull || error.extended_code == ffi::SQLITE_IOERR_SHMSIZE
    })
}

impl Trouble {
    /// Work that can be done later: a full disk is no reason to stop.
    pub(super) fn only_broken(self) -> Result<(), Self> {
        match self {
            Self::Full => Ok(()),
            Self::Broken(..) | Self::Hole { .. } => Err(self),
        }
    }
}

/// What a broken disk looks like.
pub(super) fn io_error() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_FSYNC), None)
}
