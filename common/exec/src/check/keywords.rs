//! Keywords of a schema that no validator knows: they check nothing, and nobody hears of it.

use redpoll_common::nearest::nearest;
use serde_json::Value;

/// What stands beneath a keyword.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beneath {
    /// Nothing that has keywords.
    Data,
    Schema,
    /// A list of schemas.
    List,
    /// Schemas by names of the author's choice.
    Named,
}

/// The keywords of draft 2020-12, with `definitions` and `dependencies`, which hold for schemas that are older.
const KEYWORDS: &[(&str, Beneath)] = &[
    ("$anchor", Beneath::Data),
    ("$comment", Beneath::Data),
    ("$defs", Beneath::Named),
    ("$dynamicAnchor", Beneath::Data),
    ("$dynamicRef", Beneath::Data),
    ("$id", Beneath::Data),
    ("$ref", Beneath::Data),
    ("$schema", Beneath::Data),
    ("$vocabulary", Beneath::Data),
    ("additionalProperties", Beneath::Schema),
    ("allOf", Beneath::List),
    ("anyOf", Beneath::List),
    ("const", Beneath::Data),
    ("contains", Beneath::Schema),
    ("contentEncoding", Beneath::Data),
    ("contentMediaType", Beneath::Data),
    ("contentSchema", Beneath::Schema),
    ("default", Beneath::Data),
    ("definitions", Beneath::Named),
    ("dependencies", Beneath::Named),
    ("dependentRequired", Beneath::Data),
    ("dependentSchemas", Beneath::Named),
    ("deprecated", Beneath::Data),
    ("description", Beneath::Data),
    ("else", Beneath::Schema),
    ("enum", Beneath::Data),
    ("examples", Beneath::Data),
    ("exclusiveMaximum", Beneath::Data),
    ("exclusiveMinimum", Beneath::Data),
    ("format", Beneath::Data),
    ("if", Beneath::Schema),
    ("items", Beneath::Schema),
    ("maxContains", Beneath::Data),
    ("maxItems", Beneath::Data),
    ("maxLength", Beneath::Data),
    ("maxProperties", Beneath::Data),
    ("maximum", Beneath::Data),
    ("minContains", Beneath::Data),
    ("minItems", Beneath::Data),
    ("minLength", Beneath::Data),
    ("minProperties", Beneath::Data),
    ("minimum", Beneath::Data),
    ("multipleOf", Beneath::Data),
    ("not", Beneath::Schema),
    ("oneOf", Beneath::List),
    ("pattern", Beneath::Data),
    ("patternProperties", Beneath::Named),
    ("prefixItems", Beneath::List),
    ("properties", Beneath::Named),
    ("propertyNames", Beneath::Schema),
    ("readOnly", Beneath::Data),
    ("required", Beneath::Data),
    ("then", Beneath::Schema),
    ("title", Beneath::Data),
    ("type", Beneath::Data),
    ("unevaluatedItems", Beneath::Schema),
    ("unevaluatedProperties", Beneath::Schema),
    ("uniqueItems", Beneath::Data),
    ("writeOnly", Beneath::Data),
];

/// Every unknown keyword of the schema at the field `at`: its field, and what to do. Names that begin with `x-` are the author's.
pub(super) fn unknown(schema: &Value, at: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(schema, at, &mut found);
    found
}

// as deep as a schema that was compiled may be, which is not deep
fn walk(schema: &Value, at: &str, found: &mut Vec<(String, String)>) {
    let Value::Object(keywords) = schema else { return };
    for (name, value) in keywords.iter().filter(|(name, _)| !name.starts_with("x-")) {
        let field = format!("{at}.{name}");
        let known = KEYWORDS.iter().find(|(known, _)| known == name);
        match (known.map(|(_, beneath)| beneath), value) {
            (None, _) => found.push((field, remedy(name))),
            (Some(Beneath::Schema), inner) => walk(inner, &field, found),
            (Some(Beneath::List), Value::Array(inner)) => {
                inner.iter().enumerate().for_each(|(n, inner)| walk(inner, &format!("{field}.{n}"), found));
            }
            (Some(Beneath::Named), Value::Object(inner)) => {
                inner.iter().for_each(|(name, inner)| walk(inner, &format!("{field}.{name}"), found));
            }
            (Some(Beneath::Data | Beneath::List | Beneath::Named), _) => {}
        }
    }
}

fn remedy(name: &str) -> String {
    let what = "JSON Schema (draft 2020-12) has no such keyword, so it checks nothing";
    match nearest(name, KEYWORDS.iter().map(|(known, _)| *known)) {
        Some(known) => format!("{what}; did you mean {known}? A name of your own begins with x-"),
        None => format!("{what}; take it out, or have it begin with x- if it is a note of your own"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_keywords_are_found_wherever_a_schema_stands_and_nowhere_else() {
        let bad = json!({"typ": "string"});
        let schema = json!({
            "type": "object",
            "requird": [],
            "x-positional": ["typ"],
            "properties": {"typ": {"type": "string", "default": {"typ": 1}}, "a": bad},
            "items": bad,
            "anyOf": [true, bad],
            "dependencies": {"a": bad, "b": ["typ"]},
            "$defs": {"b": {"not": bad}},
            "const": bad,
            "x-note": bad,
        });
        let fields: Vec<String> = unknown(&schema, "args").into_iter().map(|(field, _)| field).collect();
        let mut expected = [
            "args.$defs.b.not.typ",
            "args.anyOf.1.typ",
            "args.dependencies.a.typ",
            "args.items.typ",
            "args.properties.a.typ",
            "args.requird",
        ]
        .map(str::to_owned)
        .to_vec();
        expected.sort_by_key(|field| fields.iter().position(|found| found == field));
        assert_eq!(fields, expected);
    }

    #[test]
    fn each_comes_with_what_to_do() {
        assert!(remedy("requird").contains("did you mean required?"));
        assert!(remedy("somethingQuiteDifferent").contains("begin with x-"));
    }
}
