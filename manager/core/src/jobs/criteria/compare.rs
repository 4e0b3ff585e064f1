//! How a value of a job or a run compares with what was asked for.

use std::cmp::Ordering;

use redpoll_common::number::Number;
use redpoll_common::wire::Raw;

use super::{CriteriaError, fits_limit};
use crate::glob;

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Equal, `*` in texts standing for any characters.
    Match,
    /// Equal.
    Eq,
    /// Not equal.
    Neq,
    /// Greater.
    Gt,
    /// Less.
    Lt,
    /// Equal to one of several.
    In,
}

/// A value as it is compared with each run: what does not change from one to the next is done once.
pub(super) fn prepared(comparison: Comparison, value: Raw) -> Result<Raw, CriteriaError> {
    match (comparison, value.as_text()) {
        (Comparison::Match, Some(pattern)) => {
            fits_limit("a pattern of \"match\"", pattern)?;
            Ok(Raw::text(&glob::collapsed(pattern)))
        }
        (_, Some(_)) => Ok(value),
        (_, None) => Ok(value.canonical()),
    }
}

/// Whether a value compares so with one of those that are wanted, each of which was [`prepared`].
pub(super) fn hits(comparison: Comparison, found: &Raw, values: &[Raw]) -> bool {
    let mut found = Found { value: found, canonical: None };
    values.iter().any(|value| found.compares(comparison, value))
}

/// A value, and its canonical form once that is asked for: a value may be large, and those that are wanted many.
struct Found<'a> {
    value: &'a Raw,
    canonical: Option<Raw>,
}

impl Found<'_> {
    fn compares(&mut self, comparison: Comparison, wanted: &Raw) -> bool {
        let found = self.value;
        match comparison {
            Comparison::Eq | Comparison::In => self.is(wanted),
            Comparison::Neq => !self.is(wanted),
            Comparison::Gt => order(found, wanted) == Some(Ordering::Greater),
            Comparison::Lt => order(found, wanted) == Some(Ordering::Less),
            Comparison::Match => match (found.as_text(), wanted.as_text()) {
                (Some(found), Some(pattern)) => fits(found, pattern),
                (Some(_) | None, Some(_) | None) => self.is(wanted),
            },
        }
    }

    /// `wanted` is in its canonical form already, if it is no text.
    fn is(&mut self, wanted: &Raw) -> bool {
        let found = self.value;
        order(found, wanted).map_or_else(
            || self.canonical.get_or_insert_with(|| found.canonical()) == wanted,
            |order| order == Ordering::Equal,
        )
    }
}

/// Of two numbers or two texts; `None` for everything else.
fn order(one: &Raw, other: &Raw) -> Option<Ordering> {
    if let (Some(one), Some(other)) = (one.as_text(), other.as_text()) {
        return Some(one.cmp(other));
    }
    number(one)?.compare(number(other)?)
}

fn number(value: &Raw) -> Option<Number> {
    let whole = value.decode::<u64>().map(i128::from).or_else(|_| value.decode::<i64>().map(i128::from));
    whole.map(Number::Integer).or_else(|_| value.decode().map(Number::Float)).ok()
}

/// Whether a text fits a pattern in which `*` stands for any characters. Linear in time but for the search of the parts.
fn fits(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}
