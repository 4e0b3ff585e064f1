//! Legs at a real manager: who says what on them, and what becomes of those that say something else.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::time::Duration;

use redpoll_common::ids::PeerId;
use redpoll_common::leg::{LegHello, Ticket};
use redpoll_common::wire::FaultCode;
use redpoll_net::random;
use redpoll_net::tls::{LegError, Pending, TlsTransport};
use redpoll_net::transport::{Transport as _, close};
use redpoll_tests::eventually;
use redpoll_tests::operator::transport;
use redpoll_tests::world::{HONEST, World};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_secs(20);

fn ticket() -> Ticket {
    Ticket::new(random::bytes16())
}

fn id(name: &str) -> PeerId {
    PeerId::parse(name).unwrap()
}

/// A way to the manager that knows where it is.
async fn way(world: &World, own: &redpoll_certs::testing::TestCertificate) -> TlsTransport {
    let way = transport(world.address, own);
    close(way.connect().await.unwrap(), SOON).await;
    way
}

/// An operator's leg that the manager knows.
async fn waiting(ada: &TlsTransport, ticket: Ticket, agent: &str) -> Result<Pending, LegError> {
    let mut leg = ada.leg(&LegHello { ticket, agent: Some(id(agent)) }, SOON).await?;
    leg.known(SOON).await.map(|()| leg)
}

async fn agents(web: &TlsTransport, ticket: Ticket) -> Result<TcpStream, LegError> {
    web.leg(&LegHello { ticket, agent: None }, SOON).await?.joined(SOON).await
}

