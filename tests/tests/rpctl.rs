//! `rpctl` against real daemons: every exit code that can be produced, each with its three lines.
#![expect(clippy::panic, clippy::unwrap_used, reason = "test code")]

use std::process::{Output, Stdio};

use redpoll_certs::testing::TestAuthority;
use redpoll_common::wire::{Fault, FaultCode, Message, Response};
use redpoll_tests::in_time;
use redpoll_tests::process::Sleeper;
use redpoll_tests::world::{HONEST, World, tls_section};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

/// The exit code, and three lines: what, why, and what to do.
fn failed(output: &Output, code: i32, what: &str) {
    let (out, err) = texts(output);
    assert_eq!(output.status.code(), Some(code), "{err}");
    assert_eq!(out, "", "data alone goes to standard output");
    let lines: Vec<&str> = err.lines().collect();
    let [first, why, help] = lines[..] else { panic!("not three lines: {err}") };
    assert!(first.starts_with("error: ") && first.contains(what), "{err}");
    assert!(why.starts_with("why: ") && help.starts_with("help: "), "{err}");
}

#[tokio::test]
async fn what_succeeds_ends_with_0_and_prints_data_alone() {
    let mut world = World::start(&[]).await;
    let output = world.run_rpctl(&["-o", "json", "call", HONEST, "sys.echo", "a", "n:=5", "k=v"]).await;
    let (out, err) = texts(&output);
    assert_eq!((output.status.code(), err.as_str()), (Some(0), ""));
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["result"], json!({"args": ["a"], "kwargs": {"n": 5, "k": "v"}}));
    let output =
        world.run_rpctl(&["call", HONEST, "exec.run", "--", "sh", "-c", "echo out; echo err >&2"]).await;
    let (out, err) = texts(&output);
    assert_eq!((output.status.code(), out.as_str()), (Some(0), "out\n"), "{err}");
    assert!(err.starts_with("err\n"), "{err}");
    for arguments in [
        &["agents", "list"][..],
        &["agents", "show", HONEST],
        &["agents", "ping", HONEST],
        &["agents", "procedures", HONEST],
        &["notify", HONEST, "sys.log", "\"hello\""],
        &["status"],
        &["call", HONEST, "sys.facts"],
        &["call", HONEST, "sys.version"],
    ] {
        let output = world.run_rpctl(arguments).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {:?}", texts(&output));
    }
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn whoever_stops_reading_hears_that_it_is_not_over() {
    let mut world = World::quiet(&[]).await;
    world.agent("talker-1", &[]).await;
    let talk =
        ["talker-1", "exec.run", "--", "sh", "-c", "for n in $(seq 200); do echo $n; sleep 0.02; done"];
    for (verb, words) in [("run", "goes on without rpctl"), ("call", "was told to stop")] {
        let mut rpctl = world.rpctl();
        let rpctl =
            rpctl.arg(verb).args(talk).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = rpctl.spawn().unwrap();
        let mut first = [0; 2];
        let mut stdout = child.stdout.take().unwrap();
        in_time("a line", stdout.read_exact(&mut first)).await.unwrap();
        drop(stdout);
        let output = in_time("the end of rpctl", child.wait_with_output()).await.unwrap();
        assert_eq!(&first, b"1\n");
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(8), "{verb}: {err}");
        assert!(
            err.contains("nobody reads") && err.contains(words) && err.contains("help: "),
            "{verb}: {err}"
        );
    }
    // of what is over nothing is missing
    let output = world.rpctl().args(["-o", "jsonl", "status"]).stdout(Stdio::null()).status().await.unwrap();
    assert_eq!(output.code(), Some(0));
}

