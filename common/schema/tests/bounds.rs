//! What the schemas of other machines may cost: time, memory and stack have bounds, whatever they refer to.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use redpoll_common::wire::{MAX_DEPTH, Raw};
use redpoll_schema::{MAX_SCHEMA_CHAIN, MAX_SCHEMA_STEPS, Schema, SchemaError};
use serde_json::{Map, Value, json};

fn refused(schema: &Value) -> String {
    Schema::compile(schema).err().unwrap_or_else(|| panic!("{schema} was taken")).to_string()
}

/// Definitions that refer to each other in a row, and the root to the first.
fn chain(len: usize, last: Value, link: impl Fn(Value) -> Value) -> Value {
    let mut defs = Map::new();
    for n in 0..len {
        defs.insert(format!("l{n}"), link(json!({"$ref": format!("#/$defs/l{}", n + 1)})));
    }
    defs.insert(format!("l{len}"), last);
    json!({"$ref": "#/$defs/l0", "$defs": defs})
}

/// A value as deep as the wire lets through, of maps with one name or of lists.
fn deepest(leaf: Value, is_list: bool) -> Value {
    let around = |inner| if is_list { json!([inner]) } else { json!({"a": inner}) };
    // the map of arguments is one level, and the leaf may be one
    let levels = MAX_DEPTH - 1 - usize::from(leaf.is_object());
    json!({"a": (0..levels).fold(leaf, |inner, _| around(inner))})
}

#[test]
fn a_chain_of_references_does_not_take_the_stack() {
    // the test's thread has the two megabytes of the threads that check calls
    for len in [MAX_SCHEMA_CHAIN, 300, 800, 1500] {
        let mut schema = chain(len, json!({"required": ["a"]}), |link| link);
        assert!(matches!(Schema::compile(&schema), Err(SchemaError::TooLarge { .. })), "{len}");
        schema["unevaluatedProperties"] = json!(false);
        assert!(matches!(Schema::compile(&schema), Err(SchemaError::TooLarge { .. })), "{len}");
    }
    let longest = chain(MAX_SCHEMA_CHAIN - 2, json!({"required": ["a"]}), |link| link);
    assert!(Schema::compile(&longest).unwrap().check_json(&json!({})).is_err());
    // as many, but each a level deeper
    let down = |len| chain(len, json!(false), |link| json!({"properties": {"a": link}}));
    assert!(Schema::compile(&down(500)).unwrap().check_json(&deepest(json!(1), false)).is_ok());
}

/// The same value in choices within choices, to the last of which it comes down.
fn wrapped(keyword: &str, mut inner: Value, times: usize) -> Value {
    for _ in 0..times {
        inner = match keyword {
            "anyOf" | "oneOf" | "allOf" => json!({keyword: [inner, {"type": ["integer", "object"]}]}),
            "if" => json!({"if": inner, "then": true, "else": false}),
            "then" => json!({"if": true, "then": inner}),
            "dependentSchemas" => json!({"dependentSchemas": {"a": inner}}),
            _ => json!({keyword: inner}),
        };
    }
    inner
}

#[test]
fn the_deepest_value_is_checked_by_as_many_schemas_as_may_follow_each_other_on_an_ordinary_stack() {
    let leaf = json!({
        "properties": {"a": {"$ref": "#"}, "z": {"type": "string"}}, "items": {"$ref": "#"}, "maxProperties": 1,
    });
    for keyword in ["anyOf", "oneOf", "allOf", "if", "then", "not", "dependentSchemas"] {
        let mut compiled = None;
        for times in 0..40 {
            match Schema::compile(&wrapped(keyword, leaf.clone(), times)) {
                Ok(schema) => compiled = Some((times, schema)),
                Err(error) => {
                    assert!(
                        error.to_string().contains(&MAX_SCHEMA_STEPS.to_string()),
                        "{keyword} {times}: {error}"
                    );
                    break;
                }
            }
        }
        let (times, schema) = compiled.unwrap();
        assert!(times >= 3, "{keyword}: {times}");
        for is_list in [false, true] {
            for leaf in [json!({"z": 1, "y": 2}), json!("x")] {
                let raw = Raw::encode(&deepest(leaf, is_list)).unwrap();
                // whatever it says, it says it
                _ = schema.check(&Raw::empty_array(), &raw);
            }
        }
    }
    let tree =
        Schema::compile(&json!({"additionalProperties": {"$ref": "#"}, "items": {"$ref": "#"}})).unwrap();
    let deeper = (0..40).fold(json!(1), |inner, _| json!([inner]));
    assert!(tree.check_json(&json!({"a": deeper})).unwrap_err().to_string().contains("32 levels"));
}

