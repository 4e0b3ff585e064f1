//! What executables ask the manager for, with a manager that is played by the test.
#![expect(clippy::unwrap_used, reason = "test code")]

mod procedures_support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use procedures_support::{Offer, answering, json_shell, limits, manifest, python_worker, setting};
use redpoll_agent::procedures::{Setting, add, make};
use redpoll_common::wire::{Fault, FaultCode, Raw, RawMap};
use redpoll_config::{ManagerRights, Manifest, ProcedureLimits, ProcedureMode, ProcedureOutput};
use redpoll_exec::{Asker, Question, Wanted};
use redpoll_net::Registry;
use redpoll_schema::policy::Pattern;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

/// Asks, in Python: `ask` writes one, `answer` reads the next line.
const ASK: &str = "
def ask(call, id, **ask):
    say(call=call['call'], ask=dict(ask, id=id))
def answer():
    return next(lines)['answer']
";

/// What was asked, shortly: the words of the job or the call, and how long it waits.
type Asked = Arc<Mutex<Vec<(String, Duration)>>>;

fn words(question: &Question) -> String {
    match &question.wanted {
        Wanted::Submit(job) => format!("submit {} on {}", job.spec.procedure, job.agents.join(",")),
        Wanted::Call { procedure, args, kwargs } => {
            let (args, kwargs): (Value, Value) = (args.decode().unwrap(), kwargs.decode().unwrap());
            format!("call {procedure} {args} {kwargs}")
        }
    }
}

/// One that answers `{"job": "j1"}` at once, and remembers.
fn prompt() -> (Asker, Asked) {
    let asked = Asked::default();
    let seen = asked.clone();
    let asker = Asker::new(move |question| {
        seen.lock().unwrap().push((words(&question), question.timeout));
        Box::pin(std::future::ready(Ok(RawMap::new().text("job", "j1").finish())))
    });
    (asker, asked)
}

/// One that answers when it is let, and counts who waits.
fn slow() -> (Asker, Arc<Notify>, watch::Receiver<usize>) {
    let (let_go, waiting) = (Arc::new(Notify::new()), watch::Sender::new(0));
    let (gate, count) = (let_go.clone(), waiting.subscribe());
    let asker = Asker::new(move |_question| {
        // from here on it is let go with the others, whenever it is looked at first
        let let_go = gate.clone().notified_owned();
        waiting.send_modify(|n| *n += 1);
        let here = Waiting(waiting.clone());
        Box::pin(async move {
            let _here = here;
            let_go.await;
            Ok(Raw::text("late"))
        })
    });
    (asker, let_go, count)
}

