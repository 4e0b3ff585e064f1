//! What a program is given may be no text, and passes by no rule of a policy about its arguments.

#![expect(clippy::unwrap_used, reason = "test code")]

mod gate_support;

use bytes::Bytes;
use gate_support::{gate, rule};
use redpoll_agent::gate::{Asked, Counting, Gate, Kind, Leave, Subject, moment};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_net::ProcedureInfo;
use redpoll_schema::policy::{Constraint, Effect, Rule};
use serde_json::json;

/// A call of `exec.run` with its real schema.
fn exec(gate: &Gate, kwargs: &[u8]) -> Result<Leave, Fault> {
    let config = redpoll_config::ProceduresConfig {
        builtin: vec!["exec.run".to_owned()],
        ..redpoll_config::ProceduresConfig::default()
    };
    let limits = redpoll_config::LimitsConfig::default();
    let registry = redpoll_agent::builtin::install(redpoll_net::Registry::new(), &config, &limits).unwrap();
    let info = ProcedureInfo::new("exec.run", "A test.", registry.info("exec.run").unwrap().args.clone());
    let (args, kwargs) = (Raw::empty_array(), Raw::parse(Bytes::copy_from_slice(kwargs)).unwrap());
    let counting = Counting::Takes;
    let asked =
        Asked { args: &args, kwargs: &kwargs, operator: Some("ada"), roles: None, now: moment(), counting };
    gate.judge(&info, &Subject::new(Kind::Program), asked).map_err(Fault::from)
}

fn with(rule: Rule, args: &[(&str, Constraint)]) -> Rule {
    let args = args.iter().map(|(path, constraint)| ((*path).to_owned(), constraint.clone())).collect();
    Rule { args, ..rule }
}

#[test]
fn one_byte_that_is_no_text_opens_no_rule_that_allows() {
    let tar = Constraint::OneOf(vec![json!("tar")]);
    let word = Constraint::regex("[A-Za-z0-9]+", Effect::Allow).unwrap();
    let allow = rule("archives", Effect::Allow, "exec.run");
    let gate = gate(vec![with(allow, &[("argv.0", tar), ("argv.1", word)])]);
    assert!(exec(&gate, b"\x81\xa4argv\x92\xa3tar\xa2xf").is_ok());
    assert!(exec(&gate, b"\x81\xa4argv\x92\xa3tar\xc4\x02xf").is_ok(), "bytes that are a text are that text");
    let call = b"\x81\xa4argv\x92\xa3tar\xc4\x1e--checkpoint-action=exec=id #\x80";
    let fault = exec(&gate, call).unwrap_err();
    assert_eq!(fault.code, FaultCode::Rejected);
    let said = fault.message;
    assert!(said.contains("args.argv.1 (it has bytes that are no UTF-8"), "{said}");
    assert!(!said.contains("checkpoint"), "{said}");
}

#[test]
fn one_byte_that_is_no_text_hides_nothing_from_a_rule_that_denies() {
    let glob = |text: &str| Constraint::Glob(text.to_owned());
    let denies = |path, constraint: Constraint| {
        gate(vec![
            with(rule("not so", Effect::Deny, "exec.run"), &[(path, constraint)]),
            rule("the rest", Effect::Allow, "exec.run"),
        ])
    };
    let removes = denies("argv.2", glob("*rm -rf*"));
    assert!(exec(&removes, b"\x81\xa4argv\x93\xa2sh\xa2-c\xc4\x03ls\x80").is_ok());
    for (gate, call) in [
        (&removes, &b"\x81\xa4argv\x93\xa2sh\xa2-c\xc4\x0brm -rf / #\x80"[..]),
        (&denies("cwd", glob("/srv/*")), b"\x82\xa4argv\x91\xa2ls\xa3cwd\xc4\x06/srv/\xe4"),
        (
            &denies("env.LD_PRELOAD", glob("*")),
            b"\x82\xa4argv\x91\xa2ls\xa3env\x81\xaaLD_PRELOAD\xc4\x03/\xe4x",
        ),
        (&denies("stdin", glob("*drop*")), b"\x82\xa4argv\x91\xa2ls\xa5stdin\xc4\x05drop\xff"),
    ] {
        let fault = exec(gate, call).unwrap_err();
        assert!(fault.code == FaultCode::Rejected && fault.message.contains("not so"), "{fault}");
    }
}
