//! Workers: long-lived processes that take one call after the other, and what happens when they misbehave.

#![expect(clippy::unwrap_used, reason = "test code")]

#[path = "../../common/exec/tests/exec_support/mod.rs"]
mod exec_support;
mod procedures_support;

use std::time::Duration;

use exec_support::{eventually, lives};
use procedures_support::{Offer, answering, limits, offer, offer_within, python_worker};
use redpoll_common::session::StopReason;
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_config::Manifest;
use serde_json::{Value, json};

async fn failure(offer: &Offer) -> Fault {
    offer.call(json!({})).await.unwrap_err()
}

/// A worker that does `act` for calls with `bad`, and answers the others with its process number.
fn sometimes(act: &str) -> Manifest {
    answering(&format!("if call['kwargs'].get('bad'): {act}"), "os.getpid()")
}

async fn bad(offer: &Offer) -> Fault {
    offer.call(json!({"bad": true})).await.unwrap_err()
}

#[tokio::test]
async fn one_process_takes_one_call_after_the_other() {
    let worker =
        offer(answering("say(call=call['call'], value=call['args'])", "[os.getpid(), call['kwargs']]"));
    let first = worker.call(json!({"n": 1})).await.unwrap();
    let (values, second) = worker.run(json!({"n": 2})).await;
    let second = second.unwrap();
    assert_eq!((values, &first[0]), (vec![json!([])], &second[0]), "the same process");
    assert_eq!(second[1], json!({"n": 2}));
}

#[tokio::test]
async fn as_many_workers_as_may_run_at_a_time_and_the_others_wait() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let wait = format!(
        "say(call=call['call'], value=os.getpid())\n    while not os.path.exists('{}'): time.sleep(0.01)",
        go.display()
    );
    let two = offer(Manifest { concurrency: Some(2), ..answering(&wait, "os.getpid()") });
    let mut calls: Vec<_> = (0..5).map(|_| two.start(&json!([]), &json!({}))).collect();
    let (first, second) = (calls[0].value().await.unwrap(), calls[1].value().await.unwrap());
    assert_ne!(first, second);
    std::fs::write(&go, "").unwrap();
    for call in &mut calls {
        let answer = call.answer().await.unwrap();
        assert!(answer == first || answer == second, "a third worker");
    }
}

#[tokio::test]
async fn a_worker_that_dies_in_a_call_fails_it_with_what_is_known_and_is_replaced() {
    for (act, words, exit) in [
        ("sys.exit(7)", "exited with 7 in the call", json!({"exit": 7, "signal": null})),
        ("os.kill(os.getpid(), 9)", "was ended by signal 9 in the call", json!({"exit": null, "signal": 9})),
    ] {
        let worker = offer(sometimes(&format!("print('oh', file=sys.stderr, flush=True); {act}")));
        let before = worker.call(json!({})).await.unwrap();
        let fault = bad(&worker).await;
        assert!(fault.code == FaultCode::Failed && fault.message.contains(words), "{fault}");
        assert_eq!(fault.trace.as_deref(), Some("oh\n"));
        assert_eq!(fault.data.unwrap().decode::<Value>().unwrap(), exit);
        let after = worker.call(json!({})).await.unwrap();
        assert_ne!(before, after);
    }
}

#[tokio::test]
async fn calls_are_refused_at_once_while_no_worker_may_be_started_for_long() {
    let worker = offer(sometimes("sys.exit(7)"));
    let mut deaths = 0;
    // the waits double, so it comes to that
    let fault = loop {
        let fault = bad(&worker).await;
        if fault.code != FaultCode::Failed {
            break fault;
        }
        deaths += 1;
    };
    for fault in [fault, failure(&worker).await] {
        assert_eq!(fault.code, FaultCode::Overloaded, "{fault}");
        let words = format!("ended {deaths} times in a row, at last it exited with 7");
        assert!(fault.message.contains(&words) && fault.message.contains("nothing ran"), "{fault}");
        let wait = fault.retry_after_ms.unwrap();
        assert!((1..=60_001).contains(&wait), "{wait}");
    }
}

#[tokio::test]
async fn a_call_that_has_its_end_begins_the_waits_anew() {
    let act = "sys.exit(7)\n    say(call=call['call'], exception={}); continue";
    let worker = offer(sometimes(act));
    // without the good ends in between, the seventh would wait for up to half a minute, and be refused before
    for _ in 0..7 {
        for fault in [bad(&worker).await, failure(&worker).await] {
            assert_eq!(fault.code, FaultCode::Failed, "{fault}");
        }
    }
}

