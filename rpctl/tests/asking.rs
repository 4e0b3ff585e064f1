//! The binary asks a manager that plays a script.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

#[path = "asking/chosen.rs"]
mod chosen;
#[path = "asking/copied.rs"]
mod copied;
#[path = "asking/doubt.rs"]
mod doubt;
#[path = "asking/events.rs"]
mod events;
#[path = "asking/follow.rs"]
mod follow;
#[path = "asking/interrupt.rs"]
mod interrupt;
#[path = "asking/jobs.rs"]
mod jobs;
#[path = "asking/reading.rs"]
mod reading;
#[path = "asking/revoke.rs"]
mod revoke;
#[path = "asking/run.rs"]
mod run_verb;
#[path = "support/scripted.rs"]
#[expect(clippy::unwrap_used, clippy::default_trait_access, reason = "test code")]
mod scripted;
#[path = "asking/shells.rs"]
mod shells;
#[path = "asking/silent.rs"]
mod silent;
mod support;
#[path = "asking/unread.rs"]
mod unread;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use redpoll_common::session::StopReason;
use redpoll_common::wire::FaultCode;
use rmpv::Value;
use rpctl::exit::Exit;
use scripted::{DEAD, Scripted, Seen};
use support::{as_ada, certificates, code, err, out, rpctl, run, three_lines};
use tempfile::TempDir;

/// A manager, and the folder of an operator who may ask it.
fn world() -> (TempDir, Scripted) {
    let home = tempfile::tempdir().unwrap();
    certificates(home.path());
    let manager = Scripted::start(&home.path().join("ca"));
    (home, manager)
}

fn asking(home: &Path, manager: &Scripted, words: &[&str]) -> Command {
    let mut command = rpctl(home, words);
    as_ada(&mut command).env("RPCTL_MANAGER", &manager.address);
    command
}

fn ask(home: &Path, manager: &Scripted, words: &[&str]) -> Output {
    asking(home, manager, words).output().unwrap()
}

fn spawn(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Reads standard output until this came: a document has no lines yet.
fn read_until(child: &mut Child, beginning: &str) -> String {
    let stdout = child.stdout.as_mut().unwrap();
    let (mut text, mut byte) = (String::new(), [0]);
    while !text.contains(beginning) {
        assert!(stdout.read(&mut byte).unwrap() > 0, "{beginning:?} did not come: {text}");
        text.push(char::from(byte[0]));
    }
    text
}

fn send_interrupt(child: &Child) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
}

#[test]
fn arguments_arrive_as_they_were_typed() {
    let (home, manager) = world();
    std::fs::write(home.path().join("bin"), [0xff, 0x00]).unwrap();
    let words =
        ["call", "web-1", "sys.echo", "-o", "json", "x", "n:=5", "k=v", "b=@bin", "f:=0.1", "--", "-y"];
    let output = ask(home.path(), &manager, &words);
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
    let document: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    let expected = serde_json::json!({
        "values": [],
        "result": {"args": ["x", "-y"], "kwargs": {"n": 5, "k": "v", "b": {"$bin": "/wA="}, "f": 0.1}}
    });
    assert_eq!(document, expected);
}

#[test]
fn values_and_progress_come_before_the_result() {
    let (home, manager) = world();
    let mut child = spawn(&mut asking(home.path(), &manager, &["call", "web-1", "stream"]));
    let mut said = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "web-1: 1 of 2\n");
    manager.go_on();
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), out(&output).as_str()), (0, "1\n2\nend\n"));

    let mut child = spawn(&mut asking(home.path(), &manager, &["call", "web-1", "stream", "-o", "jsonl"]));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    // progress is not a value of the stream: it may overtake one that was given before it
    let mut first = [lines.next().unwrap(), lines.next().unwrap()];
    first.sort();
    assert_eq!(first, [r#"{"progress":{"completed":1,"total":2}}"#, r#"{"value":1}"#]);
    manager.go_on();
    assert_eq!(lines.collect::<Vec<_>>(), [r#"{"value":2}"#, r#"{"result":"end"}"#]);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_program_prints_on_our_streams_and_its_failure_is_one_line() {
    let (home, manager) = world();
    let words = ["call", "web-1", "exec.run", "--", "sh", "-c", "…"];
    let output = ask(home.path(), &manager, &words);
    assert_eq!((code(&output), out(&output).as_str()), (1, "out\n"));
    assert_eq!(err(&output), "err\nweb-1: sh exited with 3\n");
    let raw = ask(home.path(), &manager, &[&["call", "--raw"], &words[1..]].concat());
    assert_eq!(out(&raw), "\u{1b}[31mout\n");
}

#[test]
fn every_fault_ends_with_its_exit_code() {
    let (home, manager) = world();
    for fault in FaultCode::ALL {
        let output = ask(home.path(), &manager, &["call", "web-1", fault.as_str()]);
        assert_eq!(code(&output), i32::from(Exit::of_fault(fault).code()), "{fault}");
        assert!(three_lines(&output)[1].contains("as the script says"), "{fault}");
    }
}

#[test]
fn a_call_that_takes_too_long_ends_with_6_and_is_stopped() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["call", "web-1", "hang", "--timeout", "1s"]);
    assert_eq!((code(&output), out(&output).as_str()), (6, "begun\n"));
    three_lines(&output);
    assert_eq!(manager.next(), Seen::Hanging);
    assert!(matches!(manager.next(), Seen::Stopped(_)));
}

#[test]
fn an_interrupt_cancels_the_call_and_ends_with_130() {
    let (home, manager) = world();
    let child = spawn(&mut asking(home.path(), &manager, &["call", "web-1", "hang", "-o", "json"]));
    assert_eq!(manager.next(), Seen::Hanging);
    send_interrupt(&child);
    assert_eq!(manager.next(), Seen::Stopped(StopReason::Cancelled));
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 130);
    let [what, _, help] = three_lines(&output);
    assert!(what == "interrupted" && help.contains("was stopped"), "{help}");
    let document: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(document["fault"]["code"], "cancelled");
}