fn refusal<T: std::fmt::Debug>(result: Result<T, LegError>) -> (FaultCode, String) {
    match result {
        Err(LegError::Refused { code, message }) => (code, message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn two_legs_are_joined_and_carry_what_they_are_given() {
    let mut world = World::start(&[]).await;
    let _line = world.line("web-1").await;
    let (ada, web) = (
        way(&world, &world.authority.operator("ada")).await,
        way(&world, &world.authority.agent("web-1")).await,
    );
    let ticket = ticket();
    let operator = waiting(&ada, ticket, "web-1").await.unwrap();
    let (one, other) = tokio::join!(operator.joined(SOON), agents(&web, ticket));
    let (mut one, mut other) = (one.unwrap(), other.unwrap());
    one.write_all(b"there").await.unwrap();
    other.write_all(b"and back").await.unwrap();
    one.shutdown().await.unwrap();
    other.shutdown().await.unwrap();
    let (mut heard, mut answer) = (String::new(), String::new());
    other.read_to_string(&mut heard).await.unwrap();
    one.read_to_string(&mut answer).await.unwrap();
    assert_eq!((heard.as_str(), answer.as_str()), ("there", "and back"));
    eventually("the bytes are counted", async || {
        (world.operator.counter("relayed_bytes").await == 13).then_some(())
    })
    .await;
    // a ticket is good once
    assert_eq!(refusal(agents(&web, ticket).await).0, FaultCode::Cancelled);
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn a_leg_is_for_whom_it_names_and_for_nobody_else() {
    let mut world = World::start(&["relay.wait=2s"]).await;
    let _lines = (world.line("web-1").await, world.line("web-2").await);
    let authority = &world.authority;
    let ada = way(&world, &authority.operator("ada")).await;
    let (web, thief) =
        (way(&world, &authority.agent("web-1")).await, way(&world, &authority.agent("web-2")).await);
    let first = ticket();
    let operator = waiting(&ada, first, "web-1").await.unwrap();
    // another agent, another operator, another ticket
    assert_eq!(refusal(agents(&thief, first).await).0, FaultCode::Cancelled);
    let eve = way(&world, &authority.operator("eve")).await;
    let (code, message) = refusal(waiting(&eve, first, "web-1").await);
    assert_eq!((code, message.as_str()), (FaultCode::Overloaded, "the ticket is in use"));
    assert_eq!(refusal(agents(&web, ticket()).await).0, FaultCode::Cancelled);
    // who plays another part than its own
    let as_agent = ada.leg(&LegHello { ticket: ticket(), agent: None }, SOON).await.unwrap();
    assert_eq!(refusal(as_agent.joined(SOON).await).0, FaultCode::BadArguments);
    let as_operator = web.leg(&LegHello { ticket: ticket(), agent: Some(id("web-1")) }, SOON).await.unwrap();
    assert_eq!(refusal(as_operator.joined(SOON).await).0, FaultCode::BadArguments);
    // none of that took the leg from the one it is for
    let (one, other) = tokio::join!(operator.joined(SOON), agents(&web, first));
    assert!(one.is_ok() && other.is_ok());
    // an agent that is not there is not waited for
    assert_eq!(refusal(waiting(&ada, ticket(), "web-9").await).0, FaultCode::UnknownAgent);
    // nobody comes
    let alone = waiting(&ada, ticket(), "web-1").await.unwrap();
    let (code, message) = refusal(alone.joined(SOON).await);
    assert!(code == FaultCode::TimedOut && message.contains("relay.wait"), "{message}");
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn places_are_bounded_and_come_back_when_legs_go() {
    let mut world = World::start(&["relay.files=2", "relay.idle_timeout=1s"]).await;
    let _line = world.line("web-1").await;
    let ada = way(&world, &world.authority.operator("ada")).await;
    let web = way(&world, &world.authority.agent("web-1")).await;
    let first = waiting(&ada, ticket(), "web-1").await.unwrap();
    let second_ticket = ticket();
    let second = waiting(&ada, second_ticket, "web-1").await.unwrap();
    let (code, message) = refusal(waiting(&ada, ticket(), "web-1").await);
    assert!(code == FaultCode::Overloaded && message.contains("relay.files of the manager"), "{message}");
    // one who gives up makes room at once
    drop(first);
    eventually("a place is free", async || waiting(&ada, ticket(), "web-1").await.ok()).await;
    // and so do two who are joined and say nothing
    let (one, other) = tokio::join!(second.joined(SOON), agents(&web, second_ticket));
    let (mut one, _other) = (one.unwrap(), other.unwrap());
    let ended = tokio::time::timeout(SOON, one.read(&mut [0; 8])).await.expect("silence goes on");
    assert!(!matches!(ended, Ok(1..)), "{ended:?}");
    eventually("a place is free", async || waiting(&ada, ticket(), "web-1").await.ok()).await;
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn one_operator_does_not_take_all_places() {
    let mut world = World::start(&["relay.files=4"]).await;
    let ada = way(&world, &world.authority.operator("ada")).await;
    let eve = way(&world, &world.authority.operator("eve")).await;
    let mut legs = Vec::new();
    for _ in 0..3 {
        legs.push(waiting(&ada, ticket(), HONEST).await.unwrap());
    }
    let (code, message) = refusal(waiting(&ada, ticket(), HONEST).await);
    assert!(code == FaultCode::Overloaded && message.contains("as one operator may"), "{message}");
    legs.push(waiting(&eve, ticket(), HONEST).await.unwrap());
    drop(legs);
    eventually("ada's are free", async || waiting(&ada, ticket(), HONEST).await.ok()).await;
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn legs_that_come_to_nothing_hold_no_handshake_slot_and_disturb_nobody() {
    let mut world =
        World::start(&["admission.handshakes_per_address=8", "admission.hello_timeout=1s", "relay.wait=10s"])
            .await;
    let ada = way(&world, &world.authority.operator("ada")).await;
    // more than there are slots: once they have said what they are for, they hold none
    let mut legs = Vec::new();
    for _ in 0..24 {
        legs.push(waiting(&ada, ticket(), HONEST).await.unwrap());
    }
    world.operator.echo(HONEST, "x").await.unwrap();
    drop(legs);
    // the manager stops although some wait
    let _waits = waiting(&ada, ticket(), HONEST).await.unwrap();
    world.witness_saw_nothing().await;
    world.restart_manager().await;
    world.operator.until(HONEST, redpoll_common::api::AgentState::Connected).await;
}
