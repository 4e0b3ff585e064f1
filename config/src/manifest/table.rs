//! Reads the fields of a TOML table one by one, and gathers everything that is wrong with them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use redpoll_common::nearest::nearest;
use toml::{Table, Value};

use super::files::Unread;
use super::problem::ManifestProblem;
use crate::known::join;
use crate::values::duration::{format_duration, parse_duration};
use crate::values::size::{format_size, parse_size};

/// Problems of one file that are told; who has more has not written a manifest.
const MAX_PROBLEMS: usize = 50;
/// Characters of a field's name that are shown.
const SHOWN: usize = 200;

/// Where the problems of one file go.
#[derive(Debug)]
pub(crate) struct Notes {
    file: PathBuf,
    lines: BTreeMap<String, usize>,
    pub(crate) problems: Vec<ManifestProblem>,
}

impl Notes {
    pub(crate) fn new(file: PathBuf, lines: BTreeMap<String, usize>) -> Self {
        Self { file, lines, problems: Vec::new() }
    }

    /// Says where a field stands that has no key of its own.
    pub(crate) fn place(&mut self, field: &str, line: usize) {
        self.lines.insert(field.to_owned(), line);
    }

    /// Notes a problem; its line is that of the field, or of what the field is in.
    pub(crate) fn add(&mut self, field: &str, what: impl Into<String>) {
        let mut at = field;
        let line = loop {
            match (self.lines.get(at), at.rsplit_once('.')) {
                (Some(line), _) => break Some(*line),
                (None, Some((outer, _))) => at = outer,
                (None, None) => break None,
            }
        };
        let (file, field, mut what) = (self.file.clone(), field.chars().take(SHOWN).collect(), what.into());
        match self.problems.len() {
            0..MAX_PROBLEMS => {}
            MAX_PROBLEMS => what = "and more, which are not told".to_owned(),
            _ => return,
        }
        self.problems.push(ManifestProblem { file, line, field, what, access: false, passes: false });
    }

    /// Notes each number beneath a field that JSON has no form for: it could mean anything in its place.
    pub(crate) fn refuse_not_finite(&mut self, field: &str, table: &Table) {
        for (name, value) in table {
            self.refuse_value(&join(field, name), value);
        }
    }

    fn refuse_value(&mut self, field: &str, value: &Value) {
        match value {
            Value::Float(number) if !number.is_finite() => {
                self.add(
                    field,
                    format!("{number} is no number that JSON has; write a finite one, or leave it out"),
                );
            }
            Value::Table(table) => self.refuse_not_finite(field, table),
            Value::Array(items) => {
                let each = items.iter().enumerate();
                each.for_each(|(index, item)| self.refuse_value(&join(field, &index.to_string()), item));
            }
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => {}
        }
    }

    /// Notes that something which a field names was not read.
    pub(crate) fn unread(&mut self, field: &str, Unread { what, passes }: Unread) {
        let before = self.problems.len();
        self.add(field, what);
        self.problems.iter_mut().skip(before).for_each(|problem| problem.passes = passes);
    }
}

/// A table whose fields are taken out as they are read; what is left at the end is unknown.
#[derive(Debug)]
pub(crate) struct Fields<'n> {
    at: String,
    table: Table,
    seen: Vec<&'static str>,
    pub(crate) notes: &'n mut Notes,
}

impl<'n> Fields<'n> {
    pub(crate) fn new(at: &str, table: Table, notes: &'n mut Notes) -> Self {
        Self { at: at.to_owned(), table, seen: Vec::new(), notes }
    }

    pub(crate) fn take(&mut self, name: &'static str) -> Option<Value> {
        self.seen.push(name);
        self.table.remove(name)
    }

    /// Notes a problem of one of its fields.
    pub(crate) fn wrong(&mut self, name: &str, what: impl Into<String>) {
        let field = join(&self.at, name);
        self.notes.add(&field, what);
    }

    /// Takes a field of one kind.
    fn of_kind<T>(
        &mut self,
        name: &'static str,
        wanted: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(name)?;
        let read = read(&value);
        if read.is_none() {
            self.wrong(name, format!("found {}, expected {wanted}", kind(&value)));
        }
        read
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        self.of_kind(name, "a text in quotes", |value| value.as_str().map(str::to_owned))
    }

