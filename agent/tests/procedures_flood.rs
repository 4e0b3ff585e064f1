//! Workers that write without a pause: time limits, cancels and the end of their agent reach them all the same.

#![expect(clippy::unwrap_used, reason = "test code")]

#[path = "../../common/exec/tests/exec_support/mod.rs"]
mod exec_support;
mod procedures_support;

use std::time::Duration;

use exec_support::{eventually, lives};
use procedures_support::{Offer, Started, answering, offer, offer_within, python_worker};
use redpoll_agent::builtin::ExecLimits;
use redpoll_common::session::StopReason;
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_config::{Manifest, ProcedureLimits};
use serde_json::{Value, json};

/// Nothing here takes longer; each limit is far less.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Option<Duration> = Some(Duration::from_millis(300));

/// What a worker becomes that writes one line without a pause. Its pipe holds much, so that there is always something in it.
const PROGRESS: &str = r#"yes(1, json.dumps({'call': call['call'], 'progress': {'completed': 1}}))"#;
const VALUES: &str = r#"yes(1, json.dumps({'call': call['call'], 'value': 'xxxxxxxx'}))"#;
const ERRORS: &str = "yes(2, 'oh')";
/// Says nothing at all, in the words of the protocol.
const BLANKS: &str = "yes(1, '')";

const FLOODS: [&str; 4] = [PROGRESS, VALUES, ERRORS, BLANKS];

const YES: &str = "
import fcntl
def yes(pipe, line):
    fcntl.fcntl(pipe, 1031, 1 << 20) # F_SETPIPE_SZ
    os.dup2(1, 9) # kept open
    os.dup2(pipe, 1)
    os.execlp('yes', 'yes', line)
";

/// A worker whose program begins like this.
fn with_yes(worker: Manifest) -> Manifest {
    let mut command = worker.command.clone();
    if let Some(script) = command.last_mut() {
        *script = format!("{YES}{script}");
    }
    Manifest { command, ..worker }
}

/// A worker that gives its process number and then floods.
fn flooding(flood: &str) -> Manifest {
    let limits = ProcedureLimits { output: Some(1024), ..ProcedureLimits::default() };
    let worker = answering(&format!("say(call=call['call'], value=os.getpid()); {flood}"), "1");
    Manifest { grace: SHORT, limits, ..with_yes(worker) }
}

/// A worker that answers its first call with its process number, and floods then.
fn flooding_idle(flood: &str) -> Manifest {
    let script =
        format!("say(ready=True)\ncall = next(lines)\nsay(call=call['call'], result=os.getpid())\n{flood}\n");
    Manifest { grace: SHORT, ..with_yes(python_worker(&script)) }
}

/// Begins a call that floods; gives its process.
async fn flooded(worker: &Offer) -> (Started, String) {
    let mut started = worker.start(&json!([]), &json!({}));
    let pid = started.value().await.unwrap().to_string();
    begun(&pid).await;
    (started, pid)
}

/// Waits until a process floods.
async fn begun(pid: &str) {
    let comm = format!("/proc/{pid}/comm");
    eventually("it floods", || std::fs::read_to_string(&comm).is_ok_and(|name| name == "yes\n")).await;
}

/// The answer, whose caller takes what else comes.
async fn answer(started: &mut Started, what: &str) -> Result<Value, Fault> {
    let all = async {
        while started.value().await.is_some() {}
        started.answer().await
    };
    tokio::time::timeout(LONG, all).await.map_err(|_elapsed| what.to_owned()).unwrap()
}

#[tokio::test]
async fn a_time_limit_ends_whoever_writes_without_a_pause() {
    for flood in FLOODS {
        let worker = offer(Manifest { run_timeout: SHORT, ..flooding(flood) });
        let (mut started, pid) = flooded(&worker).await;
        let fault = answer(&mut started, flood).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::TimedOut, "{flood}: {fault}");
        assert!(!lives(&pid), "{flood}");
    }
}

#[tokio::test]
async fn a_time_limit_ends_whoever_writes_without_a_pause_to_a_caller_who_takes_nothing() {
    // about as much as is on the way to such a caller: then a mark says what is left out, and waits for him as well
    let limits = ProcedureLimits { output: Some(600), ..ProcedureLimits::default() };
    let worker = offer(Manifest { run_timeout: SHORT, limits, ..flooding(VALUES) });
    let (mut started, pid) = flooded(&worker).await;
    eventually("it is ended", || !lives(&pid)).await;
    assert_eq!(answer(&mut started, "once he takes it").await.unwrap_err().code, FaultCode::TimedOut);

    let much = ExecLimits { output: 1 << 30, ..procedures_support::limits() };
    let manifest = Manifest { limits: ProcedureLimits::default(), run_timeout: SHORT, ..flooding(ERRORS) };
    let (mut started, pid) = flooded(&offer_within(manifest, much)).await;
    eventually("it is ended, too", || !lives(&pid)).await;
    assert_eq!(answer(&mut started, "the end of the errors").await.unwrap_err().code, FaultCode::TimedOut);
}

#[tokio::test]
async fn a_cancel_ends_whoever_writes_without_a_pause() {
    for flood in FLOODS {
        let worker = offer(flooding(flood));
        let (mut started, pid) = flooded(&worker).await;
        started.stop.stop(StopReason::Cancelled);
        let fault = answer(&mut started, flood).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::Cancelled, "{flood}: {fault}");
        assert!(!lives(&pid), "{flood}");
    }
}

