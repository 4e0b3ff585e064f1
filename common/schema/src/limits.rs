//! What a schema may look like, before anything is compiled: other machines send schemas too.
//!
//! A schema is checked as often as its parts apply to the parts of a value, so references are followed here and what they
//! stand for is counted: a small text must not stand for a huge schema, nor for one without end.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::SchemaError;

/// Bytes of a schema, written as JSON.
pub const MAX_SCHEMA_TEXT: usize = 64 * 1024;
/// Levels of a schema.
pub const MAX_SCHEMA_DEPTH: usize = 32;
/// Values of a schema, with each `$ref` counted as what it stands for.
pub const MAX_SCHEMA_NODES: u64 = 10_000;
/// Bytes of one regular expression.
pub const MAX_SCHEMA_PATTERN: usize = 1024;

/// The draft that is understood.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Checks all limits.
pub(crate) fn check(schema: &Value) -> Result<(), SchemaError> {
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
    let mut walk = Walk { root: schema, costs: BTreeMap::new() };
    match walk.cost(schema, "")? {
        nodes if nodes > MAX_SCHEMA_NODES => Err(SchemaError::TooLarge {
            what: "values, references followed",
            max: usize::try_from(MAX_SCHEMA_NODES).unwrap_or(usize::MAX),
        }),
        _nodes => Ok(()),
    }
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

/// Keywords whose value is a value, not a schema.
const VALUES: [&str; 4] = ["const", "default", "enum", "examples"];
/// Keywords whose value is a map of schemas: its keys are names.
const MAPS: [&str; 5] = ["$defs", "definitions", "dependentSchemas", "patternProperties", "properties"];

struct Walk<'s> {
    root: &'s Value,
    /// What references cost; `None` while it is being counted.
    costs: BTreeMap<&'s str, Option<u64>>,
}

impl<'s> Walk<'s> {
    fn cost(&mut self, value: &'s Value, at: &str) -> Result<u64, SchemaError> {
        let mut sum = 1_u64;
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    sum = sum.saturating_add(self.cost(item, &format!("{at}/{index}"))?);
                }
            }
            Value::Object(entries) => {
                for (key, inner) in entries {
                    if VALUES.contains(&key.as_str()) {
                        sum = sum.saturating_add(nodes(inner));
                        continue;
                    }
                    let here = format!("{at}/{key}");
                    if let Value::String(text) = inner {
                        sum = sum.saturating_add(self.keyword(key, text, &here)?);
                    }
                    if key == "patternProperties"
                        && let Value::Object(patterns) = inner
                    {
                        patterns.keys().try_for_each(|pattern| pattern_len(pattern, &here))?;
                    }
                    let named = inner.as_object().filter(|_| MAPS.contains(&key.as_str()));
                    let below = match named {
                        Some(named) => self.named(named, &here)?,
                        None => self.cost(inner, &here)?,
                    };
                    sum = sum.saturating_add(below);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        Ok(sum)
    }

    /// Schemas by their names.
    fn named(&mut self, named: &'s Map<String, Value>, at: &str) -> Result<u64, SchemaError> {
        named.iter().try_fold(1_u64, |sum, (name, schema)| {
            Ok(sum.saturating_add(self.cost(schema, &format!("{at}/{name}"))?))
        })
    }

    /// A keyword whose value is a text; gives what it adds to the cost.
    fn keyword(&mut self, key: &str, text: &'s str, at: &str) -> Result<u64, SchemaError> {
        match key {
            "pattern" => pattern_len(text, at).map(|()| 0),
            "$ref" => self.reference(text, at),
            "$schema" if text.trim_end_matches('#') != DRAFT => {
                Err(wrong(at, format!("the draft is not {DRAFT}; leave $schema out or name that one")))
            }
            "$dynamicRef" | "$recursiveRef" => {
                Err(wrong(at, format!("{key} is not supported; use $ref with \"#/$defs/NAME\"")))
            }
            "$id" | "$anchor" | "$dynamicAnchor" if at != "/$id" => {
                Err(wrong(at, format!("{key} is not supported here; refer to \"#/$defs/NAME\" instead")))
            }
            _ => Ok(0),
        }
    }

    fn reference(&mut self, target: &'s str, at: &str) -> Result<u64, SchemaError> {
        match self.costs.get(target) {
            Some(Some(cost)) => return Ok(*cost),
            Some(None) => {
                return Err(wrong(at, format!("{target:?} refers back to itself; write out the levels")));
            }
            None => {}
        }
        let Some(pointer) = target.strip_prefix('#') else {
            let text =
                format!("{target:?} is somewhere else, and nothing is fetched; put it into $defs here");
            return Err(wrong(at, text));
        };
        // decoded elsewhere, it would lead to another place than the one that is counted here
        if pointer.contains('%') {
            return Err(wrong(
                at,
                format!("{target:?} holds a %; name the definition without characters to escape"),
            ));
        }
        if pointer.is_empty() {
            return Err(wrong(at, "\"#\" refers back to itself; write out the levels"));
        }
        let Some(value) = self.root.pointer(pointer) else {
            return Err(wrong(at, format!("{target:?} is not in this schema")));
        };
        self.costs.insert(target, None);
        let cost = self.cost(value, pointer)?;
        self.costs.insert(target, Some(cost));
        Ok(cost)
    }
}

/// How many values a value has.
fn nodes(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items.iter().map(nodes).fold(1, u64::saturating_add),
        Value::Object(entries) => entries.values().map(nodes).fold(1, u64::saturating_add),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

fn pattern_len(pattern: &str, at: &str) -> Result<(), SchemaError> {
    if pattern.len() > MAX_SCHEMA_PATTERN {
        return Err(wrong(at, format!("a pattern of more than {MAX_SCHEMA_PATTERN} bytes")));
    }
    Ok(())
}

fn limit(what: &'static str, max: usize) -> SchemaError {
    SchemaError::TooLarge { what, max }
}

fn wrong(at: &str, what: impl Into<String>) -> SchemaError {
    SchemaError::Wrong { at: at.to_owned(), what: what.into() }
}
