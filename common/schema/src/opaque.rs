//! The arguments into which a schema does not look: a piece of a file must not be turned into text to find that it is a text.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Bytes from which it is worth it.
pub(crate) const LARGE: usize = 1024;

/// Keywords that say something about the object of all arguments without looking into one, `properties` aside.
const AROUND: [&str; 14] = [
    "$comment",
    "$schema",
    "additionalProperties",
    "default",
    "dependentRequired",
    "deprecated",
    "description",
    "examples",
    "maxProperties",
    "minProperties",
    "required",
    "title",
    "type",
    crate::POSITIONAL,
];
/// Keywords that ask of a text no more than that it is one.
const SHALLOW: [&str; 11] = [
    "$comment",
    "contentEncoding",
    "contentMediaType",
    "default",
    "deprecated",
    "description",
    "examples",
    "format",
    "readOnly",
    "title",
    "type",
];

/// The names of arguments of which a schema asks their type at most. Anything that is not plainly so is not among them.
pub(crate) fn opaque(schema: &Value) -> BTreeSet<String> {
    let only = |keywords: &Map<String, Value>, known: &[&str]| {
        keywords.keys().all(|keyword| known.contains(&keyword.as_str()))
    };
    let Value::Object(root) = schema else { return BTreeSet::new() };
    let Some(Value::Object(properties)) = root.get("properties") else { return BTreeSet::new() };
    let around = root.iter().all(|(keyword, value)| match keyword.as_str() {
        "properties" => true,
        "additionalProperties" => value.is_boolean(),
        other => AROUND.contains(&other),
    });
    if !around {
        return BTreeSet::new();
    }
    let shallow = |property: &Value| match property {
        Value::Bool(any) => *any,
        Value::Object(keywords) => only(keywords, &SHALLOW),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => false,
    };
    properties.iter().filter(|(_, property)| shallow(property)).map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_plainly_not_looked_into_is_opaque() {
        let plain = json!({"type": "object", "required": ["data"], "additionalProperties": false, "properties": {
            "data": {"type": "string", "contentEncoding": "base64", "description": "d"}, "any": true, "never": false,
            "id": {"type": "string", "pattern": "^a"}, "short": {"maxLength": 3}, "one": {"enum": ["x"]},
            "either": {"anyOf": [{"type": "string"}]}, "other": {"$ref": "#/$defs/o"},
        }});
        assert_eq!(opaque(&plain).into_iter().collect::<Vec<_>>(), ["any", "data"]);
        for beside in
            ["allOf", "not", "patternProperties", "propertyNames", "unevaluatedProperties", "const", "$ref"]
        {
            let mut schema = plain.clone();
            schema[beside] = json!({});
            assert!(opaque(&schema).is_empty(), "{beside}");
        }
        let mut schema = plain;
        schema["additionalProperties"] = json!({"maxLength": 3});
        assert!(opaque(&schema).is_empty());
        assert!(opaque(&json!(true)).is_empty() && opaque(&json!({})).is_empty());
    }
}
