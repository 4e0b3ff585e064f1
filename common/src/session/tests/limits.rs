//! Limits in number and size, and the oldest peers.

use super::*;
use crate::session::inbound::MAX_OWED_BYTES;
use crate::session::outbox::MAX_CONTROL;
use crate::session::{Refusal, StopReason, ValueError};
use crate::wire::flight::{Flight, Progress};
use crate::wire::{ByeCode, Fault, FaultCode, Integer, PROTOCOL, RawMap, Response};

fn refusals(session: &mut Session<u32>) -> Vec<FaultCode> {
    let code = |message| match message {
        Message::Response(Response { result: Err(fault), .. }) => fault.code,
        other => panic!("expected a refusal, got {other:?}"),
    };
    written(session).into_iter().map(code).collect()
}

#[test]
fn requests_beyond_the_limit_are_answered_overloaded_and_nothing_runs() {
    let mut session = Session::<u32>::new(terms(), 1, start());
    for n in 0..10 {
        session.handle_message(request(&n.to_string()), start());
    }
    assert_eq!(events(&mut session).len(), 8);
    assert_eq!(refusals(&mut session), [FaultCode::Overloaded, FaultCode::Overloaded]);
    assert_eq!(session.counters().refused_requests, 2);
    assert_eq!(session.in_flight(), (0, 8));
    // a cancel frees no place, an answer does
    let id = RequestId::parse("3").unwrap();
    session.handle_message(Message::Notification(Flight::Cancel { request: id.clone() }.encode()), start());
    assert_eq!(events(&mut session), [Event::Stop(id.clone(), StopReason::Cancelled)]);
    session.handle_message(request("again"), start());
    assert_eq!(refusals(&mut session), [FaultCode::Overloaded]);
    session.respond(&id, Err(Fault::new(FaultCode::Cancelled, "stopped")));
    session.handle_message(request("once more"), start());
    assert_eq!(events(&mut session).len(), 1);
}

#[test]
fn requests_in_flight_hold_a_bounded_number_of_bytes_and_a_single_one_may_always_come() {
    let mut session = Session::<u32>::new(terms(), 1, start());
    let large = |id: &str, len: usize| {
        let Message::Request(request) = request(id) else { panic!("not a request") };
        Message::Request(Request { args: Raw::encode(&["x".repeat(len)]).unwrap(), ..request })
    };
    session.handle_message(large("a", MAX_OWED_BYTES - 64), start());
    assert_eq!(events(&mut session).len(), 1, "alone it may be as large as a frame");
    session.handle_message(large("b", 256), start());
    assert_eq!(refusals(&mut session), [FaultCode::Overloaded]);
    assert!(session.respond(&RequestId::parse("a").unwrap(), Ok(Raw::nil())));
    session.handle_message(large("c", MAX_OWED_BYTES / 2), start());
    session.handle_message(large("d", MAX_OWED_BYTES / 4), start());
    assert_eq!(events(&mut session).len(), 2, "answered requests hold nothing");
    session.handle_message(large("e", MAX_OWED_BYTES / 2), start());
    assert_eq!(session.counters().refused_requests, 2);
}

/// A request as bytes, with a field that nobody knows.
fn padded(id: &str, junk: usize) -> Bytes {
    let map = RawMap::new().uint("t", 20).text("id", id).text("method", "sys.echo");
    let map = map.raw("args", &Raw::empty_array()).raw("kwargs", &Raw::empty_map());
    map.bin("junk", &vec![0; junk]).finish().to_bytes()
}

#[test]
fn a_request_in_flight_counts_with_the_fields_that_nobody_knows() {
    let mut session = Session::<u32>::new(terms(), 1, start());
    session.handle_payload(&padded("a", MAX_OWED_BYTES - 256), start());
    assert_eq!(events(&mut session).len(), 1, "alone it may be as large as a frame");
    session.handle_payload(&padded("b", 256), start());
    assert_eq!(refusals(&mut session), [FaultCode::Overloaded]);
    assert!(session.respond(&RequestId::parse("a").unwrap(), Ok(Raw::nil())));
    session.handle_payload(&padded("c", 256), start());
    assert_eq!(events(&mut session).len(), 1);
}

