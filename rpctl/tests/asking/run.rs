//! `rpctl run`: what is submitted, and what is not.

use rmpv::Value;

use super::support::{code, err, out, three_lines};
use super::{ask, asking, spawn, world};
use crate::scripted::Scripted;

/// The entry of a map.
pub(crate) fn at(value: &Value, key: &str) -> Value {
    rpctl::value::field(value, key).cloned().unwrap_or(Value::Nil)
}

/// Takes the questions that come before a submit over `*`, and the submit.
pub(crate) fn submitted(manager: &Scripted) -> Value {
    manager.asked("rp.jobs.submit")
}

#[test]
fn every_flag_arrives_in_the_request() {
    let (home, manager) = world();
    let words = [
        "run",
        "web-1,web-2",
        "exec.run@1",
        "--detach",
        "--queue",
        "{\"site\": 7}",
        "--concurrency",
        "3",
        "--offline",
        "require",
        "--start-within",
        "1h",
        "--run-timeout",
        "2m",
        "--idle-timeout",
        "3s",
        "--grace",
        "4ms",
        "--output-limit",
        "1KiB",
        "--overflow",
        "block",
        "--retry",
        "5",
        "--idempotent",
        "--key",
        "k",
        "--info",
        "{\"a\": [1]}",
        "--callback",
        "https://example.org/x",
        "--cwd",
        "/",
        "--",
        "ls",
        "-l",
    ];
    let output = ask(home.path(), &manager, &words);
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
    assert_eq!(out(&output), format!("{}\n", "0".repeat(32)));
    let expected = concat!(
        r#"{"agents":["web-1","web-2"],"procedure":"exec.run@1","args":[],"kwargs":{"argv":["ls","-l"],"cwd":"/"},"#,
        r#""queue":{"name":{"site":7},"concurrency":3},"start_within_ms":3600000,"run_timeout_ms":120000,"#,
        r#""idle_timeout_ms":3000,"grace_ms":4,"output_limit":1024,"overflow":"block","offline":"require","#,
        r#""max_attempts":6,"idempotent":true,"key":"k","info":{"a":[1]},"held":false,"#,
        r#""webhook":"https://example.org/x"}"#
    );
    let sent = submitted(&manager);
    assert_eq!(serde_json::to_string(&rpctl::value::Shown(&sent)).unwrap(), expected);
    let words = ["run", "web-1", "p", "--hold", "--callback", "on.end", "--queue", "q", "-o", "json"];
    let output = ask(home.path(), &manager, &words);
    let document: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(document, serde_json::json!({"job": format!("{:032x}", 1), "existing": false, "runs": 1}));
    assert!(err(&output).contains("rpctl jobs release"), "{}", err(&output));
    let sent = submitted(&manager);
    assert_eq!((at(&sent, "held"), at(&sent, "callback")), (true.into(), "on.end".into()));
    assert_eq!(at(&at(&sent, "queue"), "name"), "q".into());
    manager.nothing_more();
}

#[test]
fn a_submit_whose_answer_is_lost_is_repeated_with_the_same_key() {
    let (home, manager) = world();
    for procedure in ["lost_answer", "stopping"] {
        let output = ask(home.path(), &manager, &["run", "web-1", procedure, "--detach"]);
        assert_eq!((code(&output), err(&output).as_str()), (0, ""), "{procedure}");
        let (first, second) = (submitted(&manager), submitted(&manager));
        assert!(at(&first, "key").as_str().unwrap().starts_with("rpctl-"));
        assert_eq!(first, second);
        manager.nothing_more();
    }
    // without --detach too, and then it is followed
    let output = ask(home.path(), &manager, &["run", "web-1", "lost_answer", "-o", "jsonl"]);
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
    assert_eq!(submitted(&manager), submitted(&manager));
    manager.asked("rp.jobs.follow");
    let first: serde_json::Value = serde_json::from_str(out(&output).lines().next().unwrap()).unwrap();
    assert_eq!(first["existing"], false, "one command, one job");
}

#[test]
fn a_key_that_was_used_finds_the_job() {
    let (home, manager) = world();
    let words = ["run", "web-1", "p", "--detach", "--key", "k"];
    let first = ask(home.path(), &manager, &words);
    let second = ask(home.path(), &manager, &words);
    assert_eq!(out(&first), out(&second));
    assert!(err(&first).is_empty() && err(&second).contains("was there already"), "{}", err(&second));
}

