//! Daemons that are told to stop: what runs is finished, what is new is refused, everybody is told, and a second signal
//! ends the patience.
#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "test code")]

use std::time::{Duration, Instant};

use redpoll_certs::testing::TestAuthority;
use redpoll_common::api::AgentState;
use redpoll_common::api::jobs::JobList;
use redpoll_common::api::method;
use redpoll_common::session::CloseReason;
use redpoll_common::wire::{ByeCode, FaultCode, Message};
use redpoll_net::CallStream;
use redpoll_tests::line::{FakeManager, Heard, acceptance};
use redpoll_tests::manifests::Manifests;
use redpoll_tests::operator::Operator;
use redpoll_tests::process::Sleeper;
use redpoll_tests::work::Oracle;
use redpoll_tests::world::{World, start_agent};
use redpoll_tests::{SOON, eventually, in_time, within};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;

/// A program on `web-1` that runs until [`let_go`]; it has begun when this returns.
async fn waiting_program(world: &World) -> CallStream {
    let (begun, go) = (world.directory().join("begun"), world.directory().join("go"));
    let script = format!(
        "touch {}; until [ -e {} ]; do sleep 0.02; done; echo finished",
        begun.display(),
        go.display()
    );
    let call = world.operator.exec("web-1", &["sh", "-c", &script]).await;
    eventually("the program has begun", async || begun.exists().then_some(())).await;
    call
}

fn let_go(world: &World) {
    std::fs::write(world.directory().join("go"), "").unwrap();
}

async fn world() -> World {
    let mut world = World::quiet(&["manager.reconnect_spread=2s"]).await;
    world.agent("web-1", &[]).await;
    world
}

#[tokio::test]
async fn a_manager_told_to_stop_lets_calls_finish_refuses_new_ones_and_says_goodbye() {
    let mut world = world().await;
    let mut call = waiting_program(&world).await;
    let mut other = world.line("other-1").await;
    world.manager.signal(Signal::TERM);
    world.manager.logged(&["INFO", "stopping", "requests=1"]).await;
    eventually("nobody is let in any more", async || TcpStream::connect(world.address).await.err()).await;
    let fault = world.operator.echo("web-1", "new").await.unwrap_err();
    assert_eq!(fault.code, FaultCode::ShuttingDown, "{fault}");
    assert!(fault.message.contains("nothing ran"), "{fault}");
    let_go(&world);
    let answer = Operator::end_of(&mut call).await.unwrap();
    let answer: serde_json::Value = answer.decode().unwrap();
    assert_eq!((&answer["exit"], &answer["stdout_bytes"]), (&json!(0), &json!(9)));

    let CloseReason::Theirs(bye) = within(SOON, "goodbye", world.operator.peer().closed()).await else {
        panic!("no goodbye");
    };
    assert_eq!(bye.code, Some(ByeCode::ShuttingDown));
    assert!(bye.retry_after_ms.is_some_and(|hint| hint <= 2000), "{bye:?}");
    let bye = other.farewell(SOON).await;
    assert_eq!(bye.code, Some(ByeCode::ShuttingDown));
    assert!(bye.retry_after_ms.is_some());
    drop(other);
    assert_eq!(world.manager.ended().await.code(), Some(0));
    assert!(!world.directory().join("manager-state/listen.json").exists());
    assert_eq!(world.manager.troubles(), Vec::<String>::new());
    world.agent_process("web-1").logged(&["disconnected", "shutting_down"]).await;
    world.restart_manager().await;
    world.operator.until("web-1", AgentState::Connected).await;
}

#[tokio::test]
async fn a_second_signal_ends_a_manager_at_once() {
    let mut world = world().await;
    let mut call = waiting_program(&world).await;
    world.manager.signal(Signal::TERM);
    world.manager.logged(&["INFO", "stopping", "requests=1"]).await;
    let second = Instant::now();
    world.manager.signal(Signal::TERM);
    let fault = Operator::end_of(&mut call).await.unwrap_err();
    assert!(
        matches!(fault.code, FaultCode::AgentGone | FaultCode::ShuttingDown | FaultCode::Cancelled),
        "{fault}"
    );
    assert_eq!(world.manager.ended().await.code(), Some(0));
    assert!(second.elapsed() < SOON * 2, "{:?}", second.elapsed());
    world.manager.logged(&["WARN", "stopping although requests are running"]).await;
}

