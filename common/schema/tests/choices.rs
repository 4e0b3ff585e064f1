//! Defaults beneath choices and in lists, as the rules of a policy see them.
#![expect(clippy::unwrap_used, reason = "test code")]

use redpoll_common::wire::Raw;
use redpoll_schema::policy::{Constraint, Effect, Moment, Pattern, Policy, Request, Rule, Verdict, Weekday};
use redpoll_schema::{Readings, Schema};
use serde_json::{Value, json};

fn readings(schema: &Value, kwargs: &Value) -> Readings {
    let kwargs = Raw::encode(kwargs).unwrap();
    Schema::compile(schema).unwrap().readings(schema, (&Raw::empty_array(), &kwargs), |_| true).unwrap()
}

fn judge(effect: Effect, path: &str, constraint: Constraint, args: &Readings) -> Verdict {
    let rule = Rule {
        name: "r".to_owned(),
        effect,
        procedures: vec![Pattern::new("web.deploy").unwrap()],
        args: [(path.to_owned(), constraint)].into(),
        operators: None,
        roles: None,
        hours: None,
        users: None,
        run_as: None,
        rate: None,
    };
    let now = (Weekday::Wed, 720);
    let request = Request {
        name: "web.deploy",
        version: 1,
        is_manifest: true,
        args,
        operator: None,
        roles: None,
        user: None,
        user_is_root: false,
        now: Moment { utc: now, local: Some(now) },
    };
    Policy::new(vec![rule]).judge(&request)
}

/// What a place is to a rule that denies this value there, and to one that allows it.
fn told(schema: &Value, kwargs: &Value, path: &str, wanted: &Value) -> (bool, bool) {
    let args = readings(schema, kwargs);
    let is = || Constraint::OneOf(vec![wanted.clone()]);
    (!judge(Effect::Deny, path, is(), &args).allowed, judge(Effect::Allow, path, is(), &args).allowed)
}

/// It is there.
const THERE: (bool, bool) = (true, true);
/// It is not there.
const ABSENT: (bool, bool) = (false, false);
/// It may be there.
const UNKNOWN: (bool, bool) = (true, false);

fn opts() -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": {"stage": {"type": "string", "default": "live"}}})
}

#[test]
fn what_is_left_out_is_filled_in_wherever_a_schema_names_it() {
    let test = json!({"properties": {"stage": {"default": "test"}}});
    let by_stage = json!({"stage": "live"});
    for (part, given, path) in [
        (json!({"anyOf": [opts(), {"type": "null"}]}), json!({}), "x.stage"),
        (json!({"oneOf": [{"type": "string"}, opts()]}), json!({}), "x.stage"),
        (json!({"allOf": [{"$ref": "#/$defs/Opts"}]}), json!({}), "x.stage"),
        (json!({"anyOf": [{"$ref": "#/$defs/Opts"}, {"type": "null"}]}), json!({}), "x.stage"),
        (json!({"anyOf": [{"anyOf": [opts(), false]}, {"type": "null"}]}), json!({}), "x.stage"),
        (json!({"items": opts()}), json!([{"stage": "test"}, {}]), "x.1.stage"),
        (json!({"items": {"anyOf": [opts(), {"type": "null"}]}}), json!([null, {}]), "x.1.stage"),
        (json!({"prefixItems": [{"type": "integer"}, opts()]}), json!([1, {}]), "x.1.stage"),
        (json!({"prefixItems": [{"type": "integer"}, {"default": "live"}]}), json!([1]), "x.1"),
        (json!({"additionalProperties": opts()}), json!({"web": {}}), "x.web.stage"),
        (json!({"if": {"required": ["a"]}, "then": test, "else": opts()}), json!({}), "x.stage"),
        (json!({"if": {"required": ["a"]}, "then": opts(), "else": test}), json!({"a": 1}), "x.stage"),
        (json!({"dependentSchemas": {"a": opts(), "b": test}}), json!({"a": 1}), "x.stage"),
        // both choices fit, and both say the same
        (json!({"anyOf": [opts(), {"properties": {"stage": {"default": "live"}}}]}), json!({}), "x.stage"),
        // what stands beside a choice has the last word of those that do
        (json!({"properties": {"stage": {"default": "live"}}, "allOf": [test]}), json!({}), "x.stage"),
    ] {
        let schema = json!({"$defs": {"Opts": opts()}, "properties": {"x": part}});
        assert_eq!(told(&schema, &json!({"x": given}), path, &json!("live")), THERE, "{schema}");
        assert_eq!(told(&schema, &json!({"x": given}), path, &json!("test")), ABSENT, "{schema}");
    }
    let whole = json!({"properties": {"x": {"properties": {"stage": {"default": "live"}}, "default": {}}}});
    assert_eq!(told(&whole, &json!({}), "x", &by_stage), THERE, "also within a default");
    let choice =
        json!({"properties": {"x": {"anyOf": [{"default": "live"}, {"default": "live", "type": "null"}]}}});
    assert_eq!(told(&choice, &json!({}), "x", &json!("live")), THERE);
}

