//! The first messages, as a table: every kind, at both sides.

use super::{Session, events, request, start, terms, written};
use crate::identity::Identity;
use crate::ids::RequestId;
use crate::session::handshake::{Accepting, Dialling, HandshakeError, SPOKEN};
use crate::session::terms::{Liveness, Offer};
use crate::session::{CloseReason, Event};
use crate::wire::{
    AgentHello, Bye, ByeCode, Integer, Limits, ManagerHello, Message, Notification, PROTOCOL, ProtocolRange,
    Raw, Response, codec,
};

fn hello() -> AgentHello {
    AgentHello { id: "web-1".into(), version: "1.0".into(), protocol: Some(SPOKEN), ..AgentHello::default() }
}

fn manager_hello() -> ManagerHello {
    ManagerHello { version: "2.0".into(), protocol: Some(PROTOCOL), ..ManagerHello::default() }
}

fn accepting(offers_protocol: bool) -> Accepting {
    Accepting::new(Identity::parse("spiffe://home/agent/web-1").unwrap(), offers_protocol)
}

fn offer() -> Offer {
    Offer {
        version: "2.0".into(),
        manager: "m-1".into(),
        cluster: "home".into(),
        limits: Limits { frame: 100_000, in_flight: 10, window: 50_000 },
        liveness: Liveness::default(),
        wall_ms: 7,
    }
}

/// One message of every kind.
fn every_kind() -> Vec<(&'static str, Message)> {
    let id = RequestId::parse("1").unwrap();
    vec![
        ("AgentHello", Message::AgentHello(Box::new(hello()))),
        ("ManagerHello", Message::ManagerHello(Box::new(manager_hello()))),
        ("Ping", Message::Ping(Integer::from(1u64))),
        ("Pong", Message::Pong(Integer::from(1u64))),
        ("Bye", Message::Bye(Bye::new(ByeCode::Overloaded, "later"))),
        ("Request", request("1")),
        ("Response", Message::Response(Response { id, result: Ok(Raw::nil()) })),
        ("Notification", Message::Notification(Notification { kind: "x".into(), data: Raw::nil() })),
        ("a message of kind 99", Message::Unknown(99)),
    ]
}

/// What the wrong kinds lead to, for both sides.
fn check_refusal(name: &str, wanted: &str, error: &HandshakeError) {
    match name {
        "Bye" => {
            assert_eq!(*error, HandshakeError::Refused(Bye::new(ByeCode::Overloaded, "later")));
            assert_eq!(error.bye(), None, "a goodbye is not answered");
        }
        _ => {
            assert_eq!(error.to_string(), format!("expected {wanted}, got {name}"));
            assert_eq!(error.bye().unwrap().code, Some(ByeCode::Protocol));
        }
    }
}

#[test]
fn a_manager_takes_nothing_but_an_agents_hello() {
    for (name, message) in every_kind() {
        match accepting(true).receive(message) {
            Ok(admission) => {
                assert_eq!(name, "AgentHello");
                assert_eq!(admission.protocol(), 1);
            }
            Err(error) => check_refusal(name, "AgentHello", &error),
        }
    }
}

#[test]
fn a_dialler_takes_nothing_but_a_managers_hello() {
    for (name, message) in every_kind() {
        let (dialling, first) = Dialling::start(hello(), true);
        assert_eq!(first, Message::AgentHello(Box::new(hello())));
        match dialling.finish(message) {
            Ok(terms) => {
                assert_eq!(name, "ManagerHello");
                assert_eq!(terms.protocol, 1);
            }
            Err(error) => check_refusal(name, "ManagerHello", &error),
        }
    }
}

#[test]
fn a_second_hello_is_a_violation_and_every_other_kind_is_not() {
    let allowed = ["Ping", "Bye", "Request", "Notification", "a message of kind 99"];
    for (name, message) in every_kind() {
        let mut session = Session::<u32>::new(terms(), 1, start());
        session.handle_message(message, start());
        let violated = matches!(session.closed(), Some(CloseReason::Violation(bye)) if bye.code == Some(ByeCode::Protocol));
        assert_eq!(violated, !allowed.contains(&name), "{name}");
        if violated {
            assert!(matches!(&written(&mut session)[..], [Message::Bye(_)]), "{name}");
            assert!(matches!(&events(&mut session)[..], [Event::Closed(..)]), "{name}");
        }
    }
}

#[test]
fn a_hello_that_names_somebody_else_is_refused() {
    for id in ["web-2", "WEB-1", "web-1 ", "", "web-1\0"] {
        let hello = AgentHello { id: id.into(), ..hello() };
        let error = accepting(true).receive(Message::AgentHello(Box::new(hello))).unwrap_err();
        assert!(matches!(error, HandshakeError::WrongId { .. }), "{id:?}: {error:?}");
        assert_eq!(error.bye().unwrap().code, Some(ByeCode::Unauthorized));
    }
}

