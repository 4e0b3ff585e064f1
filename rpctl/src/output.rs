//! The one place that prints.
//!
//! Data goes to standard output in the chosen format, everything else to standard error. A reader that goes away
//! (`rpctl … | head`) is no failure of what is over: [`OutputError::Closed`] ends the program with success. What goes on, or is cut off with that, is
//! reported by whoever knows.
//! Whatever another machine chose passes the [sanitizer](crate::sanitize) on its way to a table or a line; in JSON
//! and YAML the characters that [act](redpoll_common::text::acts) are escaped, which loses nothing.

use std::io::{self, ErrorKind, Write};

use comfy_table::{ContentArrangement, Table, presets};
use owo_colors::OwoColorize;
use redpoll_common::text::acts;
use serde::Serialize;

use crate::closed;
use crate::columns::{columns, fitting};
use crate::report::Report;
use crate::sanitize;

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// One JSON document
    Json,
    /// One JSON object a line, as they come
    Jsonl,
    /// One YAML document
    Yaml,
}

/// Why something could not be printed.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The reader went away. Not a failure.
    #[error("the reader of the output went away")]
    Closed,
    /// Anything else, such as a full disk.
    #[error("cannot write the output")]
    Failed(#[source] io::Error),
}

impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> Self {
        if error.kind() == ErrorKind::BrokenPipe { Self::Closed } else { Self::Failed(error) }
    }
}

impl OutputError {
    /// Takes for printed what nobody reads any more. For what is over: how it ended stays as it is.
    ///
    /// # Errors
    /// Any other error.
    pub fn unless_closed(printed: Result<(), Self>) -> Result<(), Self> {
        match printed {
            Ok(()) | Err(Self::Closed) => Ok(()),
            Err(error @ Self::Failed(_)) => Err(error),
        }
    }
}

/// What the two streams can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// The format of data.
    pub format: Format,
    /// Whether tables are coloured.
    pub color_out: bool,
    /// Whether messages are coloured.
    pub color_err: bool,
    /// Whether progress may rewrite its line: standard error is a terminal.
    pub live: bool,
}

/// Standard output and standard error.
pub struct Output {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    look: Look,
    /// Whether a line of progress stands on standard error without its end.
    open_progress: bool,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("look", &self.look).finish_non_exhaustive()
    }
}

impl Output {
    /// The streams of this process.
    pub fn standard(look: Look) -> Self {
        let out: Box<dyn Write> =
            if closed::is_stdout_closed() { Box::new(closed::Nowhere) } else { Box::new(io::stdout()) };
        Self::new(out, Box::new(io::stderr()), look)
    }

    /// Any two streams.
    pub fn new(out: Box<dyn Write>, err: Box<dyn Write>, look: Look) -> Self {
        Self { out, err, look, open_progress: false }
    }

    /// Changes how things look.
    pub fn set_look(&mut self, look: Look) {
        self.look = look;
    }

    /// How things look.
    pub fn look(&self) -> Look {
        self.look
    }

    /// The format of data.
    pub fn format(&self) -> Format {
        self.look.format
    }

    /// Writes bytes to standard output as they are, at once.
    ///
    /// # Errors
    /// [`OutputError`], as for every method here that returns it.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        self.end_progress();
        self.out.write_all(bytes)?;
        self.out.flush()?;
        Ok(())
    }

    /// Writes bytes to standard error as they are. A standard error that is closed is nobody's loss.
    pub fn error_bytes(&mut self, bytes: &[u8]) {
        self.end_progress();
        let _ = self.err.write_all(bytes).and_then(|()| self.err.flush());
    }

    /// Prints a document in the format chosen, and as YAML for people.
    ///
    /// # Errors
    /// [`OutputError`]
    pub fn document<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), OutputError> {
        let text = match self.look.format {
            Format::Json => json(value, true)?,
            Format::Jsonl => json(value, false)?,
            Format::Table | Format::Yaml => yaml(value)?,
        };
        self.bytes(terminated(text).as_bytes())
    }

    /// Prints a list: a table for people, one array or document, or one object a line.
    ///
    /// # Errors
    /// [`OutputError`]
    pub fn list<T: Serialize>(
        &mut self,
        headers: &[&str],
        items: &[T],
        row: impl Fn(&T) -> Vec<String>,
    ) -> Result<(), OutputError> {
        match self.look.format {
            Format::Table => {
                let rows = items.iter().map(row).collect();
                self.table(headers, rows)
            }
            Format::Jsonl => {
                for item in items {
                    self.document(item)?;
                }
                Ok(())
            }
            Format::Json | Format::Yaml => self.document(items),
        }
    }

    /// Prints a table. Cells are made safe and one line each.
    ///
    /// # Errors
    /// [`OutputError`]
    pub fn table(&mut self, headers: &[&str], rows: Vec<Vec<String>>) -> Result<(), OutputError> {
        let text = table_text(headers, &rows, self.look.color_out);
        self.bytes(text.as_bytes())
    }

    /// Prints a table on standard error.
    pub fn error_table(&mut self, headers: &[&str], rows: Vec<Vec<String>>) {
        let text = table_text(headers, &rows, self.look.color_err);
        self.error_bytes(text.as_bytes());
    }

    /// Says something on standard error, in one line.
    pub fn note(&mut self, text: &str) {
        let line = format!("{}\n", sanitize::line(text));
        self.error_bytes(line.as_bytes());
    }

    /// Shows how far something is: on a terminal the line is rewritten, otherwise each is a line of its own.
    pub fn progress(&mut self, text: &str) {
        let line = sanitize::line(text);
        if self.look.live {
            let line = fitting(&line, columns());
            let _ = write!(self.err, "\r\x1b[K{line}").and_then(|()| self.err.flush());
            self.open_progress = true;
        } else {
            self.note(&line);
        }
    }

    /// Reports a failure: what, why, and what to do next, each in one line.
    pub fn report(&mut self, report: &Report) {
        let color = self.look.color_err;
        let mut text = String::new();
        for (label, content) in [("error:", &report.what), ("why:", &report.why), ("help:", &report.help)] {
            let label = match (color, label) {
                (false, _) => label.to_owned(),
                (true, "error:") => label.red().bold().to_string(),
                (true, _) => label.bold().to_string(),
            };
            text.push_str(&format!("{label} {}\n", sanitize::line(content)));
        }
        if let Some(details) = &report.details {
            text.push_str(&terminated(sanitize::text(details.as_bytes())));
        }
        self.error_bytes(text.as_bytes());
    }

    fn end_progress(&mut self) {
        if std::mem::take(&mut self.open_progress) {
            let _ = self.err.write_all(b"\r\x1b[K");
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.end_progress();
        let _ = self.out.flush().and_then(|()| self.err.flush());
    }
}

