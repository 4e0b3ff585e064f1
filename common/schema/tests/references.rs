//! References within a schema: to itself, by name, by address, and by a name whose meaning depends on the way.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use redpoll_common::wire::Raw;
use redpoll_schema::{Redaction, Schema, plain};
use serde_json::{Value, json};

fn fits(schema: &Value, value: &Value) -> Result<(), String> {
    let schema = Schema::compile(schema).unwrap_or_else(|error| panic!("{schema}: {error}"));
    schema.check_json(value).map_err(|error| error.to_string())
}

fn refused(schema: &Value) -> String {
    Schema::compile(schema).err().unwrap_or_else(|| panic!("{schema} was taken")).to_string()
}

/// A tree of names, whose nodes are described in one of several ways.
fn tree(node: &str, named: &Value) -> Value {
    let mut definition = json!({
        "type": "object", "required": ["name"], "additionalProperties": false,
        "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": node}}},
    });
    definition.as_object_mut().unwrap().extend(named.as_object().unwrap().clone());
    json!({"properties": {"tree": {"$ref": node}}, "$defs": {"Node": definition}})
}

#[test]
fn a_tree_is_checked_in_all_its_depth_by_whatever_way_it_refers_to_itself() {
    for schema in [
        tree("#/$defs/Node", &json!({})),
        tree("#Node", &json!({"$anchor": "Node"})),
        tree("#Node", &json!({"$dynamicAnchor": "Node"})),
        tree("node", &json!({"$id": "node"})),
        tree("https://example.org/node#", &json!({"$id": "https://example.org/node"})),
        tree("#/%24defs/Node", &json!({})),
    ] {
        let deep = json!({"tree": {"name": "a", "children": [{"name": "b", "children": [{"name": "c"}]}]}});
        assert_eq!(fits(&schema, &deep), Ok(()));
        let mut wrong = deep.clone();
        wrong["tree"]["children"][0]["children"][0]["name"] = json!(1);
        let error = fits(&schema, &wrong).unwrap_err();
        assert!(error.starts_with("tree.children.0.children.0.name: "), "{error}");
        assert!(error.ends_with("(rule /$defs/Node/properties/name/type)"), "{schema}: {error}");
    }
}

