//! The defaults that a schema names, filled in for a judgement: what is left out is not nothing.
//!
//! Which of them hold may depend on what is there: on the choice of `anyOf` that it fits, on `if`. Where several choices fit and do not
//! agree, nobody can say what the procedure makes of it, and that is told as [`Unknown`].

use std::collections::BTreeSet;
use std::fmt::Display;

use serde_json::{Map, Value};

use crate::applied::{Absent, Applied, Key};
use crate::fit::Judge;
use crate::plain::{text, values};
use crate::{ArgumentError, Unknown};

/// How deep is looked into values, those that were filled in among them.
const DEEPEST: usize = 64;

/// Values that may be filled in. In a schema that refers to itself each object gets the same defaults again.
pub const MAX_FILLED_VALUES: u64 = 65_536;
/// Bytes of the texts and names that may be filled in.
pub const MAX_FILLED_BYTES: usize = 4 * 1024 * 1024;

/// Fills in the defaults of a schema with plain references, of those arguments that it is `about`. `seen` are the same arguments as the
/// schema sees them.
pub(crate) fn fill(
    schema: &Value,
    seen: &Value,
    arguments: &mut Value,
    about: impl Fn(&str) -> bool,
) -> Result<Unknown, ArgumentError> {
    let judge = Judge::new(schema);
    let mut filler = Filler { judge, values: MAX_FILLED_VALUES, bytes: MAX_FILLED_BYTES };
    let mut applied = Applied::default();
    applied.add(&mut filler.judge, schema, seen);
    let (Value::Object(named), Value::Object(entries)) = (seen, arguments) else {
        return Ok(Unknown::default());
    };
    let unknown = filler.object(&applied, named, entries, (DEEPEST, &about))?;
    // whose defaults were not all looked for could be anything
    Ok(if filler.judge.look(0) { unknown } else { Unknown::whole() })
}

/// Whether a schema may name a default at all.
pub(crate) fn has_any(schema: &Value) -> bool {
    match schema {
        Value::Object(entries) => entries.contains_key("default") || entries.values().any(has_any),
        Value::Array(items) => items.iter().any(has_any),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

struct Filler<'s> {
    judge: Judge<'s>,
    /// What may still be filled in.
    values: u64,
    bytes: usize,
}

impl<'s> Filler<'s> {
    fn fill(
        &mut self,
        applied: &Applied<'s>,
        seen: &Value,
        value: &mut Value,
        deepest: usize,
    ) -> Result<Unknown, ArgumentError> {
        if applied.is_empty() || !self.judge.look(1) {
            return Ok(Unknown::default());
        }
        let deeper = deepest.checked_sub(1);
        match (seen, value, deeper) {
            (Value::Object(seen), Value::Object(entries), Some(deeper)) => {
                self.object(applied, seen, entries, (deeper, &|_| true))
            }
            (Value::Array(seen), Value::Array(items), Some(deeper)) => {
                self.list(applied, seen, items, deeper)
            }
            (Value::Object(_), Value::Object(_), None) | (Value::Array(_), Value::Array(_), None) => {
                Ok(Unknown::whole())
            }
            // what has nothing within, and a text in place of bytes
            (
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_)
                | Value::Object(_),
                _,
                _,
            ) => Ok(Unknown::default()),
        }
    }

    fn object(
        &mut self,
        applied: &Applied<'s>,
        seen: &Map<String, Value>,
        entries: &mut Map<String, Value>,
        (deeper, about): (usize, &dyn Fn(&str) -> bool),
    ) -> Result<Unknown, ArgumentError> {
        let mut unknown = Unknown::default();
        for (name, inner) in entries.iter_mut().filter(|(name, _)| about(name)) {
            let Some(seen) = seen.get(name) else { continue };
            unknown.add(name, self.within(applied, Key::Name(name), seen, inner, deeper)?);
        }
        let mut names = BTreeSet::new();
        applied.names(&mut self.judge, &mut names);
        for name in names {
            if entries.contains_key(name) || !about(name) {
                continue;
            }
            match applied.absent(&mut self.judge, Key::Name(name)) {
                Absent::Nothing => {}
                Absent::Unknown => unknown.add(name, Unknown::whole()),
                Absent::Default(default) => {
                    self.take(name, default)?;
                    let mut inner = default.clone();
                    unknown.add(name, self.within(applied, Key::Name(name), default, &mut inner, deeper)?);
                    entries.insert(name.to_owned(), inner);
                }
            }
        }
        Ok(unknown)
    }

    fn list(
        &mut self,
        applied: &Applied<'s>,
        seen: &[Value],
        items: &mut Vec<Value>,
        deeper: usize,
    ) -> Result<Unknown, ArgumentError> {
        let mut unknown = Unknown::default();
        for (place, (inner, seen)) in items.iter_mut().zip(seen).enumerate() {
            if inner.is_object() || inner.is_array() {
                let within = self.within(applied, Key::Place(place), seen, inner, deeper)?;
                unknown.add(&place.to_string(), within);
            }
        }
        // elements that are left out at the end
        loop {
            let place = items.len();
            match applied.absent(&mut self.judge, Key::Place(place)) {
                Absent::Nothing => break,
                Absent::Unknown => {
                    unknown.add(&place.to_string(), Unknown::whole());
                    break;
                }
                Absent::Default(default) => {
                    self.take("", default)?;
                    let mut inner = default.clone();
                    let within = self.within(applied, Key::Place(place), default, &mut inner, deeper)?;
                    unknown.add(&place.to_string(), within);
                    items.push(inner);
                }
            }
        }
        Ok(unknown)
    }

    /// Fills in what is within the value of a name or at a place.
    fn within(
        &mut self,
        applied: &Applied<'s>,
        key: Key<'_>,
        seen: &Value,
        value: &mut Value,
        deeper: usize,
    ) -> Result<Unknown, ArgumentError> {
        if !(value.is_object() || value.is_array()) {
            return Ok(Unknown::default());
        }
        let within = applied.within(&mut self.judge, key, seen);
        self.fill(&within, seen, value, deeper)
    }

    /// Takes a default off what may be filled in.
    fn take(&mut self, name: &str, default: &Value) -> Result<(), ArgumentError> {
        let beyond = |max: &dyn Display, what: &str| {
            let text = format!("the defaults for what is left out in them have more than {max} {what}");
            ArgumentError(text)
        };
        let (values, bytes) = (values(default), text(default).saturating_add(name.len()));
        let left = self.values.checked_sub(values);
        self.values = left.ok_or_else(|| beyond(&MAX_FILLED_VALUES, "values"))?;
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.ok_or_else(|| beyond(&MAX_FILLED_BYTES, "bytes"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filled(schema: &Value, mut arguments: Value) -> Value {
        let seen = arguments.clone();
        fill(schema, &seen, &mut arguments, |_| true).unwrap();
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
    fn references_are_followed() {
        let schema = json!({"$defs": {"Stage": {"enum": ["live"], "default": "live"}, 
            "Deep": {"properties": {"a": {"default": 1}}}},
            "properties": {"stage": {"$ref": "#/$defs/Stage"}, "own": {"$ref": "#/$defs/Stage", "default": "test"}, "deep": {"$ref": "#/$defs/Deep"}}});
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
            let error = fill(&schema, &tree(10), &mut tree(10), |_| true).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
            assert_eq!(filled(&schema, tree(4))["n3"]["n3"][name], default);
        }
    }
}
