//! What may run: tables of calls, and what the gate says of them.

#![expect(clippy::unwrap_used, reason = "test code")]

mod gate_support;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use gate_support::{gate, rule, tester};
use redpoll_agent::exec::account::Account;
use redpoll_agent::gate::{Asked, Counting, Gate, Kind, Leave, Own, Subject};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_config::PolicyConfig;
use redpoll_net::ProcedureInfo;
use redpoll_schema::policy::{
    Constraint, Effect, Hours, Moment, Pattern, Policy, Rate, Rule, Weekday, Whose,
};
use serde_json::{Value, json};

const NOON: Moment = Moment { utc: (Weekday::Wed, 720), local: Some((Weekday::Wed, 780)) };

/// One call, as the gate sees it.
struct Call {
    name: &'static str,
    kind: Kind,
    schema: Value,
    args: Raw,
    kwargs: Raw,
    operator: Option<&'static str>,
    now: Moment,
}

fn call(name: &'static str) -> Call {
    Call {
        name,
        kind: Kind::Manifest(None),
        schema: json!({"type": "object"}),
        args: Raw::empty_array(),
        kwargs: Raw::empty_map(),
        operator: Some("ada"),
        now: NOON,
    }
}

/// `exec.run` with its real schema.
fn exec(args: Value, kwargs: Value) -> Call {
    let config = redpoll_config::ProceduresConfig {
        builtin: vec!["exec.run".to_owned()],
        ..redpoll_config::ProceduresConfig::default()
    };
    let limits = redpoll_config::LimitsConfig::default();
    let registry = redpoll_agent::builtin::install(redpoll_net::Registry::new(), &config, &limits).unwrap();
    Call { kind: Kind::Program, schema: registry.info("exec.run").unwrap().args.clone(), ..call("exec.run") }
        .with(args, kwargs)
}

impl Call {
    fn with(self, args: Value, kwargs: Value) -> Self {
        Self { args: Raw::encode(&args).unwrap(), kwargs: Raw::encode(&kwargs).unwrap(), ..self }
    }

    fn at(&self, gate: &Gate) -> Result<Leave, Fault> {
        let info = ProcedureInfo::new(self.name, "A test.", self.schema.clone());
        let Self { args, kwargs, operator, now, .. } = self;
        let asked =
            Asked { args, kwargs, operator: *operator, roles: None, now: *now, counting: Counting::Takes };
        gate.judge(&info, &Subject::new(self.kind.clone()), asked).map_err(Fault::from)
    }

    fn refusal(&self, gate: &Gate) -> (FaultCode, String) {
        let fault = self.at(gate).unwrap_err();
        (fault.code, fault.message)
    }
}

fn root() -> Own {
    Own { name: "root".to_owned(), is_root: true }
}

fn account(name: &str, uid: u32) -> Option<Account> {
    Some(Account { name: name.to_owned(), uid, gid: uid, groups: Vec::new(), home: PathBuf::from("/") })
}

fn args(path: &str, constraint: Constraint) -> BTreeMap<String, Constraint> {
    BTreeMap::from([(path.to_owned(), constraint)])
}

#[test]
fn without_rules_only_what_is_harmless_or_described_and_not_root_may_run() {
    for (name, kind, own, allowed) in [
        ("sys.ping", Kind::Inside, root(), true),
        ("file.read", Kind::Inside, tester(), false),
        ("exec.run", Kind::Program, tester(), false),
        ("exec.run", Kind::Program, root(), false),
        ("own.code", Kind::Own, root(), true),
        ("web.deploy", Kind::Manifest(None), tester(), true),
        ("web.deploy", Kind::Manifest(None), root(), false),
        ("web.deploy", Kind::Manifest(account("www", 33)), root(), true),
        ("web.deploy", Kind::Manifest(account("root", 0)), root(), false),
        ("web.deploy", Kind::Manifest(account("toor", 0)), root(), false),
    ] {
        let gate = Gate::fixed(Policy::default(), own.clone());
        let said = Call { kind: kind.clone(), ..call(name) }.at(&gate);
        assert_eq!(said.is_ok(), allowed, "{name} {kind:?} {own:?}: {said:?}");
        match said {
            Ok(leave) => assert_eq!(leave, Leave { rule: "default".to_owned(), run_as: None }),
            Err(fault) => assert_eq!(fault.code, FaultCode::Rejected),
        }
    }
    let gate = Gate::fixed(Policy::default(), root());
    let (_, said) = call("web.deploy").refusal(&gate);
    assert!(
        said.contains("name another user in its manifest") && said.contains("users = [\"root\"]"),
        "{said}"
    );
}

