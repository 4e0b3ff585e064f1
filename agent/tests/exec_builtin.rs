//! The built-in procedures as a caller sees them.

#![expect(clippy::unwrap_used, reason = "test code")]

mod exec_support;

use exec_support::{counting_writer, eventually, lives, stalled};
use redpoll_agent::builtin::install;
use redpoll_common::identity::Identity;
use redpoll_common::session::StopReason;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_config::{LimitsConfig, ProceduresConfig};
use redpoll_net::Registry;
use redpoll_net::service::{DetachedOutput, StopHandle, detached_call};
use redpoll_net::transport::PeerInfo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// A value of `exec.run`.
#[derive(Debug, Deserialize)]
struct Piece {
    stream: String,
    #[serde(default, with = "serde_bytes")]
    data: Vec<u8>,
    #[serde(default)]
    truncated: bool,
    #[serde(default)]
    dropped: u64,
}

fn registry(limits: &LimitsConfig) -> Registry {
    let offered =
        ProceduresConfig { builtin: vec!["sys.*".into(), "exec.run".into()], ..ProceduresConfig::default() };
    install(Registry::new(), &offered, limits).unwrap()
}

fn caller() -> PeerInfo {
    PeerInfo {
        identity: Identity::parse("spiffe://home/manager/m").unwrap(),
        address: "test".into(),
        ip: None,
        speaks_rp1: true,
        certificate: None,
    }
}

/// A call in progress.
struct Started {
    task: JoinSet<Result<Raw, Fault>>,
    output: DetachedOutput,
    stop: StopHandle,
}

impl Started {
    async fn answer(&mut self) -> Result<Value, Fault> {
        let ended = self.task.join_next().await.unwrap().unwrap();
        ended.map(|raw| raw.decode().unwrap())
    }

    async fn piece(&mut self) -> Option<Piece> {
        Some(self.output.next().await?.unwrap().decode().unwrap())
    }

    async fn text(&mut self) -> String {
        String::from_utf8(self.piece().await.unwrap().data).unwrap()
    }
}

fn start_with(limits: &LimitsConfig, method: &str, args: &Raw, kwargs: &Raw) -> Started {
    let (call, output, stop) = detached_call(caller(), method, args.clone(), kwargs.clone());
    let mut task = JoinSet::new();
    task.spawn(registry(limits).start(call).answer);
    Started { task, output, stop }
}

fn start(method: &str, args: &Value, kwargs: &Value) -> Started {
    start_with(&LimitsConfig::default(), method, &Raw::encode(args).unwrap(), &Raw::encode(kwargs).unwrap())
}

async fn call(method: &str, args: Value, kwargs: Value) -> Result<Value, Fault> {
    start(method, &args, &kwargs).answer().await
}

/// The output, and the answer to a call that is expected to end by itself.
async fn run(kwargs: Value) -> (Vec<Piece>, Result<Value, Fault>) {
    let mut started = start("exec.run", &json!([]), &kwargs);
    let mut pieces = Vec::new();
    while let Some(piece) = started.piece().await {
        pieces.push(piece);
    }
    let answer = started.answer().await;
    (pieces, answer)
}

fn shell(script: &str) -> Value {
    json!({"argv": ["/bin/sh", "-c", script]})
}

#[tokio::test]
async fn echo_returns_every_byte_as_it_came() {
    // {"k": 1 as an eight-byte integer} and [binary 0xff]: forms that decoding and encoding would not keep
    let kwargs = Raw::parse(vec![0x81, 0xa1, b'k', 0xcf, 0, 0, 0, 0, 0, 0, 0, 1].into()).unwrap();
    let args = Raw::parse(vec![0x91, 0xc4, 1, 0xff].into()).unwrap();
    let mut echo = start_with(&LimitsConfig::default(), "sys.echo", &args, &kwargs);
    let answer = echo.task.join_next().await.unwrap().unwrap().unwrap();
    let expected = [&b"\x82\xa4args"[..], args.as_bytes(), b"\xa6kwargs", kwargs.as_bytes()].concat();
    assert_eq!(answer.as_bytes(), expected);

    let mut deep = vec![0x91; 31];
    deep.push(0xc0);
    let deep = Raw::parse(deep.into()).unwrap();
    let mut echo = start_with(&LimitsConfig::default(), "sys.echo", &deep, &Raw::empty_map());
    assert_eq!(echo.answer().await.unwrap_err().code, FaultCode::BadArguments);
}