struct Waiting(watch::Sender<usize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

async fn until(count: &mut watch::Receiver<usize>, wanted: usize) {
    tokio::time::timeout(Duration::from_secs(30), count.wait_for(|n| *n == wanted)).await.unwrap().unwrap();
}

fn rights(submit: bool, calls: &[&str]) -> Option<ManagerRights> {
    Some(ManagerRights::new(submit, calls.iter().map(|glob| Pattern::new(glob).unwrap()).collect()))
}

fn offer(manifest: Manifest, asker: Asker) -> Offer {
    let (setting, tracker, stop) = setting();
    let setting = Setting { limits: limits(), asker, ..setting };
    let procedure = make(manifest, &Arc::new(setting), None).unwrap();
    Offer { registry: add(Registry::new(), &procedure).unwrap(), tracker, stop }
}

/// A worker that does `body` in each call, and gives `out` as its result.
fn asking(body: &str) -> Manifest {
    let body = body.replace('\n', "\n    ");
    python_worker(&format!(
        "{ASK}say(ready=True)\nfor call in lines:\n    if 'call' not in call: continue\n    {body}\n    say(call=call['call'], result=out)\n"
    ))
}

async fn protocol_error(offer: &Offer, words: &str) {
    let fault = offer.call(json!({})).await.unwrap_err();
    assert_eq!(fault.class.as_deref(), Some("ProtocolError"), "{fault}");
    assert!(fault.message.contains(words), "{fault}");
}

#[tokio::test]
async fn a_shell_script_submits_a_job_and_reads_the_answer_and_then_the_end_of_its_input() {
    let script = r#"
read -r call
echo '{"ask":{"id":"a","submit":{"procedure":"web.deploy","run_timeout":"10m"}}}'
read -r answer
echo "{\"value\":$answer}"
echo '{"result":"done"}'
read -r more || echo "the end" >&2
"#;
    let (asker, asked) = prompt();
    let offer = offer(Manifest { manager: rights(true, &[]), ..json_shell(script) }, asker);
    let (values, result) = offer.run(json!({})).await;
    assert_eq!(result.unwrap(), "done");
    assert_eq!(values[0], json!({"answer": {"id": "a", "call": 1, "result": {"job": "j1"}}}));
    assert_eq!(values[1]["text"], "the end\n", "after the end nothing is answered");
    let asked = asked.lock().unwrap();
    assert_eq!(*asked, [("submit web.deploy on web-1".to_owned(), Duration::from_secs(30))]);
}

#[tokio::test]
async fn without_the_table_input_ends_after_the_call_and_who_asks_all_the_same_is_told_what_is_missing() {
    let (asker, asked) = prompt();
    let quiet =
        offer(json_shell(r#"read -r call; read -r more || echo '{"result":"the end"}'"#), asker.clone());
    assert_eq!(quiet.call(json!({})).await.unwrap(), "the end");
    let script = r#"echo '{"ask":{"id":"a","submit":{"procedure":"p"}}}'; read -r x; read -r y; sleep 1000"#;
    protocol_error(&offer(json_shell(script), asker), "p.toml has no [manager]").await;
    protocol_error(&offer(json_shell(script), Asker::default()), "only procedures of agents").await;
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_manifest_says_what_may_be_asked() {
    let body = "
out = []
for id, want in enumerate(call['kwargs']['asks']):
    ask(call, str(id), **want)
    out.append(answer())";
    let asks = json!({"asks": [
        {"submit": {"procedure": "p", "agents": ["web-2"]}, "timeout": 2},
        {"procedure": "site.note@2", "args": [1], "kwargs": {"a": "b"}},
        {"procedure": "rp.jobs.submit", "kwargs": {}},
        {"procedure": "other.one"},
        {"submit": {"procedure": "p", "offline": "maybe"}},
    ]});
    let codes = async |rights: Option<ManagerRights>, asker: Asker| {
        let offer = offer(Manifest { manager: rights, ..asking(body) }, asker);
        let answers = offer.call(asks.clone()).await.unwrap();
        let answers = answers.as_array().unwrap().clone();
        let said = |answer: &Value| answer["fault"]["code"].as_str().unwrap_or("good").to_owned();
        (answers.iter().map(said).collect::<Vec<_>>(), answers)
    };
    let (asker, asked) = prompt();
    let (nothing, answers) = codes(None, asker.clone()).await;
    assert_eq!(nothing, ["forbidden"; 5]);
    let message = |answer: &Value| answer["fault"]["message"].as_str().unwrap().to_owned();
    assert!(message(&answers[0]).contains("add submit = true to [manager] in p.toml"), "{answers:?}");
    assert!(message(&answers[1]).contains("add \"site.note@2\" to calls"), "{answers:?}");
    assert!(asked.lock().unwrap().is_empty());

    let (calls, _) = codes(rights(false, &["site.*"]), asker.clone()).await;
    assert_eq!(calls, ["forbidden", "good", "forbidden", "forbidden", "forbidden"]);
    let (all, answers) = codes(rights(true, &["*"]), asker).await;
    assert_eq!(all, ["good", "good", "forbidden", "good", "bad_arguments"]);
    assert!(message(&answers[4]).contains("offline") && message(&answers[2]).contains("\"submit\""));
    let asked: Vec<_> = asked.lock().unwrap().drain(..).collect();
    assert_eq!(asked[0].0, r#"call site.note@2 [1] {"a":"b"}"#);
    assert_eq!(asked[1], ("submit p on web-2".to_owned(), Duration::from_secs(2)));

    let (nobody, answers) = codes(rights(true, &["*"]), Asker::default()).await;
    assert!(nobody == ["forbidden"; 5] && message(&answers[0]).contains("only procedures of agents"));
}

#[tokio::test]
async fn an_answer_takes_no_longer_than_the_run() {
    let body = "ask(call, 'a', submit={'procedure': 'p'}, **call['kwargs'])\nout = answer()['id']";
    let (asker, asked) = prompt();
    let run_timeout = Some(Duration::from_secs(10));
    let offer = offer(Manifest { manager: rights(true, &[]), run_timeout, ..asking(body) }, asker);
    for kwargs in [json!({}), json!({"timeout": 3600}), json!({"timeout": 0.25})] {
        assert_eq!(offer.call(kwargs).await.unwrap(), "a");
    }
    let waits: Vec<Duration> = asked.lock().unwrap().iter().map(|(_, timeout)| *timeout).collect();
    assert!(waits[..2].iter().all(|wait| (5..=10).contains(&wait.as_secs())), "{waits:?}");
    assert_eq!(waits[2], Duration::from_millis(250));
}

#[tokio::test]
async fn sixteen_may_be_open_and_further_ones_are_overloaded() {
    let body = "
for n in range(20): ask(call, str(n), submit={'procedure': 'p'})
refused = [answer() for n in range(4)]
say(call=call['call'], value=[a['fault']['code'] for a in refused])
out = sorted((answer()['id'] for n in range(16)), key=int)";
    let (asker, gate, mut waiting) = slow();
    let offer = offer(Manifest { manager: rights(true, &[]), ..asking(body) }, asker);
    let mut started = offer.start(&json!([]), &json!({}));
    assert_eq!(started.value().await.unwrap(), json!(vec!["overloaded"; 4]));
    until(&mut waiting, 16).await;
    gate.notify_waiters();
    let ids: Vec<String> = (0..16).map(|n| n.to_string()).collect();
    assert_eq!(started.answer().await.unwrap(), json!(ids));
}

#[tokio::test]
async fn who_asks_on_and_never_reads_is_ended_and_nothing_of_it_stays_open() {
    let flood = "
n = 0
while True:
    n += 1
    ask(call, str(n), submit={'procedure': 'p'})";
    let (asker, _asked) = prompt();
    let worker =
        offer(Manifest { manager: rights(true, &[]), ..asking(&format!("{flood}\nout = 1")) }, asker.clone());
    protocol_error(&worker, "does not read the answers").await;
    let script =
        r#"while :; do n=$((n+1)); echo "{\"ask\":{\"id\":\"$n\",\"submit\":{\"procedure\":\"p\"}}}"; done"#;
    let once = offer(Manifest { manager: rights(true, &[]), ..json_shell(script) }, asker);
    protocol_error(&once, "does not read the answers").await;
    let (asker, _gate, mut waiting) = slow();
    let never = offer(Manifest { manager: rights(true, &[]), ..asking(&format!("{flood}\nout = 1")) }, asker);
    protocol_error(&never, "does not read the answers").await;
    until(&mut waiting, 0).await;
}

#[tokio::test]
async fn an_id_is_used_once_at_a_time() {
    let body = "
ask(call, 'a', submit={'procedure': 'p'})
first = answer()
ask(call, 'a', submit={'procedure': 'p'})
out = [first['id'], answer()['id']]";
    let (asker, _asked) = prompt();
    let again = offer(Manifest { manager: rights(true, &[]), ..asking(body) }, asker);
    assert_eq!(again.call(json!({})).await.unwrap(), json!(["a", "a"]));
    let body = "
ask(call, 'a', submit={'procedure': 'p'})
ask(call, 'a', submit={'procedure': 'p'})
out = answer()";
    let (asker, _gate, _waiting) = slow();
    let twice = offer(Manifest { manager: rights(true, &[]), ..asking(body) }, asker);
    protocol_error(&twice, "same id").await;
}

#[tokio::test]
async fn the_asks_of_a_call_end_with_it_and_the_next_call_hears_nothing_of_them() {
    let body = "
if call['kwargs'].get('leave'):
    for n in range(3): ask(call, str(n), submit={'procedure': 'p'})
    out = 'left'
else:
    ask(call, 'own', submit={'procedure': 'p'})
    out = answer()";
    let (asker, gate, mut waiting) = slow();
    let offer = offer(Manifest { manager: rights(true, &[]), ..asking(body) }, asker);
    assert_eq!(offer.call(json!({"leave": true})).await.unwrap(), "left");
    until(&mut waiting, 0).await;
    let mut next = offer.start(&json!([]), &json!({}));
    until(&mut waiting, 1).await;
    gate.notify_waiters();
    assert_eq!(next.answer().await.unwrap(), json!({"id": "own", "call": 2, "result": "late"}));

    let mut cancelled = offer.start(&json!([]), &json!({}));
    until(&mut waiting, 1).await;
    drop(cancelled.task);
    until(&mut waiting, 0).await;
    cancelled.output.next().await;
}

#[tokio::test]
async fn who_waits_for_an_answer_is_not_silent_and_who_has_it_is() {
    let idle_timeout = Some(Duration::from_millis(300));
    let worker = asking("ask(call, 'a', submit={'procedure': 'p'})\nout = answer()['result']");
    let script = r#"echo '{"ask":{"id":"a","submit":{"procedure":"p"}}}'; read -r c; read -r a; echo '{"result":"late"}'"#;
    for manifest in [worker, json_shell(script)] {
        let (asker, gate, mut waiting) = slow();
        let offer = offer(Manifest { manager: rights(true, &[]), idle_timeout, ..manifest }, asker);
        let mut started = offer.start(&json!([]), &json!({}));
        until(&mut waiting, 1).await;
        // longer than it may be silent: that time passes is what is tested, and the program has no clock that a test could move
        tokio::time::sleep(Duration::from_millis(900)).await;
        gate.notify_waiters();
        assert_eq!(started.answer().await.unwrap(), "late");
    }
    let (asker, _asked) = prompt();
    let body = "ask(call, 'a', submit={'procedure': 'p'})\nanswer()\ntime.sleep(1000)\nout = 1";
    let silent = offer(
        Manifest { manager: rights(true, &[]), idle_timeout, grace: Some(Duration::ZERO), ..asking(body) },
        asker,
    );
    assert_eq!(silent.call(json!({})).await.unwrap_err().code, FaultCode::TimedOut);
}

#[tokio::test]
async fn an_answer_beyond_the_line_limit_is_a_fault_and_a_fault_of_the_manager_is_passed_on() {
    let body = "ask(call, 'a', procedure='p')\nout = answer()";
    let line = ProcedureLimits { line: Some(4096), ..ProcedureLimits::default() };
    let large = Asker::new(|_| Box::pin(std::future::ready(Ok(Raw::text(&"x".repeat(5000))))));
    let offer_large = offer(Manifest { manager: rights(false, &["*"]), limits: line, ..asking(body) }, large);
    assert_eq!(offer_large.call(json!({})).await.unwrap()["fault"]["code"], "too_large");
    let refuses = Asker::new(|_| {
        let fault = Fault::new(FaultCode::Forbidden, "agents.submit does not name it");
        Box::pin(std::future::ready(Err(fault)))
    });
    let offer = offer(Manifest { manager: rights(false, &["*"]), ..asking(body) }, refuses);
    let told = json!({"code": "forbidden", "message": "agents.submit does not name it"});
    assert_eq!(offer.call(json!({})).await.unwrap()["fault"], told);
}

#[tokio::test]
async fn a_large_answer_waits_until_it_is_read_and_a_worker_that_asks_nothing_is_as_before() {
    // more than a pipe takes; the worker does something else first
    let body = "
ask(call, 'a', procedure='p')
time.sleep(0.3)
say(call=call['call'], value='busy')
out = len(answer()['result'])";
    let large = Asker::new(|_| Box::pin(std::future::ready(Ok(Raw::text(&"x".repeat(500_000))))));
    let offer_large = offer(Manifest { manager: rights(false, &["*"]), ..asking(body) }, large);
    let (values, result) = offer_large.run(json!({})).await;
    assert_eq!((values, result.unwrap()), (vec![json!("busy")], json!(500_000)));
    let plain = offer(answering("pass", "call['kwargs']"), Asker::default());
    assert_eq!(plain.call(json!({"a": 1})).await.unwrap(), json!({"a": 1}));
}

#[tokio::test]
async fn an_answer_comes_although_the_process_never_stops_talking() {
    // pieces that a pipe takes whole, faster than they are understood
    let script = |ready: &str, mark: &str, rest: &str| {
        format!(
            r#"{ready}read -r call
python3 -c 'import os, sys
line = sys.argv[1].encode() + b"\n"
while True: os.write(1, line * (4096 // len(line)))' '{{{mark}"progress":{{"completed":1}}}}' &
echo '{{{mark}"ask":{{"id":"a","submit":{{"procedure":"p"}}}}}}'
read -r answer
kill $!; wait
echo '{{{mark}"result":"answered"}}'
{rest}"#
        )
    };
    let worker = script("echo '{\"ready\":true}'; ", "\"call\":1,", "read -r more");
    let worker = manifest(ProcedureMode::Worker, ProcedureOutput::Json, &["/bin/sh", "-c", &worker]);
    for manifest in [json_shell(&script("", "", "")), worker] {
        let (asker, gate, mut waiting) = slow();
        let offer = offer(Manifest { manager: rights(true, &[]), ..manifest }, asker);
        let mut started = offer.start(&json!([]), &json!({}));
        until(&mut waiting, 1).await;
        for _ in 0..5 {
            assert!(started.value().await.is_some(), "it talks");
        }
        gate.notify_waiters();
        assert_eq!(started.answer().await.unwrap(), "answered");
    }
}

#[tokio::test]
async fn once_a_cancel_and_a_time_limit_are_a_line_too_where_the_input_is_open() {
    let script = "import sys, json, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nsay = lambda **line: print(json.dumps(line), flush=True)\n\
                  sys.stdin.readline()\nsay(value='begun')\nsay(value=json.loads(sys.stdin.readline()))\nsay(exception={})";
    let command = ["python3", "-c", script];
    let asks = || Manifest {
        manager: rights(true, &[]),
        ..manifest(ProcedureMode::Once, ProcedureOutput::Json, &command)
    };
    let cancelled = offer(asks(), Asker::default());
    let mut started = cancelled.start(&json!([]), &json!({}));
    assert_eq!(started.value().await.unwrap(), "begun");
    started.stop.stop(redpoll_common::session::StopReason::Cancelled);
    assert_eq!(started.value().await.unwrap(), json!({"cancel": 1}));
    assert!(started.answer().await.is_err(), "well within the grace of 20 s");
    let run_timeout = Some(Duration::from_secs(2));
    let (values, end) = offer(Manifest { run_timeout, ..asks() }, Asker::default()).run(json!({})).await;
    assert_eq!(values, [json!("begun"), json!({"cancel": 1})]);
    assert!(end.is_err());
}
