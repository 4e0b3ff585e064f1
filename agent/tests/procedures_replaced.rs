//! Workers that are of no use any more: what they said holds, they are ended, the log says why, and the next call gets another.

#![expect(clippy::unwrap_used, reason = "test code")]

#[path = "../../common/exec/tests/exec_support/mod.rs"]
mod exec_support;
mod log_support;
mod procedures_support;

use exec_support::{eventually, lives};
use log_support::{Log, log};
use procedures_support::{Offer, answering, offer, python_worker};
use redpoll_config::{Manifest, ProcedureLimits};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tracing::Level;

/// What no worker may say after call `@`, and what the log says of it.
const BAD: [(&str, &str); 6] = [
    (r#"{"call": @, "result": 2}"#, "is a result, after the call had its end already"),
    (r#"{"call": @, "value": 2}"#, "is a value, after the end of the call"),
    (r#"{"call": 999, "value": 2}"#, "is a value for call 999, which it was not given"),
    ("garbage", "is not JSON"),
    ("LONG", "is longer than 2048 bytes"),
    (r#"{"ready": true}"#, "a second time"),
];

/// Answers each call with its process number by `say_end`, and may have something `bad` to say, which `answer` says when it likes.
fn worker(answer: &str) -> Manifest {
    let script = format!(
        "say(ready=True)
def write(text): os.write(1, text.encode())
for call in lines:
    if 'call' not in call: continue
    kwargs = call['kwargs']
    number = str(call['call'] - kwargs.get('past', 0))
    bad = kwargs.get('bad', '').replace('@', number).replace('LONG', 'x' * 4096)
    bad = bad and bad + '\\n'
    end = json.dumps(dict(call=call['call'], result=os.getpid())) + '\\n'
    {answer}
"
    );
    let limits = ProcedureLimits { line: Some(2048), ..ProcedureLimits::default() };
    Manifest { limits, ..python_worker(&script) }
}

/// The one line at WARN says why a worker is gone.
fn told(log: &Log, words: &str) {
    let lines = log.lines(Level::WARN);
    assert_eq!(lines.len(), 1, "{words}: {lines:?}");
    let line = lines.first().unwrap();
    assert!(line.contains("a worker is gone") && line.contains(words), "{words}: {line}");
    assert!(line.contains("procedure=p ") && line.contains("ended=was ended by signal 9 "), "{line}");
}

async fn call(offer: &Offer, kwargs: Value) -> String {
    offer.call(kwargs).await.unwrap().to_string()
}

/// Waits for the end of a worker; the next call has another.
async fn replaced(offer: &Offer, pid: &str) {
    eventually("it is killed", || !lives(pid)).await;
    assert_ne!(call(offer, json!({})).await, pid);
}

#[tokio::test]
async fn what_a_worker_says_together_with_the_end_of_a_call_has_it_killed_and_that_end_holds() {
    for (bad, words) in BAD {
        let log = log();
        let worker = offer(worker("write(end + bad)"));
        let pid = call(&worker, json!({"bad": bad})).await;
        replaced(&worker, &pid).await;
        told(&log, "it broke the protocol between two calls: line 3 of its standard output");
        assert!(log.lines(Level::WARN)[0].contains(words), "{words}");
    }
}

#[tokio::test]
async fn what_a_worker_says_after_the_end_of_a_call_has_it_killed_and_that_end_holds() {
    let folder = tempfile::tempdir().unwrap();
    for (number, (bad, words)) in BAD.into_iter().enumerate() {
        let log = log();
        let go = folder.path().join(number.to_string());
        let wait = format!("while bad and not os.path.exists('{}'): time.sleep(0.01)", go.display());
        let worker = offer(worker(&format!("write(end)\n    {wait}\n    write(bad)")));
        let pid = call(&worker, json!({"bad": bad})).await;
        assert!(lives(&pid), "nothing is wrong with it yet: {bad}");
        std::fs::write(&go, "").unwrap();
        replaced(&worker, &pid).await;
        told(&log, words);
    }
}

#[tokio::test]
async fn what_a_worker_says_of_another_call_in_a_call_fails_that_one_and_has_it_killed() {
    for (bad, words) in BAD {
        let log = log();
        let worker = offer(worker("write(bad)\n    write(end)"));
        let pid = call(&worker, json!({})).await;
        let fault = worker.call(json!({"bad": bad, "past": 1})).await.unwrap_err();
        assert_eq!(fault.class.as_deref(), Some("ProtocolError"), "{bad}: {fault}");
        assert!(fault.message.contains(words), "{bad}: {fault}");
        assert!(!lives(&pid), "{bad}");
        replaced(&worker, &pid).await;
        told(&log, words);
    }
}

#[tokio::test]
async fn a_worker_that_a_signal_stopped_is_not_given_a_call() {
    let log = log();
    let worker = offer(answering("pass", "os.getpid()"));
    let pid = call(&worker, json!({})).await;
    kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap(), Signal::STOP).unwrap();
    let stat = format!("/proc/{pid}/stat");
    eventually("it is stopped", || std::fs::read_to_string(&stat).unwrap().contains(") T ")).await;
    assert_ne!(call(&worker, json!({})).await, pid, "the call is done by another");
    assert!(!lives(&pid));
    told(&log, "it was stopped by a signal");

    // whoever goes on in time is as good as before
    let pid = call(&worker, json!({})).await;
    let process = Pid::from_raw(pid.parse().unwrap()).unwrap();
    kill_process(process, Signal::STOP).unwrap();
    kill_process(process, Signal::CONT).unwrap();
    assert_eq!(call(&worker, json!({})).await, pid);
}

#[tokio::test]
async fn a_worker_that_answers_what_it_has_not_read_is_not_given_another_call() {
    let log = log();
    let guesses = "import select\nsay(ready=True)\nselect.select([0], [], [])\nsay(call=1, result=os.getpid())\ntime.sleep(300)";
    let worker = offer(python_worker(guesses));
    let pid = call(&worker, json!({})).await;
    let mut next = worker.start(&json!([]), &json!({}));
    eventually("it is gone", || !log.lines(Level::WARN).is_empty()).await;
    assert!(!lives(&pid));
    told(&log, "it has not read its last call yet");
    next.task.abort_all();
}

#[tokio::test]
async fn a_worker_that_hangs_between_two_calls_is_found_out_by_the_next() {
    let log = log();
    let hangs =
        "say(ready=True)\ncall = next(lines)\nsay(call=call['call'], result=os.getpid())\ntime.sleep(300)";
    let worker = offer(python_worker(hangs));
    let pid = call(&worker, json!({})).await;
    let fault = worker.call(json!({})).await.unwrap_err();
    assert!(fault.message.contains("it did not read its input for 10 s"), "{fault}");
    assert_eq!(fault.class.as_deref(), Some("ProtocolError"));
    replaced(&worker, &pid).await;
    told(&log, "it did not read its input for 10 s");
}

#[tokio::test]
async fn a_worker_that_is_busy_with_its_call_for_longer_is_not_one_that_does_not_read_it() {
    let worker = offer(answering("time.sleep(11)", "os.getpid()"));
    let pid = call(&worker, json!({})).await;
    assert!(lives(&pid));
}