/// Schemas that apply to the same part of a value twice at each level.
fn doubling() -> Vec<Value> {
    let this = json!({"$ref": "#"});
    let child = json!({"properties": {"a": this}});
    vec![
        json!({"properties": {"a": {"allOf": [this, this]}}}),
        json!({"allOf": [child, child]}),
        json!({"anyOf": [child, child]}),
        json!({"oneOf": [child, child]}),
        json!({"if": child, "then": child}),
        json!({"if": child, "else": child}),
        json!({"not": child, "properties": {"a": this}}),
        json!({"dependentSchemas": {"a": child, "b": child}}),
        json!({"properties": {"a": this}, "patternProperties": {"": this}}),
        json!({"patternProperties": {"a": this, "^.$": this}}),
        json!({"patternProperties": {"a": this}, "additionalProperties": this}),
        json!({"items": this, "contains": this}),
        json!({"allOf": [{"prefixItems": [this]}], "items": this}),
        json!({"allOf": [{"additionalProperties": this}], "unevaluatedProperties": false}),
        json!({"anyOf": [{"items": this}], "unevaluatedItems": this}),
        json!({"$dynamicAnchor": "t", "properties": {"a": {"$dynamicRef": "#t", "$ref": "#"}}}),
        json!({"$anchor": "t", "properties": {"a": {"allOf": [{"$ref": "#t"}, {"$ref": "#"}]}}}),
        // by way of another
        json!({
            "$defs": {"b": {"properties": {"a": {"$ref": "#/$defs/c"}}}, "c": {"properties": {"a": this}}},
            "allOf": [{"$ref": "#/$defs/b"}, {"$ref": "#/$defs/c"}], "properties": {"a": {"$ref": "#/$defs/b"}},
        }),
    ]
}

#[test]
fn what_refers_back_twice_for_one_part_of_a_value_is_refused() {
    for schema in doubling() {
        let error = refused(&schema);
        assert!(error.contains("10000 values that apply to one place"), "{schema}: {error}");
    }
}

#[test]
fn what_refers_back_once_for_each_part_is_taken() {
    let this = json!({"$ref": "#"});
    for schema in [
        json!({"properties": {"left": this, "right": this}}),
        json!({"properties": {"children": {"items": this}}, "additionalProperties": false}),
        json!({"additionalProperties": this}),
        json!({"anyOf": [{"type": "string"}, {"items": this}, {"additionalProperties": this}]}),
        json!({"oneOf": [
            {"required": ["and"], "properties": {"and": {"items": this}}},
            {"required": ["or"], "properties": {"or": {"items": this}}},
            {"required": ["not"], "properties": {"not": this}},
        ]}),
        json!({"prefixItems": [this, this], "items": this}),
        // which of two comes next depends on the name: never both for one
        json!({"$ref": "#/$defs/a", "$defs": {
            "a": {"properties": {"l": {"$ref": "#/$defs/b"}, "r": {"$ref": "#/$defs/a"}}},
            "b": {"properties": {"l": {"$ref": "#/$defs/b"}, "r": {"$ref": "#/$defs/a"}}},
        }}),
        json!({"properties": {"next": this, "country": {"enum": (0..300).collect::<Vec<u32>>()}}, "unevaluatedProperties": false}),
    ] {
        let compiled = Schema::compile(&schema);
        assert!(compiled.is_ok(), "{schema}: {compiled:?}");
    }
}

