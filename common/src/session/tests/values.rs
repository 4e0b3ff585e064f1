//! Values and progress of requests in flight: numbers, credit, order.

use super::*;
use crate::session::ValueError;
use crate::wire::flight::{Flight, Progress};
use crate::wire::{ByeCode, Fault, FaultCode};

fn progress(completed: u64) -> Progress {
    Progress { completed, total: Some(10), details: Raw::nil() }
}

/// A pair with one call from the first end to the second.
fn called() -> (Pair, CallId, RequestId) {
    let mut pair = Pair::new(&terms());
    let call = pair.call(0, outgoing(60 * SECOND), 7);
    pair.settle();
    let id = pair.request(1).id;
    (pair, call, id)
}

fn violation(pair: &Pair) -> Option<ByeCode> {
    match pair.ends[0].closed() {
        Some(CloseReason::Violation(bye)) => bye.code,
        other => panic!("{other:?}"),
    }
}

fn value(id: &RequestId, n: u64, len: usize) -> Message {
    Message::Notification(Flight::Value { request: id.clone(), n, data: text(len) }.encode())
}

#[test]
fn values_and_progress_come_in_order_and_the_answer_last() {
    let (mut pair, call, id) = called();
    for n in 0..5 {
        pair.ends[1].value(&id, text(n)).unwrap();
        pair.ends[1].progress(&id, progress(n as u64));
    }
    assert!(pair.ends[1].respond(&id, Ok(Raw::nil())), "small, and yet it waits for its values");
    pair.settle();
    let mut wanted: Vec<Event<u32>> = Vec::new();
    for n in 0..5 {
        wanted.push(Event::Value(call, text(n)));
        wanted.push(Event::Progress(call, progress(n as u64)));
    }
    wanted.push(Event::Answered(7, Ok(Raw::nil())));
    assert_eq!(pair.take(0), wanted);
}

#[test]
fn an_answer_does_not_overtake_progress_alone_either() {
    let (mut pair, call, id) = called();
    pair.ends[1].progress(&id, progress(1));
    pair.ends[1].respond(&id, Err(Fault::new(FaultCode::Failed, "no")));
    pair.settle();
    let events = pair.take(0);
    assert!(
        matches!(&events[..], [Event::Progress(c, _), Event::Answered(7, _)] if *c == call),
        "{events:?}"
    );
}

#[test]
fn values_wait_for_credit_and_credit_comes_when_they_are_taken() {
    let (mut pair, call, id) = called();
    let mut sent = 0;
    while pair.ends[1].value(&id, text(1000)).is_ok() {
        sent += 1;
    }
    assert_eq!(sent, 16, "a window of 16 KiB");
    let len = text(1000).len();
    assert_eq!(pair.ends[1].value(&id, text(1000)), Err(ValueError::NoCredit { len }));
    pair.settle();
    assert_eq!(pair.take(0).len(), sent);
    assert_eq!(pair.take(1), [], "arrived is not taken");
    for _ in 0..sent {
        pair.ends[0].consumed(call, len);
    }
    pair.settle();
    let granted: u64 =
        pair.take(1).iter().map(|e| if let Event::Credit(_, n) = e { *n } else { panic!("{e:?}") }).sum();
    assert!(granted >= 8 * 1024, "{granted}");
    pair.ends[1].value(&id, text(1000)).unwrap();
    pair.settle();
    assert_eq!(pair.take(0), [Event::Value(call, text(1000))]);
}

#[test]
fn a_gap_or_a_repeated_number_is_a_violation() {
    for n in [1, 3, u64::MAX] {
        let (mut pair, _call, id) = called();
        pair.ends[0].handle_message(value(&id, 0, 1), pair.now);
        assert_eq!(pair.ends[0].closed(), None);
        pair.ends[0].handle_message(value(&id, if n == 1 { 0 } else { n }, 1), pair.now);
        assert_eq!(violation(&pair), Some(ByeCode::Protocol), "value {n} after value 0");
    }
}

#[test]
fn a_value_beyond_the_credit_ends_the_session() {
    let (mut pair, _call, id) = called();
    for n in 0..64 {
        pair.ends[0].handle_message(value(&id, n, 1), pair.now);
    }
    assert_eq!(pair.ends[0].closed(), None, "64 values of the least cost fill the window");
    pair.ends[0].handle_message(value(&id, 64, 1), pair.now);
    assert_eq!(violation(&pair), Some(ByeCode::Flow));
}

#[test]
fn credit_beyond_the_window_ends_the_session() {
    let mut session = Session::<u32>::new(terms(), 1, start());
    session.handle_message(request("a"), start());
    for bytes in [1, u64::MAX] {
        let credit = Flight::Credit { request: RequestId::parse("a").unwrap(), bytes };
        session.handle_message(Message::Notification(credit.encode()), start());
        assert!(
            matches!(session.closed(), Some(CloseReason::Violation(bye)) if bye.code == Some(ByeCode::Flow))
        );
    }
}

#[test]
fn flights_of_what_is_over_are_counted_and_flights_of_nothing_are_a_violation() {
    let (mut pair, _call, id) = called();
    pair.ends[1].respond(&id, Ok(Raw::nil()));
    pair.settle();
    pair.ends[0].handle_message(value(&id, 0, 1), pair.now);
    let late = Flight::Progress { request: id.clone(), progress: progress(1) };
    pair.ends[0].handle_message(Message::Notification(late.encode()), pair.now);
    // the answerer does not remember ids: these may be late, too
    for flight in [Flight::Cancel { request: id.clone() }, Flight::Credit { request: id, bytes: 1 }] {
        pair.ends[1].handle_message(Message::Notification(flight.encode()), pair.now);
    }
    assert_eq!([0, 1].map(|end: usize| pair.ends[end].counters().late_flights), [2, 2]);
    assert_eq!([0, 1].map(|end: usize| pair.ends[end].closed().is_none()), [true, true]);
    pair.ends[0].handle_message(value(&RequestId::parse("never").unwrap(), 0, 1), pair.now);
    assert_eq!(violation(&pair), Some(ByeCode::Protocol));
}

#[test]
fn a_value_after_the_answer_is_refused_here() {
    let (mut pair, _call, id) = called();
    pair.ends[1].respond(&id, Ok(Raw::nil()));
    assert_eq!(pair.ends[1].value(&id, Raw::nil()), Err(ValueError::Ended));
    pair.ends[1].progress(&id, progress(1));
    pair.settle();
    assert_eq!(pair.take(0), [Event::Answered(7, Ok(Raw::nil()))]);
}

#[test]
fn a_value_that_the_caller_would_not_accept_is_refused_here_and_costs_no_credit() {
    let (mut pair, call, id) = called();
    let limit = pair.ends[1].terms().frame_limit();
    let deep = (0..30).fold(Raw::empty_array(), |inner, _| nested(&inner));
    for bad in [text(limit), text(limit - 60), deep] {
        let refused = pair.ends[1].value(&id, bad);
        assert!(matches!(refused, Err(ValueError::Unacceptable(_))), "{refused:?}");
    }
    for _ in 0..2 {
        pair.ends[1].value(&id, text(limit - 128)).unwrap();
    }
    pair.settle();
    let events = pair.take(0);
    assert!(matches!(&events[..], [Event::Value(a, _), Event::Value(b, _)] if *a == call && *b == call));
    assert_eq!(pair.ends[0].closed(), None);
}

fn nested(inner: &Raw) -> Raw {
    let bytes = [&[0x91], inner.as_bytes()].concat();
    Raw::parse(bytes.into()).unwrap()
}
