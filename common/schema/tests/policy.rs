//! Policies as tables.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use std::time::{Duration, Instant};

use redpoll_schema::Readings;
use redpoll_schema::policy::{
    Buckets, Constraint, Effect, Hours, Moment, Pattern, Policy, Rate, Request, Rule, Weekday,
};
use serde_json::{Value, json};

const NOON: Moment = Moment { utc: (Weekday::Wed, 720), local: Some((Weekday::Wed, 780)) };

fn rule(name: &str, effect: Effect, procedure: &str) -> Rule {
    Rule {
        name: name.to_owned(),
        effect,
        procedures: vec![Pattern::new(procedure).unwrap()],
        args: std::collections::BTreeMap::new(),
        operators: None,
        roles: None,
        hours: None,
        users: None,
        run_as: None,
        rate: None,
    }
}

fn request<'r>(name: &'r str, args: &Value) -> Request<'r> {
    // as long as a test
    let args = Box::leak(Box::new(Readings::of(args.clone())));
    Request {
        name,
        version: 1,
        is_manifest: true,
        args,
        operator: Some("ada"),
        roles: None,
        user: Some("www"),
        user_is_root: false,
        now: NOON,
    }
}

fn judged(rules: Vec<Rule>, request: &Request<'_>) -> (bool, String) {
    let verdict = Policy::new(rules).judge(request);
    assert_eq!(verdict.allowed, verdict.reason.is_empty());
    assert!(verdict.allowed || verdict.reason.contains(&verdict.rule));
    (verdict.allowed, verdict.rule)
}

#[test]
fn the_default_is_safe() {
    let none = json!({});
    for (name, is_manifest, root, allowed) in [
        ("sys.ping", false, true, true),
        ("exec.run", false, true, false),
        ("exec.run", false, false, false),
        ("file.read", false, false, false),
        ("web.deploy", true, false, true),
        ("web.deploy", true, true, false),
        ("own.rust", false, false, false),
        ("system.x", false, false, false),
    ] {
        let request = Request { is_manifest, user_is_root: root, ..request(name, &none) };
        assert_eq!(judged(vec![], &request), (allowed, "default".to_owned()), "{name}");
    }
}

#[test]
fn by_default_operators_alone_see_and_end_what_is_left_of_jobs() {
    let none = json!({});
    for name in ["sys.leftovers", "sys.leftovers.stop"] {
        let asked = |operator| Request { operator, is_manifest: false, ..request(name, &none) };
        for (operator, allowed) in [(Some("ada"), true), (Some("agent:web-2"), false), (None, false)] {
            assert_eq!(judged(vec![], &asked(operator)), (allowed, "default".to_owned()), "{operator:?}");
            let rules = vec![rule("all of sys", Effect::Allow, "sys.*")];
            assert_eq!(judged(rules, &asked(operator)), (true, "all of sys".to_owned()), "{operator:?}");
        }
    }
}

#[test]
fn deny_wins_and_the_first_that_fits_is_named() {
    let (none, allow, deny) = (json!({}), Effect::Allow, Effect::Deny);
    let rules = || {
        vec![
            rule("a", allow, "web.*"),
            rule("b", allow, "*"),
            rule("c", deny, "web.drop*"),
            rule("d", deny, "web.*@2"),
        ]
    };
    let second = Request { version: 2, ..request("web.up", &none) };
    assert_eq!(judged(rules(), &request("web.up", &none)), (true, "a".into()));
    assert_eq!(judged(rules(), &request("exec.run", &none)), (true, "b".into()));
    assert_eq!(judged(rules(), &request("web.drop.all", &none)), (false, "c".into()));
    assert_eq!(judged(rules(), &second), (false, "d".into()));
}