#[test]
fn copies_for_the_meanings_of_dynamic_names_are_counted() {
    // each part passes through the next in two ways, and binds another name in one of them
    let mut defs = Map::new();
    for n in 0..14 {
        let next =
            json!({"properties": {"l": {"$ref": format!("p{}", n + 1)}, "r": {"$ref": format!("q{n}")}}});
        let mut part = json!({"$id": format!("p{n}")});
        part.as_object_mut().unwrap().extend(next.as_object().unwrap().clone());
        defs.insert(format!("p{n}"), part);
        let bind = json!({"$dynamicAnchor": format!("x{n}")});
        defs.insert(
            format!("q{n}"),
            json!({"$id": format!("q{n}"), "$defs": {"b": bind}, "$ref": format!("p{}", n + 1)}),
        );
    }
    let ends: Vec<Value> = (0..14).map(|n| json!({"$dynamicRef": format!("#x{n}")})).collect();
    let last: Map<String, Value> =
        (0..14).map(|n| (format!("d{n}"), json!({"$dynamicAnchor": format!("x{n}")}))).collect();
    defs.insert("p14".to_owned(), json!({"$id": "p14", "$defs": last, "properties": {"a": {"anyOf": ends}}}));
    let error = refused(&json!({"$ref": "p0", "$defs": defs}));
    assert!(error.contains("10000 values"), "{error}");
    // more names than are followed
    let named = |id: &str| {
        let defs: Map<String, Value> =
            (0..20).map(|n| (format!("d{n}"), json!({"$dynamicAnchor": format!("x{n}")}))).collect();
        json!({"$id": id, "$defs": defs})
    };
    assert!(
        refused(&json!({"$defs": {"a": named("a"), "b": named("b")}})).contains("16 names of $dynamicAnchor")
    );
}

#[test]
fn of_more_problems_than_memory_has_room_for_none_is_collected() {
    let schema =
        Schema::compile(&json!({"additionalProperties": {"allOf": vec![json!(false); 2000]}})).unwrap();
    let named = |count: usize| Value::Object((0..count).map(|n| (n.to_string(), json!(1))).collect());
    assert!(schema.check_json(&named(1)).unwrap_err().to_string().ends_with("and 1997 more"));
    assert!(
        schema.check_json(&named(30_000)).unwrap_err().to_string().contains("too much of them to say where")
    );
    // each problem holds the name of its place
    let long = |len: usize| json!({("x".repeat(len)): [1]});
    assert!(schema.check_json(&long(1000)).unwrap_err().to_string().ends_with("and 1997 more"));
    assert!(schema.check_json(&long(200_000)).unwrap_err().to_string().contains("too much of them"));
    let plain = Schema::compile(&json!({"additionalProperties": {"type": "integer", "minimum": 3}})).unwrap();
    assert!(plain.check_json(&named(60_000)).unwrap_err().to_string().contains("and 59997 more"));
}

#[test]
fn long_names_and_many_patterns_are_bounded_where_they_multiply() {
    let long = "x".repeat(20_000);
    // a place of 20 kB for each part beneath the name, in the schema, in references to it, and in copies
    let parts = json!({"properties": {(&long): {"allOf": vec![json!(true); 200]}}});
    assert!(refused(&parts).contains("bytes in the places of its parts"));
    let references = json!({"properties": {(&long): {"$anchor": "a"}}, "allOf": vec![json!({"items": {"$ref": "#a"}}); 200]});
    assert!(refused(&references).contains("bytes in the places of its parts"));
    let few = json!({"properties": {(&long): {"allOf": vec![json!(true); 20]}}});
    assert!(Schema::compile(&few).is_ok());
    let pattern = |n: usize| (format!("a{n}"), json!({"pattern": format!("^{}$", n / 2)}));
    let with = |count| json!({"properties": (0..count).map(pattern).collect::<Map<_, _>>()});
    assert!(Schema::compile(&with(512)).is_ok(), "the same one stands twice");
    assert!(refused(&with(514)).contains("256 different patterns"));
}

#[test]
fn regular_expressions_share_what_memory_they_may_take() {
    // far more than a 250th of all when it is compiled
    let large = |n: usize| (format!("^{n}(a|.{{3}})+.{{100}}i$"), json!({"type": "integer"}));
    let with = |count: usize| json!({"patternProperties": (0..count).map(large).collect::<Map<_, _>>()});
    let few = Schema::compile(&with(4)).unwrap();
    assert!(few.weight() < 2 * 1024 * 1024, "{}", few.weight());
    let why = refused(&with(250));
    assert!(why.contains("or takes more than 16777 bytes"), "{why}");
    // as many small ones have room
    let small = |n: usize| (format!("^x-{n}-[a-z0-9]+$"), json!(true));
    let many = json!({"patternProperties": (0..250).map(small).collect::<Map<_, _>>()});
    let many = Schema::compile(&many).unwrap();
    assert!(many.weight() <= 5 * 1024 * 1024 && many.check_json(&json!({"x-7-ab": 1})).is_ok());
}