#[test]
fn the_choice_that_is_meant_decides() {
    let tagged = |tag: &str, stage: &str| json!({"required": ["kind"], "properties": {"kind": {"const": tag}, "stage": {"default": stage}}});
    let schema = json!({"properties": {"x": {"oneOf": [tagged("a", "live"), tagged("b", "test")]}}});
    let is = |kind: &str, stage: &str| told(&schema, &json!({"x": {"kind": kind}}), "x.stage", &json!(stage));
    assert_eq!((is("a", "live"), is("b", "live")), (THERE, ABSENT));
    assert_eq!((is("a", "test"), is("b", "test")), (ABSENT, THERE));
    assert_eq!(
        told(&schema, &json!({"x": {"kind": "a", "stage": "test"}}), "x.stage", &json!("test")),
        THERE
    );

    // the check of a call sees a byte string as base64 text, and so does what asks which choice it fits
    let schema = json!({"properties": {"x": {"oneOf": [tagged("YQ==", "live"), tagged("a", "test")]}}});
    let kwargs = Raw::parse(bytes::Bytes::from_static(b"\x81\xa1x\x81\xa4kind\xc4\x01a")).unwrap();
    let compiled = Schema::compile(&schema).unwrap();
    let args = compiled.readings(&schema, (&Raw::empty_array(), &kwargs), |_| true).unwrap();
    assert_eq!(args.text, json!({"x": {"kind": "a", "stage": "live"}}));
}

#[test]
fn what_may_be_one_default_or_another_counts_against_the_call() {
    let other = |stage: &str| json!({"type": "object", "properties": {"stage": {"default": stage}}});
    let spent: Value = (0..8).fold(opts(), |inner, _| json!({"anyOf": [inner, {"type": "null"}]}));
    for (part, given, path) in [
        (json!({"anyOf": [opts(), other("test")]}), json!({}), "x.stage"),
        (json!({"anyOf": [opts(), {"type": "object"}]}), json!({}), "x.stage"),
        (json!({"anyOf": [opts(), {"minProperties": 0}]}), json!({}), "x.stage"),
        (json!({"allOf": [{}, opts(), other("test")]}), json!({}), "x.stage"),
        (json!({"if": {"maxProperties": 3}, "then": opts()}), json!({}), "x.stage"),
        (json!({"patternProperties": {"b$": opts()}}), json!({"web": {}}), "x.web.stage"),
        (json!({"anyOf": [{"items": opts()}, {"items": {"type": "object"}}]}), json!([{}]), "x.0.stage"),
        (json!({"anyOf": [{"prefixItems": [{"default": 1}]}, {"type": "array"}]}), json!([]), "x.0"),
        // around what is not known, and beneath it
        (json!({"anyOf": [opts(), {"type": "object"}]}), json!({}), "x"),
        (json!({"anyOf": [opts(), {"type": "object"}]}), json!({}), "x.stage.deep"),
    ] {
        let schema = json!({"properties": {"x": part}});
        assert_eq!(told(&schema, &json!({"x": given}), path, &json!("live")), UNKNOWN, "{schema} {path}");
        assert_eq!(told(&schema, &json!({"x": given}), "y", &json!("live")), ABSENT, "{schema}");
    }
    let schema = json!({"properties": {"x": {"anyOf": [opts(), {"type": "object"}]}}});
    assert_eq!(
        told(&schema, &json!({"x": {"stage": "test"}}), "x.stage", &json!("test")),
        THERE,
        "it is said"
    );
    let args = readings(&schema, &json!({"x": {}}));
    for effect in [Effect::Allow, Effect::Deny] {
        let verdict = judge(effect, "x.stage", Constraint::Glob("*".to_owned()), &args);
        let why = "args.x.stage (it is left out, in whole or in part, and the schema names several defaults";
        assert!(!verdict.allowed && verdict.reason.contains(why), "{}", verdict.reason);
    }
    let schema = json!({"properties": {"x": spent}});
    assert_eq!(
        told(&schema, &json!({"x": {}}), "x.stage", &json!("live")),
        THERE,
        "one choice within another"
    );
}

#[test]
fn where_there_is_too_much_to_look_at_nothing_is_known() {
    let mut choices = vec![json!({"type": "null"}); 300];
    choices.push(opts());
    let schema = json!({"properties": {"x": {"items": {"anyOf": choices}}, "y": {"default": 1}}});
    let given = |times: usize| json!({"x": vec![json!({}); times]});
    assert_eq!(told(&schema, &given(1000), "x.999.stage", &json!("live")), THERE);
    assert_eq!(told(&schema, &given(15_000), "x.0.stage", &json!("live")), UNKNOWN);
    let (args, kwargs) = (Raw::empty_array(), Raw::encode(&given(15_000)).unwrap());
    let read =
        Schema::compile(&schema).unwrap().readings(&schema, (&args, &kwargs), |name| name == "y").unwrap();
    assert!(read.text["y"] == 1 && !read.unknown.is_at("y"), "what no rule is about is not looked at");
}
