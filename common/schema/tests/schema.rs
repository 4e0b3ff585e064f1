//! Schemas, arguments and redaction as tables.

#![allow(clippy::unwrap_used, reason = "tests")]

use redpoll_common::wire::Raw;
use redpoll_schema::{MAX_SCHEMA_TEXT, Redaction, Schema, SchemaError};
use serde_json::{Value, json};

fn raw(value: &Value) -> Raw {
    Raw::encode(value).unwrap()
}

fn check(schema: &Value, args: &Value, kwargs: &Value) -> Result<Value, String> {
    Schema::compile(schema).unwrap().check(&raw(args), &raw(kwargs)).map_err(|error| error.to_string())
}

#[test]
fn an_argument_that_does_not_fit_is_named_with_path_and_rule() {
    let schema = json!({
        "type": "object",
        "properties": {
            "port": {"type": "integer", "maximum": 65535},
            "user": {"type": "object", "properties": {"pins": {"type": "array", "items": {"type": "integer"}}}},
            "name": {"type": "string", "pattern": "^[a-z]+$"},
            "mode": {"enum": ["fast", "safe"]},
        },
        "required": ["port"],
        "additionalProperties": false,
    });
    for (kwargs, parts) in [
        (json!({}), vec!["the arguments", "port", "required"]),
        (json!({"port": 70000}), vec!["port: ", "65535", "/properties/port/maximum"]),
        (json!({"port": 1, "user": {"pins": [1, "x"]}}), vec!["user.pins.1", "integer", "type"]),
        (json!({"port": 1, "name": "A1"}), vec!["name: ", "pattern"]),
        (json!({"port": 1, "mode": "slow"}), vec!["mode: ", "fast", "enum"]),
        (json!({"port": 1, "prot": 2}), vec!["prot", "additionalProperties"]),
    ] {
        let error = check(&schema, &json!([]), &kwargs).unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{kwargs}: {error:?} lacks {part:?}");
        }
        assert!(!error.contains('\n'));
    }
    assert!(check(&schema, &json!([]), &json!({"port": 1, "mode": "safe"})).is_ok());
}

#[test]
fn keywords_that_look_at_the_whole_hold_as_in_the_draft() {
    let schema = json!({
        "type": "object",
        "allOf": [{"properties": {"kind": {"enum": ["disk", "net"]}}, "required": ["kind"]}],
        "if": {"properties": {"kind": {"const": "disk"}}},
        "then": {"properties": {"size": {"type": "integer"}}, "required": ["size"]},
        "else": {"properties": {"port": {"type": "integer"}}},
        "dependentSchemas": {"size": {"properties": {"unit": {"enum": ["MiB", "GiB"]}}, "required": ["unit"]}},
        "unevaluatedProperties": false,
    });
    for kwargs in [
        json!({"kind": "disk", "size": 3, "unit": "GiB"}),
        json!({"kind": "net", "port": 1}),
        json!({"kind": "net"}),
    ] {
        assert_eq!(check(&schema, &json!([]), &kwargs), Ok(kwargs));
    }
    for (kwargs, parts) in [
        (json!({"size": 3, "unit": "GiB"}), vec!["kind", "required"]),
        (json!({"kind": "disk"}), vec!["size", "/then/required"]),
        (json!({"kind": "disk", "size": 3}), vec!["unit", "dependentSchemas"]),
        (json!({"kind": "disk", "size": 3, "unit": "KiB"}), vec!["unit: ", "enum"]),
        (json!({"kind": "net", "port": "http"}), vec!["port: ", "/else/"]),
        (json!({"kind": "net", "prot": 1}), vec!["prot", "unevaluatedProperties"]),
        (json!({"kind": "disk", "size": 3, "unit": "GiB", "port": 1}), vec!["port", "unevaluatedProperties"]),
    ] {
        let error = check(&schema, &json!([]), &kwargs).unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{kwargs}: {error:?} lacks {part:?}");
        }
    }
}

