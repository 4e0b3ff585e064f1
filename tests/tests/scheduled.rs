//! Executables that run by themselves, as manifests say, and what they have to say to the manager: each run is recorded once,
//! whoever is away and whoever is killed.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::PathBuf;

use redpoll_common::api::AgentState;
use redpoll_common::api::events::{EventList, EventSummary};
use redpoll_common::api::jobs::{JobDetail, JobList, JobSummary};
use redpoll_common::api::method;
use redpoll_tests::eventually;
use redpoll_tests::manifests::Manifests;
use redpoll_tests::policy::{open_rules, write_policy};
use redpoll_tests::told::Told;
use redpoll_tests::world::{World, start_agent};
use rustix::process::Signal;
use serde_json::{Value, json};

const AGENT: &str = "web-1";
const SOON: [&str; 2] = ["limits.grace=1s", "agent.drain_timeout=0s"];

/// A run adds a line to the file `ran`; its number is its value and its result.
fn counting(world: &World, manifests: &Manifests) -> PathBuf {
    let ran = world.directory().join("ran");
    let script = format!(
        r#"echo x >> {0}; n=$(wc -l < {0}); echo "{{\"value\":$n}}"; echo "{{\"result\":$n}}""#,
        ran.display()
    );
    let schedule = "[schedule]\nevery = \"1s\"\nat_start = true\nkwargs = { path = \"/var\" }";
    manifests.shell("disk.check", schedule, &script);
    ran
}

fn lines(file: &PathBuf) -> usize {
    fs::read_to_string(file).unwrap_or_default().lines().count()
}

/// The files of the agent's outbox, by how they end.
fn kept(world: &World, kind: &str) -> usize {
    let folder = world.directory().join(format!("agent-{AGENT}-state/schedule"));
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter(|file| file.path().extension().is_some_and(|end| end == kind)).count()
}

async fn recorded(world: &World) -> Vec<JobSummary> {
    let asked = json!({ "submitter": format!("agent:{AGENT}"), "limit": 200 });
    let list: JobList = world.operator.ask(method::JOBS_LIST, &asked).await.unwrap().decode().unwrap();
    list.jobs
}

/// The results of what is recorded, in order.
async fn results(world: &World) -> Vec<u64> {
    let mut results = Vec::new();
    for job in recorded(world).await {
        assert_eq!(job.outcome.as_deref(), Some("succeeded"), "{job:?}");
        let end = world.operator.job_ended(&job.job).await.end.unwrap();
        results.push(end.result.unwrap().decode::<u64>().unwrap());
    }
    results.sort_unstable();
    results
}

async fn events(world: &World, kind: &str) -> Vec<EventSummary> {
    let list = world.operator.ask(method::EVENTS_LIST, &json!({ "type": kind })).await.unwrap();
    list.decode::<EventList>().unwrap().events
}

#[tokio::test]
async fn a_manifest_runs_by_itself_and_each_run_is_recorded_once_although_both_daemons_were_gone() {
    let mut world = World::quiet(&[]).await;
    let manifests = Manifests::new(world.directory());
    let ran = counting(&world, &manifests);
    world.manager.kill().await;
    let folder = manifests.setting();
    let settings = [&[folder.as_str()], &SOON[..]].concat();
    world.start_agent(AGENT, &settings);
    eventually("two runs are kept", async || (kept(&world, "end") >= 2).then_some(())).await;

    // killed between two runs, for certain: it stands still while that is looked at
    loop {
        let agent = world.agent_process(AGENT);
        agent.signal(Signal::STOP);
        if (kept(&world, "run"), kept(&world, "end")) == (0, lines(&ran)) {
            break;
        }
        world.agent_process(AGENT).signal(Signal::CONT);
        eventually("a run has ended", async || (kept(&world, "run") == 0).then_some(())).await;
    }
    let before = lines(&ran);
    drop(world.take_agent(AGENT));
    let agent = start_agent(world.directory(), AGENT, &world.address.to_string(), &settings);
    eventually("it runs on", async || (lines(&ran) > before).then_some(())).await;

    world.restart_manager().await;
    world.operator.until(AGENT, AgentState::Connected).await;
    let seen = lines(&ran);
    eventually("all that was kept is recorded", async || (recorded(&world).await.len() > seen).then_some(()))
        .await;
    let found = results(&world).await;
    let wanted: Vec<u64> = (1..=u64::try_from(found.len()).unwrap()).collect();
    assert_eq!(found, wanted, "each run once, none twice, none missing");

    let job = recorded(&world).await.pop().unwrap();
    assert_eq!(job.info.decode::<Value>().unwrap(), json!({"schedule": "disk.check@1"}));
    let shown = world.operator.ask(method::JOBS_SHOW, &json!({"job": job.job})).await.unwrap();
    let shown: JobDetail = shown.decode().unwrap();
    assert_eq!((shown.runs[0].agent.as_str(), shown.runs[0].items), (AGENT, 1));
    let read = world.run_rpctl(&["jobs", "read", &job.job]).await;
    assert_eq!(String::from_utf8(read.stdout).unwrap().trim(), "1", "the value of its first run");
    drop(agent);
}

