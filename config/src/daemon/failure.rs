//! The way a daemon says why it does not start, or what it could not do.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use redpoll_common::session::chain;
use tracing::error;

use super::logging::LogError;
use crate::{ConfigError, ExitClass, PermissionError};

/// Why a daemon does not start, or ends early: an exit code, what, why, and what to do next.
#[derive(Debug)]
pub struct Failure {
    class: ExitClass,
    what: String,
    source: Option<Box<dyn Error + Send + Sync>>,
    help: Option<String>,
}

impl Failure {
    /// A failure of a class, in a text without its cause.
    pub fn new(class: ExitClass, what: impl Into<String>) -> Self {
        Self { class, what: what.into(), source: None, help: None }
    }

    /// The same with its cause.
    pub fn caused_by(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// The same with the next thing to do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Writes it to the log at ERROR, with its causes and what to do next; `what` says what became of it.
    pub fn log(&self, what: &'static str) {
        error!(error = %chain(self), help = self.help.as_deref(), "{what}");
    }

    /// Prints it on stderr, each cause on a line, and gives the exit code.
    pub fn report(&self, program: &str) -> ExitCode {
        #[expect(clippy::print_stderr, reason = "there may be no log yet, and a person waits for the reason")]
        {
            eprintln!("{program}: {}", self.what);
            let mut cause = self.source.as_deref().map(|error| error as &dyn Error);
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            if let Some(help) = &self.help {
                eprintln!("  help: {help}");
            }
        }
        ExitCode::from(self.class.code())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|error| error as &(dyn Error + 'static))
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(error.exit_class(), "the configuration cannot be used").caused_by(error)
    }
}

impl From<PermissionError> for Failure {
    fn from(error: PermissionError) -> Self {
        Self::new(error.exit_class(), "a file or folder cannot be used as it is").caused_by(error)
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self::new(ExitClass::Configuration, "cannot log").caused_by(error)
    }
}
