//! Every keyword of draft 2020-12, as it holds for arguments: what fits passes, and of what does not the error names path and rule.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;

use redpoll_schema::Schema;
use serde_json::{Value, json};

/// The vocabularies of the draft, with `definitions` and `dependencies`, which it keeps for older schemas.
const VOCABULARIES: &str = "
    $anchor $comment $defs $dynamicAnchor $dynamicRef $id $ref $schema $vocabulary
    additionalProperties allOf anyOf contains dependentSchemas else if items not oneOf patternProperties prefixItems properties
    propertyNames then
    unevaluatedItems unevaluatedProperties
    const dependentRequired enum exclusiveMaximum exclusiveMinimum maxContains maxItems maxLength maxProperties maximum minContains
    minItems minLength minProperties minimum multipleOf pattern required type uniqueItems
    default deprecated description examples readOnly title writeOnly
    format
    contentEncoding contentMediaType contentSchema
    definitions dependencies";

/// A keyword, a schema of the argument `v` with it, what fits, what does not with the path and the end of the rule that the error names.
type Row = (&'static str, Value, Value, Value, &'static str, &'static str);

fn core() -> Vec<Row> {
    let number = json!({"type": "integer"});
    vec![
        ("$ref", json!({"$ref": "#/$defs/number"}), json!(1), json!("x"), "v", "/$defs/number/type"),
        (
            "$defs",
            json!({"$defs": {"n": number}, "$ref": "#/properties/v/$defs/n"}),
            json!(1),
            json!("x"),
            "v",
            "/$defs/n/type",
        ),
        (
            "definitions",
            json!({"definitions": {"n": number}, "$ref": "#/properties/v/definitions/n"}),
            json!(1),
            json!("x"),
            "v",
            "/definitions/n/type",
        ),
        ("$anchor", json!({"$ref": "#text"}), json!("x"), json!(1), "v", "/$defs/text/type"),
        ("$dynamicAnchor", json!({"$ref": "#list"}), json!([]), json!(1), "v", "/$defs/list/type"),
        ("$dynamicRef", json!({"$dynamicRef": "#list"}), json!([]), json!(1), "v", "/$defs/list/type"),
        (
            "$id",
            json!({"$ref": "https://example.org/inner#/$defs/n"}),
            json!(1),
            json!("x"),
            "v",
            "/$defs/inner/$defs/n/type",
        ),
        (
            "$schema",
            json!({"$ref": "https://example.org/inner"}),
            json!(null),
            json!("x"),
            "v",
            "/$defs/inner/type",
        ),
    ]
}

fn choices() -> Vec<Row> {
    let number = json!({"type": "integer"});
    vec![
        ("allOf", json!({"allOf": [true, number]}), json!(1), json!("x"), "v", "/allOf/1/type"),
        ("anyOf", json!({"anyOf": [number, {"type": "null"}]}), json!(null), json!("x"), "v", "/anyOf"),
        ("oneOf", json!({"oneOf": [number, {"minimum": 5}]}), json!(1), json!(7), "v", "/oneOf"),
        ("not", json!({"not": number}), json!("x"), json!(1), "v", "/not"),
        ("if", json!({"if": number, "then": {"minimum": 3}}), json!("x"), json!(1), "v", "/then/minimum"),
        ("then", json!({"if": number, "then": {"minimum": 3}}), json!(4), json!(2), "v", "/then/minimum"),
        ("else", json!({"if": number, "else": {"type": "null"}}), json!(null), json!("x"), "v", "/else/type"),
    ]
}

fn of_objects() -> Vec<Row> {
    let number = json!({"type": "integer"});
    vec![
        (
            "dependentSchemas",
            json!({"dependentSchemas": {"a": {"required": ["b"]}}}),
            json!({"a": 1, "b": 1}),
            json!({"a": 1}),
            "v",
            "/dependentSchemas/a/required",
        ),
        (
            "dependencies",
            json!({"dependencies": {"a": {"required": ["b"]}, "c": ["d"]}}),
            json!({"a": 1, "b": 1}),
            json!({"a": 1}),
            "v",
            "/dependencies/a/required",
        ),
        (
            "properties",
            json!({"properties": {"a": number}}),
            json!({"a": 1, "b": "x"}),
            json!({"a": "x"}),
            "v.a",
            "/properties/a/type",
        ),
        (
            "patternProperties",
            json!({"patternProperties": {"^a": number}}),
            json!({"b": "x"}),
            json!({"ab": "x"}),
            "v.ab",
            "/patternProperties/^a/type",
        ),
        (
            "additionalProperties",
            json!({"properties": {"a": true}, "additionalProperties": number}),
            json!({"a": "x", "b": 1}),
            json!({"b": "x"}),
            "v.b",
            "/additionalProperties/type",
        ),
        (
            "propertyNames",
            json!({"propertyNames": {"maxLength": 2}}),
            json!({"ab": 1}),
            json!({"abc": 1}),
            "v",
            "/propertyNames/maxLength",
        ),
    ]
}

fn of_lists() -> Vec<Row> {
    let number = json!({"type": "integer"});
    vec![
        (
            "prefixItems",
            json!({"prefixItems": [number]}),
            json!([1, "x"]),
            json!(["x"]),
            "v.0",
            "/prefixItems/0/type",
        ),
        (
            "items",
            json!({"prefixItems": [true], "items": number}),
            json!(["x", 1]),
            json!(["x", "y"]),
            "v.1",
            "/items/type",
        ),
        ("contains", json!({"contains": number}), json!(["x", 1]), json!(["x"]), "v", "/contains"),
        (
            "unevaluatedProperties",
            json!({"allOf": [{"properties": {"a": true}}], "unevaluatedProperties": false}),
            json!({"a": 1}),
            json!({"b": 1}),
            "v",
            "/unevaluatedProperties",
        ),
        (
            "unevaluatedItems",
            json!({"allOf": [{"prefixItems": [true]}], "unevaluatedItems": false}),
            json!([1]),
            json!([1, 2]),
            "v",
            "/unevaluatedItems",
        ),
    ]
}

fn rows() -> impl Iterator<Item = Row> {
    [core(), choices(), of_objects(), of_lists(), validation()].into_iter().flatten()
}

fn validation() -> Vec<Row> {
    vec![
        ("type", json!({"type": ["integer", "null"]}), json!(1.0), json!(1.5), "v", "/type"),
        ("enum", json!({"enum": ["a", null]}), json!(null), json!("b"), "v", "/enum"),
        ("const", json!({"const": {"a": 1}}), json!({"a": 1.0}), json!({"a": 2}), "v", "/const"),
        ("multipleOf", json!({"multipleOf": 0.1}), json!(0.3), json!(0.25), "v", "/multipleOf"),
        ("maximum", json!({"maximum": 3}), json!(3), json!(3.5), "v", "/maximum"),
        ("exclusiveMaximum", json!({"exclusiveMaximum": 3}), json!(2.5), json!(3), "v", "/exclusiveMaximum"),
        ("minimum", json!({"minimum": 3}), json!(3), json!(2), "v", "/minimum"),
        ("exclusiveMinimum", json!({"exclusiveMinimum": 3}), json!(4), json!(3), "v", "/exclusiveMinimum"),
        ("maxLength", json!({"maxLength": 2}), json!("äö"), json!("abc"), "v", "/maxLength"),
        ("minLength", json!({"minLength": 2}), json!("äö"), json!("ä"), "v", "/minLength"),
        ("pattern", json!({"pattern": "b+"}), json!("abc"), json!("ac"), "v", "/pattern"),
        ("maxItems", json!({"maxItems": 1}), json!([1]), json!([1, 2]), "v", "/maxItems"),
        ("minItems", json!({"minItems": 1}), json!([1]), json!([]), "v", "/minItems"),
        ("uniqueItems", json!({"uniqueItems": true}), json!([1, "1"]), json!([1, 1.0]), "v", "/uniqueItems"),
        (
            "maxContains",
            json!({"contains": {"const": 1}, "maxContains": 1}),
            json!([1, 2]),
            json!([1, 1]),
            "v",
            "/maxContains",
        ),
        (
            "minContains",
            json!({"contains": {"const": 1}, "minContains": 2}),
            json!([1, 1]),
            json!([1]),
            "v",
            "/minContains",
        ),
        (
            "maxProperties",
            json!({"maxProperties": 1}),
            json!({"a": 1}),
            json!({"a": 1, "b": 2}),
            "v",
            "/maxProperties",
        ),
        ("minProperties", json!({"minProperties": 1}), json!({"a": 1}), json!({}), "v", "/minProperties"),
        ("required", json!({"required": ["a"]}), json!({"a": null}), json!({}), "v", "/required"),
        (
            "dependentRequired",
            json!({"dependentRequired": {"a": ["b"]}}),
            json!({"b": 1}),
            json!({"a": 1}),
            "v",
            "/dependentRequired",
        ),
    ]
}

/// Keywords that say something about a value and refuse none: a value that a strict reading would refuse.
fn notes() -> Vec<(&'static str, Value, Value)> {
    vec![
        ("$comment", json!({"$comment": "no rule"}), json!(1)),
        ("$vocabulary", json!({"$vocabulary": {"https://example.org/own": false}}), json!(1)),
        ("title", json!({"title": "A"}), json!(1)),
        ("description", json!({"description": "a text"}), json!(1)),
        ("default", json!({"default": 1}), json!("x")),
        ("examples", json!({"examples": [1, 2]}), json!("x")),
        ("deprecated", json!({"deprecated": true}), json!(1)),
        ("readOnly", json!({"readOnly": true}), json!(1)),
        ("writeOnly", json!({"writeOnly": true}), json!(1)),
        ("format", json!({"format": "email"}), json!("nobody")),
        ("contentEncoding", json!({"contentEncoding": "base64"}), json!("%")),
        ("contentMediaType", json!({"contentMediaType": "application/json"}), json!("{")),
        (
            "contentSchema",
            json!({"contentMediaType": "application/json", "contentSchema": {"type": "null"}}),
            json!("1"),
        ),
    ]
}

/// A schema with places of all kinds beside the argument `v`.
fn around(v: &Value) -> Schema {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://example.org/outer",
        "$defs": {
            "number": {"type": "integer"},
            "text": {"$anchor": "text", "type": "string"},
            "list": {"$dynamicAnchor": "list", "type": "array"},
            "inner": {
                "$id": "inner", "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "null",
                "$defs": {"n": {"type": "integer"}},
            },
        },
        "properties": {"v": v},
    });
    Schema::compile(&schema).unwrap_or_else(|error| panic!("{v}: {error}"))
}

#[test]
fn every_keyword_that_refuses_something_is_named_with_the_path() {
    for (keyword, schema, good, bad, path, rule) in rows() {
        let schema = around(&schema);
        assert_eq!(schema.check_json(&json!({"v": good})), Ok(()), "{keyword}");
        let error = schema.check_json(&json!({"v": bad})).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{path}: ")), "{keyword}: {error}");
        assert!(error.ends_with(&format!("{rule})")), "{keyword}: {error}");
        assert!(error.contains("(rule /"), "{keyword}: {error}");
    }
}

#[test]
fn a_note_refuses_nothing() {
    for (keyword, schema, value) in notes() {
        assert_eq!(around(&schema).check_json(&json!({"v": value})), Ok(()), "{keyword}");
    }
}

#[test]
fn no_keyword_is_left_out() {
    let all: BTreeSet<&str> = VOCABULARIES.split_whitespace().collect();
    let rules = rows().map(|row| row.0);
    let tested: BTreeSet<&str> = rules.chain(notes().into_iter().map(|row| row.0)).collect();
    assert_eq!(tested, all);
}
