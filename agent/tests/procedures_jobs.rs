//! Executables as procedures in runs of jobs, and the places of calls.

#![expect(clippy::unwrap_used, reason = "test code")]

#[path = "../../common/exec/tests/exec_support/mod.rs"]
mod exec_support;
mod jobs_support;
mod procedures_support;

use std::sync::Arc;
use std::time::Duration;

use exec_support::{STORM, lives, swept};
use jobs_support::{World, ended, eventually, limited, offer, run};
use procedures_support::{answering, caller, json_shell, python_worker, setting, text_shell};
use redpoll_agent::procedures::make;
use redpoll_common::job::wire::Offer;
use redpoll_common::job::{ItemKind, Limits, Outcome};
use redpoll_common::wire::{FaultCode, Raw};
use redpoll_config::{Manifest, ProcedureMode, ProcedureOutput};
use redpoll_net::service::{Service, detached_call};
use serde_json::{Value, json};
use tokio::task::JoinSet;

fn world(manifest: Manifest) -> World {
    let mut world = World::new();
    world.procedures.push(make(manifest, &Arc::new(setting().0), None).unwrap());
    world
}

#[tokio::test]
async fn what_a_process_says_is_recorded_and_it_knows_its_job() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let script = format!(
        r#"read -r call; echo '{{"value":'"$call"'}}'
        echo "{{\"value\":\"$REDPOLL_JOB $REDPOLL_ATTEMPT $REDPOLL_DNO $REDPOLL_PROCEDURE\"}}"
        echo '{{"progress":{{"completed":7}}}}'; echo note >&2
        until [ -e {} ]; do sleep 0.01; done; echo '{{"result":"done"}}'"#,
        go.display()
    );
    let world = world(json_shell(&script));
    let agent = world.agent().await;
    let link = world.connect(&agent);
    let said = offer(1, "p@1", json!(["a"]), json!({"b": 1}));
    let info = Raw::encode(&json!({"ticket": 7})).unwrap();
    link.offer(&Offer { roles: Some(vec!["deploy".into()]), info, ..said }).await.unwrap();
    // the manager hears of progress only while it runs
    eventually("progress is reported", || world.manager.seen(1).progress.is_some()).await;
    std::fs::write(&go, "").unwrap();
    let ending = world.manager.ending(1).await;
    assert_eq!(ended(&ending), (Outcome::Succeeded, Some(true), None));
    assert_eq!(ending.result.unwrap(), Raw::text("done"));
    let seen = world.manager.seen(1);
    let values: Vec<Value> = seen
        .items
        .iter()
        .filter(|item| item.kind == ItemKind::Value)
        .map(|item| item.data.decode().unwrap())
        .collect();
    let job = run(1).job.to_string();
    assert_eq!((&values[0]["job"], &values[0]["operator"]), (&json!(job), &json!("alice")));
    assert_eq!((&values[0]["roles"], &values[0]["info"]), (&json!(["deploy"]), &json!({"ticket": 7})));
    assert_eq!((&values[0]["args"], &values[0]["kwargs"]), (&json!(["a"]), &json!({"b": 1})));
    assert_eq!(values[1], json!(format!("{job} 1 1 p@1")));
    assert_eq!(seen.bytes(ItemKind::Stderr), b"note\n");
    assert_eq!(seen.progress.map(|progress| progress.completed), Some(7));
}

#[tokio::test]
async fn text_is_recorded_as_chunks_and_the_exit_is_the_result() {
    let world = world(text_shell("echo out; echo err >&2; exit 3"));
    let agent = world.agent().await;
    let link = world.connect(&agent);
    link.offer(&offer(1, "p", json!([]), json!({}))).await.unwrap();
    let ending = world.manager.ending(1).await;
    assert_eq!(ended(&ending), (Outcome::Failed, Some(true), Some(FaultCode::Failed)));
    let seen = world.manager.seen(1);
    assert_eq!((seen.text().as_str(), seen.bytes(ItemKind::Stderr)), ("out\n", b"err\n".to_vec()));
}

