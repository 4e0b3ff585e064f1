//! Files of policies: real files with real modes.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use redpoll_config::{LoadedPolicy, ManifestProblem, PolicyOwner, load_policy};
use redpoll_schema::policy::{Constraint, Moment, Rate, Request, Weekday};

fn load(text: &str, mode: u32) -> Result<LoadedPolicy, Vec<ManifestProblem>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    load_policy(&file, PolicyOwner::Agent)
}

#[test]
fn the_sample_is_a_policy() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/policy.toml");
    let loaded = load(&fs::read_to_string(sample).unwrap(), 0o644).unwrap();
    let rules = loaded.policy.rules();
    assert_eq!(rules.len(), 5);
    assert_eq!(rules[4].roles, Some(vec!["on-call".to_owned()]));
    assert_eq!(rules[1].rate, Some(Rate { count: 30, per: Duration::from_secs(60) }));
    assert_eq!(rules[2].args.keys().collect::<Vec<_>>(), ["copies", "path", "release.tag", "stage"]);
    let hours = rules[1].hours.as_ref().unwrap();
    assert_eq!((hours.from, hours.to, hours.utc, hours.days.len()), (480, 1080, false, 5));
}

#[test]
fn a_file_that_is_not_there_is_the_default_and_a_broken_link_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let default = load_policy(&file, PolicyOwner::Agent).unwrap();
    assert!(default.policy.rules().is_empty());
    assert_eq!(default.canonical, load("# nothing\n", 0o600).unwrap().canonical);
    std::os::unix::fs::symlink("/nowhere/policy.toml", &file).unwrap();
    assert!(load_policy(&file, PolicyOwner::Agent).unwrap_err()[0].what.contains("cannot read"));
}

#[test]
fn what_others_may_change_is_refused() {
    for mode in [0o620, 0o602, 0o666] {
        assert!(load("", mode).unwrap_err()[0].what.contains("can be changed by others"), "{mode:o}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    assert!(load_policy(&file, PolicyOwner::Agent).is_ok());
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    assert!(load_policy(&file, PolicyOwner::Agent).unwrap_err()[0].what.contains("chmod go-w"));
}

#[test]
fn a_policy_that_belongs_to_somebody_else_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    fs::write(&file, "").unwrap();
    let give = |path: &Path, to: u32| std::os::unix::fs::chown(path, Some(to), None).unwrap();
    let refused = || {
        let problem = load_policy(&file, PolicyOwner::Agent).unwrap_err().remove(0);
        assert!(problem.access, "{problem}");
        problem.what
    };
    give(&file, 65534);
    assert!(refused().contains("policy.toml belongs to user 65534"));
    give(&file, 0);
    give(folder.path(), 65534);
    assert!(refused().contains("belongs to user 65534"), "whoever owns the folder puts another file there");
    fs::remove_file(&file).unwrap();
    // nor is one that is not there the default, where it may only have been put aside
    assert!(refused().contains("belongs to user 65534, who can put another file in the place of"));
}

#[test]
fn root_can_be_the_only_one_that_may_change_it_by_any_way_to_it() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a/b");
    fs::create_dir_all(&deep).unwrap();
    let (file, link) = (deep.join("policy.toml"), folder.path().join("link.toml"));
    fs::write(&file, "").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let why = |file: &Path| load_policy(file, PolicyOwner::Root).err().map(|found| found[0].what.clone());
    assert_eq!((why(&file), why(&link)), (None, None), "the sticky folder above is no matter");
    let loaded = load_policy(&link, PolicyOwner::Agent).unwrap();
    assert_eq!(loaded.replaceable, None);
    // a folder further up, by which all below it can be put aside
    let above = folder.path().join("a");
    std::os::unix::fs::chown(&above, Some(65534), None).unwrap();
    for path in [&file, &link] {
        let why = why(path).unwrap();
        assert!(why.contains("/a belongs to user 65534") && why.contains("have root own it"), "{why}");
    }
    let refused = load_policy(&file, PolicyOwner::Agent).unwrap_err().remove(0);
    assert!(
        refused.access && refused.what.contains("/a belongs to user 65534"),
        "the policy of root is root's"
    );
    // where it would be is found by way of a linked folder, too
    let folders = folder.path().join("folders");
    std::os::unix::fs::symlink(&deep, &folders).unwrap();
    assert!(why(&folders.join("none.toml")).unwrap().contains("/a belongs to user 65534"));
    std::os::unix::fs::chown(&above, Some(0), None).unwrap();
    std::os::unix::fs::lchown(&link, Some(65534), None).unwrap();
    assert!(why(&link).unwrap().contains("link.toml belongs to user 65534"));
    fs::set_permissions(&above, Permissions::from_mode(0o775)).unwrap();
    assert!(why(&file).unwrap().contains("/a can be changed by others"));
}