#[test]
fn what_waits_for_whoever_called_does_not_keep_the_fields_that_nobody_knows() {
    let mut session = Session::<u32>::new(terms(), 1, start());
    let call = session.call(outgoing(SECOND), 1, start()).unwrap();
    let id = wire_id(1, call);
    let payload = |kind: &str, fill: fn(RawMap) -> RawMap| {
        let data = |map: RawMap| fill(map.text("id", id.as_str())).bin("junk", &[0; 20_000]);
        RawMap::new().uint("t", 22).text("type", kind).map("data", data).finish().to_bytes()
    };
    let value = payload("rp.value", |map| map.uint("n", 0).text("data", "little"));
    let progress = payload("rp.progress", |map| map.uint("completed", 1).text("details", "little"));
    session.handle_payload(&value, start());
    session.handle_payload(&progress, start());
    let events = events(&mut session);
    let [Event::Value(_, data), Event::Progress(_, Progress { details, .. })] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((data.as_text(), details.as_text()), (Some("little"), Some("little")));
    assert!(value.is_unique() && progress.is_unique(), "they are kept and their messages are not");
}

#[test]
fn the_side_that_wants_to_know_sooner_does() {
    let at = |ping: u64, dead: u64| Liveness {
        ping: (ping > 0).then(|| Duration::from_secs(ping)),
        dead: (dead > 0).then(|| Duration::from_secs(dead)),
    };
    assert_eq!(at(15, 40).meet(at(5, 60)), at(5, 40));
    assert_eq!(at(0, 0).meet(at(15, 40)), at(15, 40), "off is the longest of all");
    assert_eq!(at(0, 0).meet(at(0, 0)), at(0, 0));
}

#[test]
fn our_own_requests_stop_at_the_limit() {
    let mut session = Session::<u32>::new(terms(), 1, start());
    for token in 0..8 {
        session.call(outgoing(SECOND), token, start()).unwrap();
    }
    assert_eq!(session.call(outgoing(SECOND), 8, start()), Err((8, Refusal::TooMany { limit: 8 })));
    session.abandon(CallId(0));
    session.call(outgoing(SECOND), 8, start()).unwrap();
}

#[test]
fn an_answer_that_is_too_large_becomes_a_fault() {
    let mut pair = Pair::new(&terms());
    for token in 0..3 {
        pair.call(0, outgoing(SECOND), token);
    }
    pair.settle();
    let incoming = pair.requests(1);
    let trace = |mut fault: Fault| {
        fault.trace = Some("x".repeat(100_000));
        fault
    };
    let failed = trace(Fault::new(FaultCode::Failed, "y".repeat(5000)));
    let strange = trace(Fault::new(FaultCode::Other("z".repeat(1000)), "strange"));
    for (incoming, result) in incoming.iter().zip([Ok(text(64 * 1024)), Err(failed), Err(strange)]) {
        assert!(pair.ends[1].respond(&incoming.id, result));
    }
    pair.settle();
    let codes: Vec<FaultCode> = pair
        .take(0)
        .into_iter()
        .map(|event| match event {
            Event::Answered(_, Err(fault)) => {
                assert!(fault.message.len() < 3000 && fault.trace.is_none(), "{}", fault.message.len());
                fault.code
            }
            other => panic!("{other:?}"),
        })
        .collect();
    // a failure stays the failure that it was, without its details
    assert_eq!(codes, [FaultCode::TooLarge, FaultCode::Failed, FaultCode::Internal]);
}

#[test]
fn a_request_that_is_too_large_or_malformed_is_refused_here() {
    let mut session = Session::<u32>::new(terms(), 1, start());
    let (token, refusal) = session.call(large(64 * 1024, SECOND), 4, start()).unwrap_err();
    assert!(matches!((token, &refusal), (4, Refusal::TooLarge { limit: 65_536, .. })), "{refusal:?}");
    let deep = (0..31).fold(Raw::empty_array(), |inner, _| {
        Raw::parse([&[0x91], inner.as_bytes()].concat().into()).unwrap()
    });
    let long = "m".repeat(129);
    let bad = [
        OutgoingCall { args: deep, ..outgoing(SECOND) },
        OutgoingCall { args: Raw::nil(), ..outgoing(SECOND) },
        OutgoingCall { kwargs: Raw::empty_array(), ..outgoing(SECOND) },
        OutgoingCall { method: long.clone(), ..outgoing(SECOND) },
        OutgoingCall { trace: Some("t".repeat(2000)), ..outgoing(SECOND) },
    ];
    for call in bad {
        let (_, refusal) = session.call(call, 5, start()).unwrap_err();
        assert!(matches!(refusal, Refusal::Unacceptable(_)), "{refusal:?}");
    }
    assert!(matches!(session.notify(long, Raw::nil()), Err(Refusal::Unacceptable(_))));
    assert!(matches!(session.notify("x".into(), text(64 * 1024)), Err(Refusal::TooLarge { .. })));
    assert_eq!((session.in_flight(), session.wants_to_write()), ((0, 0), false));
}

