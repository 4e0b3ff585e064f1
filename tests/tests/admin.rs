//! What looks after a machine has a place when others have taken all: as a call, as a job, on a schedule, and on the manager.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::Path;

use redpoll_net::CallStream;
use redpoll_tests::manifests::Manifests;
use redpoll_tests::operator::Operator;
use redpoll_tests::told::Told;
use redpoll_tests::world::World;
use redpoll_tests::{PATIENCE, eventually, in_time};
use serde_json::{Value, json};

const AGENT: &str = "web-1";

/// Procedures that say that they run, by a file each, and do not end before there is a file `go`; and one that looks after the machine.
fn manifests(folder: &Path) -> Manifests {
    let own = Manifests::new(folder);
    let at = folder.display();
    let script = format!("touch {at}/long.$$; while [ ! -e {at}/go ]; do sleep 0.02; done");
    own.shell("t.long", "output = \"text\"\nconcurrency = 9", &script);
    own.shell("t.fix", "output = \"text\"\nadmin = true", "true");
    own
}

/// How many of the long ones have begun.
fn begun(folder: &Path) -> usize {
    let files = fs::read_dir(folder).unwrap().flatten();
    files.filter(|file| file.file_name().to_string_lossy().starts_with("long.")).count()
}

async fn until_begun(folder: &Path, runs: usize) {
    eventually("the long ones run", async || (begun(folder) == runs).then_some(())).await;
}

async fn submitted(world: &World, procedure: &str, more: &[&str]) -> String {
    let ran = world.run_rpctl(&[&["run", "--detach", AGENT, procedure], more].concat()).await;
    assert!(ran.status.success(), "{ran:?}");
    String::from_utf8(ran.stdout).unwrap().trim().to_owned()
}

async fn succeeds(world: &World, job: &str) {
    let run = in_time("its end", world.operator.job_ended(job)).await;
    assert_eq!(run.end.unwrap().outcome, "succeeded");
}

/// Two runs have every place that `manager` or `agent` gives, two more wait, and what looks after the machine does not.
async fn runs_beside(manager: &[&str], agent: &[&str]) {
    let mut world = World::quiet(manager).await;
    let folder = world.directory().to_owned();
    let own = manifests(&folder);
    world.agent(AGENT, &[agent, &[&own.setting()]].concat()).await;
    let mut long = Vec::new();
    for _ in 0..4 {
        long.push(submitted(&world, "t.long", &[]).await);
    }
    until_begun(&folder, 2).await;
    let fix = submitted(&world, "t.fix", &[]).await;
    succeeds(&world, &fix).await;
    let queued = submitted(&world, "t.fix@1", &["--queue", "q"]).await;
    succeeds(&world, &queued).await;
    assert_eq!(begun(&folder), 2, "there was no place all the time");
    fs::write(folder.join("go"), "").unwrap();
    for job in long {
        succeeds(&world, &job).await;
    }
}

#[tokio::test]
async fn a_job_of_an_admin_procedure_does_not_wait_behind_the_runs_that_the_manager_gives_an_agent() {
    runs_beside(&["jobs.runs_per_agent=2"], &[]).await;
}

#[tokio::test]
async fn a_job_of_an_admin_procedure_is_taken_by_an_agent_that_has_all_the_runs_it_may_have() {
    runs_beside(&["jobs.retry_first=20ms", "jobs.retry_max=20ms"], &["limits.jobs=2"]).await;
}

/// A job is what it was when it was submitted, also for a manager that was started anew and has not heard of the agent yet.
#[tokio::test]
async fn a_job_of_an_admin_procedure_is_one_after_a_restart_of_the_manager() {
    let mut world = World::quiet(&["jobs.runs_per_agent=2"]).await;
    let folder = world.directory().to_owned();
    let own = manifests(&folder);
    world.agent(AGENT, &[&own.setting()]).await;
    // so that its list is known while it is away
    world.run_rpctl(&["agents", "procedures", AGENT]).await;
    drop(world.take_agent(AGENT));
    world.operator.until(AGENT, redpoll_common::api::AgentState::Away).await;
    let mut long = Vec::new();
    for _ in 0..4 {
        long.push(submitted(&world, "t.long", &[]).await);
    }
    let fix = submitted(&world, "t.fix", &[]).await;
    world.restart_manager().await;
    world.restart_agent(AGENT, &[&own.setting()]).await;
    succeeds(&world, &fix).await;
    until_begun(&folder, 2).await;
    fs::write(folder.join("go"), "").unwrap();
    for job in long {
        succeeds(&world, &job).await;
    }
}

fn call(agent: &str, procedure: &str) -> redpoll_net::Call {
    Operator::call_of(agent, procedure, &json!([]), &json!({}), PATIENCE * 3)
}

async fn ended(mut stream: CallStream) {
    assert!(Operator::end_of(&mut stream).await.is_ok());
}

#[tokio::test]
async fn calls_and_schedules_of_admin_procedures_find_a_place_when_all_are_taken() {
    let mut world = World::quiet(&[]).await;
    let folder = world.directory().to_owned();
    let own = manifests(&folder);
    world.agent(AGENT, &[&own.setting(), "limits.calls=1"]).await;
    let long = world.operator.peer().start(call(AGENT, "t.long")).await.unwrap();
    until_begun(&folder, 1).await;
    let refused = Told::of(&world, &[AGENT, "t.long"]).await;
    assert_eq!(refused.said("code"), "overloaded", "{refused:?}");
    assert_eq!(Told::of(&world, &[AGENT, "t.fix"]).await.result()["exit"], 0);
    assert!(Told::of(&world, &[AGENT, "sys.version"]).await.result().is_object());

    let kept = folder.join("kept");
    let schedule = "output = \"text\"\nadmin = true\nschedule = { every = \"1h\", at_start = true }";
    own.shell("t.keep", schedule, &format!("touch {}", kept.display()));
    assert!(world.run_rpctl(&["agents", "reload", AGENT]).await.status.success());
    eventually("the schedule runs", async || kept.exists().then_some(())).await;
    fs::write(folder.join("go"), "").unwrap();
    ended(long).await;
}

#[tokio::test]
async fn admin_procedures_of_the_manager_find_a_place_when_all_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let own = Manifests::new(folder.path());
    let at = folder.path().display();
    let callers = "callers = [\"operator:*\"]\noutput = \"text\"\nconcurrency = 9";
    let script = format!("touch {at}/long.$$; while [ ! -e {at}/go ]; do sleep 0.02; done");
    own.shell("site.long", callers, &script);
    own.shell("site.fix", &format!("{callers}\nadmin = true"), "true");
    let world = World::quiet(&[&own.setting(), "procedures.calls=1"]).await;
    let site = |name: &str| redpoll_net::Call::new(name, PATIENCE * 3);
    let long = world.operator.peer().start(site("site.long")).await.unwrap();
    until_begun(folder.path(), 1).await;
    let refused = world.operator.peer().call(site("site.long")).await.unwrap_err();
    assert!(refused.to_string().contains("procedures.calls"), "{refused}");
    let fixed: Value = world.operator.peer().call(site("site.fix")).await.unwrap().decode().unwrap();
    assert_eq!(fixed["exit"], 0);
    fs::write(folder.path().join("go"), "").unwrap();
    ended(long).await;
}
