//! Jobs with real programs: submitted, run, read, cancelled, and there after restarts of either side.

#![expect(clippy::unwrap_used, reason = "test code")]

use redpoll_common::api::items::{ItemPage, ReadArguments};
use redpoll_common::api::jobs::{CancelAnswer, JobDetail, JobResult, JobSummary};
use redpoll_common::api::method;
use redpoll_common::api::submit::{SubmitAnswer, SubmitArguments};
use redpoll_common::job::{ItemKind, Offline, QueueKey, QueueSpec};
use redpoll_common::wire::{Fault, FaultCode, Raw, RawMap};
use redpoll_net::{Call, CallError};
use redpoll_tests::operator::Operator;
use redpoll_tests::world::World;
use redpoll_tests::{PATIENCE, eventually};
use serde_json::json;

fn exec(agents: &[&str], script: &str) -> SubmitArguments {
    let agents = agents.iter().map(|&agent| agent.to_owned()).collect();
    let mut submit = SubmitArguments::new(agents, "exec.run");
    submit.spec.args = Raw::encode(&["sh", "-c", script]).unwrap();
    submit
}

async fn submit(operator: &Operator, submit: &SubmitArguments) -> Result<SubmitAnswer, Fault> {
    let call = Call::new(method::JOBS_SUBMIT, PATIENCE).with_kwargs(submit.write());
    let answer = operator.peer().call(call).await.map_err(CallError::into_fault)?;
    Ok(answer.decode().unwrap())
}

async fn ended(operator: &Operator, job: &str) -> JobResult {
    let wait = json!({ "job": job, "wait_ms": 15_000 });
    let result: JobResult = operator.ask(method::JOBS_RESULT, &wait).await.unwrap().decode().unwrap();
    assert_eq!(result.job.state, "ended", "{result:?}");
    result
}

async fn show(operator: &Operator, job: &str) -> JobDetail {
    operator.ask(method::JOBS_SHOW, &json!({ "job": job })).await.unwrap().decode().unwrap()
}

fn text(page: &ItemPage, kind: ItemKind) -> String {
    let items = page.items.iter().filter(|item| item.kind == kind);
    let bytes: Vec<u8> = items.flat_map(|item| item.data.decode::<Bytes>().unwrap().0).collect();
    String::from_utf8(bytes).unwrap()
}

