//! `rpctl jobs read` and `rpctl jobs follow --since`: documents are whole, and readers may take their time.

use std::time::Duration;

use rmpv::Value;

use super::run_verb::{at, submitted};
use super::support::{code, err, out};
use super::{ask, asking, read_until, send_interrupt, spawn, world};

#[test]
fn a_document_of_which_a_later_page_cannot_be_had_is_whole() {
    let (home, manager) = world();
    let job = "e".repeat(32);
    for format in ["json", "yaml"] {
        let output = ask(home.path(), &manager, &["jobs", "read", &job, "-o", format]);
        assert_eq!(code(&output), 70, "{}", err(&output));
        let document: serde_json::Value = match format {
            "json" => serde_json::from_str(&out(&output)).unwrap(),
            _ => yaml_serde::from_str(&out(&output)).unwrap(),
        };
        assert_eq!(document["events"].as_array().unwrap().len(), 3);
        assert_eq!((&document["next"], &document["stopped"]["exit"]), (&3.into(), &70.into()));
        assert!(err(&output).contains("--agent web-1 --attempt 3 --since 3"), "{}", err(&output));
    }
    let output = ask(home.path(), &manager, &["jobs", "read", &job, "-o", "jsonl"]);
    let lines: Vec<_> = out(&output).lines().map(str::to_owned).collect();
    assert!(lines[3] == "{\"next\":3}" && lines[4].contains("\"stopped\""), "{lines:?}");
    // where nothing was begun nothing has to be closed
    let words = ["jobs", "read", &job, "--since", "1", "-o", "json"];
    let output = ask(home.path(), &manager, &words);
    assert_eq!((code(&output), out(&output).as_str()), (70, ""));
}

#[test]
fn a_document_whose_reading_is_interrupted_is_whole() {
    let (home, manager) = world();
    let words = ["jobs", "read", &"f".repeat(32), "-o", "json"];
    let mut child = spawn(&mut asking(home.path(), &manager, &words));
    manager.asked("rp.jobs.read");
    manager.asked("rp.jobs.read");
    let begun = read_until(&mut child, "line 1");
    send_interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 130, "{}", err(&output));
    let document: serde_json::Value = serde_json::from_str(&(begun + &out(&output))).unwrap();
    assert_eq!((&document["next"], &document["stopped"]["exit"]), (&3.into(), &130.into()));
}

#[test]
fn a_reader_that_pauses_longer_than_a_call_may_take_gets_all_pages() {
    let (home, manager) = world();
    let mut command = asking(home.path(), &manager, &["jobs", "read", &"c".repeat(32)]);
    let child = spawn(command.env("RPCTL_CALL__TIMEOUT", "3s"));
    manager.asked("rp.jobs.read");
    // it stands in a write, and asks for nothing more
    assert!(manager.seen.recv_timeout(Duration::from_millis(3500)).is_err());
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), output.stdout.len()), (0, 700_000), "{}", err(&output));
}

#[test]
fn who_follows_again_names_the_attempt_that_was_known() {
    let (home, manager) = world();
    let job = out(&ask(home.path(), &manager, &["run", "a", "p", "--detach"]));
    submitted(&manager);
    let output = ask(home.path(), &manager, &["jobs", "follow", job.trim(), "--since", "1:1"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    manager.asked("rp.jobs.show");
    let asked = manager.asked("rp.jobs.follow");
    let Value::Array(from) = at(&asked, "from") else { panic!("{asked:?}") };
    assert_eq!(
        (at(&from[0], "agent"), at(&from[0], "attempt"), at(&from[0], "next")),
        ("a".into(), 1.into(), 1.into())
    );
    assert_eq!((from.len(), at(&asked, "since")), (1, Value::Nil));
    // of the three items the first one is known
    assert_eq!((out(&output).as_str(), err(&output).contains("err")), ("a: 1\nthe result\n", true));
    ask(home.path(), &manager, &["jobs", "follow", job.trim(), "--since", "1"]);
    manager.asked("rp.jobs.show");
    assert_eq!(at(&manager.asked("rp.jobs.follow"), "since"), 1.into());

    let several = out(&ask(home.path(), &manager, &["run", "a,b", "p", "--detach"]));
    let words = ["jobs", "follow", several.trim(), "--since", "1:1"];
    let output = ask(home.path(), &manager, &words);
    assert!(code(&output) == 2 && err(&output).contains("--agent"), "{}", err(&output));
    while manager.seen.try_recv().is_ok() {}
    assert_eq!(code(&ask(home.path(), &manager, &[&words[..], &["--agent", "b"]].concat())), 0);
    manager.asked("rp.jobs.show");
    let Value::Array(from) = at(&manager.asked("rp.jobs.follow"), "from") else { panic!() };
    assert_eq!((at(&from[0], "agent"), at(&from[0], "attempt")), ("b".into(), 1.into()));
}

#[test]
fn who_follows_again_begins_with_the_attempt_that_has_given_nothing_yet() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["run", "a", "again"]);
    assert_eq!((code(&output), out(&output).as_str()), (8, "begun\n"));
    assert!(err(&output).contains("--since 2:0;"), "{}", err(&output));
}

#[test]
fn a_run_that_gives_as_fast_as_it_is_read_is_read_as_far_as_it_was() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["jobs", "read", &"d".repeat(32), "-o", "jsonl"]);
    let text = out(&output);
    assert!(code(&output) == 0 && text.ends_with("\n{\"next\":6}\n"), "{text}{}", err(&output));
    for _ in 0..2 {
        manager.asked("rp.jobs.read");
    }
    manager.nothing_more();
}
