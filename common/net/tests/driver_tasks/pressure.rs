//! Drivers under load, and at rest: nobody starves, nobody waits for the other, nothing spins.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use redpoll_common::wire::flight::Flight;
use redpoll_common::wire::{Integer, Limits, Message, Notification, Raw, codec};
use redpoll_net::driver::{DriverOptions, drive};
use redpoll_net::framed::Framed;
use redpoll_net::stream::Metered;
use redpoll_net::transport::receive;
use redpoll_net::{Call, CallError, CallEvent, memory};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::support::*;

/// Counts how often a future is polled.
struct Counted<F> {
    inner: Pin<Box<F>>,
    polls: Arc<AtomicUsize>,
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.polls.fetch_add(1, Ordering::SeqCst);
        self.inner.as_mut().poll(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_driver_wakes_for_its_pings_and_nothing_else() {
    for pipe in [None, Some(64)] {
        let (one, other) = match pipe {
            None => memory::pair(agent(), manager()),
            Some(pipe) => memory::framed_pair(agent(), manager(), pipe),
        };
        let polls = Arc::new(AtomicUsize::new(0));
        let tracker = TaskTracker::new();
        let service = Arc::new(Probe::default());
        let (peer, driver) = drive(one, terms(), service, options(1), tracker.clone());
        tracker.spawn(Counted { inner: Box::pin(driver), polls: polls.clone() });
        let other = End::new(other, &terms(), options(2));
        assert!(peer.call(call("echo")).await.is_ok());
        let before = polls.load(Ordering::SeqCst);
        sleep(3600 * SECOND).await;
        let polls = polls.load(Ordering::SeqCst) - before;
        // our ping and its pong, the other's ping, a timer that fires early now and then: each 240 times
        assert!(polls < 240 * 6, "{polls} polls in an idle hour");
        assert!(!peer.is_closed() && !other.peer.is_closed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_waits_for_the_peer_to_read_does_not_spin() {
    let (one, other) = memory::framed_pair(agent(), manager(), 4096);
    let polls = Arc::new(AtomicUsize::new(0));
    let tracker = TaskTracker::new();
    let options = DriverOptions { write_timeout: 100 * SECOND, queue_limit: 100_000, ..options(1) };
    let (peer, driver) = drive(one, quiet(), Arc::new(Probe::default()), options, tracker.clone());
    tracker.spawn(Counted { inner: Box::pin(driver), polls: polls.clone() });
    for _ in 0..20 {
        let peer = peer.clone();
        tracker.spawn(async move { peer.notify("x", Raw::text(&"x".repeat(20_000))).await });
    }
    sleep(99 * SECOND).await;
    let polls = polls.load(Ordering::SeqCst);
    assert!(polls < 60, "{polls} polls");
    assert!(!peer.is_closed());
    drop(other);
}

#[tokio::test(start_paused = true)]
async fn both_sides_may_send_more_than_their_queues_take_at_once() {
    let limits = Limits { frame: 16 << 20, ..Limits::default() };
    let terms = redpoll_common::session::Terms { limits, ..quiet() };
    for (one, other) in [ends(&terms), piped(&terms, 64 * 1024)] {
        let args = Raw::encode(&["x".repeat(7 << 20)]).unwrap();
        let large = |peer: &redpoll_net::Peer| {
            let (peer, args) = (peer.clone(), args.clone());
            async move { peer.call(call("echo").with_args(args)).await.map(|answer| answer.len()) }
        };
        let begin = Instant::now();
        let all = tokio::join!(large(&one.peer), large(&other.peer), large(&one.peer), large(&other.peer));
        let len = Ok(args.len());
        assert_eq!(all, (len.clone(), len.clone(), len.clone(), len));
        assert!(begin.elapsed() < SECOND, "they waited for each other");
    }
}

#[tokio::test]
async fn a_peer_that_never_stops_talking_does_not_keep_us_from_calling_it() {
    for pipe in [None, Some(64 * 1024)] {
        let (one, mut other) = bare(&quiet(), pipe);
        let noise = Notification { kind: "noise".into(), data: Raw::nil() };
        let noise = codec::encode(&Message::Notification(noise), 1);
        let tracker = TaskTracker::new();
        let talking = tracker.spawn(async move {
            let mut answered = 0;
            while answered < 15 {
                std::future::poll_fn(|cx| {
                    // as much as goes in; then what has come
                    for _ in 0..1000 {
                        if other.poll_ready(cx)?.is_pending() {
                            break;
                        }
                        other.start_send(noise.clone())?;
                    }
                    let _pending = other.poll_flush(cx)?;
                    match other.poll_receive(cx) {
                        Poll::Ready(Some(Ok(payload))) => {
                            let Ok(Message::Request(request)) = codec::decode(&payload) else { panic!() };
                            let result = Ok(Raw::nil());
                            let answer = redpoll_common::wire::Response { id: request.id, result };
                            other.start_send(codec::encode(&Message::Response(answer), 1))?;
                            answered += 1;
                        }
                        Poll::Ready(end) => panic!("{end:?}"),
                        Poll::Pending => {}
                    }
                    cx.waker().wake_by_ref();
                    Poll::Ready(Ok::<(), redpoll_net::transport::TransportError>(()))
                })
                .await
                .unwrap();
                tokio::task::yield_now().await;
            }
            std::future::poll_fn(|cx| other.poll_flush(cx)).await.unwrap();
            other
        });
        for _ in 0..15 {
            let answer = timeout(10 * SECOND, one.peer.call(call("x"))).await.expect("starved");
            assert_eq!(answer, Ok(Raw::nil()));
        }
        assert!(one.notes.notified.load(Ordering::SeqCst) > 1000, "the noise was heard");
        drop(talking.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_progress_is_not_lost_where_there_was_no_room_for_it() {
    let (one, mut other) = bare(&quiet(), Some(1024));
    // values of many requests fill every queue there is
    for n in 0..100 {
        let args = Raw::encode(&(100, 10_000)).unwrap();
        say(&mut other, &request(&n.to_string(), "values", args)).await;
    }
    sleep(SECOND).await;
    say(&mut other, &request("last", "progress", Raw::empty_array())).await;
    sleep(SECOND).await;
    let mut newest = None;
    loop {
        match hear(&mut other).await.unwrap() {
            Message::Response(response) if response.id.as_str() == "last" => break,
            Message::Notification(notification) => {
                if let Ok(Some(Flight::Progress { request, progress })) = Flight::decode(&notification)
                    && request.as_str() == "last"
                {
                    newest = Some(progress.completed);
                }
            }
            _ => {}
        }
    }
    assert_eq!(newest, Some(10_000));
    drop(one);
}

#[tokio::test(start_paused = true)]
async fn many_values_on_their_way_do_not_hold_up_an_answer() {
    let (one, mut other) = bare(&quiet(), Some(1024));
    // nothing is read: values of many requests fill what they may fill
    for n in 0..30 {
        let args = Raw::encode(&(100, 10_000)).unwrap();
        say(&mut other, &request(&n.to_string(), "values", args)).await;
    }
    sleep(SECOND).await;
    let taken = one.notes.values();
    assert!(taken < 150, "{taken} values wait in the driver, more than it will write soon");
    say(&mut other, &request("last", "echo", Raw::empty_array())).await;
    let mut before = 0;
    loop {
        let payload = receive(&mut *other).await.unwrap().unwrap();
        match codec::decode(&payload).unwrap() {
            Message::Response(response) if response.id.as_str() == "last" => break,
            _ => before += payload.len(),
        }
    }
    // what the connection had taken by then, and no more of what waited behind it
    assert!(before <= 160_000, "{before} bytes came before the answer");
    drop(one);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_the_driver_cannot_take_times_out_all_the_same() {
    let (one, mut other) = tokio::io::duplex(256);
    let one = Box::new(Framed::new(Metered::new(one), manager()));
    let one = End::new(one, &quiet(), DriverOptions { queue_limit: 1000, ..options(1) });
    for _ in 0..2 {
        one.peer.notify("x", Raw::text(&"x".repeat(900_000))).await.unwrap();
    }
    // it reads a little now and then, so that it is not cut
    let reading = async {
        loop {
            sleep(5 * SECOND).await;
            other.read_exact(&mut [0; 100]).await.unwrap();
        }
    };
    let begin = Instant::now();
    let calling = async {
        let mut stream = one.peer.start(Call::new("echo", 7 * SECOND)).await.unwrap();
        let (value, plain) = tokio::join!(stream.next(), one.peer.call(Call::new("echo", 7 * SECOND)));
        assert_eq!(value, Some(CallEvent::End(Err(CallError::TimedOut(7 * SECOND)))));
        assert_eq!(plain, Err(CallError::TimedOut(7 * SECOND)));
    };
    tokio::select! {
        () = reading => {}
        () = calling => {}
    }
    assert_eq!(begin.elapsed().as_secs(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_pings_is_answered_while_it_is_read() {
    let (one, mut other) = bare(&quiet(), Some(4096));
    for n in 0..3_000u64 {
        say(&mut other, &Message::Ping(Integer::from(n))).await;
        assert_eq!(hear(&mut other).await, Some(Message::Pong(Integer::from(n))));
    }
    assert!(!one.peer.is_closed());
}
