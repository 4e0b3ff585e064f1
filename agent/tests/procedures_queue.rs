//! How many calls may wait for a place of a procedure.

#![expect(clippy::unwrap_used, reason = "test code")]

mod procedures_support;

use procedures_support::{Offer, Started, offer, text_shell};
use redpoll_common::session::StopReason;
use redpoll_common::wire::FaultCode;
use redpoll_config::Manifest;
use serde_json::json;

/// As the documentation says.
const WAITING: usize = 256;

/// A call that has come as far as it comes: its task has run.
async fn begun(offer: &Offer) -> Started {
    let started = offer.start(&json!([]), &json!({}));
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    started
}

/// Whether it waits.
async fn waits(offer: &Offer) -> (bool, Started) {
    let mut started = begun(offer).await;
    let ended = tokio::time::timeout(std::time::Duration::from_millis(20), started.task.join_next()).await;
    let Ok(ended) = ended else { return (true, started) };
    let fault = ended.unwrap().unwrap().unwrap_err();
    assert_eq!(fault.code, FaultCode::Overloaded, "{fault}");
    assert!(fault.message.contains("256 calls wait already; nothing ran"), "{fault}");
    (false, started)
}

#[tokio::test]
async fn as_many_calls_wait_as_may_and_the_next_is_overloaded() {
    let folder = tempfile::tempdir().unwrap();
    let (go, runs) = (folder.path().join("go"), folder.path().join("runs"));
    let script = format!(
        "echo x >> {}; echo here; while [ ! -e {} ]; do sleep 0.01; done",
        runs.display(),
        go.display()
    );
    let one = offer(Manifest { concurrency: Some(1), ..text_shell(&script) });
    let mut first = one.start(&json!([]), &json!({}));
    first.value().await.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..WAITING {
        waiting.push(begun(&one).await);
    }
    assert!(waiting.iter_mut().all(|call| call.task.try_join_next().is_none()), "each of them waits");
    assert!(!waits(&one).await.0, "one more does not");
    assert!(!waits(&one).await.0, "nor another");

    // one that leaves makes room for one, and no more
    let mut left = waiting.pop().unwrap();
    left.stop.stop(StopReason::Cancelled);
    assert_eq!(left.answer().await.unwrap_err().code, FaultCode::Cancelled);
    let (does, _last) = waits(&one).await;
    assert!(does);
    assert!(!waits(&one).await.0);

    assert_eq!(std::fs::read_to_string(&runs).unwrap(), "x\n", "who waits or is refused does not run");

    // so does one that gets a place
    std::fs::write(&go, "").unwrap();
    first.answer().await.unwrap();
    waiting[0].answer().await.unwrap();
    waiting[1].answer().await.unwrap();
    assert!(waits(&one).await.0);
}