    /// A text that a type reads.
    pub(crate) fn parsed<T>(&mut self, name: &'static str) -> Option<T>
    where
        T: std::str::FromStr,
        T::Err: Display,
    {
        let text = self.text(name)?;
        text.parse().map_err(|error: T::Err| self.wrong(name, error.to_string())).ok()
    }

    pub(crate) fn flag(&mut self, name: &'static str) -> Option<bool> {
        self.of_kind(name, "true or false", Value::as_bool)
    }

    pub(crate) fn number(&mut self, name: &'static str, limits: RangeInclusive<u32>) -> Option<u32> {
        let value = self.take(name)?;
        let number = value.as_integer().and_then(|n| u32::try_from(n).ok()).filter(|n| limits.contains(n));
        if number.is_none() {
            let shown = value.as_integer().map_or_else(|| kind(&value).to_owned(), |n| n.to_string());
            let what =
                format!("found {shown}, expected a number from {} to {}", limits.start(), limits.end());
            self.wrong(name, what);
        }
        number
    }

    pub(crate) fn duration(
        &mut self,
        name: &'static str,
        limits: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let text = self.text(name)?;
        match parse_duration(&text) {
            Err(error) => self.wrong(name, error.to_string()),
            Ok(duration) if limits.contains(&duration) => return Some(duration),
            Ok(duration) => {
                let (low, high) = (format_duration(*limits.start()), format_duration(*limits.end()));
                self.wrong(name, format!("{} is outside {low} to {high}", format_duration(duration)));
            }
        }
        None
    }

    pub(crate) fn size(&mut self, name: &'static str, limits: RangeInclusive<u64>) -> Option<u64> {
        let read = |value: &Value| match (value.as_integer(), value.as_str()) {
            (Some(bytes), _) => u64::try_from(bytes).ok(),
            (None, Some(text)) => parse_size(text).ok(),
            (None, None) => None,
        };
        let size = self.of_kind(name, "a size such as \"64MiB\" or a number of bytes", read)?;
        if limits.contains(&size) {
            return Some(size);
        }
        let (low, high) = (format_size(*limits.start()), format_size(*limits.end()));
        self.wrong(name, format!("{} is outside {low} to {high}", format_size(size)));
        None
    }

    pub(crate) fn texts(&mut self, name: &'static str, max: usize) -> Option<Vec<String>> {
        let Value::Array(items) = self.take(name)? else {
            self.wrong(name, "expected a list of texts, such as [\"one\", \"two\"]");
            return None;
        };
        if items.len() > max {
            self.wrong(name, format!("{} entries, more than {max}", items.len()));
            return None;
        }
        let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
        if texts.is_none() {
            self.wrong(name, "every entry of the list has to be a text in quotes");
        }
        texts
    }

    pub(crate) fn table(&mut self, name: &'static str) -> Option<Table> {
        self.of_kind(name, &format!("a table, [{name}]"), |value| value.as_table().cloned())
    }

    /// Reads the fields of a table within.
    pub(crate) fn inner<T>(
        &mut self,
        name: &str,
        table: Table,
        read: impl FnOnce(&mut Fields<'_>) -> T,
    ) -> T {
        let at = join(&self.at, name);
        let mut inner = Fields::new(&at, table, self.notes);
        let read = read(&mut inner);
        inner.finish();
        read
    }

    /// Notes every field that nobody took, with the nearest that exists.
    pub(crate) fn finish(mut self) {
        for name in std::mem::take(&mut self.table).keys() {
            if self.notes.problems.len() > MAX_PROBLEMS {
                break;
            }
            // nobody mistypes a long text
            let meant = if name.len() > SHOWN { None } else { nearest(name, self.seen.iter().copied()) };
            let what = match meant {
                Some(known) => format!("there is no such field; did you mean {known}?"),
                None => format!("there is no such field; there are: {}", self.seen.join(", ")),
            };
            self.wrong(name, what);
        }
    }
}

/// What a value is, for a person.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

/// A TOML value as JSON: times become text. A number that JSON cannot write becomes null, of a file that was refused for it.
pub(crate) fn to_json(value: Value) -> serde_json::Value {
    match value {
        Value::String(text) => text.into(),
        Value::Integer(number) => number.into(),
        Value::Float(number) => number.into(),
        Value::Boolean(bit) => bit.into(),
        Value::Datetime(time) => time.to_string().into(),
        Value::Array(items) => items.into_iter().map(to_json).collect(),
        Value::Table(table) => serde_json::Value::Object(to_object(table)),
    }
}

/// The same for a table.
pub(crate) fn to_object(table: Table) -> serde_json::Map<String, serde_json::Value> {
    table.into_iter().map(|(name, inner)| (name, to_json(inner))).collect()
}
