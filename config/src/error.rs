//! What can be wrong with a configuration, and where it was found.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::exit_class::ExitClass;
use crate::permissions::PermissionError;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The built-in default.
    Default,
    /// A configuration file.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// The line of the key, counted from 1, where it is known.
        line: Option<usize>,
    },
    /// An environment variable.
    Environment {
        /// The name of the variable.
        variable: String,
    },
    /// The command line.
    Flag {
        /// The flag as the person knows it, such as `--manager` or `--set`.
        flag: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::Flag { flag } => write!(f, "flag {flag}"),
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The dotted key, such as `session.dead_after`; as it was written when it is unknown.
    pub key: String,
    /// Where the wrong value came from.
    pub origin: Origin,
    /// What is wrong and what would be right, in one line. Never quotes a secret.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.origin, self.key, self.what)
    }
}

/// Why a configuration was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is missing although it was named, or it cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The file is longer than [`MAX_FILE_LEN`](crate::MAX_FILE_LEN).
    #[error("the configuration file {} has more than {max} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit, in bytes.
        max: u64,
    },
    /// The file is not TOML.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The column in characters, counted from 1.
        column: usize,
        /// What the parser said, without the line it found.
        message: String,
    },
    /// The permissions of the file are too loose.
    #[error(transparent)]
    Permission(#[from] PermissionError),
    /// The built-in defaults cannot be read back; a mistake in this program.
    #[error("the built-in defaults cannot be read back")]
    Defaults(#[source] Box<figment::Error>),
    /// Keys or values are wrong; all that were found.
    #[error("{}", list(problems))]
    Problems {
        /// Every problem: unknown keys in the order of their sources, then unreadable values, then senseless ones.
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    /// Which exit code a daemon ends with.
    pub fn exit_class(&self) -> ExitClass {
        match self {
            Self::Permission(error) => error.exit_class(),
            Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ExitClass::Permissions
            }
            Self::Read { .. }
            | Self::TooLong { .. }
            | Self::Syntax { .. }
            | Self::Defaults(_)
            | Self::Problems { .. } => ExitClass::Configuration,
        }
    }
}

fn list(problems: &[Problem]) -> String {
    let mut text = match problems.len() {
        1 => "the configuration has a problem:".to_owned(),
        count => format!("the configuration has {count} problems:"),
    };
    for problem in problems {
        text.push_str("\n  ");
        text.push_str(&problem.to_string());
    }
    text
}