/// A table with a line break after each row. Cells are made safe and one line each.
fn table_text(headers: &[&str], rows: &[Vec<String>], color: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if !headers.is_empty() {
        table.set_header(headers.iter().copied());
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| sanitize::line(cell)).collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for (n, line) in table.lines().enumerate() {
        let line = line.trim_end();
        if n == 0 && !headers.is_empty() && color {
            text.push_str(&line.bold().to_string());
        } else {
            text.push_str(line);
        }
        text.push('\n');
    }
    text
}

/// The value as JSON in which every character that [`acts`] is escaped, DEL and C1 included.
///
/// # Errors
/// [`OutputError`] when the value cannot be written as JSON.
pub fn json<T: Serialize + ?Sized>(value: &T, pretty: bool) -> Result<String, OutputError> {
    let plain = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let plain = plain.map_err(|error| OutputError::Failed(error.into()))?;
    // UTF-16, as JSON has it
    Ok(escaped(plain, |c, out| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }))
}

/// Escapes the characters that act. Outside of strings JSON has none but line breaks, so this changes spelling and not meaning.
fn escaped(json: String, escape: impl Fn(char, &mut String)) -> String {
    if !json.chars().any(needs_escape) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if needs_escape(c) { escape(c, &mut out) } else { out.push(c) }
    }
    out
}

fn needs_escape(c: char) -> bool {
    acts(c) && c != '\n'
}

/// The value as YAML.
///
/// # Errors
/// [`OutputError`] when the value cannot be written as YAML.
pub fn yaml<T: Serialize + ?Sized>(value: &T) -> Result<String, OutputError> {
    let failed = |error: yaml_serde::Error| OutputError::Failed(io::Error::other(error));
    let text = yaml_serde::to_string(value).map_err(failed)?;
    if !text.chars().any(needs_escape) {
        return Ok(text);
    }
    // only texts in quotes have escapes: below the lines of a list or map it is written as JSON, which is YAML too
    Ok(match yaml_serde::to_value(value).map_err(failed)? {
        yaml_serde::Value::Sequence(elements) => {
            let line = |element: &yaml_serde::Value| Ok(format!("- {}\n", quoted(element)?));
            elements.iter().map(line).collect::<Result<_, OutputError>>()?
        }
        yaml_serde::Value::Mapping(entries) => {
            let line = |(key, value)| Ok(format!("{}: {}\n", quoted(key)?, quoted(value)?));
            entries.iter().map(line).collect::<Result<_, OutputError>>()?
        }
        other @ (yaml_serde::Value::Null
        | yaml_serde::Value::Bool(_)
        | yaml_serde::Value::Number(_)
        | yaml_serde::Value::String(_)
        | yaml_serde::Value::Tagged(_)) => terminated(quoted(&other)?),
    })
}

/// Part of a YAML document as JSON, with the escapes of YAML.
fn quoted(value: &yaml_serde::Value) -> Result<String, OutputError> {
    let plain = serde_json::to_string(value).map_err(|error| OutputError::Failed(error.into()))?;
    Ok(escaped(plain, |c, out| out.push_str(&format!("\\U{:08x}", u32::from(c)))))
}

/// The text with a line break at its end.
pub fn terminated(mut text: String) -> String {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Streams that tests can read.
#[cfg(test)]
pub(crate) mod capture {
    use std::cell::RefCell;
    use std::io::{self, Write};
    use std::rc::Rc;

    use super::{Look, Output};

    /// Bytes written so far.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Written(Rc<RefCell<Vec<u8>>>);

    impl Written {
        pub(crate) fn text(&self) -> String {
            String::from_utf8_lossy(&self.0.borrow()).into_owned()
        }

        pub(crate) fn bytes(&self) -> Vec<u8> {
            self.0.borrow().clone()
        }
    }

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// An output whose two streams are kept.
    pub(crate) fn output(look: Look) -> (Output, Written, Written) {
        let (out, err) = (Written::default(), Written::default());
        (Output::new(Box::new(out.clone()), Box::new(err.clone()), look), out, err)
    }
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
