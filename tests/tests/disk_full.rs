//! A full disk: nothing new is taken, what runs ends and is recorded, and with room everything goes on without a restart.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use redpoll_certs::testing::TestAuthority;
use redpoll_common::api::AgentState;
use redpoll_common::api::events::EventList;
use redpoll_common::api::method;
use redpoll_common::api::submit::SubmitArguments;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_tests::disk::{Disk, has_own_mounts};
use redpoll_tests::operator::Operator;
use redpoll_tests::process::{Daemon, Sleeper};
use redpoll_tests::work::{Oracle, numbers};
use redpoll_tests::world::{HONEST, World, arguments, manager_config};
use redpoll_tests::{eventually, within};
use serde_json::json;

/// A manager whose disk is full looks for room once a second.
const LOOKED_FOR_ROOM: Duration = Duration::from_millis(3_100);

/// A shell script that waits for a file.
fn until(gate: &Path) -> String {
    format!("until [ -e {} ]; do sleep 0.02; done", gate.display())
}

fn open(gate: &Path) {
    std::fs::write(gate, "").unwrap();
}

/// A job that is prepared and does nothing yet but take room: a hundred of them are 2 MiB.
fn prepared() -> SubmitArguments {
    let mut submit = SubmitArguments::new(vec![HONEST.to_owned()], "sys.echo");
    submit.spec.args = Raw::encode(&["x".repeat(20_000)]).unwrap();
    submit.spec.held = true;
    submit
}