#[tokio::test]
async fn what_never_ran_is_rejected_and_what_did_is_not() {
    let missing =
        procedures_support::manifest(ProcedureMode::Once, ProcedureOutput::Json, &["/nowhere/at/all"]);
    for never in [missing, python_worker("sys.exit(1)")] {
        let world = world(never);
        let agent = world.agent().await;
        let link = world.connect(&agent);
        link.offer(&offer(1, "p", json!([]), json!({}))).await.unwrap();
        let ending = world.manager.ending(1).await;
        assert_eq!((ending.outcome, ending.started), (Outcome::Rejected, Some(false)));
    }
    let world = world(python_worker("say(ready=True)\nnext(lines)\nsys.exit(1)"));
    let agent = world.agent().await;
    let link = world.connect(&agent);
    link.offer(&offer(1, "p", json!([]), json!({}))).await.unwrap();
    assert_eq!(ended(&world.manager.ending(1).await), (Outcome::Failed, Some(true), Some(FaultCode::Failed)));
}

#[tokio::test]
async fn a_run_that_finds_no_worker_is_refused_so_that_its_manager_puts_it_back() {
    let world = world(python_worker("say(ready=True)\nnext(lines)\nsys.exit(7)"));
    let agent = world.agent().await;
    let link = world.connect(&agent);
    // the waits double, so it comes to that
    for n in 1.. {
        link.offer(&offer(n, "p", json!([]), json!({}))).await.unwrap();
        let ending = world.manager.ending(n).await;
        if ended(&ending) == (Outcome::Failed, Some(true), Some(FaultCode::Failed)) {
            continue;
        }
        assert_eq!(ended(&ending), (Outcome::Rejected, Some(false), Some(FaultCode::Overloaded)));
        assert!(ending.fault.unwrap().retry_after_ms.is_some());
        break;
    }
}

#[tokio::test]
async fn a_job_that_is_cancelled_without_patience_takes_its_worker_along() {
    let world = world(answering("say(call=call['call'], value=os.getpid()); time.sleep(300)", "1"));
    let agent = world.agent().await;
    let link = world.connect(&agent);
    link.offer(&offer(1, "p", json!([]), json!({}))).await.unwrap();
    eventually("it runs", || !world.manager.seen(1).items.is_empty()).await;
    let pid: u32 = world.manager.seen(1).items[0].data.decode().unwrap();
    link.cancel(run(1), Some(0)).await;
    let ending = world.manager.ending(1).await;
    assert_eq!((ending.outcome, ending.started), (Outcome::Cancelled, Some(true)));
    assert!(!lives(&pid.to_string()), "its worker is gone");
}

#[tokio::test]
async fn a_run_is_told_as_ended_when_nothing_of_it_is_left_whatever_it_starts_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let (storm, variable) = (folder.path().join("storm.py"), format!("STORM=jobs-{}", std::process::id()));
    std::fs::write(&storm, STORM).unwrap();
    let shell = format!("{variable} exec python3 {}", storm.display());
    // what it prints goes to the standard error, and the standard output stays open
    let worker = format!(
        "say(ready=True)\nnext(lines)\nos.set_inheritable(os.dup(1), True)\nos.dup2(2, 1)\nos.execvp('sh', ['sh', '-c', '{shell}'])"
    );
    for manifest in [text_shell(&shell), python_worker(&worker)] {
        let mode = manifest.mode;
        let world = world(manifest);
        let agent = world.agent().await;
        let link = world.connect(&agent);
        link.offer(&offer(1, "p", json!([]), json!({}))).await.unwrap();
        eventually("it begins", || !world.manager.seen(1).items.is_empty()).await;
        link.cancel(run(1), Some(100)).await;
        let ending = world.manager.ending(1).await;
        assert_eq!((ending.outcome, swept(&variable)), (Outcome::Cancelled, 0), "{mode:?}");
    }
}

