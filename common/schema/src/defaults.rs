//! The defaults that a schema names, filled in for a judgement: what is left out is not nothing.

use std::fmt::Display;

use serde_json::{Map, Value};

use crate::ArgumentError;
use crate::plain::{text, values};

/// How many references follow each other, and how deep objects are looked into. A schema that was compiled has less.
const DEEPEST: usize = 64;

/// Values that may be filled in. In a schema that refers to itself each object gets the same defaults again.
pub const MAX_FILLED_VALUES: u64 = 65_536;
/// Bytes of the texts and names that may be filled in.
pub const MAX_FILLED_BYTES: usize = 4 * 1024 * 1024;

/// Fills in the defaults of a schema with plain references.
pub(crate) fn fill(schema: &Value, arguments: &mut Value) -> Result<(), ArgumentError> {
    let mut filler = Filler { root: schema, values: MAX_FILLED_VALUES, bytes: MAX_FILLED_BYTES };
    filler.fill(schema, arguments, DEEPEST)
}

struct Filler<'s> {
    root: &'s Value,
    /// What may still be filled in.
    values: u64,
    bytes: usize,
}

impl Filler<'_> {
    fn fill(&mut self, schema: &Value, value: &mut Value, deepest: usize) -> Result<(), ArgumentError> {
        let Some(deeper) = deepest.checked_sub(1) else { return Ok(()) };
        let Value::Object(entries) = value else { return Ok(()) };
        for part in parts(self.root, schema, deeper) {
            let properties = part.get("properties").and_then(Value::as_object);
            for (name, property) in properties.into_iter().flatten() {
                match entries.get_mut(name) {
                    Some(inner) => self.fill(property, inner, deeper)?,
                    None => self.insert(name, property, entries, deeper)?,
                }
            }
        }
        Ok(())
    }

    fn insert(
        &mut self,
        name: &str,
        property: &Value,
        entries: &mut Map<String, Value>,
        deepest: usize,
    ) -> Result<(), ArgumentError> {
        let default = parts(self.root, property, deepest).into_iter().find_map(|part| part.get("default"));
        let Some(default) = default else { return Ok(()) };
        let beyond = |max: &dyn Display, what: &str| {
            let text = format!("the defaults for what is left out in them have more than {max} {what}");
            ArgumentError(text)
        };
        let (values, bytes) = (values(default), text(default).saturating_add(name.len()));
        let left = self.values.checked_sub(values);
        self.values = left.ok_or_else(|| beyond(&MAX_FILLED_VALUES, "values"))?;
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.ok_or_else(|| beyond(&MAX_FILLED_BYTES, "bytes"))?;
        entries.insert(name.to_owned(), default.clone());
        Ok(())
    }
}

/// A schema, and what it refers to within the same document.
fn parts<'s>(root: &'s Value, schema: &'s Value, deepest: usize) -> Vec<&'s Value> {
    let mut parts = vec![schema];
    while parts.len() <= deepest {
        let last = parts.last().and_then(|part| part.get("$ref")).and_then(Value::as_str);
        let Some(next) = last.and_then(|text| root.pointer(text.strip_prefix('#')?)) else { break };
        parts.push(next);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filled(schema: &Value, mut arguments: Value) -> Value {
        fill(schema, &mut arguments).unwrap();
        arguments
    }

    #[test]
    fn what_is_left_out_is_filled_in_at_the_top_and_in_objects_that_are_there() {
        let schema = json!({"type": "object", "properties": {
            "stage": {"type": "string", "default": "live"},
            "copies": {"type": "integer"},
            "deep": {"type": "object", "properties": {"force": {"default": true}}},
        }});
        assert_eq!(filled(&schema, json!({})), json!({"stage": "live"}), "no object is made up");
        assert_eq!(
            filled(&schema, json!({"stage": "test", "deep": {}})),
            json!({"stage": "test", "deep": {"force": true}}),
            "what is said stays"
        );
        assert_eq!(filled(&schema, json!({"stage": null}))["stage"], json!(null));
    }

    #[test]
    fn references_are_followed_and_one_without_an_end_is_left() {
        let schema = json!({"$defs": {"Stage": {"enum": ["live"], "default": "live"}, "Loop": {"$ref": "#/$defs/Loop"},
            "Deep": {"properties": {"a": {"default": 1}}}},
            "properties": {"stage": {"$ref": "#/$defs/Stage"}, "own": {"$ref": "#/$defs/Stage", "default": "test"},
            "loop": {"$ref": "#/$defs/Loop"}, "deep": {"$ref": "#/$defs/Deep"}}});
        let wanted = json!({"stage": "live", "own": "test", "deep": {"a": 1}});
        assert_eq!(filled(&schema, json!({"deep": {}})), wanted);
        for none in [json!(true), json!({}), json!({"properties": 7}), json!({"$ref": "elsewhere"})] {
            assert_eq!(filled(&none, json!({"a": 1})), json!({"a": 1}));
        }
    }

    #[test]
    fn what_is_filled_in_has_a_bound_however_many_objects_there_are() {
        let tree = |width: usize| {
            let level =
                |inner: &Value| (0..width).map(|n| (format!("n{n}"), inner.clone())).collect::<Value>();
            level(&level(&json!({})))
        };
        let long = "x".repeat(60_000);
        for (name, default, what) in [
            ("d", json!(vec![0; 1000]), "65536 values"),
            ("d", json!(long), "4194304 bytes"),
            (long.as_str(), json!(1), "4194304 bytes"),
        ] {
            let mut schema = json!({"properties": {name: {"default": default}}});
            for n in 0..10 {
                schema["properties"][format!("n{n}")] = json!({"$ref": "#"});
            }
            let error = fill(&schema, &mut tree(10)).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
            assert_eq!(filled(&schema, tree(4))["n3"]["n3"][name], default);
        }
    }
}
