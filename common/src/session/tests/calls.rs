//! Calls both ways: answered once, expired, cancelled, abandoned.

use super::*;
use crate::session::{Refusal, StopReason};
use crate::wire::flight::Flight;
use crate::wire::{ByeCode, Fault, FaultCode, Response};

fn answered(event: &Event<u32>) -> (u32, Result<usize, FaultCode>) {
    match event {
        Event::Answered(token, Ok(data)) => (*token, Ok(data.len())),
        Event::Answered(token, Err(fault)) => (*token, Err(fault.code.clone())),
        other => panic!("expected an answer, got {other:?}"),
    }
}

fn is_cancel(message: &Message) -> bool {
    matches!(message, Message::Notification(n) if matches!(Flight::decode(n), Ok(Some(Flight::Cancel { .. }))))
}

#[test]
fn calls_of_both_sides_are_answered_once() {
    let mut pair = Pair::new(&terms());
    for end in 0..2 {
        for token in 0..8 {
            pair.call(end, outgoing(SECOND), token);
        }
    }
    pair.settle();
    for end in 0..2 {
        let incoming = pair.requests(1 - end);
        assert_eq!(incoming.len(), 8);
        // in another order than they came
        for (n, incoming) in incoming.iter().enumerate().rev() {
            let result = if n % 2 == 0 { Ok(text(n)) } else { Err(Fault::new(FaultCode::Failed, "no")) };
            assert!(pair.ends[1 - end].respond(&incoming.id, result.clone()));
            assert!(!pair.ends[1 - end].respond(&incoming.id, result), "answered twice");
        }
    }
    pair.settle();
    for end in 0..2 {
        let mut answers: Vec<_> = pair.take(end).iter().map(answered).collect();
        answers.sort();
        let failed = |token: &u32| token % 2 == 1;
        let wanted =
            (0..8u32).map(|t| (t, if failed(&t) { Err(FaultCode::Failed) } else { Ok(1 + t as usize) }));
        assert_eq!(answers, wanted.collect::<Vec<_>>());
        assert_eq!(pair.ends[end].in_flight(), (0, 0));
    }
}

#[test]
fn a_late_answer_is_dropped_and_counted() {
    let mut pair = Pair::new(&terms());
    pair.call(0, outgoing(SECOND), 7);
    pair.run(SECOND / 2);
    let incoming = pair.request(1);
    pair.run(SECOND);
    assert_eq!(pair.take(0), [Event::Expired(7)]);
    assert!(pair.ends[1].respond(&incoming.id, Ok(Raw::nil())));
    pair.settle();
    assert_eq!(pair.take(0), []);
    assert_eq!(pair.ends[0].counters().late_answers, 1);
    assert_eq!(pair.ends[0].closed(), None);
}