#[test]
fn an_error_never_holds_the_value() {
    let schemas = [
        json!({"properties": {"s": {"type": "integer"}}}),
        json!({"properties": {"s": {"pattern": "^x$"}}}),
        json!({"properties": {"s": {"enum": ["a"]}}}),
        json!({"properties": {"s": {"const": "a"}}}),
        json!({"properties": {"s": {"maxLength": 1}}}),
        json!({"properties": {"s": {"not": {"type": "string"}}}}),
        json!({"properties": {"s": {"anyOf": [{"type": "null"}, {"type": "array"}]}}}),
        json!({"properties": {"s": {"oneOf": [{"type": "string"}, {"minLength": 1}]}}}),
        json!({"properties": {"s": false}}),
        json!({"maxProperties": 0}),
        json!({"type": "array"}),
        json!({"additionalProperties": {"type": "integer"}}),
    ];
    for schema in schemas {
        let error = check(&schema, &json!([]), &json!({"s": "hunter2"})).unwrap_err();
        assert!(!error.contains("hunter2"), "{schema}: {error}");
    }
}

#[test]
fn of_many_problems_the_first_are_shown_and_the_rest_is_counted() {
    let schema = json!({"additionalProperties": {"type": "integer"}});
    let error =
        check(&schema, &json!([]), &json!({"a": "", "b": "", "c": "", "d": "", "e": ""})).unwrap_err();
    assert!(error.ends_with("; and 2 more"), "{error}");
}

#[test]
fn positional_arguments_go_by_the_names_the_schema_gives_them() {
    let schema = json!({"x-positional": ["a", "b"], "properties": {"b": {"type": "integer"}}});
    assert_eq!(check(&schema, &json!(["x", 2]), &json!({"c": 3})), Ok(json!({"a": "x", "b": 2, "c": 3})));
    assert!(check(&schema, &json!(["x", "y"]), &json!({})).unwrap_err().starts_with("b: "));
    assert!(check(&schema, &json!(["x"]), &json!({"a": 1})).unwrap_err().contains("by name and by position"));
    assert!(check(&schema, &json!([1, 2, 3]), &json!({})).unwrap_err().contains("at most 2"));
    assert!(
        check(&json!({"type": "object"}), &json!([1]), &json!({}))
            .unwrap_err()
            .contains("named arguments only")
    );
    assert!(check(&json!({}), &json!([1]), &json!({})).is_ok());
    assert!(check(&json!({"x-positional": true, "type": "object"}), &json!([1]), &json!({})).is_ok());
    let rest = json!({"x-positional": "argv", "type": "object", "required": ["argv"]});
    assert!(check(&rest, &json!(["a", "b"]), &json!({})).is_ok());
    assert!(
        check(&rest, &json!(["a"]), &json!({"argv": []})).unwrap_err().contains("by name and by position")
    );
    assert!(check(&rest, &json!([]), &json!({})).is_err());
    for wrong in [json!(""), json!(["a", 1]), json!(["a", "a"])] {
        assert!(Schema::compile(&json!({"x-positional": wrong})).is_err());
    }
}

#[test]
fn binary_is_its_base64_text_for_a_schema() {
    let schema =
        Schema::compile(&json!({"properties": {"key": {"type": "string", "maxLength": 4}}})).unwrap();
    let kwargs = redpoll_common::wire::RawMap::new().bin("key", b"hi").finish();
    assert_eq!(schema.check(&Raw::empty_array(), &kwargs).unwrap(), json!({"key": "aGk="}));
}

#[test]
fn large_binary_is_verified_like_any_other() {
    let schema = json!({"properties": {"data": {"type": "string"}, "key": {"type": "string", "maxLength": 4}, "n": {"type": "integer"}}});
    let schema = Schema::compile(&schema).unwrap();
    let large = vec![0xff; 100_000];
    let verify = |name: &str| {
        let kwargs = redpoll_common::wire::RawMap::new().bin(name, &large).finish();
        schema.verify(&Raw::empty_array(), &kwargs).map_err(|error| error.to_string())
    };
    assert_eq!(verify("data"), Ok(()));
    assert!(verify("key").unwrap_err().contains("/properties/key/maxLength"));
    assert!(verify("n").unwrap_err().contains("/properties/n/type"));
    let wrong_too = redpoll_common::wire::RawMap::new().bin("data", &large).text("n", "x").finish();
    assert!(schema.verify(&Raw::empty_array(), &wrong_too).is_err(), "the others are looked at");
}

