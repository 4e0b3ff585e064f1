//! Ctrl-C while a job is followed: with somebody at a terminal, and without.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tempfile::TempDir;

use super::run_verb::submitted;
use super::support::{code, err, out, three_lines};
use super::{ask, asking, send_interrupt, spawn, world};
use crate::scripted::Scripted;

/// A program at a terminal: its standard input and standard error.
struct Seat {
    child: Child,
    terminal: File,
    shown: String,
}

impl Seat {
    fn take(home: &Path, manager: &Scripted, words: &[&str]) -> Self {
        Self::with(asking(home, manager, words))
    }

    fn with(mut command: Command) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let open =
            || -> OwnedFd { rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap() };
        command.stdin(Stdio::from(open())).stderr(Stdio::from(open())).stdout(Stdio::piped());
        let child = command.spawn().unwrap();
        // the command holds the terminal open too, and must not when its end is waited for
        drop(command);
        Self { child, terminal: File::from(terminal), shown: String::new() }
    }

    /// Reads until this was shown, or the terminal is closed.
    fn until(&mut self, expected: &str) {
        let mut piece = [0; 256];
        while !self.shown.contains(expected) {
            // the end of a terminal is an error
            let Ok(read) = self.terminal.read(&mut piece) else { break };
            self.shown.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
        assert!(self.shown.contains(expected), "{expected:?} was not shown: {}", self.shown);
    }

    fn interrupt(&self) {
        send_interrupt(&self.child);
    }

    fn line(&mut self, text: &str) {
        self.terminal.write_all(format!("{text}\n").as_bytes()).unwrap();
    }

    fn end(&mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap()
    }
}

fn seated(words: &[&str]) -> (TempDir, Scripted, Seat) {
    let (home, manager) = world();
    let seat = Seat::take(home.path(), &manager, words);
    submitted(&manager);
    manager.asked("rp.jobs.follow");
    (home, manager, seat)
}

#[test]
fn without_a_terminal_an_interrupt_detaches_and_cancels_nothing() {
    let (home, manager) = world();
    let mut child = spawn(&mut asking(home.path(), &manager, &["run", "a", "hang"]));
    let mut first = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"begun\n");
    send_interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 130);
    let [what, _, help] = three_lines(&output);
    assert_eq!(what, "detached");
    assert!(help.contains("rpctl jobs follow 00000000000000000000000000000000 --since 1:1;"), "{help}");
    submitted(&manager);
    manager.asked("rp.jobs.follow");
    manager.asked("rp.jobs.show");
    manager.nothing_more();
}

#[test]
fn a_document_is_whole_although_it_was_interrupted() {
    let (home, manager) = world();
    let child = spawn(&mut asking(home.path(), &manager, &["run", "a", "hang", "-o", "yaml"]));
    submitted(&manager);
    manager.asked("rp.jobs.follow");
    send_interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 130, "{}", err(&output));
    let document: serde_json::Value = yaml_serde::from_str(&out(&output)).unwrap();
    assert_eq!(document["stopped"]["exit"], 130);
}

#[test]
fn whoever_wants_to_go_on_goes_on_and_may_cancel_later() {
    let (_home, manager, mut seat) = seated(&["run", "a", "hang"]);
    seat.interrupt();
    seat.until("go [o]n? ");
    seat.line("o");
    seat.shown.clear();
    // longer than a program that is stuck after an interrupt may live
    assert!(manager.seen.recv_timeout(Duration::from_secs(5)).is_err());
    assert_eq!(seat.child.try_wait().unwrap(), None);
    seat.interrupt();
    seat.until("go [o]n? ");
    seat.line("c");
    let cancelled = manager.asked("rp.jobs.cancel");
    assert_eq!(super::run_verb::at(&cancelled, "job"), "0".repeat(32).into());
    seat.until("was cancelled");
    assert_eq!(seat.end(), 7, "{}", seat.shown);
    manager.nothing_more();
}

#[test]
fn whoever_detaches_learns_how_to_come_back() {
    let (_home, manager, mut seat) = seated(&["run", "a", "hang"]);
    seat.interrupt();
    seat.until("go [o]n? ");
    seat.line("d");
    seat.until("rpctl jobs follow 0000");
    assert_eq!(seat.end(), 130);
    manager.asked("rp.jobs.show");
    manager.nothing_more();
}