#[test]
fn a_dynamic_reference_means_the_first_place_on_the_way() {
    // the example of the draft: a tree, and a strict one that extends it
    let tree = json!({
        "$id": "https://example.org/tree", "$dynamicAnchor": "node", "type": "object",
        "properties": {"data": true, "children": {"type": "array", "items": {"$dynamicRef": "#node"}}},
    });
    let strict = json!({
        "$id": "https://example.org/strict", "$dynamicAnchor": "node", "$ref": "tree", "unevaluatedProperties": false,
        "$defs": {"tree": tree},
    });
    let spelt = json!({"children": [{"daat": 1}]});
    assert!(
        fits(&strict, &spelt).unwrap_err().starts_with("children.0: "),
        "the strict one goes all the way down"
    );
    assert_eq!(fits(&strict, &json!({"children": [{"data": 1}]})), Ok(()));
    // the same two, each reached from elsewhere: each way has its own meaning
    let both = json!({
        "properties": {"loose": {"$ref": "https://example.org/tree"}, "strict": {"$ref": "https://example.org/strict"}},
        "$defs": {"strict": strict},
    });
    assert_eq!(fits(&both, &json!({"loose": spelt})), Ok(()));
    assert!(fits(&both, &json!({"strict": spelt})).unwrap_err().starts_with("strict.children.0: "));
    // and neither moves the parts of allOf, to which references may lead
    let listed = json!({
        "$ref": "#/$defs/a", "$dynamicRef": "#n", "allOf": [{"type": ["integer", "object"]}, true],
        "properties": {"x": {"$ref": "#/allOf/0"}, "y": {"$ref": "#/allOf/1"}},
        "$defs": {"a": {"required": ["a"]}, "b": {"$dynamicAnchor": "n", "required": ["b"]}},
    });
    assert_eq!(fits(&listed, &json!({"a": 1, "b": 1, "x": 1, "y": "y"})), Ok(()));
    for bad in [json!({"a": 1, "b": 1, "x": "x"}), json!({"a": 1}), json!({"b": 1})] {
        assert!(fits(&listed, &bad).is_err(), "{bad}");
    }
    // what is embedded is reached by way of what is around it
    let inner = json!({"$id": "inner", "$defs": {"n": {"$dynamicAnchor": "n"}}, "$dynamicRef": "#n"});
    let around =
        json!({"$id": "around", "$dynamicAnchor": "n", "type": "object", "properties": {"v": inner}});
    let embedded = json!({"properties": {"a": {"$ref": "around"}}, "$defs": {"around": around}});
    assert_eq!(fits(&embedded, &json!({"a": {"v": {"v": {}}}})), Ok(()));
    assert!(fits(&embedded, &json!({"a": {"v": 1}})).is_err());
    // what is no dynamic name is an ordinary reference
    let ordinary = json!({"$defs": {"n": {"$anchor": "n", "type": "integer"}}, "properties": {"a": {"$dynamicRef": "#n"}}});
    assert!(fits(&ordinary, &json!({"a": "x"})).is_err());
    // both kinds side by side both count
    let beside = json!({
        "$defs": {"n": {"type": "integer"}, "m": {"$dynamicAnchor": "m", "minimum": 3}},
        "properties": {"a": {"$ref": "#/$defs/n", "$dynamicRef": "#m"}},
    });
    assert_eq!(fits(&beside, &json!({"a": 3})), Ok(()));
    assert!(fits(&beside, &json!({"a": 3.5})).is_err() && fits(&beside, &json!({"a": 2})).is_err());
}

#[test]
fn an_embedded_part_has_names_and_addresses_of_its_own() {
    let schema = json!({
        "$id": "https://example.org/a/outer",
        "$defs": {
            "n": {"$anchor": "n", "type": "string"},
            "inner": {
                "$id": "/b/inner", "$defs": {"n": {"$anchor": "n", "type": "integer"}, "same": {"$ref": "/a/outer#n"}},
                "properties": {"own": {"$ref": "#n"}, "pointer": {"$ref": "#/$defs/n"}, "outer": {"$ref": "../a/outer#n"}},
            },
        },
        "properties": {"in": {"$ref": "../b/inner"}, "n": {"$ref": "#n"}, "far": {"$ref": "/b/inner#/$defs/same"}},
    });
    let good = json!({"in": {"own": 1, "pointer": 2, "outer": "x"}, "n": "y", "far": "z"});
    assert_eq!(fits(&schema, &good), Ok(()));
    for (place, bad) in [
        ("/in/own", json!("x")),
        ("/in/pointer", json!("x")),
        ("/in/outer", json!(1)),
        ("/n", json!(1)),
        ("/far", json!(1)),
    ] {
        let mut value = good.clone();
        *value.pointer_mut(place).unwrap() = bad;
        assert!(fits(&schema, &value).is_err(), "{place}");
    }
    let plain = plain(&schema).unwrap().to_string();
    assert!(!plain.contains("$id") && !plain.contains("$anchor"), "{plain}");
}