#[test]
fn the_schema_comes_first_and_names_path_and_rule() {
    let nobody = gate(vec![rule("nothing at all", Effect::Deny, "*")]);
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
        "x-positional": ["n"]});
    let deploy = |args, kwargs| Call { schema: schema.clone(), ..call("web.deploy") }.with(args, kwargs);
    let (code, said) = deploy(json!([]), json!({"n": "secret"})).refusal(&nobody);
    assert_eq!(code, FaultCode::BadArguments);
    assert!(said.contains("web.deploy@1: n: ") && !said.contains("secret"), "{said}");
    let (code, said) = deploy(json!([7]), json!({})).refusal(&nobody);
    assert!(code == FaultCode::Rejected && said.contains("nothing at all"), "{said}");
    let (code, _) = deploy(json!([7, 8]), json!({})).refusal(&nobody);
    assert_eq!(code, FaultCode::BadArguments);
    let broken = Call { schema: json!({"type": 7}), ..call("web.deploy") };
    assert_eq!(broken.refusal(&nobody).0, FaultCode::Internal);
}

#[test]
fn rules_about_arguments_cannot_be_passed_by_with_another_form_of_the_same() {
    let touch = args("argv.0", Constraint::OneOf(vec![json!("/bin/touch")]));
    let gate = gate(vec![
        Rule { args: touch, ..rule("no touching", Effect::Deny, "exec.run") },
        rule("the rest", Effect::Allow, "exec.run"),
    ]);
    assert!(exec(json!(["/bin/true"]), json!({})).at(&gate).is_ok());
    let bytes = |kwargs: &'static [u8]| Call {
        kwargs: Raw::parse(Bytes::from_static(kwargs)).unwrap(),
        ..exec(json!([]), json!({}))
    };
    for (what, call) in [
        ("by name", exec(json!([]), json!({"argv": ["/bin/touch", "x"]}))),
        ("by position", exec(json!(["/bin/touch", "x"]), json!({}))),
        ("as binary", bytes(b"\x81\xa4argv\x91\xc4\x0a/bin/touch")),
    ] {
        let (code, said) = call.refusal(&gate);
        assert!(code == FaultCode::Rejected && said.contains("no touching"), "{what}: {said}");
    }
    for (what, call) in [
        ("nil and position", exec(json!(["/bin/touch"]), json!({"argv": null}))),
        ("both", exec(json!(["/bin/true"]), json!({"argv": ["/bin/touch"]}))),
        ("a name in binary", bytes(b"\x81\xc4\x04argv\x91\xaa/bin/touch")),
        ("a number for a name", bytes(b"\x81\x00\x91\xaa/bin/touch")),
    ] {
        assert_eq!(call.refusal(&gate).0, FaultCode::BadArguments, "{what}");
    }
}

#[test]
fn who_may_run_a_program_does_not_choose_its_variables_and_its_folder() {
    let tool = args("argv.0", Constraint::OneOf(vec![json!("tool")]));
    let gate = gate(vec![Rule { args: tool, ..rule("tools", Effect::Allow, "exec.run") }]);
    for allowed in [json!({}), json!({"stdin": "x", "grace_ms": 5}), json!({"env": {}})] {
        assert!(exec(json!(["tool"]), allowed.clone()).at(&gate).is_ok(), "{allowed}");
    }
    let bytes = |kwargs: &'static [u8]| Call {
        kwargs: Raw::parse(Bytes::from_static(kwargs)).unwrap(),
        ..exec(json!(["tool"]), json!({}))
    };
    for (what, call, named) in [
        ("a variable", exec(json!(["tool"]), json!({"env": {"PATH": "/tmp/x"}})), "args.env"),
        ("by name", exec(json!([]), json!({"argv": ["tool"], "env": {"LD_PRELOAD": "/tmp/x"}})), "args.env"),
        ("a folder", exec(json!(["tool"]), json!({"cwd": "/tmp"})), "args.cwd"),
        ("a folder in binary", bytes(b"\x81\xa3cwd\xc4\x04/tmp"), "args.cwd"),
    ] {
        let (code, said) = call.refusal(&gate);
        assert!(
            code == FaultCode::Rejected && said.contains(named) && said.contains("tools"),
            "{what}: {said}"
        );
    }
    let odd = bytes(b"\x81\xa3env\x81\xc4\x04PATH\xa4/tmp");
    assert_eq!(odd.refusal(&gate).0, FaultCode::BadArguments, "a name in binary");
}

