//! `rpctl events`: the history, and how it goes on.

use std::io::{BufRead, BufReader, Read};

use rmpv::Value;

use super::run_verb::at;
use super::support::{code, err, out, three_lines};
use super::{ask, asking, send_interrupt, spawn, world};

#[test]
fn events_are_listed_page_after_page() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["events", "--since", "1", "--type", "run.*", "--limit", "4"]);
    let text = out(&output);
    assert_eq!(text.lines().count(), 5, "{text}");
    assert!(text.contains("run.ended") && text.contains("as the script says"), "{text}");
    assert!(err(&output).contains("--since 5"), "{}", err(&output));
    let first = manager.asked("rp.events.list");
    assert_eq!((at(&first, "since"), at(&first, "type")), (1.into(), "run.*".into()));
    assert_eq!(at(&manager.asked("rp.events.list"), "limit"), 1.into());
    let output = ask(home.path(), &manager, &["events", "--since", "0", "-o", "jsonl"]);
    assert_eq!((out(&output).lines().count(), err(&output).as_str()), (7, ""));
}

#[test]
fn without_a_number_the_newest_events_are_shown() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["events", "-o", "jsonl"]);
    assert_eq!((out(&output).lines().count(), err(&output).as_str()), (7, ""));
    let asked = manager.asked("rp.events.list");
    assert_eq!(
        (at(&asked, "recent"), at(&asked, "since"), at(&asked, "limit")),
        (500.into(), Value::Nil, Value::Nil)
    );
    let output = ask(home.path(), &manager, &["events", "--recent", "2"]);
    assert_eq!(out(&output).lines().count(), 3, "{}", out(&output));
    assert!(err(&output).contains("--since 0"), "{}", err(&output));
    assert_eq!(at(&manager.asked("rp.events.list"), "recent"), 2.into());
    // the limit holds for them too
    let output = ask(home.path(), &manager, &["events", "--recent", "5", "--limit", "3", "-o", "jsonl"]);
    assert_eq!(out(&output).lines().count(), 3, "{}", out(&output));
    assert_eq!(at(&manager.asked("rp.events.list"), "recent"), 3.into());
    ask(home.path(), &manager, &["events", "--recent", "700"]);
    assert_eq!(at(&manager.asked("rp.events.list"), "recent"), 700.into());
    let output = ask(home.path(), &manager, &["events", "--limit", "1001"]);
    assert!(code(&output) == 2 && three_lines(&output)[2].contains("--since 0"), "{}", err(&output));
    manager.nothing_more();
    // it looked at many, and found two of three
    let output = ask(home.path(), &manager, &["events", "--limit", "3", "--type", "rare"]);
    assert_eq!(out(&output).lines().count(), 3, "{}", out(&output));
    assert!(err(&output).contains("there may be older ones"), "{}", err(&output));
    // and where it found all three, what is older is of other types, as far as anybody knows
    let output = ask(home.path(), &manager, &["events", "--limit", "3", "--type", "run.*"]);
    assert_eq!(out(&output).lines().count(), 4, "{}", out(&output));
    assert!(err(&output).contains("there may be older ones"), "{}", err(&output));
    for words in [["--recent", "2", "--since", "3"], ["--recent", "0", "-o", "json"]] {
        assert_eq!(code(&ask(home.path(), &manager, &[&["events"][..], &words].concat())), 2);
    }
}

#[test]
fn following_goes_on_by_number_after_a_lost_connection() {
    let (home, manager) = world();
    for format in ["table", "json", "jsonl", "yaml"] {
        let words = ["events", "--follow", "--limit", "5", "-o", format];
        let mut child = spawn(&mut asking(home.path(), &manager, &words));
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        assert_eq!(at(&manager.asked("rp.events.follow"), "since"), Value::Nil);
        let mut text = String::new();
        // of json the bracket is a line of its own, and the third line is not ended before the next comes
        for _ in 0..if format == "json" { 3 } else { 3 * if format == "yaml" { 8 } else { 1 } } {
            reader.read_line(&mut text).unwrap();
        }
        manager.go_on();
        assert_eq!(at(&manager.asked("rp.events.follow"), "since"), 6.into());
        reader.read_to_string(&mut text).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(code(&output), 0, "{}", err(&output));
        assert_eq!(err(&output).lines().count(), 2, "{}", err(&output));
        let numbers: Vec<_> = match format {
            "table" => text.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect(),
            "jsonl" => text.lines().map(number).collect::<Vec<u64>>(),
            _ => {
                let list: Vec<serde_json::Value> = yaml_serde::from_str(&text).unwrap();
                list.iter().map(|event| event["n"].as_u64().unwrap()).collect()
            }
        };
        assert_eq!(numbers, [4, 5, 6, 7, 8], "{format}: {text}");
        // the second follow of this round is not waited for by anybody
        manager.go_on();
    }
}

