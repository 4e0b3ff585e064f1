//! What the bodies of callbacks say, and what they leave out when it is too much.
#![expect(clippy::unwrap_used, reason = "test code: whatever cannot be done is a failure of the test")]

mod callbacks_common;
mod store_common;

use redpoll_common::job::Outcome;
use redpoll_common::wire::{Fault, FaultCode, Raw, RawMap};
use redpoll_manager::callbacks::MAX_BODY;
use serde_json::json;

use callbacks_common::{OK, ended_job, patient, told};
use store_common::{NOON, Rig, ended, fault, full_spec, id, plain_spec};

#[tokio::test]
async fn a_webhook_carries_the_job_its_runs_and_their_results() {
    for rig in [Rig::memory(), Rig::sqlite()] {
        let result = RawMap::new().bin("bytes", &[0, 255]).uint("n", 7).finish();
        let runs = vec![
            ("a1", ended(Outcome::Succeeded, None, Some(result))),
            ("a2", ended(Outcome::Failed, Some(fault()), None)),
            ("a3", ended(Outcome::Succeeded, None, Some(Raw::nil()))),
        ];
        ended_job(rig.store.as_ref(), full_spec(), runs).await;
        let (taken, request) = told(&patient(), &rig.store, 1, "HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(taken, Ok(()));
        assert_eq!(request.line, "POST /hook?token=hunter2 HTTP/1.1");
        assert!(request.header("host").starts_with("127.0.0.1:"), "{request:?}");
        let delivery = format!("{}-1", id(1));
        for (name, value) in [
            ("content-type", "application/json"),
            ("user-agent", concat!("redpoll/", env!("CARGO_PKG_VERSION"))),
            ("redpoll-delivery", &delivery),
            ("redpoll-signature", ""),
        ] {
            assert_eq!(request.header(name), value, "{name}");
        }
        let run = |agent: &str, outcome: &str| {
            json!({ "agent": agent, "attempt": 0, "outcome": outcome, "started": true, "fault": null, "items": 8,
                    "duration_ms": 9 })
        };
        let mut runs = [run("a1", "succeeded"), run("a2", "failed"), run("a3", "succeeded")];
        runs[0]["result"] = json!({ "bytes": { "$bin": "AP8=" }, "n": 7 });
        runs[1]["fault"] = json!({ "code": "odd", "message": "no luck", "class": "Error", "module": "lib",
            "trace": "line 1", "args": [], "state": {}, "data": "more", "retry_after_ms": 9 });
        runs[2]["result"] = json!(null);
        let expected = json!({
            "id": delivery,
            "type": "job.ended",
            "cluster": "home",
            "job": {
                "id": id(1).to_string(), "procedure": "exec.run@2", "submitter": "alice", "info": "info", "key": "once",
                "queue": "builds", "submitted_ms": NOON + 1, "released_ms": NOON + 2, "ended_ms": NOON + 3,
                "outcome": "failed", "outcomes": { "succeeded": 2, "failed": 1 },
            },
            "runs": runs,
        });
        assert_eq!(request.json(), expected);
        // `null` is a result, and none is none
        assert!(request.json()["runs"][2].as_object().unwrap().contains_key("result"));
        rig.store.close().await;
    }
}

#[tokio::test]
async fn of_many_runs_the_first_thousand_are_told() {
    let store = Rig::memory().store;
    let names: Vec<_> = (0..2000).map(|n| format!("a{n:04}")).collect();
    let runs =
        names.iter().map(|name| (name.as_str(), ended(Outcome::Succeeded, None, Some(Raw::text("r")))));
    ended_job(store.as_ref(), plain_spec(), runs.collect()).await;
    let (taken, request) = told(&patient(), &store, 1, OK).await;
    assert_eq!(taken, Ok(()));
    let body = request.json();
    assert_eq!((&body["more"], body["runs"].as_array().unwrap().len()), (&json!(true), 1000));
    assert_eq!((&body["runs"][999]["agent"], &body["runs"][999]["result"]), (&json!("a0999"), &json!("r")));
    assert_eq!(body["job"]["outcomes"], json!({ "succeeded": 2000 }));
    assert_eq!(body.get("results_left_out"), None);
}

#[tokio::test]
async fn results_that_do_not_fit_are_left_out_all_together() {
    // the second grows in JSON alone: what is one byte in MessagePack is six there
    for text in ["x".repeat(600 * 1024), "\0".repeat(100 * 1024)] {
        let store = Rig::memory().store;
        let small = ended(Outcome::Succeeded, None, Some(Raw::text("small")));
        let large = || ended(Outcome::Succeeded, None, Some(Raw::text(&text)));
        let runs = vec![
            ("a1", small),
            ("a2", large()),
            ("a3", large()),
            ("a4", ended(Outcome::Failed, Some(fault()), None)),
        ];
        ended_job(store.as_ref(), plain_spec(), runs).await;
        let (taken, request) = told(&patient(), &store, 1, OK).await;
        assert_eq!(taken, Ok(()));
        assert!(request.body.len() < 10_000, "{}", request.body.len());
        let body = request.json();
        assert_eq!((&body["results_left_out"], body.get("more")), (&json!(true), None));
        let runs = body["runs"].as_array().unwrap();
        assert!(runs.len() == 4 && runs.iter().all(|run| run.get("result").is_none()), "{runs:?}");
        assert_eq!(runs[3]["fault"], json!({ "code": "odd", "message": "no luck" }));
    }
}

#[tokio::test]
async fn faults_that_do_not_fit_shorten_the_list() {
    let store = Rig::memory().store;
    let names: Vec<_> = (0..100).map(|n| format!("a{n:02}")).collect();
    let long = Fault::new(FaultCode::Failed, "x".repeat(50_000));
    let runs = names.iter().map(|name| (name.as_str(), ended(Outcome::Failed, Some(long.clone()), None)));
    ended_job(store.as_ref(), plain_spec(), runs.collect()).await;
    let (taken, request) = told(&patient(), &store, 1, OK).await;
    assert_eq!(taken, Ok(()));
    assert!(request.body.len() <= MAX_BODY, "{}", request.body.len());
    let body = request.json();
    assert_eq!((&body["more"], body["runs"].as_array().unwrap().len()), (&json!(true), 20));
}
