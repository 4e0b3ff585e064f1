//! The defaults that a schema names, filled in for a judgement: what is left out is not nothing.

use serde_json::{Map, Value};

/// How many references follow each other, and how deep objects are looked into. A schema that was compiled has less.
const DEEPEST: usize = 64;

/// Fills in the defaults of a schema with plain references.
pub(crate) fn fill(schema: &Value, arguments: &mut Value) {
    fill_in(schema, schema, arguments, DEEPEST);
}

fn fill_in(root: &Value, schema: &Value, value: &mut Value, deepest: usize) {
    let Some(deeper) = deepest.checked_sub(1) else { return };
    let Value::Object(entries) = value else { return };
    for part in parts(root, schema, deeper) {
        let properties = part.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            match entries.get_mut(name) {
                Some(inner) => fill_in(root, property, inner, deeper),
                None => insert(root, name, property, entries, deeper),
            }
        }
    }
}

fn insert(root: &Value, name: &str, property: &Value, entries: &mut Map<String, Value>, deepest: usize) {
    let default = parts(root, property, deepest).into_iter().find_map(|part| part.get("default"));
    if let Some(default) = default {
        entries.insert(name.to_owned(), default.clone());
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
        fill(schema, &mut arguments);
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
}