#[tokio::test]
async fn a_dropped_call_takes_along_whoever_writes_without_a_pause() {
    for flood in FLOODS {
        let worker = offer(flooding(flood));
        let (mut started, pid) = flooded(&worker).await;
        started.task.abort_all();
        eventually(&format!("the worker of a dropped call is killed: {flood}"), || !lives(&pid)).await;
    }
}

#[tokio::test]
async fn whoever_writes_without_a_pause_in_place_of_being_ready_has_its_time_and_hears_a_cancel() {
    for flood in [BLANKS, ERRORS] {
        let worker =
            offer(Manifest { ready_timeout: Duration::from_secs(2), ..with_yes(python_worker(flood)) });
        let fault = answer(&mut worker.start(&json!([]), &json!({})), flood).await.unwrap_err();
        assert!(fault.message.contains("2 s, its ready_timeout"), "{flood}: {fault}");

        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("pid");
        let script = format!("open('{}', 'w').write(str(os.getpid()))\n{flood}", mark.display());
        let worker =
            offer(Manifest { ready_timeout: LONG * 10, grace: SHORT, ..with_yes(python_worker(&script)) });
        let mut started = worker.start(&json!([]), &json!({}));
        eventually("it has begun", || std::fs::read_to_string(&mark).is_ok_and(|pid| !pid.is_empty())).await;
        let pid = std::fs::read_to_string(&mark).unwrap();
        begun(&pid).await;
        started.stop.stop(StopReason::Cancelled);
        let fault = answer(&mut started, flood).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::Cancelled, "{flood}: {fault}");
        eventually("it is ended", || !lives(&pid)).await;
    }
}

#[tokio::test]
async fn a_call_for_a_worker_that_writes_without_a_pause_is_neither_lost_nor_deaf() {
    for flood in [BLANKS, ERRORS] {
        let worker = offer(flooding_idle(flood));
        let pid = worker.call(json!({})).await.unwrap().to_string();
        begun(&pid).await;
        let mut started = worker.start(&json!([]), &json!({}));
        started.stop.stop(StopReason::Cancelled);
        let fault = answer(&mut started, flood).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::Cancelled, "{flood}: {fault}");
        assert!(!lives(&pid), "{flood}");

        let worker = offer(Manifest { run_timeout: SHORT, ..flooding_idle(flood) });
        begun(&worker.call(json!({})).await.unwrap().to_string()).await;
        let fault = answer(&mut worker.start(&json!([]), &json!({})), flood).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::TimedOut, "{flood}: {fault}");
    }
}

#[tokio::test]
async fn a_free_worker_that_writes_without_a_pause_goes_with_its_time_its_definition_and_its_agent() {
    for flood in [BLANKS, ERRORS] {
        let shutdown = SHORT.unwrap();
        let worker = offer(Manifest { idle_shutdown: shutdown, ..flooding_idle(flood) });
        let pid = worker.call(json!({})).await.unwrap().to_string();
        eventually("its time is over", || !lives(&pid)).await;

        let worker = offer(flooding_idle(flood));
        let pid = worker.call(json!({})).await.unwrap().to_string();
        begun(&pid).await;
        worker.stop.cancel();
        worker.tracker.close();
        tokio::time::timeout(LONG, worker.tracker.wait()).await.unwrap();
        assert!(!lives(&pid), "{flood}");

        let Offer { registry, tracker, stop } = offer(flooding_idle(flood));
        let worker = Offer { registry, tracker: tracker.clone(), stop: stop.clone() };
        let pid = worker.call(json!({})).await.unwrap().to_string();
        begun(&pid).await;
        drop(worker);
        tracker.close();
        tokio::time::timeout(LONG, tracker.wait()).await.unwrap();
        assert!(!lives(&pid), "{flood}");
    }
}

/// The most memory that this process has had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn whoever_goes_on_writing_when_a_worker_has_ended_is_not_kept_in_memory() {
    let heir = format!("if os.fork() == 0: {BLANKS}");
    for (begin, when) in [("", "before it was ready"), ("say(ready=True)\nnext(lines)\n", "in the call")] {
        let worker = with_yes(python_worker(&format!("{begin}{heir}\ntime.sleep(0.5)\nsys.exit(7)")));
        let before = peak_kib();
        let fault = answer(&mut offer(worker).start(&json!([]), &json!({})), when).await.unwrap_err();
        assert!(fault.message.contains(&format!("exited with 7 {when}")), "{fault}");
        let grown = peak_kib() - before;
        assert!(grown < 64 * 1024, "{grown} KiB {when}");
    }
}

#[tokio::test]
async fn what_a_worker_wrote_last_is_heard_when_it_has_ended() {
    let last = "say(call=call['call'], value='last'); print('oh', file=sys.stderr, flush=True); sys.exit(7)";
    let (values, fault) = offer(answering(last, "1")).run(json!({})).await;
    assert!(values.contains(&json!("last")), "{values:?}");
    assert!(values.contains(&json!({"stream": "stderr", "text": "oh\n"})), "{values:?}");
    let fault = fault.unwrap_err();
    assert_eq!((fault.class.as_deref(), fault.trace.as_deref()), (Some("ExitStatus"), Some("oh\n")));
    // in one piece with its end
    let end = "os.write(1, json.dumps({'call': call['call'], 'result': 5}).encode()); os._exit(7)";
    assert_eq!(offer(answering(end, "1")).call(json!({})).await.unwrap(), 5);
}
