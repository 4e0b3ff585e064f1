//! Each condition of a rule counts, and each of several that it names: nothing that a rule denies passes, and nothing it does not allow.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use std::time::{Duration, Instant};

use redpoll_schema::Readings;
use redpoll_schema::policy::{
    Buckets, Constraint, Effect, Hours, Moment, Pattern, Policy, Rate, Request, Rule, Verdict, Weekday, Whose,
};
use serde_json::{Number, Value, json};

const NOON: Moment = Moment { utc: (Weekday::Wed, 720), local: Some((Weekday::Wed, 720)) };

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::new(text).unwrap()).collect()
}

fn rule(effect: Effect, procedures: &[&str]) -> Rule {
    Rule {
        name: format!("about {}", procedures.join(" ")),
        effect,
        procedures: patterns(procedures),
        args: std::collections::BTreeMap::new(),
        operators: None,
        roles: None,
        hours: None,
        users: None,
        run_as: None,
        rate: None,
    }
}

fn request<'r>(name: &'r str, args: &'r Readings) -> Request<'r> {
    Request {
        name,
        version: 1,
        is_manifest: false,
        args,
        operator: Some("ada"),
        roles: None,
        user: None,
        user_is_root: false,
        now: NOON,
    }
}

/// What is said of a call of `exec.run` with these arguments.
fn judged(rules: Vec<Rule>, args: &Value) -> Verdict {
    Policy::new(rules).judge(&request("exec.run", &Readings::of(args.clone())))
}

fn hours(from: u16, to: u16) -> Hours {
    Hours { days: vec![Weekday::Wed], from, to, utc: true }
}

#[test]
fn a_rule_holds_within_its_hours_alone() {
    for (from, to, holds) in [(700, 740, true), (0, 700, false), (800, 1_000, false)] {
        let with = |effect| Rule { hours: Some(hours(from, to)), ..rule(effect, &["exec.run"]) };
        let allowed = judged(vec![with(Effect::Allow)], &json!({}));
        assert_eq!(allowed.allowed, holds, "{from} to {to}");
        assert_eq!(!holds, allowed.reason.ends_with("do not hold: hours"), "{}", allowed.reason);
        let rules = vec![with(Effect::Deny), rule(Effect::Allow, &["*"])];
        assert_eq!(judged(rules, &json!({})).allowed, !holds, "{from} to {to}");
    }
}

#[test]
fn hours_begin_with_their_first_minute_and_end_before_their_last_also_over_midnight() {
    let at = |day, minute| Moment { utc: (day, minute), local: Some((Weekday::Sun, 0)) };
    for (day, minute, holds) in [
        (Weekday::Wed, 1_319, false),
        (Weekday::Wed, 1_320, true),
        (Weekday::Thu, 0, true),
        (Weekday::Thu, 359, true),
        (Weekday::Thu, 360, false),
        // the evening of another day, and the morning after another one
        (Weekday::Thu, 1_320, false),
        (Weekday::Wed, 0, false),
        (Weekday::Fri, 10, false),
    ] {
        assert_eq!(hours(1_320, 360).hold(at(day, minute)), Some(holds), "{day:?} {minute}");
    }
    // one that begins as it ends is one day, and nothing of the next
    for (day, minute, holds) in [
        (Weekday::Wed, 0, true),
        (Weekday::Wed, 1_439, true),
        (Weekday::Thu, 0, false),
        (Weekday::Thu, 599, false),
    ] {
        assert_eq!(hours(600, 600).hold(at(day, minute)), Some(holds), "{day:?} {minute}");
    }
}

