//! A peer of protocol 0, written in another language, strict about everything that it gets: it completes the handshake, is
//! pinged and pings, is called and calls.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "test code")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use redpoll_common::api::AgentState;
use redpoll_common::wire::FaultCode;
use redpoll_net::CallError;
use redpoll_tests::in_time;
use redpoll_tests::operator::Operator;
use redpoll_tests::world::World;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// The peer as a process.
struct Old {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Old {
    fn start(world: &World, name: &str, id: &str) -> Self {
        let files = world.certificate("old-1").write(world.directory(), name);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/protocol0.py");
        let mut child = Command::new("python3")
            .arg(script)
            .args([world.address.ip().to_string(), world.address.port().to_string(), "old-1".to_owned()])
            .args([&files.cert, &files.key, &files.ca])
            .arg(id)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("these tests need python3 in PATH");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next thing that it tells.
    async fn tells(&mut self) -> String {
        let line = in_time("the next line of the old peer", self.lines.next_line()).await.unwrap();
        line.unwrap_or_else(|| "(nothing more)".to_owned())
    }

    async fn ended_well(mut self) {
        assert_eq!(self.tells().await, "(nothing more)");
        let status = in_time("the end of the old peer", self.child.wait()).await.unwrap();
        assert!(status.success(), "{status}");
    }
}

async fn ready(world: &World, name: &str) -> Old {
    let mut old = Old::start(world, name, "old-1");
    let hello = old.tells().await;
    assert!(hello.starts_with("hello "), "{hello}");
    assert_eq!(old.tells().await, "ready");
    old
}

#[tokio::test]
async fn a_peer_of_protocol_0_is_let_in_pinged_called_and_heard() {
    let mut world = World::start(&["session.ping_interval=100ms", "session.dead_after=10s"]).await;
    let mut old = ready(&world, "old").await;
    let agent = world.operator.until("old-1", AgentState::Connected).await;
    assert_eq!((agent.protocol, agent.version.as_str()), (0, "0.0.1"));
    assert_eq!(old.tells().await, "pinged three times");

    let output = world.run_rpctl(&["-o", "json", "call", "old-1", "upper", "a", "bc"]).await;
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{err}");
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["result"], json!(["A", "BC"]));
    let answer =
        world.operator.call("old-1", "named", &json!({"k": "v", "n": {"x": [1, 2.5, null]}})).await.unwrap();
    assert_eq!(answer.decode::<Value>().unwrap(), json!({"k": "v", "n": {"x": [1, 2.5, null]}}));

    // its failures are texts, and it is never given what it cannot read
    let fault = world.operator.call("old-1", "no.such", &json!({})).await.unwrap_err();
    assert_eq!((fault.code, fault.message.as_str()), (FaultCode::Failed, "no method no.such"));
    let limit = Duration::from_secs(10);
    for args in [json!([1]), json!(["a", null]), json!([["a"]])] {
        let call = Operator::call_of("old-1", "upper", &args, &json!({}), limit);
        let fault = world.operator.peer().call(call).await.map_err(CallError::into_fault).unwrap_err();
        assert_eq!(fault.code, FaultCode::BadArguments, "{args}: {fault}");
    }
    let note = json!({"agent": "old-1", "type": "x.y", "data": "hi"});
    world.operator.ask("rp.notify", &note).await.unwrap();
    assert_eq!(old.tells().await, "notified x.y hi");

    // a call that it does not answer times out, and it is not told of a cancel that it does not know
    let call = Operator::call_of("old-1", "hang", &json!([]), &json!({}), Duration::from_millis(300));
    let fault = world.operator.peer().call(call).await.map_err(CallError::into_fault).unwrap_err();
    assert_eq!(fault.code, FaultCode::TimedOut, "{fault}");
    assert_eq!(old.tells().await, "hanging");
    let pings = world.operator.ask("rp.agents.ping", &json!({"agent": "old-1", "count": 3})).await.unwrap();
    assert_eq!(pings.decode::<Value>().unwrap()["round_trips_us"].as_array().unwrap().len(), 3);

    let leave = json!({"agent": "old-1", "type": "leave"});
    world.operator.ask("rp.notify", &leave).await.unwrap();
    assert_eq!(old.tells().await, "notified leave None");
    assert_eq!(old.tells().await, "left None");
    old.ended_well().await;
    world.manager.logged(&["INFO", "old-1", "the old one leaves"]).await;
    let away = world.operator.until("old-1", AgentState::Away).await;
    assert!(away.reason.unwrap().contains("had enough"));
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn a_peer_of_protocol_0_is_told_goodbye_in_words_that_it_knows() {
    let mut world = World::quiet(&[]).await;
    let mut refused = Old::start(&world, "refused", "somebody-else");
    let told = refused.tells().await;
    assert!(told.starts_with("refused the hello says \"somebody-else\""), "{told}");
    refused.ended_well().await;

    let mut first = ready(&world, "first").await;
    let mut second = ready(&world, "second").await;
    assert_eq!(first.tells().await, "bye a newer connection took over");
    first.ended_well().await;
    world.manager.signal(Signal::TERM);
    assert_eq!(second.tells().await, "bye the manager is stopping");
    second.ended_well().await;
    assert_eq!(world.manager.ended().await.code(), Some(0));
}
