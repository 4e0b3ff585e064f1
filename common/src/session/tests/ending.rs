//! How sessions live on and how they end: for everybody who waits, at once, with one reason.

use super::*;
use crate::session::StopReason;
use crate::session::terms::{DEFAULT_DEAD, DEFAULT_PING};
use crate::wire::{Bye, ByeCode, Fault, FaultCode, Integer};

/// A pair where each end waits for two calls.
fn busy() -> Pair {
    let mut pair = Pair::new(&terms());
    for end in 0..2 {
        for token in 0..2 {
            pair.call(end, outgoing(3600 * SECOND), token);
        }
    }
    pair.settle();
    for end in 0..2 {
        assert_eq!(pair.requests(end).len(), 2);
    }
    pair
}

/// Everybody who waited at an end was told this reason, once.
fn check_end(pair: &mut Pair, end: usize, reason: &CloseReason) {
    let events = pair.take(end);
    let [
        Event::Stop(a, StopReason::Closed),
        Event::Stop(b, StopReason::Closed),
        Event::Closed(told, waiters),
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_ne!(a, b);
    assert_eq!((told, &waiters[..]), (reason, &[0, 1][..]));
    assert_eq!(pair.closed(end), reason);
    let session = &pair.ends[end];
    assert_eq!((session.in_flight(), session.poll_timeout()), ((0, 0), None));
}

#[test]
fn a_goodbye_reaches_everybody_who_waits_on_both_sides() {
    let mut pair = busy();
    let bye = Bye::new(ByeCode::ShuttingDown, "maintenance").retry_after(7 * SECOND);
    pair.ends[0].close(bye.clone());
    pair.ends[0].close(Bye::new(ByeCode::Idle, "a second one does nothing"));
    check_end(&mut pair, 0, &CloseReason::Ours(bye.clone()));
    pair.settle();
    check_end(&mut pair, 1, &CloseReason::Theirs(bye.clone()));
    assert_eq!(pair.closed(1).their_bye(), Some(&bye));
    pair.run(3600 * SECOND);
    assert_eq!((pair.take(0), pair.take(1)), (vec![], vec![]));
}

#[test]
fn what_was_queued_goes_out_before_the_goodbye() {
    let mut pair = Pair::new(&terms());
    for token in 0..3 {
        pair.call(0, outgoing(SECOND), token);
    }
    pair.settle();
    let incoming = pair.requests(1);
    pair.ends[1].value(&incoming[0].id, text(100)).unwrap();
    pair.ends[1].respond(&incoming[0].id, Ok(Raw::nil()));
    pair.ends[1].respond(&incoming[1].id, Ok(text(30_000)));
    pair.ends[1].notify("x".into(), Raw::nil()).unwrap();
    pair.ends[1].close(Bye::new(ByeCode::ShuttingDown, "over"));
    pair.settle();
    let events = pair.take(0);
    assert_eq!(events.len(), 5, "{events:?}");
    assert!(matches!(&events[4], Event::Closed(CloseReason::Theirs(_), waiters) if *waiters == [2]));
    for token in 0..2 {
        assert!(events.iter().any(|e| matches!(e, Event::Answered(t, Ok(_)) if *t == token)));
    }
}

#[test]
fn a_violation_is_told_at_once_and_nothing_else_is_said() {
    let mut pair = busy();
    pair.ends[0].notify("x".into(), text(30_000)).unwrap();
    pair.ends[0].handle_message(Message::Pong(Integer::from(1u64)), pair.now);
    let reason = pair.closed(0).clone();
    assert!(matches!(&reason, CloseReason::Violation(bye) if bye.code == Some(ByeCode::Protocol)));
    check_end(&mut pair, 0, &reason);
    let messages = written(&mut pair.ends[0]);
    assert!(matches!(&messages[..], [Message::Bye(_)]), "{messages:?}");
}

#[test]
fn after_the_end_nothing_is_taken() {
    let mut pair = busy();
    pair.ends[0].handle_lost(CloseReason::Ended);
    check_end(&mut pair, 0, &CloseReason::Ended);
    for message in
        [request("late"), Message::Ping(Integer::from(1u64)), Message::Bye(Bye::new(ByeCode::Idle, "x"))]
    {
        pair.ends[0].handle_message(message, pair.now);
    }
    pair.ends[0].handle_bad_frame(ByeCode::Malformed, "x".into());
    pair.ends[0].handle_timeout(pair.now + 7200 * SECOND);
    pair.ends[0].cancel(CallId(0));
    pair.ends[0].consumed(CallId(0), 1);
    assert_eq!(pair.ends[0].abandon(CallId(0)), None);
    assert_eq!((pair.take(0), pair.ends[0].wants_to_write()), (vec![], false));
    assert_eq!(pair.closed(0), &CloseReason::Ended);
}

#[test]
fn an_idle_week_keeps_the_session() {
    let mut pair = Pair::new(&terms());
    let mut steps = 0u64;
    let end = pair.now + 7 * 24 * 3600 * SECOND;
    while pair.step(end) {
        steps += 1;
    }
    assert_eq!((pair.ends[0].closed(), pair.ends[1].closed()), (None, None));
    // each end's timer, its ping and the pong, once in an interval: no end wakes for nothing
    assert!(steps < 7 * 24 * 3600 / DEFAULT_PING.as_secs() * 7, "{steps} steps");
    let pongs = pair.take(0).len() as u64;
    assert!(pongs > 7 * 24 * 3600 / DEFAULT_PING.as_secs() * 8 / 10, "{pongs} pongs");
}

#[test]
fn a_cut_wire_ends_both_sides_in_time() {
    let mut pair = busy();
    pair.run(100 * SECOND);
    let _pongs = (pair.take(0), pair.take(1));
    pair.cut();
    pair.run(DEFAULT_DEAD);
    for end in 0..2 {
        check_end(&mut pair, end, &CloseReason::Silent(DEFAULT_DEAD));
    }
}

#[test]
fn bytes_that_are_no_message_yet_are_life() {
    let mut session = Session::<u32>::new(terms(), 1, start());
    let mut now = start();
    for _ in 0..100 {
        now += DEFAULT_DEAD - SECOND;
        session.heard(now);
        session.handle_timeout(now);
    }
    assert_eq!(session.closed(), None);
}

#[test]
fn a_ping_on_demand_is_answered_with_its_time() {
    let mut pair = Pair::new(&terms());
    let number = pair.ends[0].ping(pair.now).unwrap();
    pair.settle();
    assert_eq!(pair.take(0), [Event::Pong(number, 2 * LATENCY)]);
    let many = std::iter::from_fn(|| pair.ends[0].ping(pair.now)).count();
    assert_eq!(many, crate::session::keepalive::MAX_PINGS);
    pair.settle();
    assert_eq!(pair.take(0).len(), many, "each gets its pong, none is a violation");
}

#[test]
fn an_answer_is_not_lost_in_the_instant_of_its_deadline() {
    let mut pair = Pair::new(&terms());
    pair.call(0, outgoing(2 * LATENCY), 7);
    pair.run(LATENCY);
    let incoming = pair.request(1);
    pair.ends[1].respond(&incoming.id, Err(Fault::new(FaultCode::Failed, "just in time")));
    pair.run(LATENCY);
    let events = pair.take(0);
    assert!(matches!(&events[..], [Event::Answered(7, Err(_))]), "{events:?}");
}
