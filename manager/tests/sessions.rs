//! A manager's sessions over connections within the process: what its peers see of it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: whatever cannot be done is a failure of the test"
)]

mod sessions_common;

use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use redpoll_common::identity::Role;
use redpoll_common::ids::RequestId;
use redpoll_common::wire::flight::Flight;
use redpoll_common::wire::{Bye, ByeCode, FaultCode, Message, Raw};
use redpoll_config::ManagerConfig;
use redpoll_manager::gate::accept_loop;
use redpoll_net::transport::{
    AcceptError, Accepted, Incoming, Listener, PeerCertificate, PeerInfo, Transport,
};
use redpoll_net::{ProcedureInfo, Registry, memory};
use sessions_common::{PATIENCE, World, call, hear, hello, identity, say};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Offers a procedure whose values never end.
fn endless() -> Registry {
    let info = ProcedureInfo::new("endless", "Sends values until nobody takes them.", serde_json::json!({}));
    let run = |call: redpoll_net::CallContext| async move {
        while call.output.value(Raw::text(&"x".repeat(32 * 1024))).await.is_ok() {}
        Ok(Raw::nil())
    };
    Registry::new().with(info, run).unwrap()
}

#[tokio::test]
async fn a_call_whose_values_nobody_takes_ends_as_timed_out_and_not_as_too_large() {
    let world = World::new().await;
    let _agent = world.agent("web-1", endless()).await;
    let mut operator = world.operator("ada").await;
    say(&mut operator, &Message::Request(call(&RequestId::numbered(1, 1), "endless", Some(300)))).await;
    // values come until the credit is spent; the test grants none
    let answer = loop {
        if let Message::Response(answer) = hear(&mut operator).await {
            break answer;
        }
    };
    assert_eq!(answer.result.unwrap_err().code, FaultCode::TimedOut);
    assert_eq!(world.sessions.manager.counters.calls_timed_out.read(), 1);
}