#[test]
fn an_unknown_operator_counts_against_the_call() {
    let none = json!({});
    let with = |effect| Rule {
        operators: Some(vec![Pattern::new("ad*").unwrap()]),
        ..rule("r", effect, "exec.run")
    };
    for (operator, effect, allowed) in [
        (Some("ada"), Effect::Allow, true),
        (Some("eve"), Effect::Allow, false),
        (None, Effect::Allow, false),
    ] {
        let request = Request { operator, ..request("exec.run", &none) };
        let request = Request { is_manifest: false, ..request };
        assert_eq!(judged(vec![with(effect)], &request).0, allowed, "{operator:?}");
    }
    let deny = Rule { procedures: vec![Pattern::new("*").unwrap()], ..with(Effect::Deny) };
    for (operator, allowed) in [(Some("ada"), false), (Some("eve"), true), (None, false)] {
        let request = Request { operator, ..request("web.up", &none) };
        assert_eq!(judged(vec![deny.clone()], &request).0, allowed, "{operator:?}");
    }
    let roles = Rule { roles: Some(vec!["admin".into()]), ..rule("r", Effect::Allow, "exec.run") };
    for (has, allowed) in [(Some(vec!["admin".to_owned()]), true), (Some(vec![]), false), (None, false)] {
        let request = Request { roles: has.as_deref(), is_manifest: false, ..request("exec.run", &none) };
        assert_eq!(judged(vec![roles.clone()], &request).0, allowed, "{has:?}");
    }
    // of one who has none it is known that he has not this one; where nothing is said, nobody knows
    let deny = Rule { roles: Some(vec!["contractor".into()]), ..rule("r", Effect::Deny, "exec.run") };
    let rules = vec![deny, rule("all", Effect::Allow, "*")];
    for (has, allowed) in [
        (Some(vec![]), true),
        (Some(vec!["admin".to_owned()]), true),
        (Some(vec!["admin".to_owned(), "contractor".to_owned()]), false),
        (None, false),
    ] {
        let request = Request { roles: has.as_deref(), is_manifest: false, ..request("exec.run", &none) };
        assert_eq!(judged(rules.clone(), &request).0, allowed, "{has:?}");
    }
}

#[test]
fn arguments_are_held_to_their_constraints() {
    let one_of = || Constraint::OneOf(vec![json!("a"), json!(5)]);
    let range = || Constraint::Range { min: Some(1.into()), max: Some(10.into()) };
    let regex = |text: &str| Constraint::regex(text, Effect::Allow).unwrap();
    let denied = |text: &str| Constraint::regex(text, Effect::Deny).unwrap();
    for (constraint, value, fits) in [
        (one_of(), json!("a"), true),
        (one_of(), json!(5.0), true),
        (one_of(), json!("5"), false),
        (Constraint::OneOf(vec![json!([80, 443])]), json!([80.0, 443]), true),
        (Constraint::OneOf(vec![json!({"port": 80})]), json!({"port": 80.0}), true),
        (Constraint::OneOf(vec![json!(9_007_199_254_740_993_u64)]), json!(9_007_199_254_740_992.0), false),
        (
            Constraint::Range { min: Some(9_007_199_254_740_993_u64.into()), max: None },
            json!(9_007_199_254_740_992.0),
            false,
        ),
        (range(), json!(1), true),
        (range(), json!(10.5), false),
        (range(), json!("3"), false),
        (Constraint::Range { min: Some(u64::MAX.into()), max: None }, json!(u64::MAX - 1), false),
        (Constraint::Glob("/srv/*".into()), json!("/srv/x/y"), true),
        (Constraint::Glob("/srv/*".into()), json!("/etc/srv/"), false),
        (Constraint::Glob("a*a".into()), json!("a"), false),
        (regex("a|b"), json!("b"), true),
        (regex("a|b"), json!("xb"), false),
        (regex("a"), json!("a\n"), false),
        // of a rule that denies nothing passes by with a line end, and one that allows lets no more in by it
        (denied("/srv/secret(/.*)?"), json!("/srv/secret/a\n.conf"), true),
        (denied("/srv/secret(/.*)?"), json!("/srv/secret/\n/a"), true),
        (denied("/srv/secret(/.*)?"), json!("/srv/secret-not"), false),
        (regex("/srv/open/.*"), json!("/srv/open/a\nb"), false),
    ] {
        assert_eq!(constraint.fits(Some(&value)), fits, "{constraint:?} {value}");
        assert!(!constraint.fits(None));
    }
    for wrong in ["a)|(b", "(", "(a{1000}){1000}"] {
        assert!(Constraint::regex(wrong, Effect::Deny).is_err(), "{wrong}");
    }
    let mut nested = rule("r", Effect::Deny, "*");
    nested.args.insert("list.1.x".into(), one_of());
    let (bad, good) = (json!({"list": [0, {"x": "a"}]}), json!({"list": [0]}));
    assert!(!judged(vec![nested.clone()], &request("web.up", &bad)).0);
    assert!(judged(vec![nested], &request("web.up", &good)).0);
}

