//! Whoever reads standard output goes away: what is known of the end stays the end.

use std::io::Read;
use std::process::{Child, Command, Output, Stdio};

use redpoll_common::session::StopReason;

use super::support::{code, err, out, three_lines};
use super::{ask, asking, read_until, send_interrupt, spawn, world};
use crate::scripted::{Scripted, Seen};

/// Asks, and reads nothing of the answer.
fn unread(home: &std::path::Path, manager: &Scripted, words: &[&str]) -> Output {
    let mut child = spawn(&mut asking(home, manager, words));
    drop(child.stdout.take());
    child.wait_with_output().unwrap()
}

/// Reads the beginning, and goes away.
fn leave_after(child: &mut Child, beginning: &str) {
    read_until(child, beginning);
    drop(child.stdout.take());
}

fn end(mut child: Child) -> (Option<i32>, String) {
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (status.code(), said)
}

#[test]
fn a_call_that_fails_after_its_reader_has_gone_has_failed() {
    let (home, manager) = world();
    for format in ["table", "jsonl", "json", "yaml"] {
        let words = ["call", "web-1", "fails_late", "-o", format];
        let mut child = spawn(&mut asking(home.path(), &manager, &words));
        leave_after(&mut child, "begun");
        manager.go_on();
        let (code, said) = end(child);
        assert_eq!(code, Some(1), "{format}: {said}");
        assert!(said.contains("fails_late failed") && said.contains("as the script says"), "{said}");
    }
}

#[test]
fn progress_that_nobody_reads_ends_a_call_as_values_do() {
    let (home, manager) = world();
    let words = ["call", "web-1", "goes_on", "-o", "jsonl"];
    let mut child = spawn(&mut asking(home.path(), &manager, &words));
    leave_after(&mut child, "begun");
    manager.go_on();
    assert!(matches!(manager.next(), Seen::Stopped(_)));
    let (code, said) = end(child);
    assert_eq!(code, Some(8), "{said}");
    assert!(said.contains("nobody reads"), "{said}");
}

#[test]
fn an_interrupt_is_one_although_it_ended_the_reader_first() {
    let (home, manager) = world();
    let mut child = spawn(&mut asking(home.path(), &manager, &["call", "web-1", "hang", "-o", "jsonl"]));
    assert_eq!(manager.next(), Seen::Hanging);
    leave_after(&mut child, "begun");
    send_interrupt(&child);
    assert_eq!(manager.next(), Seen::Stopped(StopReason::Cancelled));
    let (code, said) = end(child);
    assert!(code == Some(130) && said.contains("was stopped"), "{code:?}: {said}");

    for format in ["table", "jsonl", "json"] {
        let mut child = spawn(&mut asking(home.path(), &manager, &["run", "a", "hang", "-o", format]));
        leave_after(&mut child, "begun");
        send_interrupt(&child);
        let (code, said) = end(child);
        assert!(code == Some(130) && said.contains("detached"), "{format}: {code:?}: {said}");
    }
    let words = ["events", "--follow", "-o", "json"];
    let mut child = spawn(&mut asking(home.path(), &manager, &words));
    leave_after(&mut child, "\"n\":6");
    send_interrupt(&child);
    let (code, said) = end(child);
    assert!(code == Some(130) && said.contains("events --follow --since 6"), "{code:?}: {said}");
}

#[test]
fn a_job_that_ends_after_its_reader_has_gone_ends_as_it_does() {
    let (home, manager) = world();
    for (format, n) in [("table", 0), ("jsonl", 1), ("json", 2), ("yaml", 3)] {
        let mut child = spawn(&mut asking(home.path(), &manager, &["run", "a", "hang", "-o", format]));
        leave_after(&mut child, "begun");
        let job = format!("{n:032x}");
        assert_eq!(code(&ask(home.path(), &manager, &["jobs", "cancel", &job])), 0);
        let (code, said) = end(child);
        assert_eq!(code, Some(7), "{format}: {said}");
        assert!(!said.contains("not known"), "{format}: {said}");
    }
}

#[test]
fn a_job_whose_first_word_nobody_reads_goes_on_and_is_not_done() {
    let (home, manager) = world();
    for words in
        [&["run", "a", "hang", "-o", "json"][..], &["jobs", "follow", &"0".repeat(32), "-o", "jsonl"]]
    {
        let output = unread(home.path(), &manager, words);
        assert_eq!(code(&output), 8, "{words:?}: {}", err(&output));
        let [what, why, help] = three_lines(&output);
        assert!(what.contains("nobody reads") && why.contains("goes on"), "{what} / {why}");
        assert!(help.contains("rpctl jobs follow 0000"), "{help}");
    }
}