#[test]
fn each_mistake_is_named_and_none_of_the_policy_is_used() {
    let rule = "[[rule]]\nname = \"r\"\n";
    for (text, field, part) in [
        ("[[rule]]\nallow = [\"a\"]\n".to_owned(), "rule.1.name", "has a name"),
        (rule.to_owned(), "rule.1.allow", "one of allow and deny"),
        (format!("{rule}allow = [\"a\"]\ndeny = [\"b\"]\n"), "rule.1.allow", "one of allow and deny"),
        (format!("{rule}allow = []\n"), "rule.1.allow", "empty"),
        (format!("{rule}deny = [\"a@01\"]\n"), "rule.1.deny", "not a pattern"),
        (format!("{rule}deny = [\"a\"]\nrate = \"1/1m\"\n"), "rule.1.rate", "rules that allow"),
        (format!("{rule}allow = [\"a\"]\nrate = \"0/1m\"\n"), "rule.1.rate", "10/1m"),
        (format!("{rule}allow = [\"a\"]\nroles = []\n"), "rule.1.roles", "empty"),
        (format!("{rule}deny = [\"a\"]\noperators = []\n"), "rule.1.operators", "empty"),
        (format!("{rule}deny = [\"a\"]\nargs.x = []\n"), "rule.1.args.x", "or delete the rule"),
        (format!("{rule}deny = [\"a\"]\nroles = [\"ops,dev\"]\n"), "rule.1.roles", "is no role"),
        (format!("{rule}deny = [\"a\"]\nroles = [\"ops-*\"]\n"), "rule.1.roles", "is no role"),
        (format!("{rule}allow = [\"a\"]\nuser = [\"x\"]\n"), "rule.1.user", "did you mean users?"),
        (format!("{rule}allow = [\"a\"]\nhours = {{from = \"25:00\"}}\n"), "rule.1.hours", "zone"),
        (format!("{rule}allow = [\"a\"]\nhours = {{dayz = [\"mon\"]}}\n"), "rule.1.hours.dayz", "days"),
        (format!("{rule}allow = [\"a\"]\nargs.x = {{regex = \"(\"}}\n"), "rule.1.args.x", "regex"),
        (format!("{rule}allow = [\"a\"]\nargs.x = {{min = \"1\"}}\n"), "rule.1.args.x", "not a number"),
        (format!("{rule}allow = [\"a\"]\nargs.x.y = 1\n"), "rule.1.args.x", "in quotes"),
        (format!("{rule}deny = [\"a\"]\nargs.x = {{only = []}}\n"), "rule.1.args.x", "rules that allow"),
        (format!("{rule}allow = [\"a\"]\nargs.x = {{only = \"A\"}}\n"), "rule.1.args.x", "a list"),
        (format!("{rule}allow = [\"a\"]\nargs.x = {{only = [1]}}\n"), "rule.1.args.x", "a list"),
        (
            format!("{rule}allow = [\"a\"]\nargs.x = {{only = [], min = 1}}\n"),
            "rule.1.args.x",
            "or, of a map",
        ),
        ("rules = []\n".to_owned(), "rules", "did you mean rule?"),
        ("rule = 5\n".to_owned(), "rule", "[[rule]]"),
    ] {
        let problems = load(&text, 0o600).unwrap_err();
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        assert_eq!(problems[0].field, field, "{text}: {}", problems[0]);
        assert!(problems[0].what.contains(part), "{text}: {}", problems[0]);
        assert!(problems[0].line.is_some(), "{text}");
    }
    let twice = format!("{rule}allow = [\"a\"]\n{rule}deny = [\"b\"]\n");
    let problem = load(&twice, 0o600).unwrap_err().remove(0);
    assert_eq!((problem.line, problem.field.as_str()), (Some(4), "rule.2.name"));
}

