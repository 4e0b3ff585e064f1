//! What an agent takes of the manager and of operators when it may submit jobs and call procedures: its own share.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod jobs_desk;
mod store_folder;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use jobs_desk::{Desk, settings};
use redpoll_common::api::jobs::{CancelArguments, JobArguments, JobDetail};
use redpoll_common::api::method;
use redpoll_common::api::queues::{QueueList, QueueListArguments};
use redpoll_common::api::submit::{SubmitAnswer, SubmitArguments};
use redpoll_common::identity::Identity;
use redpoll_common::job::{QueueKey, QueueSpec};
use redpoll_common::session::handshake::SPOKEN;
use redpoll_common::wire::{AgentHello, Fault, FaultCode, MAX_DEPTH, Raw, RawMap, scan};
use redpoll_config::{AgentsConfig, ManagerConfig, ManagerProceduresConfig};
use redpoll_manager::gate::accept_loop;
use redpoll_manager::jobs::{settings as settings_of, start_engine};
use redpoll_manager::methods;
use redpoll_manager::procedures::Offering;
use redpoll_manager::sessions::Sessions;
use redpoll_manager::state::Manager;
use redpoll_manager_core::jobs::Settings;
use redpoll_net::dial::{DialOptions, connect_once};
use redpoll_net::memory::{self, MemoryNetwork};
use redpoll_net::registry::RegistryService;
use redpoll_net::service::detached_call;
use redpoll_net::{Call, CallError, DriverOptions, Registry};
use store_folder::StoreFolder;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const PATIENCE: Duration = Duration::from_secs(30);

fn open() -> AgentsConfig {
    AgentsConfig { submit: vec!["app.*".into()], ..AgentsConfig::default() }
}

fn config(agents: AgentsConfig) -> ManagerConfig {
    ManagerConfig { agents, ..ManagerConfig::default() }
}

fn job_on(agent: &str) -> SubmitArguments {
    SubmitArguments::new(vec![agent.to_owned()], "app.work")
}

fn in_queue(name: &str, concurrency: u32) -> SubmitArguments {
    let mut job = job_on("a1");
    job.spec.queue = Some(QueueSpec { name: QueueKey::text(name).unwrap(), concurrency });
    job
}

async fn submitted(desk: &Desk, agent: &str, job: &SubmitArguments) -> Result<SubmitAnswer, Fault> {
    Ok(desk.of_agent(agent, method::JOBS_SUBMIT, job.write()).await?.decode().unwrap())
}

#[tokio::test]
async fn the_queue_of_an_agents_job_is_none_of_operators_whatever_its_name_and_is_shown_as_the_agents() {
    let desk = Desk::with(config(open()), settings()).await;
    desk.know(&["a1"]);
    let own = submitted(&desk, "a1", &in_queue("deploy", u32::MAX)).await.unwrap();
    submitted(&desk, "a1", &in_queue("deploy", 7)).await.unwrap();
    desk.submit_with(&in_queue("deploy", 1)).await.unwrap();
    let all: QueueList = desk.ask(method::QUEUES_LIST, &QueueListArguments::default()).await.unwrap();
    let mut all: Vec<_> = all
        .queues
        .iter()
        .map(|queue| (queue.name.as_text().unwrap(), queue.concurrency, queue.waiting))
        .collect();
    all.sort_unstable();
    assert_eq!(all, [("agent:a1/deploy", u32::MAX, 2), ("deploy", 1, 1)]);
    let shown: JobDetail = desk.ask(method::JOBS_SHOW, &JobArguments { job: own.job }).await.unwrap();
    assert_eq!(shown.job.queue.unwrap().as_text(), Some("agent:a1/deploy"));
    let long = submitted(&desk, "a1", &in_queue(&"x".repeat(1024), 1)).await.unwrap_err();
    assert!(long.code == FaultCode::BadArguments && long.message.contains("1033 bytes"), "{long}");
    desk.stop().await;
}

/// One that nobody could tell would take every row beside it along.
#[tokio::test]
async fn the_name_of_a_queue_nests_no_deeper_than_answers_hold_with_the_agent_in_it() {
    let desk = Desk::with(config(open()), settings()).await;
    desk.know(&["a1"]);
    let nested = |levels: usize| {
        let inner = RawMap::new().uint("n", 1).finish();
        let name = (1..levels).fold(inner, |inner, _| RawMap::new().raw("n", &inner).finish());
        let mut job = job_on("a1");
        job.spec.queue = Some(QueueSpec { name: QueueKey::parse(&name).unwrap(), concurrency: 1 });
        job
    };
    submitted(&desk, "a1", &nested(27)).await.unwrap();
    desk.submit_with(&nested(28)).await.unwrap();
    let refused = [
        submitted(&desk, "a1", &nested(28)).await.unwrap_err(),
        desk.submit_with(&nested(29)).await.unwrap_err(),
    ];
    for fault in refused {
        assert!(fault.code == FaultCode::BadArguments && fault.message.contains("29 levels"), "{fault}");
    }
    for method in [method::JOBS_LIST, method::QUEUES_LIST, method::EVENTS_LIST] {
        let answer = desk.ask_raw(method, Raw::empty_map()).await.unwrap();
        let message = RawMap::new().raw("data", &answer).finish();
        assert!(scan::measure(message.as_bytes()).unwrap().depth <= MAX_DEPTH, "{method}");
    }
    desk.stop().await;
}

