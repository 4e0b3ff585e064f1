//! Revocation, with real processes: who is shut out is out when the answer comes, stays out, and can come back.
#![expect(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "test code")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redpoll_certs::identity;
use redpoll_certs::testing::TestCertificate;
use redpoll_common::api::events::EventList;
use redpoll_common::api::revoked::{RevokeAnswer, RevokedList};
use redpoll_common::api::submit::SubmitArguments;
use redpoll_common::api::{AgentState, method};
use redpoll_common::ids::PeerId;
use redpoll_common::job::Dno;
use redpoll_common::job::wire::{Offer, OfferAnswer, Report, Resume, RunReport};
use redpoll_common::leg::{LegHello, Ticket};
use redpoll_common::wire::{ByeCode, Fault, FaultCode, Message, Notification, Raw, Request};
use redpoll_net::random;
use redpoll_net::tls::{LegError, Pending, TlsTransport};
use redpoll_net::transport::{Transport as _, close};
use redpoll_tests::line::{Heard, Line, RP1};
use redpoll_tests::operator::{Operator, hello, transport};
use redpoll_tests::world::World;
use redpoll_tests::{SOON, eventually, in_time};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio_util::task::TaskTracker;

/// Calls in flight when their agent is revoked.
const CALLS: usize = 64;

async fn revoke(by: &Operator, method: &str, kwargs: &Value) -> RevokeAnswer {
    by.ask(method, kwargs).await.unwrap().decode().unwrap()
}

async fn revoke_agent(world: &World, id: &str) -> RevokeAnswer {
    revoke(&world.operator, method::AGENTS_REVOKE, &json!({"id": id, "reason": "stolen"})).await
}

fn serial(own: &TestCertificate) -> String {
    identity::read(own.chain.first().unwrap()).unwrap().serial
}

