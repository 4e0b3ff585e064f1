//! Logging that can be reloaded.

use std::io;

use tracing::{Event, Subscriber};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt};

use super::one_line::{Look, OneLine};
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

/// Whether a log could begin as configured.
///
/// # Errors
/// [`LogError::Filter`].
pub fn check(config: &LogConfig) -> Result<(), LogError> {
    filter(&config.level).map(drop)
}

/// What the thread is doing that no span says, as fields with their names; asked for with each line that is written.
pub type Doing = fn() -> Option<Vec<(&'static str, String)>>;

/// Starts to log to stderr, as text for people or JSON for programs, one line an event, each with what `doing` says at that moment.
///
/// # Errors
/// [`LogError`].
pub fn init(config: &LogConfig, doing: Doing) -> Result<LogControl, LogError> {
    let (filter, control) = reload::Layer::new(filter(&config.level)?);
    let colors = io::IsTerminal::is_terminal(&io::stderr());
    let look = match config.format {
        LogFormat::Text if colors => Look::Coloured,
        LogFormat::Text => Look::Plain,
        LogFormat::Json => Look::Json,
    };
    let lines = fmt::layer().with_writer(move || OneLine(io::stderr(), look));
    let lines: Box<dyn Layer<_> + Send + Sync> = match config.format {
        LogFormat::Text => {
            let format = fmt::format().with_ansi(colors);
            lines.with_ansi(colors).event_format(WithDoing { format, as_json: false, doing }).boxed()
        }
        LogFormat::Json => {
            let format = fmt::format().json().with_current_span(false).with_span_list(true);
            let form = WithDoing { format, as_json: true, doing };
            lines.fmt_fields(JsonFields::new()).event_format(form).boxed()
        }
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(LogError::Twice)?;
    Ok(LogControl { filter: control })
}

/// Writes what the thread is doing at the end of a line that another format makes.
struct WithDoing<F> {
    format: F,
    as_json: bool,
    doing: Doing,
}

impl<F, S, N> FormatEvent<S, N> for WithDoing<F>
where
    F: FormatEvent<S, N>,
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let Some(doing) = (self.doing)() else { return self.format.format_event(context, writer, event) };
        let mut line = String::new();
        self.format.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end_matches('\n');
        if self.as_json {
            writer.write_str(line.strip_suffix('}').unwrap_or(line))?;
            for (name, text) in doing {
                write!(writer, ",{}:{}", serde_json::Value::from(name), serde_json::Value::from(text))?;
            }
            writeln!(writer, "}}")
        } else {
            writer.write_str(line)?;
            for (name, text) in doing {
                // somebody else chose the text
                write!(writer, " {name}={text:?}")?;
            }
            writeln!(writer)
        }
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
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is logged in a span, with what the thread is doing said or not.
    fn logged(as_json: bool, doing: Doing) -> String {
        #[derive(Clone, Default)]
        struct Kept(Arc<Mutex<Vec<u8>>>);
        impl Write for Kept {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (kept, text) = (Kept::default(), fmt::format().with_ansi(true).without_time());
        let writer = kept.clone();
        let look = if as_json { Look::Json } else { Look::Coloured };
        let lines = fmt::layer().with_writer(move || OneLine(writer.clone(), look));
        let lines: Box<dyn Layer<_> + Send + Sync> = if as_json {
            let format = fmt::format().json().without_time().with_current_span(false).with_span_list(true);
            lines.fmt_fields(JsonFields::new()).event_format(WithDoing { format, as_json, doing }).boxed()
        } else {
            lines.event_format(WithDoing { format: text, as_json, doing }).boxed()
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            let _session = tracing::info_span!("session", agent = "web-1").entered();
            tracing::warn!(reason = "why", peer = %"a\u{1b}[2J\u{9b}8mb\u{202e}", "denied");
        });
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// A peer's texts.
    fn forging() -> Option<Vec<(&'static str, String)>> {
        Some(vec![("request", "7\n2030 ERROR \"forged\"".to_owned()), ("method", "rp.call".to_owned())])
    }

    #[test]
    fn a_line_ends_with_what_the_thread_is_doing_as_one_line_and_with_its_colours() {
        let plain = logged(false, || None);
        let named = logged(false, forging);
        assert!(plain.contains("a\\u{1b}[2J\\u{9b}8mb\\u{202e}"), "{plain:?}");
        assert!(plain.contains("session") && plain.contains("web-1") && plain.contains('\x1b'), "{plain:?}");
        let end = " request=\"7\\n2030 ERROR \\\"forged\\\"\" method=\"rp.call\"\n";
        assert_eq!(named, format!("{}{end}", plain.trim_end()));
    }

    #[test]
    fn a_line_of_json_has_what_the_thread_is_doing_as_fields() {
        let read = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
        let (mut plain, named) = (read(logged(true, || None)), read(logged(true, forging)));
        assert_eq!(plain["spans"][0]["agent"], "web-1");
        assert_eq!(plain["fields"]["peer"], "a\u{1b}[2J\u{9b}8mb\u{202e}");
        assert!(!logged(true, || None).contains(['\u{1b}', '\u{9b}', '\u{202e}']));
        plain["request"] = "7\n2030 ERROR \"forged\"".into();
        plain["method"] = "rp.call".into();
        assert_eq!(named, plain);
    }
}
