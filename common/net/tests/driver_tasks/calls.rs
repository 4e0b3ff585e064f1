//! Calls over two drivers.

use redpoll_common::session::{Refusal, StopReason};
use redpoll_common::wire::{Fault, FaultCode, Message, Raw};
use redpoll_net::{Call, CallError, CallEvent};
use tokio::time::Instant;

use crate::support::*;

fn fault(result: Result<Raw, CallError>) -> FaultCode {
    match result {
        Err(CallError::Fault(Fault { code, .. })) => code,
        other => panic!("expected a fault, got {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn both_sides_call_each_other() {
    let pairs = [ends(&terms()), piped(&terms(), 7), piped(&terms(), 64 * 1024)];
    for (one, other) in pairs {
        let args = Raw::encode(&["x".repeat(100_000), "y".to_owned()]).unwrap();
        let (a, b) = tokio::join!(
            one.peer.call(call("echo").with_args(args.clone())),
            other.peer.call(call("echo").with_args(args.clone()))
        );
        assert_eq!((a.unwrap(), b.unwrap()), (args.clone(), args));
        assert!(one.peer.ping().await.is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_calls_as_agreed_are_in_flight_both_ways() {
    for (one, other) in [ends(&terms()), piped(&terms(), 4096)] {
        let calls = |peer: &redpoll_net::Peer| {
            let peer = peer.clone();
            let one = move |n: u32| {
                let peer = peer.clone();
                async move {
                    let args = Raw::encode(&[n]).unwrap();
                    assert_eq!(peer.call(call("echo").with_args(args.clone())).await.unwrap(), args);
                }
            };
            futures_util::future::join_all((0..256).map(one))
        };
        for _ in 0..4 {
            tokio::join!(calls(&one.peer), calls(&other.peer));
        }
        assert_eq!((one.notes.started(), other.notes.started()), (1024, 1024));
    }
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_limit_are_refused_here() {
    let (one, other) = ends(&quiet());
    let mut streams = Vec::new();
    for _ in 0..256 {
        streams.push(one.peer.start(call("wait")).await.unwrap());
    }
    eventually("all arrive", || other.notes.running() == 256).await;
    let refused = one.peer.call(call("echo")).await;
    assert_eq!(refused, Err(CallError::Refused(Refusal::TooMany { limit: 256 })));
    streams.pop();
    eventually("one is stopped", || other.notes.running() == 255).await;
    assert_eq!(one.peer.call(call("echo")).await, Ok(Raw::empty_array()));
}

#[tokio::test(start_paused = true)]
async fn a_call_times_out_at_its_deadline_on_both_sides() {
    let (one, other) = ends(&quiet());
    let begin = Instant::now();
    for method in ["wait", "graceful wait"] {
        let result = one.peer.call(Call::new(method, 7 * SECOND)).await;
        assert_eq!(result, Err(CallError::TimedOut(7 * SECOND)));
    }
    assert_eq!(begin.elapsed().as_secs_f32().round(), 14.0);
    eventually("stopped", || other.notes.running() == 0).await;
    let stops = other.notes.stops();
    assert!(matches!(stops[..], [StopReason::TimedOut | StopReason::Cancelled]), "{stops:?}");
}

#[tokio::test(start_paused = true)]
async fn a_short_call_after_a_long_one_times_out_in_its_own_time() {
    let (one, _other) = ends(&terms());
    let begin = Instant::now();
    let long = one.peer.start(Call::new("wait", 100 * SECOND)).await.unwrap();
    tokio::time::sleep(2 * SECOND).await;
    for _ in 0..2 {
        let result = one.peer.call(Call::new("wait", SECOND)).await;
        assert_eq!(result, Err(CallError::TimedOut(SECOND)));
    }
    assert_eq!(begin.elapsed().as_secs_f32().round(), 4.0);
    drop(long);
}

#[tokio::test(start_paused = true)]
async fn a_call_may_wait_as_long_as_a_clock_can_say() {
    let (one, _other) = ends(&quiet());
    let endless = Call { timeout: std::time::Duration::MAX, ..call("echo") };
    assert_eq!(one.peer.call(endless).await, Ok(Raw::empty_array()));
    let instant = Call { timeout: std::time::Duration::ZERO, ..call("echo") };
    assert!(matches!(one.peer.call(instant).await, Err(CallError::TimedOut(_))));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_is_answered_by_whoever_served_it() {
    let (one, other) = ends(&quiet());
    for (method, stops) in [("wait", 0), ("graceful wait", 1)] {
        let mut stream = one.peer.start(call(method)).await.unwrap();
        eventually("it runs", || other.notes.running() == 1).await;
        for _ in 0..3 {
            stream.cancel();
        }
        match stream.next().await {
            Some(CallEvent::End(result)) => assert_eq!(fault(result), FaultCode::Cancelled),
            event => panic!("{event:?}"),
        }
        assert_eq!(stream.next().await, None);
        assert_eq!((other.notes.running(), other.notes.stops().len()), (0, stops));
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_comes_before_the_call_was_sent_is_not_lost() {
    let (one, other) = ends(&quiet());
    let mut stream = one.peer.start(call("wait")).await.unwrap();
    stream.cancel();
    match stream.next().await {
        Some(CallEvent::End(result)) => assert_eq!(fault(result), FaultCode::Cancelled),
        event => panic!("{event:?}"),
    }
    drop(one.peer.start(call("wait")).await.unwrap());
    assert_eq!(one.peer.call(call("echo")).await, Ok(Raw::empty_array()));
    assert_eq!(other.notes.started(), 1, "neither of the other two was sent");
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_cancels_it_there_once() {
    let (one, mut other) = bare(&quiet(), None);
    let stream = one.peer.start(call("wait")).await.unwrap();
    let Some(Message::Request(request)) = hear(&mut other).await else { panic!() };
    stream.cancel();
    drop(stream);
    let Some(Message::Notification(cancel)) = hear(&mut other).await else { panic!() };
    assert_eq!(cancel.kind, "rp.cancel");
    // an answered call is not cancelled by its drop
    let answered = one.peer.start(call("wait")).await.unwrap();
    let Some(Message::Request(next)) = hear(&mut other).await else { panic!() };
    assert_ne!(next.id, request.id);
    let answer = redpoll_common::wire::Response { id: next.id, result: Ok(Raw::nil()) };
    say(&mut other, &Message::Response(answer)).await;
    tokio::time::sleep(SECOND).await;
    drop(answered);
    one.peer.notify("last", Raw::nil()).await.unwrap();
    let Some(Message::Notification(last)) = hear(&mut other).await else { panic!() };
    assert_eq!(last.kind, "last");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_frees_its_place_on_both_sides() {
    let (one, other) = ends(&quiet());
    for round in 1..=1000 {
        let call = one.peer.call(call("wait"));
        assert!(tokio::time::timeout(SECOND / 100, call).await.is_err());
        eventually("stopped", || other.notes.started() == round && other.notes.running() == 0).await;
    }
    assert_eq!(one.peer.call(call("echo")).await, Ok(Raw::empty_array()));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_answered_logged_and_ends_nothing_else() {
    let log = log();
    let (one, other) = ends(&quiet());
    for method in ["panic at once", "panic later", "no such method"] {
        assert_eq!(fault(one.peer.call(call(method)).await), FaultCode::Internal, "{method}");
    }
    one.peer.notify("panic", Raw::nil()).await.unwrap();
    one.peer.notify("x", Raw::nil()).await.unwrap();
    assert_eq!(one.peer.call(call("echo")).await, Ok(Raw::empty_array()));
    assert_eq!(
        (other.notes.running(), other.notes.notified.load(std::sync::atomic::Ordering::SeqCst)),
        (0, 1)
    );
    assert_eq!(log.count(tracing::Level::ERROR), 4);
}

#[tokio::test(start_paused = true)]
async fn requests_are_served_on_a_tracker_that_was_closed() {
    let (one, other) = ends(&quiet());
    other.tracker.close();
    assert_eq!(one.peer.call(call("echo")).await, Ok(Raw::empty_array()));
}

#[tokio::test(start_paused = true)]
async fn what_the_peer_would_not_accept_is_refused_here_and_the_session_lives() {
    let (one, _other) = ends(&quiet());
    let deep = (0..31).fold(Raw::empty_array(), |inner, _| {
        Raw::parse([&[0x91], inner.as_bytes()].concat().into()).unwrap()
    });
    let refused = one.peer.call(call("echo").with_args(deep)).await.unwrap_err();
    assert!(matches!(refused, CallError::Refused(Refusal::Unacceptable(_))), "{refused:?}");
    let fault = refused.into_fault();
    assert_eq!(fault.code, FaultCode::BadArguments);
    assert!(fault.message.contains("deep"), "{}", fault.message);
    let large = call("echo").with_args(Raw::encode(&["x".repeat(2 << 20)]).unwrap());
    let refused = one.peer.call(large).await.unwrap_err().into_fault();
    assert_eq!(refused.code, FaultCode::TooLarge);
    assert_eq!(one.peer.call(call("echo")).await, Ok(Raw::empty_array()));
}