#[tokio::test]
async fn events_of_an_executable_arrive_where_the_manager_allows_them_and_are_lost_where_it_does_not() {
    let mut world = World::quiet(&["agents.emit=disk.*"]).await;
    let manifests = Manifests::new(world.directory());
    let emit = |kind: &str| {
        format!(
            r#"echo '{{"emit":{{"type":"{kind}","data":{{"percent":99}}}}}}'; echo '{{"result":"said"}}'"#
        )
    };
    manifests.shell("say.full", "", &emit("disk.full"));
    manifests.shell("say.door", "", &emit("door.open"));
    manifests.shell("say.nonsense", "", r#"echo '{"emit":{"type":"Not A Type"}}'; echo '{"result":1}'"#);
    world.agent(AGENT, &[&manifests.setting()]).await;

    assert_eq!(Told::of(&world, &[AGENT, "say.full"]).await.result(), "said");
    let said = eventually("the event is there", async || events(&world, "custom.*").await.pop()).await;
    assert_eq!((said.kind.as_str(), said.agent.as_deref()), ("custom.disk.full", Some(AGENT)));
    assert_eq!(said.data.unwrap().decode::<Value>().unwrap(), json!({"percent": 99}));

    assert_eq!(Told::of(&world, &[AGENT, "say.door"]).await.result(), "said", "the call knows nothing of it");
    let lost =
        world.agent_process(AGENT).logged(&["WARN", "an event of a procedure is lost", "door.open"]).await;
    assert!(lost.contains("agents.emit"), "it names the key that would allow it: {lost}");
    assert_eq!(Told::of(&world, &[AGENT, "say.nonsense"]).await.result(), 1);
    // events go in their order: once this one is there, the others are not
    assert_eq!(Told::of(&world, &[AGENT, "say.full"]).await.result(), "said");
    eventually("the next one is there", async || (events(&world, "custom.*").await.len() >= 2).then_some(()))
        .await;
    let kinds: Vec<_> = events(&world, "custom.*").await.into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["custom.disk.full", "custom.disk.full"]);
}

/// Whom the policy of a machine sees behind a job that another machine submitted.
#[tokio::test]
async fn a_job_that_an_agent_submits_on_another_is_judged_there_as_the_agents_own() {
    let mut world = World::quiet(&["agents.submit=sys.*", "agents.submit_on=*"]).await;
    let deny = "[[rule]]\nname = \"not for machines\"\ndeny = [\"sys.version\"]\noperators = [\"agent:*\"]\n";
    write_policy(&world.directory().join("policy.toml"), &format!("{deny}{}", open_rules()));
    world.agent("db-1", &[]).await;
    world.own_agent("redpoll-recurring-agent", AGENT, &[]).await;
    let mut outcomes = Vec::new();
    for procedure in ["sys.version", "sys.ping"] {
        let asked = json!({"agent": "db-1", "procedure": procedure});
        let job: String = world.operator.call(AGENT, "test.submit", &asked).await.unwrap().decode().unwrap();
        let run = world.operator.job_ended(&job).await;
        let end = run.end.unwrap();
        outcomes.push((end.outcome.clone(), end.fault.map(|fault| fault.message).unwrap_or_default()));
    }
    assert_eq!(outcomes[0].0, "rejected", "{outcomes:?}");
    assert!(outcomes[0].1.contains("not for machines"), "{outcomes:?}");
    assert_eq!(outcomes[1].0, "succeeded", "{outcomes:?}");
    let own = world.run_rpctl(&["run", "db-1", "sys.version"]).await;
    assert!(own.status.success(), "an operator may: {}", String::from_utf8_lossy(&own.stderr));
    let listed =
        world.run_rpctl(&["-o", "json", "jobs", "list", "--submitter", &format!("agent:{AGENT}")]).await;
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
}