#[tokio::test]
async fn an_agent_cancels_at_its_pace_as_it_asks_for_all_else() {
    let desk = Desk::with(config(AgentsConfig { rate: 1, burst: 3, ..open() }), settings()).await;
    desk.know(&["a1"]);
    let own = submitted(&desk, "a1", &job_on("a1")).await.unwrap();
    let preview = CancelArguments { job: Some(own.job), preview: true, ..CancelArguments::default() };
    let cancel = || desk.of_agent("a1", method::JOBS_CANCEL, Raw::encode(&preview).unwrap());
    assert!(cancel().await.is_ok() && cancel().await.is_ok());
    let fault = cancel().await.unwrap_err();
    assert!(fault.code == FaultCode::Overloaded && fault.message.contains("agents.rate"), "{fault}");
    desk.stop().await;
}

#[tokio::test]
async fn an_agent_with_too_many_open_runs_is_told_which_limit_it_met_and_operators_go_on() {
    let config = config(AgentsConfig { open_runs: 1, open_size: 1024 * 1024, ..open() });
    let Settings { open_runs_of_agent, open_bytes_of_agent, .. } = settings_of(&config);
    assert_eq!((open_runs_of_agent, open_bytes_of_agent), (1, 1024 * 1024));
    let desk = Desk::with(config, Settings { open_runs_of_agent, open_bytes_of_agent, ..settings() }).await;
    desk.know(&["a1"]);
    submitted(&desk, "a1", &job_on("a1")).await.unwrap();
    let fault = submitted(&desk, "a1", &job_on("a1")).await.unwrap_err();
    assert!(fault.code == FaultCode::Overloaded && fault.message.contains("agents.open_runs"), "{fault}");
    desk.submit(&["a1"]).await;
    desk.stop().await;
}

fn identity(uri: &str) -> Identity {
    Identity::parse(uri).unwrap()
}

#[tokio::test]
async fn agents_leave_places_of_the_managers_procedures_to_operators_and_to_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("d");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
    for (name, admin) in [("p", ""), ("fix", "admin = true\n")] {
        let file = dir.join(format!("{name}.toml"));
        let callers = "callers = [\"agent:*\", \"operator:*\"]";
        fs::write(&file, format!("name = \"{name}\"\ncommand = [\"true\"]\n{callers}\n{admin}")).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    }
    let offering = |calls: usize| {
        let config =
            ManagerProceduresConfig { dir: dir.clone(), calls, ..ManagerProceduresConfig::default() };
        let offering = Offering::new(identity("spiffe://home/manager/m"), &config, None);
        assert_eq!(offering.reload(), Vec::<String>::new());
        offering
    };
    // taken, and not run: a place is held as long as the answer is not there
    let start_of = |offering: &Offering, who: &str, procedure: &str| {
        let caller = memory::peer(identity(&format!("spiffe://home/{who}")));
        let (call, _output, _stop) = detached_call(caller, procedure, Raw::empty_array(), Raw::empty_map());
        offering.start(call)
    };
    let four = offering(4);
    let start = |who: &str| start_of(&four, who, "p");
    let a = [start("agent/a").unwrap(), start("agent/a").unwrap()];
    let refused = start("agent/a").err().unwrap();
    assert!(
        refused.code == FaultCode::Overloaded && refused.message.contains("procedures.calls"),
        "{refused}"
    );
    let _b = start("agent/b").unwrap();
    assert!(start("agent/b").is_err() && start("agent/c").is_err(), "one is left, for operators");
    let _ada = start("operator/ada").unwrap();
    assert!(start("operator/ada").is_err());
    assert!(start_of(&four, "agent/b", "fix").is_err(), "the places of admin procedures are for operators");
    let _fix = start_of(&four, "operator/ada", "fix").unwrap();
    drop(a);
    let _more = [start("operator/ada").unwrap(), start("agent/a").unwrap()];

    for (calls, of_agents) in [(1, 1), (2, 1), (3, 2), (5, 3)] {
        let few = offering(calls);
        let who = ["agent/a", "agent/b", "agent/c", "agent/d", "agent/e"];
        let taken: Vec<_> = who.into_iter().filter_map(|who| start_of(&few, who, "p").ok()).collect();
        assert_eq!(taken.len(), of_agents, "of {calls}");
    }
}

#[tokio::test]
async fn an_agent_calls_the_managers_procedures_at_its_pace() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(AgentsConfig { rate: 1, burst: 2, ..AgentsConfig::default() });
    config.store.path = Some(folder.path().join("store"));
    let manager = Arc::new(Manager::new(identity("spiffe://home/manager/m1"), config));
    let (engine, running) = start_engine(&manager).await.unwrap();
    let _folder = StoreFolder::of(folder, engine.store());
    let registry = Arc::new(methods::registry(&manager, &engine).unwrap());
    let sessions = Sessions::new(manager.clone(), registry, engine);
    let (network, listener) = MemoryNetwork::new(identity("spiffe://home/manager/m1"));
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    tracker.spawn(accept_loop(Box::new(listener), sessions, stop.clone()));
    let options = DialOptions {
        hello_timeout: PATIENCE,
        liveness: None,
        driver: DriverOptions::default(),
        backoff: redpoll_common::session::backoff::BackoffOptions::default(),
    };
    let (service, hello) = (Arc::new(RegistryService(Arc::new(Registry::new()))), AgentHello::default());
    let hello = AgentHello { id: "a1".into(), version: "test".into(), protocol: Some(SPOKEN), ..hello };
    let transport = network.transport(identity("spiffe://home/agent/a1"));
    let agent = connect_once(&transport, hello, service, &options, &tracker).await.unwrap();
    let call = || agent.call(Call::new("sys.procedures", PATIENCE));
    assert!(call().await.is_ok() && call().await.is_ok());
    let fault = call().await.map_err(CallError::into_fault).unwrap_err();
    assert!(fault.code == FaultCode::Overloaded && fault.message.contains("agents.rate"), "{fault}");
    stop.cancel();
    drop(running);
}
