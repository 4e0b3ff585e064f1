//! A manager gets an older copy of its store: what it does not know any more is noticed on both sides, and nothing starts twice.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::{Path, PathBuf};

use redpoll_common::api::{AgentState, method};
use redpoll_tests::in_time;
use redpoll_tests::process::{Sleeper, command};
use redpoll_tests::work::{Oracle, numbers};
use redpoll_tests::world::World;
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::json;

const AGENT: &str = "witness-1";

#[derive(Deserialize)]
struct Page {
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    agent: Option<String>,
    detail: Option<String>,
}

/// The database and its log; the lock and the reserve are no part of a copy.
fn files(folder: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    all.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("jobs.db")).collect()
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_store_is_noticed_and_lets_nothing_start_twice() {
    let mut world = World::quiet(&[]).await;
    world.agent(AGENT, &[]).await;
    let oracle = Oracle::new(world.directory(), AGENT);
    let early = world.operator.submit(&oracle.job(AGENT, "seq 3")).await.unwrap();
    oracle.succeeded_once(&world.operator, &early, &numbers(3)).await;
    let (state, kept) = (world.directory().join("manager-state"), world.directory().join("kept"));
    world.manager.signal(Signal::TERM);
    assert_eq!(world.manager.ended().await.code(), Some(0));
    fs::create_dir(&kept).unwrap();
    copy(&state, &kept);
    world.restart_manager().await;
    world.operator.until(AGENT, AgentState::Connected).await;

    // what the copy does not have: a job that is over, and one that runs
    let over = world.operator.submit(&oracle.job(AGENT, "seq 4")).await.unwrap();
    oracle.succeeded_once(&world.operator, &over, &numbers(4)).await;
    let (sleeper, argv) = Sleeper::new(world.directory(), "endless");
    let running = oracle.job(AGENT, argv.last().unwrap());
    let running = world.operator.submit(&running).await.unwrap();
    sleeper.running().await;

    world.manager.kill().await;
    files(&state).iter().for_each(|file| fs::remove_file(file).unwrap());
    copy(&kept, &state);
    world.restart_manager().await;
    world.operator.until(AGENT, AgentState::Connected).await;
    world.manager.logged(&["WARN", AGENT, "has seen more than this store gave out"]).await;
    world.agent_process(AGENT).logged(&["WARN", &running, "does not want this run"]).await;
    sleeper.ended().await;
    let asked = json!({ "type": "manager.store_behind" });
    let page: Page = world.operator.ask(method::EVENTS_LIST, &asked).await.unwrap().decode().unwrap();
    let [event] = &page.events[..] else { unreachable!("one event, not {}", page.events.len()) };
    assert_eq!(event.agent.as_deref(), Some(AGENT));
    assert_eq!(event.detail.as_deref(), Some("it has seen number 3, this store knows of 1"));

    // it goes on with numbers that were never used
    let late = world.operator.submit(&oracle.job(AGENT, "seq 5")).await.unwrap();
    oracle.succeeded_once(&world.operator, &late, &numbers(5)).await;
    assert_eq!(world.operator.show(&late).await.unwrap().runs[0].dno, 4);
    oracle.succeeded_once(&world.operator, &early, &numbers(3)).await;
    for job in [&over, &running] {
        assert_eq!(oracle.starts(job), 1, "{job}");
        assert!(world.operator.show(job).await.is_err(), "{job} is in no copy");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waited_in_an_older_store_does_not_start_twice_and_what_runs_is_followed() {
    let mut world = World::quiet(&[]).await;
    world.agent(AGENT, &[]).await;
    let oracle = Oracle::new(world.directory(), AGENT);
    let queued = |script: &str| oracle.queued(AGENT, "one", script);
    let (first, argv) = Sleeper::new(world.directory(), "first");
    let before = world.operator.submit(&queued(argv.last().unwrap())).await.unwrap();
    first.running().await;
    // both wait behind it in the copy
    let over = world.operator.submit(&queued("seq 2")).await.unwrap();
    let (second, argv) = Sleeper::new(world.directory(), "second");
    let running = world.operator.submit(&queued(argv.last().unwrap())).await.unwrap();
    let (state, kept) = (world.directory().join("manager-state"), world.directory().join("kept"));
    world.manager.kill().await;
    fs::create_dir(&kept).unwrap();
    copy(&state, &kept);
    world.restart_manager().await;
    world.operator.until(AGENT, AgentState::Connected).await;
    world.operator.cancel(&before).await;
    oracle.succeeded_once(&world.operator, &over, &numbers(2)).await;
    second.running().await;

    world.manager.kill().await;
    files(&state).iter().for_each(|file| fs::remove_file(file).unwrap());
    copy(&kept, &state);
    world.restart_manager().await;
    world.operator.until(AGENT, AgentState::Connected).await;
    // the first one's end was acknowledged, and is in no copy
    for job in [&before, &over] {
        assert_eq!(world.operator.job_ended(job).await.end.unwrap().outcome, "unknown", "{job}");
    }
    let asked = json!({ "type": "run.found" });
    let page: Page = world.operator.ask(method::EVENTS_LIST, &asked).await.unwrap().decode().unwrap();
    assert_eq!(page.events.len(), 1);
    assert_eq!(world.operator.state_of(&running).await, "running");
    world.operator.cancel(&running).await;
    second.ended().await;
    assert_eq!(world.operator.job_ended(&running).await.end.unwrap().outcome, "cancelled");
    for job in [&before, &over, &running] {
        assert_eq!(oracle.starts(job), 1, "{job}");
    }
    let late = world.operator.submit(&queued("seq 5")).await.unwrap();
    oracle.succeeded_once(&world.operator, &late, &numbers(5)).await;
}

/// `redpoll-manager store …` with the configuration of a world.
async fn store(world: &World, folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = command("redpoll-manager");
    command.arg("store").args(arguments).arg("--config").arg(world.directory().join("manager.toml"));
    command.env("REDPOLL_MANAGER_STORE__PATH", folder);
    let output = in_time("the end of the command", command.output()).await.unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.code(), said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_restored_beside_the_hot_log_of_a_killed_manager() {
    let elsewhere = tempfile::tempdir().unwrap();
    let jobs = elsewhere.path().join("jobs");
    let mut world = World::quiet(&[&format!("store.path={}", jobs.display())]).await;
    world.agent(AGENT, &[]).await;
    let oracle = Oracle::new(world.directory(), AGENT);
    let early = world.operator.submit(&oracle.job(AGENT, "seq 3")).await.unwrap();
    oracle.succeeded_once(&world.operator, &early, &numbers(3)).await;
    let copy = world.directory().join("copy.db");
    let copy = copy.to_str().unwrap();
    let (code, said) = store(&world, &jobs, &["backup", copy]).await;
    assert!(code == Some(0) && said.contains("head of the history "), "{said}");
    let (code, said) = store(&world, &jobs, &["backup", copy]).await;
    assert!(code == Some(70) && said.contains("nothing is overwritten"), "{said}");
    let (code, said) = store(&world, &jobs, &["restore", copy, "--yes"]).await;
    assert!(code == Some(70) && said.contains("is open already"), "{said}");

    let mut late = Vec::new();
    for n in 4..40 {
        late.push(world.operator.submit(&oracle.job(AGENT, &format!("seq {n}"))).await.unwrap());
    }
    oracle.succeeded_once(&world.operator, late.last().unwrap(), &numbers(39)).await;
    world.manager.kill().await;
    assert!(fs::metadata(jobs.join("jobs.db-wal")).unwrap().len() > 0, "the log is hot");

    // as it must not be done
    let old = fs::read(jobs.join("jobs.db")).unwrap();
    fs::copy(copy, jobs.join("jobs.db")).unwrap();
    world.restart_manager_under(&[]);
    assert_eq!(world.manager.ended().await.code(), Some(70));
    assert!(world.manager.log().contains("store restore"), "{}", world.manager.log());
    fs::write(jobs.join("jobs.db"), old).unwrap();

    let (code, said) = store(&world, &jobs, &["restore", copy]).await;
    assert!(code == Some(2) && said.contains("needs --yes"), "{said}");
    let (code, said) = store(&world, &jobs, &["restore", copy, "--yes"]).await;
    assert!(code == Some(0) && said.contains("is kept as "), "{said}");
    world.restart_manager().await;
    world.operator.until(AGENT, AgentState::Connected).await;
    oracle.succeeded_once(&world.operator, &early, &numbers(3)).await;
    assert!(world.operator.show(&late[0]).await.is_err(), "it is in no copy");
    let next = world.operator.submit(&oracle.job(AGENT, "seq 5")).await.unwrap();
    oracle.succeeded_once(&world.operator, &next, &numbers(5)).await;

    // the undo: all that was there when it was killed
    world.manager.kill().await;
    let kept = said.trim().rsplit_once(' ').unwrap().1.to_owned();
    let (code, said) = store(&world, &jobs, &["restore", &kept, "--yes"]).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = store(&world, &jobs, &["compact"]).await;
    assert!(code == Some(0) && said.contains("nothing deleted is left"), "{said}");
    world.restart_manager().await;
    for job in &late {
        assert!(world.operator.show(job).await.is_ok(), "{job} is back");
    }
    assert!(!world.directory().join("manager-state/jobs.db").exists(), "nobody looked into the state folder");
}
