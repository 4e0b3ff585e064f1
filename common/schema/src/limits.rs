//! What a schema may look like, before anything is compiled: other machines send schemas too.
//!
//! The size is looked at here; what references lead to in `references.rs`; what a check may cost, in `cost.rs`.

use std::collections::BTreeSet;

use redpoll_common::wire::MAX_DEPTH;
use serde_json::{Map, Value};

use crate::SchemaError;
use crate::cost;
use crate::keywords::parts;
use crate::plain::{plain, values};

/// Bytes of a schema, written as JSON.
pub const MAX_SCHEMA_TEXT: usize = 64 * 1024;
/// Levels of a schema: what a list of procedures, and the messages that carry it, have around one need the others.
pub const MAX_SCHEMA_DEPTH: usize = MAX_DEPTH - 6;
/// Values of a schema, and of all schemas together that apply to one place of a value, each as often as it does.
pub const MAX_SCHEMA_NODES: u64 = 10_000;
/// Bytes of one regular expression.
pub const MAX_SCHEMA_PATTERN: usize = 1024;
/// Different regular expressions: each may take as much memory as a whole schema otherwise does.
pub const MAX_SCHEMA_PATTERNS: usize = 256;
/// Bytes of the places of all parts, each written out as a JSON pointer: a long name counts for each part beneath it.
pub const MAX_SCHEMA_PLACES: usize = 2 * 1024 * 1024;
/// Bytes of the texts and names of a schema with plain references, copies for the meanings of dynamic names among them; what
/// references are written with is bounded as places are.
pub const MAX_SCHEMA_COPIED: usize = 1024 * 1024;
/// Parts with an `$id`, the whole aside.
pub const MAX_SCHEMA_EMBEDDED: usize = 64;
/// Names of `$dynamicAnchor` that stand more than once.
pub const MAX_SCHEMA_DYNAMIC: usize = 16;

/// The draft that is understood.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A schema within all limits.
pub(crate) struct Checked {
    /// With its references plain.
    pub(crate) plain: Value,
    /// The most values of it that apply to one place.
    pub(crate) most: u64,
    /// How many different regular expressions it has.
    pub(crate) patterns: usize,
}

/// Whether a schema is within all limits.
pub(crate) fn checked(schema: &Value) -> Result<Checked, SchemaError> {
    // depth first: what follows walks the value by calling itself
    let deep = depth(schema, 0);
    if deep > MAX_SCHEMA_DEPTH {
        return Err(limit("levels", MAX_SCHEMA_DEPTH));
    }
    if !matches!(schema, Value::Object(_) | Value::Bool(_)) {
        return Err(wrong("/", "a schema is a table, or true or false"));
    }
    // a value that was read from text can be written again
    let len = serde_json::to_string(schema).map_or(usize::MAX, |text| text.len());
    if len > MAX_SCHEMA_TEXT {
        return Err(limit("bytes", MAX_SCHEMA_TEXT));
    }
    if values(schema) > MAX_SCHEMA_NODES {
        return Err(limit("values", usize::try_from(MAX_SCHEMA_NODES).unwrap_or(usize::MAX)));
    }
    let mut patterns = BTreeSet::new();
    keywords(schema, "", &mut patterns)?;
    if patterns.len() > MAX_SCHEMA_PATTERNS {
        return Err(limit("different patterns", MAX_SCHEMA_PATTERNS));
    }
    let patterns = patterns.len();
    let plain = plain(schema)?;
    let most = cost::check(&plain)?;
    Ok(Checked { plain, most, patterns })
}

/// How deep a value is, but not deeper than one more than is allowed.
fn depth(value: &Value, above: usize) -> usize {
    if above > MAX_SCHEMA_DEPTH {
        return above;
    }
    let below = |inner: &mut dyn Iterator<Item = &Value>| inner.map(|v| depth(v, above + 1)).max();
    let deepest = match value {
        Value::Array(items) => below(&mut items.iter()),
        Value::Object(entries) => below(&mut entries.values()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    };
    deepest.unwrap_or(above)
}

/// Looks at the keywords of a schema and of its parts, those that need no other place to be judged.
fn keywords<'s>(schema: &'s Value, at: &str, patterns: &mut BTreeSet<&'s str>) -> Result<(), SchemaError> {
    let Value::Object(words) = schema else { return Ok(()) };
    if let Some(Value::String(pattern)) = words.get("pattern") {
        pattern_len(pattern, &format!("{at}/pattern"))?;
        patterns.insert(pattern);
    }
    let named = |word: &str| words.get(word).and_then(Value::as_object).into_iter().flat_map(Map::keys);
    for pattern in named("patternProperties") {
        pattern_len(pattern, &format!("{at}/patternProperties"))?;
        patterns.insert(pattern);
    }
    if let Some(Value::String(draft)) = words.get("$schema")
        && draft.trim_end_matches('#') != DRAFT
    {
        let text = format!("the draft is not {DRAFT}; leave $schema out or name that one");
        return Err(wrong(&format!("{at}/$schema"), text));
    }
    if words.contains_key("$recursiveRef") {
        return Err(wrong(&format!("{at}/$recursiveRef"), "$recursiveRef is of an older draft; use $ref"));
    }
    parts(words).into_iter().try_for_each(|part| keywords(part.schema, &format!("{at}{}", part.at), patterns))
}

fn pattern_len(pattern: &str, at: &str) -> Result<(), SchemaError> {
    if pattern.len() > MAX_SCHEMA_PATTERN {
        return Err(wrong(at, format!("a pattern of more than {MAX_SCHEMA_PATTERN} bytes")));
    }
    Ok(())
}

/// Takes the place of a part off what is left for the places of all.
pub(crate) fn take(left: &mut usize, place: &str) -> Result<(), SchemaError> {
    *left = left
        .checked_sub(place.len())
        .ok_or_else(|| limit("bytes in the places of its parts, names written out", MAX_SCHEMA_PLACES))?;
    Ok(())
}

pub(crate) fn limit(what: &'static str, max: usize) -> SchemaError {
    SchemaError::TooLarge { what, max }
}

pub(crate) fn wrong(at: &str, what: impl Into<String>) -> SchemaError {
    SchemaError::Wrong { at: at.to_owned(), what: what.into() }
}