#[test]
fn of_several_procedures_and_operators_one_is_enough() {
    let several = ["web.*", "exec.run"];
    assert!(judged(vec![rule(Effect::Allow, &several)], &json!({})).allowed);
    assert!(!judged(vec![rule(Effect::Deny, &several), rule(Effect::Allow, &["*"])], &json!({})).allowed);
    let by =
        |effect, names: &[&str]| Rule { operators: Some(patterns(names)), ..rule(effect, &["exec.run"]) };
    for (names, holds) in [(["eve", "ada"], true), (["ada", "eve"], true), (["eve", "bob"], false)] {
        assert_eq!(judged(vec![by(Effect::Allow, &names)], &json!({})).allowed, holds);
        let rules = vec![by(Effect::Deny, &names), rule(Effect::Allow, &["*"])];
        assert_eq!(judged(rules, &json!({})).allowed, !holds);
    }
    // what a rule names among others, the default does not open; the version that it is about is none that does not hold
    let of_eve =
        Rule { operators: Some(patterns(&["eve"])), ..rule(Effect::Allow, &["exec.run", "web.*@1"]) };
    let none = Readings::default();
    let refused = Policy::new(vec![of_eve]).judge(&Request { is_manifest: true, ..request("web.up", &none) });
    assert!(!refused.allowed && refused.reason.ends_with("do not hold: operators"), "{}", refused.reason);
}

#[test]
fn of_rules_whose_conditions_do_not_hold_the_first_is_named_and_the_others_counted() {
    let of = |name: &str, day| Rule {
        name: name.to_owned(),
        hours: Some(Hours { days: vec![day], ..hours(0, 0) }),
        ..rule(Effect::Allow, &["exec.run"])
    };
    let rules = vec![of("first", Weekday::Mon), of("second", Weekday::Tue), of("third", Weekday::Sun)];
    let refused = judged(rules, &json!({}));
    assert_eq!((refused.rule.as_str(), refused.index, refused.user), ("first", Some(0), None));
    assert!(refused.reason.ends_with("; nor do those of 2 more that name it"), "{}", refused.reason);
}

#[test]
fn a_refusal_says_whose_policy_it_is() {
    for (whose, word) in [(Whose::Agent, "agent"), (Whose::Manager, "manager")] {
        let (policy, none) = (Policy::new(vec![rule(Effect::Deny, &["*"])]).of(whose), Readings::default());
        assert_eq!(policy.whose(), whose);
        let said = format!("of the {word}'s policy denies exec.run");
        let never = policy.never(&request("exec.run", &none)).unwrap();
        assert!(policy.judge(&request("exec.run", &none)).reason.contains(&said) && never.contains(word));
    }
}

#[test]
fn a_range_holds_numbers_alone_from_end_to_end() {
    let number = |n: i64| Some(Number::from(n));
    let (low, high) = (number(2), number(5));
    for (min, max, value, fits) in [
        (&low, &high, json!(2), true),
        (&low, &high, json!(5), true),
        (&low, &high, json!(4.5), true),
        (&low, &high, json!(1), false),
        (&low, &high, json!(5.1), false),
        (&low, &None, json!(1_000_000), true),
        (&low, &None, json!(1), false),
        (&None, &high, json!(-7), true),
        (&None, &high, json!(6), false),
        (&None, &None, json!(6), true),
        (&None, &None, json!("6"), false),
        (&low, &high, json!("4"), false),
        (&low, &high, json!([4]), false),
        (&low, &high, json!(null), false),
    ] {
        let range = Constraint::Range { min: min.clone(), max: max.clone() };
        assert_eq!(range.fits(Some(&value)), fits, "{min:?} to {max:?}: {value}");
        assert!(!range.fits(None));
    }
    for text in [Constraint::Glob("*".to_owned()), Constraint::regex(".*", Effect::Allow).unwrap()] {
        for (value, fits) in
            [(json!("4"), true), (json!(4), false), (json!(["4"]), false), (json!(null), false)]
        {
            assert_eq!(text.fits(Some(&value)), fits, "{text:?}: {value}");
        }
    }
}

#[test]
fn a_pattern_has_a_name_and_a_bound_and_its_parts_do_not_overlap() {
    for (text, good) in [("a".repeat(256), true), ("a".repeat(257), false), ("@2".to_owned(), false)] {
        assert_eq!(Pattern::new(&text).is_ok(), good, "{text}");
    }
    for (pattern, text, fits) in [
        ("*a*a*", "xay", false),
        ("*a*a*", "xaay", true),
        ("ab*b", "ab", false),
        ("a*", "a", true),
        ("*.x.*.x.*", "1.x.2", false),
        ("*.x.*.x.*", "1.x.2.x.3", true),
    ] {
        assert_eq!(Pattern::new(pattern).unwrap().fits_text(text), fits, "{pattern} {text}");
    }
}

