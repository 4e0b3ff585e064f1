//! A fresh process for each run: what it says, how it ends, and what it must not do.

#![expect(clippy::unwrap_used, reason = "test code")]

#[path = "../../common/exec/tests/exec_support/mod.rs"]
mod exec_support;
mod procedures_support;

use std::time::Duration;

use exec_support::{eventually, lives};
use procedures_support::{json_shell, limits, manifest, offer, offer_within, text_shell};
use redpoll_common::session::StopReason;
use redpoll_common::wire::{Fault, FaultCode, Raw, RawMap};
use redpoll_config::{ProcedureMode, ProcedureOutput};
use serde_json::{Value, json};

async fn fails(script: &str) -> Fault {
    offer(json_shell(script)).call(json!({})).await.unwrap_err()
}

#[tokio::test]
async fn values_progress_and_the_result_come_as_they_are_said() {
    let script = r#"read -r call; echo '{"value": [1, "ä"]}'; echo '{"progress": {"completed": 1, "total": 2}}'; sleep 0.1
        echo '{"value": {"call": '"$call"'}}'; echo note >&2; printf '{"result": {"done": true}}'"#;
    let (values, answer) = offer(json_shell(script)).run(json!({"user": "ann"})).await;
    assert_eq!(answer.unwrap(), json!({"done": true}));
    assert_eq!(values[0], json!([1, "ä"]));
    assert!(values.contains(&json!({"completed": 1, "total": 2})));
    assert!(values.contains(&json!({"stream": "stderr", "text": "note\n"})));
    let said = values.iter().find_map(|value| value.get("call")).unwrap();
    assert_eq!(
        (&said["kwargs"], &said["procedure"], &said["version"]),
        (&json!({"user": "ann"}), &json!("p"), &json!(1))
    );
    assert_eq!(said["job"], Value::Null);
}

#[tokio::test]
async fn bytes_go_in_and_out_unchanged() {
    let script = "import sys,json\ncall=json.load(sys.stdin)\nb=call['kwargs']['b']\nprint(json.dumps({'value_b64':b['$b64']}))\nprint(json.dumps({'result':[b]}))";
    let echo = offer(manifest(ProcedureMode::Once, ProcedureOutput::Json, &["python3", "-c", script]));
    let bytes: Vec<u8> = (0..=255).collect();
    let mut started = echo.start_raw(&Raw::empty_array(), &RawMap::new().bin("b", &bytes).finish());
    assert_eq!(started.output.next().await.unwrap().unwrap(), Raw::bin(&bytes));
    let answer = started.task.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(answer.as_bytes(), [&[0x91][..], Raw::bin(&bytes).as_bytes()].concat());
}

#[tokio::test]
async fn an_exception_crosses_with_all_it_carries() {
    let fault = fails(
        r#"echo '{"exception":{"class":"NoSuchDog","module":"shop","message":"rex","trace":"line 1","args":["rex"],"state":{"n":1},"data":7}}'; exit 1"#,
    )
    .await;
    assert_eq!((fault.code, fault.message.as_str()), (FaultCode::Failed, "rex"));
    assert_eq!((fault.class.as_deref(), fault.module.as_deref()), (Some("NoSuchDog"), Some("shop")));
    assert_eq!(
        (fault.args, fault.data),
        (Some(Raw::encode(&["rex"]).unwrap()), Some(Raw::encode(&7).unwrap()))
    );
    assert!(fault.state.is_some() && fault.trace.is_some());
}

#[tokio::test]
async fn an_end_without_a_result_says_how_it_ended_and_what_it_wrote_last() {
    let fault = fails("echo 'disk on fire' >&2; exit 3").await;
    assert_eq!((fault.code, fault.message.as_str()), (FaultCode::Failed, "p exited with 3"));
    assert_eq!(
        (fault.class.as_deref(), fault.trace.as_deref()),
        (Some("ExitStatus"), Some("disk on fire\n"))
    );
    assert_eq!(fault.data.unwrap().decode::<Value>().unwrap(), json!({"exit": 3, "signal": null}));
    let fault = fails("kill -KILL $$").await;
    assert!(fault.message.ends_with("was ended by signal 9"), "{fault}");
    let fault = fails("true").await;
    assert!(fault.message.contains("neither a result nor an exception"), "{fault}");
}

