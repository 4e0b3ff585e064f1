//! Values and progress over two drivers: order, credit, and what happens when nobody reads.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use redpoll_common::session::terms::DEFAULT_WINDOW;
use redpoll_common::wire::{Fault, Notification, Raw};
use redpoll_net::driver::drive;
use redpoll_net::memory;
use redpoll_net::service::{CallContext, Output, OutputError, Running, Service};
use redpoll_net::transport::PeerInfo;
use redpoll_net::{CallEvent, CallStream};
use tokio_util::task::TaskTracker;

use crate::support::*;

/// Reads a stream of "values" to its end: how many came, in order and without gaps.
async fn read(stream: &mut CallStream, mut next: u32) -> u32 {
    loop {
        match stream.next().await.unwrap() {
            CallEvent::Value(value) => {
                let (n, _text): (u32, String) = value.decode().unwrap();
                assert_eq!(n, next);
                next += 1;
            }
            CallEvent::Progress(_) => {}
            CallEvent::End(result) => {
                assert_eq!(result, Ok(Raw::text("done")));
                return next;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn values_come_in_order_without_gaps_and_the_answer_last() {
    for (one, other) in [ends(&terms()), piped(&terms(), 300), piped(&terms(), 100_000)] {
        for (count, len) in [(0, 0), (3000, 0), (200, 20_000), (3, 900_000)] {
            let mut stream = one.peer.start(values("values", count, len)).await.unwrap();
            assert_eq!(read(&mut stream, 0).await, count);
            assert_eq!(stream.next().await, None);
        }
        assert_eq!(other.notes.values(), 3203);
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_stops_the_producer_and_nobody_else() {
    for (one, other) in [ends(&terms()), piped(&terms(), 4096)] {
        let mut stalled = one.peer.start(values("values", 1000, 4000)).await.unwrap();
        // long enough for pings to have failed if they could not pass
        tokio::time::sleep(100 * SECOND / 4).await;
        let sent = other.notes.values();
        let fit = DEFAULT_WINDOW / 4000;
        assert!((fit - 5..=fit + 1).contains(&(sent as u64)), "{sent} values of 4 KB, of {fit}");
        let mut free = one.peer.start(values("values", 1000, 4000)).await.unwrap();
        assert_eq!(read(&mut free, 0).await, 1000);
        assert!(one.peer.call(call("echo")).await.is_ok());
        assert!(one.peer.ping().await.is_some());
        assert_eq!(other.notes.values(), sent + 1000);
        assert_eq!(read(&mut stalled, 0).await, 1000);
    }
}

#[tokio::test(start_paused = true)]
async fn values_that_nobody_wants_do_not_stop_the_producer() {
    let (one, other) = ends(&terms());
    assert_eq!(one.peer.call(values("values", 2000, 1000)).await, Ok(Raw::text("done")));
    assert_eq!(other.notes.values(), 2000);
}

#[tokio::test(start_paused = true)]
async fn the_newest_progress_wins_and_comes_before_the_answer() {
    for (one, _other) in [ends(&quiet()), piped(&quiet(), 64)] {
        let mut stream = one.peer.start(call("progress")).await.unwrap();
        let (mut newest, mut count) = (0, 0);
        loop {
            match stream.next().await.unwrap() {
                CallEvent::Progress(progress) => {
                    assert!(progress.completed > newest);
                    newest = progress.completed;
                    count += 1;
                }
                CallEvent::Value(_) => panic!("no values here"),
                CallEvent::End(result) => break assert_eq!(result, Ok(Raw::nil())),
            }
        }
        assert_eq!(newest, 10_000, "the last one is never lost");
        assert!(count < 10, "{count} of 10,000 were sent");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_producer_ends_when_its_caller_goes() {
    let (one, other) = ends(&quiet());
    for method in ["values", "graceful values"] {
        let stream = one.peer.start(values(method, 1000, 4000)).await.unwrap();
        eventually("the window is full", || other.notes.values() >= 60).await;
        drop(stream);
        eventually("it ended", || other.notes.running() == 0).await;
        other.notes.values.store(0, Ordering::SeqCst);
    }
    let errors = other.notes.output.lock().unwrap().clone();
    assert_eq!(errors, [OutputError::Ended], "the graceful one was told; the other was dropped");
}

/// Gives the output of its calls to the test.
#[derive(Debug)]
struct Handing(tokio::sync::mpsc::Sender<(Output, tokio::sync::oneshot::Sender<()>)>);

impl Service for Handing {
    fn start(&self, call: CallContext) -> Running {
        let (end, ended) = tokio::sync::oneshot::channel();
        self.0.try_send((call.output, end)).unwrap();
        let answer = Box::pin(async move {
            let _ = ended.await;
            Ok::<Raw, Fault>(Raw::nil())
        });
        Running { answer, graceful: true }
    }

    fn notified(&self, _from: &PeerInfo, _notification: Notification) {}
}

async fn handed() -> (End, CallStream, Output, tokio::sync::oneshot::Sender<()>) {
    let (one, other) = memory::pair(agent(), manager());
    let one = End::new(one, &quiet(), options(1));
    let (given, mut taken) = tokio::sync::mpsc::channel(1);
    let tracker = TaskTracker::new();
    let (_peer, driver) = drive(other, quiet(), Arc::new(Handing(given)), options(2), tracker.clone());
    tracker.spawn(driver);
    let stream = one.peer.start(call("x")).await.unwrap();
    let (output, end) = taken.recv().await.unwrap();
    (one, stream, output, end)
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_told_to_whoever_sends_it() {
    let (_one, mut stream, output, end) = handed().await;
    let limit = output.value_limit();
    let fitting = Raw::text(&"x".repeat(limit - 5));
    assert_eq!(fitting.len(), limit);
    let large = Raw::text(&"x".repeat(limit - 4));
    assert_eq!(output.value(large).await, Err(OutputError::TooLarge { len: limit + 1, limit }));
    let nested = |levels: usize| {
        (1..levels).fold(Raw::empty_array(), |inner, _| {
            Raw::parse([&[0x91], inner.as_bytes()].concat().into()).unwrap()
        })
    };
    assert_eq!(output.value(nested(31)).await, Err(OutputError::TooDeep));
    let many = |n: usize| Raw::encode(&vec![(); n]).unwrap();
    assert_eq!(output.value(many(65_524)).await, Err(OutputError::TooDeep));
    for value in [fitting, nested(30), many(65_523)] {
        output.value(value.clone()).await.unwrap();
        assert_eq!(stream.next().await, Some(CallEvent::Value(value)));
    }
    end.send(()).unwrap();
    assert_eq!(stream.next().await, Some(CallEvent::End(Ok(Raw::nil()))));
}

#[tokio::test(start_paused = true)]
async fn an_output_that_outlives_the_answer_fails_at_once() {
    let (_one, mut stream, output, end) = handed().await;
    // somebody waits for credit while the answer is given
    let waiting = output.clone();
    let waiting = async move {
        loop {
            if let Err(error) = waiting.value(Raw::text(&"x".repeat(10_000))).await {
                return error;
            }
        }
    };
    let ending = async {
        tokio::time::sleep(SECOND).await;
        end.send(()).unwrap();
    };
    let (error, ()) =
        tokio::time::timeout(2 * SECOND, async { tokio::join!(waiting, ending) }).await.unwrap();
    assert_eq!(error, OutputError::Ended);
    while !matches!(stream.next().await.unwrap(), CallEvent::End(Ok(_))) {}
    output.progress(1, None, Raw::nil());
    assert_eq!(output.value(Raw::nil()).await, Err(OutputError::Ended));
}

#[tokio::test(start_paused = true)]
async fn credit_is_not_lost_with_a_value_that_was_given_up() {
    let (_one, mut stream, output, _end) = handed().await;
    let value = Raw::text(&"x".repeat(20_000));
    for _ in 0..10 {
        let mut sent = 0;
        while tokio::time::timeout(SECOND, output.value(value.clone())).await.is_ok() {
            sent += 1;
        }
        // each of these waited for credit and was dropped
        for _ in 0..20 {
            assert!(tokio::time::timeout(SECOND / 100, output.value(value.clone())).await.is_err());
        }
        assert!(sent >= 6, "half of the window at least, {sent} were sent");
        for _ in 0..sent {
            assert!(matches!(stream.next().await, Some(CallEvent::Value(_))));
        }
    }
}
