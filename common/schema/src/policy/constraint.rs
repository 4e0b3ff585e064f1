//! What an argument has to be.

use std::cmp::Ordering;

use regex::{Regex, RegexBuilder};
use serde_json::{Number, Value};

use super::Effect;
use super::pattern::glob;
use crate::MAX_REGEX_SIZE;
use crate::same::{compare, same};

/// One end of a range.
pub type Limit = Number;

/// What one argument has to be. One that is not given fits nothing but [`Only`](Self::Only).
#[derive(Debug, Clone)]
pub enum Constraint {
    /// One of these.
    OneOf(Vec<Value>),
    /// A number from `min` to `max`, both included.
    Range {
        /// The smallest.
        min: Option<Limit>,
        /// The largest.
        max: Option<Limit>,
    },
    /// A text that a glob fits as a whole.
    Glob(String),
    /// A text that a regular expression fits as a whole.
    Regex(Regex),
    /// A map in which each name is fitted by one of these globs, or none that is given.
    Only(Vec<String>),
}

impl Constraint {
    /// A regular expression over the whole text, of bounded size. In a rule that denies `.` fits a line end too: with one in it no text
    /// passes by.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn regex(pattern: &str, effect: Effect) -> Result<Self, String> {
        // in one that allows it errs on the safe side as it is
        let any = effect == Effect::Deny;
        // alone first, so that "a)|(b" cannot break out of the group
        let build =
            |text: &str| RegexBuilder::new(text).size_limit(MAX_REGEX_SIZE).dot_matches_new_line(any).build();
        let whole = build(pattern).and_then(|_alone| build(&format!(r"\A(?:{pattern})\z")));
        whole.map(Self::Regex).map_err(|error| error.to_string().replace('\n', " "))
    }

    /// Whether it looks at the names of a map, and not at what is under them.
    pub(super) fn is_of_names(&self) -> bool {
        match self {
            Self::Only(_) => true,
            Self::OneOf(_) | Self::Range { .. } | Self::Glob(_) | Self::Regex(_) => false,
        }
    }

    /// Whether an argument fits.
    pub fn fits(&self, value: Option<&Value>) -> bool {
        let Some(value) = value else { return matches!(self, Self::Only(_)) };
        match self {
            Self::OneOf(values) => values.iter().any(|wanted| same(wanted, value)),
            Self::Range { min, max } => value.as_number().is_some_and(|number| {
                let order = |limit: &Number| compare(number, limit);
                min.as_ref().is_none_or(|min| order(min).is_some_and(Ordering::is_ge))
                    && max.as_ref().is_none_or(|max| order(max).is_some_and(Ordering::is_le))
            }),
            Self::Glob(pattern) => value.as_str().is_some_and(|text| glob(pattern, text)),
            Self::Regex(regex) => value.as_str().is_some_and(|text| regex.is_match(text)),
            Self::Only(globs) => match value {
                // nil is absent
                Value::Null => true,
                Value::Object(entries) => entries.keys().all(|name| globs.iter().any(|own| glob(own, name))),
                Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => false,
            },
        }
    }
}
