//! Procedures that an agent runs by itself, and what agents ask of the manager, with real daemons: nothing is lost that anybody
//! was promised, and nothing is recorded twice.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::path::{Path, PathBuf};

use redpoll_common::api::AgentState;
use redpoll_common::api::events::{EventList, EventSummary};
use redpoll_common::api::jobs::{JobDetail, JobList, JobSummary};
use redpoll_common::api::method;
use redpoll_common::wire::{FaultCode, Raw};
use redpoll_tests::eventually;
use redpoll_tests::process::Daemon;
use redpoll_tests::world::{World, arguments, tls_section, write_config};
use serde_json::json;

const AGENT: &str = "clock-1";

/// An agent with a procedure that runs by itself and waits for its gate.
struct Clock {
    folder: PathBuf,
    manager: String,
    every_ms: u64,
}

impl Clock {
    fn new(world: &World, every_ms: u64) -> Self {
        world.authority.agent(AGENT).write(world.directory(), "clock");
        Self { folder: world.directory().to_owned(), manager: world.address.to_string(), every_ms }
    }

    fn start(&self, failpoint: Option<&str>) -> Daemon {
        let text = format!(
            "manager = \"{}\"\n[agent]\nstate_dir = \"{}\"\ndrain_timeout = \"0s\"\n{}",
            self.manager,
            self.folder.join("clock-state").display(),
            tls_section(&self.folder, "clock")
        );
        let config = self.folder.join("clock.toml");
        write_config(&config, &text);
        let mut wrapper = vec![
            "/usr/bin/env".to_owned(),
            format!("REDPOLL_TEST_EVERY_MS={}", self.every_ms),
            format!("REDPOLL_TEST_GATE={}", self.gate().display()),
        ];
        wrapper.extend(failpoint.map(|name| format!("REDPOLL_FAILPOINT={name}")));
        let settings = ["manager.backoff_initial=50ms", "manager.backoff_max=100ms", "limits.grace=1s"];
        let (arguments, log) = (arguments(&config, &settings), self.folder.join("clock.log"));
        Daemon::start_under(&wrapper, "redpoll-recurring-agent", "the clock", &arguments, &log)
    }

    fn gate(&self) -> PathBuf {
        self.folder.join("gate")
    }

    fn open_gate(&self) {
        std::fs::write(self.gate(), "open").unwrap();
    }

    fn began(&self) -> usize {
        std::fs::read_to_string(self.folder.join("gate.began")).unwrap_or_default().lines().count()
    }

    async fn until_began(&self, runs: usize) {
        eventually("a run began", async || (self.began() >= runs).then_some(())).await;
    }

    /// The files of the outbox, by how they end.
    fn kept(&self, kind: &str) -> usize {
        let folder = self.folder.join("clock-state/schedule");
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        files.filter(|file| Path::new(&file.file_name()).extension().is_some_and(|end| end == kind)).count()
    }
}

async fn recorded(world: &World) -> Vec<JobSummary> {
    let asked = json!({ "submitter": format!("agent:{AGENT}") });
    let list: JobList = world.operator.ask(method::JOBS_LIST, &asked).await.unwrap().decode().unwrap();
    list.jobs
}

async fn until_recorded(world: &World, outcome: &str) -> JobSummary {
    eventually("it is recorded", async || {
        recorded(world).await.into_iter().find(|job| job.outcome.as_deref() == Some(outcome))
    })
    .await
}

async fn events(world: &World, kind: &str) -> Vec<EventSummary> {
    let list = world.operator.ask(method::EVENTS_LIST, &json!({ "type": kind })).await.unwrap();
    list.decode::<EventList>().unwrap().events
}

#[tokio::test]
async fn runs_go_on_while_the_manager_is_down_and_are_recorded_once_it_is_back() {
    let mut world = World::quiet(&[]).await;
    let clock = Clock::new(&world, 50);
    world.manager.kill().await;
    clock.open_gate();
    let _agent = clock.start(None);
    clock.until_began(3).await;
    eventually("two runs are kept", async || (clock.kept("end") >= 2).then_some(())).await;
    world.restart_manager().await;
    let first = until_recorded(&world, "succeeded").await;
    assert_eq!((first.procedure.as_str(), first.state.as_str()), ("test.wait", "ended"));
    assert_eq!(first.info.decode::<serde_json::Value>().unwrap(), json!({ "schedule": "test.wait" }));
    eventually("all are recorded that were kept", async || {
        (recorded(&world).await.len() >= 3 && clock.kept("end") <= 1).then_some(())
    })
    .await;
    let shown = world.operator.ask(method::JOBS_SHOW, &json!({ "job": first.job })).await.unwrap();
    let shown: JobDetail = shown.decode().unwrap();
    let run = &shown.runs[0];
    assert_eq!((run.agent.as_str(), run.items), (AGENT, 1), "the value that it gave");
    let output = world.run_rpctl(&["-o", "json", "jobs", "read", &first.job]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("began"), "{text} {:?}", String::from_utf8_lossy(&output.stderr));
    let told = events(&world, "job.recorded").await;
    assert!(told.iter().any(|event| event.job.as_deref() == Some(first.job.as_str())));
    assert!(told.iter().all(|event| event.agent.as_deref() == Some(AGENT)));
}