#[test]
fn what_leads_nowhere_or_to_no_schema_is_refused_with_what_to_do() {
    for (schema, place, part) in [
        (json!({"properties": {"a": {"$ref": "#none"}}}), "/properties/a/$ref", "is not in this schema"),
        (json!({"$dynamicRef": "#none"}), "/$dynamicRef", "is not in this schema"),
        (json!({"$ref": "#/$defs/%zz"}), "/$ref", "is not in this schema"),
        (json!({"default": {"a": {}}, "$ref": "#/default/a"}), "/$ref", "does not lead to a schema"),
        (json!({"$id": "https://example.org/a", "$ref": "b#/x"}), "/$ref", "nothing is fetched"),
        (json!({"$ref": "https://json-schema.org/draft/2020-12/schema"}), "/$ref", "nothing is fetched"),
        (json!({"$anchor": "a#b"}), "/$anchor", "a name begins"),
        (json!({"$anchor": 5}), "/$anchor", "a name begins"),
        (json!({"$id": 5}), "/$id", "not an address"),
        (json!({"items": {"$id": "x#y"}}), "/items/$id", "behind #"),
        (json!({"items": {"$id": "x"}, "contains": {"$id": "y/../x"}}), "/$id", "stands twice"),
        (json!({"items": {"$anchor": "x"}, "contains": {"$dynamicAnchor": "x"}}), "nchor", "stands twice"),
        (json!({"items": {"$recursiveRef": "#"}}), "/items/$recursiveRef", "older draft"),
    ] {
        let error = refused(&schema);
        assert!(error.contains(place) && error.contains(part), "{schema}: {error}");
    }
    let many: Vec<Value> = (0..100).map(|n| json!({"$id": format!("s{n}")})).collect();
    assert!(refused(&json!({"allOf": many})).contains("64 parts with $id"));
}

#[test]
fn a_cycle_that_does_not_go_deeper_is_refused_whatever_it_goes_through() {
    let this = json!({"$ref": "#"});
    for schema in [
        json!({"$ref": "#"}),
        json!({"$ref": ""}),
        json!({"allOf": [this]}),
        json!({"anyOf": [true, this]}),
        json!({"oneOf": [this]}),
        json!({"not": this}),
        json!({"if": this}),
        json!({"if": true, "then": this}),
        json!({"if": true, "else": this}),
        json!({"dependentSchemas": {"a": this}}),
        json!({"dependencies": {"a": this}}),
        json!({"$dynamicAnchor": "a", "allOf": [{"$dynamicRef": "#a"}]}),
        json!({"$id": "https://example.org/a", "allOf": [{"$ref": "a"}]}),
        json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": {"$ref": "#/$defs/a"}}}}),
        json!({"items": {"$anchor": "a", "allOf": [{"$ref": "#a"}]}}),
    ] {
        assert!(refused(&schema).contains("refers back to itself without going deeper"), "{schema}");
    }
}

#[test]
fn secrets_in_a_tree_are_hidden_and_defaults_in_it_are_filled_in() {
    let schema = json!({
        "properties": {"tree": {"$ref": "#node"}},
        "$defs": {"node": {"$anchor": "node", "properties": {
            "password": {"type": "string"}, "mode": {"default": "safe"}, "next": {"$ref": "#node"},
            "children": {"items": {"$ref": "#node"}},
        }}},
    });
    let redact = ["tree.password", "tree.next.password", "tree.children.*.password"];
    let value = json!({"tree": {"password": "p1", "next": {"password": {"KEY": 1}}, "children": [{"password": "p3"}]}});
    let compiled = Schema::compile(&schema).unwrap().hiding(&redact);
    let error = compiled.check_json(&value).unwrap_err().to_string();
    assert!(
        error.starts_with("tree.next.password: what is there does not fit (rule /$defs/node/"),
        "{error}"
    );
    let masked =
        Redaction::new(&redact).unwrap().mask(&Raw::encode(&value).unwrap()).decode::<Value>().unwrap();
    assert_eq!(masked["tree"]["next"]["password"], json!("***"));
    assert_eq!(masked["tree"]["children"][0]["password"], json!("***"));
    let mut filled = json!({"tree": {"next": {"mode": "fast", "next": {}}}});
    compiled.fill_defaults(&schema, &mut filled).unwrap();
    assert_eq!(filled, json!({"tree": {"mode": "safe", "next": {"mode": "fast", "next": {"mode": "safe"}}}}));
}
