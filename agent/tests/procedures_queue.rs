//! How many calls may wait for a place of a procedure.

#![expect(clippy::unwrap_used, reason = "test code")]

mod procedures_support;

use std::sync::Arc;

use procedures_support::{Offer, Started, caller, offer, text_shell};
use redpoll_agent::clock::boot_ms;
use redpoll_common::ids::PeerId;
use redpoll_common::job::wire::RunRef;
use redpoll_common::job::{Attempt, Dno, JobId};
use redpoll_common::session::StopReason;
use redpoll_common::wire::{FaultCode, Raw};
use redpoll_config::Manifest;
use redpoll_net::service::{RunContext, detached_call};
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

#[tokio::test]
async fn a_run_that_waits_for_a_place_waits_no_longer_than_it_may_start() {
    let one = offer(Manifest { concurrency: Some(1), ..text_shell("echo here; exec sleep 1000") });
    let mut first = one.start(&json!([]), &json!({}));
    first.value().await.unwrap();
    let (mut call, _output, _stop) = detached_call(caller(), "p", Raw::empty_array(), Raw::empty_map());
    let run = RunRef { job: JobId::from_bytes([1; 16]), attempt: Attempt(1), dno: Dno(1) };
    call.run = Some(Arc::new(RunContext {
        agent: PeerId::parse("web-1").unwrap(),
        run,
        procedure: "p".to_owned(),
        info: Raw::nil(),
        operator: "alice".to_owned(),
        not_after: Some(boot_ms() + 100),
    }));
    let answer = one.registry.start(call).answer;
    let answer = tokio::time::timeout(std::time::Duration::from_secs(20), answer).await.unwrap();
    let fault = answer.unwrap_err();
    assert!(fault.code == FaultCode::TimedOut && fault.message.ends_with("nothing ran"), "{fault}");
    assert!(first.task.try_join_next().is_none(), "the first one runs on");
}