#[tokio::test]
async fn every_failure_has_its_exit_code_and_three_lines() {
    let mut world = World::start(&[]).await;
    drop(world.line("gone-1").await);
    world.operator.until("gone-1", redpoll_common::api::AgentState::Away).await;
    for (arguments, code, what) in [
        (&["call", HONEST, "exec.run", "--", "/no/such/program"][..], 1, "exec.run could not be started"),
        (&["call", HONEST], 2, "required arguments"),
        (&["call", HONEST, "sys.echo", "--kwargs", "{"], 2, "--kwargs"),
        (&["call", HONEST, "sys.ping", "x"], 3, "do not fit sys.ping"),
        (&["call", HONEST, "no.such"], 3, "does not offer no.such"),
        (&["call", "never-1", "sys.echo"], 5, "there is no agent never-1"),
        (&["call", "gone-1", "sys.echo"], 5, "gone-1 is not connected"),
        (&["agents", "show", "never-1"], 5, "there is no agent never-1"),
        (&["--timeout", "500ms", "call", HONEST, "exec.run", "--", "sleep", "100"], 6, "too long"),
    ] {
        failed(&world.run_rpctl(arguments).await, code, what);
    }
    // a program that fails has said why itself: one line more is enough
    let output = world.run_rpctl(&["call", HONEST, "exec.run", "--", "sh", "-c", "exit 3"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(texts(&output), (String::new(), format!("{HONEST}: sh exited with 3\n")));
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn a_call_that_somebody_else_cancels_ends_with_7() {
    let mut world = World::start(&[]).await;
    let mut line = world.line("busy-1").await;
    let calling = world.run_rpctl(&["call", "busy-1", "anything"]);
    let cancelling = async {
        let request = line.requested().await;
        let fault = Fault::new(FaultCode::Cancelled, "an operator changed her mind");
        line.say(&Message::Response(Response { id: request.id, result: Err(fault) })).await;
    };
    let (output, ()) = tokio::join!(calling, cancelling);
    failed(&output, 7, "was cancelled");
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn a_manager_that_is_not_there_or_not_ours_ends_with_4_and_one_lost_in_a_call_with_8() {
    let mut world = World::start(&[]).await;
    let elsewhere = TestAuthority::new("home");
    elsewhere.operator("eve").write(world.directory(), "eve");
    let config = world.directory().join("eve.toml");
    std::fs::write(
        &config,
        format!("manager = \"{}\"\n{}", world.address, tls_section(world.directory(), "eve")),
    )
    .unwrap();
    // her certificate is not of the authority that she herself trusts, which is told before anybody is dialled
    let mut eve = redpoll_tests::process::command("rpctl");
    let output = eve.arg("--config").arg(&config).arg("status").env("HOME", world.directory()).output();
    failed(&in_time("rpctl", output).await.unwrap(), 2, "certificate");
    // she trusts her own authority alone: the manager's certificate is not of it
    std::fs::write(world.directory().join("other-ca.crt"), elsewhere.authority().certificate_pem()).unwrap();
    let text = std::fs::read_to_string(&config).unwrap().replace("/ca.crt", "/other-ca.crt");
    std::fs::write(&config, text).unwrap();
    let mut eve = redpoll_tests::process::command("rpctl");
    let output = eve.arg("--config").arg(&config).arg("status").env("HOME", world.directory()).output();
    failed(&in_time("rpctl", output).await.unwrap(), 4, "cannot reach the manager");
    // and the manager does not take her
    world.nobody_else_noticed().await;

    let (sleeper, argv) = Sleeper::new(world.directory(), "lost");
    let mut rpctl = world.rpctl();
    rpctl.args(["call", HONEST, "exec.run", "--"]).args(&argv).stdout(Stdio::piped()).stderr(Stdio::piped());
    let rpctl = rpctl.spawn().unwrap();
    sleeper.running().await;
    world.manager.kill().await;
    let output = in_time("rpctl", rpctl.wait_with_output()).await.unwrap();
    failed(&output, 8, "the manager was lost during");
    // the agent has lost its caller, and ends what it ran for it
    sleeper.ended().await;
    failed(&world.run_rpctl(&["status"]).await, 4, "cannot reach the manager");
}

#[tokio::test]
async fn an_interrupt_cancels_the_call_and_ends_with_130() {
    let mut world = World::start(&[]).await;
    let (sleeper, argv) = Sleeper::new(world.directory(), "interrupted");
    let mut rpctl = world.rpctl();
    rpctl.args(["call", HONEST, "exec.run", "--"]).args(&argv).stdout(Stdio::piped()).stderr(Stdio::piped());
    let rpctl = rpctl.spawn().unwrap();
    sleeper.running().await;
    let pid = Pid::from_raw(i32::try_from(rpctl.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let output = in_time("rpctl", rpctl.wait_with_output()).await.unwrap();
    assert_eq!(output.status.code(), Some(130), "{:?}", texts(&output));
    sleeper.ended().await;
    world.nobody_else_noticed().await;
}

/// Standard output on a disk that is full: what was not printed is not passed over, and what was stopped is said to be.
#[tokio::test]
async fn output_that_cannot_be_written_is_told_with_what_became_of_the_work() {
    let mut world = World::start(&[]).await;
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let printing = |words: &[&str], script: &str| {
        let mut rpctl = world.rpctl();
        rpctl.args(words).args([HONEST, "exec.run", "--", "sh", "-c", script]).stdin(Stdio::null());
        rpctl.stdout(full()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let ended = async |rpctl: tokio::process::Child| {
        let output = in_time("rpctl", rpctl.wait_with_output()).await.unwrap();
        (output.status.code(), texts(&output).1)
    };
    // the job goes on, and whoever follows it again misses nothing
    let (code, err) = ended(printing(&["run"], "echo first; sleep 60")).await;
    assert!(code == Some(8) && err.contains("goes on without rpctl"), "{err}");
    assert!(err.contains("rpctl jobs follow") && !err.contains("--since"), "{err}");
    let job = err.split("rpctl jobs cancel ").nth(1).unwrap().trim().to_owned();
    assert_eq!(world.run_rpctl(&["jobs", "cancel", &job, "--yes"]).await.status.code(), Some(0));
    // a call has nobody else who reads it
    let (code, err) = ended(printing(&["call"], "echo first; sleep 60")).await;
    assert!(code == Some(8) && err.contains("was told to stop"), "{err}");
    world.nobody_else_noticed().await;
}