#[tokio::test]
async fn a_worker_waits_while_nobody_takes_what_it_gives_and_loses_nothing() {
    let many = "for n in range(3000): say(call=call['call'], value=str(n) + 'x' * 400)";
    let world = world(answering(many, "'end'"));
    let agent = world.agent().await;
    let link = world.connect(&agent);
    world.manager.ledger().mood = jobs_support::Mood::Forgetful;
    let blocked = Limits {
        output: Some(300_000),
        overflow: redpoll_common::job::Overflow::Block,
        run_timeout: Some(Duration::from_secs(60)),
        ..Limits::default()
    };
    link.offer(&limited(offer(1, "p", json!([]), json!({})), blocked)).await.unwrap();
    world.manager.ledger().mood = jobs_support::Mood::Good;
    let ending = world.manager.ending(1).await;
    assert_eq!((ending.outcome, ending.result), (Outcome::Succeeded, Some(Raw::text("end"))));
    let numbers: Vec<String> =
        world.manager.seen(1).items.iter().map(|item| item.data.decode().unwrap()).collect();
    assert_eq!(numbers.len(), 3000);
    assert!(numbers.iter().enumerate().all(|(n, value)| value.starts_with(&format!("{n}x"))));
}

#[tokio::test]
async fn those_who_look_after_the_machine_have_places_when_all_others_are_taken() {
    let mut world = world(json_shell("exec sleep 300"));
    let admin = Manifest { name: "fix".to_owned(), admin: true, ..json_shell("echo '{\"result\":1}'") };
    world.procedures.push(make(admin, &Arc::new(setting().0), None).unwrap());
    let agent = world.agent().await;
    let call = |method: &str| {
        let (call, output, stop) = detached_call(caller(), method, Raw::empty_array(), Raw::empty_map());
        (agent.service.start(call).answer, output, stop)
    };
    let mut others = JoinSet::new();
    let mut ends = Vec::new();
    for _ in 0..8 {
        let (answer, output, stop) = call("p");
        others.spawn(answer);
        ends.push((output, stop));
    }
    assert_eq!(call("p").0.await.unwrap_err().code, FaultCode::Overloaded);
    assert_eq!(call("fix").0.await.unwrap(), Raw::encode(&1).unwrap());
    assert!(call("sys.ping").0.await.is_ok());
    let kept: Vec<_> = (0..4).map(|_| call("sys.ping")).collect();
    assert_eq!(call("sys.ping").0.await.unwrap_err().code, FaultCode::Overloaded, "four, and no more");
    assert_eq!(agent.service.running(), 12);
    drop(kept);
}

#[tokio::test]
async fn a_time_limit_of_a_manifest_ends_a_run_as_timed_out() {
    let short = Some(Duration::from_millis(300));
    let silent = "while :; do sleep 0.1; done";
    for (name, manifest) in [
        ("once", json_shell(silent)),
        ("text", text_shell(silent)),
        ("worker", answering("while next(lines).get('cancel') != call['call']: pass", "6")),
        ("killed worker", answering("time.sleep(300)", "6")),
    ] {
        let run = Manifest { run_timeout: short, grace: short, ..manifest.clone() };
        let idle = Manifest { idle_timeout: short, grace: short, ..manifest };
        let idle = Some(idle).filter(|_| name != "text");
        for limited in [Some(run), idle].into_iter().flatten() {
            let world = world(limited);
            let agent = world.agent().await;
            let link = world.connect(&agent);
            link.offer(&offer(1, "p", json!([]), json!({}))).await.unwrap();
            let ending = world.manager.ending(1).await;
            let expected = (Outcome::TimedOut, Some(true), Some(FaultCode::TimedOut));
            assert_eq!(ended(&ending), expected, "{name}: {:?}", ending.fault);
        }
    }
}

#[tokio::test]
async fn a_procedure_that_only_says_that_it_timed_out_has_failed() {
    let says = r#"echo '{"exception":{"class":"timed_out","message":"the database timed out"}}'"#;
    let world = world(Manifest { run_timeout: Some(Duration::from_secs(60)), ..json_shell(says) });
    let agent = world.agent().await;
    let link = world.connect(&agent);
    link.offer(&offer(1, "p", json!([]), json!({}))).await.unwrap();
    assert_eq!(ended(&world.manager.ending(1).await), (Outcome::Failed, Some(true), Some(FaultCode::Failed)));
}