#[test]
fn protocols_meet_or_the_peer_is_told_which_do_not() {
    let range = |min, max| Some(ProtocolRange { min, max });
    let cases = [
        (None, true, Ok(0)),
        (range(0, 0), true, Ok(0)),
        (range(0, 1), true, Ok(1)),
        (range(1, 1), true, Ok(1)),
        (range(1, 9), true, Ok(1)),
        (range(2, 9), true, Err(ByeCode::Version)),
        (range(1, 0), true, Err(ByeCode::Version)),
        (range(u32::MAX, u32::MAX), true, Err(ByeCode::Version)),
        (range(0, u32::MAX), true, Ok(1)),
        // without the protocol's name below, the hello cannot raise it
        (range(0, 1), false, Ok(0)),
        (range(1, 1), false, Ok(0)),
        (None, false, Ok(0)),
    ];
    for (protocol, offered, wanted) in cases {
        let hello = AgentHello { protocol, ..hello() };
        let received = accepting(offered).receive(Message::AgentHello(Box::new(hello)));
        let found =
            received.map(|admission| admission.protocol()).map_err(|e| e.bye().unwrap().code.unwrap());
        assert_eq!(found, wanted, "{protocol:?}, offered {offered}");
    }
}

#[test]
fn a_manager_that_chooses_what_was_not_offered_is_refused() {
    let choice = |protocol, encrypted| {
        let (dialling, _hello) = Dialling::start(hello(), encrypted);
        let answer = ManagerHello { protocol, ..manager_hello() };
        dialling.finish(Message::ManagerHello(Box::new(answer))).map(|terms| terms.protocol)
    };
    assert_eq!(choice(Some(1), true), Ok(1));
    assert_eq!(choice(None, true), Ok(0));
    assert_eq!(choice(None, false), Ok(0));
    for (protocol, encrypted) in [(Some(2), true), (Some(u32::MAX), true), (Some(1), false)] {
        let error = choice(protocol, encrypted).unwrap_err();
        assert_eq!(error.bye().unwrap().code, Some(ByeCode::Version), "{protocol:?}");
    }
}

#[test]
fn both_sides_come_to_the_same_terms() {
    let theirs = Limits { frame: 200_000, in_flight: 5, window: 40_000 };
    let hello = AgentHello { limits: Some(theirs), caps: vec!["a".into()], ..hello() };
    let (dialling, first) = Dialling::start(hello, true);
    // through bytes, as on the wire
    let first = codec::decode(&codec::encode(&first, PROTOCOL)).unwrap();
    let (ours, answer) = accepting(true).receive(first).unwrap().accept(&offer());
    let answer = codec::decode(&codec::encode(&answer, ours.protocol)).unwrap();
    let theirs = dialling.finish(answer).unwrap();
    assert_eq!(ours.limits, Limits { frame: 100_000, in_flight: 5, window: 40_000 });
    assert_eq!(
        (ours.limits, ours.liveness, ours.protocol),
        (theirs.limits, theirs.liveness, theirs.protocol)
    );
    assert_eq!((ours.peer_version.as_str(), theirs.peer_version.as_str()), ("1.0", "2.0"));
    assert_eq!(ours.peer_caps, ["a"]);
}

#[test]
fn what_a_peer_says_its_version_is_moves_no_cursor_and_is_short() {
    let version = format!("1\u{1b}[2J\u{9b}{}", "x".repeat(100));
    let (dialling, first) = Dialling::start(AgentHello { version: version.clone(), ..hello() }, true);
    let (ours, answer) = accepting(true).receive(first).unwrap().accept(&Offer { version, ..offer() });
    let theirs = dialling.finish(answer).unwrap();
    let tidy = format!("1?[2J?{}", "x".repeat(58));
    assert_eq!([ours.peer_version, theirs.peer_version], [tidy.clone(), tidy]);
}

#[test]
fn limits_out_of_bounds_are_brought_back() {
    let absurd = |n| Limits { frame: n, in_flight: n, window: n };
    let least = absurd(0).meet(absurd(u64::MAX));
    assert_eq!(least, Limits { frame: 16 * 1024, in_flight: 1, window: 16 * 1024 });
    let most = absurd(u64::MAX).meet(absurd(u64::MAX));
    assert_eq!(most, Limits { frame: 16 << 20, in_flight: 4096, window: 16 << 20 });
}

#[test]
fn a_peer_of_the_oldest_form_gets_the_oldest_form() {
    let hello = AgentHello { id: "web-1".into(), version: "0.1".into(), ..AgentHello::default() };
    let admission = accepting(false).receive(Message::AgentHello(Box::new(hello))).unwrap();
    let (terms, answer) = admission.accept(&offer());
    assert!(terms.is_oldest());
    let payload = codec::encode(&answer, terms.protocol);
    let oldest =
        Message::ManagerHello(Box::new(ManagerHello { version: "2.0".into(), ..ManagerHello::default() }));
    assert_eq!(payload, codec::encode(&oldest, PROTOCOL), "no field beyond the oldest ones");
}

#[test]
fn a_refused_peer_is_told_why() {
    let admission = accepting(true).receive(Message::AgentHello(Box::new(hello()))).unwrap();
    let bye = Bye::new(ByeCode::Quarantined, "look at it");
    assert_eq!(admission.refuse(bye.clone()), Message::Bye(bye));
}