#[test]
fn what_a_rule_denies_of_a_program_is_denied_with_whatever_variables() {
    let tool = [("argv.0".to_owned(), Constraint::Glob("rm".to_owned()))].into();
    let deny = Rule { args: tool, ..rule(Effect::Deny, &["exec.run"]) };
    for args in [json!({"argv": ["rm"]}), json!({"argv": ["rm"], "env": {"A": "b"}, "cwd": "/"})] {
        let verdict = judged(vec![deny.clone(), rule(Effect::Allow, &["*"])], &args);
        assert!(!verdict.allowed, "{args}");
    }
}

#[test]
fn root_is_named_by_name_or_number_and_matters_to_manifests_alone() {
    let users = |names: &[&str]| Rule {
        users: Some(names.iter().map(|&name| name.to_owned()).collect()),
        ..rule(Effect::Allow, &["*"])
    };
    let run_as = |name: &str| Rule { run_as: Some(name.to_owned()), ..rule(Effect::Allow, &["*"]) };
    let none = Readings::default();
    for (rule, user, names_root, allowed) in [
        (users(&["www", "root"]), "root", true, true),
        (users(&["0"]), "0", true, true),
        (users(&["www"]), "0", false, false),
        (rule(Effect::Allow, &["*"]), "0", false, false),
        (run_as("0"), "www", true, true),
        (run_as("www"), "0", false, true),
    ] {
        assert_eq!(rule.names_root(), names_root, "{rule:?}");
        let user_is_root = user != "www";
        let request =
            Request { is_manifest: true, user: Some(user), user_is_root, ..request("web.up", &none) };
        let verdict = Policy::new(vec![rule.clone()]).judge(&request);
        assert_eq!(verdict.allowed, allowed, "{rule:?} {user}");
        assert_eq!(verdict.user, rule.run_as.filter(|_| allowed));
    }
    // what is refused runs as nobody; and what is no manifest runs as whom the agent runs
    let not_as = Rule { run_as: Some("db".to_owned()), ..users(&["www"]) };
    assert_eq!(judged(vec![not_as], &json!({})).user, None);
    let as_root = Request { user_is_root: true, ..request("exec.run", &none) };
    assert!(Policy::new(vec![rule(Effect::Allow, &["*"])]).judge(&as_root).allowed);
}

#[test]
fn what_is_denied_on_conditions_somebody_may_call() {
    let deny = || rule(Effect::Deny, &["other.x", "exec.run"]);
    let args = [("argv.0".to_owned(), Constraint::Glob("rm".to_owned()))].into();
    let none = Readings::default();
    let never = |rule: Rule, name| {
        let open = Rule { name: "open".to_owned(), procedures: patterns(&["*"]), ..deny() };
        let open = Rule { effect: Effect::Allow, ..open };
        Policy::new(vec![rule, open]).never(&Request { operator: None, ..request(name, &none) })
    };
    assert!(never(deny(), "exec.run").is_some() && never(deny(), "other.x").is_some());
    assert_eq!(never(deny(), "web.up"), None);
    for conditional in [
        Rule { args, ..deny() },
        Rule { operators: Some(patterns(&["eve"])), ..deny() },
        Rule { roles: Some(vec!["guest".into()]), ..deny() },
        Rule { hours: Some(hours(0, 10)), ..deny() },
    ] {
        assert_eq!(never(conditional.clone(), "exec.run"), None, "{conditional:?}");
    }
    // the default lets operators call it: so somebody may
    let asked = Request { operator: None, ..request("sys.leftovers", &none) };
    assert_eq!(Policy::default().never(&asked), None);
}

#[test]
fn a_rate_of_none_counts_as_one() {
    let (mut buckets, start) = (Buckets::default(), Instant::now());
    let rate = Rate { count: 0, per: Duration::from_secs(60) };
    assert_eq!(buckets.take(0, rate, start), Ok(()));
    assert_eq!(buckets.take(0, rate, start), Err(Duration::from_secs(60)));
}
