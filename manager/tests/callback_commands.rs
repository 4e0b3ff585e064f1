//! Callbacks that are programs on the manager.
#![expect(clippy::unwrap_used, reason = "test code: whatever cannot be done is a failure of the test")]

mod callbacks_common;
mod store_common;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redpoll_common::job::{Callback, Outcome};
use redpoll_common::wire::Raw;
use redpoll_config::CallbacksConfig;
use redpoll_manager::callbacks::MAX_REASON;
use redpoll_manager::store::Store;
use serde_json::Value;

use callbacks_common::{deliverer, ended_job, patient, within};
use store_common::{Rig, ended, id, plain_spec};

async fn store_with(result: Raw) -> Arc<dyn Store> {
    let store = Rig::memory().store;
    ended_job(store.as_ref(), plain_spec(), vec![("a1", ended(Outcome::Succeeded, None, Some(result)))])
        .await;
    store
}

/// A configuration with one procedure, `tell`: a script of the shell with an argument.
fn script(config: CallbacksConfig, text: &str, argument: &Path) -> CallbacksConfig {
    let argv = ["/bin/sh", "-c", text, "sh", argument.to_str().unwrap()].map(str::to_owned);
    CallbacksConfig { procedures: [("tell".to_owned(), argv.to_vec())].into(), ..config }
}

fn tell() -> Callback {
    Callback::Procedure("tell".to_owned())
}

/// Whether a process lives; what is dead and not yet reaped does not.
fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Waits for a condition that has to come.
async fn eventually(mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(20), "it never came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_procedure_gets_the_body_on_its_standard_input_and_little_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_with(Raw::text("done")).await;
    let config = script(patient(), "cat > $1/body; env > $1/env; pwd > $1/pwd; echo noise", folder.path());
    deliverer(&config, &store).deliver(id(1), 1, &tell()).await.unwrap();
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let body: Value = serde_json::from_str(&read("body")).unwrap();
    assert_eq!(body["id"], format!("{}-1", id(1)));
    assert_eq!(body["runs"][0]["result"], "done");
    assert_eq!(read("pwd").trim(), "/");
    let environment = read("env");
    assert!(environment.contains(&format!("REDPOLL_DELIVERY={}-1\n", id(1))), "{environment}");
    let names: Vec<_> =
        environment.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    // the shell adds three of its own
    let known = ["PATH", "LANG", "TZ", "HOME", "REDPOLL_DELIVERY", "PWD", "SHLVL", "OLDPWD", "_"];
    assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
}

#[tokio::test]
async fn a_procedure_that_fails_says_why_in_one_short_line() {
    let store = store_with(Raw::nil()).await;
    for (text, expected) in [
        ("exit 3", "the procedure ended with exit code 3"),
        ("echo 'no such channel' >&2; exit 1", "the procedure ended with exit code 1: no such channel"),
        ("printf 'a\\033[2Jb\\nc' >&2; exit 1", "the procedure ended with exit code 1: a [2Jb c"),
        ("kill -9 $$", "the procedure was ended by signal 9"),
    ] {
        let config = script(patient(), text, Path::new("/"));
        let told = deliverer(&config, &store).deliver(id(1), 1, &tell()).await;
        assert_eq!(told.unwrap_err().to_string(), expected, "{text}");
    }
    let config = script(patient(), "echo 'no such channel' >&2; exit 1", Path::new("/"));
    let told = deliverer(&config, &store).deliver(id(1), 1, &tell()).await.unwrap_err();
    assert_eq!(told.why, "the procedure ended with exit code 1", "the history has this alone");
    let config = script(
        patient(),
        "i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1",
        Path::new("/"),
    );
    let error = deliverer(&config, &store).deliver(id(1), 1, &tell()).await.unwrap_err().to_string();
    assert_eq!(error.chars().count(), MAX_REASON);
    assert!(error.ends_with("line 2998 line 2999"), "{error}");
}

#[tokio::test]
async fn a_procedure_that_does_not_read_is_taken_by_its_exit_code() {
    let store = store_with(Raw::text(&"x".repeat(900 * 1024))).await;
    let config = script(patient(), "exit 0", Path::new("/"));
    assert_eq!(deliverer(&config, &store).deliver(id(1), 1, &tell()).await, Ok(()));
}

#[tokio::test]
async fn a_procedure_that_is_not_configured_or_not_there_is_a_reason() {
    let store = store_with(Raw::nil()).await;
    let told = deliverer(&patient(), &store).deliver(id(1), 1, &tell()).await;
    assert_eq!(told.unwrap_err().to_string(), "no procedure \"tell\" in jobs.callbacks.procedures");
    let argv = vec!["/nonexistent/program".to_owned()];
    let config = CallbacksConfig { procedures: [("tell".to_owned(), argv)].into(), ..patient() };
    let error = deliverer(&config, &store).deliver(id(1), 1, &tell()).await.unwrap_err().to_string();
    assert!(error.starts_with("the procedure cannot be started: No such file"), "{error}");
}

#[tokio::test]
async fn a_procedure_that_hangs_is_killed_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_with(Raw::nil()).await;
    // deaf to SIGTERM, and with a child that holds the pipe
    let text = "trap '' TERM; sleep 100 & echo $! > $1/child; echo $$ > $1/leader; echo waiting >&2; wait";
    let config = script(within(Duration::from_secs(2)), text, folder.path());
    let told = deliverer(&config, &store).deliver(id(1), 1, &tell()).await;
    assert_eq!(told.unwrap_err().to_string(), "the procedure did not end in time and was killed: waiting");
    for name in ["child", "leader"] {
        let pid = fs::read_to_string(folder.path().join(name)).unwrap();
        eventually(|| !lives(pid.trim())).await;
    }
}

#[tokio::test]
async fn what_a_procedure_leaves_behind_in_its_group_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_with(Raw::nil()).await;
    let config = script(patient(), "sleep 100 & echo $! > $1/child", folder.path());
    let since = Instant::now();
    assert_eq!(deliverer(&config, &store).deliver(id(1), 1, &tell()).await, Ok(()));
    assert!(since.elapsed() < Duration::from_secs(10), "it waited for the child");
    let pid = fs::read_to_string(folder.path().join("child")).unwrap();
    eventually(|| !lives(pid.trim())).await;
}

#[tokio::test]
async fn a_delivery_that_is_given_up_kills_its_procedure() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_with(Raw::nil()).await;
    let config =
        script(patient(), "sleep 100 & echo $! > $1/child; mv $1/child $1/ready; wait", folder.path());
    let deliverer = deliverer(&config, &store);
    let ready = folder.path().join("ready");
    let target = tell();
    tokio::select! {
        told = deliverer.deliver(id(1), 1, &target) => assert_eq!(told, Err("".into()), "it should go on"),
        () = eventually(|| ready.exists()) => {}
    }
    let pid = fs::read_to_string(ready).unwrap();
    eventually(|| !lives(pid.trim())).await;
}