#[derive(serde::Deserialize)]
struct Bytes(#[serde(with = "serde_bytes")] Vec<u8>);

#[tokio::test]
async fn a_job_runs_and_what_came_of_it_can_be_read_by_anybody_later() {
    let world = World::start(&[]).await;
    let operator = &world.operator;
    let mut asked = exec(&["honest-1"], "echo out; echo err >&2; echo $REDPOLL_JOB; exit 3");
    asked.spec.info = RawMap::new().text("ticket", "A-1").finish();
    let SubmitAnswer { job, existing, runs, .. } = submit(operator, &asked).await.unwrap();
    assert_eq!((existing, runs), (false, 1));
    let result = ended(operator, &job).await;
    assert_eq!(result.job.outcome.as_deref(), Some("failed"));
    assert_eq!(result.job.info, asked.spec.info);
    let end = result.runs[0].end.as_ref().unwrap();
    assert_eq!((end.outcome.as_str(), end.started), ("failed", Some(true)));
    assert_eq!(end.fault.as_ref().unwrap().code, FaultCode::Failed);

    let later = world.operator("bea").await;
    let read = ReadArguments { job: job.clone(), ..ReadArguments::default() };
    let read = Raw::encode(&read).unwrap();
    let page = later.peer().call(Call::new(method::JOBS_READ, PATIENCE).with_kwargs(read)).await.unwrap();
    let page = ItemPage::read(&page).unwrap();
    assert!(!page.more && page.end.is_some(), "{page:?}");
    assert_eq!(text(&page, ItemKind::Stdout), format!("out\n{job}\n"));
    assert_eq!(text(&page, ItemKind::Stderr), "err\n");
    let detail = show(&later, &job).await;
    assert!(detail.runs[0].started_ms.is_some() && detail.job.ended_ms.is_some(), "{detail:?}");
}

#[tokio::test]
async fn a_key_is_one_job_and_a_job_outlives_the_manager() {
    let mut world = World::start(&[]).await;
    let mut asked = exec(&["honest-1"], "echo once");
    asked.spec.key = Some("k-1".to_owned());
    let first = submit(&world.operator, &asked).await.unwrap();
    ended(&world.operator, &first.job).await;
    world.witness_saw_nothing().await;
    world.manager.kill().await;
    world.restart_manager().await;
    let again = submit(&world.operator, &asked).await.unwrap();
    assert_eq!((again.job.as_str(), again.existing), (first.job.as_str(), true));
    let result = ended(&world.operator, &first.job).await;
    assert_eq!(result.job.outcome.as_deref(), Some("succeeded"));
    asked.spec.args = Raw::encode(&["true"]).unwrap();
    assert_eq!(submit(&world.operator, &asked).await.unwrap_err().code, FaultCode::IdemConflict);
}

#[tokio::test]
async fn work_waits_for_an_agent_that_is_away_and_a_cancel_before_its_start_is_kept() {
    let mut world = World::start(&[]).await;
    world.agent("away-1", &[]).await;
    drop(world.take_agent("away-1"));
    world.operator.until("away-1", redpoll_common::api::AgentState::Away).await;
    let mut strict = exec(&["away-1"], "true");
    strict.spec.offline = Offline::Require;
    assert_eq!(submit(&world.operator, &strict).await.unwrap_err().code, FaultCode::AgentAway);
    let waits = submit(&world.operator, &exec(&["away-1"], "echo here")).await.unwrap();
    let marker = world.directory().join("must-not-be");
    let never = exec(&["away-1"], &format!("touch {}", marker.display()));
    let never = submit(&world.operator, &never).await.unwrap();
    let cancelled = world.operator.ask(method::JOBS_CANCEL, &json!({ "job": never.job })).await.unwrap();
    let cancelled: CancelAnswer = cancelled.decode().unwrap();
    assert_eq!((cancelled.ended, cancelled.asked), (1, 0));
    world.restart_agent("away-1", &[]).await;
    assert_eq!(ended(&world.operator, &waits.job).await.job.outcome.as_deref(), Some("succeeded"));
    let end = ended(&world.operator, &never.job).await;
    assert_eq!(end.runs[0].end.as_ref().unwrap().started, Some(false));
    assert!(!marker.exists());
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn a_queue_lets_one_run_at_a_time_start_and_is_gone_when_it_is_empty() {
    let world = World::start(&[]).await;
    let log = world.directory().join("order");
    let mut jobs = Vec::new();
    for n in 0..4 {
        let mut asked = exec(&["honest-1"], &format!("echo +{n} >> {0}; echo -{n} >> {0}", log.display()));
        asked.spec.queue = Some(QueueSpec { name: QueueKey::text("q").unwrap(), concurrency: 1 });
        jobs.push(submit(&world.operator, &asked).await.unwrap().job);
    }
    for job in &jobs {
        ended(&world.operator, job).await;
    }
    let order = std::fs::read_to_string(&log).unwrap();
    assert_eq!(
        order.split_whitespace().collect::<Vec<_>>(),
        ["+0", "-0", "+1", "-1", "+2", "-2", "+3", "-3"]
    );
    eventually("the queue is gone", async || {
        let list = world.operator.ask(method::QUEUES_LIST, &json!({})).await.ok()?;
        let list: redpoll_common::api::queues::QueueList = list.decode().ok()?;
        list.queues.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_is_killed_while_a_job_runs_tells_that_nobody_knows() {
    let mut world = World::start(&[]).await;
    world.agent("victim-1", &[]).await;
    let started = world.directory().join("started");
    let script = format!("echo $$ >> {}; exec sleep 300", started.display());
    let job = submit(&world.operator, &exec(&["victim-1"], &script)).await.unwrap().job;
    let pid = eventually("the program runs", async || {
        let text = std::fs::read_to_string(&started).ok()?;
        let state = show(&world.operator, &job).await.runs[0].state.clone();
        (state == "running").then(|| text.trim().to_owned()).filter(|text| !text.is_empty())
    })
    .await;
    drop(world.take_agent("victim-1"));
    eventually("the run is in doubt", async || {
        let summary: JobSummary = show(&world.operator, &job).await.job;
        let state = show(&world.operator, &job).await.runs[0].state.clone();
        (summary.state == "open" && state == "in_doubt").then_some(())
    })
    .await;
    world.restart_agent("victim-1", &[]).await;
    let result = ended(&world.operator, &job).await;
    let end = result.runs[0].end.as_ref().unwrap();
    assert_eq!((end.outcome.as_str(), end.started), ("unknown", Some(true)));
    assert_eq!(std::fs::read_to_string(&started).unwrap().lines().count(), 1, "it was started again");
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}