/// What the manager says to somebody who dials.
async fn greeting(world: &World, own: &TestCertificate, id: &str) -> Message {
    let mut line = Line::dial(world.address, Some(own), RP1).await.unwrap();
    line.say(&Message::AgentHello(Box::new(hello(id)))).await;
    match line.hear_within(SOON).await {
        Heard::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

async fn is_turned_away(world: &World, own: &TestCertificate, id: &str) {
    match greeting(world, own, id).await {
        Message::Bye(bye) => assert_eq!(bye.code, Some(ByeCode::Revoked), "{bye}"),
        other => panic!("{id} is let in: {other:?}"),
    }
}

async fn is_let_in(world: &World, own: &TestCertificate, id: &str) {
    let heard = greeting(world, own, id).await;
    assert!(matches!(heard, Message::ManagerHello(_)), "{heard:?}");
}

async fn last_event(world: &World) -> u64 {
    let answer = world.operator.ask(method::EVENTS_LIST, &json!({"recent": 1})).await.unwrap();
    answer.decode::<EventList>().unwrap().last
}

/// What happened after an event, to an agent.
async fn since(world: &World, event: u64, agent: &str) -> Vec<String> {
    let answer = world.operator.ask(method::EVENTS_LIST, &json!({"since": event})).await.unwrap();
    let events = answer.decode::<EventList>().unwrap().events;
    events.into_iter().filter(|event| event.agent.as_deref() == Some(agent)).map(|event| event.kind).collect()
}

fn note(n: usize) -> Message {
    Message::Notification(Notification {
        kind: "rp.manager.note".to_owned(),
        data: Raw::text(&format!("flood {n}")),
    })
}

/// An agent in the hands of the test that has shown an empty spool.
async fn resumed(world: &World, id: &str) -> Line {
    let mut line = world.line(id).await;
    let resume = Resume { spool: [1; 16], max_dno: Dno(0), last: true, jobs: Vec::new() };
    line.say_request("r", "rp.job.resume", |request| Request { kwargs: resume.write(), ..request }).await;
    line.answered().await;
    line
}

#[tokio::test]
async fn under_load_nothing_of_a_revoked_agent_has_an_effect_after_the_answer() {
    let mut world = World::start(&["agents.emit=load.*", "agents.rate=1000", "agents.burst=1000"]).await;
    let mut line = resumed(&world, "web-1").await;
    let job =
        world.operator.submit(&SubmitArguments::new(vec!["web-1".to_owned()], "app.work")).await.unwrap();
    let offer = loop {
        let request = line.requested().await;
        if request.method == "rp.job.offer" {
            line.answer(&request, OfferAnswer::Accepted.write()).await;
            break Offer::read(&request.kwargs).unwrap();
        }
    };
    eventually("it is accepted", async || (world.operator.state_of(&job).await == "accepted").then_some(()))
        .await;
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        let call = Operator::call_of("web-1", "never", &json!([]), &json!({}), SOON * 3);
        calls.push(world.operator.peer().start(call).await.unwrap());
    }
    for _ in 0..CALLS {
        line.requested().await;
    }
    // it goes on talking for as long as anybody listens, and longer
    let (answered, tracker) = (Arc::new(AtomicBool::new(false)), TaskTracker::new());
    let after = answered.clone();
    let flood = tracker.spawn(async move {
        let mut late = 0_u32;
        for n in 0_usize.. {
            let running = RunReport { started_ms_ago: Some(0), ..RunReport::about(offer.run) };
            // the first begins, all others say how far it is
            let report = Report { reports: vec![running] };
            line.say_request(&format!("p{n}"), "rp.job.report", |request| Request {
                kwargs: report.write(),
                ..request
            })
            .await;
            let emit = json!({"type": "load.word", "data": n});
            line.request(&format!("e{n}"), "rp.events.emit", &emit).await;
            line.say(&note(n)).await;
            if after.load(Ordering::Acquire) {
                late += 1;
            }
            if late > 50 || n > 200_000 {
                return line;
            }
            if n.is_multiple_of(16) {
                tokio::task::yield_now().await;
            }
        }
        line
    });
    eventually("it is heard", async || {
        (world.operator.state_of(&job).await == "running" && last_event(&world).await > 100).then_some(())
    })
    .await;
    let answer = revoke_agent(&world, "web-1").await;
    let last = last_event(&world).await;
    answered.store(true, Ordering::Release);
    assert_eq!((answer.changed, answer.cut, answer.ending, answer.known), (true, 1, 0, true));
    for call in &mut calls {
        assert_eq!(Operator::end_of(call).await.unwrap_err().code, FaultCode::AgentGone);
    }
    assert_eq!(world.operator.state_of(&job).await, "in_doubt");
    drop(in_time("the end of the flood", flood).await.unwrap());
    assert_eq!(since(&world, last, "web-1").await, Vec::<String>::new(), "after the answer");
    let shown = world.operator.agent("web-1").await.unwrap();
    let revoked = shown.revoked.unwrap();
    assert_eq!(
        (shown.state, revoked.by.as_str(), revoked.why.as_deref()),
        (AgentState::Away, "ada", Some("stolen"))
    );
    let fault = world.operator.call("web-1", "sys.echo", &json!({})).await.unwrap_err();
    assert!(
        fault.code == FaultCode::AgentAway && fault.message.contains("revoked (by ada: stolen)"),
        "{fault}"
    );
    let refused = world.operator.submit(&SubmitArguments::new(vec!["web-1".to_owned()], "app.work")).await;
    let fault: Fault = refused.unwrap_err();
    assert!(fault.code == FaultCode::AgentAway && fault.message.contains("revoked"), "{fault}");
    // what may have run is ended by those who know
    world.operator.cancel(&job).await;
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn nobody_slips_in_who_is_at_the_door_when_it_closes() {
    let world = World::start(&[
        "admission.accept_rate=100000",
        "admission.accept_burst=100000",
        "admission.handshakes_per_address=64",
    ])
    .await;
    let (tracker, stop) = (TaskTracker::new(), Arc::new(AtomicBool::new(false)));
    let attempts = Arc::new(AtomicU64::new(0));
    let dialling: Vec<_> = (0..12)
        .map(|_| {
            let (own, address) = (world.certificate("web-1"), world.address);
            let (stop, attempts) = (stop.clone(), attempts.clone());
            tracker.spawn(async move {
                while !stop.load(Ordering::Acquire) {
                    let Ok(mut line) = Line::dial(address, Some(&own), RP1).await else { continue };
                    line.say(&Message::AgentHello(Box::new(hello("web-1")))).await;
                    let _heard = line.hear_within(SOON).await;
                    line.say(&note(0)).await;
                    attempts.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 0..8 {
        let before = attempts.load(Ordering::Relaxed);
        eventually("they dial", async || (attempts.load(Ordering::Relaxed) > before + 10).then_some(()))
            .await;
        revoke_agent(&world, "web-1").await;
        let (last, after) = (last_event(&world).await, attempts.load(Ordering::Relaxed));
        assert_ne!(
            world.operator.agent("web-1").await.unwrap().state,
            AgentState::Connected,
            "round {round}"
        );
        eventually("they go on", async || (attempts.load(Ordering::Relaxed) > after + 24).then_some(()))
            .await;
        assert_eq!(since(&world, last, "web-1").await, Vec::<String>::new(), "round {round}");
        world.operator.ask(method::AGENTS_RESTORE, &json!({"id": "web-1"})).await.unwrap();
    }
    stop.store(true, Ordering::Release);
    for dialler in dialling {
        dialler.await.unwrap();
    }
}

#[tokio::test]
async fn a_real_agent_stays_out_when_the_manager_is_killed_and_comes_back_when_it_is_restored() {
    let mut world = World::start(&[]).await;
    world.agent("web-1", &[]).await;
    let own = world.certificate("web-1");
    revoke_agent(&world, "web-1").await;
    world.manager.kill().await;
    world.restart_manager().await;
    is_turned_away(&world, &own, "web-1").await;
    world.agent_process("web-1").logged(&["a person must act", "revoked"]).await;
    let shown = world.operator.agent("web-1").await.unwrap();
    assert!(shown.revoked.is_some() && shown.state == AgentState::Away, "{shown:?}");
    let listed: RevokedList =
        world.operator.ask(method::AGENTS_REVOKED, &json!({})).await.unwrap().decode().unwrap();
    let ids: Vec<&str> = listed.revoked.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!((ids, listed.next), (vec!["web-1"], None));
    assert!(!revoke_agent(&world, "web-1").await.changed, "twice is once");
    // a job for all leaves it out
    let all = world.operator.submit(&SubmitArguments::new(vec!["*".to_owned()], "sys.echo")).await.unwrap();
    assert_eq!(world.operator.show(&all).await.unwrap().runs.len(), 1);
    world.operator.ask(method::AGENTS_RESTORE, &json!({"id": "web-1"})).await.unwrap();
    let again = world.operator.ask(method::AGENTS_RESTORE, &json!({"id": "web-1"})).await.unwrap_err();
    assert_eq!(again.code, FaultCode::WrongState);
    world.operator.until("web-1", AgentState::Connected).await;
    world.operator.echo("web-1", "here again").await.unwrap();
}

#[tokio::test]
async fn another_certificate_of_the_same_agent_comes_in_where_one_was_revoked() {
    let mut world = World::start(&[]).await;
    let (stolen, new) = (world.certificate("web-1"), world.certificate("web-1"));
    assert_ne!(serial(&stolen), serial(&new));
    let mut line = Line::agent(world.address, &stolen, "web-1").await;
    world.operator.until("web-1", AgentState::Connected).await;
    let kwargs = json!({"id": "web-1", "certificate": serial(&stolen).to_uppercase()});
    assert_eq!(revoke(&world.operator, method::AGENTS_REVOKE, &kwargs).await.cut, 1);
    assert_eq!(line.farewell(SOON).await.code, Some(ByeCode::Revoked));
    is_turned_away(&world, &stolen, "web-1").await;
    is_let_in(&world, &new, "web-1").await;
    let mut newer = Line::agent(world.address, &new, "web-1").await;
    world.operator.until("web-1", AgentState::Connected).await;
    // once more the older one: the newer session is none of its business
    assert_eq!(revoke(&world.operator, method::AGENTS_REVOKE, &kwargs).await.cut, 0);
    let call = async { world.operator.call("web-1", "who", &json!({})).await };
    let answering = async {
        let request = newer.requested().await;
        newer.answer(&request, Raw::text("me")).await;
    };
    let (answer, ()) = in_time("a call", async { tokio::join!(call, answering) }).await;
    assert_eq!(answer.unwrap().as_text(), Some("me"));
    let wrong = json!({"id": "web-1", "certificate": "no serial"});
    let fault = world.operator.ask(method::AGENTS_REVOKE, &wrong).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::BadArguments);
    world.nobody_else_noticed().await;
}

async fn way(world: &World, own: &TestCertificate) -> TlsTransport {
    let way = transport(world.address, own);
    close(way.connect().await.unwrap(), SOON).await;
    way
}

async fn operators_leg(ada: &TlsTransport, ticket: Ticket, agent: &str) -> Result<Pending, LegError> {
    let agent = Some(PeerId::parse(agent).unwrap());
    let mut leg = ada.leg(&LegHello { ticket, agent }, SOON).await?;
    leg.known(SOON).await.map(|()| leg)
}

fn is_forbidden<T: std::fmt::Debug>(result: Result<T, LegError>) {
    match result {
        Err(LegError::Refused { code: FaultCode::Forbidden, message }) => {
            assert!(message.contains("revoked"))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn legs_of_somebody_who_is_revoked_are_cut_and_refused() {
    let world = World::start(&["relay.wait=10s"]).await;
    let _lines = (world.line("web-1").await, world.line("web-2").await);
    let authority = &world.authority;
    let eve = way(&world, &authority.operator("eve")).await;
    let (web, other) =
        (way(&world, &authority.agent("web-1")).await, way(&world, &authority.agent("web-2")).await);
    let join = async |agent: &TlsTransport, name: &str| {
        let ticket = Ticket::new(random::bytes16());
        let waiting = operators_leg(&eve, ticket, name).await.unwrap();
        let agents = async { agent.leg(&LegHello { ticket, agent: None }, SOON).await?.joined(SOON).await };
        let (one, two) = tokio::join!(waiting.joined(SOON), agents);
        (one.unwrap(), two.unwrap())
    };
    let (mut eves, mut webs) = join(&web, "web-1").await;
    let (mut more, _kept) = join(&other, "web-2").await;
    assert_eq!(revoke_agent(&world, "web-1").await.cut, 2, "its session and its leg");
    for leg in [&mut eves, &mut webs] {
        let ended = in_time("the end of a leg", leg.read(&mut [0; 8])).await;
        assert_eq!(ended.unwrap_or(0), 0, "nothing goes over it any more");
    }
    let ticket = Ticket::new(random::bytes16());
    is_forbidden(web.leg(&LegHello { ticket, agent: None }, SOON).await.unwrap().joined(SOON).await);
    // a waiting leg, and one that is joined with an agent that is not revoked
    let waiting = operators_leg(&eve, Ticket::new(random::bytes16()), "web-2").await.unwrap();
    let answer = revoke(&world.operator, method::OPERATORS_REVOKE, &json!({"id": "eve"})).await;
    assert_eq!(answer.cut, 2);
    assert!(waiting.joined(Duration::from_secs(5)).await.is_err());
    assert_eq!(in_time("the end of a leg", more.read(&mut [0; 8])).await.unwrap_or(0), 0);
    is_forbidden(operators_leg(&eve, ticket, "web-2").await);
}

#[tokio::test]
async fn an_operator_who_is_revoked_is_out_and_hears_the_answer_if_it_was_their_own_doing() {
    let mut world = World::start(&[]).await;
    let mut line = world.line("web-1").await;
    let (eve, own) = (world.operator("eve").await, world.authority.operator("eve"));
    let mut call =
        eve.peer().start(Operator::call_of("web-1", "never", &json!([]), &json!({}), SOON)).await.unwrap();
    let request = line.requested().await;
    let answer =
        revoke(&world.operator, method::OPERATORS_REVOKE, &json!({"id": "eve", "reason": "left"})).await;
    assert_eq!((answer.cut, answer.known), (1, true));
    assert!(Operator::end_of(&mut call).await.is_err());
    in_time("her session's end", eve.peer().closed()).await;
    // the agent is told that nobody waits
    loop {
        match line.hear().await {
            Heard::Message(Message::Notification(notification)) if notification.kind == "rp.cancel" => break,
            Heard::Message(_) => {}
            other => panic!("{other:?}, and {} is not cancelled", request.id),
        }
    }
    is_turned_away(&world, &own, "eve").await;
    // himself
    let bob = world.operator("bob").await;
    let (second, own) = (world.operator("bob").await, world.authority.operator("bob"));
    let answer = revoke(&bob, method::OPERATORS_REVOKE, &json!({"id": "bob"})).await;
    assert_eq!((answer.changed, answer.cut), (true, 2));
    in_time("his other session's end", second.peer().closed()).await;
    in_time("his session's end", bob.peer().closed()).await;
    is_turned_away(&world, &own, "bob").await;
    world.operator.ask(method::OPERATORS_RESTORE, &json!({"id": "bob"})).await.unwrap();
    is_let_in(&world, &own, "bob").await;
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn rpctl_revokes_lists_and_restores() {
    let mut world = World::start(&[]).await;
    world.agent("web-1", &[]).await;
    let unsure = world.run_rpctl(&["agents", "revoke", "web-1"]).await;
    assert_eq!(unsure.status.code(), Some(2), "{unsure:?}");
    let done = world.run_rpctl(&["agents", "revoke", "web-1", "nobody", "--reason", "stolen", "--yes"]).await;
    assert!(done.status.success(), "{done:?}");
    let text = |output: &[u8]| String::from_utf8_lossy(output).into_owned();
    assert!(text(&done.stdout).contains("revoked") && text(&done.stderr).contains("nobody"), "{done:?}");
    for (arguments, words) in [
        (&["agents", "list"][..], &["web-1", "revoked", "by ada: stolen"][..]),
        (&["agents", "show", "web-1"], &["revoked", "by ada: stolen"]),
        (&["agents", "list", "--revoked"], &["web-1", "nobody", "all", "stolen"]),
        (&["agents", "list", "--revoked", "-o", "json"], &["\"why\"", "\"by\""]),
        (&["operators", "list"], &["ada", "connected"]),
    ] {
        let shown = world.run_rpctl(arguments).await;
        let shown = text(&shown.stdout);
        assert!(words.iter().all(|word| shown.contains(word)), "{arguments:?}: {shown}");
    }
    let call = world.run_rpctl(&["call", "web-1", "sys.echo"]).await;
    assert_eq!(call.status.code(), Some(5), "{call:?}");
    assert!(text(&call.stderr).contains("agents restore"), "{call:?}");
    assert!(world.run_rpctl(&["agents", "restore", "web-1"]).await.status.success());
    assert_eq!(world.run_rpctl(&["agents", "restore", "web-1"]).await.status.code(), Some(3));
    world.operator.until("web-1", AgentState::Connected).await;
}
