//! Messages where they have no place: before the hello, instead of its answer, and after it. On both sides.
#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "test code")]

use redpoll_common::ids::RequestId;
use redpoll_common::wire::{
    AgentHello, Bye, ByeCode, Fault, FaultCode, Message, Notification, Raw, Request, Response,
};
use redpoll_tests::line::{FakeManager, Heard, Line, acceptance, frame, payload};
use redpoll_tests::operator::hello;
use redpoll_tests::process::Daemon;
use redpoll_tests::world::{World, start_agent};
use redpoll_tests::{SOON, eventually, within};
use serde_json::{Value, json};
use tempfile::TempDir;

fn request(id: &str, method: &str) -> Message {
    Message::Request(Request {
        id: RequestId::parse(id).unwrap(),
        method: method.to_owned(),
        args: Raw::empty_array(),
        kwargs: Raw::empty_map(),
        timeout_ms: None,
        trace: None,
        operator: None,
        roles: None,
    })
}

fn response(id: &str) -> Message {
    Message::Response(Response { id: RequestId::parse(id).unwrap(), result: Ok(Raw::nil()) })
}

fn notification(kind: &str, data: &Value) -> Message {
    Message::Notification(Notification { kind: kind.to_owned(), data: Raw::encode(data).unwrap() })
}

/// Everything that is no hello, and no goodbye.
fn others() -> [Message; 6] {
    [
        Message::Ping(1_u64.into()),
        Message::Pong(1_u64.into()),
        request("r-1", "rp.manager.time"),
        response("r-1"),
        notification("rp.agent.draining", &json!(null)),
        Message::Unknown(99),
    ]
}

