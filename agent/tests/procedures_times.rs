//! The times in a manifest, from its file to the process.

#![expect(clippy::unwrap_used, reason = "test code")]

#[path = "../../common/exec/tests/exec_support/mod.rs"]
mod exec_support;
mod log_support;
mod procedures_support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use exec_support::eventually;
use log_support::log;
use procedures_support::{Offer, offer};
use redpoll_common::session::StopReason;
use redpoll_common::wire::FaultCode;
use redpoll_config::load_folder;
use serde_json::json;

/// Far less than the grace of the agent in these tests, 20 s, and than anything else that would end a call.
const SOON: Duration = Duration::from_secs(12);

/// What a file describes, read from the disk.
fn described(fields: &str, script: &str) -> Offer {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.toml");
    fs::write(&file, format!("name = \"p\"\ncommand = [\"/bin/sh\", \"-c\", '''{script}''']\n{fields}\n"))
        .unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let mut loaded = load_folder(folder.path());
    assert_eq!(loaded.problems, []);
    offer(loaded.manifests.remove(0))
}

const WORKER: &str = "mode = \"worker\"";
/// Ready, and then silent; it ignores the hint to end.
const READY: &str = r#"trap "" TERM; echo "{\"ready\":true}"; while :; do sleep 0.1; done"#;
const SILENT: &str = r#"trap "" TERM; while :; do sleep 0.1; done"#;

#[tokio::test]
async fn each_time_of_a_manifest_is_that_of_its_process() {
    let short = "grace = \"100ms\"";
    for (mode, script) in [("", SILENT), (WORKER, READY)] {
        for (field, words) in [
            ("run_timeout = \"1s\"", "p exceeded its time limit of 1 s"),
            ("idle_timeout = \"1s\"", "p gave nothing for 1 s, its idle_timeout"),
        ] {
            let offer = described(&format!("{mode}\n{short}\n{field}"), script);
            let fault = tokio::time::timeout(SOON, offer.call(json!({}))).await.unwrap().unwrap_err();
            assert!(
                fault.code == FaultCode::TimedOut && fault.message.contains(words),
                "{mode} {field}: {fault}"
            );
        }
        // without its own grace it would have that of the agent
        let offer = described(&format!("{mode}\n{short}"), &script.replace("while", "echo >&2; while"));
        let mut started = offer.start(&json!([]), &json!({}));
        started.value().await.unwrap();
        started.stop.stop(StopReason::Cancelled);
        let fault = tokio::time::timeout(SOON, started.answer()).await.unwrap().unwrap_err();
        assert_eq!(fault.code, FaultCode::Cancelled, "{mode}: {fault}");
    }
    let offer = described(&format!("{WORKER}\nready_timeout = \"1s\""), SILENT);
    let fault = tokio::time::timeout(SOON, offer.call(json!({}))).await.unwrap().unwrap_err();
    assert!(fault.message.contains("within 1 s, its ready_timeout"), "{fault}");
}

#[tokio::test]
async fn a_call_that_is_cancelled_before_its_worker_has_begun_is_no_death_of_one() {
    let log = log();
    let offer = described(WORKER, READY);
    for _ in 0..3 {
        let mut started = offer.start(&json!([]), &json!({}));
        started.stop.stop(StopReason::Cancelled);
        let fault = tokio::time::timeout(SOON, started.answer()).await.unwrap().unwrap_err();
        assert_eq!(fault.code, FaultCode::Cancelled, "{fault}");
    }
    assert_eq!(log.lines(tracing::Level::WARN), Vec::<String>::new());
}

/// Answers calls with how many pings it was sent.
const WELL: &str = r#"pings=0; echo "{\"ready\":true}"; while read -r line; do case $line in
    *ping*) pings=$((pings+1)); n=${line#*:}; echo "{\"pong\":${n%\}}}";;
    *) n=${line#*:}; echo "{\"call\":${n%%,*},\"result\":$pings}";;
esac; done"#;

#[tokio::test]
async fn a_free_worker_is_asked_whether_it_is_well_as_often_as_its_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("asked");
    let telling =
        WELL.replace("pings=$((pings+1));", &format!("pings=$((pings+1)); : > {};", mark.display()));
    assert_ne!(telling, WELL);
    let offer = described(&format!("{WORKER}\nhealth_interval = \"1s\""), &telling);
    assert_eq!(offer.call(json!({})).await.unwrap(), 0);
    // the same worker counts: another one would begin at 0
    let mut before = 0;
    for _ in 0..2 {
        eventually("it is asked while it is free", || mark.exists()).await;
        fs::remove_file(&mark).unwrap();
        let pings = offer.call(json!({})).await.unwrap().as_u64().unwrap();
        assert!(pings > before, "{pings} after {before}");
        before = pings;
    }
}

#[tokio::test]
async fn a_free_worker_that_answers_no_ping_is_gone_before_it_is_given_a_call() {
    let log = log();
    // it reads its calls, and does as if it had not heard the pings
    let deaf = WELL.replace("echo \"{\\\"pong", "true \"{\\\"pong");
    assert_ne!(deaf, WELL);
    let offer = described(&format!("{WORKER}\nhealth_interval = \"1s\"\nidle_shutdown = \"0s\""), &deaf);
    assert_eq!(offer.call(json!({})).await.unwrap(), 0);
    tokio::time::pause();
    let gone = || {
        log.lines(tracing::Level::WARN).iter().any(|line| line.contains("did not answer a ping within 10 s"))
    };
    while !gone() {
        tokio::time::advance(Duration::from_millis(500)).await;
        tokio::task::yield_now().await;
    }
    tokio::time::resume();
    assert_eq!(offer.call(json!({})).await.unwrap(), 0, "the next call has another");
}

#[tokio::test]
async fn a_process_of_one_call_reads_the_line_that_cancels_it_if_its_file_says_so() {
    let script = r#"trap "" TERM; echo "{\"value\":1}"; read -r call; read -r line; n=${line#*:}; echo "{\"result\":${n%\}}}""#;
    let offer = described("cancel_line = true", script);
    let mut started = offer.start(&json!([]), &json!({}));
    started.value().await.unwrap();
    started.stop.stop(StopReason::Cancelled);
    // it was told by the line alone, and gave what it had
    assert_eq!(tokio::time::timeout(SOON, started.answer()).await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn a_worker_goes_when_it_had_nothing_to_do_for_as_long_as_its_file_says() {
    let log = log();
    let answers = r#"echo "{\"ready\":true}"; while read -r call; do echo "{\"call\":1,\"result\":5}"; done"#;
    let offer = described(&format!("{WORKER}\nidle_shutdown = \"1s\""), answers);
    assert_eq!(offer.call(json!({})).await.unwrap(), 5);
    offer.tracker.close();
    tokio::time::timeout(SOON, offer.tracker.wait()).await.unwrap();
    let gone = log.lines(tracing::Level::INFO);
    assert!(gone.iter().any(|line| line.contains("it had nothing to do")), "{gone:?}");
}