#[test]
fn a_submit_that_is_never_answered_leaves_its_key() {
    let (home, manager) = world();
    let words = ["run", "web-1", "silent", "--key", "mine", "--timeout", "500ms"];
    let output = ask(home.path(), &manager, &words);
    assert_eq!(code(&output), 8);
    let [what, _, help] = three_lines(&output);
    assert!(what.contains("not known") && help.contains("--key mine"), "{what} / {help}");
    // an interrupt does not know either
    let child = spawn(&mut asking(home.path(), &manager, &["run", "web-1", "silent", "--detach"]));
    submitted(&manager);
    let key = at(&submitted(&manager), "key");
    super::send_interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 130);
    assert!(three_lines(&output)[2].contains(key.as_str().unwrap()), "{}", err(&output));
}

#[test]
fn selectors_reach_whom_they_name() {
    let (home, manager) = world();
    let agents = |selector: &str| {
        let output = ask(home.path(), &manager, &["run", selector, "p", "--detach"]);
        assert_eq!(code(&output), 0, "{}", err(&output));
        if selector == "*" {
            manager.asked("rp.jobs.preview");
        }
        let agents = at(&submitted(&manager), "agents");
        agents.as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(agents("*"), ["*"]);
    assert_eq!(agents("id:web-*"), ["web-1", "web-2"]);
    assert_eq!(agents("id in (b, a)"), ["b", "a"]);
    let output = ask(home.path(), &manager, &["run", "id:x*", "p"]);
    assert_eq!(code(&output), 5);
    assert!(three_lines(&output)[0].contains("id:x*"));
    let output = ask(home.path(), &manager, &["run", "id:x*", "p", "--allow-empty"]);
    assert_eq!((code(&output), out(&output).as_str()), (0, ""));
    manager.nothing_more();
}

#[test]
fn a_dry_run_asks_for_verdicts_page_after_page_and_changes_nothing() {
    let (home, manager) = world();
    let words = ["run", "*", "try.refused@2", "pin=s3cr3t", "--dry-run", "--offline", "skip"];
    let output = ask(home.path(), &manager, &words);
    assert_eq!(code(&output), 5, "{}", err(&output));
    let expected = "AGENT  VERDICT    RULE  WHY\ndb-1   would run  all   as www\n\
        web-1  away             it cannot be asked\nweb-2  would run  all   as www\n";
    assert_eq!(out(&output), expected);
    assert_eq!(err(&output), "2 would run, 0 would refuse, 1 away, 0 unknown; nothing was submitted\n");
    assert_eq!(at(&manager.asked("rp.jobs.preview"), "procedure"), Value::Nil, "only whether there are any");
    // what is tried is the whole of what would be submitted
    for after in [Value::Nil, "db-1".into(), "web-1".into()] {
        let asked = manager.asked("rp.jobs.preview");
        assert_eq!((at(&asked, "procedure"), at(&asked, "after")), ("try.refused@2".into(), after));
        assert_eq!(
            (at(&asked, "offline"), at(&at(&asked, "kwargs"), "pin")),
            ("skip".into(), "s3cr3t".into())
        );
    }
    manager.nothing_more();
    let output = ask(home.path(), &manager, &["run", "*", "try.refused", "--dry-run", "-o", "jsonl"]);
    let lines: Vec<serde_json::Value> =
        out(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first = serde_json::json!({"id": "db-1", "connected": true, "verdict": "would_refuse", "code": "rejected",
        "rule": "no\u{1b}[2J dbs", "why": "rule \"no dbs\" denies it", "by": "agent"});
    assert_eq!((code(&output), lines.len(), &lines[0]), (3, 3, &first));
    assert_eq!(lines[1]["verdict"], "away");
    while let Ok(seen) = manager.seen.try_recv() {
        assert!(matches!(&seen, super::Seen::Asked(method, _) if method == "rp.jobs.preview"), "{seen:?}");
    }
}

#[test]
fn a_dry_run_ends_with_the_worst_that_it_was_told() {
    let (home, manager) = world();
    for (procedure, expected, said) in [
        ("try.all", 0, "3 would run, 0 would refuse, 0 away, 0 unknown"),
        ("try.refused", 3, "1 would run, 1 would refuse, 1 away, 0 unknown"),
        ("try.unknown", 8, "1 would run, 0 would refuse, 1 away, 1 unknown"),
        ("try.deprecated", 0, "warning: try.deprecated@1 is deprecated on 1 of 3 agents: use 2"),
        ("try.whole", 3, "the manager would not store the job: n: is no number (bad_arguments)"),
        ("try.older", 8, "the manager is older"),
    ] {
        let output = ask(home.path(), &manager, &["run", "*", procedure, "--dry-run"]);
        assert_eq!(code(&output), expected, "{procedure}: {}", err(&output));
        let away = out(&output).lines().filter(|line| line.contains("  away")).count();
        assert_eq!(err(&output).matches("1 run would wait for its agent").count(), away, "{procedure}");
        assert!(err(&output).contains(said), "{procedure}: {}", err(&output));
        assert!(err(&output).ends_with("; nothing was submitted\n"), "{procedure}: {}", err(&output));
    }
    let output = ask(home.path(), &manager, &["run", "*", "try.refused", "--dry-run"]);
    assert!(
        out(&output).contains("would refuse  no dbs  rule \"no dbs\" denies it (rejected)"),
        "{}",
        out(&output)
    );
}

#[test]
fn a_job_of_something_deprecated_is_warned_of_once() {
    let (home, manager) = world();
    let warning = "warning: try.deprecated@1 is deprecated on 1 of 3 agents: use 2\n";
    let output = ask(home.path(), &manager, &["run", "*", "try.deprecated", "--detach"]);
    assert_eq!((code(&output), err(&output).as_str()), (0, warning));
    let output = ask(home.path(), &manager, &["run", "*", "try.deprecated"]);
    assert_eq!(err(&output).matches("deprecated on").count(), 1, "{}", err(&output));
    let output = ask(home.path(), &manager, &["run", "web-1", "try.deprecated", "--detach"]);
    assert_eq!(err(&output), "warning: try.deprecated@1 is deprecated: use 2\n", "on all there are");
    let output = ask(home.path(), &manager, &["run", "*", "p", "--detach"]);
    assert_eq!(err(&output), "");
}

#[test]
fn what_is_typed_wrong_is_told_in_three_lines_and_nothing_is_sent() {
    let (home, manager) = world();
    for (words, what) in [
        (&["run", "", "p"][..], "selector is empty"),
        (&["run", "label.role=db", "p"], "cannot select"),
        (&["run", "web-1", ""], "not the name of a procedure"),
        (&["run", "web-1", "p", "n:=x"], "n is not JSON"),
        (&["run", "web-1", "p", "--queue", ""], "does not name a queue"),
        (&["run", "web-1", "p", "--queue", "{"], "is not JSON"),
        (&["run", "web-1", "p", "--concurrency", "2"], "--queue"),
        (&["run", "web-1", "p", "--concurrency", "0", "--queue", "q"], "0"),
        (&["run", "web-1", "p", "--retry", "100"], "100"),
        (&["run", "web-1", "p", "--offline", "maybe"], "maybe"),
        (&["run", "web-1", "p", "--start-within", "soon"], "soon"),
        (&["run", "web-1", "p", "--output-limit", "much"], "much"),
        (&["run", "web-1", "p", "--key", ""], "key cannot be used"),
        (&["run", "web-1", "p", "--info", "{"], "--info is not JSON"),
        (&["run", "web-1", "p", "--callback", "ftp://x"], "ftp://x"),
        (&["jobs", "show", "1"], "this is no job"),
        (&["jobs", "list", "--since", "soon"], "soon"),
        (&["jobs", "list", "--state", "opne"], "opne"),
        (&["jobs", "cancel"], "required"),
        (&["jobs", "cancel", "--where", "[1]"], "--where"),
        (&["jobs", "cancel", "--queue", "q", "--agent", "a"], "--agent"),
        (&["jobs", "follow", "x", "--since", "1", "--recent", "1"], "--since"),
        (&["jobs", "result", "x"], "this is no job"),
        (&["queues", "show", "q", "--limit", "0"], "0"),
        (&["events", "--limit", "0"], "0"),
    ] {
        let output = ask(home.path(), &manager, words);
        assert_eq!(code(&output), 2, "{words:?}: {}", err(&output));
        assert_eq!(out(&output), "", "{words:?}");
        assert!(three_lines(&output)[0].contains(what), "{words:?}: {}", err(&output));
    }
    manager.nothing_more();
}
