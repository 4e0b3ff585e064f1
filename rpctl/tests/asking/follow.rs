//! `rpctl run` and `rpctl jobs follow`: what a job gives, to its end.

use std::io::{BufRead, BufReader, Read};

use rmpv::Value;

use super::run_verb::{at, submitted};
use super::support::{code, err, out, three_lines};
use super::{ask, asking, spawn, world};

#[test]
fn every_outcome_ends_with_its_exit_code() {
    let (home, manager) = world();
    for (outcome, end) in [
        ("succeeded", 0),
        ("failed", 1),
        ("rejected", 3),
        ("expired", 6),
        ("timed_out", 6),
        ("cancelled", 7),
        ("unknown", 8),
        ("internal", 70),
    ] {
        let procedure = format!("end.{outcome}");
        let output = ask(home.path(), &manager, &["run", "web-1", &procedure]);
        assert_eq!(code(&output), end, "{outcome}: {}", err(&output));
        if end == 0 {
            assert_eq!((out(&output).as_str(), err(&output).as_str()), ("the result\n", ""));
        } else {
            assert_eq!(out(&output), "");
            three_lines(&output);
        }
        submitted(&manager);
        manager.asked("rp.jobs.follow");
        let several = ask(home.path(), &manager, &["run", "a,b", &procedure]);
        assert_eq!(code(&several), end, "{outcome}: {}", err(&several));
        assert!(err(&several).contains("AGENT  OUTCOME"), "{}", err(&several));
        submitted(&manager);
        manager.asked("rp.jobs.follow");
    }
}

#[test]
fn all_that_a_run_gives_is_printed() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["run", "web-1", "p"]);
    assert_eq!((out(&output).as_str(), err(&output).as_str()), ("out\na: 1\nthe result\n", "err\n"));
    let raw = ask(home.path(), &manager, &["run", "web-1", "p", "--raw"]);
    assert!(out(&raw).starts_with("\u{1b}[31mout\n"), "{:?}", out(&raw));
    let lines = ask(home.path(), &manager, &["run", "web-1", "p", "-o", "jsonl"]);
    let lines: Vec<serde_json::Value> =
        out(&lines).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let keys = |line: &serde_json::Value| line.as_object().unwrap().keys().next_back().unwrap().clone();
    let found: Vec<_> = lines.iter().map(keys).collect();
    assert_eq!(found, ["runs", "state", "n", "n", "n", "progress", "end", "summary"]);
    assert_eq!(lines[2]["data"], "\u{1b}[31mout\n");
    assert_eq!(lines[6]["end"]["result"], "the result");
    for format in ["json", "yaml"] {
        let output = ask(home.path(), &manager, &["run", "web-1,web-2", "p", "-o", format]);
        let document: serde_json::Value = yaml_serde::from_str(&out(&output)).unwrap();
        assert_eq!(document["events"].as_array().unwrap().len(), 1 + 2 * 6);
        assert_eq!(document["summary"]["outcome"], "succeeded");
    }
}

#[test]
fn lines_of_two_agents_are_marked_and_never_mixed() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["run", "a,b", "two"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let expected = "a: begin\nb: begin\na: next line\nb: next line\n\
        a: rest\na: the result\nb: rest\nb: the result\n";
    assert_eq!(out(&output), expected);
}

#[test]
fn a_lost_connection_loses_no_line_and_doubles_none() {
    let (home, manager) = world();
    let mut child = spawn(&mut asking(home.path(), &manager, &["run", "a,b", "cut"]));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    submitted(&manager);
    for round in 0..3 {
        let asked = manager.asked("rp.jobs.follow");
        let known: Vec<_> =
            at(&asked, "from").as_array().unwrap().iter().map(|run| at(run, "next")).collect();
        let next = [vec![], vec![Value::from(3); 2], vec![Value::from(5); 2]];
        assert_eq!(known, next[round]);
        let mut two = if round < 2 {
            [lines.next().unwrap(), lines.next().unwrap()]
        } else {
            let four: Vec<_> = lines.by_ref().take(4).collect();
            assert_eq!([&four[1], &four[3]], ["a: the result", "b: the result"]);
            [four[0].clone(), four[2].clone()]
        };
        two.sort();
        assert_eq!(two, ["a", "b"].map(|agent| format!("{agent}: line {round} whole")));
        manager.go_on();
    }
    assert_eq!(lines.next(), None);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    // each loss once
    assert_eq!(said.matches("was lost").count(), 2, "{said}");
    assert_eq!(said.matches("connected again").count(), 2, "{said}");
    manager.nothing_more();
}