#[test]
fn root_has_to_be_named() {
    let none = json!({});
    let root = Request { user: Some("root"), user_is_root: true, ..request("web.up", &none) };
    let own = Request { user: None, user_is_root: true, ..request("web.up", &none) };
    let plain = rule("r", Effect::Allow, "*");
    let named = Rule { users: Some(vec!["root".into(), "www".into()]), ..plain.clone() };
    let other = Rule { users: Some(vec!["db".into()]), ..plain.clone() };
    let mapped = Rule { run_as: Some("www".into()), ..plain.clone() };
    let to_root = Rule { run_as: Some("root".into()), ..plain.clone() };
    for (rule, request, allowed) in [
        (&plain, &root, false),
        (&plain, &own, false),
        (&named, &root, true),
        (&named, &request("web.up", &none), true),
        (&other, &request("web.up", &none), false),
        (&mapped, &root, true),
        (&to_root, &request("web.up", &none), true),
    ] {
        assert_eq!(judged(vec![rule.clone()], request).0, allowed, "{rule:?} {request:?}");
    }
    let verdict = Policy::new(vec![mapped]).judge(&root);
    assert_eq!(verdict.user.as_deref(), Some("www"));
}

#[test]
fn hours_go_over_midnight_and_know_their_zone() {
    let at = |day, minute| Moment { utc: (day, minute), local: Some((Weekday::Sun, 0)) };
    let hours = |from, to| Hours { days: vec![Weekday::Mon], from, to, utc: true };
    for (hours, now, holds) in [
        (hours(540, 1020), at(Weekday::Mon, 540), true),
        (hours(540, 1020), at(Weekday::Mon, 1020), false),
        (hours(540, 1020), at(Weekday::Tue, 600), false),
        (hours(1320, 360), at(Weekday::Mon, 1400), true),
        (hours(1320, 360), at(Weekday::Tue, 300), true),
        (hours(1320, 360), at(Weekday::Mon, 300), false),
        (hours(0, 0), at(Weekday::Mon, 1439), true),
        (hours(0, 1440), at(Weekday::Mon, 1439), true),
        (Hours { utc: false, ..hours(0, 0) }, at(Weekday::Mon, 5), false),
    ] {
        assert_eq!(hours.hold(now), Some(holds), "{hours:?} {now:?}");
    }
}

#[test]
fn a_rate_allows_so_many_at_once_and_then_as_time_passes() {
    let (mut buckets, start) = (Buckets::default(), Instant::now());
    let rate = Rate { count: 3, per: Duration::from_secs(60) };
    for _ in 0..3 {
        assert_eq!(buckets.take(0, rate, start), Ok(()));
    }
    assert_eq!(buckets.take(0, rate, start), Err(Duration::from_secs(20)));
    assert_eq!(buckets.take(1, rate, start), Ok(()), "each rule has its own");
    assert_eq!(buckets.take(0, rate, start + Duration::from_secs(20)), Ok(()));
    assert!(buckets.take(0, rate, start + Duration::from_secs(20)).is_err());
}