#[tokio::test]
async fn a_manager_does_not_wait_longer_for_calls_than_it_is_configured_to() {
    let mut world = World::quiet(&["manager.drain_timeout=500ms"]).await;
    world.agent("web-1", &[]).await;
    let (sleeper, argv) = Sleeper::new(world.directory(), "long");
    let call = world.operator.exec("web-1", &argv).await;
    sleeper.running().await;
    world.manager.signal(Signal::TERM);
    assert_eq!(world.manager.ended().await.code(), Some(0));
    world.manager.logged(&["WARN", "stopping although requests are running", "requests=1"]).await;
    // the agent is told that nobody waits any more
    sleeper.ended().await;
    drop(call);
}

#[tokio::test]
async fn an_agent_told_to_stop_lets_calls_finish_and_takes_no_new_ones() {
    let mut world = World::start(&[]).await;
    world.agent("web-1", &[]).await;
    let mut call = waiting_program(&world).await;
    world.agent_process("web-1").signal(Signal::TERM);
    world.operator.until("web-1", AgentState::Draining).await;
    let fault = world.operator.echo("web-1", "new").await.unwrap_err();
    assert_eq!(fault.code, FaultCode::AgentAway, "{fault}");
    assert!(fault.message.contains("nothing was sent"), "{fault}");
    let_go(&world);
    Operator::end_of(&mut call).await.unwrap();
    assert_eq!(world.agent_process("web-1").ended().await.code(), Some(0));
    let away = world.operator.until("web-1", AgentState::Away).await;
    assert!(away.reason.unwrap().contains("the agent is stopping"));
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn an_agent_told_to_stop_refuses_what_a_manager_sends_it_nevertheless() {
    let directory = TempDir::new().unwrap();
    let authority = TestAuthority::new("home");
    let manager = FakeManager::listen(&authority.manager("m-1")).await;
    authority.agent("web-1").write(directory.path(), "agent-web-1");
    let mut agent = start_agent(directory.path(), "web-1", &manager.address().to_string(), &[]);
    let (mut line, _hello) = manager.greeted().await;
    line.say(&acceptance()).await;
    let go = directory.path().join("go");
    let script = format!("until [ -e {} ]; do sleep 0.02; done", go.display());
    line.request("r-1", "exec.run", &json!({"argv": ["sh", "-c", script]})).await;
    // the answer to the second shows that the first was taken
    line.request("r-2", "sys.ping", &json!({})).await;
    assert_eq!(line.answered().await.id.as_str(), "r-2");
    agent.signal(Signal::TERM);
    let notice = loop {
        match line.hear_within(SOON).await {
            Heard::Message(Message::Notification(notice)) => break notice,
            // it asks for its jobs, and does not wait for the answer when it stops
            Heard::Message(Message::Request(asked)) => assert_eq!(asked.method, "rp.job.resume"),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(notice.kind, "rp.agent.draining");
    line.request("r-3", "sys.ping", &json!({})).await;
    let refused = line.answered().await;
    assert_eq!(refused.id.as_str(), "r-3");
    assert_eq!(refused.result.unwrap_err().code, FaultCode::ShuttingDown);
    std::fs::write(go, "").unwrap();
    let finished = line.answered().await;
    assert_eq!(finished.id.as_str(), "r-1");
    finished.result.unwrap();
    assert_eq!(line.farewell(SOON).await.code, Some(ByeCode::ShuttingDown));
    drop(line);
    assert_eq!(agent.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_an_agent_at_once_and_what_it_ran_with_it() {
    let mut world = World::start(&[]).await;
    world.agent("web-1", &[]).await;
    let (sleeper, argv) = Sleeper::new(world.directory(), "long");
    let mut call = world.operator.exec("web-1", &argv).await;
    sleeper.running().await;
    world.agent_process("web-1").signal(Signal::TERM);
    world.operator.until("web-1", AgentState::Draining).await;
    world.agent_process("web-1").signal(Signal::TERM);
    assert_eq!(world.agent_process("web-1").ended().await.code(), Some(0));
    sleeper.ended().await;
    let fault = Operator::end_of(&mut call).await.unwrap_err();
    assert!(matches!(fault.code, FaultCode::AgentGone | FaultCode::Cancelled), "{fault}");
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn an_agent_that_finds_no_manager_stops_at_once_and_a_manager_without_sessions_too() {
    let mut world = World::quiet(&[]).await;
    world.agent("web-1", &[]).await;
    world.manager.kill().await;
    world.agent_process("web-1").logged(&["WARN", "cannot connect, will try again", "help="]).await;
    world.agent_process("web-1").signal(Signal::TERM);
    let ended = in_time("the end of the agent", world.agent_process("web-1").ended()).await;
    assert_eq!(ended.code(), Some(0));
    world.restart_manager().await;
    let line = world.line("web-2").await;
    world.manager.signal(Signal::INT);
    let mut line = line;
    assert!(matches!(line.hear().await, Heard::Message(_)));
    drop(line);
    assert_eq!(within(Duration::from_secs(8), "the end", world.manager.ended()).await.code(), Some(0));
}

/// A shell script that says that it began and does not end for being asked.
fn stubborn(mark: &std::path::Path) -> String {
    format!("trap '' TERM; echo > {}; while :; do sleep 0.05; done", mark.display())
}

#[tokio::test]
async fn a_second_signal_ends_what_an_agent_runs_by_itself_and_for_jobs_whatever_grace_it_has() {
    // the second signal comes while what runs may finish, and while it is given time to end
    for drain_timeout in ["60s", "0s"] {
        let mut world = World::quiet(&[]).await;
        let manifests = Manifests::new(world.directory());
        let [scheduled, of_job] = &["schedule", "job"].map(|name| world.directory().join(name));
        let fields = "[schedule]\nevery = \"1h\"\nat_start = true\n";
        manifests.shell("by.itself", fields, &stubborn(scheduled));
        let timeout = format!("agent.drain_timeout={drain_timeout}");
        let settings = ["limits.grace=120s", &timeout, &manifests.setting()];
        world.agent("web-1", &settings).await;
        let oracle = Oracle::new(world.directory(), "stubborn");
        let job = world.operator.submit(&oracle.job("web-1", &stubborn(of_job))).await.unwrap();
        for mark in [scheduled, of_job] {
            eventually("it has begun", async || mark.exists().then_some(())).await;
        }
        let agent = world.agent_process("web-1");
        agent.signal(Signal::TERM);
        agent.logged(&["stopping", "runs=1"]).await;
        if drain_timeout == "0s" {
            agent.logged(&["ending what runs for jobs"]).await;
        }
        agent.signal(Signal::TERM);
        assert_eq!(agent.ended().await.code(), Some(0), "{drain_timeout}");
        assert!(!agent.log().contains("they will be unknown"), "{}", agent.log());
        std::fs::remove_file(scheduled).unwrap();

        world.restart_agent("web-1", &settings).await;
        let end = world.operator.job_ended(&job).await.end.unwrap();
        assert_eq!(end.outcome, "failed", "{end:?}");
        assert_eq!(end.fault.map(|fault| fault.code), Some(FaultCode::ShuttingDown));
        let told = json!({"submitter": "agent:web-1"});
        eventually("the other is told as cancelled", async || {
            let list = world.operator.ask(method::JOBS_LIST, &told).await.ok()?;
            let list: JobList = list.decode().ok()?;
            list.jobs.iter().find(|job| job.outcome.as_deref() == Some("cancelled")).map(drop)
        })
        .await;
        world.agent_process("web-1").kill().await;
    }
}
