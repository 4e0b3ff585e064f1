//! Why a store does not open, and what a person does then.

use std::io;
use std::path::{Path, PathBuf};

use redpoll_config::{ExitClass, PermissionError};

use crate::store::Cause;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Others could read the folder or the database, or it belongs to somebody else.
    #[error(transparent)]
    Permissions(#[from] PermissionError),
    /// A file cannot be made or opened.
    #[error("cannot use {}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Another process has it open.
    #[error(
        "the store in {} is open already\nhelp: is another manager running with this state folder?",
        folder.display()
    )]
    InUse {
        /// Its folder.
        folder: PathBuf,
    },
    /// The file is something else.
    #[error("{} is not a store of jobs\nhelp: move it away, or name another state folder", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
    },
    /// A later build wrote it.
    #[error(
        "{} has version {found}, this build knows versions up to {known}\n\
         help: run the build that wrote it, or put the copy made before the upgrade in place with redpoll-manager store restore",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version of this build.
        known: usize,
    },
    /// It could not be brought to the version of this build, and is as it was.
    #[error("{} cannot be brought to version {version}", path.display())]
    Migration {
        /// The database.
        path: PathBuf,
        /// The step that failed; 0 when its version could not be read.
        version: usize,
        /// What the database said.
        #[source]
        source: Cause,
    },
    /// It is damaged.
    #[error(
        "{} is damaged\nhelp: put a copy in its place with redpoll-manager store restore FILE, never by hand; \
         or move it away with all jobs.db-* beside it, to begin with nothing",
        path.display()
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: Cause,
    },
    /// It is a copy, put by hand into the place of a database whose log is still there.
    #[error(
        "{} is a copy, and {} is the log of the database that was there: together they are destroyed\n\
         help: redpoll-manager store restore {}",
        path.display(), log.display(), path.display()
    )]
    ForeignLog {
        /// The copy.
        path: PathBuf,
        /// The log.
        log: PathBuf,
    },
    /// There is no database, or an empty one, beside a log.
    #[error(
        "{} is missing or empty, and {} is the log of the database that was there: a start would remove it\n\
         help: put the database back, or a copy in its place with redpoll-manager store restore FILE; \
         or move all jobs.db-* away, to begin with nothing",
        path.display(), log.display()
    )]
    LogAlone {
        /// Where the database would be.
        path: PathBuf,
        /// The log.
        log: PathBuf,
    },
    /// The database refuses for another reason.
    #[error("cannot open {}", path.display())]
    Refused {
        /// The database.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: Cause,
    },
}

impl OpenError {
    /// Which exit code it ends a program with.
    pub fn exit_class(&self) -> ExitClass {
        match self {
            Self::Permissions(_) => ExitClass::Permissions,
            Self::File { .. }
            | Self::InUse { .. }
            | Self::NotAStore { .. }
            | Self::Newer { .. }
            | Self::Migration { .. }
            | Self::Damaged { .. }
            | Self::ForeignLog { .. }
            | Self::LogAlone { .. }
            | Self::Refused { .. } => ExitClass::Internal,
        }
    }
}

/// Why a database does not open, in the words of [`OpenError`].
pub(super) fn opening(path: &Path, error: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => OpenError::NotAStore { path },
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path, source: error.into() },
        _ => OpenError::Refused { path, source: error.into() },
    }
}

/// Whether it is not the file that is wrong.
pub(super) fn is_refusal(error: &rusqlite::Error) -> bool {
    !matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt)
    )
}
