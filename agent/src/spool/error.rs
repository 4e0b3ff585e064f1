//! Why a spool cannot be opened, or cannot be trusted any more.

use std::io;
use std::path::{Path, PathBuf};

use redpoll_common::job::spool::ImageError;
use redpoll_common::wire::DecodeError;

/// Why a spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system refused something.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Others may read or write it.
    #[error("{} has mode {mode:03o}, others may use it", path.display())]
    Loose {
        /// The file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Another process has it open.
    #[error("{} is used by another process", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// Bytes in it were changed by something else than the agent.
    #[error("{} is damaged at byte {offset}: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where the damage begins or was noticed.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// A file of it is not there.
    #[error("{} is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// An intact record makes no sense to this version.
    #[error("{} has a record at byte {offset} that is unreadable, or of a newer version", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The records together make no sense.
    #[error("the records in {} do not fit together", path.display())]
    Image {
        /// The folder.
        path: PathBuf,
        /// What does not fit.
        #[source]
        source: ImageError,
    },
}

impl OpenError {
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }

    /// What a person may do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Io { .. } => "look at the disk and the permissions of the agent's state folder",
            Self::Loose { .. } => "chmod go= the file or folder: it holds the arguments and results of jobs",
            Self::Locked { .. } => "is another agent running with the same state folder?",
            Self::Record { .. } => {
                "if a newer agent ran here, run that one again: it ends what is open in the spool. If not, check the disk; then move the \
                 spool folder away and start again: the agent begins an empty spool under a new id, and the manager ends the runs \
                 that were open here as unknown, none is run a second time"
            }
            Self::Corrupt { .. } | Self::Missing { .. } | Self::Image { .. } => {
                "check the disk; then move the spool folder away and start again: the agent begins an empty spool under a \
                 new id, and the manager ends the runs that were open here as unknown, none is run a second time"
            }
        }
    }
}

/// Why something was not written or not read. The spool does nothing any more after it, unless it [passes](Self::passes).
#[derive(Debug, Clone, thiserror::Error)]
pub enum SpoolError {
    /// Writing, syncing or reading failed. What was not acknowledged may be on disk or not.
    #[error("the spool cannot {what}: {reason}")]
    Failed {
        /// What was tried.
        what: &'static str,
        /// What the operating system said.
        reason: String,
    },
    /// Too many files are open to read an older one now; it was not tried.
    #[error("the spool cannot open a file: too many are open")]
    NoDescriptor,
    /// The spool was closed, or failed before.
    #[error("the spool is closed")]
    Closed,
}

impl SpoolError {
    pub(super) fn failed(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Failed { what, reason: error.to_string() }
    }

    /// Whether the spool goes on, and the same may be asked for again.
    pub fn passes(&self) -> bool {
        match self {
            Self::NoDescriptor => true,
            Self::Failed { .. } | Self::Closed => false,
        }
    }
}