#[test]
fn whoever_leaves_what_has_ended_meanwhile_is_told_how() {
    for (words, limit) in
        [(&["run", "a", "hang"][..], ""), (&["run", "a", "hang", "--timeout", "5s"], "--timeout")]
    {
        let (home, manager, mut seat) = seated(words);
        seat.interrupt();
        seat.until("go [o]n? ");
        assert_eq!(code(&ask(home.path(), &manager, &["jobs", "cancel", &"0".repeat(32)])), 0);
        manager.asked("rp.jobs.cancel");
        if limit.is_empty() {
            seat.line("d");
        }
        seat.until("was cancelled");
        assert_eq!(seat.end(), 7, "{}", seat.shown);
        assert!(!seat.shown.contains("goes on"), "{}", seat.shown);
        manager.asked("rp.jobs.show");
        manager.nothing_more();
    }
    // of one run its own state is asked for
    let (home, manager) = world();
    assert_eq!(code(&ask(home.path(), &manager, &["run", "a", "hang", "--detach"])), 0);
    submitted(&manager);
    let words = ["jobs", "follow", &"0".repeat(32), "--agent", "a"];
    let mut seat = Seat::take(home.path(), &manager, &words);
    manager.asked("rp.jobs.show");
    manager.asked("rp.jobs.follow");
    seat.interrupt();
    seat.until("go [o]n? ");
    seat.line("d");
    seat.until("goes on");
    assert_eq!(seat.end(), 130);
    assert_eq!(super::run_verb::at(&manager.asked("rp.jobs.result"), "agent"), "a".into());
}

#[test]
fn a_second_interrupt_detaches_at_once() {
    let (_home, manager, mut seat) = seated(&["run", "a", "hang"]);
    seat.interrupt();
    seat.until("go [o]n? ");
    seat.interrupt();
    seat.until("rpctl jobs follow 0000");
    assert_eq!(seat.end(), 130);
    manager.asked("rp.jobs.show");
    manager.nothing_more();
}

#[test]
fn a_request_to_terminate_asks_nobody() {
    let (_home, manager, mut seat) = seated(&["run", "a", "hang"]);
    let id = seat.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    seat.until("rpctl jobs follow 0000");
    assert!(!seat.shown.contains("go [o]n?"), "{}", seat.shown);
    assert_eq!(seat.end(), 130);
    manager.asked("rp.jobs.show");
    manager.nothing_more();
}

#[test]
fn what_cannot_be_undone_is_asked_at_a_terminal() {
    let (home, manager) = world();
    for (answer, end) in [("n", 130), ("y", 0)] {
        let mut seat = Seat::take(home.path(), &manager, &["queues", "cancel", "deploys"]);
        manager.asked("rp.queues.cancel");
        seat.until("cancel 3 runs of 2 jobs? [y/N] ");
        manager.nothing_more();
        seat.line(answer);
        assert_eq!(seat.end(), end, "{}", seat.shown);
    }
    let arguments = manager.asked("rp.queues.cancel");
    assert_eq!(super::run_verb::at(&arguments, "preview"), false.into());
    manager.nothing_more();
}

#[test]
fn the_time_that_an_answer_takes_is_not_that_of_the_change() {
    let (home, manager) = world();
    let mut command = asking(home.path(), &manager, &["queues", "cancel", "deploys"]);
    command.env("RPCTL_CALL__TIMEOUT", "3s");
    let mut seat = Seat::with(command);
    manager.asked("rp.queues.cancel");
    seat.until("[y/N] ");
    // longer than a call may take
    assert!(manager.seen.recv_timeout(Duration::from_millis(3500)).is_err());
    seat.line("y");
    assert_eq!(seat.end(), 0, "{}", seat.shown);
    assert_eq!(super::run_verb::at(&manager.asked("rp.queues.cancel"), "preview"), false.into());
}

#[test]
fn a_question_has_until_the_time_of_timeout_is_over() {
    let (home, manager) = world();
    let words = ["queues", "cancel", "deploys", "--timeout", "3s"];
    let mut seat = Seat::take(home.path(), &manager, &words);
    manager.asked("rp.queues.cancel");
    seat.until("nothing was changed");
    assert_eq!(seat.end(), 6, "{}", seat.shown);
    manager.nothing_more();

    let (_home, manager, mut seat) = seated(&["run", "a", "hang", "--timeout", "3s"]);
    seat.interrupt();
    seat.until("go [o]n? ");
    seat.until("the time of --timeout is over");
    assert_eq!(seat.end(), 6, "{}", seat.shown);
    manager.asked("rp.jobs.show");
    manager.nothing_more();
}

#[test]
fn who_reads_arguments_that_do_not_come_is_interrupted_at_once() {
    let (home, manager) = world();
    let pipe = home.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (words, end, when) in [
        (&["call", "web-1", "p", "@pipe"][..], 130, "while the arguments were read"),
        (&["run", "web-1", "exec.run", "--stdin", "pipe", "--", "cat"], 130, "while the arguments were read"),
        (&["notify", "web-1", "p", "@pipe", "--timeout", "1s"], 6, "the time of --timeout was over"),
    ] {
        let child = spawn(&mut asking(home.path(), &manager, words));
        // opened when rpctl has, and never written to
        let kept = File::options().write(true).open(&pipe).unwrap();
        if end == 130 {
            send_interrupt(&child);
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(code(&output), end, "{words:?}: {}", err(&output));
        let why = &three_lines(&output)[1];
        assert!(why.contains(when) && why.contains("nothing was sent"), "{words:?}: {why}");
        drop(kept);
    }
    manager.nothing_more();
}