#[test]
fn what_a_schema_does_not_name_is_refused_where_a_rule_looks_at_arguments() {
    let path = args("path", Constraint::Glob("/etc/*".to_owned()));
    let gate = gate(vec![Rule { args: path, ..rule("not etc", Effect::Deny, "own.*") }]);
    let any = |name, args| {
        Call { schema: json!({"type": "object", "x-positional": true}), ..call(name) }.with(args, json!({}))
    };
    let (code, said) = any("own.read", json!(["/etc/passwd"])).refusal(&gate);
    assert!(
        code == FaultCode::Rejected && said.contains("not etc") && said.contains("by position"),
        "{said}"
    );
    assert!(any("own.read", json!([])).at(&gate).is_ok());
    assert!(any("web.read", json!(["/etc/passwd"])).at(&gate).is_ok(), "no rule looks there");
}

#[test]
fn operators_and_hours_count_and_who_is_unknown_is_nobody() {
    let hours = Hours { days: Weekday::ALL.to_vec(), from: 480, to: 1080, utc: false };
    let ada = Rule {
        operators: Some(vec![Pattern::new("ada").unwrap()]),
        hours: Some(hours),
        ..rule("ada by day", Effect::Allow, "exec.run")
    };
    let gate = gate(vec![ada]);
    let of = |operator, minute| Call {
        operator,
        now: Moment { local: Some((Weekday::Wed, minute)), ..NOON },
        ..exec(json!(["/bin/true"]), json!({}))
    };
    assert_eq!(of(Some("ada"), 780).at(&gate).unwrap().rule, "ada by day");
    for (operator, minute) in [(Some("bob"), 780), (None, 780), (Some("ada"), 479), (Some("ada"), 1080)] {
        assert_eq!(of(operator, minute).refusal(&gate).0, FaultCode::Rejected, "{operator:?} {minute}");
    }
}

#[test]
fn where_the_zone_is_unknown_hours_by_the_local_clock_allow_nothing_and_deny_at_any_time() {
    let hours = |utc| Some(Hours { days: Weekday::ALL.to_vec(), from: 480, to: 1080, utc });
    let run = || Call { now: Moment { local: None, ..NOON }, ..exec(json!(["/bin/true"]), json!({})) };
    let night = Some(Hours { days: Weekday::ALL.to_vec(), from: 1080, to: 480, utc: true });
    for (utc, denies, fits) in [(true, false, true), (false, false, false), (false, true, true)] {
        let (effect, rules) = match denies {
            false => (Effect::Allow, vec![]),
            true => (Effect::Deny, vec![rule("all", Effect::Allow, "exec.run")]),
        };
        let timed = Rule { hours: hours(utc), ..rule("timed", effect, "exec.run") };
        let gate = gate([vec![timed], rules].concat());
        assert_eq!(run().at(&gate).is_ok(), fits != denies, "{utc} {denies}");
    }
    let denied = Rule { hours: night, ..rule("night", Effect::Deny, "exec.run") };
    assert!(run().at(&gate(vec![denied, rule("all", Effect::Allow, "exec.run")])).is_ok(), "known by UTC");
}

