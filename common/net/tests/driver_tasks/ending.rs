//! How drivers end, and that everybody is told.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redpoll_common::session::{CloseReason, Refusal, StopReason, Terms};
use redpoll_common::wire::{Bye, ByeCode, Integer, Message, Notification, Raw};
use redpoll_net::driver::{DriverOptions, drive};
use redpoll_net::framed::Framed;
use redpoll_net::service::{CallContext, Running, Service};
use redpoll_net::stream::Metered;
use redpoll_net::transport::PeerInfo;
use redpoll_net::{CallError, CallEvent, Peer, memory};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use crate::support::*;

fn bye() -> Bye {
    Bye::new(ByeCode::ShuttingDown, "over").retry_after(SECOND)
}

#[tokio::test(start_paused = true)]
async fn when_the_callers_connection_dies_its_requests_are_stopped() {
    let (one, other) = bare(&quiet(), None);
    drop(other);
    assert!(matches!(one.check_over().await, CloseReason::Lost(_)));
    let (one, other) = ends(&quiet());
    let waits =
        [one.peer.start(call("wait")).await.unwrap(), one.peer.start(call("graceful wait")).await.unwrap()];
    eventually("they run", || other.notes.running() == 2).await;
    one.driver.abort();
    let notes = other.notes.clone();
    assert!(matches!(other.check_over().await, CloseReason::Lost(_)));
    assert_eq!(notes.stops(), [StopReason::Closed]);
    drop(waits);
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_is_dropped_tells_everybody() {
    let (one, other) = ends(&quiet());
    let mut stream = one.peer.start(call("wait")).await.unwrap();
    let served = other.peer.start(call("graceful wait")).await.unwrap();
    eventually("both run", || one.notes.running() == 1 && other.notes.running() == 1).await;
    let pinged = one.peer.clone();
    let pinged = async move { pinged.ping().await };
    one.driver.abort();
    let event = tokio::time::timeout(SECOND, stream.next()).await.expect("told");
    assert!(matches!(event, Some(CallEvent::End(Err(CallError::Closed(CloseReason::Lost(_)))))), "{event:?}");
    assert!(matches!(one.peer.closed().await, CloseReason::Lost(_)));
    assert!(one.peer.is_closed());
    assert_eq!(pinged.await, None);
    eventually("served requests stop", || one.notes.running() == 0).await;
    assert_eq!(one.notes.stops(), [StopReason::Closed]);
    let refused = one.peer.call(call("echo")).await;
    assert!(matches!(refused, Err(CallError::Refused(Refusal::Closed(CloseReason::Lost(_))))), "{refused:?}");
    drop(served);
}

/// What comes after the time of silence was sent to a process that stood still: hours ago, perhaps.
#[tokio::test(start_paused = true)]
async fn what_waited_while_this_process_stood_still_is_not_served_by_one_who_refuses_it() {
    for (refuse_stale, liveness) in
        [(true, terms().liveness), (true, quiet().liveness), (false, terms().liveness)]
    {
        let terms = Terms { liveness, ..terms() };
        let (one, mut other) = memory::pair(agent(), manager());
        other.set_payload_limit(terms.frame_limit());
        let one = End::new(one, &terms, DriverOptions { refuse_stale, ..options(1) });
        say(&mut other, &request("1", "echo", Raw::empty_array())).await;
        eventually("it serves", || one.notes.started() == 1).await;
        // nobody runs meanwhile, not even to look at the clock
        say(&mut other, &request("2", "echo", Raw::empty_array())).await;
        tokio::time::advance(3600 * SECOND).await;
        if refuse_stale && liveness.dead.is_some() {
            let CloseReason::Silent(silent) = one.peer.closed().await else { panic!("not silent") };
            assert!(silent >= 3600 * SECOND, "{silent:?}");
            assert_eq!(one.notes.started(), 1);
        } else {
            eventually("it serves that, too", || one.notes.started() == 2).await;
        }
        one.driver.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_goes_out_after_every_answer_that_was_given() {
    for (one, other) in [ends(&quiet()), piped(&quiet(), 16)] {
        let mut streams = Vec::new();
        for _ in 0..50 {
            streams.push(one.peer.start(values("values", 2, 10)).await.unwrap());
            streams.push(one.peer.start(call("echo")).await.unwrap());
        }
        eventually("all have run", || other.notes.started() == 100 && other.notes.running() == 0).await;
        // most answers are in the driver's queues, not on the wire
        other.peer.close(bye());
        let told = CloseReason::Theirs(bye());
        for mut stream in streams {
            loop {
                match stream.next().await.unwrap() {
                    CallEvent::End(result) => break assert!(result.is_ok(), "{result:?}"),
                    CallEvent::Value(_) | CallEvent::Progress(_) => {}
                }
            }
        }
        assert_eq!(other.check_over().await, CloseReason::Ours(bye()));
        assert_eq!(one.check_over().await, told);
    }
}

/// Says goodbye in the instant in which it has an answer, before the driver can have taken it.
#[derive(Debug, Default)]
struct Hasty(Arc<OnceLock<Peer>>);

struct CloseOnDrop(Peer);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close(bye());
    }
}

impl Service for Hasty {
    fn start(&self, _call: CallContext) -> Running {
        let close = CloseOnDrop(self.0.get().unwrap().clone());
        let answer = Box::pin(async move {
            let _close = close;
            Ok(Raw::text("in time"))
        });
        Running { answer, graceful: true }
    }

    fn notified(&self, _from: &PeerInfo, _notification: Notification) {}
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_the_drivers_queue_goes_out_before_the_goodbye() {
    let (one, other) = memory::pair(agent(), manager());
    let (hasty, tracker) = (Hasty::default(), TaskTracker::new());
    let own = hasty.0.clone();
    let (peer, driver) = drive(other, quiet(), Arc::new(hasty), options(2), tracker.clone());
    own.set(peer).unwrap();
    tracker.spawn(driver);
    let one = End::new(one, &quiet(), options(1));
    assert_eq!(one.peer.call(call("x")).await, Ok(Raw::text("in time")));
    assert_eq!(one.check_over().await, CloseReason::Theirs(bye()));
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_a_close_is_refused_at_once_with_the_reason() {
    let (one, _other) = bare(&quiet(), None);
    let begin = Instant::now();
    let early = one.peer.start(call("wait")).await.unwrap();
    one.peer.close(bye());
    one.peer.close(Bye::new(ByeCode::Idle, "the first one counts"));
    let refused = || Refusal::Closed(CloseReason::Ours(bye()));
    assert_eq!(one.peer.call(call("echo")).await, Err(CallError::Refused(refused())));
    assert_eq!(one.peer.notify("x", Raw::nil()).await, Err(refused()));
    assert_eq!(one.peer.ping().await, None);
    let mut early = early;
    assert_eq!(early.next().await, Some(CallEvent::End(Err(CallError::Refused(refused())))));
    assert_eq!(one.peer.closed().await, CloseReason::Ours(bye()));
    assert_eq!(begin.elapsed(), Duration::ZERO, "nobody waited for the goodbye to be written");
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_cut_at_the_agreed_time() {
    let (one, mut other) = bare(&terms(), None);
    let begin = Instant::now();
    let hearing = tokio::time::timeout(10 * SECOND, async { while hear(&mut other).await.is_some() {} });
    assert!(hearing.await.is_err());
    say(&mut other, &Message::Unknown(99)).await;
    let reason = one.peer.closed().await;
    assert_eq!(begin.elapsed().as_millis() / 10, 5000, "40 s after the last byte: {:?}", begin.elapsed());
    assert_eq!(reason, CloseReason::Silent(40 * SECOND));
    assert_eq!(one.check_over().await, reason);
}

#[tokio::test(start_paused = true)]
async fn half_a_message_is_life() {
    let (one, mut other) = tokio::io::duplex(4096);
    let one = Box::new(Framed::new(Metered::new(one), manager()));
    let one = End::new(one, &terms(), options(1));
    let begin = Instant::now();
    other.write_all(&1000_u32.to_be_bytes()).await.unwrap();
    for _ in 0..10 {
        sleep(39 * SECOND).await;
        other.write_all(&[0xc0]).await.unwrap();
    }
    assert_eq!(one.peer.closed().await, CloseReason::Silent(40 * SECOND));
    assert_eq!(begin.elapsed().as_secs(), 430, "40 s after the last byte");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_is_cut_and_nobody_else_notices() {
    for pipe in [None, Some(4096)] {
        let (one, mut other) = bare(&quiet(), pipe);
        let (a, b) = ends(&quiet());
        let begin = Instant::now();
        let calls: Vec<_> = (0..100)
            .map(|_| {
                let peer = one.peer.clone();
                let args = Raw::encode(&["x".repeat(100_000)]).unwrap();
                a.tracker.spawn(async move { peer.call(call("echo").with_args(args)).await })
            })
            .collect();
        // it speaks, and that does not help
        let chatter = async {
            loop {
                say(&mut other, &Message::Unknown(99)).await;
                sleep(SECOND).await;
            }
        };
        tokio::select! {
            () = chatter => {}
            reason = one.peer.closed() => assert_eq!(reason, CloseReason::Stalled(10 * SECOND)),
        }
        assert_eq!(begin.elapsed().as_millis() / 10, 1000, "{:?}", begin.elapsed());
        for result in futures_util::future::join_all(calls).await {
            let error = result.unwrap().unwrap_err();
            let told = matches!(
                error,
                CallError::Closed(CloseReason::Stalled(_))
                    | CallError::Refused(Refusal::Closed(CloseReason::Stalled(_)))
            );
            assert!(told, "{error:?}");
        }
        assert!(one.driver.is_finished() || begin.elapsed() < 11 * SECOND, "cut at once, without ceremony");
        assert_eq!(a.peer.call(call("echo")).await, Ok(Raw::empty_array()));
        assert_eq!(b.peer.call(call("echo")).await, Ok(Raw::empty_array()));
    }
}

#[tokio::test(start_paused = true)]
async fn the_peers_last_words_count_more_than_a_broken_pipe() {
    for pipe in [None, Some(4096)] {
        let (one, mut other) = bare(&quiet(), pipe);
        for _ in 0..3 {
            one.peer.notify("x", Raw::text(&"x".repeat(100_000))).await.unwrap();
        }
        // more waits to be written than goes in: the write fails before the driver reads
        say(&mut other, &Message::Bye(bye())).await;
        drop(other);
        assert_eq!(one.peer.closed().await, CloseReason::Theirs(bye()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_violation_is_told_to_the_peer() {
    let (one, mut other) = bare(&quiet(), None);
    say(&mut other, &Message::Pong(Integer::from(1u64))).await;
    let Some(Message::Bye(told)) = hear(&mut other).await else { panic!("no goodbye") };
    assert_eq!(told.code, Some(ByeCode::Protocol));
    assert!(hear(&mut other).await.is_none());
    drop(other);
    assert_eq!(one.check_over().await, CloseReason::Violation(told));
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_frame_are_told_to_the_peer() {
    let (one, mut other) = bare(&quiet(), Some(4096));
    other.set_payload_limit(4 << 20);
    let sending = async {
        let _cut = redpoll_net::transport::send(&mut *other, vec![0xc0; 2 << 20].into()).await;
    };
    let (reason, ()) = tokio::join!(one.peer.closed(), sending);
    assert!(
        matches!(&reason, CloseReason::Violation(bye) if bye.code == Some(ByeCode::TooLarge)),
        "{reason:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_clean_without_a_goodbye_too() {
    let (one, other) = bare(&quiet(), None);
    redpoll_net::transport::close(other, SECOND).await;
    assert_eq!(one.check_over().await, CloseReason::Ended);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_hear_the_goodbye_delays_the_end_by_two_seconds_at_most() {
    let (one, other) = memory::framed_pair(agent(), manager(), 64);
    let options = DriverOptions { write_timeout: 60 * SECOND, ..options(1) };
    let one = End::new(one, &quiet(), options);
    one.peer.notify("x", Raw::text(&"x".repeat(100_000))).await.unwrap();
    let begin = Instant::now();
    one.peer.close(bye());
    assert_eq!(one.check_over().await, CloseReason::Ours(bye()));
    assert!(begin.elapsed() <= 2 * SECOND + SECOND / 100, "{:?}", begin.elapsed());
    drop(other);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_finishes_writes_its_last_answer_however_slow_the_peer_reads() {
    let (one, mut other) = bare(&quiet(), Some(1024));
    let args = Raw::encode(&["x".repeat(100_000)]).unwrap();
    say(&mut other, &request("1", "echo", args.clone())).await;
    eventually("it has run", || one.notes.started() == 1 && one.notes.running() == 0).await;
    one.peer.finish(bye());
    // longer than a goodbye may take, and shorter than a peer that reads nothing is given
    sleep(9 * SECOND).await;
    let Some(Message::Response(answer)) = hear(&mut other).await else { panic!("no answer") };
    assert_eq!(answer.result, Ok(args));
    assert_eq!(hear(&mut other).await, Some(Message::Bye(bye())));
    drop(other);
    assert_eq!(one.check_over().await, CloseReason::Ours(bye()));
}