#[tokio::test]
async fn a_run_whose_agent_is_killed_is_recorded_as_unknown_and_its_schedule_goes_on() {
    let world = World::quiet(&[]).await;
    let clock = Clock::new(&world, 3_600_000);
    let mut agent = clock.start(None);
    clock.until_began(1).await;
    agent.kill().await;
    assert_eq!((clock.kept("run"), clock.kept("end")), (1, 0), "the note is there");
    let _agent = clock.start(None);
    let job = until_recorded(&world, "unknown").await;
    assert_eq!(job.state, "ended");
    clock.until_began(2).await;
    eventually("only what runs is kept", async || {
        ((clock.kept("run"), clock.kept("end")) == (1, 0)).then_some(())
    })
    .await;
    clock.open_gate();
    until_recorded(&world, "succeeded").await;
    assert_eq!(recorded(&world).await.len(), 2);
}

/// The manager has it, the agent dies before it knows: it tells it again.
#[tokio::test]
async fn a_run_that_is_told_twice_is_recorded_once() {
    let world = World::quiet(&[]).await;
    let clock = Clock::new(&world, 3_600_000);
    clock.open_gate();
    let mut agent = clock.start(Some("R3"));
    agent.ended().await;
    let job = until_recorded(&world, "succeeded").await;
    assert_eq!(clock.kept("end"), 1, "the agent does not know that it was told");
    std::fs::remove_file(clock.gate()).unwrap();
    let _agent = clock.start(None);
    eventually("it was told again", async || (clock.kept("end") == 0).then_some(())).await;
    let jobs = recorded(&world).await;
    assert_eq!((jobs.len(), jobs[0].job.as_str()), (1, job.job.as_str()));
    assert_eq!(events(&world, "job.recorded").await.len(), 1);
}

#[tokio::test]
async fn the_stop_of_an_agent_ends_what_runs_and_it_is_recorded_as_cancelled() {
    let world = World::quiet(&[]).await;
    let clock = Clock::new(&world, 3_600_000);
    let mut agent = clock.start(None);
    clock.until_began(1).await;
    agent.signal(rustix::process::Signal::TERM);
    agent.ended().await;
    clock.open_gate();
    let _agent = clock.start(None);
    until_recorded(&world, "cancelled").await;
    until_recorded(&world, "succeeded").await;
}

#[tokio::test]
async fn a_procedure_emits_events_and_submits_jobs_as_far_as_the_manager_allows() {
    let world = World::quiet(&["agents.emit=disk.*", "agents.submit=sys.*"]).await;
    let clock = Clock::new(&world, 3_600_000);
    let _agent = clock.start(None);
    world.operator.until(AGENT, AgentState::Connected).await;
    let call = async |procedure: &str, kwargs| world.operator.call(AGENT, procedure, &kwargs).await;
    let number: u64 = call("test.emit", json!({ "kind": "disk.full" })).await.unwrap().decode().unwrap();
    let said = events(&world, "custom.*").await;
    assert_eq!((said.len(), said[0].n, said[0].kind.as_str()), (1, number, "custom.disk.full"));
    assert_eq!(said[0].agent.as_deref(), Some(AGENT));
    assert_eq!(said[0].data, Some(Raw::encode(&["said", "so"]).unwrap()));
    let output = world.run_rpctl(&["events", "--type", "custom.*"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("custom.disk.full") && text.contains(r#"["said","so"]"#), "{text}");
    let fault = call("test.emit", json!({ "kind": "door.open" })).await.unwrap_err();
    assert!(fault.code == FaultCode::Failed && fault.message.contains("agents.emit"), "{fault}");

    for (agent, procedure, key) in
        [(AGENT, "exec.run", "agents.submit"), ("web-9", "sys.echo", "agents.submit_on")]
    {
        let fault = call("test.submit", json!({ "agent": agent, "procedure": procedure })).await.unwrap_err();
        assert!(fault.message.contains(key), "{fault}");
    }
    let job = call("test.submit", json!({ "agent": AGENT, "procedure": "sys.version" })).await.unwrap();
    let job: String = job.decode().unwrap();
    eventually("its own job has run", async || {
        let shown = world.operator.ask(method::JOBS_SHOW, &json!({ "job": job })).await.ok()?;
        let shown: JobDetail = shown.decode().ok()?;
        (shown.job.submitter == format!("agent:{AGENT}")).then_some(())?;
        (shown.job.outcome.as_deref() == Some("succeeded")).then_some(())
    })
    .await;
}