#[test]
fn an_agent_that_does_not_stop_holds_nobody_up() {
    let (home, manager) = world();
    let child = spawn(&mut asking(home.path(), &manager, &["call", "web-1", "deaf"]));
    assert_eq!(manager.next(), Seen::Hanging);
    send_interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 130);
    assert!(three_lines(&output)[2].contains("look at the machine"), "{}", err(&output));
}

#[test]
fn a_manager_lost_during_a_call_leaves_the_outcome_unknown() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["call", "web-1", "lost", "-o", "yaml"]);
    assert_eq!(code(&output), 8, "{}", err(&output));
    assert!(out(&output).starts_with("values: []\nfault:\n  code: manager_lost\n"), "{}", out(&output));
    assert!(three_lines(&output)[2].contains("may have run"));
}

#[test]
fn a_reader_that_goes_away_cancels_the_call_whose_end_is_not_known_then() {
    let (home, manager) = world();
    let mut child = spawn(&mut asking(home.path(), &manager, &["call", "web-1", "flood"]));
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "again and again\n");
    drop(reader);
    assert!(matches!(manager.next(), Seen::Stopped(_)));
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(8), "{said}");
    assert!(said.contains("nobody reads") && said.contains("web-1: flood was told to stop"), "{said}");
}

#[test]
fn a_reader_that_pauses_keeps_its_call() {
    let (home, manager) = world();
    let mut child = spawn(&mut asking(home.path(), &manager, &["call", "web-1", "flood"]));
    assert_eq!(manager.next(), Seen::Stuck);
    // longer than a silent peer is kept: the session lives although the printing stands
    assert!(manager.seen.recv_timeout(DEAD + DEAD / 3).is_err());
    drop(child.stdout.take());
    assert!(matches!(manager.next(), Seen::Stopped(_)));
    assert_eq!(child.wait().unwrap().code(), Some(8));
}

#[test]
fn an_interrupt_ends_the_program_although_its_reader_does_not_read() {
    let (home, manager) = world();
    let mut child = spawn(&mut asking(home.path(), &manager, &["call", "web-1", "flood"]));
    assert_eq!(manager.next(), Seen::Stuck);
    send_interrupt(&child);
    send_interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(matches!(manager.next(), Seen::Stopped(_)));
}

#[test]
fn a_notification_is_handed_over() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["notify", "web-1", "sys.log", "{\"a\": [1]}"]);
    assert_eq!((code(&output), out(&output).as_str(), err(&output).as_str()), (0, "", ""));
    let content = Value::Map(vec![("a".into(), Value::Array(vec![1.into()]))]);
    assert_eq!(manager.next(), Seen::Notified("sys.log".into(), content));
}

#[test]
fn agents_are_listed_page_after_page() {
    let (home, manager) = world();
    let output = ask(home.path(), &manager, &["agents", "list"]);
    let text = out(&output);
    let ids: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(ids, ["AGENT", "db-1", "web-1", "web-2"]);
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let output = ask(home.path(), &manager, &["agents", "list", "id:web-*", "-o", "jsonl"]);
    assert_eq!(out(&output).lines().count(), 2);
    let output = ask(home.path(), &manager, &["agents", "list", "id:x*"]);
    assert_eq!(code(&output), 5);
    three_lines(&output);
    let output = ask(home.path(), &manager, &["agents", "list", "id:x*", "--allow-empty", "-o", "json"]);
    assert_eq!((code(&output), out(&output).as_str()), (0, "[]\n"));
}

#[test]
fn the_other_questions_have_answers() {
    let (home, manager) = world();
    for (words, expected, end) in [
        (&["status"][..], "1m 30s", 0),
        (&["agents", "ping", "web-1"], "2.000", 0),
        (&["agents", "procedures", "web-1"], "DESCRIPTION", 0),
        (&["agents", "procedures", "web-1", "-o", "yaml"], "type: object", 0),
        (&["agents", "show", "web-9"], "", 5),
    ] {
        let output = ask(home.path(), &manager, words);
        assert_eq!(code(&output), end, "{words:?}: {}", err(&output));
        assert!(out(&output).contains(expected), "{words:?}: {}", out(&output));
    }
}

#[test]
fn a_stranger_is_refused_with_4() {
    let (home, manager) = world();
    let other = tempfile::tempdir().unwrap();
    certificates(other.path());
    let output = ask(other.path(), &manager, &["status"]);
    assert_eq!(code(&output), 4, "{}", err(&output));
    three_lines(&output);
    // our own certificate, but of the wrong role: noticed before anybody is dialled
    assert_eq!(code(&run(home.path(), &["certs", "issue", "agent", "web-1", "--dir", "ca"])), 0);
    let mut command = asking(home.path(), &manager, &["status"]);
    command.env("RPCTL_TLS__CERT", "ca/agent-web-1.crt").env("RPCTL_TLS__KEY", "ca/agent-web-1.key");
    let output = command.output().unwrap();
    assert_eq!(code(&output), 2, "{}", err(&output));
    three_lines(&output);
}