#[test]
fn a_rate_is_used_up_by_calls_and_by_nothing_else() {
    let rate = Some(Rate { count: 2, per: Duration::from_secs(3600) });
    let gate = gate(vec![Rule { rate, ..rule("twice", Effect::Allow, "exec.run") }]);
    let run = exec(json!(["/bin/true"]), json!({}));
    let info = ProcedureInfo::new("exec.run", "A test.", run.schema.clone());
    let asked = |counting| {
        let (args, kwargs) = (&run.args, &run.kwargs);
        let asked = Asked { args, kwargs, operator: None, roles: None, now: NOON, counting };
        gate.judge(&info, &Subject::new(Kind::Program), asked)
    };
    for _ in 0..5 {
        assert!(asked(Counting::Ignores).is_ok(), "a run that starts, which counted when it was offered");
        assert_eq!(asked(Counting::Looks).unwrap().rule, "twice", "a trial");
    }
    assert!(run.at(&gate).is_ok() && run.at(&gate).is_ok());
    // a trial says that it is used up, and when there is more; a run that was offered starts all the same
    let tried = asked(Counting::Looks).unwrap_err();
    assert_eq!(tried.rule.as_deref(), Some("twice"));
    assert!(tried.fault.code == FaultCode::Rejected && tried.fault.retry_after_ms.is_some(), "{tried:?}");
    assert!(asked(Counting::Ignores).is_ok());
    let fault = run.at(&gate).unwrap_err();
    assert!(fault.code == FaultCode::Rejected && fault.message.contains("twice"), "{fault}");
    assert!(fault.retry_after_ms.is_some_and(|wait| wait > 60_000), "{:?}", fault.retry_after_ms);
}

#[test]
fn a_rule_says_as_whom_it_runs_and_what_cannot_is_refused() {
    let as_root = Gate::fixed(
        Policy::new(vec![Rule { run_as: Some("root".to_owned()), ..rule("as root", Effect::Allow, "*") }]),
        root(),
    );
    assert_eq!(call("web.deploy").at(&as_root).unwrap().run_as.as_deref(), Some("root"));
    let inside = Call { kind: Kind::Inside, ..call("sys.ping") };
    assert_eq!(inside.at(&as_root).unwrap().run_as, None, "it runs within the agent");
    let own = Call { kind: Kind::Own, ..call("own.code") };
    assert_eq!(own.refusal(&as_root).0, FaultCode::Rejected);

    let nobody = Rule { run_as: Some("who-is-this".to_owned()), ..rule("as x", Effect::Allow, "*") };
    let (code, said) = call("web.deploy").refusal(&Gate::fixed(Policy::new(vec![nobody]), root()));
    assert!(code == FaultCode::Rejected && said.contains("as x") && said.contains("who-is-this"), "{said}");

    // a number is a name of root, too, and so is toor where there is one
    let toor = Rule { run_as: Some("00".to_owned()), ..rule("as 00", Effect::Allow, "*") };
    let gate = Gate::fixed(Policy::new(vec![toor.clone()]), root());
    for call in [call("web.deploy"), exec(json!(["id"]), json!({}))] {
        let (code, said) = call.refusal(&gate);
        assert!(code == FaultCode::Rejected && said.contains("root by another name"), "{said}");
    }
    let doubts = gate.doubts(&[]);
    assert!(doubts.len() == 1 && doubts[0].contains("root by another name"), "{doubts:?}");
    let meant = Rule { users: Some(vec!["root".to_owned(), "00".to_owned()]), ..toor };
    let meant = Gate::fixed(Policy::new(vec![meant]), root());
    assert_eq!(call("web.deploy").at(&meant).unwrap().run_as.as_deref(), Some("00"));

    let only = |users: &[&str]| {
        let users = Some(users.iter().map(|&user| user.to_owned()).collect());
        Gate::fixed(Policy::new(vec![Rule { users, ..rule("named", Effect::Allow, "*") }]), root())
    };
    let of = |kind| Call { kind: Kind::Manifest(kind), ..call("web.deploy") };
    for (kind, users, allowed) in [
        (None, &["root"][..], true),
        (None, &["www"], false),
        (account("www", 33), &["www"], true),
        (account("www", 33), &["root"], false),
        (account("toor", 0), &["toor"], false),
        (account("toor", 0), &["toor", "root"], true),
    ] {
        assert_eq!(of(kind.clone()).at(&only(users)).is_ok(), allowed, "{kind:?} {users:?}");
    }
    let exec = exec(json!(["id"]), json!({}));
    assert!(exec.at(&only(&["www"])).is_err(), "it would run as root, who is not named");
}

