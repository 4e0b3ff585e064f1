//! Reads one TOML file into settings, with the line of each key.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;

use figment::value::Dict;
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::error::{ConfigError, Origin};
use crate::known::join;
use crate::setting::{Collector, Setting};

/// The longest configuration file, in bytes.
pub const MAX_FILE_LEN: u64 = 1024 * 1024;

/// A file that was read: its text, and what the operating system says about the very file that was read.
pub(crate) struct Source {
    pub(crate) text: String,
    pub(crate) metadata: Metadata,
}

/// Reads a file of at most [`MAX_FILE_LEN`] bytes.
pub(crate) fn read(path: &Path) -> Result<Source, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_LEN + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > MAX_FILE_LEN) {
        return Err(ConfigError::TooLong { path: path.to_owned(), max: MAX_FILE_LEN });
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    Ok(Source { text, metadata })
}

/// Turns the text of a file into settings; keys that do not exist become problems.
pub(crate) fn settings(path: &Path, text: &str, collector: &mut Collector<'_>) -> Result<(), ConfigError> {
    let dict: Dict = toml::from_str(text).map_err(|error| syntax(path, text, &error))?;
    let walk = Walk { path, lines: lines_of(text) };
    walk.section("", &dict, collector);
    Ok(())
}

/// The line of each key, dotted. Lines are a courtesy: a document that has values but no positions is still loaded.
pub(crate) fn lines_of(text: &str) -> BTreeMap<String, usize> {
    toml::from_str::<Positions>(text).map(|positions| positions.lines(text)).unwrap_or_default()
}

/// The line of a syntax error and what it says, without quoting the text.
pub(crate) fn syntax_at(text: &str, error: &toml::de::Error) -> (usize, String) {
    let start = error.span().map_or(0, |span| span.start);
    (line_of(text, start), error.message().trim().replace('\n', "; "))
}

struct Walk<'a> {
    path: &'a Path,
    lines: BTreeMap<String, usize>,
}

impl Walk<'_> {
    fn section(&self, section: &str, dict: &Dict, collector: &mut Collector<'_>) {
        for (name, value) in dict {
            let key = join(section, name);
            let origin = Origin::File { path: self.path.to_owned(), line: self.lines.get(&key).copied() };
            match value.as_dict().filter(|_| collector.known().has_section(&key)) {
                Some(inner) => self.section(&key, inner, collector),
                None => collector.add(Setting { key, value: value.clone(), origin }),
            }
        }
    }
}

fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or_default();
    let last_line = before.rsplit('\n').next().unwrap_or_default();
    // Only the message: the parser's own report quotes the line, which may hold a secret.
    ConfigError::Syntax {
        path: path.to_owned(),
        line: line_of(text, start),
        column: last_line.chars().count() + 1,
        message: error.message().trim().replace('\n', "; "),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or_default();
    before.bytes().filter(|b| *b == b'\n').count() + 1
}

/// Where the keys of a TOML document stand; its values are passed over.
#[derive(Debug, Default)]
struct Positions(Vec<(Spanned<String>, Self)>);

impl Positions {
    fn lines(&self, text: &str) -> BTreeMap<String, usize> {
        // counted once: a file may have as many keys as it has lines
        let ends: Vec<usize> =
            text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at).collect();
        let mut lines = BTreeMap::new();
        self.collect("", &ends, &mut lines);
        lines
    }

    fn collect(&self, section: &str, ends: &[usize], lines: &mut BTreeMap<String, usize>) {
        for (name, inner) in &self.0 {
            let key = join(section, name.get_ref());
            inner.collect(&key, ends, lines);
            let start = name.span().start;
            lines.insert(key, ends.partition_point(|end| *end < start) + 1);
        }
    }
}

impl<'de> Deserialize<'de> for Positions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PositionsVisitor)
    }
}

struct PositionsVisitor;

impl<'de> Visitor<'de> for PositionsVisitor {
    type Value = Positions;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a TOML value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Positions, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Positions(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Positions, A::Error> {
        while entries.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Positions::default())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Positions, E> {
        Ok(Positions::default())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Positions, E> {
        Ok(Positions::default())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Positions, E> {
        Ok(Positions::default())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Positions, E> {
        Ok(Positions::default())
    }
}