#[tokio::test]
async fn a_cancelled_call_that_is_not_answered_ends_with_the_connection_of_its_caller() {
    let world = World::new().await;
    let (told, mut heard) = watch::channel("nothing");
    let info = ProcedureInfo::new("deaf", "Hears of a cancel and goes on.", serde_json::json!({}));
    let run = move |call: redpoll_net::CallContext| {
        let told = told.clone();
        async move {
            told.send_replace("the call");
            call.stop.stopped().await;
            told.send_replace("the cancel");
            std::future::pending().await
        }
    };
    let _agent = world.agent("web-1", Registry::new().with_graceful(info, run).unwrap()).await;
    let mut operator = world.operator("ada").await;
    let id = RequestId::numbered(1, 1);
    say(&mut operator, &Message::Request(call(&id, "deaf", None))).await;
    heard.wait_for(|what| *what == "the call").await.unwrap();
    say(&mut operator, &Message::Notification(Flight::Cancel { request: id }.encode())).await;
    heard.wait_for(|what| *what == "the cancel").await.unwrap();
    assert_eq!(world.sessions.manager.door.sessions(Role::Operator).len(), 1);
    drop(operator);
    let left = async {
        while !world.sessions.manager.door.sessions(Role::Operator).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    // the agent would be waited for three times as long
    tokio::time::timeout(PATIENCE, left).await.unwrap();
}

#[tokio::test]
async fn whoever_comes_while_the_manager_stops_is_told_when_to_come_back() {
    let world = World::new().await;
    world.sessions.manager.start_draining();
    let transport = world.network.transport(identity("spiffe://home/agent/web-1"));
    let mut connection = transport.connect().await.unwrap();
    say(&mut connection, &Message::AgentHello(Box::new(hello("web-1")))).await;
    let Message::Bye(bye) = hear(&mut connection).await else { panic!("no goodbye") };
    assert_eq!(bye.code, Some(ByeCode::ShuttingDown));
    assert!(bye.retry_after_ms.is_some());
}

#[tokio::test]
async fn an_operator_who_fills_the_manager_leaves_room_for_those_who_revoke_him() {
    let mut config = ManagerConfig::default();
    config.admission.connections = 12;
    let world = World::with(config).await;
    let manager = world.sessions.manager.clone();
    let mut held = Vec::new();
    for _ in 0..12 {
        held.push(world.operator("mallory").await);
    }
    assert_eq!(sent_away(&world, "mallory").await.reason, "every session of the manager is taken");
    let _ada = world.operator("ada").await;
    assert_eq!(manager.with_admission(|admission| admission.sessions()), 13);
}

#[tokio::test]
async fn an_operator_has_no_more_sessions_than_one_may_have_and_is_told_so() {
    let mut config = ManagerConfig::default();
    config.admission.operator_sessions = 2;
    let world = World::with(config).await;
    let mut held = vec![world.operator("mallory").await, world.operator("mallory").await];
    let told = sent_away(&world, "mallory").await;
    assert_eq!(told.code, Some(ByeCode::Overloaded));
    let named = "operator mallory has 2 sessions, as many as one may have (admission.operator_sessions)";
    assert_eq!(told.reason, named);
    let _ada = world.operator("ada").await;
    drop(held.pop());
    let left = async {
        while world.sessions.manager.with_admission(|admission| admission.sessions()) > 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, left).await.unwrap();
    held.push(world.operator("mallory").await);
}

/// The goodbye that this operator is answered.
async fn sent_away(world: &World, name: &str) -> Bye {
    let transport = world.network.transport(identity(&format!("spiffe://home/operator/{name}")));
    let mut connection = transport.connect().await.unwrap();
    say(&mut connection, &Message::AgentHello(Box::new(hello(name)))).await;
    let Message::Bye(bye) = hear(&mut connection).await else { panic!("no goodbye") };
    bye
}

#[tokio::test]
async fn the_end_of_a_session_leaves_the_roster_and_gives_its_seat_back() {
    let world = World::new().await;
    let agent = world.agent("web-1", Registry::new()).await;
    let manager = world.sessions.manager.clone();
    assert_eq!(manager.with_roster(|roster| roster.counts().connected), 1);
    assert_eq!(manager.with_admission(|admission| (admission.handshakes(), admission.sessions())), (0, 1));
    agent.close(Bye::new(ByeCode::ShuttingDown, "done"));
    world.sessions.tracker.close();
    tokio::time::timeout(PATIENCE, world.sessions.tracker.wait()).await.unwrap();
    assert_eq!(manager.with_roster(|roster| roster.counts().connected), 0);
    assert_eq!(manager.with_admission(|admission| admission.sessions()), 0);
    assert_eq!(manager.counters.sessions_closed.read(), 1);
}

#[tokio::test]
async fn handshakes_of_silent_strangers_are_given_up_at_the_end() {
    let world = World::new().await;
    for _ in 0..20 {
        world.network.dial_in_silence().await.unwrap();
    }
    // the last to arrive: when it is in, the strangers were taken
    let _agent = world.agent("web-1", Registry::new()).await;
    let manager = world.sessions.manager.clone();
    assert_eq!(manager.with_admission(|admission| admission.handshakes()), 20);
    world.sessions.give_up_handshakes.cancel();
    let gone = async {
        while manager.with_admission(|admission| admission.handshakes()) > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}

/// One peer who has arrived, and nobody after it.
#[derive(Debug)]
struct One(Option<Incoming>);

impl Listener for One {
    fn accept(&mut self) -> BoxFuture<'_, Result<Incoming, AcceptError>> {
        let next = self.0.take();
        Box::pin(async move {
            match next {
                Some(incoming) => Ok(incoming),
                None => std::future::pending().await,
            }
        })
    }

    fn local_address(&self) -> String {
        "memory:one".to_owned()
    }
}

#[tokio::test]
async fn a_session_does_not_outlive_its_certificate() {
    for left in [Duration::from_millis(300), Duration::ZERO] {
        let world = World::new().await;
        let not_after = SystemTime::now() + left;
        let certificate = Some(PeerCertificate { serial: "01".into(), sha256: "02".into(), not_after });
        let agent = PeerInfo { certificate, ..memory::peer(identity("spiffe://home/agent/web-1")) };
        let (mut mine, theirs) = memory::pair(agent, memory::peer(identity("spiffe://home/manager/m1")));
        let handshake = Box::pin(async move { Ok(Accepted::Session(theirs)) });
        let listener = One(Some(Incoming { ip: None, address: "memory:agent".into(), handshake }));
        let stop = CancellationToken::new();
        world.tracker.spawn(accept_loop(Box::new(listener), world.sessions.clone(), stop));
        say(&mut mine, &Message::AgentHello(Box::new(hello("web-1")))).await;
        let Message::ManagerHello(_) = hear(&mut mine).await else { panic!("no hello") };
        let Message::Bye(bye) = hear(&mut mine).await else { panic!("no goodbye") };
        assert_eq!(bye.code, Some(ByeCode::Unauthorized), "{bye}");
        assert!(SystemTime::now() >= not_after);
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_comes_and_goes_is_told_to_come_later_and_no_other_is() {
    let world = World::new().await;
    let manager = world.sessions.manager.clone();
    let admission = manager.config.admission.clone();
    let arrive = async |name: &str| {
        let transport = world.network.transport(identity(&format!("spiffe://home/agent/{name}")));
        let mut connection = transport.connect().await.unwrap();
        say(&mut connection, &Message::AgentHello(Box::new(hello(name)))).await;
        let said = hear(&mut connection).await;
        if let Message::ManagerHello(_) = said {
            return None;
        }
        let Message::Bye(bye) = said else { panic!("{said:?}") };
        Some((bye.code, bye.retry_after_ms))
    };
    let wait = u64::try_from(admission.agent_interval.as_millis()).unwrap();
    for _ in 0..admission.agent_burst {
        assert_eq!(arrive("web-1").await, None);
    }
    let told = arrive("web-1").await;
    let Some((Some(ByeCode::Overloaded), Some(ms))) = told else { panic!("{told:?}") };
    assert!(ms <= wait && ms + 1000 > wait, "{ms}");
    assert_eq!(arrive("web-2").await, None);
    assert_eq!(manager.counters.hellos_hasty.read(), 1);
    // when it was told to, it is let in, and who asks in vain waits no longer for it
    tokio::time::advance(Duration::from_millis(ms)).await;
    assert_eq!(arrive("web-1").await, None);
    assert_ne!(arrive("web-1").await, None);
    assert_eq!(manager.counters.sessions_opened.read(), u64::from(admission.agent_burst) + 2);
}
