//! Why something with a file was not done, as a fault that a caller can act on.

use std::path::Path;

use redpoll_common::wire::{Fault, FaultCode};
use rustix::io::Errno;

use super::path::PathError;

/// Why not.
#[derive(Debug, Clone)]
pub(super) enum FileError {
    /// The arguments make no sense.
    Arguments(String),
    /// The agent's owner does not allow it, or it is a thing that is never touched.
    Refused(String),
    /// It was tried, and failed. The class is for programs.
    Failed {
        /// What kind of failure.
        class: &'static str,
        /// What happened.
        text: String,
    },
}

impl FileError {
    pub(super) fn failed(class: &'static str, text: impl Into<String>) -> Self {
        Self::Failed { class, text: text.into() }
    }

    /// The operating system refused something with `path`.
    pub(super) fn os(doing: &str, path: &Path, errno: Errno) -> Self {
        if errno == Errno::LOOP || errno == Errno::MLINK {
            return Self::Refused(format!("{path:?} passes through a link; links are not followed"));
        }
        Self::failed(class(errno), format!("cannot {doing} {path:?}: {errno}"))
    }

    /// The same for what the standard library reports.
    pub(super) fn io(doing: &str, path: &Path, error: &std::io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(errno) => Self::os(doing, path, errno),
            None => Self::failed("IoError", format!("cannot {doing} {path:?}: {error}")),
        }
    }

    /// The same where trying again would go on from something else than is known.
    pub(super) fn for_good(self) -> Self {
        match self {
            Self::Failed { class: "TryAgain", text } => Self::failed("IoError", text),
            other @ (Self::Failed { .. } | Self::Arguments(_) | Self::Refused(_)) => other,
        }
    }

    pub(super) fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Failed { class, .. } if *class == wanted)
    }
}

/// What a failure is called.
fn class(errno: Errno) -> &'static str {
    match errno {
        Errno::NOENT => "NotFound",
        Errno::ACCESS | Errno::PERM => "PermissionDenied",
        Errno::NOTDIR => "NotAFolder",
        Errno::ISDIR => "IsAFolder",
        Errno::EXIST => "Exists",
        Errno::NOTEMPTY => "NotEmpty",
        Errno::NOSPC | Errno::DQUOT => "NoSpace",
        Errno::FBIG => "FileTooLarge",
        Errno::ROFS => "ReadOnly",
        Errno::BUSY => "Busy",
        // it says nothing of what is there
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR | Errno::AGAIN => "TryAgain",
        _ => "IoError",
    }
}

impl From<PathError> for FileError {
    fn from(error: PathError) -> Self {
        match error {
            PathError::Malformed(_) | PathError::TooLong => Self::Arguments(error.to_string()),
            PathError::Outside { .. } => Self::Refused(error.to_string()),
        }
    }
}

impl From<FileError> for Fault {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Arguments(text) => Self::new(FaultCode::BadArguments, text),
            FileError::Refused(text) => Self::new(FaultCode::Rejected, text),
            FileError::Failed { class, text } => {
                let mut fault = Self::new(FaultCode::Failed, text);
                fault.class = Some(class.to_owned());
                fault
            }
        }
    }
}