/// Submits until nothing more is taken, also after the store has looked three times for room that its own log had. Gives
/// what was acknowledged, and how the last one was refused.
async fn submit_until_full(operator: &Operator) -> (Vec<String>, Fault) {
    let mut acknowledged = Vec::new();
    let mut refused: Option<Instant> = None;
    loop {
        match operator.submit(&prepared()).await {
            Ok(job) => {
                acknowledged.push(job);
                refused = None;
            }
            Err(fault) => {
                if refused.get_or_insert_with(Instant::now).elapsed() > LOOKED_FOR_ROOM {
                    return (acknowledged, fault);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        assert!(acknowledged.len() < 2_000, "the disk is never full");
    }
}

async fn counted(operator: &Operator) -> usize {
    let mut before: Option<String> = None;
    let mut count = 0;
    loop {
        let page = operator.ask(method::JOBS_LIST, &json!({"limit": 1000, "before": before})).await.unwrap();
        let page: redpoll_common::api::jobs::JobList = page.decode().unwrap();
        count += page.jobs.len();
        match page.next {
            Some(next) => before = Some(next),
            None => return count,
        }
    }
}

/// Waits until a job is taken again.
async fn submitted(operator: &Operator, job: &SubmitArguments) -> String {
    eventually("new jobs are taken", async || operator.submit(job).await.ok()).await
}

#[tokio::test]
async fn a_manager_with_a_full_disk_takes_no_jobs_and_loses_none() {
    if !has_own_mounts("a_manager_with_a_full_disk_takes_no_jobs_and_loses_none") {
        return;
    }
    let disk = Disk::mount(24);
    disk.take(8);
    let path = format!("store.path={}", disk.path().join("store").display());
    let mut world = World::start(&[&path, "store.reserve=8MiB", "store.full_patience=300ms"]).await;
    let (oracle, operator) = (Oracle::new(world.directory(), "full"), world.operator.clone());
    let gate = world.directory().join("gate");
    // after the manager has refused what the next one says: its output must not keep the ends beside it from being recorded
    let running = format!("{}; sleep 1.5", until(&gate));
    let running = operator.submit(&oracle.job(HONEST, &running)).await.unwrap();
    let talking = format!("{}; seq 50", until(&gate));
    let talking = operator.submit(&oracle.job(HONEST, &talking)).await.unwrap();
    let first = operator.submit(&oracle.queued(HONEST, "one", &until(&gate))).await.unwrap();
    let second = operator.submit(&oracle.queued(HONEST, "one", "true")).await.unwrap();
    for job in [&running, &talking, &first] {
        oracle.started(job).await;
    }

    let (acknowledged, fault) = submit_until_full(&operator).await;
    assert_eq!(fault.code, FaultCode::StoreFull, "{fault}");
    let all = acknowledged.len() + 4;
    // reading goes on, and there is nothing of what was refused
    assert_eq!(counted(&operator).await, all);
    assert_eq!(operator.show(acknowledged.last().unwrap()).await.unwrap().job.state, "held");
    assert_eq!(operator.submit(&prepared()).await.unwrap_err().code, FaultCode::StoreFull);

    // what runs ends, what waits behind it runs, and that is recorded
    open(&gate);
    for job in [&running, &first, &second] {
        oracle.succeeded_once(&operator, job, "").await;
    }
    assert_eq!(operator.submit(&prepared()).await.unwrap_err().code, FaultCode::StoreFull);
    assert_eq!(counted(&operator).await, all);

    disk.free();
    let after = submitted(&operator, &oracle.job(HONEST, "seq 5")).await;
    oracle.succeeded_once(&operator, &after, &numbers(5)).await;
    oracle.succeeded_once(&operator, &talking, &numbers(50)).await;
    for job in &acknowledged {
        assert_eq!(operator.show(job).await.unwrap().job.state, "held", "{job}");
    }
    assert_eq!(counted(&operator).await, all + 1);
    // the log calls for a person, as it should
    world.witness_saw_nothing().await;
}

#[tokio::test]
async fn a_manager_without_its_reserve_begins_anew_from_what_it_has() {
    if !has_own_mounts("a_manager_without_its_reserve_begins_anew_from_what_it_has") {
        return;
    }
    let disk = Disk::mount(8);
    let path = format!("store.path={}", disk.path().join("store").display());
    let settings = [&path, "store.reserve=1MiB", "store.full_patience=300ms", "manager.reconnect_spread=0s"];
    let mut world = World::quiet(&settings).await;
    world.agent(HONEST, &["manager.answer_timeout=1s"]).await;
    let (oracle, operator) = (Oracle::new(world.directory(), "spent"), world.operator.clone());
    let gate = world.directory().join("gate");
    let running = operator.submit(&oracle.job(HONEST, &until(&gate))).await.unwrap();
    oracle.started(&running).await;
    let mut prepared_jobs = Vec::new();
    for _ in 0..60 {
        prepared_jobs.push(operator.submit(&prepared()).await.unwrap());
    }

    // room is taken as soon as it is given back, and changes go on until one is not stored
    let (mut cancelled, mut refused) = (Vec::new(), None);
    for job in &prepared_jobs {
        disk.fill();
        match operator.ask(method::JOBS_CANCEL, &json!({ "job": job })).await {
            Ok(_) => cancelled.push(job),
            Err(fault) => {
                refused = Some((job, fault));
                break;
            }
        }
    }
    let (refused, fault) = refused.unwrap();
    assert_eq!(fault.code, FaultCode::StoreFull, "{fault}");
    world.manager.logged(&["beginning anew from what it has"]).await;
    world.manager.logged(&["the store takes changes again"]).await;
    // it is as if nothing had been asked, and what was acknowledged holds
    assert_eq!(operator.show(refused).await.unwrap().job.state, "held");
    for job in &cancelled {
        let job = operator.show(job).await.unwrap().job;
        assert_eq!((job.state.as_str(), job.outcome.as_deref()), ("ended", Some("cancelled")));
    }

    disk.free();
    open(&gate);
    operator.until(HONEST, AgentState::Connected).await;
    oracle.succeeded_once(&operator, &running, "").await;
    let after = submitted(&operator, &oracle.job(HONEST, "seq 5")).await;
    oracle.succeeded_once(&operator, &after, &numbers(5)).await;
    operator.cancel(refused).await;
    assert_eq!(counted(&operator).await, prepared_jobs.len() + 2);
}

async fn put_back(operator: &Operator, job: &str) {
    eventually("the run is put back", async || {
        let events = operator.ask(method::EVENTS_LIST, &json!({"type": "run.put_back"})).await.unwrap();
        let events: EventList = events.decode().unwrap();
        events.events.iter().any(|event| event.job.as_deref() == Some(job)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_agent_with_a_full_disk_takes_no_runs_until_there_is_room() {
    if !has_own_mounts("an_agent_with_a_full_disk_takes_no_runs_until_there_is_room") {
        return;
    }
    let disk = Disk::mount(32);
    let mut world = World::start(&["jobs.retry_first=100ms", "jobs.retry_max=200ms"]).await;
    let state = format!("agent.state_dir={}", disk.path().join("state").display());
    world.agent("small-1", &[&state]).await;
    let (oracle, operator) = (Oracle::new(world.directory(), "small"), world.operator.clone());
    let [gate, flood] = ["gate", "flood"].map(|name| world.directory().join(name));
    let quiet = operator.submit(&oracle.job("small-1", &until(&gate))).await.unwrap();
    // more than is allocated ahead, so that there has to be room for it
    let much = format!("{}; seq 700000", until(&flood));
    let much = operator.submit(&oracle.job("small-1", &much)).await.unwrap();
    oracle.started(&quiet).await;
    oracle.started(&much).await;

    disk.fill();
    open(&flood);
    world.agent_process("small-1").logged(&["the disk of the spool is full"]).await;
    let waiting = operator.submit(&oracle.job("small-1", "seq 5")).await.unwrap();
    put_back(&operator, &waiting).await;
    assert_eq!((operator.state_of(&waiting).await.as_str(), oracle.starts(&waiting)), ("queued", 0));
    // what runs ends, and that is told
    open(&gate);
    oracle.succeeded_once(&operator, &quiet, "").await;
    assert_eq!((operator.state_of(&much).await.as_str(), oracle.starts(&waiting)), ("running", 0));

    disk.free();
    oracle.succeeded_once(&operator, &much, &numbers(700_000)).await;
    // an agent whose disk is full asks not to be offered anything for half a minute
    within(Duration::from_secs(45), "the run that waits is offered again", async {
        while operator.state_of(&waiting).await == "queued" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    oracle.succeeded_once(&operator, &waiting, &numbers(5)).await;
    assert_eq!(world.agent_process("small-1").troubles(), Vec::<String>::new());
    world.nobody_else_noticed().await;
}

fn journals(spool: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(spool).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("journal-")).collect()
}

/// The reserve of a spool is gone, as after a crash that left half a block, and others take all the room.
fn leave_nothing(disk: &Disk, spool: &Path) {
    for path in journals(spool) {
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_len(file.metadata().unwrap().len()).unwrap();
    }
    disk.fill();
}

/// Bytes that a spool has written.
fn written(spool: &Path) -> u64 {
    journals(spool).iter().map(|path| path.metadata().unwrap().len()).sum()
}

#[tokio::test]
async fn a_backlog_takes_nothing_of_what_is_left_on_the_full_disk_of_an_agent() {
    if !has_own_mounts("a_backlog_takes_nothing_of_what_is_left_on_the_full_disk_of_an_agent") {
        return;
    }
    let disk = Disk::mount(32);
    let mut world = World::start(&["jobs.retry_first=100ms", "jobs.retry_max=200ms"]).await;
    let (state, spool) = (disk.path().join("state"), disk.path().join("state/spool"));
    let state = format!("agent.state_dir={}", state.display());
    world.agent("small-1", &[&state]).await;
    let (oracle, operator) = (Oracle::new(world.directory(), "backlog"), world.operator.clone());
    let first = operator.submit(&oracle.job("small-1", "true")).await.unwrap();
    oracle.succeeded_once(&operator, &first, "").await;
    world.take_agent("small-1").kill().await;
    leave_nothing(&disk, &spool);
    world.restart_agent("small-1", &[&state]).await;
    world.agent_process("small-1").logged(&["the disk of the spool is full"]).await;

    let (before, mut backlog) = (written(&spool), Vec::new());
    for _ in 0..40 {
        backlog.push(operator.submit(&oracle.job("small-1", "true")).await.unwrap());
    }
    for job in &backlog {
        put_back(&operator, job).await;
    }
    // the first run may have been forgotten meanwhile, and that is all
    let grown = written(&spool) - before;
    assert!(grown < 100, "{grown} bytes for the refusals of {} offers", backlog.len());
    disk.free();
    within(Duration::from_secs(60), "the runs that wait are offered again", async {
        for job in &backlog {
            while operator.state_of(job).await != "ended" {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    })
    .await;
    for job in &backlog {
        oracle.succeeded_once(&operator, job, "").await;
    }
    assert_eq!(world.agent_process("small-1").troubles(), Vec::<String>::new());
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn an_agent_that_starts_without_any_room_waits_for_it_and_then_tells_what_became_of_its_runs() {
    if !has_own_mounts(
        "an_agent_that_starts_without_any_room_waits_for_it_and_then_tells_what_became_of_its_runs",
    ) {
        return;
    }
    let disk = Disk::mount(32);
    let mut world = World::quiet(&[]).await;
    let state = format!("agent.state_dir={}", disk.path().join("state").display());
    world.agent("small-1", &[&state]).await;
    let (oracle, operator) = (Oracle::new(world.directory(), "none"), world.operator.clone());
    let mut jobs = Vec::new();
    // as many as have more to say at the start than the last page of the file has room for
    for _ in 0..20 {
        jobs.push(operator.submit(&oracle.job("small-1", "sleep 1000")).await.unwrap());
    }
    for job in &jobs {
        oracle.started(job).await;
    }
    world.take_agent("small-1").kill().await;
    leave_nothing(&disk, &disk.path().join("state/spool"));

    for start in 1..=2 {
        world.restart_agent("small-1", &[&state]).await;
        world.agent_process("small-1").logged(&["not even for ends"]).await;
        operator.echo("small-1", "calls go on").await.unwrap();
        for job in &jobs {
            assert_eq!(operator.state_of(job).await, "in_doubt", "start {start}");
        }
    }
    disk.free();
    for job in &jobs {
        let run = operator.job_ended(job).await;
        assert_eq!(run.end.as_ref().map(|end| end.outcome.as_str()), Some("unknown"));
        oracle.agrees(job, &run);
    }
    let after = submitted(&operator, &oracle.job("small-1", "seq 5")).await;
    oracle.succeeded_once(&operator, &after, &numbers(5)).await;
}

#[tokio::test]
async fn a_run_that_is_over_its_time_ends_also_where_nothing_can_be_recorded() {
    if !has_own_mounts("a_run_that_is_over_its_time_ends_also_where_nothing_can_be_recorded") {
        return;
    }
    let disk = Disk::mount(32);
    let mut world = World::quiet(&[]).await;
    let state = disk.path().join("state");
    let setting = format!("agent.state_dir={}", state.display());
    world.agent("small-1", &[&setting]).await;
    let (oracle, operator) = (Oracle::new(world.directory(), "over"), world.operator.clone());
    let (sleeper, argv) = Sleeper::new(world.directory(), "sleeper");
    // what it says finds no room, and whatever comes after that waits behind it
    let gate = world.directory().join("gate");
    let script = format!("{}; head -c 60000 /dev/zero; {}", until(&gate), argv.last().unwrap());
    let mut submit = oracle.job("small-1", &script);
    submit.spec.limits.run_timeout = Some(Duration::from_secs(8));
    let job = operator.submit(&submit).await.unwrap();
    oracle.started(&job).await;
    leave_nothing(&disk, &state.join("spool"));
    open(&gate);
    world.agent_process("small-1").logged(&["not even for ends"]).await;
    sleeper.running().await;
    sleeper.ended().await;
    assert_eq!(operator.state_of(&job).await, "running", "nobody could be told");
    disk.free();
    let run = operator.job_ended(&job).await;
    assert_eq!(run.end.as_ref().map(|end| end.outcome.as_str()), Some("timed_out"));
    oracle.agrees(&job, &run);
}

#[tokio::test]
async fn a_manager_starts_without_room_for_the_list_of_its_addresses() {
    if !has_own_mounts("a_manager_starts_without_room_for_the_list_of_its_addresses") {
        return;
    }
    let (disk, directory) = (Disk::mount(1), tempfile::TempDir::new().unwrap());
    TestAuthority::new("home").manager("m-1").write(directory.path(), "manager");
    let config = manager_config(directory.path(), "127.0.0.1:0");
    let state = disk.path().join("state");
    std::fs::DirBuilder::new().mode(0o700).create(&state).unwrap();
    let list = state.join("listen.json");
    std::fs::write(&list, "of before").unwrap();
    let mut filler = std::fs::File::create(disk.path().join("filler")).unwrap();
    while filler.write_all(&[0; 4096]).is_ok() {}
    let settings = [
        format!("manager.state_dir={}", state.display()),
        format!("store.path={}", directory.path().join("store").display()),
    ];
    let log = directory.path().join("manager.log");
    let manager = Daemon::start("redpoll-manager", "the manager", &arguments(&config, &settings), &log);
    manager.logged(&["WARN", "the disk is full: the addresses are in the log alone"]).await;
    manager.logged(&["INFO", "the manager is ready"]).await;
    assert!(!list.exists() && !state.join("listen.new").exists(), "what would be wrong is not there");
}