#[test]
fn a_rule_that_allows_may_have_an_empty_list_and_then_allows_nobody_or_what_runs_as_no_user() {
    let rules = "[[rule]]\nname = \"off\"\nallow = [\"web.a\"]\noperators = []\n\
        [[rule]]\nname = \"none\"\nallow = [\"web.b\"]\nargs.x = []\n\
        [[rule]]\nname = \"within\"\nallow = [\"exec.run\", \"file.*\"]\nusers = []\n";
    let policy = load(rules, 0o600).unwrap().policy;
    let args = redpoll_schema::Readings::of(serde_json::json!({"x": 1}));
    let judge = |name: &str, user: Option<&str>| {
        let request = Request {
            name,
            version: 1,
            is_manifest: name.starts_with("web."),
            args: &args,
            operator: Some("ann"),
            roles: Some(&[]),
            user,
            user_is_root: false,
            now: Moment { utc: (Weekday::Mon, 0), local: Some((Weekday::Mon, 0)) },
        };
        let verdict = policy.judge(&request);
        (verdict.allowed, verdict.rule)
    };
    assert_eq!(judge("web.a", Some("web")), (false, "off".to_owned()));
    assert_eq!(judge("web.b", Some("web")), (false, "none".to_owned()));
    assert_eq!(judge("file.list", None), (true, "within".to_owned()));
    assert_eq!(judge("exec.run", Some("web")), (false, "within".to_owned()));
}

#[test]
fn a_number_that_is_not_finite_is_refused_and_never_stands_for_nothing() {
    for args in [
        "args.x = inf",
        "args.x = nan",
        "args.limit = [10, -inf]",
        "args.x = {max = inf, match = \"a\"}",
        "args.x = [{a = [1, nan]}]",
    ] {
        let text = format!("[[rule]]\nname = \"r\"\nallow = [\"web.*\"]\n{args}\n");
        let problems = load(&text, 0o600).unwrap_err();
        let found = problems.iter().find(|problem| problem.what.contains("no number that JSON has")).unwrap();
        assert!(found.field.starts_with("rule.1.args.") && found.line.is_some(), "{args}: {found}");
    }
}

#[test]
fn a_rule_says_which_names_a_map_may_have() {
    let rule = |only: &str| {
        let text = format!("[[rule]]\nname = \"r\"\nallow = [\"exec.run\"]\nargs.env = {{only = {only}}}\n");
        load(&text, 0o600).unwrap().policy.rules()[0].args["env"].clone()
    };
    assert!(matches!(rule("[]"), Constraint::Only(names) if names.is_empty()));
    assert!(matches!(rule("[\"LANG\", \"LC_*\"]"), Constraint::Only(names) if names == ["LANG", "LC_*"]));
}

#[test]
fn comments_and_order_of_keys_do_not_change_what_a_digest_is_made_of() {
    let one = load("[[rule]]\nname = \"r\"\nallow = [\"a\"]\n", 0o600).unwrap();
    let same = load("# why\n[[rule]]\nallow = [\"a\"]\nname = \"r\" # so\n", 0o600).unwrap();
    let other = load("[[rule]]\nname = \"r\"\nallow = [\"b\"]\n", 0o600).unwrap();
    assert_eq!(one.canonical, same.canonical);
    assert_ne!(one.canonical, other.canonical);
}
