//! Peers that say nothing or read nothing any more: noticed in time, and nobody else waits for them.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::time::{Duration, Instant};

use redpoll_common::api::AgentState;
use redpoll_common::session::CloseReason;
use redpoll_common::wire::{FaultCode, Message};
use redpoll_net::peer::CallError;
use redpoll_tests::line::{Heard, Line, RP1};
use redpoll_tests::operator::{Operator, hello};
use redpoll_tests::process::Sleeper;
use redpoll_tests::world::{HONEST, World};
use redpoll_tests::{SOON, in_time, within};
use rustix::process::Signal;
use serde_json::json;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

const DEAD: Duration = Duration::from_secs(1);
const LIVELY: &[&str] = &["session.ping_interval=200ms", "session.dead_after=1s"];

/// A line with little room for what it does not read.
async fn narrow(world: &World, id: &str, operator: bool) -> Line {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    let tcp = socket.connect(world.address).await.unwrap();
    let own = match operator {
        true => world.authority.operator(id),
        false => world.authority.agent(id),
    };
    let mut line = Line::begin(tcp, Some(&own), RP1).await.unwrap();
    line.say(&Message::AgentHello(Box::new(hello(id)))).await;
    assert!(matches!(line.hear().await, Heard::Message(Message::ManagerHello(_))));
    line
}

#[tokio::test]
async fn an_agent_that_never_reads_is_cut_and_its_callers_are_told() {
    let mut world = World::start(&["session.write_timeout=1s"]).await;
    let mut deaf = narrow(&world, "deaf-1", false).await;
    let operator = std::sync::Arc::new(world.operator("bob").await);
    let text = "x".repeat(400 * 1024);
    let began = Instant::now();
    let mut calls = JoinSet::new();
    for _ in 0..32 {
        let (operator, text) = (operator.clone(), text.clone());
        calls.spawn(async move { operator.call("deaf-1", "sys.echo", &json!({ "text": text })).await });
    }
    while let Some(answer) = in_time("the end of the calls", calls.join_next()).await {
        let fault = answer.unwrap().unwrap_err();
        assert!(matches!(fault.code, FaultCode::AgentGone | FaultCode::AgentAway), "{fault}");
    }
    assert!(began.elapsed() >= DEAD, "not before its time");
    world.manager.logged(&["session ends", "deaf-1", "read nothing for 1 s"]).await;
    let away = world.operator.until("deaf-1", AgentState::Away).await;
    assert!(away.reason.unwrap().contains("read nothing"));
    deaf.end(SOON).await;
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn an_operator_that_never_reads_its_answers_is_cut() {
    let mut world = World::start(&["session.write_timeout=1s"]).await;
    let mut deaf = narrow(&world, "deaf", true).await;
    let text = "x".repeat(400 * 1024);
    // more than the buffers on the way take; the manager goes on reading, so that all are sent
    for number in 0..32 {
        deaf.request(&format!("{number:032x}"), "rp.manager.echo", &json!({ "text": text })).await;
    }
    world.manager.logged(&["session ends", "operator=deaf", "read nothing for 1 s"]).await;
    deaf.end(SOON).await;
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn what_a_caller_started_that_fell_silent_is_ended_with_its_session() {
    let mut world = World::start(LIVELY).await;
    let mut mute = narrow(&world, "mute", true).await;
    let (sleeper, argv) = Sleeper::new(world.directory(), "unheard");
    let call = json!({"agent": HONEST, "procedure": "exec.run", "args": argv});
    mute.request("r-1", "rp.call", &call).await;
    sleeper.running().await;
    // it neither reads nor answers pings from here on
    world.manager.logged(&["session ends", "operator=mute", "no byte for 1"]).await;
    sleeper.ended().await;
    mute.end(SOON).await;
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn a_stopped_agent_is_away_in_time_and_comes_back_when_it_goes_on() {
    let mut world = World::start(LIVELY).await;
    world.agent("frozen-1", &[]).await;
    let mut running = world.operator.exec("frozen-1", &["sleep", "100"]).await;
    let began = Instant::now();
    world.agent_process("frozen-1").signal(Signal::STOP);
    let end = within(DEAD + SOON, "the end of the call", running.next()).await.unwrap();
    let took = began.elapsed();
    let redpoll_net::CallEvent::End(Err(CallError::Fault(fault))) = end else { panic!("{end:?}") };
    assert_eq!(fault.code, FaultCode::AgentGone, "{fault}");
    assert!(took + Duration::from_millis(250) >= DEAD, "{took:?}: noticed before its time");
    world.manager.logged(&["session ends", "frozen-1", "no byte for 1"]).await;
    let away = world.operator.until("frozen-1", AgentState::Away).await;
    assert!(away.reason.unwrap().contains("no byte"));
    let fault = world.operator.echo("frozen-1", "x").await.unwrap_err();
    assert_eq!(fault.code, FaultCode::AgentAway, "{fault}");
    assert_eq!(world.operator.counter("sessions_silent").await, 1);

    world.agent_process("frozen-1").signal(Signal::CONT);
    world.operator.until("frozen-1", AgentState::Connected).await;
    world.operator.echo("frozen-1", "back").await.unwrap();
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn a_stopped_manager_is_noticed_in_time_and_everybody_comes_back_when_it_goes_on() {
    let mut world = World::quiet(LIVELY).await;
    world.agent("web-1", &[]).await;
    let running = world.operator.exec("web-1", &["sleep", "100"]).await;
    world.manager.signal(Signal::STOP);
    let reason = within(DEAD + SOON, "the operator notices", world.operator.peer().closed()).await;
    assert!(matches!(reason, CloseReason::Silent(_)), "{reason:?}");
    drop(running);
    let line = world.agent_process("web-1").logged(&["disconnected", "no byte for 1"]).await;
    assert!(line.contains("INFO"), "{line}");
    world.manager.signal(Signal::CONT);
    let operator: Operator = world.operator("bob").await;
    operator.until("web-1", AgentState::Connected).await;
    operator.echo("web-1", "back").await.unwrap();
    assert_eq!(world.manager.troubles(), Vec::<String>::new());
}
