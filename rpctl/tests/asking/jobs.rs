//! `rpctl jobs` and `rpctl queues`: one question, one answer.

use super::run_verb::{at, submitted};
use super::support::{code, err, out, three_lines};
use super::{ask, world};

#[test]
fn jobs_are_listed_page_after_page_up_to_the_limit() {
    let (home, manager) = world();
    let words = [
        "jobs",
        "list",
        "--state",
        "failed",
        "--agent",
        "web-1",
        "--queue",
        "{\"a\":1}",
        "--submitter",
        "ada",
        "--since",
        "2026-11-28T14:00:00Z",
        "--limit",
        "3",
    ];
    let output = ask(home.path(), &manager, &words);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let text = out(&output);
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(
        text.starts_with("JOB ") && text.contains("failed  sys.echo   1     ada        2025-11-28"),
        "{text}"
    );
    assert!(err(&output).contains("more than 3"), "{}", err(&output));
    let first = manager.asked("rp.jobs.list");
    for (key, value) in [("state", "failed"), ("agent", "web-1"), ("submitter", "ada")] {
        assert_eq!(at(&first, key), value.into());
    }
    assert_eq!(at(&at(&first, "queue"), "a"), 1.into());
    assert_eq!(at(&first, "since_ms"), 1_795_874_400_000_u64.into());
    let second = manager.asked("rp.jobs.list");
    assert_eq!((at(&second, "before"), at(&second, "limit")), ("4".repeat(32).into(), 1.into()));
    manager.nothing_more();
    let output = ask(home.path(), &manager, &["jobs", "list", "-o", "jsonl"]);
    assert_eq!((out(&output).lines().count(), err(&output).as_str()), (5, ""));
    let output = ask(home.path(), &manager, &["jobs", "list", "-o", "jsonl", "--since", "1d"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    // after the pages of the list without it
    let mut ago = std::iter::repeat_with(|| at(&manager.asked("rp.jobs.list"), "since_ms_ago"));
    assert_eq!(ago.find(|ago| !ago.is_nil()), Some(86_400_000.into()), "the manager reckons");
    let output = ask(home.path(), &manager, &["jobs", "list", "-o", "jsonl", "--state", "expired"]);
    assert_eq!(out(&output).lines().count(), 5, "an empty page is not the end");
}

#[test]
fn a_job_is_shown_with_its_runs() {
    let (home, manager) = world();
    let words = ["run", "a,b", "p", "x", "k:=1", "--detach", "--info", "{\"me\":1}", "--queue", "q"];
    let job = out(&ask(home.path(), &manager, &words));
    let output = ask(home.path(), &manager, &["jobs", "show", job.trim()]);
    let text = out(&output);
    for part in [
        "failed",
        "{\"me\":1}",
        "[\"x\"]",
        "{\"k\":1}",
        "max_attempts",
        "corrected",
        "as the script says",
        "earlier attempts",
        "it was slow (timed_out)",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let output = ask(home.path(), &manager, &["jobs", "show", job.trim(), "-o", "json"]);
    let document: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(document["runs"].as_array().unwrap().len(), 2);
    let output = ask(home.path(), &manager, &["jobs", "show", &format!("{:032x}", 99)]);
    assert_eq!(code(&output), 3, "{}", err(&output));
}

#[test]
fn a_result_is_waited_for_and_ends_as_the_job() {
    let (home, manager) = world();
    let job = out(&ask(home.path(), &manager, &["run", "a", "end.rejected", "--detach"]));
    submitted(&manager);
    let output = ask(home.path(), &manager, &["jobs", "result", job.trim()]);
    assert_eq!((code(&output), out(&output).as_str()), (3, ""), "{}", err(&output));
    three_lines(&output);
    manager.asked("rp.jobs.result");
    // the first answer comes too soon
    let output = ask(home.path(), &manager, &["jobs", "result", job.trim(), "--wait", "-o", "json"]);
    assert_eq!(code(&output), 3, "{}", err(&output));
    let document: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(document["runs"][0]["end"]["outcome"], "rejected");
    for _ in 0..2 {
        assert_eq!(at(&manager.asked("rp.jobs.result"), "wait_ms"), 30_000.into());
    }
    manager.nothing_more();
    let good = out(&ask(home.path(), &manager, &["run", "a,b", "p", "--detach"]));
    let output = ask(home.path(), &manager, &["jobs", "result", good.trim()]);
    assert_eq!((code(&output), out(&output).as_str()), (0, "a: the result\nb: the result\n"));
    let output = ask(home.path(), &manager, &["jobs", "result", good.trim(), "--agent", "b"]);
    assert_eq!(out(&output), "the result\n");
}

#[test]
fn a_result_that_is_not_there_ends_with_6() {
    let (home, manager) = world();
    let job = out(&ask(home.path(), &manager, &["run", "a", "open", "--detach"]));
    for words in [&["jobs", "result", job.trim()][..], &["jobs", "result", job.trim(), "--wait", "700ms"]] {
        let output = ask(home.path(), &manager, words);
        assert_eq!((code(&output), out(&output).as_str()), (6, ""), "{}", err(&output));
        assert!(three_lines(&output)[0].contains("has not ended"));
    }
}

#[test]
fn items_are_read_page_after_page_of_one_attempt() {
    let (home, manager) = world();
    let job = "a".repeat(32);
    let output = ask(home.path(), &manager, &["jobs", "read", &job]);
    assert_eq!(out(&output), "line 0 whole\nline 1 whole\nline 2 whole\nline 3", "{}", err(&output));
    let pages: Vec<_> = (0..4).map(|_| manager.asked("rp.jobs.read")).collect();
    assert_eq!((at(&pages[1], "since"), at(&pages[1], "attempt")), (3.into(), 3.into()));
    manager.nothing_more();
    let output = ask(home.path(), &manager, &["jobs", "read", &job, "--recent", "2", "-o", "jsonl"]);
    let text = out(&output);
    assert_eq!(text.lines().count(), 3);
    assert!(text.ends_with("\n{\"next\":7}\n"), "{text}");
    let output = ask(home.path(), &manager, &["jobs", "read", &job, "--since", "7", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(document, serde_json::json!({"events": [], "next": 7, "end": null}));
    let seen = std::iter::from_fn(|| manager.seen.try_recv().ok()).count();
    assert!(seen > 0);
    // what is missing is noted, and what comes after it is read
    let output = ask(home.path(), &manager, &["jobs", "read", &job, "--attempt", "9"]);
    assert_eq!((code(&output), out(&output).as_str()), (0, "line 0 whole\nline 1line 3"));
    assert!(err(&output).contains("web-1: items 3 to 5 are not there"), "{}", err(&output));
    let seen = std::iter::from_fn(|| manager.seen.try_recv().ok()).count();
    assert_eq!(seen, 4, "to where there are no more");
    ask(home.path(), &manager, &["jobs", "read", &job, "--attempt", "2"]);
    assert_eq!(at(&manager.asked("rp.jobs.read"), "attempt"), 2.into());
    assert_eq!(code(&ask(home.path(), &manager, &["jobs", "read", &job, "--attempt", "0"])), 2);
}

#[test]
fn a_job_is_cancelled_at_once_and_what_is_not_named_only_with_yes() {
    let (home, manager) = world();
    let job = "a".repeat(32);
    let words = ["jobs", "cancel", &job, "--agent", "web-1", "--grace", "3s"];
    let output = ask(home.path(), &manager, &words);
    assert_eq!(
        (code(&output), out(&output).as_str()),
        (0, "2 jobs: 1 run never starts, 2 runs are being ended\n")
    );
    let asked = manager.asked("rp.jobs.cancel");
    assert_eq!((at(&asked, "agent"), at(&asked, "grace_ms")), ("web-1".into(), 3000.into()));
    for words in [
        &["jobs", "cancel", "--queue", "deploys"][..],
        &["jobs", "cancel", "--where", "{\"eq\": [1, 2]}"],
        &["jobs", "cancel", "--where", "agent=web-1", "--where", "info.customer=7"],
        &["queues", "cancel", "deploys"],
    ] {
        let method = if words[0] == "jobs" { "rp.jobs.cancel" } else { "rp.queues.cancel" };
        let output = ask(home.path(), &manager, words);
        assert_eq!((code(&output), out(&output).as_str()), (2, ""), "{words:?}");
        let said = err(&output);
        let named = [
            format!("- {job} on web-1: queued\n"),
            format!("- {} on web-1: in_doubt, attempt 2\n", "b".repeat(32)),
        ];
        assert!(named.iter().all(|line| said.contains(line)), "{said}");
        assert!(
            said.contains("cancel 3 runs of 2 jobs needs --yes") && said.contains("help: add --yes"),
            "{said}"
        );
        assert_eq!(at(&manager.asked(method), "preview"), true.into());
        manager.nothing_more();
        let output = ask(home.path(), &manager, &[words, &["--preview"]].concat());
        assert_eq!((code(&output), out(&output).lines().count()), (0, 4));
        assert!(
            out(&output).contains("web-2  running\n") && !err(&output).contains("more"),
            "{}",
            out(&output)
        );
        assert_eq!(at(&manager.asked(method), "preview"), true.into());
        let output = ask(home.path(), &manager, &[words, &["--yes", "-o", "json"]].concat());
        assert_eq!(code(&output), 0, "{}", err(&output));
        assert_eq!(at(&manager.asked(method), "preview"), false.into());
        manager.nothing_more();
    }
}

#[test]
fn jobs_are_released_and_deleted() {
    let (home, manager) = world();
    let job = "a".repeat(32);
    assert_eq!(code(&ask(home.path(), &manager, &["jobs", "release", &job])), 0);
    manager.asked("rp.jobs.release");
    let output = ask(home.path(), &manager, &["jobs", "delete", &job]);
    assert_eq!(code(&output), 2);
    assert!(three_lines(&output)[0].contains("--yes"));
    manager.nothing_more();
    assert_eq!(code(&ask(home.path(), &manager, &["jobs", "delete", &job, "--yes"])), 0);
    assert_eq!(at(&manager.asked("rp.jobs.delete"), "job"), job.into());
}

#[test]
fn queues_are_listed_and_shown() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["queues", "list"]);
    let names: Vec<_> =
        out(&output).lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect();
    assert_eq!(names, ["QUEUE", "builds", "deploys"]);
    let output = ask(home.path(), &manager, &["queues", "show", "{\"a\": 1}"]);
    assert!(out(&output).contains("web-1  running"), "{}", out(&output));
    manager.asked("rp.queues.list");
    manager.asked("rp.queues.list");
    assert_eq!(at(&at(&manager.asked("rp.queues.show"), "name"), "a"), 1.into());
}