#[test]
fn lists_of_names_count_as_often_as_they_apply() {
    let names = |count: usize| (0..count).map(|n| format!("{n:x}")).collect::<Vec<_>>();
    // short enough for a schema, and a problem for each name each time
    let bomb = |last: Value| {
        let each = |to: &str| vec![json!({"$ref": format!("#/$defs/{to}")}); 30];
        json!({"allOf": each("e"), "$defs": {"e": {"allOf": each("d")}, "d": last}})
    };
    for last in [
        json!({"dependencies": {"a": names(9000)}}),
        json!({"dependentRequired": {"a": names(9000)}}),
        json!({"required": names(9000)}),
        json!({"enum": names(9000)}),
    ] {
        let error = refused(&bomb(last));
        assert!(error.contains("10000 values that apply to one place"), "{error}");
    }
    let once = json!({"dependencies": {"a": names(4000)}});
    assert!(Schema::compile(&once).unwrap().check_json(&json!({"a": 1})).is_err());
    // each way to the list gives the name in it another meaning, and the list a copy
    let mut defs = Map::new();
    let part =
        json!({"$id": "p", "$defs": {"d": {"$dynamicAnchor": "x"}}, "dependencies": {"a": names(4000)}});
    defs.insert("p".to_owned(), part);
    for n in 0..3 {
        let way = json!({"$id": format!("q{n}"), "$dynamicAnchor": "x", "$ref": "p"});
        defs.insert(format!("q{n}"), way);
    }
    let ways: Map<String, Value> =
        (0..3).map(|n| (format!("a{n}"), json!({"$ref": format!("q{n}")}))).collect();
    let error = refused(&json!({"properties": ways, "$defs": defs}));
    assert!(error.ends_with("more than 10000 values"), "{error}");
}

#[test]
fn a_long_name_above_what_dynamic_names_mean_is_refused_in_little_memory() {
    let mut defs = Map::new();
    let mut binding = Map::new();
    for n in 0..15 {
        let (next, name) = (format!("p{}", n + 1), format!("x{n}"));
        let ways = json!({"l": {"$ref": next}, "r": {"$ref": format!("q{n}")}});
        defs.insert(format!("p{n}"), json!({"$id": format!("p{n}"), "properties": ways}));
        binding
            .insert(format!("q{n}"), json!({"$id": format!("q{n}"), "$dynamicAnchor": name, "$ref": next}));
    }
    let last: Map<String, Value> =
        (0..15).map(|n| (format!("d{n}"), json!({"$dynamicAnchor": format!("x{n}")}))).collect();
    defs.insert("p15".to_owned(), json!({"$id": "p15", "$defs": last}));
    defs.insert("x".repeat(55_000), json!({"$defs": binding}));
    let schema = json!({"$ref": "p0", "$defs": defs});
    refused(&schema);
    // all tests of this file together take 40 MB
    assert!(most_memory_kb() < 150_000, "{} kB", most_memory_kb());
}

#[test]
fn a_long_text_or_name_counts_in_each_copy() {
    let long = "x".repeat(30_000);
    let copied = |part: &Value, copies: usize| {
        let mut part = part.clone();
        part["$id"] = json!("p");
        part["$defs"] = json!({"d": {"$dynamicAnchor": "x"}});
        let mut defs = Map::from_iter([("p".to_owned(), part)]);
        for n in 0..copies {
            let way = json!({"$id": format!("q{n}"), "$dynamicAnchor": "x", "$ref": "p"});
            defs.insert(format!("q{n}"), way);
        }
        let ways = (0..copies).map(|n| (format!("a{n}"), json!({"$ref": format!("q{n}")})));
        json!({"properties": ways.collect::<Map<_, _>>(), "$defs": defs})
    };
    for part in [
        json!({"description": long}),
        json!({"enum": [[{"a": long}]]}),
        json!({"const": {(&long): 1}}),
        json!({"properties": {(&long): true}}),
        json!({"dependencies": {"a": [long]}}),
        json!({"x-note": {(&long): 1}}),
        json!({(format!("x-{long}")): 1}),
    ] {
        let error = refused(&copied(&part, 40));
        assert!(error.contains("1048576 bytes of texts and names"), "{error}");
        assert!(Schema::compile(&copied(&part, 30)).is_ok());
    }
}

/// The most memory that this program had so far, where the system tells.
fn most_memory_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