#[test]
fn an_answer_to_a_request_that_was_never_sent_is_a_violation() {
    let mut session = Session::<u32>::new(terms(), 1, start());
    let call = session.call(outgoing(SECOND), 1, start()).unwrap();
    let sent = match &written(&mut session)[..] {
        [Message::Request(request)] => request.id.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(sent, wire_id(1, call));
    let next = wire_id(1, CallId(1));
    for id in [next.as_str(), "x", wire_id(2, call).as_str()] {
        let mut session = Session::<u32>::new(terms(), 1, start());
        session.call(outgoing(SECOND), 1, start()).unwrap();
        let answer = Response { id: RequestId::parse(id).unwrap(), result: Ok(Raw::nil()) };
        session.handle_message(Message::Response(answer), start());
        let Some(CloseReason::Violation(bye)) = session.closed() else { panic!("{id} was accepted") };
        assert_eq!(bye.code, Some(ByeCode::Protocol));
        let events = events(&mut session);
        assert!(matches!(&events[..], [Event::Closed(_, waiters)] if *waiters == [1]), "{events:?}");
    }
}

#[test]
fn a_request_id_in_flight_cannot_be_used_again_until_it_is_answered() {
    let mut session = Session::<u32>::new(terms(), 1, start());
    let id = RequestId::parse("a").unwrap();
    session.handle_message(request("a"), start());
    session.respond(&id, Ok(Raw::nil()));
    session.handle_message(request("a"), start());
    assert_eq!(session.closed(), None);
    session.handle_message(request("a"), start());
    assert!(matches!(session.closed(), Some(CloseReason::Violation(_))));
    assert!(matches!(&written(&mut session)[..], [Message::Bye(_)]), "what was queued is dropped");
    let events = events(&mut session);
    assert!(matches!(&events[2..], [Event::Stop(_, StopReason::Closed), Event::Closed(..)]), "{events:?}");
}

#[test]
fn both_sides_stop_waiting_at_the_deadline() {
    let mut pair = Pair::new(&terms());
    pair.call(0, outgoing(SECOND), 7);
    pair.settle();
    let incoming = pair.request(1);
    assert_eq!(incoming.deadline.unwrap().duration_since(pair.now), SECOND - 9 * LATENCY);
    pair.run(SECOND - 10 * LATENCY);
    assert_eq!(pair.take(0), [Event::Expired(7)]);
    assert_eq!(pair.take(1), [], "the answerer's second began when the request came");
    pair.run(LATENCY);
    let stops = pair.take(1);
    assert!(
        matches!(&stops[..], [Event::Stop(_, StopReason::Cancelled | StopReason::TimedOut)]),
        "{stops:?}"
    );
    pair.settle();
    assert_eq!(pair.take(1), [], "a second stop for the same request");
    assert_eq!(pair.ends[1].in_flight(), (0, 1), "it is owed until it is answered");
}

#[test]
fn limits_in_time_are_rounded_up_and_never_overflow() {
    let mut session = Session::<u32>::new(terms(), 1, start());
    session.call(outgoing(Duration::from_nanos(1)), 1, start()).unwrap();
    session.call(outgoing(Duration::MAX), 2, start()).unwrap();
    let timeouts = written(&mut session).into_iter().map(|message| match message {
        Message::Request(request) => request.timeout_ms,
        other => panic!("{other:?}"),
    });
    assert_eq!(timeouts.collect::<Vec<_>>(), [Some(1), Some(366 * 24 * 3600 * 1000)]);
    let Message::Request(theirs) = request("a") else { unreachable!() };
    session.handle_message(Message::Request(Request { timeout_ms: Some(u64::MAX), ..theirs }), start());
    assert_eq!(session.closed(), None);
}

#[test]
fn a_cancelled_call_is_still_answered() {
    let mut pair = Pair::new(&terms());
    let call = pair.call(0, outgoing(SECOND), 7);
    for _ in 0..3 {
        pair.ends[0].cancel(call);
    }
    pair.settle();
    let events = pair.take(1);
    let [Event::Request(incoming), Event::Stop(stopped, StopReason::Cancelled)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(incoming.id, *stopped);
    pair.ends[1].respond(&incoming.id, Err(Fault::new(FaultCode::Cancelled, "stopped")));
    pair.settle();
    assert_eq!(pair.take(0).iter().map(answered).collect::<Vec<_>>(), [(7, Err(FaultCode::Cancelled))]);
    pair.ends[0].cancel(call);
    pair.run(2 * SECOND);
    assert_eq!(pair.take(1), [], "one cancel, and none for what is over");
}

#[test]
fn an_abandoned_call_gives_its_waiter_back_and_drops_the_answer() {
    let mut pair = Pair::new(&terms());
    let call = pair.call(0, outgoing(SECOND), 7);
    pair.settle();
    let incoming = pair.request(1);
    assert_eq!(pair.ends[0].abandon(call), Some(7));
    assert_eq!(pair.ends[0].abandon(call), None);
    pair.settle();
    let events = pair.take(1);
    assert!(matches!(&events[..], [Event::Stop(_, StopReason::Cancelled)]), "{events:?}");
    pair.ends[1].respond(&incoming.id, Ok(Raw::nil()));
    pair.run(2 * SECOND);
    assert_eq!(pair.take(0), []);
    assert_eq!(pair.ends[0].counters().late_answers, 1);
}

#[test]
fn a_cancel_never_overtakes_its_request() {
    for size in [10, 20_000] {
        let mut session = Session::<u32>::new(terms(), 1, start());
        session.call(large(20_000, SECOND), 1, start()).unwrap();
        let call = session.call(large(size, SECOND), 2, start()).unwrap();
        session.call(outgoing(SECOND), 3, start()).unwrap();
        session.abandon(call);
        let wanted = wire_id(1, call);
        let messages = written(&mut session);
        let of = |message: &Message| match message {
            Message::Request(request) => request.id == wanted,
            other => is_cancel(other),
        };
        let order: Vec<&Message> = messages.iter().filter(|message| of(message)).collect();
        assert!(matches!(order[..], [Message::Request(_), Message::Notification(_)]), "{order:?}");
    }
}

#[test]
fn what_is_stopped_before_it_was_written_stays_in_order_with_the_expiry() {
    let mut session = Session::<u32>::new(terms(), 1, start());
    session.call(large(20_000, SECOND), 1, start()).unwrap();
    session.handle_timeout(start() + 2 * SECOND);
    let messages = written(&mut session);
    assert!(matches!(&messages[..], [Message::Request(_), cancel] if is_cancel(cancel)), "{messages:?}");
}

#[test]
fn a_cancelled_call_that_expires_is_not_cancelled_again() {
    let mut session = Session::<u32>::new(terms(), 1, start());
    let call = session.call(outgoing(SECOND), 1, start()).unwrap();
    session.cancel(call);
    session.handle_timeout(start() + 2 * SECOND);
    assert_eq!(events(&mut session), [Event::Expired(1)]);
    assert_eq!(written(&mut session).iter().filter(|message| is_cancel(message)).count(), 1);
}

#[test]
fn the_deadline_of_an_answered_request_does_not_stop_the_next_of_its_id() {
    let mut session = Session::<u32>::new(terms(), 1, start());
    let Message::Request(first) = request("a") else { unreachable!() };
    session.handle_message(Message::Request(Request { timeout_ms: Some(1000), ..first }), start());
    session.respond(&RequestId::parse("a").unwrap(), Ok(Raw::nil()));
    session.handle_message(request("a"), start());
    assert_eq!(events(&mut session).len(), 2);
    session.handle_timeout(start() + 2 * SECOND);
    assert_eq!(events(&mut session), []);
    assert!(session.poll_timeout().unwrap() > start() + 2 * SECOND, "it would wake for nothing");
}

#[test]
fn calls_after_the_end_are_refused_with_the_reason() {
    let mut pair = Pair::new(&terms());
    pair.ends[0].close(crate::wire::Bye::new(ByeCode::Idle, "nothing to do"));
    let reason = pair.closed(0).clone();
    let (token, refusal) = pair.ends[0].call(outgoing(SECOND), 9, pair.now).unwrap_err();
    assert_eq!((token, refusal), (9, Refusal::Closed(reason.clone())));
    assert_eq!(pair.ends[0].notify("x".into(), Raw::nil()), Err(Refusal::Closed(reason)));
    assert_eq!(pair.ends[0].ping(pair.now), None);
}