#[test]
fn a_schema_beyond_a_limit_or_out_of_reach_is_refused_by_name() {
    let mut deep = json!({});
    for _ in 0..40 {
        deep = json!({"not": deep});
    }
    let mut doubling = serde_json::Map::new();
    for level in 0..20 {
        let next = format!("#/$defs/l{}", level + 1);
        doubling.insert(format!("l{level}"), json!({"allOf": [{"$ref": next}, {"$ref": next}]}));
    }
    doubling.insert("l20".to_owned(), json!(true));
    for (schema, part) in [
        (deep, "26 levels"),
        (json!({"description": "x".repeat(MAX_SCHEMA_TEXT)}), "65536 bytes"),
        (json!({"$defs": doubling, "$ref": "#/$defs/l0"}), "10000 values"),
        (json!({"pattern": "x".repeat(1025)}), "1024 bytes"),
        (json!({"patternProperties": {"x".repeat(1025): true}}), "1024 bytes"),
        (json!({"pattern": "(a{500}){500}"}), "pattern"),
        (json!({"pattern": "("}), "pattern"),
        (json!({"$ref": "https://example.org/s.json"}), "nothing is fetched"),
        (json!({"$ref": "other.json#/x"}), "nothing is fetched"),
        (json!({"$ref": "#"}), "refers back"),
        (json!({"$defs": {"a": {"$ref": "#/$defs/a"}}}), "refers back"),
        (json!({"$ref": "#/$defs/none"}), "is not in this schema"),
        (json!({"$dynamicRef": "#x"}), "is not in this schema"),
        (json!({"$schema": "http://json-schema.org/draft-07/schema#"}), "draft"),
        (json!({"type": "strnig"}), "/type"),
        (json!(5), "a schema is a table"),
    ] {
        let error: SchemaError = Schema::compile(&schema).unwrap_err();
        assert!(error.to_string().contains(part), "{error} lacks {part:?}");
    }
}