#[test]
fn a_copy_whose_reader_has_gone_was_cut_off() {
    let (home, manager) = world();
    let output = unread(home.path(), &manager, &["cp", "web-1:/var/log/big", "-"]);
    assert_eq!(code(&output), 1, "{}", err(&output));
    let [what, why, _] = three_lines(&output);
    assert!(what.contains("the copy of /var/log/big was cut off"), "{what}");
    assert!(why.contains("nobody reads"), "{why}");
    assert!(matches!(manager.next(), Seen::Stopped(_)));
}

#[test]
fn an_answer_that_nobody_reads_has_its_exit_code() {
    let (home, manager) = world();
    let job = out(&ask(home.path(), &manager, &["run", "a", "end.failed", "--detach"]));
    let open = out(&ask(home.path(), &manager, &["run", "a", "open", "--detach"]));
    for (words, expected) in [
        (&["jobs", "result", job.trim()][..], 1),
        (&["jobs", "result", job.trim(), "-o", "json"], 1),
        (&["jobs", "result", open.trim(), "-o", "json"], 6),
        (&["run", "*", "try.refused", "--dry-run"], 3),
        (&["run", "*", "try.refused", "--dry-run", "-o", "jsonl"], 3),
        // what was asked for is done
        (&["jobs", "list"], 0),
        (&["run", "a", "p", "--detach"], 0),
    ] {
        let output = unread(home.path(), &manager, words);
        assert_eq!(code(&output), expected, "{words:?}: {}", err(&output));
    }
}

#[test]
fn an_output_that_was_closed_from_the_beginning_is_an_error_where_something_is_printed() {
    let (home, manager) = world();
    let closed = |words: &[&str]| {
        let rpctl = asking(home.path(), &manager, words);
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "exec \"$0\" \"$@\" >&-"]).arg(rpctl.get_program()).args(rpctl.get_args());
        shell.env_clear().current_dir(home.path()).stdin(Stdio::null());
        shell.envs(rpctl.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = shell.output().unwrap();
        while manager.seen.try_recv().is_ok() {}
        output
    };
    for words in [
        &["status"][..],
        &["jobs", "list", "-o", "json"],
        &["call", "web-1", "sys.echo"],
        &["man", "call"],
        &["cp", "web-1:/var/log/big", "-"],
    ] {
        let output = closed(words);
        assert_eq!(code(&output), 70, "{words:?}: {}", err(&output));
        assert!(three_lines(&output)[2].contains("is closed"), "{}", err(&output));
    }
    let output = closed(&["run", "a", "p", "--detach"]);
    assert!(
        code(&output) == 70 && err(&output).contains(&format!("{:032x} is stored", 0)),
        "{}",
        err(&output)
    );
    // what prints nothing has nothing to lose, and a failure is one
    assert_eq!(code(&closed(&["notify", "web-1", "sys.log"])), 0);
    assert_eq!(code(&closed(&["call", "web-1", "failed"])), 1);
    let mut discarded = asking(home.path(), &manager, &["status"]);
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
    assert_eq!(discarded.stdout(null).status().unwrap().code(), Some(0), "/dev/null is chosen");
}

#[test]
fn what_is_done_is_said_to_be_although_the_output_cannot_be_written() {
    let (home, manager) = world();
    let job = "a".repeat(32);
    for (words, end, done) in [
        (&["jobs", "cancel", &job][..], 70, "2 runs are being ended"),
        (&["queues", "cancel", "deploys", "--yes", "-o", "json"], 70, "2 runs are being ended"),
        (&["agents", "disable", "db-1", "p"], 70, "p@1 is disabled on db-1"),
        (&["agents", "reload", "db-1", "-o", "json"], 1, "db-1 has reloaded with problems: 1"),
        (&["operators", "revoke", "eve", "bob", "--yes"], 70, "revoked: eve, bob"),
        (&["operators", "revoke", "eve", "stuck", "--yes"], 8, "revoked: eve, stuck"),
        (&["operators", "revoke", "eve", "halfway", "bob", "--yes"], 8, "revoked: eve, and"),
        (&["call", "web-1", "sys.echo"], 70, "sys.echo has run and ended well"),
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = asking(home.path(), &manager, words);
        let output = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        while manager.seen.try_recv().is_ok() {}
        let said = err(&output);
        assert_eq!(code(&output), end, "{words:?}: {said}");
        assert!(said.contains(done) && said.contains("No space left"), "{words:?}: {said}");
        if words.contains(&"halfway") {
            assert!(said.contains("not revoked by this: bob") && said.contains("ask again"), "{said}");
        }
    }
}

#[test]
fn an_output_that_is_full_while_something_runs_says_that_its_end_is_not_known() {
    let (home, manager) = world();
    for (words, help) in [
        (&["run", "a", "hang"][..], "follow it again"),
        (&["jobs", "follow", &"0".repeat(32)], "follow it again"),
        (&["call", "web-1", "hang"], "make room"),
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = asking(home.path(), &manager, words);
        let output = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(code(&output), 8, "{words:?}: {}", err(&output));
        assert!(three_lines(&output)[2].contains(help), "{words:?}: {}", err(&output));
    }
}
