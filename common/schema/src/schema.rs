//! A JSON Schema, and what is wrong with a value by it.

use std::collections::BTreeSet;

use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use redpoll_common::wire::{MAX_DEPTH, Raw};
use serde_json::Value;

use crate::arguments;
use crate::defaults;
use crate::graph::LEVELS;
use crate::limits;
use crate::opaque;
use crate::plain::values;
use crate::readings::{Readings, Unknown};
use crate::redact::Redaction;
use crate::value::{Binary, is_all_text};

/// Bytes that one compiled regular expression may take.
pub const MAX_REGEX_SIZE: usize = 256 * 1024;
/// Bytes that all of a schema's may take together, shared evenly among different ones: of 16 or fewer each may have
/// [`MAX_REGEX_SIZE`].
pub const MAX_REGEXES_SIZE: usize = 4 * 1024 * 1024;
/// What a compiled schema takes in memory besides, as far as it is counted.
const SCHEMA_SIZE: usize = 64 * 1024;
/// How many problems of one call an error names; the rest is counted.
pub const MAX_SHOWN: usize = 3;
/// How many problems there may be to look for: all of them are in memory before the first is shown.
const MAX_PROBLEMS: u64 = 4_000_000;
/// Bytes of the places of all these problems: each holds its own, and the names of a call may be long.
const MAX_PROBLEM_PLACES: u64 = 256 * 1024 * 1024;
/// Characters of one problem in an error.
const MAX_PROBLEM: usize = 200;

/// Why a schema cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// It is larger than a schema of arguments needs to be.
    #[error("the schema has more than {max} {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        max: usize,
    },
    /// It is not a JSON Schema, or uses what is not supported.
    #[error("{at}: {what}")]
    Wrong {
        /// The place in the schema, as a JSON pointer.
        at: String,
        /// What is wrong, and what to do.
        what: String,
    },
}

/// What is wrong with the arguments of a call: one line, with the path and the rule. It never holds their values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ArgumentError(pub String);

/// A compiled schema of a procedure's named arguments.
///
/// It takes memory, tens of kilobytes: make it when it is needed first. Regular expressions are those that take linear
/// time, so neither look-around nor back-references. Formats (`format`) are notes, not rules, as the draft has it.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
    positional: arguments::Positional,
    /// What it does not look into.
    opaque: BTreeSet<String>,
    /// Where not even the names of what is there may be told.
    hidden: Redaction,
    /// The schema with plain references, where it has others.
    plain: Option<Box<Value>>,
    /// How many values of it apply to one place of the arguments at most.
    most: u64,
    weight: usize,
    /// Whether it may name a default.
    has_defaults: bool,
}

