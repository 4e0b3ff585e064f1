//! What the two daemons do alike at their start: flags, logging, and the way they say why they do not start.

use std::error::Error;
use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use redpoll_common::identity::Identity;

use crate::{ConfigError, Effective, ExitClass, LogConfig, LogFormat, Override, PermissionError, Sources};

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

/// Refuses, at a reload, a certificate that names somebody else than the one this process began with: its hello, its
/// state and its peers know it by the first name.
///
/// # Errors
/// A [`Failure`] with both names.
pub fn same_identity(running: &Identity, found: &Identity) -> Result<(), Failure> {
    if running == found {
        return Ok(());
    }
    let text = format!("the new certificate is that of {found}, this process is {running}");
    Err(Failure::new(ExitClass::Configuration, text)
        .help("renew the certificate under its name, or restart to take the other name"))
}

/// The keys that SIGHUP makes a daemon read anew, by their beginning.
const RELOADED: &[&str] = &["log.level", "tls."];

/// The keys whose values differ from those that a daemon runs with although SIGHUP does not change them: they take
/// effect after a restart.
pub fn needing_restart<'a>(running: &[Effective], found: &'a [Effective]) -> Vec<&'a str> {
    let same = |row: &&Effective| running.iter().any(|old| old.key == row.key && old.value == row.value);
    let reloaded = |row: &&Effective| RELOADED.iter().any(|beginning| row.key.starts_with(beginning));
    found.iter().filter(|row| !same(row) && !reloaded(row)).map(|row| row.key.as_str()).collect()
}

/// Writes `text` to `path`, for its owner alone, so that readers see the old or the new content, never half of it.
///
/// # Errors
/// What the operating system says.
pub fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let draft = path.with_extension("new");
    // anew, because an old draft would keep its own mode
    let _left_over = std::fs::remove_file(&draft);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    drop(file);
    std::fs::rename(&draft, path)
}

/// Logging that can be reloaded.
pub mod logging {
    use std::io::{self, Write};

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
        let lines = fmt::layer().with_writer(|| OneLine(io::stderr()));
        let lines: Box<dyn Layer<_> + Send + Sync> = match config.format {
            LogFormat::Text => {
                let colors = io::IsTerminal::is_terminal(&io::stderr());
                lines.with_ansi(colors).boxed()
            }
            LogFormat::Json => lines.json().with_current_span(false).with_span_list(true).boxed(),
        };
        tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(LogError::Twice)?;
        Ok(LogControl { filter: control })
    }

    /// Writes an event as one line, whatever is in it: a peer's text cannot pass for another event.
    struct OneLine<W>(W);

    impl<W: Write> Write for OneLine<W> {
        fn write(&mut self, event: &[u8]) -> io::Result<usize> {
            let line = event.strip_suffix(b"\n").unwrap_or(event);
            if line.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
                let mut escaped = Vec::with_capacity(event.len() + 16);
                for byte in line {
                    match byte {
                        b'\n' => escaped.extend_from_slice(b"\\n"),
                        b'\r' => escaped.extend_from_slice(b"\\r"),
                        other => escaped.push(*other),
                    }
                }
                escaped.extend_from_slice(event.strip_prefix(line).unwrap_or_default());
                self.0.write_all(&escaped)?;
            } else {
                self.0.write_all(event)?;
            }
            Ok(event.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
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

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn an_event_is_one_line_whatever_a_peer_puts_into_it() {
            let mut written = Vec::new();
            OneLine(&mut written).write_all(b"INFO bye\n2030 ERROR forged\r\n\n").unwrap();
            OneLine(&mut written).write_all(b"INFO next\n").unwrap();
            let text = String::from_utf8(written).unwrap();
            assert_eq!(text, "INFO bye\\n2030 ERROR forged\\r\\n\nINFO next\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_written_for_its_owner_alone_and_replaces_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("listen.json");
        std::fs::write(path.with_extension("new"), "left over").unwrap();
        for text in ["one", "two"] {
            write_whole(&path, text).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_reload_names_the_keys_that_it_does_not_change() {
        let row = |key: &str, value: &str| Effective {
            key: key.to_owned(),
            value: value.to_owned(),
            origin: crate::Origin::Default,
        };
        let running =
            [row("log.level", "a"), row("log.format", "a"), row("tls.key", "a"), row("listen.backlog", "a")];
        let found =
            [row("log.level", "b"), row("log.format", "b"), row("tls.key", "b"), row("listen.backlog", "a")];
        assert_eq!(needing_restart(&running, &found), ["log.format"]);
        assert!(needing_restart(&running, &running).is_empty());
    }

    #[test]
    fn a_reload_does_not_change_who_a_process_is() {
        let identity = |uri| Identity::parse(uri).unwrap();
        let running = identity("spiffe://home/agent/web-1");
        assert!(same_identity(&running, &identity("spiffe://home/agent/web-1")).is_ok());
        for other in
            ["spiffe://home/agent/web-2", "spiffe://home/operator/web-1", "spiffe://work/agent/web-1"]
        {
            assert!(same_identity(&running, &identity(other)).is_err(), "{other}");
        }
    }
}
