//! An example of a call that its schema lets pass, as far as that is easy to see.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::sanitize::line;
use crate::schema_help::{Argument, DEEPEST, merged};
use crate::schema_types::{choices, types, values};
use redpoll_common::typed::{is_key, stands_for_itself};

/// What stands for a text that somebody has to think of.
const TEXT: &str = "TEXT";
/// How many elements an example has at most, whatever a list wants.
const MOST_ELEMENTS: u64 = 3;
/// How many entries an object of an example has at most, whatever it must have.
const MOST_ENTRIES: usize = 50;

/// The arguments that are required, or else the first one. What is no key would be something else on a command line, such as an option.
pub(crate) fn example(arguments: &[Argument]) -> String {
    let typeable = || arguments.iter().filter(|argument| is_key(&argument.name));
    let shown: Vec<&Argument> = typeable().filter(|argument| argument.required).collect();
    let shown = if shown.is_empty() { typeable().take(1).collect() } else { shown };
    shown.into_iter().map(|argument| format!(" {}", typed(argument))).collect()
}

/// One argument as it is typed. A text behind `=` may be given where a text fits, and whatever else too.
pub(crate) fn typed(argument: &Argument) -> String {
    let name = line(&argument.name);
    let given = argument.default.as_ref().or_else(|| argument.values.first()).unwrap_or(&argument.sample);
    let text = given.as_str().filter(|_| argument.is_text || argument.is_any);
    let typed = match text {
        Some(text) => format!("{name}={}", as_text(text)),
        None => format!("{name}:={}", line(&given.to_string())),
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.=:/@,+".contains(c);
    if typed.chars().all(is_plain) { typed } else { format!("'{}'", typed.replace('\'', "'\\''")) }
}

/// A text behind `=`, where a leading `@` would mean a file.
fn as_text(text: &str) -> String {
    let escape = if stands_for_itself(text) { "" } else { "\\" };
    format!("{escape}{}", line(text))
}

/// A value that a schema within the document lets pass. Each value within it is one of those that are left; then there are only texts.
pub(crate) fn sample(root: &Value, schema: &Value, deepest: usize, left: &mut usize) -> Value {
    let Some(fewer) = left.checked_sub(1) else { return Value::from(TEXT) };
    *left = fewer;
    let words = merged(root, schema, DEEPEST, left);
    let listed = || values(root, schema, &words).into_iter().next();
    if let Some(given) = words.get("default").cloned().or_else(listed) {
        return given;
    }
    let kinds = types(&words);
    let kind = kinds.iter().find(|kind| **kind != "null").or_else(|| kinds.first()).copied();
    let deeper = deepest.checked_sub(1);
    match (kind, deeper) {
        (Some("integer" | "number"), _) => number(&words),
        (Some("boolean"), _) => Value::Bool(true),
        (Some("null"), _) => Value::Null,
        (Some("array"), None) => Value::Array(Vec::new()),
        (Some("array"), Some(deeper)) => {
            let least = words.get("minItems").and_then(Value::as_u64).unwrap_or_default().min(MOST_ELEMENTS);
            let items = words.get("items");
            // each anew: copies of lists within lists would be many more than are left
            let element =
                |_| items.map_or_else(|| Value::from(TEXT), |items| sample(root, items, deeper, left));
            (0..least).map(element).collect()
        }
        (Some("object"), None) => Value::Object(Map::new()),
        (Some("object"), Some(deeper)) => object(root, &words, deeper, left),
        (Some(_), _) => Value::from(TEXT),
        (None, Some(deeper)) => {
            let is_value = |choice: &&Value| choice.get("type") != Some(&Value::from("null"));
            match choices(schema).find(is_value) {
                Some(choice) => sample(root, choice, deeper, left),
                None if words.contains_key("properties") => object(root, &words, deeper, left),
                None => Value::from(TEXT),
            }
        }
        (None, None) => Value::from(TEXT),
    }
}

/// What an object must have. A name may stand there many times.
fn object(root: &Value, words: &Map<String, Value>, deeper: usize, left: &mut usize) -> Value {
    let required = words.get("required").and_then(Value::as_array);
    let mut seen = BTreeSet::new();
    let names = required.into_iter().flatten().filter_map(Value::as_str).filter(|name| seen.insert(*name));
    let of = |name: &str| words.get("properties").and_then(|properties| properties.get(name));
    let entries = names.take(MOST_ENTRIES).map(|name| {
        let value =
            of(name).map_or_else(|| Value::from(TEXT), |property| sample(root, property, deeper, left));
        (name.to_owned(), value)
    });
    Value::Object(entries.collect())
}

/// 1, or what is nearest to it within the bounds.
fn number(words: &Map<String, Value>) -> Value {
    let beside = |word: &str, step: i64| {
        let bound = words.get(word)?;
        let whole = bound.as_i64().and_then(|bound| bound.checked_add(step)).map(Value::from);
        whole.or_else(|| {
            bound.as_f64().map(|bound| Value::from(bound.floor() + if step > 0 { 1.0 } else { 0.0 }))
        })
    };
    let least = words.get("minimum").cloned().or_else(|| beside("exclusiveMinimum", 1));
    let most = words.get("maximum").cloned().or_else(|| beside("exclusiveMaximum", -1));
    let step = words.get("multipleOf").filter(|step| step.as_f64().is_some_and(|step| step > 1.0)).cloned();
    let start = step.unwrap_or_else(|| Value::from(1));
    let is_beyond = |bound: &Value, wanted: fn(f64, f64) -> bool| {
        bound.as_f64().zip(start.as_f64()).is_some_and(|(bound, start)| wanted(start, bound))
    };
    let bound = least.filter(|bound| is_beyond(bound, |start, bound| start < bound));
    bound.or_else(|| most.filter(|bound| is_beyond(bound, |start, bound| start > bound))).unwrap_or(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_sample_fits_its_schema() {
        let root = json!({"$defs": {
            "Node": {"type": "object", "required": ["name", "next"], "properties": {
                "name": {"type": "string"}, "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/Leaf"}]},
            }},
            "Leaf": {"type": "object", "required": ["size"], "properties": {"size": {"type": "integer", "minimum": 7}}},
        }});
        for (schema, expected) in [
            (json!({"$ref": "#/$defs/Node"}), json!({"name": "TEXT", "next": {"size": 7}})),
            (json!({"type": "array", "minItems": 1, "items": {"type": "integer"}}), json!([1])),
            (json!({"type": "array", "items": {"type": "integer"}}), json!([])),
            (json!({"type": "array", "minItems": 1}), json!(["TEXT"])),
            (
                json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "boolean"}, "b": {}}}),
                json!({"a": true}),
            ),
            (json!({"type": ["null", "string"]}), json!("TEXT")),
            (json!({"anyOf": [{"type": "null"}, {"type": "array"}]}), json!([])),
            (json!({"type": "integer", "minimum": 5}), json!(5)),
            (json!({"type": "integer", "maximum": -2}), json!(-2)),
            (json!({"type": "integer", "exclusiveMinimum": 1}), json!(2)),
            (json!({"type": "integer", "multipleOf": 10}), json!(10)),
            (json!({"type": "null"}), json!(null)),
            (json!({}), json!("TEXT")),
        ] {
            assert_eq!(sample(&root, &schema, DEEPEST, &mut 100), expected, "{schema}");
        }
    }

    #[test]
    fn a_sample_of_a_schema_that_is_wide_at_each_step_ends() {
        let within = |names: &[String], inner: Value| {
            let properties: Map<String, Value> =
                names.iter().map(|name| (name.clone(), inner.clone())).collect();
            json!({"type": "object", "required": names, "properties": properties})
        };
        let same = vec!["a".to_owned(); 50];
        let repeated = (0..8).fold(json!({"type": "integer"}), |inner, _| within(&same, inner));
        let wanted = (0..8).fold(json!(1), |inner, _| json!({"a": inner}));
        let mut left = 100;
        assert_eq!(sample(&repeated, &repeated, DEEPEST, &mut left), wanted);
        assert_eq!(left, 91);
        // names that differ, and more than are shown
        let many: Vec<String> = (0..200).map(|n| format!("a{n}")).collect();
        let root = json!({"$defs": {"Node": within(&many, json!({"$ref": "#/$defs/Node"}))}});
        let mut left = 500;
        let found = sample(&root, &json!({"$ref": "#/$defs/Node"}), DEEPEST, &mut left);
        assert_eq!((found.as_object().map(Map::len), left), (Some(MOST_ENTRIES), 0));
        // lists of lists
        let lists = (0..8).fold(
            json!({"default": "x"}),
            |items, _| json!({"type": "array", "minItems": 9, "items": items}),
        );
        let found = sample(&lists, &lists, DEEPEST, &mut 500).to_string();
        assert!((1..=500).contains(&found.matches("\"x\"").count()), "{found}");
    }
}