#[test]
fn what_is_given_back_of_a_rate_may_be_taken_again_and_never_more_than_the_rate() {
    let (mut buckets, start) = (Buckets::default(), Instant::now());
    let rate = Rate { count: 2, per: Duration::from_secs(60) };
    let left = |buckets: &mut Buckets, now| (0..4).take_while(|_| buckets.take(0, rate, now).is_ok()).count();
    assert_eq!(left(&mut buckets, start), 2);
    buckets.give_back(0, rate);
    assert_eq!(left(&mut buckets, start), 1);
    let later = start + Duration::from_secs(300);
    buckets.give_back(0, rate);
    assert_eq!(left(&mut buckets, later), 2, "it was full by then");
    buckets.give_back(7, rate);
}

#[test]
fn a_pattern_that_could_never_fit_is_refused() {
    for wrong in ["", "@1", "a@", "a@0", "a@01", "a@x", "a@1@2"] {
        assert!(Pattern::new(wrong).is_err(), "{wrong:?}");
    }
    let pattern = Pattern::new("web.*.x@2").unwrap();
    assert!(pattern.fits("web.a.b.x", 2) && !pattern.fits("web.a.x", 1) && !pattern.fits("web.x", 2));
}

#[test]
fn what_an_allow_rule_names_is_not_opened_by_the_default_when_its_conditions_do_not_hold() {
    let (test, live) = (json!({"stage": "test"}), json!({"stage": "live"}));
    let deploy = || {
        let mut rule = rule("deployments", Effect::Allow, "web.deploy@2");
        rule.args.insert("stage".to_owned(), Constraint::OneOf(vec![json!("test")]));
        rule.operators = Some(vec![Pattern::new("ada").unwrap()]);
        rule
    };
    let everything =
        || Rule { operators: Some(vec![Pattern::new("root-*").unwrap()]), ..rule("all", Effect::Allow, "*") };
    let two = |args| Request { version: 2, ..request("web.deploy", args) };
    let fits = judged(vec![everything(), deploy()], &two(&test));
    assert_eq!(fits, (true, "deployments".to_owned()));
    for (refused, unmet) in [
        (two(&live), "args.stage"),
        (Request { operator: Some("bob"), ..two(&test) }, "operators"),
        (Request { operator: None, ..two(&live) }, "operators, args.stage"),
        (Request { version: 1, ..two(&test) }, "version"),
    ] {
        let verdict = Policy::new(vec![everything(), deploy()]).judge(&refused);
        assert_eq!((verdict.allowed, verdict.rule.as_str(), verdict.index), (false, "deployments", Some(1)));
        assert!(verdict.reason.ends_with(&format!("do not hold: {unmet}")), "{}", verdict.reason);
    }
    // a rule about everything is about nothing in particular
    for (name, is_manifest) in [("web.status", true), ("sys.ping", false)] {
        let other = Request { is_manifest, ..request(name, &live) };
        assert_eq!(judged(vec![everything(), deploy()], &other), (true, "default".to_owned()));
    }
    // what is built in can be kept to some as well
    let ping =
        Rule { operators: Some(vec![Pattern::new("bob").unwrap()]), ..rule("ping", Effect::Allow, "sys.p*") };
    let asked = Request { is_manifest: false, ..request("sys.ping", &live) };
    assert_eq!(judged(vec![ping], &asked), (false, "ping".to_owned()));
}

/// What is said of a call of `exec.run` by rules that allow by these constraints.
fn ran(constraints: &[(&str, Constraint)], args: &Value) -> Result<(), String> {
    let of = |(path, constraint): &(&str, Constraint)| ((*path).to_owned(), constraint.clone());
    let rule =
        Rule { args: constraints.iter().map(of).collect(), ..rule("programs", Effect::Allow, "exec.run") };
    let verdict = Policy::new(vec![rule]).judge(&Request { is_manifest: false, ..request("exec.run", args) });
    if verdict.allowed { Ok(()) } else { Err(verdict.reason) }
}