#[test]
fn references_within_a_schema_are_followed() {
    let schema = json!({"$defs": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/n"}}});
    assert!(check(&schema, &json!([]), &json!({"a": 1})).is_ok());
    assert!(check(&schema, &json!([]), &json!({"a": "x"})).is_err());
    let odd = json!({"$defs": {"a%62": true, "ab": {"$ref": "#/$defs/a%2562"}, "ä/~": {"type": "integer"}},
        "properties": {"a": {"$ref": "#/$defs/%C3%A4~1~0"}, "b": {"$ref": "#/$defs/ä~1~0"}}});
    assert!(check(&odd, &json!([]), &json!({"a": 1, "b": 1})).is_ok());
    for wrong in [json!({"a": "x"}), json!({"b": "x"})] {
        assert!(check(&odd, &json!([]), &wrong).unwrap_err().contains("/$defs/ä~1~0/type"));
    }
}

#[test]
fn what_a_path_leads_to_is_masked_whatever_it_is() {
    for (paths, value, masked) in [
        (vec!["password"], json!({"password": "x", "b": 1}), json!({"password": "***", "b": 1})),
        (vec!["user.pin"], json!({"user": {"pin": [1], "id": 2}}), json!({"user": {"pin": "***", "id": 2}})),
        (vec!["keys.*"], json!({"keys": {"a": 1, "b": {}}}), json!({"keys": {"a": "***", "b": "***"}})),
        (vec!["keys.*"], json!({"keys": "x"}), json!({"keys": "x"})),
        (vec!["l.*.s"], json!({"l": [{"s": 1, "t": 2}, 3]}), json!({"l": [{"s": "***", "t": 2}, 3]})),
        (vec!["l.0"], json!({"l": [1, 2]}), json!({"l": ["***", 2]})),
        (vec!["a.b", "a"], json!({"a": {"b": 1, "c": 2}}), json!({"a": "***"})),
        (vec![], json!({"a": 1}), json!({"a": 1})),
        (vec!["a"], json!("text"), json!("text")),
    ] {
        let redaction = Redaction::new(&paths).unwrap();
        let mut inner = value.clone();
        redaction.mask_json(&mut inner);
        assert_eq!(inner, masked, "{paths:?} of {value}");
        assert_eq!(redaction.mask(&raw(&value)).decode::<Value>().unwrap(), masked, "{paths:?} of {value}");
    }
    // {"a": {bin "b": 1, 7: 2}}: a byte string may be read as a name
    let bytes = Raw::parse(bytes::Bytes::from_static(b"\x81\xa1a\x82\xc4\x01b\x01\x07\x02")).unwrap();
    let masked = Redaction::new(&["a.b", "a.7"]).unwrap().mask(&bytes);
    assert_eq!(masked.as_bytes(), b"\x81\xa1a\x82\xc4\x01b\xa3***\x07\xa3***");
    for wrong in ["", "a..b", ".a", "a."] {
        assert!(Redaction::new(&[wrong]).is_err(), "{wrong:?}");
    }
    let redaction = Redaction::new(&["user.pin"]).unwrap();
    assert!(redaction.covers(&["user", "pin", "0"]) && !redaction.covers(&["user"]));
}

#[test]
fn an_error_says_nothing_of_what_is_beneath_a_secret_path_not_even_its_keys() {
    let schema = json!({
        "properties": {
            "tokens": {
                "propertyNames": {"pattern": "^[a-z]+$"},
                "additionalProperties": {"type": "integer"},
            },
            "users": {"items": {"properties": {"pin": {"type": "integer"}}, "additionalProperties": false}},
            "n": {"type": "integer"},
        },
    });
    let schema = || Schema::compile(&schema).unwrap();
    let said = |schema: Schema, kwargs: Value| schema.check_json(&kwargs).unwrap_err().to_string();
    let secrets = json!({"tokens": {"SECRETKEY": "x"}, "n": "x"});
    let hiding = said(schema().hiding(&["tokens", "users.*.pin"]), secrets.clone());
    assert!(!hiding.contains("SECRET"), "{hiding}");
    assert!(hiding.contains("tokens: what is there does not fit (rule /properties/tokens/"), "{hiding}");
    assert!(hiding.contains("n: the value is not of type \"integer\""), "{hiding}");
    assert!(said(schema(), secrets.clone()).contains("tokens.SECRETKEY"), "without paths it is told");
    let pins = json!({"users": [{"pin": {"SECRETKEY": 1}}, {"pim": 1}]});
    let hiding = said(schema().hiding(&["tokens", "users.*.pin"]), pins);
    assert!(!hiding.contains("SECRET") && hiding.contains("users.0.pin: what is there"), "{hiding}");
    assert!(hiding.contains("pim"), "what is beside a secret is told: {hiding}");
    // a name with a dot or a slash in it is one word of the way there
    let keys = json!({"properties": {"keys": {"additionalProperties": {"properties": {"secret": {
        "additionalProperties": false}}}}}});
    for name in ["plain", "db.example", "a/b", "."] {
        let given = json!({"keys": {name: {"secret": {"SECRETKEY": 1}}}});
        let hiding = said(Schema::compile(&keys).unwrap().hiding(&["keys.*.secret"]), given);
        assert!(
            !hiding.contains("SECRET") && hiding.contains(&format!("keys.{name}.secret: what")),
            "{hiding}"
        );
    }
    // nobody knows what these hide
    let hiding = said(schema().hiding(&["a..b"]), secrets);
    assert!(!hiding.contains("SECRET"), "{hiding}");
}

#[test]
fn what_stands_in_a_schema_as_a_value_is_no_schema_and_what_is_named_like_that_is_one() {
    for fine in [
        json!({"properties": {"a": {"default": {"$ref": "abc"}, "examples": [{"$id": "x"}]}}}),
        json!({"const": {"$id": "abc", "$dynamicRef": "#x"}}),
        json!({"enum": [{"$ref": "https://example.org/x"}, {"pattern": "x".repeat(2000)}]}),
    ] {
        assert!(Schema::compile(&fine).is_ok(), "{fine}");
    }
    for wrong in [
        json!({"properties": {"default": {"$ref": "abc"}}}),
        json!({"$defs": {"const": {"$dynamicRef": "#x"}}}),
        json!({"patternProperties": {"enum": {"pattern": "x".repeat(2000)}}}),
        json!({"allOf": [{"properties": {"examples": {"items": {"$ref": "https://example.org/x"}}}}]}),
    ] {
        assert!(matches!(Schema::compile(&wrong), Err(SchemaError::Wrong { .. })), "{wrong}");
    }
    let many: Vec<u32> = (0..20_000).collect();
    assert!(matches!(Schema::compile(&json!({"default": many})), Err(SchemaError::TooLarge { .. })));
}
