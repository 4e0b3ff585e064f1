//! Why a program was not started, or not left running.

use std::io;
use std::path::PathBuf;

use super::START_WAIT;
use super::starts::MAX_HUNG;

/// Why a program could not be started; nothing has run, unless it [may have begun](Self::may_have_begun).
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It is too late to start it.
    #[error("it could not be started in time")]
    Late,
    /// There is no program to run.
    #[error("the argument list is empty: its first element must name a program")]
    NoProgram,
    /// An argument, variable or directory has a NUL byte, which the operating system cannot pass on.
    #[error("{what} has a NUL byte, which no program can be given")]
    Nul {
        /// Where it was found.
        what: &'static str,
    },
    /// A variable's name cannot be one.
    #[error("{name:?} cannot name a variable: a name is not empty and has no '='")]
    Variable {
        /// The name found.
        name: String,
    },
    /// The working directory cannot be entered.
    #[error("{cwd:?} cannot be the working directory")]
    Directory {
        /// The directory.
        cwd: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// No such program.
    #[error("{program:?} was not found; name it by its full path, or set PATH in env")]
    NotFound {
        /// The program.
        program: String,
    },
    /// It is there, and what would have to execute it is not.
    #[error("{program:?} is there, but not the interpreter that its first line (#!) or its format names")]
    Interpreter {
        /// The program.
        program: String,
    },
    /// The user that it would run as may not execute it.
    #[error("{program:?} may not be executed by the user that it would run as; is it an executable file?")]
    Denied {
        /// The program.
        program: String,
    },
    /// It is executable, and no program.
    #[error(
        "{program:?} has no format that this machine executes; does its first line (#!) name an interpreter?"
    )]
    Format {
        /// The program.
        program: String,
    },
    /// The operating system's limit on arguments and environment.
    #[error("arguments and environment are larger than this machine allows; pass large input through stdin")]
    TooLarge,
    /// The operating system did not say in time whether it could start it.
    #[error("{program:?} did not start within {} s; does a network file system hang?", START_WAIT.as_secs())]
    Slow {
        /// The program.
        program: String,
    },
    /// Too many other starts hang, which leaves no threads to start one more with.
    #[error(
        "{program:?} is not started while {MAX_HUNG} other programs hang in their start; does a network file system hang?"
    )]
    Hang {
        /// The program.
        program: String,
    },
    /// It was started, and killed at once, because this process cannot hear of its output and its end.
    #[error("{program:?} was started and killed at once: nobody could watch over it")]
    Unwatched {
        /// The program.
        program: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The machine has no room for another process, or something unforeseen.
    #[error("{program:?} could not be started")]
    System {
        /// The program.
        program: String,
        /// What the operating system said.
        source: io::Error,
    },
}

impl ExecError {
    /// Whether the request itself is wrong, whatever the machine.
    pub fn is_bad_request(&self) -> bool {
        match self {
            Self::NoProgram | Self::Nul { .. } | Self::Variable { .. } => true,
            Self::Late
            | Self::Directory { .. }
            | Self::NotFound { .. }
            | Self::Interpreter { .. }
            | Self::Denied { .. }
            | Self::Format { .. }
            | Self::TooLarge
            | Self::Slow { .. }
            | Self::Hang { .. }
            | Self::Unwatched { .. }
            | Self::System { .. } => false,
        }
    }

    /// Whether it may have done something, or may still begin for a moment: nobody can say that nothing ran, and what is put back would
    /// be begun twice.
    pub fn may_have_begun(&self) -> bool {
        match self {
            Self::Slow { .. } | Self::Unwatched { .. } => true,
            Self::Late
            | Self::NoProgram
            | Self::Nul { .. }
            | Self::Variable { .. }
            | Self::Directory { .. }
            | Self::NotFound { .. }
            | Self::Interpreter { .. }
            | Self::Denied { .. }
            | Self::Format { .. }
            | Self::TooLarge
            | Self::Hang { .. }
            | Self::System { .. } => false,
        }
    }

    /// Whether the machine or this process has no room for another program now, and may have some soon.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::System { source, .. } => is_no_room(source),
            Self::Hang { .. } => true,
            Self::Late
            | Self::NoProgram
            | Self::Nul { .. }
            | Self::Variable { .. }
            | Self::Directory { .. }
            | Self::NotFound { .. }
            | Self::Interpreter { .. }
            | Self::Denied { .. }
            | Self::Format { .. }
            | Self::TooLarge
            | Self::Slow { .. }
            | Self::Unwatched { .. } => false,
        }
    }

    /// What the operating system said about starting the helper that would become `program`.
    pub(super) fn of_helper(program: String, source: io::Error) -> Self {
        use rustix::io::Errno;
        match Errno::from_io_error(&source) {
            Some(Errno::TOOBIG) => Self::TooLarge,
            // it is not the program that is missing then
            Some(_) | None => Self::System { program, source },
        }
    }

    /// Sorts what the operating system said about starting `program`.
    pub(super) fn of_start(program: String, source: io::Error) -> Self {
        use rustix::io::Errno;
        match Errno::from_io_error(&source) {
            Some(Errno::NOENT | Errno::NOTDIR) if is_there(&program) => Self::Interpreter { program },
            Some(Errno::NOENT | Errno::NOTDIR) => Self::NotFound { program },
            Some(Errno::ACCESS | Errno::PERM | Errno::ISDIR) => Self::Denied { program },
            Some(Errno::NOEXEC) => Self::Format { program },
            Some(Errno::TOOBIG) => Self::TooLarge,
            Some(_) | None => Self::System { program, source },
        }
    }
}

/// Whether an error says that there are too many open files or processes, or too little memory for one more: unlike others it passes.
pub fn is_no_room(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::AGAIN | Errno::NOMEM))
}

/// Whether a path that does not depend on a working directory names a file.
fn is_there(program: &str) -> bool {
    let path = std::path::Path::new(program);
    path.is_absolute() && path.is_file()
}
