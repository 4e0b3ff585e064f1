//! Logging that can be reloaded.

use std::io::{self, Write};

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt};

use crate::{LogConfig, LogFormat};

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
    EnvFilter::builder().parse(text).map_err(|source| LogError::Filter { filter: text.to_owned(), source })
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
