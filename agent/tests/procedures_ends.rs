//! What counts of a call at its end: what it wrote last to its standard error, and a result after its time was over.

#![expect(clippy::unwrap_used, reason = "test code")]

mod procedures_support;

use std::time::Duration;

use procedures_support::{Offer, answering, caller, json_shell, offer, python_worker, text_shell};
use redpoll_common::identity::Identity;
use redpoll_common::ids::RequestId;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_config::Manifest;
use redpoll_net::service::{StopHandle, own_call};
use serde_json::{Value, json};

/// Calls of each kind: what is lost is lost by chance.
const MANY: usize = 50;

/// What a call wrote to its standard error, and how it ended.
async fn heard(offer: &Offer, kwargs: Value) -> (String, Result<Value, Fault>) {
    let (values, answer) = offer.run(kwargs).await;
    let texts = values.iter().filter(|value| value["stream"] == "stderr").map(|value| value["text"].as_str());
    (texts.map(Option::unwrap_or_default).collect(), answer)
}

/// Writes five lines to its standard error and a value beside each, and then says what `last` says.
fn logging(last: &str) -> Manifest {
    python_worker(&format!(
        "say(ready=True)\nfor call in lines:\n    for i in range(5):\n        say(call=call['call'], value=i); os.write(2, b'step %d\\n' % i)\n    {last}\n"
    ))
}

#[tokio::test]
async fn all_that_a_worker_wrote_to_its_standard_error_before_its_end_is_told() {
    let steps: String = (0..5).map(|n| format!("step {n}\n")).collect();
    for last in
        ["say(call=call['call'], result=1)", "say(call=call['call'], exception={'class': 'ValueError'})"]
    {
        let worker = offer(logging(last));
        for n in 0..MANY {
            let (text, answer) = heard(&worker, json!({})).await;
            assert_eq!(text, steps, "{last}, call {n}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn what_a_worker_wrote_before_it_broke_the_protocol_is_told_and_is_its_trace() {
    let worker = offer(logging("print('garbage', flush=True); time.sleep(300)"));
    let (text, answer) = heard(&worker, json!({})).await;
    assert!(text.ends_with("step 4\n"), "{text}");
    let fault = answer.unwrap_err();
    assert!(fault.message.contains("not JSON") && fault.trace.unwrap().ends_with("step 4\n"));
}

#[tokio::test]
async fn a_full_pipe_of_it_is_told_and_what_goes_on_writing_keeps_no_call() {
    let worker = offer(answering("os.write(2, b'x' * 60_000)", "1"));
    for _ in 0..5 {
        let (text, answer) = heard(&worker, json!({})).await;
        assert_eq!((text.len(), answer.unwrap()), (60_000, json!(1)));
    }
    // another thread writes on and on; what is taken of it has a bound
    let flood = "import threading\ndef flood():\n    while True: os.write(2, b'y' * 4096)\nthreading.Thread(target=flood, daemon=True).start()\nsay(ready=True)\nfor call in lines: say(call=call['call'], result=1)\n";
    let worker = offer(python_worker(flood));
    for _ in 0..5 {
        assert_eq!(heard(&worker, json!({})).await.1.unwrap(), 1);
    }
}

#[tokio::test]
async fn secrets_are_masked_in_what_is_heard_last() {
    let manifest = answering("os.write(2, ('pin: ' + call['kwargs']['pin'] + '\\n').encode())", "1");
    let worker = offer(Manifest { redact: vec!["pin".to_owned()], ..manifest });
    for n in 0..MANY {
        let (text, _) = heard(&worker, json!({"pin": format!("hunter-{n:04}")})).await;
        assert_eq!(text, "pin: ***\n");
    }
}

/// Gives its result when it is told to end, at its time limit.
fn late_once() -> Manifest {
    json_shell(r#"trap 'echo "{\"result\":6}"; exit 0' TERM; while :; do sleep 0.1; done"#)
}

fn late_worker() -> Manifest {
    answering("while next(lines).get('cancel') != call['call']: pass", "6")
}

fn late_text() -> Manifest {
    text_shell("trap 'exit 0' TERM; while :; do sleep 0.1; done")
}

#[tokio::test]
async fn a_result_after_the_time_limit_does_not_count_and_is_told_as_late() {
    let short = Some(Duration::from_millis(300));
    for (name, manifest, is_silent) in [
        ("once", late_once(), false),
        ("worker", late_worker(), false),
        ("silent worker", late_worker(), true),
        ("text", late_text(), false),
    ] {
        let limited = match is_silent {
            true => Manifest { idle_timeout: short, ..manifest },
            false => Manifest { run_timeout: short, ..manifest },
        };
        let fault = offer(limited).call(json!({})).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::TimedOut, "{name}: {fault}");
        let is_told = fault.message.ends_with("it gave a result after that, which does not count");
        assert_eq!(is_told, name != "text", "{name}: {fault}");
    }
}

#[tokio::test]
async fn a_worker_whose_result_came_late_takes_the_next_call() {
    let script = "say(ready=True)\nfor call in lines:\n    if call['kwargs'].get('late'):\n        while next(lines).get('cancel') != call['call']: pass\n    say(call=call['call'], result=os.getpid())\n";
    let worker = offer(Manifest { run_timeout: Some(Duration::from_secs(1)), ..python_worker(script) });
    let pid = worker.call(json!({})).await.unwrap();
    assert_eq!(worker.call(json!({"late": true})).await.unwrap_err().code, FaultCode::TimedOut);
    assert_eq!(worker.call(json!({})).await.unwrap(), pid);
}

#[tokio::test]
async fn a_run_that_the_agent_makes_by_itself_has_no_operator() {
    let says = r#"read -r call; printf '{"result":%s}\n' "$call""#;
    for manifest in [json_shell(says), answering("pass", "call")] {
        let offer = offer(manifest);
        let mut own = caller();
        own.identity = Identity::parse("spiffe://home/agent/web-1").unwrap();
        let (call, _output, _stop): (_, _, StopHandle) =
            own_call(own.into(), RequestId::numbered(0, 1), ("p".to_owned(), Raw::empty_map()), 64 * 1024);
        let line: Value = offer.registry.start(call).answer.await.unwrap().decode().unwrap();
        assert!(line["operator"].is_null() && line["call"] == 1, "{line}");
    }
}
