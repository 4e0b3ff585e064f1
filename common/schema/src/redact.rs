//! What of arguments, values and results nobody may see in a log, a store or on a screen.

use bytes::Bytes;
use redpoll_common::wire::Raw;
use redpoll_common::words::Words;

use crate::hidden::add_all;
use crate::read;

/// What stands in place of a secret.
pub const MASK: &str = "***";
/// How many paths a procedure may have.
pub const MAX_REDACT_PATHS: usize = 100;
/// How many words a path may have.
pub const MAX_REDACT_WORDS: usize = 16;

/// A path is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedactionError {
    /// An empty word, or too many.
    #[error(
        "{0:?} is not a path such as \"password\", \"user.pin\" or \"keys.*\" of at most {MAX_REDACT_WORDS} words"
    )]
    Path(String),
    /// Too many paths.
    #[error("more than {MAX_REDACT_PATHS} paths")]
    TooMany,
}

/// The `redact` paths of a procedure: `password`, `user.pin`, `keys.*`, `list.*.secret`.
///
/// `*` is every key of a map and every element of an array; a number is the position in an array, or a key. What a path
/// leads to is masked as a whole, whatever it is. A word never spans levels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redaction {
    paths: Vec<Vec<String>>,
}

impl Redaction {
    /// Reads the paths.
    ///
    /// # Errors
    /// [`RedactionError`] naming the path.
    pub fn new<S: AsRef<str>>(paths: &[S]) -> Result<Self, RedactionError> {
        if paths.len() > MAX_REDACT_PATHS {
            return Err(RedactionError::TooMany);
        }
        let path = |text: &S| {
            let words: Vec<String> = text.as_ref().split('.').map(str::to_owned).collect();
            let good = words.len() <= MAX_REDACT_WORDS && words.iter().all(|word| !word.is_empty());
            if good { Ok(words) } else { Err(RedactionError::Path(text.as_ref().to_owned())) }
        };
        Ok(Self { paths: paths.iter().map(path).collect::<Result<_, _>>()? })
    }

    /// Whether nothing is masked.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Whether what lies at this place is masked, by itself or as a part of what is.
    pub fn covers(&self, place: &[&str]) -> bool {
        self.paths.iter().any(|path| {
            path.len() <= place.len() && path.iter().zip(place).all(|(word, key)| fits(word, key))
        })
    }

    /// The value with secrets masked. A value that cannot be read is masked as a whole.
    pub fn mask(&self, raw: &Raw) -> Raw {
        if self.is_empty() {
            return raw.clone();
        }
        let Ok(mut value) = read(raw) else { return Raw::text(MASK) };
        mask_value(&mut value, &self.start());
        let mut out = Vec::with_capacity(raw.len());
        match rmpv::encode::write_value(&mut out, &value) {
            Ok(()) => Raw::parse(Bytes::from(out)).unwrap_or_else(|_| Raw::text(MASK)),
            Err(_) => Raw::text(MASK),
        }
    }

    /// Adds what the paths lead to. Of a value that cannot be read nobody can say what it is: everything is hidden then.
    pub(crate) fn words(&self, raw: &Raw, words: &mut Words) {
        if self.is_empty() {
            return;
        }
        match read(raw) {
            Ok(value) => words_of(&value, &self.start(), words),
            Err(_unreadable) => words.extend(&Words::everything()),
        }
    }

    /// Masks secrets in JSON.
    pub fn mask_json(&self, value: &mut serde_json::Value) {
        if !self.is_empty() {
            mask_json(value, &self.start());
        }
    }

    fn start(&self) -> Vec<&[String]> {
        self.paths.iter().map(Vec::as_slice).collect()
    }
}

fn fits(word: &str, key: &str) -> bool {
    word == "*" || word == key
}

/// What is left of the paths below a key; `None` when one ends there.
fn below<'p>(paths: &[&'p [String]], key: &str) -> Option<Vec<&'p [String]>> {
    let mut left = Vec::new();
    for path in paths {
        match path.split_first() {
            Some((word, [])) if fits(word, key) => return None,
            Some((word, rest)) if fits(word, key) => left.push(rest),
            Some(_) | None => {}
        }
    }
    Some(left)
}

fn mask_value(value: &mut rmpv::Value, paths: &[&[String]]) {
    use rmpv::Value;
    let one = |inner: &mut Value, key: &str| match below(paths, key) {
        None => *inner = Value::from(MASK),
        Some(left) if left.is_empty() => {}
        Some(left) => mask_value(inner, &left),
    };
    match value {
        Value::Map(entries) => {
            for (key, inner) in entries {
                one(inner, &name_of(key));
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter_mut().enumerate() {
                one(inner, &index.to_string());
            }
        }
        Value::Nil
        | Value::Boolean(_)
        | Value::Integer(_)
        | Value::F32(_)
        | Value::F64(_)
        | Value::String(_)
        | Value::Binary(_)
        | Value::Ext(..) => {}
    }
}

/// What a path calls the key of a map. A byte string is the text that it is: some readers take it for one.
fn name_of(key: &rmpv::Value) -> String {
    match key {
        rmpv::Value::String(text) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
        rmpv::Value::Binary(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        rmpv::Value::Nil
        | rmpv::Value::Boolean(_)
        | rmpv::Value::Integer(_)
        | rmpv::Value::F32(_)
        | rmpv::Value::F64(_)
        | rmpv::Value::Array(_)
        | rmpv::Value::Map(_)
        | rmpv::Value::Ext(..) => key.to_string(),
    }
}

fn words_of(value: &rmpv::Value, paths: &[&[String]], words: &mut Words) {
    use rmpv::Value;
    let mut one = |inner: &Value, key: &str| match below(paths, key) {
        None => add_all(words, inner),
        Some(left) if left.is_empty() => {}
        Some(left) => words_of(inner, &left, words),
    };
    match value {
        Value::Map(entries) => entries.iter().for_each(|(key, inner)| one(inner, &name_of(key))),
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                one(inner, &index.to_string());
            }
        }
        Value::Nil
        | Value::Boolean(_)
        | Value::Integer(_)
        | Value::F32(_)
        | Value::F64(_)
        | Value::String(_)
        | Value::Binary(_)
        | Value::Ext(..) => {}
    }
}

fn mask_json(value: &mut serde_json::Value, paths: &[&[String]]) {
    use serde_json::Value;
    let one = |inner: &mut Value, key: &str| match below(paths, key) {
        None => *inner = Value::from(MASK),
        Some(left) if left.is_empty() => {}
        Some(left) => mask_json(inner, &left),
    };
    match value {
        Value::Object(entries) => entries.iter_mut().for_each(|(key, inner)| one(inner, key)),
        Value::Array(items) => {
            for (index, inner) in items.iter_mut().enumerate() {
                one(inner, &index.to_string());
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