#[tokio::test]
async fn ping_version_and_facts_answer_and_take_no_arguments() {
    let pong = call("sys.ping", json!([]), json!({})).await.unwrap();
    assert_eq!(pong["pong"], true);
    assert!(pong["wall_ms"].as_u64().unwrap() > 1_700_000_000_000);
    let version = call("sys.version", json!([]), json!({})).await.unwrap();
    assert_eq!((&version["agent"], &version["protocol"]), (&json!(env!("CARGO_PKG_VERSION")), &json!(1)));
    let facts = call("sys.facts", json!([]), json!({})).await.unwrap();
    assert_eq!(facts["kernel"]["name"], "Linux");
    assert!(facts["memory"]["total"].as_u64().unwrap() > 0);
    for method in ["sys.ping", "sys.version", "sys.facts", "sys.procedures"] {
        let fault = call(method, json!([]), json!({"x": 1})).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::BadArguments);
        assert_eq!(fault.message, format!("{method} takes no arguments"));
    }
}

#[tokio::test]
async fn procedures_lists_all_that_the_registry_offers() {
    let own = redpoll_net::ProcedureInfo::new("app.restart", "Restarts the app.", json!({}));
    let before = Registry::new().with(own, |_| async { Ok(Raw::nil()) }).unwrap();
    let offered = ProceduresConfig {
        builtin: vec!["sys.procedures".into(), "exec.run".into()],
        ..ProceduresConfig::default()
    };
    let registry = install(before, &offered, &LimitsConfig::default()).unwrap();
    let (call, _output, _stop) =
        detached_call(caller(), "sys.procedures", Raw::empty_array(), Raw::empty_map());
    let list: Value = registry.start(call).answer.await.unwrap().decode().unwrap();
    let names: Vec<&str> =
        list.as_array().unwrap().iter().map(|info| info["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["app.restart", "exec.run", "sys.procedures"]);
    assert_eq!(list[1]["args"]["properties"]["argv"]["minItems"], 1);
}

#[tokio::test]
async fn a_program_that_succeeds_gives_its_output_as_values_and_a_summary() {
    let (pieces, answer) = run(shell("printf 'a\\377'; printf b >&2")).await;
    let of = |stream: &str| {
        pieces
            .iter()
            .filter(|piece| piece.stream == stream)
            .flat_map(|piece| piece.data.clone())
            .collect::<Vec<u8>>()
    };
    assert_eq!((of("stdout"), of("stderr")), (b"a\xff".to_vec(), b"b".to_vec()));
    let answer = answer.unwrap();
    let expected = json!({
        "exit": 0, "signal": null, "stdout_bytes": 2, "stderr_bytes": 1, "dropped": 0,
        "duration_ms": answer["duration_ms"]
    });
    assert_eq!(answer, expected);
    assert!(answer["duration_ms"].is_u64());
}

#[tokio::test]
async fn a_program_that_fails_is_a_fault_with_the_end_of_its_stderr() {
    let (_, answer) = run(shell("echo so sorry >&2; exit 3")).await;
    let fault = answer.unwrap_err();
    assert_eq!((fault.code, fault.message.as_str()), (FaultCode::Failed, "sh exited with 3"));
    assert_eq!(fault.class.as_deref(), Some("ExitStatus"));
    assert_eq!(fault.trace.as_deref(), Some("so sorry\n"));
    let data: Value = fault.data.unwrap().decode().unwrap();
    assert_eq!((&data["exit"], &data["stderr_bytes"]), (&json!(3), &json!(9)));

    let fault = run(shell("kill -9 $$")).await.1.unwrap_err();
    assert_eq!(fault.message, "sh was ended by signal 9");
    let data: Value = fault.data.unwrap().decode().unwrap();
    assert_eq!((&data["exit"], &data["signal"]), (&Value::Null, &json!(9)));
}

#[tokio::test]
async fn input_environment_directory_and_position_reach_the_program() {
    let kwargs = json!({"stdin": "in", "env": {"X": "var"}, "cwd": "/"});
    let mut started =
        start("exec.run", &json!(["/bin/sh", "-c", "cat; echo $X; pwd; echo $0", "zero"]), &kwargs);
    let mut text = String::new();
    while let Some(piece) = started.piece().await {
        text.push_str(&String::from_utf8(piece.data).unwrap());
    }
    assert_eq!(text, "invar\n/\nzero\n");
    assert_eq!(started.answer().await.unwrap()["exit"], 0);
}

#[tokio::test]
async fn what_cannot_start_and_what_cannot_be_asked_are_told_apart() {
    let (_, answer) = run(json!({"argv": ["no-such-program"]})).await;
    let fault = answer.unwrap_err();
    assert_eq!((fault.code, fault.class.as_deref()), (FaultCode::Failed, Some("SpawnError")));
    assert!(fault.message.contains("was not found"), "{}", fault.message);
    for bad in
        [json!({}), json!({"argv": [""]}), json!({"argv": ["a\0"]}), json!({"argv": ["a"], "shell": true})]
    {
        assert_eq!(run(bad).await.1.unwrap_err().code, FaultCode::BadArguments);
    }
}

#[tokio::test]
async fn the_agents_limits_hold_whatever_the_caller_asks_for() {
    let limits = LimitsConfig {
        output: 1024,
        run_timeout: std::time::Duration::from_millis(300),
        ..Default::default()
    };
    let asks = json!({
        "argv": ["/bin/sh", "-c", "head -c 5000 /dev/zero; exec sleep 1000"],
        "output_limit": 4000, "run_timeout_ms": 1_000_000, "grace_ms": 1_000_000
    });
    let mut started = start_with(&limits, "exec.run", &Raw::empty_array(), &Raw::encode(&asks).unwrap());
    let (mut bytes, mut mark) = (0, None);
    while let Some(piece) = started.piece().await {
        bytes += piece.data.len();
        mark = piece.truncated.then_some(piece.dropped);
    }
    assert_eq!((bytes, mark), (1024, Some(5000 - 1024)));
    let fault = started.answer().await.unwrap_err();
    assert_eq!(
        (fault.code, fault.message.as_str()),
        (FaultCode::TimedOut, "sh exceeded its time limit of 0.3 s")
    );
    let data: Value = fault.data.unwrap().decode().unwrap();
    assert_eq!((&data["signal"], &data["dropped"]), (&json!(15), &json!(5000 - 1024)));
}

#[tokio::test]
async fn a_cancelled_call_is_answered_when_nothing_of_it_is_left() {
    for (reason, code) in [
        (StopReason::Cancelled, FaultCode::Cancelled),
        (StopReason::Closed, FaultCode::Cancelled),
        (StopReason::TimedOut, FaultCode::TimedOut),
    ] {
        let mut started = start("exec.run", &json!([]), &shell("sleep 1000 & echo $!; wait"));
        let pid = started.text().await;
        assert!(lives(&pid));
        started.stop.stop(reason);
        let fault = started.answer().await.unwrap_err();
        assert!(!lives(&pid));
        assert_eq!(fault.code, code);
        let data: Value = fault.data.unwrap().decode().unwrap();
        assert_eq!(data["signal"], 15);
    }
}

#[tokio::test]
async fn a_caller_who_takes_no_output_and_cancels_is_answered_still() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("written");
    let mut started = start("exec.run", &json!([]), &shell(&counting_writer(1000, &mark)));
    // nobody takes a value, so the connection's room runs out; only the stop gets through
    assert!(stalled(&mark).await < 1000, "nothing held the program back");
    started.stop.stop(StopReason::Cancelled);
    assert_eq!(started.answer().await.unwrap_err().code, FaultCode::Cancelled);
}

#[tokio::test]
async fn a_dropped_call_leaves_nothing_behind() {
    let mut started = start("exec.run", &json!([]), &shell("sleep 1000 & echo $!; wait"));
    let pid = started.text().await;
    started.task.shutdown().await;
    eventually("the program is gone", || !lives(&pid)).await;
}
