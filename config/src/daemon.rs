//! What the two daemons do alike at their start: flags, logging, and the way they say why they do not start.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::{ConfigError, ExitClass, LogConfig, LogFormat, Override, PermissionError, Sources};

/// The flags that every daemon has.
#[derive(Debug, Clone, clap::Args)]
pub struct DaemonArgs {
    /// Read this configuration file; it has to exist.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print each effective value and where it came from, then end.
    #[arg(long)]
    pub check_config: bool,
    /// Set one key, such as `session.ping_interval=5s`; wins over the file and the environment. May be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = Override::parse_set)]
    pub set: Vec<Override>,
}

impl DaemonArgs {
    /// Where the configuration comes from, for now and for each reload.
    pub fn sources(&self) -> Sources {
        Sources::of_process(self.config.clone(), self.set.clone())
    }
}

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

/// Writes `text` to `path` so that readers see the old or the new content, never half of it.
///
/// # Errors
/// What the operating system says.
pub fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let draft = path.with_extension("new");
    std::fs::write(&draft, text)?;
    std::fs::rename(&draft, path)
}

/// Logging that can be reloaded.
pub mod logging {
    use super::{LogConfig, LogFormat};
    use tracing_subscriber::filter::EnvFilter;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::reload;
    use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
    use tracing_subscriber::{Layer, Registry, fmt};

    /// Changes the filter of the running log.
    #[derive(Debug, Clone)]
    pub struct LogControl {
        filter: reload::Handle<EnvFilter, Registry>,
    }

    /// Why logging cannot be set up or changed.
    #[derive(Debug, thiserror::Error)]
    pub enum LogError {
        /// The filter cannot be parsed.
        #[error("log.level {filter:?} is not a filter such as \"info\" or \"info,redpoll_net=debug\"")]
        Filter {
            /// The filter.
            filter: String,
            /// What is wrong with it.
            #[source]
            source: tracing_subscriber::filter::ParseError,
        },
        /// There is a log already.
        #[error("logging is set up already")]
        Twice(#[source] TryInitError),
        /// The log has ended.
        #[error("the log's filter cannot be changed any more")]
        Gone,
    }

    fn filter(text: &str) -> Result<EnvFilter, LogError> {
        EnvFilter::builder()
            .parse(text)
            .map_err(|source| LogError::Filter { filter: text.to_owned(), source })
    }

    /// Starts to log to stderr, as text for people or JSON for programs, one line an event.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn init(config: &LogConfig) -> Result<LogControl, LogError> {
        let (filter, control) = reload::Layer::new(filter(&config.level)?);
        let lines = fmt::layer().with_writer(std::io::stderr);
        let lines: Box<dyn Layer<_> + Send + Sync> = match config.format {
            LogFormat::Text => {
                let colors = std::io::IsTerminal::is_terminal(&std::io::stderr());
                lines.with_ansi(colors).boxed()
            }
            LogFormat::Json => lines.json().with_current_span(false).with_span_list(true).boxed(),
        };
        tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(LogError::Twice)?;
        Ok(LogControl { filter: control })
    }

    impl LogControl {
        /// Uses another filter from now on.
        ///
        /// # Errors
        /// [`LogError::Filter`]; the old filter stays in use then.
        pub fn set_level(&self, level: &str) -> Result<(), LogError> {
            self.filter.reload(filter(level)?).map_err(|_gone| LogError::Gone)
        }
    }
}