#[test]
fn the_oldest_peers_get_the_oldest_fields_and_nothing_else() {
    let oldest = Terms { protocol: 0, ..terms() };
    let mut session = Session::<u32>::new(oldest, 1, start());
    let trace = Some("t".to_owned());
    let roles = Some(vec!["deploy".to_owned()]);
    let call = OutgoingCall { trace, operator: Some("ada".to_owned()), roles, ..large(3, SECOND) };
    let call = session.call(call, 1, start()).unwrap();
    session.cancel(call);
    let numbers = OutgoingCall { args: Raw::encode(&[1]).unwrap(), ..outgoing(SECOND) };
    assert_eq!(session.call(numbers, 2, start()), Err((2, Refusal::TextOnly)));
    session.handle_message(request("a"), start());
    let id = RequestId::parse("a").unwrap();
    assert_eq!(session.value(&id, Raw::nil()), Ok(()));
    assert_eq!(session.value(&RequestId::parse("b").unwrap(), Raw::nil()), Err(ValueError::Ended));
    session.progress(&id, Progress { completed: 1, total: None, details: Raw::nil() });
    let fault = Fault { trace: Some("trace".into()), ..Fault::new(FaultCode::Failed, "broken") };
    session.respond(&id, Err(fault));
    session.handle_timeout(start() + 2 * SECOND);
    let messages = written(&mut session);
    let [Message::Request(request), Message::Response(response)] = &messages[..] else {
        panic!("no values, no progress, no cancel: {messages:?}")
    };
    assert_eq!((request.timeout_ms, &request.trace, &request.operator), (None, &None, &None));
    let Err(fault) = &response.result else { panic!("{response:?}") };
    assert_eq!((&fault.message, &fault.trace), (&"failed: broken".to_owned(), &None));
    session.close(crate::wire::Bye::new(ByeCode::Idle, "over").retry_after(SECOND));
    let messages = written(&mut session);
    assert!(
        matches!(&messages[..], [Message::Bye(bye)] if bye.code.is_none() && bye.retry_after_ms.is_none())
    );
}

#[test]
fn a_flood_of_pings_that_reads_nothing_is_cut() {
    let mut session = Session::<u32>::new(terms(), 1, start());
    for n in 0..MAX_CONTROL as u64 {
        session.handle_message(Message::Ping(Integer::from(n)), start());
    }
    assert_eq!(session.closed(), None);
    assert_eq!(written(&mut session).len(), MAX_CONTROL);
    for n in 0..=MAX_CONTROL as u64 {
        session.handle_message(Message::Ping(Integer::from(n)), start());
    }
    let Some(CloseReason::Violation(bye)) = session.closed() else { panic!("not cut") };
    assert_eq!(bye.code, Some(ByeCode::Flow));
    assert_eq!(written(&mut session).len(), 1, "the goodbye alone");
}

#[test]
fn a_flood_of_requests_that_reads_nothing_is_cut() {
    let mut session = Session::<u32>::new(terms(), 1, start());
    for n in 0..8 + MAX_CONTROL {
        session.handle_message(request(&n.to_string()), start());
    }
    assert_eq!(session.closed(), None);
    session.handle_message(request("one more"), start());
    assert!(matches!(session.closed(), Some(CloseReason::Violation(bye)) if bye.code == Some(ByeCode::Flow)));
    let stops = events(&mut session).into_iter().filter(|e| matches!(e, Event::Stop(_, StopReason::Closed)));
    assert_eq!(stops.count(), 8);
}

#[test]
fn credit_for_many_calls_is_no_flood() {
    let limits = Limits { in_flight: 4096, ..terms().limits };
    let mut session = Session::<u32>::new(Terms { limits, ..terms() }, 1, start());
    for token in 0..2000 {
        let call = session.call(outgoing(SECOND), token, start()).unwrap();
        let request = wire_id(1, call);
        let value = Flight::Value { request, n: 0, data: text(9000) };
        session.handle_message(Message::Notification(value.encode()), start());
        session.consumed(call, 9000);
    }
    assert_eq!(session.closed(), None, "the peer is not to blame for what we take");
}

#[test]
fn unknown_kinds_are_counted_and_unknown_fields_ignored() {
    let mut session = Session::<u32>::new(terms(), 1, start());
    let kind = |n| codec::encode(&Message::Unknown(n), PROTOCOL);
    for n in [0, 15, 99, u64::MAX] {
        session.handle_payload(&kind(n), start());
    }
    assert_eq!((session.closed(), session.counters().unknown_kinds), (None, 4));
    session.handle_payload(&Bytes::from_static(b"\x80"), start());
    let Some(CloseReason::Violation(bye)) = session.closed() else { panic!("accepted") };
    assert_eq!(bye.code, Some(ByeCode::Malformed));
    assert!(bye.reason.contains("`t`"), "says what is wrong: {}", bye.reason);
}