#[tokio::test]
async fn a_worker_that_breaks_the_protocol_is_killed_and_its_call_fails() {
    for (act, words) in [
        ("print('garbage', flush=True); time.sleep(300)", "not JSON"),
        ("say(call=999, value=1); time.sleep(300)", "call 999, which it was not given"),
        ("say(value=1); time.sleep(300)", "without \"call\""),
        ("say(ready=True); time.sleep(300)", "a second time"),
        (
            "sys.stdout.write('x' * (10 << 20)); sys.stdout.flush(); time.sleep(300)",
            "longer than 1048576 bytes",
        ),
        ("os.close(1); time.sleep(300)", "closed its standard output"),
    ] {
        let worker = offer(sometimes(act));
        let pid = worker.call(json!({})).await.unwrap();
        let fault = bad(&worker).await;
        assert_eq!(
            (fault.code.clone(), fault.class.as_deref()),
            (FaultCode::Failed, Some("ProtocolError")),
            "{act}: {fault}"
        );
        assert!(fault.message.contains(words), "{act}: {fault}");
        assert!(!lives(&pid.to_string()), "{act}");
        assert_ne!(worker.call(json!({})).await.unwrap(), pid, "{act}");
    }
}

/// Gives `bad`, more than a message carries, and ends when it is cancelled or, at once, with a result.
fn spoiling(bad: &str, waits: bool) -> String {
    let then = if waits { "assert next(lines)['cancel'] == call['call']" } else { "0" };
    format!("say(call=call['call'], {bad}); say(call=call['call'], value='after'); {then}")
}

#[tokio::test]
async fn a_value_that_cannot_be_told_fails_its_call_and_leaves_the_worker() {
    let (many, large) = ("value=list(range(70_000))", "value='x' * 1_100_000");
    for (act, code, words) in [
        (spoiling(many, true), FaultCode::Failed, "value does not fit a message"),
        (spoiling(many, false), FaultCode::Failed, "value does not fit a message"),
        (spoiling("progress={'completed': 1, 'details': {'$b64': '?'}}", true), FaultCode::Failed, "base64"),
        (spoiling(large, true), FaultCode::TooLarge, "exceeds the limit"),
        (
            "say(call=call['call'], result=list(range(70_000))); continue".to_owned(),
            FaultCode::Failed,
            "result does",
        ),
    ] {
        let mut manifest = sometimes(&act);
        manifest.limits.line = Some(2 << 20);
        let roomy = redpoll_agent::builtin::ExecLimits { output: 16 << 20, ..limits() };
        let worker = offer_within(manifest, roomy);
        let pid = worker.call(json!({})).await.unwrap();
        for _ in 0..3 {
            let (values, answer) = worker.run(json!({"bad": true})).await;
            let fault = answer.unwrap_err();
            assert!(fault.code == code && fault.message.contains(words), "{act}: {fault}");
            assert!(!values.contains(&json!("after")), "{act}: {values:?}");
        }
        assert_eq!(worker.call(json!({})).await.unwrap(), pid, "{act}");
    }
}

#[tokio::test]
async fn the_others_go_on_when_one_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let act = format!(
        "if call['kwargs'].get('bad'): print('x', flush=True)\n    say(call=call['call'], value=1)\n    while not os.path.exists('{}'): time.sleep(0.01)",
        go.display()
    );
    let two = offer(Manifest { concurrency: Some(2), ..answering(&act, "1") });
    let mut good = two.start(&json!([]), &json!({}));
    assert_eq!(good.value().await.unwrap(), 1);
    assert!(bad(&two).await.message.contains("not JSON"));
    std::fs::write(&go, "").unwrap();
    assert_eq!(good.answer().await.unwrap(), 1);
}