#[test]
fn a_manager_that_stops_is_lost_once_and_back_when_it_gives_something() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["run", "a", "drains"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(manager.seen.try_iter().count(), 5, "a submit, and it was followed four times");
    let said = err(&output);
    assert_eq!((said.matches("was lost").count(), said.matches("connected again").count()), (1, 1), "{said}");
}

#[test]
fn a_gap_that_nobody_told_of_is_an_error_and_not_passed_over() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["run", "a", "gap"]);
    assert_eq!((code(&output), out(&output).as_str()), (8, "x\n"));
    let [_, why, help] = three_lines(&output);
    assert!(why.contains("item 1 was to come, and 2 came") && why.contains("goes on"), "{why}");
    assert!(help.contains("--since 1"), "{help}");
}

#[test]
fn a_gap_that_the_manager_tells_of_is_noted_and_it_goes_on_to_the_end() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["run", "a", "missing"]);
    assert_eq!((code(&output), out(&output).as_str()), (0, "x\ny\nthe result\n"));
    assert!(err(&output).contains("a: items 1 to 4 are not there"), "{}", err(&output));
    assert!(err(&output).contains("a: item 6 is not there"), "{}", err(&output));
    let output = ask(home.path(), &manager, &["run", "a", "missing", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    let missing: Vec<_> =
        document["events"].as_array().unwrap().iter().filter_map(|event| event.get("missing")).collect();
    assert_eq!((missing[0]["from"].as_u64(), missing[0]["until"].as_u64()), (Some(1), Some(5)));
    assert_eq!((missing.len(), &document["summary"]["outcome"]), (2, &"succeeded".into()));
}

#[test]
fn a_job_is_followed_by_its_id() {
    let (home, manager) = world();
    let job = out(&ask(home.path(), &manager, &["run", "a,b", "p", "--detach"]));
    submitted(&manager);
    let words = ["jobs", "follow", job.trim(), "--agent", "b", "--since", "1"];
    let output = ask(home.path(), &manager, &words);
    // one run is not marked; what was asked from is the manager's business
    assert_eq!((code(&output), out(&output).as_str()), (0, "out\na: 1\nthe result\n"));
    manager.asked("rp.jobs.show");
    let asked = manager.asked("rp.jobs.follow");
    assert_eq!((at(&asked, "agent"), at(&asked, "since")), ("b".into(), 1.into()));
    let output = ask(home.path(), &manager, &["jobs", "follow", job.trim(), "--recent", "2"]);
    assert!(out(&output).starts_with("a: out\na: a: 1\na: the result\nb: out\n"), "{}", out(&output));
    manager.asked("rp.jobs.show");
    assert_eq!(at(&manager.asked("rp.jobs.follow"), "recent"), 2.into());
    let output = ask(home.path(), &manager, &["jobs", "follow", &format!("{:032x}", 99)]);
    assert_eq!(code(&output), 3, "{}", err(&output));
    three_lines(&output);
}

#[test]
fn the_timeout_ends_the_following_and_not_the_job() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["run", "a", "hang", "--timeout", "1s", "-o", "json"]);
    assert_eq!(code(&output), 6, "{}", err(&output));
    assert!(three_lines(&output)[2].contains("rpctl jobs follow 0000"), "{}", err(&output));
    let document: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!((&document["stopped"]["exit"], &document["summary"]), (&6.into(), &serde_json::Value::Null));
    submitted(&manager);
    manager.asked("rp.jobs.follow");
    manager.asked("rp.jobs.show");
    manager.nothing_more();
}
