//! Schemas by chance that refer to themselves: none of them takes more than may be taken.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "tests")]

use std::cell::Cell;

use jsonschema::{Keyword, ValidationError};
use redpoll_common::wire::MAX_DEPTH;
use redpoll_schema::{MAX_SCHEMA_NODES, Schema, plain};
use serde_json::{Map, Value, json};

thread_local! {
    /// How many schemas were applied.
    static APPLIED: Cell<u64> = const { Cell::new(0) };
    /// How many may be.
    static MOST: Cell<u64> = const { Cell::new(0) };
}

/// A keyword that counts how often it is looked at.
struct Counter;

fn count() {
    let applied = APPLIED.get() + 1;
    APPLIED.set(applied);
    assert!(applied <= MOST.get(), "more schemas were applied than may be: {applied}");
}

impl<'i> Keyword<'i> for Counter {
    fn validate(&self, _instance: &'i Value) -> Result<(), ValidationError<'i>> {
        count();
        Ok(())
    }

    fn is_valid(&self, _instance: &'i Value) -> bool {
        count();
        true
    }
}

/// Puts the counting keyword into each part that is a schema.
fn counted(schema: &mut Value) {
    let Value::Object(words) = schema else { return };
    for (word, inner) in words.iter_mut() {
        match (word.as_str(), inner) {
            ("allOf" | "anyOf" | "oneOf" | "prefixItems", Value::Array(list)) => {
                list.iter_mut().for_each(counted)
            }
            ("properties" | "patternProperties" | "dependentSchemas" | "$defs", Value::Object(named)) => {
                named.values_mut().for_each(counted);
            }
            (
                "not"
                | "if"
                | "then"
                | "else"
                | "items"
                | "contains"
                | "additionalProperties"
                | "unevaluatedProperties"
                | "unevaluatedItems"
                | "propertyNames",
                inner,
            ) => counted(inner),
            _ => {}
        }
    }
    words.insert("x-count".to_owned(), json!(true));
}

/// How many schemas are applied to a value in all, when it is looked whether it fits and then why not.
fn applied(schema: &Value, value: &Value, most: u64) -> u64 {
    let mut plain = plain(schema).unwrap();
    counted(&mut plain);
    let options = jsonschema::options().with_keyword("x-count", |_, _, _| Ok(Box::new(Counter)));
    let validator = options.build(&plain).unwrap();
    APPLIED.set(0);
    MOST.set(most);
    if !validator.is_valid(value) {
        validator.iter_errors(value).for_each(drop);
    }
    APPLIED.get()
}

fn parts(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items.iter().map(parts).sum::<u64>() + 1,
        Value::Object(entries) => entries.values().map(parts).sum::<u64>() + 1 + entries.len() as u64,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

/// Tells the seed of a test that fails.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("seed {}", self.0);
        }
    }
}

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn schema(&mut self, deepest: usize) -> Value {
        let mut words = Map::new();
        for _ in 0..=self.below(3) {
            let word = self.one(&[
                "$ref",
                "$ref",
                "$dynamicRef",
                "allOf",
                "anyOf",
                "oneOf",
                "not",
                "if",
                "then",
                "properties",
                "properties",
                "patternProperties",
                "additionalProperties",
                "unevaluatedProperties",
                "items",
                "items",
                "prefixItems",
                "contains",
                "unevaluatedItems",
                "dependentSchemas",
                "propertyNames",
                "type",
                "required",
            ]);
            let value = match word {
                "$ref" => json!(self.one(&["r", "r#/$defs/a", "r#/$defs/b", "r#b", "c", "c#t"])),
                "$dynamicRef" => json!(self.one(&["#t", "r#t", "c#t"])),
                "type" => json!(self.one(&["object", "array", "integer"])),
                "required" => json!([self.one(&["a", "b"])]),
                _ if deepest == 0 => continue,
                "allOf" | "anyOf" | "oneOf" | "prefixItems" => {
                    (0..=self.below(2)).map(|_| self.schema(deepest - 1)).collect()
                }
                "properties" | "patternProperties" | "dependentSchemas" => {
                    let named = (0..=self.below(2))
                        .map(|_| (self.one(&["a", "b"]).to_owned(), self.schema(deepest - 1)));
                    Value::Object(named.collect())
                }
                _ => self.schema(deepest - 1),
            };
            words.insert(word.to_owned(), value);
        }
        Value::Object(words)
    }

    fn document(&mut self) -> Value {
        let mut root = self.schema(3);
        let mut part = |named: &Value| {
            let mut part = self.schema(2);
            part.as_object_mut().unwrap().extend(named.as_object().unwrap().clone());
            part
        };
        let (a, b, c) = (
            part(&json!({})),
            part(&json!({"$anchor": "b"})),
            part(&json!({"$id": "c", "$dynamicAnchor": "t"})),
        );
        // most go down into the value somewhere
        for (word, to) in [("properties", json!({"a": {"$ref": "r"}})), ("items", json!({"$ref": "r#b"}))] {
            if self.below(3) > 0 {
                root[word] = to;
            }
        }
        root["$defs"] = json!({"a": a, "b": b, "c": c});
        root["$dynamicAnchor"] = json!("t");
        root["$id"] = json!("https://example.org/r");
        root
    }

    /// A value of one or two kinds of levels, so that what refers to itself has a way down.
    fn value(&mut self, deepest: usize) -> Value {
        let (one, other) = (self.below(4), self.below(4));
        let mut value = if self.below(2) == 0 { json!(1) } else { json!("x") };
        for _ in 0..deepest {
            value = match if self.below(4) == 0 { other } else { one } {
                0 => json!([value]),
                1 => json!({"b": value, "a": 1}),
                2 => json!({"a": value, "c": "x"}),
                _ => json!({"a": value}),
            };
        }
        value
    }
}

#[test]
fn whatever_a_schema_refers_to_the_schemas_that_are_applied_have_a_bound() {
    // to repeat one that failed, begin with its seed
    let first = 1;
    let (mut taken, mut deep) = (0, 0);
    for seed in first..first + 200 {
        let _told = Told(seed);
        let mut dice = Dice(seed);
        let schema = dice.document();
        let Ok(compiled) = Schema::compile(&schema) else { continue };
        taken += 1;
        for _ in 0..4 {
            let value = json!({"a": dice.value(MAX_DEPTH - 1)});
            _ = compiled.check_json(&value);
            let mut filled = value.clone();
            _ = compiled.fill_defaults(&schema, &mut filled);
            let most = MAX_SCHEMA_NODES.saturating_mul(parts(&value));
            let applied = applied(&schema, &value, most);
            deep += u64::from(applied > 50);
            if applied > 300 {
                println!("{applied} {schema}");
            }
        }
    }
    assert!(taken > 20 && deep > 15, "{taken} were taken, {deep} went deep");
}