#[tokio::test]
async fn a_worker_that_does_not_become_ready_fails_the_call_before_anything_ran() {
    let silent = Manifest { ready_timeout: Duration::from_millis(300), ..python_worker("time.sleep(300)") };
    let fault = failure(&offer(silent)).await;
    assert!(fault.message.contains("0.3 s, its ready_timeout"), "{fault}");
    let fault = failure(&offer(python_worker("sys.exit('no database')"))).await;
    assert!(fault.message.contains("exited with 1 before it was ready"), "{fault}");
    let data: Value = fault.data.as_ref().unwrap().decode().unwrap();
    assert_eq!(data, json!({"exit": 1, "signal": null, "started": false}));
    assert!(fault.message.ends_with("; at last it wrote: no database"), "{fault}");
    assert_eq!(fault.trace.as_deref(), Some("no database\n"));
    // a secret that would be cut is masked before it is
    let long = format!("sys.exit('{}hunter2')", "x".repeat(194));
    let secret = offer(Manifest { redact: vec!["pin".to_owned()], ..python_worker(&long) });
    let fault = secret.call(json!({"pin": "hunter2"})).await.unwrap_err();
    assert!(fault.message.ends_with("xx***") && !fault.message.contains("hun"), "{fault}");
    let fault = failure(&offer(python_worker("say(value=1)\ntime.sleep(300)"))).await;
    assert!(fault.message.contains("before {\"ready\": true}"), "{fault}");
    let fault = failure(&offer(python_worker("print('hello', flush=True)\ntime.sleep(300)"))).await;
    assert!(fault.message.contains("not JSON"), "{fault}");
}

#[tokio::test]
async fn a_cancel_is_a_line_and_who_heeds_it_lives_on() {
    let heeds = "say(ready=True)\nfor call in lines:\n    say(call=call['call'], value=os.getpid())\n    while next(lines).get('cancel') != call['call']: pass\n    say(call=call['call'], exception={'class': 'Cancelled'})\n";
    let worker = offer(python_worker(heeds));
    let mut pids = Vec::new();
    for _ in 0..2 {
        let mut started = worker.start(&json!([]), &json!({}));
        pids.push(started.value().await.unwrap());
        started.stop.stop(StopReason::Cancelled);
        assert_eq!(started.answer().await.unwrap_err().code, FaultCode::Cancelled);
    }
    assert_eq!(pids[0], pids[1]);
}

#[tokio::test]
async fn a_worker_that_does_not_heed_a_cancel_or_a_time_limit_is_killed_after_the_grace() {
    let deaf = "say(call=call['call'], value=os.getpid()); time.sleep(300)";
    let short = Some(Duration::from_millis(200));
    let worker = offer(Manifest { grace: short, ..answering(deaf, "1") });
    let mut started = worker.start(&json!([]), &json!({}));
    let pid = started.value().await.unwrap();
    started.stop.stop(StopReason::Cancelled);
    assert_eq!(started.answer().await.unwrap_err().code, FaultCode::Cancelled);
    assert!(!lives(&pid.to_string()));
    let fault = failure(&offer(Manifest { grace: short, run_timeout: short, ..answering(deaf, "1") })).await;
    assert!(fault.code == FaultCode::TimedOut && fault.message.contains("0.2 s"), "{fault}");
    let fault = failure(&offer(Manifest { grace: short, idle_timeout: short, ..answering(deaf, "1") })).await;
    assert!(fault.code == FaultCode::TimedOut && fault.message.contains("idle_timeout"), "{fault}");
}

#[tokio::test]
async fn a_worker_that_does_not_read_is_found_out() {
    let worker = offer(python_worker("say(ready=True)\ntime.sleep(300)"));
    // more than a pipe holds
    let fault = worker.call(json!({"large": "x".repeat(1 << 20)})).await.unwrap_err();
    assert!(fault.message.contains("did not read its input for 10 s"), "{fault}");
    let closed = offer(python_worker("os.close(0)\nsay(ready=True)\ntime.sleep(1)\nsys.exit(3)"));
    let fault = failure(&closed).await;
    assert!(fault.message.contains("exited with 3 in the call"), "{fault}");
}

#[tokio::test]
async fn a_dropped_call_takes_its_worker_along_and_nobody_else() {
    let worker = offer(answering(
        "say(call=call['call'], value=os.getpid()); time.sleep(300 if call['kwargs'].get('bad') else 0)",
        "os.getpid()",
    ));
    let mut started = worker.start(&json!([]), &json!({"bad": true}));
    let pid = started.value().await.unwrap().to_string();
    started.task.abort_all();
    eventually("the worker of a dropped call is killed", || !lives(&pid)).await;
    assert_ne!(worker.call(json!({})).await.unwrap().to_string(), pid);
}

