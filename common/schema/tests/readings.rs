//! Bytes that are no text, as the rules of a policy see them.
#![expect(clippy::unwrap_used, reason = "test code")]

use bytes::Bytes;
use redpoll_common::wire::Raw;
use redpoll_schema::policy::{Constraint, Effect, Moment, Pattern, Policy, Request, Rule, Weekday};
use redpoll_schema::{Readings, Schema};
use serde_json::{Value, json};

/// A list of texts, and of a byte string for each that `\0` begins.
fn list(items: &[&[u8]]) -> Raw {
    let of = |item: &&[u8]| match item {
        [0, content @ ..] => Raw::bin(content),
        text => Raw::text(std::str::from_utf8(text).unwrap()),
    };
    Raw::array(&items.iter().map(of).collect::<Vec<_>>())
}

fn readings(args: &Raw, kwargs: &Raw) -> Readings {
    let schema = json!({"type": "object", "x-positional": "argv", "properties": {"grace": {"default": 5}}});
    Schema::compile(&schema).unwrap().readings(&schema, (args, kwargs), |_| true).unwrap()
}

/// Whether a rule fits a call with this list.
fn fits(effect: Effect, path: &str, constraint: &Constraint, args: &Readings) -> bool {
    let rule = Rule {
        name: "r".to_owned(),
        effect,
        procedures: vec![Pattern::new("exec.run").unwrap()],
        args: [(path.to_owned(), constraint.clone())].into(),
        operators: None,
        roles: None,
        hours: None,
        users: None,
        run_as: None,
        rate: None,
    };
    let now = (Weekday::Wed, 720);
    let request = Request {
        name: "exec.run",
        version: 1,
        is_manifest: true,
        args,
        operator: None,
        roles: None,
        user: None,
        user_is_root: false,
        now: Moment { utc: now, local: Some(now) },
    };
    let verdict = Policy::new(vec![rule]).judge(&request);
    match effect {
        Effect::Allow => verdict.allowed,
        Effect::Deny => !verdict.allowed,
    }
}

#[test]
fn bytes_that_are_no_text_are_no_text_that_a_rule_allows_and_either_text_that_one_denies() {
    let regex = |effect, text: &str| Constraint::regex(text, effect).unwrap();
    let glob = |text: &str| Constraint::Glob(text.to_owned());
    let one_of = |value: Value| Constraint::OneOf(vec![value]);
    let of = |text: &[u8]| {
        let bad = [b"\0", text, b"\x80"].concat();
        readings(&list(&[b"tar", &bad]), &Raw::empty_map())
    };
    let args = of(b"--checkpoint-action=exec=id #");
    let base64 = "LS1jaGVja3BvaW50LWFjdGlvbj1leGVjPWlkICOA";
    for constraint in [
        regex(Effect::Allow, "[A-Za-z0-9]+"),
        regex(Effect::Allow, ".*"),
        regex(Effect::Allow, "[^ ]*"),
        glob("*"),
        glob("L*"),
        one_of(json!(base64)),
    ] {
        assert!(!fits(Effect::Allow, "argv.1", &constraint, &args), "{constraint:?}");
    }
    let whole = one_of(json!(["tar", base64]));
    assert!(!fits(Effect::Allow, "argv", &whole, &args), "nor within what it allows");
    assert!(fits(Effect::Allow, "argv.0", &one_of(json!("tar")), &args), "what is beside them is as it is");

    let args = of(b"rm -rf / #");
    for constraint in [
        glob("*rm -rf*"),
        glob("*"),
        regex(Effect::Deny, "rm .*"),
        // whoever wrote it as it was shown
        one_of(json!("cm0gLXJmIC8gI4A=")),
        one_of(json!("rm -rf / #\u{fffd}")),
    ] {
        assert!(fits(Effect::Deny, "argv.1", &constraint, &args), "{constraint:?}");
    }
    assert!(!fits(Effect::Deny, "argv.1", &glob("*shred*"), &args));
}

#[test]
fn a_condition_about_names_is_none_about_what_is_under_them() {
    let kwargs = Raw::parse(Bytes::from_static(b"\x81\xa3env\x81\xa4LANG\xc4\x01\xe4")).unwrap();
    let args = readings(&Raw::empty_array(), &kwargs);
    assert!(fits(Effect::Allow, "env", &Constraint::Only(vec!["LANG".to_owned()]), &args));
    assert!(!fits(Effect::Allow, "env", &Constraint::Only(vec!["TZ".to_owned()]), &args));
    assert!(!fits(Effect::Allow, "env.LANG", &Constraint::Glob("*".to_owned()), &args));
}

#[test]
fn what_is_left_out_is_filled_in_also_beside_bytes_that_are_no_text() {
    let args = readings(&list(&[b"\x00\xff"]), &Raw::empty_map());
    assert_eq!(args.text, json!({"argv": ["\u{fffd}"], "grace": 5}));
    assert_eq!(args.encoded, Some(json!({"argv": ["/w=="], "grace": 5})));
    let grace = Constraint::OneOf(vec![json!(5)]);
    assert!(fits(Effect::Allow, "grace", &grace, &args) && fits(Effect::Deny, "grace", &grace, &args));
    let text = readings(&list(&[b"\x00true"]), &Raw::empty_map());
    assert_eq!(text, Readings::of(json!({"argv": ["true"], "grace": 5})));
}

#[test]
fn a_piece_of_a_file_that_no_rule_is_about_is_not_read() {
    let schema = json!({"type": "object"});
    let compiled = Schema::compile(&schema).unwrap();
    let mut bytes = b"\x82\xa4path\xa2/a\xa4data\xc5\x08\x00".to_vec();
    bytes.extend([0xff; 2048]);
    let kwargs = Raw::parse(Bytes::from(bytes)).unwrap();
    let args = Raw::empty_array();
    let read = |about: &str| compiled.readings(&schema, (&args, &kwargs), |name| name == about).unwrap();
    assert_eq!(read("path"), Readings::of(json!({"path": "/a", "data": ""})));
    assert!(read("data").encoded.is_some());
}

#[test]
fn names_that_are_no_texts_are_refused_also_by_position() {
    let args = Raw::parse(Bytes::from_static(b"\x91\x81\xc4\x05force\xc3")).unwrap();
    let schema = json!({"type": "object", "x-positional": ["opts"]});
    let compiled = Schema::compile(&schema).unwrap();
    assert!(compiled.readings(&schema, (&args, &Raw::empty_map()), |_| true).is_err());
    assert!(compiled.check(&args, &Raw::empty_map()).is_ok(), "the schema sees them as it did");
}