#[test]
fn a_rule_that_says_which_program_runs_lets_no_caller_make_another_of_it() {
    let tool = || ("argv.0", Constraint::OneOf(vec![json!("tool")]));
    let whole = || ("argv", Constraint::OneOf(vec![json!(["tool"])]));
    let call = |more: Value| {
        let mut args = json!({"argv": ["tool"], "stdin": "anything", "output_limit": 1});
        args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        args
    };
    for rule in [tool(), whole()] {
        for free in [json!({}), json!({"env": {}, "cwd": null}), json!({"env": null})] {
            assert_eq!(ran(std::slice::from_ref(&rule), &call(free.clone())), Ok(()), "{free}");
        }
        for (given, named) in [
            (json!({"env": {"PATH": "/tmp/x"}}), "args.env"),
            (json!({"env": ["PATH=/tmp/x"]}), "args.env"),
            (json!({"cwd": "/tmp/x"}), "args.cwd"),
        ] {
            let said = ran(std::slice::from_ref(&rule), &call(given.clone())).unwrap_err();
            assert!(
                said.contains(named) && said.contains("leave") && said.contains("\"programs\""),
                "{said}"
            );
        }
    }
    // a rule that says nothing of the program leaves everything to its caller, but for what it does say
    let path = json!({"env": {"PATH": "/tmp/x"}, "cwd": "/tmp"});
    assert_eq!(ran(&[], &call(path.clone())), Ok(()));
    assert!(ran(&[("env", Constraint::Only(vec![]))], &call(path)).is_err());
    // only exec.run has such arguments; with others they mean what their owner says
    let mut deploy = rule("deploy", Effect::Allow, "web.deploy");
    deploy.args.extend([("argv.0".to_owned(), Constraint::OneOf(vec![json!("tool")]))]);
    assert!(judged(vec![deploy], &request("web.deploy", &call(json!({"env": {"A": "1"}})))).0);
}

#[test]
fn a_rule_names_the_variables_and_the_directory_that_it_lets_be_given() {
    let tool = ("argv.0", Constraint::OneOf(vec![json!("tool")]));
    let text = |text: &str| Constraint::OneOf(vec![json!(text)]);
    let only = |names: &[&str]| Constraint::Only(names.iter().map(|&name| name.to_owned()).collect());
    let env = |env: Value| json!({"argv": ["tool"], "env": env});
    for (constraint, args, allowed) in [
        (("env", only(&[])), json!({"argv": ["tool"]}), true),
        (("env", only(&[])), env(json!({"LANG": "C"})), false),
        (("env", only(&["LANG", "LC_*"])), env(json!({"LANG": "C", "LC_ALL": "C"})), true),
        (("env", only(&["LANG", "LC_*"])), env(json!({"LC_ALL": "C", "PATH": "/x"})), false),
        (("env", only(&["LANG", "LC_*"])), json!({"argv": ["tool"]}), true),
        (("env", only(&["*"])), env(json!({"PATH": "/x"})), true),
        (("env", only(&["*"])), env(json!("PATH=/x")), false),
        // one that is named by itself has to be given, and to fit, and lets no other pass
        (("env.LANG", text("C")), env(json!({"LANG": "C"})), true),
        (("env.LANG", text("C")), env(json!({"LANG": "C", "PATH": "/x"})), false),
        (("env.LANG", text("C")), json!({"argv": ["tool"]}), false),
        (("cwd", text("/srv")), json!({"argv": ["tool"], "cwd": "/srv"}), true),
        (("cwd", text("/srv")), json!({"argv": ["tool"], "cwd": "/tmp"}), false),
        (("cwd", text("/srv")), json!({"argv": ["tool"], "cwd": "/srv", "env": {"A": "1"}}), false),
    ] {
        let said = ran(&[tool.clone(), constraint.clone()], &args);
        assert_eq!(said.is_ok(), allowed, "{constraint:?} {args}: {said:?}");
    }
}