#[tokio::test]
async fn whoever_breaks_the_protocol_is_ended_and_told_where() {
    for (script, words) in [
        ("echo hello; sleep 300", "line 1 of its standard output is not JSON"),
        (
            r#"echo '{"result":1}'; echo '{"result":2}'; sleep 300"#,
            "line 2 of its standard output is a result, after",
        ),
        (r#"echo '{"result":1}'; echo '{"value":2}'; sleep 300"#, "after the end"),
        (r#"echo '{"result":1}'; echo bye"#, "line 2 of its standard output is not JSON"),
        (r#"echo '{"ready":true}'; sleep 300"#, "only mode = \"worker\""),
        (r#"echo '{"call":99,"value":1}'; sleep 300"#, "call 99, which it was not given"),
        ("head -c 10485760 /dev/zero; sleep 300", "longer than 1048576 bytes"),
    ] {
        let fault = fails(script).await;
        assert_eq!(
            (fault.code.clone(), fault.class.as_deref()),
            (FaultCode::Failed, Some("ProtocolError")),
            "{script}"
        );
        assert!(fault.message.contains(words), "{script}: {fault}");
    }
}

#[tokio::test]
async fn text_is_passed_on_and_the_exit_is_the_result() {
    let (values, answer) = offer(text_shell("echo out; echo err >&2; cat >/dev/null")).run(json!({})).await;
    assert_eq!(answer.unwrap(), json!({"exit": 0, "signal": null}));
    assert!(values.contains(&json!({"stream": "stdout", "text": "out\n"})));
    assert!(values.contains(&json!({"stream": "stderr", "text": "err\n"})));
    let fault = offer(text_shell("echo no >&2; exit 4")).call(json!({})).await.unwrap_err();
    assert_eq!((fault.message.as_str(), fault.trace.as_deref()), ("p exited with 4", Some("no\n")));
}

#[tokio::test]
async fn a_process_knows_who_it_is_and_nothing_else() {
    let mut with_env = text_shell(
        "cd . && pwd; env | cut -d= -f1 | sort | tr '\\n' ' '; echo $EXTRA $REDPOLL_AGENT $REDPOLL_PROCEDURE",
    );
    with_env.env.insert("EXTRA".to_owned(), "more".to_owned());
    let (values, _) = offer(with_env).run(json!({})).await;
    let said: String = values.iter().filter_map(|value| value["text"].as_str()).collect();
    let (names, words) =
        said.trim().rsplit_once(' ').map_or(("", ""), |_| said.trim().split_at(said.find("more").unwrap()));
    assert_eq!(words, "more web-1 p");
    let allowed = [
        "/",
        "PATH",
        "LANG",
        "TZ",
        "HOME",
        "EXTRA",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
        "REDPOLL_AGENT",
        "REDPOLL_PROCEDURE",
        "REDPOLL_RUN",
        "REDPOLL_MODE",
    ];
    assert!(names.split_whitespace().all(|name| allowed.contains(&name)), "{names}");
}

#[tokio::test]
async fn a_cancel_and_each_time_limit_end_the_whole_tree_and_say_which_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("pid");
    let script = format!("sleep 300 & echo $! > {0}.new; mv {0}.new {0}; wait", mark.display());
    let pid = || std::fs::read_to_string(&mark).unwrap();

    let mut started = offer(json_shell(&script)).start(&json!([]), &json!({}));
    eventually("it runs", || mark.exists()).await;
    started.stop.stop(StopReason::Cancelled);
    assert_eq!(started.answer().await.unwrap_err().code, FaultCode::Cancelled);
    assert!(!lives(&pid()));

    let limited =
        redpoll_config::Manifest { run_timeout: Some(Duration::from_millis(300)), ..json_shell(&script) };
    let fault = offer(limited).call(json!({})).await.unwrap_err();
    assert!(fault.code == FaultCode::TimedOut && fault.message.contains("0.3 s"), "{fault}");
    assert!(!lives(&pid()));

    let silent =
        redpoll_config::Manifest { idle_timeout: Some(Duration::from_millis(300)), ..json_shell(&script) };
    let fault = offer(silent).call(json!({})).await.unwrap_err();
    assert!(fault.code == FaultCode::TimedOut && fault.message.contains("idle_timeout"), "{fault}");
    assert!(!lives(&pid()));
}

/// Says `{"value":1}`, and on SIGTERM what `last` prints.
fn heeding(last: &str) -> redpoll_config::Manifest {
    json_shell(&format!(r#"trap '{last}; exit 0' TERM; echo '{{"value":1}}'; while :; do sleep 0.1; done"#))
}

/// What a call is answered that is cancelled once it has given something.
async fn cancelled(manifest: redpoll_config::Manifest) -> Result<Value, Fault> {
    let mut started = offer(manifest).start(&json!([]), &json!({}));
    started.value().await.unwrap();
    started.stop.stop(StopReason::Cancelled);
    started.answer().await
}

#[tokio::test]
async fn a_program_that_heeds_its_stop_was_stopped_unless_it_gave_its_result() {
    let exception = r#"echo "{\"exception\":{\"class\":\"Cancelled\",\"message\":\"m\"}}""#;
    for last in [exception, r#"printf "{\"result\":""#, "true"] {
        let fault = cancelled(heeding(last)).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::Cancelled, "{last}: {fault}");
        assert_eq!(fault.data.unwrap().decode::<Value>().unwrap(), json!({"exit": 0, "signal": null}));
        let limited =
            redpoll_config::Manifest { run_timeout: Some(Duration::from_millis(300)), ..heeding(last) };
        let fault = offer(limited).call(json!({})).await.unwrap_err();
        assert!(fault.code == FaultCode::TimedOut && fault.message.contains("0.3 s"), "{last}: {fault}");
    }
    assert_eq!(cancelled(heeding(r#"echo "{\"result\":6}""#)).await.unwrap(), 6);
}

#[tokio::test]
async fn an_exception_before_the_stop_is_the_end_that_holds() {
    // more empty lines than the pipe takes: what stands before them has been heard when the note comes
    let script = r#"echo '{"exception":{"class":"Broken"}}'; head -c 300000 /dev/zero | tr '\0' '\n'; echo note >&2; exec sleep 300"#;
    let fault = cancelled(json_shell(script)).await.unwrap_err();
    assert_eq!((fault.code, fault.class.as_deref()), (FaultCode::Failed, Some("Broken")));
}

#[tokio::test]
async fn what_exceeds_the_output_limit_is_counted_and_the_result_still_comes() {
    let script = r#"i=0; while [ $i -lt 10 ]; do echo '{"value":"0123456789"}'; i=$((i+1)); done; echo err >&2; echo '{"result":"end"}'"#;
    let small = redpoll_agent::builtin::ExecLimits { output: 30, ..limits() };
    let (values, answer) = offer_within(json_shell(script), small).run(json!({})).await;
    assert_eq!(answer.unwrap(), "end");
    assert_eq!(values.iter().filter(|value| **value == json!("0123456789")).count(), 2);
    assert!(values.iter().any(|value| value["stream"] == "value" && value["dropped"] == 88), "{values:?}");
}

#[tokio::test]
async fn a_program_that_goes_on_after_its_end_is_ended_and_its_end_holds() {
    let started = std::time::Instant::now();
    let answer = offer(json_shell(r#"echo '{"result":5}'; exec sleep 300"#)).call(json!({})).await;
    assert_eq!(answer.unwrap(), 5);
    assert!(started.elapsed() < Duration::from_secs(50));
}

#[tokio::test]
async fn what_cannot_be_started_or_said_is_told_before_anything_runs() {
    let missing = manifest(ProcedureMode::Once, ProcedureOutput::Json, &["/nowhere/at/all"]);
    let fault = offer(missing).call(json!({})).await.unwrap_err();
    assert_eq!((fault.code, fault.class.as_deref()), (FaultCode::Failed, Some("SpawnError")));
    let nan = Raw::encode(&[f64::NAN]).unwrap();
    let mut started = offer(json_shell("true")).start_raw(&nan, &Raw::empty_map());
    let fault = started.answer().await.unwrap_err();
    assert!(fault.code == FaultCode::BadArguments && fault.message.contains("JSON"), "{fault}");
}

#[tokio::test]
async fn no_more_run_at_a_time_than_may() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let script = format!(
        "echo '{{\"value\":1}}'; until [ -e {} ]; do sleep 0.01; done; echo '{{\"result\":1}}'",
        go.display()
    );
    let one = offer(redpoll_config::Manifest { concurrency: Some(1), ..json_shell(&script) });
    let mut first = one.start(&json!([]), &json!({}));
    assert_eq!(first.value().await.unwrap(), 1);
    let mut second = one.start(&json!([]), &json!({}));
    let mut third = one.start(&json!([]), &json!({}));
    third.stop.stop(StopReason::Cancelled);
    assert_eq!(third.answer().await.unwrap_err().code, FaultCode::Cancelled, "who waits can be stopped");
    std::fs::write(&go, "").unwrap();
    assert!(first.answer().await.is_ok() && second.answer().await.is_ok());
}