/// A schema with references of one kind alone, `$ref` to `#/$defs/NAME` or another place: what names and addresses places is gone, and
/// so is `$dynamicRef`. What stands in it is as the author wrote it otherwise.
///
/// # Errors
/// [`SchemaError`] when it exceeds a limit, refers elsewhere, or has no end.
pub fn plain(schema: &Value) -> Result<Value, SchemaError> {
    limits::checked(schema).map(|checked| checked.plain)
}

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// [`SchemaError`] when it exceeds a limit, refers elsewhere, refers to itself without an end or in a way that may take
    /// longer than is allowed, or is no JSON Schema.
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        let limits::Checked { plain, most, patterns } = limits::checked(schema)?;
        let positional = arguments::Positional::of(schema)?;
        let each = MAX_REGEX_SIZE.min(MAX_REGEXES_SIZE / patterns.max(1));
        let weight = SCHEMA_SIZE + each * patterns;
        let patterns = PatternOptions::regex().size_limit(each).dfa_size_limit(each);
        let options = jsonschema::options().with_draft(Draft::Draft202012).with_pattern_options(patterns);
        let validator = options.build(&plain).map_err(|error| SchemaError::Wrong {
            at: one_line(error.instance_path().as_str()),
            what: unusable(&error, each),
        })?;
        let hidden = Redaction::default();
        let opaque = opaque::opaque(&plain);
        let has_defaults = defaults::has_any(&plain);
        let plain = (plain != *schema).then(|| Box::new(plain));
        Ok(Self { validator, positional, opaque, hidden, plain, most, weight, has_defaults })
    }

    /// About how many bytes it takes at most.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// The same, whose errors say nothing of what these paths lead to: keys in it may be as secret as values.
    #[must_use]
    pub fn hiding<S: AsRef<str>>(self, redact: &[S]) -> Self {
        // of paths that cannot be read nothing is known but that there is something to hide
        let hidden = Redaction::new(redact).or_else(|_| Redaction::new(&["*"])).unwrap_or_default();
        Self { hidden, ..self }
    }

    /// Checks the arguments of a call, and gives them as a schema sees them: named, binary as base64 text.
    ///
    /// # Errors
    /// [`ArgumentError`] with the paths and the rules; never with values.
    pub fn check(&self, args: &Raw, kwargs: &Raw) -> Result<Value, ArgumentError> {
        let named = self.positional.named(args, kwargs, Binary::Text, |_| false)?;
        self.check_json(&named)?;
        Ok(named)
    }

    /// The same check alone: large binary into which the schema does not look anyway is not turned into text for it.
    ///
    /// # Errors
    /// The same.
    pub fn verify(&self, args: &Raw, kwargs: &Raw) -> Result<(), ArgumentError> {
        let opaque = |name: &str| self.opaque.contains(name);
        self.check_json(&self.positional.named(args, kwargs, Binary::Text, opaque)?)
    }

    /// The same arguments as a [`policy`](crate::policy) sees them whose rules look at what is `about`, with what is left out as `schema`
    /// says: it is what this was compiled from. Nothing is checked.
    ///
    /// # Errors
    /// [`ArgumentError`] when positional arguments have no place, and those of [`fill_defaults`](Self::fill_defaults).
    pub fn readings(
        &self,
        schema: &Value,
        (args, kwargs): (&Raw, &Raw),
        about: impl Fn(&str) -> bool,
    ) -> Result<Readings, ArgumentError> {
        let named = |binary| self.positional.named(args, kwargs, binary, |name| !about(name));
        let seen = if self.has_defaults { Some(named(Binary::Text)?) } else { None };
        let read = |binary| {
            let mut named = named(binary)?;
            let unknown = match &seen {
                Some(seen) => {
                    defaults::fill(self.plain.as_deref().unwrap_or(schema), seen, &mut named, &about)?
                }
                None => Unknown::default(),
            };
            Ok((named, unknown))
        };
        let (text, unknown) = read(Binary::Readable)?;
        let is_text = is_all_text(args, |_| false) && is_all_text(kwargs, |name| !about(name));
        let encoded = if is_text { None } else { Some(read(Binary::Encoded)?.0) };
        Ok(Readings { text, encoded, unknown })
    }

    /// Puts the `default` of each property that is not there in its place, at the top and in each object and list that is there. `schema` is
    /// what this was compiled from. What a program is given is another matter: it is what was sent. Where it is not known which default
    /// holds, none is put.
    ///
    /// # Errors
    /// [`ArgumentError`] when that is more than [`MAX_FILLED_VALUES`](crate::MAX_FILLED_VALUES) or
    /// [`MAX_FILLED_BYTES`](crate::MAX_FILLED_BYTES); a part of them may be filled in then.
    pub fn fill_defaults(&self, schema: &Value, arguments: &mut Value) -> Result<(), ArgumentError> {
        let seen = arguments.clone();
        defaults::fill(self.plain.as_deref().unwrap_or(schema), &seen, arguments, |_| true).map(|_unknown| ())
    }

    /// Whether positional arguments are the procedure's own business: neither a schema nor a policy sees them.
    pub fn hides_positional(&self) -> bool {
        self.positional == arguments::Positional::Any
    }

    /// Checks named arguments.
    ///
    /// # Errors
    /// The same.
    pub fn check_json(&self, named: &Value) -> Result<(), ArgumentError> {
        // the wire lets nothing deeper through; a manifest might
        if !is_within(named, LEVELS) {
            return Err(ArgumentError(format!("the arguments have more than {MAX_DEPTH} levels")));
        }
        if self.validator.is_valid(named) {
            return Ok(());
        }
        if values(named).saturating_mul(self.most) > MAX_PROBLEMS
            || places(named, 0).saturating_mul(self.most) > MAX_PROBLEM_PLACES
        {
            return Err(ArgumentError(
                "they do not fit, and there is too much of them to say where".to_owned(),
            ));
        }
        let mut errors = self.validator.iter_errors(named);
        let shown: Vec<String> = errors.by_ref().take(MAX_SHOWN).map(|error| self.problem(&error)).collect();
        let more = match errors.count() {
            0 => String::new(),
            count => format!("; and {count} more"),
        };
        Err(ArgumentError(format!("{}{more}", shown.join("; "))))
    }

    /// One problem: path, rule and what it says. What the value is, is not said: it may be secret.
    fn problem(&self, error: &ValidationError<'_>) -> String {
        let words = words(error.instance_path().as_str());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let hidden =
            (1..=words.len()).find(|len| words.get(..*len).is_some_and(|place| self.hidden.covers(place)));
        if let Some(len) = hidden {
            let shown = words.get(..len).unwrap_or_default().join(".");
            return one_line(&format!("{shown}: what is there does not fit (rule {})", error.schema_path()));
        }
        let text = error.masked_with("the value").to_string();
        let path = words.join(".");
        one_line(&format!("{path}: {text} (rule {})", error.schema_path()))
    }
}

fn is_within(value: &Value, levels: usize) -> bool {
    let below = levels.checked_sub(1);
    match value {
        Value::Array(items) => below.is_some_and(|below| items.iter().all(|inner| is_within(inner, below))),
        Value::Object(entries) => {
            below.is_some_and(|below| entries.values().all(|inner| is_within(inner, below)))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// How many bytes the names of all places in a value have, each written out.
fn places(value: &Value, above: u64) -> u64 {
    let below = |len: usize, inner: &Value| {
        let at = above.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        at.saturating_add(places(inner, at))
    };
    match value {
        Value::Array(items) => items.iter().map(|inner| below(1, inner)).fold(0, u64::saturating_add),
        Value::Object(entries) => {
            entries.iter().map(|(name, inner)| below(name.len(), inner)).fold(0, u64::saturating_add)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// `/user/pins/0` as `user`, `pins` and `0`. A name may have dots in it, and is one word all the same.
fn words(pointer: &str) -> Vec<String> {
    let Some(rest) = pointer.strip_prefix('/') else { return vec!["the arguments".to_owned()] };
    rest.split('/').map(|word| word.replace("~1", "/").replace("~0", "~")).collect()
}

/// Why a schema cannot be compiled whose regular expressions may take so many bytes each.
fn unusable(error: &ValidationError<'_>, each: usize) -> String {
    let what = one_line(&error.to_string());
    // it is all that is said of one that is too large, too
    if what.ends_with("is not a \"regex\"") {
        return format!("{what}, or takes more than {each} bytes of memory as one");
    }
    what
}

/// Without control characters, and short.
fn one_line(text: &str) -> String {
    let mut line: String =
        text.chars().take(MAX_PROBLEM).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MAX_PROBLEM).is_some() {
        line.push('…');
    }
    line
}