#[tokio::test]
async fn a_worker_without_work_goes_and_one_that_died_idle_is_not_given_a_call() {
    let folder = tempfile::tempdir().unwrap();
    let worker =
        offer(Manifest { idle_shutdown: Duration::from_millis(100), ..answering("pass", "os.getpid()") });
    let pid = worker.call(json!({})).await.unwrap().to_string();
    eventually("it goes when its time is over", || !lives(&pid)).await;
    assert_ne!(worker.call(json!({})).await.unwrap().to_string(), pid);

    let mark = folder.path().join("gone");
    let dies = format!(
        "say(ready=True)\ncall = next(lines)\nsay(call=call['call'], result=os.getpid())\nopen('{}','w').close()\nsys.exit(1)\n",
        mark.display()
    );
    let worker = offer(python_worker(&dies));
    for _ in 0..3 {
        let pid = worker.call(json!({})).await.unwrap().to_string();
        eventually("it has ended", || !lives(&pid)).await;
    }
}

#[tokio::test]
async fn free_workers_go_with_their_definition_and_with_the_agent() {
    let Offer { registry, tracker, stop } = offer(answering("pass", "os.getpid()"));
    let worker = Offer { registry, tracker: tracker.clone(), stop: stop.clone() };
    let pid = worker.call(json!({})).await.unwrap().to_string();
    assert!(lives(&pid));
    drop(worker);
    tracker.close();
    tracker.wait().await;
    assert!(!lives(&pid));

    let worker = offer(answering("pass", "os.getpid()"));
    let pid = worker.call(json!({})).await.unwrap().to_string();
    worker.stop.cancel();
    worker.tracker.close();
    worker.tracker.wait().await;
    assert!(!lives(&pid));
    assert_eq!(failure(&worker).await.code, FaultCode::ShuttingDown);
}

#[tokio::test]
async fn what_nobody_takes_until_the_time_is_over_is_told_as_left_out_and_nothing_comes_after_it() {
    for (third, stream) in
        [("say(call=call['call'], value=3)", "value"), ("print('3', file=sys.stderr)", "stderr")]
    {
        let folder = tempfile::tempdir().unwrap();
        let [told, go] = ["told", "go"].map(|name| folder.path().join(name));
        let script = format!(
            "say(ready=True)\nfor call in lines:\n    for n in (1, 2): say(call=call['call'], value=n)\n    {third}\n    while next(lines).get('cancel') != call['call']: pass\n    open('{}', 'w').close()\n    while not os.path.exists('{}'): time.sleep(0.01)\n    say(call=call['call'], value=4)\n    say(call=call['call'], exception={{'class': 'Cancelled'}})\n",
            told.display(),
            go.display()
        );
        let short = Some(Duration::from_millis(200));
        let worker = offer(Manifest { run_timeout: short, ..python_worker(&script) });
        let mut started = worker.start_narrow();
        // the third was not taken in time; from here on all of it is
        eventually("it is told to end", || told.exists()).await;
        assert_eq!([started.value().await, started.value().await], [Some(json!(1)), Some(json!(2))]);
        std::fs::write(&go, "").unwrap();
        let mut values = Vec::new();
        while let Some(value) = started.value().await {
            values.push(value);
        }
        assert!(!values.contains(&json!(4)), "{stream}: nothing after a gap: {values:?}");
        assert!(
            values.iter().any(|value| value["stream"] == stream && value["dropped"].is_u64()),
            "{values:?}"
        );
        assert_eq!(started.answer().await.unwrap_err().code, FaultCode::TimedOut, "{stream}");
    }
}

#[tokio::test]
async fn who_never_takes_anything_keeps_no_place_when_the_time_of_a_call_is_over() {
    let ends = "while next(lines).get('cancel') != call['call']: pass";
    for last in
        ["say(call=call['call'], exception={'class': 'Cancelled'})", "say(call=call['call'], result=1)"]
    {
        let script = format!(
            "say(ready=True)\nfor call in lines:\n    if call['kwargs'].get('quick'): say(call=call['call'], result=7); continue\n    for n in range(9): say(call=call['call'], value=n)\n    {ends}\n    {last}\n"
        );
        let short = Some(Duration::from_millis(200));
        let worker = offer(Manifest { run_timeout: short, ..python_worker(&script) });
        let mut started = worker.start_narrow();
        let fault = started.task.join_next().await.unwrap().unwrap().unwrap_err();
        assert_eq!(fault.code, FaultCode::TimedOut, "{fault}");
        assert!(fault.message.contains("were not taken in time and are left out"), "{fault}");
        assert_eq!(worker.call(json!({"quick": true})).await.unwrap(), 7, "its place is free");
        drop(started.output);
    }
}