#[test]
fn a_broken_file_changes_nothing_and_the_same_rules_keep_their_rates() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let policy = PolicyConfig { file: file.clone(), ..PolicyConfig::default() };
    assert!(Gate::open(&policy, Whose::Agent).is_ok(), "none is the default");
    let once = "[[rule]]\nname = \"once\"\nallow = [\"exec.run\"]\nrate = \"1/1h\"\n";
    fs::write(&file, once).unwrap();
    let gate = Gate::open(&policy, Whose::Agent).unwrap();
    let (digest, run) = (gate.digest(), exec(json!(["true"]), json!({})));
    assert!(run.at(&gate).is_ok() && run.at(&gate).is_err());
    fs::write(&file, format!("# the same\n{once}")).unwrap();
    gate.reload().unwrap();
    assert!(run.at(&gate).is_err() && gate.digest() == digest, "a reload fills no bucket");
    fs::write(&file, "[[rule]]\nname = \"x\"\nallow = [\"*\"]\nfoo = 1\n").unwrap();
    let problems = gate.reload().unwrap_err();
    assert!(
        problems[0].contains("old policy goes on to hold") && problems[0].contains("foo"),
        "{problems:?}"
    );
    assert_eq!(gate.digest(), digest);
    assert!(Gate::open(&policy, Whose::Agent).is_err());
    fs::write(&file, "switches = \"nobody\"\n").unwrap();
    gate.reload().unwrap();
    assert_ne!(gate.digest(), digest);
    assert!(gate.may_switch("p", false).unwrap_err().message.contains("switches"));
    assert_eq!(run.refusal(&gate).0, FaultCode::Rejected);
}

#[test]
fn what_is_left_out_is_judged_as_the_default_of_the_schema() {
    let schema = json!({"type": "object", "x-positional": ["stage"], "properties": {
        "stage": {"type": "string", "default": "live"},
        "how": {"type": "object", "properties": {"force": {"type": "boolean", "default": true}}}
    }});
    let deploy =
        |args: Value, kwargs: Value| Call { schema: schema.clone(), ..call("web.deploy") }.with(args, kwargs);
    let is = |path: &str, value: Value| BTreeMap::from([(path.to_owned(), Constraint::OneOf(vec![value]))]);
    let about = |effect, args| gate(vec![Rule { args, ..rule("stages", effect, "web.*") }]);

    let deny = about(Effect::Deny, is("stage", json!("live")));
    assert_eq!(deploy(json!([]), json!({})).refusal(&deny).0, FaultCode::Rejected);
    assert!(deploy(json!([]), json!({"stage": "test"})).at(&deny).is_ok());
    assert!(deploy(json!(["test"]), json!({})).at(&deny).is_ok());
    let allow = about(Effect::Allow, is("stage", json!("live")));
    assert!(deploy(json!([]), json!({})).at(&allow).is_ok());
    assert_eq!(deploy(json!([]), json!({"stage": "test"})).refusal(&allow).0, FaultCode::Rejected);

    let deny = about(Effect::Deny, is("how.force", json!(true)));
    assert!(deploy(json!([]), json!({})).at(&deny).is_ok(), "there is no object");
    assert_eq!(deploy(json!([]), json!({"how": {}})).refusal(&deny).0, FaultCode::Rejected);
    assert!(deploy(json!([]), json!({"how": {"force": false}})).at(&deny).is_ok());
}

#[test]
fn what_is_left_out_of_an_object_that_may_be_null_or_is_in_a_list_is_judged_too() {
    let part =
        |name: &str, default: Value| json!({"type": "object", "properties": {name: {"default": default}}});
    let schema = json!({"type": "object", "properties": {
        "opts": {"anyOf": [part("stage", json!("live")), {"type": "null"}]},
        "targets": {"items": part("force", json!(true))},
    }});
    for (path, value, kwargs) in [
        ("opts.stage", json!("live"), json!({"opts": {}})),
        ("targets.0.force", json!(true), json!({"targets": [{}]})),
    ] {
        let args = BTreeMap::from([(path.to_owned(), Constraint::OneOf(vec![value]))]);
        let gate = gate(vec![Rule { args, ..rule("no", Effect::Deny, "web.*") }]);
        let call = Call { schema: schema.clone(), ..call("web.deploy") }.with(json!([]), kwargs);
        assert_eq!(call.refusal(&gate).0, FaultCode::Rejected, "{path}");
    }
}