#[tokio::test]
async fn the_manager_takes_nothing_but_a_hello_first_and_serves_nothing_before_it() {
    let mut world = World::start(&["admission.hello_timeout=1m"]).await;
    let own = world.certificate("early-1");
    let first = others().into_iter().chain([acceptance()]);
    for message in first {
        let mut line = Line::stranger(world.address, &own).await;
        // what follows is not served either
        line.send(&[frame(&payload(&message)), frame(&payload(&request("r-2", "rp.manager.time")))].concat())
            .await
            .unwrap();
        match line.hear_within(SOON).await {
            Heard::Message(Message::Bye(bye)) => {
                assert_eq!(bye.code, Some(ByeCode::Protocol), "{message:?}");
                assert!(bye.reason.contains("expected AgentHello"), "{bye}");
            }
            other => panic!("{message:?} was answered by {other:?}"),
        }
        line.end(SOON).await;
    }
    let mut line = Line::stranger(world.address, &own).await;
    line.say(&Message::Bye(Bye::new(ByeCode::Idle, "wrong door"))).await;
    assert_eq!(line.end(SOON).await, Heard::End);
    world.operator.counted("hellos_malformed", 8).await;
    assert_eq!(world.operator.counter("sessions_opened").await, 2, "the honest ones' sessions alone");
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn a_hello_that_is_none_of_ours_is_refused_with_the_reason() {
    let mut world = World::start(&["admission.hello_timeout=1m"]).await;
    let own = world.certificate("early-1");
    let future = redpoll_common::wire::ProtocolRange { min: 7, max: 9 };
    let cases = [
        (
            AgentHello { id: "somebody-else".into(), ..hello("early-1") },
            ByeCode::Unauthorized,
            "somebody-else",
        ),
        (
            AgentHello { id: "early-1\n".into(), ..hello("early-1") },
            ByeCode::Unauthorized,
            "the certificate says",
        ),
        (
            AgentHello { id: "Early-1".into(), ..hello("early-1") },
            ByeCode::Unauthorized,
            "the certificate says",
        ),
        (AgentHello { protocol: Some(future), ..hello("early-1") }, ByeCode::Version, "no common protocol"),
        (AgentHello { version: "v".repeat(2000), ..hello("early-1") }, ByeCode::Malformed, "version"),
    ];
    for (hello, code, says) in cases {
        let mut line = Line::stranger(world.address, &own).await;
        line.say(&Message::AgentHello(Box::new(hello))).await;
        let bye = line.farewell(SOON).await;
        assert_eq!(bye.code, Some(code), "{bye}");
        assert!(bye.reason.contains(says), "{bye}");
    }
    assert!(!world.manager.log().contains("early-1\n\""), "what a peer says breaks no line of the log");
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn after_the_hello_what_breaks_the_rules_ends_the_session_and_what_is_unknown_does_not() {
    let mut world = World::start(&[]).await;
    let own = world.certificate("odd-1");
    let twice = [request("same", "rp.manager.time"), request("same", "rp.manager.time")];
    let broken: Vec<(Vec<Message>, &str)> = vec![
        (vec![Message::AgentHello(Box::new(hello("odd-1")))], "a second hello"),
        (vec![acceptance()], "a second hello"),
        (vec![Message::Pong(5_u64.into())], "pong"),
        (vec![response("r-1")], "never sent"),
        (vec![notification("rp.value", &json!({"id": "r-1", "n": 0, "data": 1}))], "no request"),
        (vec![notification("rp.progress", &json!({"id": "r-1", "completed": 1}))], "no request"),
    ];
    for (messages, says) in broken {
        let mut line = Line::agent(world.address, &own, "odd-1").await;
        for message in &messages {
            line.say(message).await;
        }
        let bye = line.farewell(SOON).await;
        assert_eq!(bye.code, Some(ByeCode::Protocol), "{messages:?}: {bye}");
        assert!(bye.reason.contains(says), "{messages:?}: {bye}");
    }
    // the answer to the first may already be on its way when the second comes, or not: both are in order
    let mut line = Line::agent(world.address, &own, "odd-1").await;
    let both = twice.iter().map(|message| frame(&payload(message))).collect::<Vec<_>>().concat();
    line.send(&both).await.unwrap();
    let heard = line.hear().await;
    assert!(matches!(heard, Heard::Message(Message::Bye(_) | Message::Response(_))), "{heard:?}");
    drop(line);

    let mut line = Line::agent(world.address, &own, "odd-1").await;
    for number in 100..110 {
        line.say(&Message::Unknown(number)).await;
    }
    line.say(&notification("no.such.type", &json!({"x": 1}))).await;
    line.say(&notification("rp.cancel", &json!({"id": "long-gone"}))).await;
    line.say(&Message::Ping(7_u64.into())).await;
    assert_eq!(line.hear().await, Heard::Message(Message::Pong(7_u64.into())));
    world.operator.counted("messages_unknown", 10).await;
    world.operator.counted("notifications_unknown", 1).await;
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn an_agents_certificate_does_not_make_an_operator() {
    let mut world = World::start(&[]).await;
    let mut line = world.line("sly-1").await;
    for method in ["rp.call", "rp.notify", "rp.agents.list", "rp.agents.show", "rp.agents.ping", "rp.status"]
    {
        line.request("r-1", method, &json!({"agent": "honest-1", "procedure": "sys.echo"})).await;
        match line.hear().await {
            Heard::Message(Message::Response(Response { result: Err(fault), .. })) => {
                assert_eq!(fault.code, FaultCode::Forbidden, "{method}: {fault}");
            }
            other => panic!("{method}: {other:?}"),
        }
    }
    let named = ["request=\"r-1\"", "method=\"rp.call\""];
    world.manager.logged(&["WARN", "request denied", "sly-1", "may not use", named[0], named[1]]).await;
    line.request("r-2", "rp.manager.echo", &json!({"x": 1})).await;
    let heard = line.hear().await;
    assert!(matches!(&heard, Heard::Message(Message::Response(Response { result: Ok(_), .. }))), "{heard:?}");
    line.request("r-3", "rp.no.such.method", &json!({})).await;
    let heard = line.hear().await;
    let Heard::Message(Message::Response(Response { result: Err(Fault { code, .. }), .. })) = heard else {
        panic!("{heard:?}")
    };
    assert_eq!(code, FaultCode::UnknownMethod);
    world.nobody_else_noticed().await;
}

/// A real agent that dials a manager in the hands of the test.
async fn agent_of(settings: &[&str]) -> (FakeManager, Daemon, TempDir) {
    let directory = TempDir::new().unwrap();
    let authority = redpoll_certs::testing::TestAuthority::new("home");
    let manager = FakeManager::listen(&authority.manager("m-1")).await;
    authority.agent("web-1").write(directory.path(), "agent-web-1");
    let settings: Vec<&str> = settings.iter().chain(&["log.level=debug"]).copied().collect();
    let agent = start_agent(directory.path(), "web-1", &manager.address().to_string(), &settings);
    (manager, agent, directory)
}

/// Lets the agent in and calls it, as a good manager does.
async fn serves(manager: &FakeManager) -> Line {
    let (mut line, hello) = manager.greeted().await;
    assert_eq!(hello.id, "web-1");
    line.say(&acceptance()).await;
    line.request("r-1", "sys.echo", &json!({"x": 1})).await;
    // the agent asks for its jobs meanwhile, and may wait for the answer
    let answer = within(SOON, "an answer", line.answered()).await;
    assert!(answer.result.is_ok(), "{answer:?}");
    line
}

#[tokio::test]
async fn an_agent_takes_nothing_but_a_managers_hello_and_tries_again() {
    let (manager, agent, _directory) = agent_of(&["manager.hello_timeout=1m"]).await;
    let answers = others().into_iter().chain([Message::AgentHello(Box::new(hello("web-1")))]);
    for answer in answers {
        let (mut line, _hello) = manager.greeted().await;
        line.send(&[frame(&payload(&answer)), frame(&payload(&request("r-2", "sys.echo")))].concat())
            .await
            .unwrap();
        match line.hear_within(SOON).await {
            Heard::Message(Message::Bye(bye)) => {
                assert_eq!(bye.code, Some(ByeCode::Protocol), "{answer:?}");
                assert!(bye.reason.contains("expected ManagerHello"), "{bye}");
            }
            other => panic!("{answer:?} was answered by {other:?}"),
        }
        line.end(SOON).await;
    }
    agent.logged(&["WARN", "cannot connect, will try again", "expected ManagerHello, got Ping"]).await;
    let (mut line, _hello) = manager.greeted().await;
    line.say(&Message::Bye(Bye::new(ByeCode::Unauthorized, "not today"))).await;
    line.end(SOON).await;
    agent.logged(&["refused: unauthorized: not today"]).await;

    let (mut line, _hello) = manager.greeted().await;
    line.send(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    assert_eq!(line.farewell(SOON).await.code, Some(ByeCode::Malformed));
    let (mut line, _hello) = manager.greeted().await;
    line.send(&(16_u32 * 1024 + 1).to_be_bytes()).await.unwrap();
    assert_eq!(line.farewell(SOON).await.code, Some(ByeCode::TooLarge));
    serves(&manager).await;
    assert!(!agent.log().contains("panicked"));
}

#[tokio::test]
async fn an_agent_does_not_wait_for_ever_for_a_managers_hello() {
    let (manager, agent, _directory) = agent_of(&["manager.hello_timeout=300ms"]).await;
    let (mut line, _hello) = manager.greeted().await;
    assert_eq!(line.farewell(SOON).await.code, Some(ByeCode::Protocol));
    agent.logged(&["WARN", "no hello within 300ms", "help="]).await;
    serves(&manager).await;
}

#[tokio::test]
async fn an_agent_ends_a_session_whose_manager_breaks_the_rules_and_comes_back() {
    let (manager, agent, _directory) = agent_of(&[]).await;
    let broken: [(Vec<u8>, ByeCode); 7] = [
        (frame(&payload(&acceptance())), ByeCode::Protocol),
        (frame(&payload(&Message::AgentHello(Box::new(hello("web-1"))))), ByeCode::Protocol),
        (frame(&payload(&Message::Pong(5_u64.into()))), ByeCode::Protocol),
        (frame(&payload(&response("r-9"))), ByeCode::Protocol),
        (frame(b"\x82\xa1t\x0c\xa4data"), ByeCode::Malformed),
        (vec![0; 4], ByeCode::Malformed),
        (vec![0xff; 4], ByeCode::TooLarge),
    ];
    for (bytes, code) in broken {
        let mut line = serves(&manager).await;
        line.send(&bytes).await.unwrap();
        assert_eq!(line.farewell(SOON).await.code, Some(code), "{bytes:?}");
        drop(line);
    }
    agent.logged(&["INFO", "disconnected", "the peer broke the protocol"]).await;
    // one answer alone for each request, also when it is asked for again and again
    let mut line = serves(&manager).await;
    for number in 0..50 {
        line.request(&format!("r-{number}"), "sys.ping", &json!({})).await;
    }
    let mut answered = std::collections::BTreeSet::new();
    let all = eventually("every request is answered once", async || {
        let answer = within(SOON, "an answer", line.answered()).await;
        assert!(answered.insert(answer.id.as_str().to_owned()), "{answer:?} came twice");
        (answered.len() == 50).then_some(answered.len())
    });
    assert_eq!(all.await, 50);
}