fn number(line: &str) -> u64 {
    serde_json::from_str::<serde_json::Value>(line).unwrap()["n"].as_u64().unwrap()
}

#[test]
fn an_interrupt_says_where_to_go_on() {
    let (home, manager) = world();
    let words = ["events", "--follow", "--since", "4"];
    let mut child = spawn(&mut asking(home.path(), &manager, &words));
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..2 {
        reader.read_line(&mut String::new()).unwrap();
    }
    send_interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 130);
    assert!(three_lines(&output)[2].ends_with("rpctl events --follow --since 6"), "{}", err(&output));
}

#[test]
fn an_interrupt_names_the_type_and_where_to_go_on_although_nothing_came() {
    let (home, manager) = world();
    let child = spawn(&mut asking(home.path(), &manager, &["events", "--follow", "--type", "rare.*"]));
    assert_eq!(at(&manager.asked("rp.events.list"), "recent"), 1.into());
    assert_eq!(at(&manager.asked("rp.events.follow"), "since"), 7.into());
    send_interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 130);
    let help = &three_lines(&output)[2];
    assert!(help.ends_with("rpctl events --follow --type 'rare.*' --since 7"), "{help}");
}

fn head(n: u64, hash: u64) -> String {
    format!("{n}:{hash:064x}")
}

#[test]
fn verify_goes_through_the_whole_history_and_prints_its_head() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["events", "verify", "-o", "json"]);
    let found: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(
        (code(&output), &found["ok"], &found["first"], &found["last"], &found["checked"], &found["head"]),
        (0, &true.into(), &3.into(), &7.into(), &5.into(), &head(7, 7).into()),
        "{found}"
    );
    assert_eq!(manager.asked("rp.events.verify"), Value::Map(Vec::new()));
    // what was printed is what can be given; one that is not kept any more is no failure
    let (known, gone, edge) = (head(7, 7), head(1, 9), head(2, 2));
    let words = ["events", "verify", "--head", &known, "--head", &gone, "--head", &edge];
    let output = ask(home.path(), &manager, &words);
    let text = out(&output);
    assert_eq!((code(&output), err(&output).as_str()), (0, ""), "{text}");
    assert!(text.contains("as it was written") && text.contains("3 to 7 (5)"), "{text}");
    assert!(text.contains(&known) && text.contains("cannot be compared"), "{text}");
    assert_eq!(text.matches("fits").count(), 2, "{text}");
}

#[test]
fn verify_ends_with_1_and_names_the_first_event_that_is_wrong() {
    let (home, manager) = world();
    let (right, wrong, upper) = (head(4, 4), head(6, 9), head(5, 5).to_uppercase());
    for (heads, first, kind, word) in [
        (vec![&right, &wrong], 5, "rewritten", "computed anew"),
        (vec![&wrong], 3, "rewritten", "events 3 to 6"),
        (vec![&upper, &wrong], 6, "rewritten", "events 6 to 6"),
        (vec![&head(9, 9), &right], 8, "truncated", "events 8 to 9"),
        (vec![&head(66, 9)], 5, "changed", "event 5 was changed"),
    ] {
        let words: Vec<&str> = heads.iter().flat_map(|head| ["--head", head.as_str()]).collect();
        let output = ask(home.path(), &manager, &[&["events", "verify", "-o", "json"][..], &words].concat());
        let found: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
        assert_eq!(
            (code(&output), &found["ok"], &found["flaw"]["n"], &found["flaw"]["kind"]),
            (1, &false.into(), &first.into(), &kind.into()),
            "{found}"
        );
        let lines = three_lines(&output);
        assert!(lines[0].contains(&format!("event {first} on")) && lines[1].contains(word), "{lines:?}");
        let output = ask(home.path(), &manager, &[&["events", "verify"][..], &words].concat());
        assert!(code(&output) == 1 && out(&output).contains("NOT as it was written"), "{}", out(&output));
    }
    for words in [["--head", "7"], ["--head", "7:12"], ["--head", &head(0, 1)], ["--since", "3"]] {
        assert_eq!(code(&ask(home.path(), &manager, &[&["events", "verify"][..], &words].concat())), 2);
    }
}
