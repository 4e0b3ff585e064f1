//! `rp.jobs.preview` with a procedure: what is asked of agents, how many at a time and how long, and what is made of their answers.
#![expect(clippy::unwrap_used, reason = "test code")]

mod store_folder;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all, pending, ready};
use redpoll_common::api::submit::{Preview, PreviewAgent, SubmitArguments};
use redpoll_common::api::trial::{Judge, PolicyTest, PolicyTestAnswer, TrialArguments, Verdict};
use redpoll_common::api::{CallArguments, agent_method, method};
use redpoll_common::identity::Identity;
use redpoll_common::ids::PeerId;
use redpoll_common::job::Offline;
use redpoll_common::session::handshake::SPOKEN;
use redpoll_common::wire::{AgentHello, Fault, FaultCode, Raw, RawMap};
use redpoll_config::ManagerConfig;
use redpoll_manager::gate::accept_loop;
use redpoll_manager::jobs::start_engine;
use redpoll_manager::methods;
use redpoll_manager::sessions::Sessions;
use redpoll_manager::state::Manager;
use redpoll_manager_core::roster::Lookup;
use redpoll_net::dial::{DialOptions, connect_once};
use redpoll_net::memory::MemoryNetwork;
use redpoll_net::registry::RegistryService;
use redpoll_net::{Call, CallContext, DriverOptions, Peer, ProcedureInfo, Registry};
use serde_json::json;
use store_folder::StoreFolder;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const PATIENCE: Duration = Duration::from_secs(30);
/// What nobody may see.
const SECRET: &str = "hunter2-s3cr3t";
/// Questions of one preview under way, by the manager's own number.
const WIDTH: usize = 128;

type Answer = BoxFuture<'static, Result<Raw, Fault>>;

struct World {
    manager: Arc<Manager>,
    network: MemoryNetwork,
    tracker: TaskTracker,
    operator: Peer,
    agents: Vec<Peer>,
    _folder: StoreFolder,
}

fn identity(uri: &str) -> Identity {
    Identity::parse(uri).unwrap()
}

async fn dial(network: &MemoryNetwork, tracker: &TaskTracker, who: &str, registry: Registry) -> Peer {
    let identity = identity(&format!("spiffe://home/{who}"));
    let id = identity.id.to_string();
    let protocol = Some(SPOKEN).filter(|_| !id.starts_with("oldest"));
    let hello = AgentHello { id, version: "test".into(), protocol, ..AgentHello::default() };
    let options = DialOptions {
        hello_timeout: PATIENCE,
        liveness: None,
        driver: DriverOptions::default(),
        backoff: redpoll_common::session::backoff::BackoffOptions::default(),
    };
    let service = Arc::new(RegistryService(Arc::new(registry)));
    connect_once(&network.transport(identity), hello, service, &options, tracker).await.unwrap()
}

impl World {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut config = ManagerConfig::default();
        config.store.path = Some(folder.path().join("store"));
        (config.admission.accept_rate, config.admission.accept_burst) = (100_000, 100_000);
        let manager = Arc::new(Manager::new(identity("spiffe://home/manager/m1"), config));
        let (engine, _running) = start_engine(&manager).await.unwrap();
        let folder = StoreFolder::of(folder, engine.store());
        let registry = Arc::new(methods::registry(&manager, &engine).unwrap());
        let sessions = Sessions::new(manager.clone(), registry, engine);
        let (network, listener) = MemoryNetwork::new(identity("spiffe://home/manager/m1"));
        let tracker = TaskTracker::new();
        tracker.spawn(accept_loop(Box::new(listener), sessions, CancellationToken::new()));
        let operator = dial(&network, &tracker, "operator/ada", Registry::new()).await;
        Self { manager, network, tracker, operator, agents: Vec::new(), _folder: folder }
    }

    /// An agent that says this when it is asked what would become of a job. It has a procedure `noop`, too.
    async fn agent(&mut self, id: &str, says: impl Fn(CallContext) -> Answer + Send + Sync + 'static) {
        let registry =
            Registry::new().with(ProcedureInfo::new(agent_method::POLICY_TEST, "", json!({})), says);
        self.connect(id, registry.unwrap()).await;
    }

    async fn connect(&mut self, id: &str, registry: Registry) {
        let noop = ProcedureInfo::new("noop", "", json!({}));
        let registry = registry.with(noop, |_call| ready(Ok(Raw::nil()))).unwrap();
        let peer = dial(&self.network, &self.tracker, &format!("agent/{id}"), registry).await;
        self.agents.push(peer);
        let id = PeerId::parse(id).unwrap();
        let is_there =
            || self.manager.with_roster(|roster| matches!(roster.get(&id), Lookup::Connected { .. }));
        until(is_there).await;
    }

    async fn preview(&self, trial: &TrialArguments, wait: Duration) -> Result<Preview, Fault> {
        let call = Call::new(method::JOBS_PREVIEW, wait).with_kwargs(trial.write());
        let answer = self.operator.call(call).await.map_err(redpoll_net::CallError::into_fault)?;
        assert!(!format!("{:?}", answer.decode::<serde_json::Value>()).contains(SECRET));
        Ok(answer.decode().unwrap())
    }

    async fn noop(&self, agent: &str) {
        let call = CallArguments {
            agent: agent.into(),
            procedure: "noop".into(),
            args: Raw::empty_array(),
            kwargs: Raw::empty_map(),
        };
        self.operator.call(Call::new(method::CALL, PATIENCE).with_kwargs(call.write())).await.unwrap();
    }
}

async fn until(such: impl Fn() -> bool) {
    let waiting = async {
        while !such() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

fn trial(agents: &[&str]) -> TrialArguments {
    let agents = agents.iter().map(|&agent| agent.to_owned()).collect();
    let mut submit = SubmitArguments::new(agents, "p@2");
    submit.spec.kwargs = RawMap::new().text("pin", SECRET).finish();
    TrialArguments { submit, after: None, limit: None }
}

fn says(answer: PolicyTestAnswer) -> Result<Raw, Fault> {
    Ok(Raw::encode(&answer).unwrap())
}

fn yes() -> PolicyTestAnswer {
    let text = |text: &str| Some(text.to_owned());
    PolicyTestAnswer {
        allowed: true,
        procedure: text("p@2"),
        rule: text("all"),
        user: text("www"),
        ..PolicyTestAnswer::default()
    }
}

fn no(code: &str) -> PolicyTestAnswer {
    let message = Some(format!("{code}, {}", "x".repeat(5000)));
    PolicyTestAnswer {
        code: Some(code.into()),
        message,
        rule: Some("no".into()),
        ..PolicyTestAnswer::default()
    }
}

fn by_name(preview: Preview) -> BTreeMap<String, PreviewAgent> {
    preview.agents.into_iter().map(|agent| (agent.id.clone(), agent)).collect()
}

#[tokio::test]
async fn every_answer_becomes_a_verdict_and_what_is_no_answer_is_no_yes() {
    let mut world = World::new().await;
    // it is asked exactly as an offer would say, and gives what it got as the rule
    world
        .agent("asked", |call| {
            let test = PolicyTest::read(&call.kwargs).unwrap();
            assert_eq!(test.kwargs, RawMap::new().text("pin", SECRET).finish());
            let rule = Some(format!("{} {}", test.procedure, test.operator.unwrap()));
            Box::pin(ready(says(PolicyTestAnswer { rule, ..yes() })))
        })
        .await;
    world.agent("refuses", |_| Box::pin(ready(says(no("rejected"))))).await;
    world.agent("stops", |_| Box::pin(ready(says(no("shutting_down"))))).await;
    world.connect("old", Registry::new()).await;
    let careless = |_| -> Answer { Box::pin(ready(Err(Fault::new(FaultCode::Failed, SECRET)))) };
    world.agent("other-kind", careless).await;
    // it may take whatever it is asked for an order to run something
    world.agent("oldest", |call| panic!("it was asked {}", call.method)).await;
    world.agent("garbled", |_| Box::pin(ready(Ok(Raw::text("yes, of course"))))).await;
    world.agent("silent", |_| Box::pin(pending())).await;
    let leave = Arc::new(Semaphore::new(0));
    let asked = leave.clone();
    world
        .agent("leaves", move |_| {
            asked.add_permits(1);
            Box::pin(pending())
        })
        .await;
    world.manager.with_roster(|roster| {
        roster.remember(PeerId::parse("gone").unwrap(), "before", std::time::Instant::now());
    });
    let leaver = world.agents.last().unwrap().clone();
    let leaving = async {
        leave.acquire().await.unwrap().forget();
        leaver.close(redpoll_common::wire::Bye::new(redpoll_common::wire::ByeCode::Idle, "enough"));
    };
    let everybody = trial(&["*"]);
    let wait = Duration::from_secs(3);
    let (preview, ()) = tokio::join!(world.preview(&everybody, wait), leaving);
    let preview = preview.unwrap();
    assert_eq!((preview.total, preview.next.clone(), preview.refusal.clone()), (10, None, None));
    let agents = by_name(preview);
    let row = |id: &str| &agents[id];
    let expected = PreviewAgent {
        id: "asked".into(),
        connected: true,
        verdict: Some(Verdict::WouldRun),
        procedure: Some("p@2".into()),
        rule: Some("p@2 ada".into()),
        user: Some("www".into()),
        ..PreviewAgent::default()
    };
    assert_eq!(*row("asked"), expected);
    let refuses = row("refuses");
    assert_eq!((refuses.verdict, refuses.by), (Some(Verdict::WouldRefuse), Some(Judge::Agent)));
    assert_eq!((refuses.code.as_deref(), refuses.rule.as_deref()), (Some("rejected"), Some("no")));
    let why = refuses.why.as_deref().unwrap();
    assert!(why.starts_with("rejected, x") && why.chars().count() == 401, "{why}");
    for (id, why) in [("gone", "would wait"), ("stops", "would wait")] {
        assert!(
            row(id).verdict == Some(Verdict::Away) && row(id).why.as_deref().unwrap().contains(why),
            "{id}"
        );
    }
    for (id, why) in [
        ("old", "older"),
        ("oldest", "oldest protocol"),
        ("other-kind", "failed"),
        ("garbled", "cannot be read"),
        ("silent", "no answer in time"),
        ("leaves", "session ended"),
    ] {
        assert_eq!(row(id).verdict, Some(Verdict::Unknown), "{id}: {:?}", row(id));
        assert!(row(id).why.as_deref().unwrap().contains(why), "{id}: {:?}", row(id));
    }
}

#[tokio::test]
async fn what_becomes_of_a_run_whose_agent_is_away_says_the_job() {
    let world = World::new().await;
    world.manager.with_roster(|roster| {
        roster.remember(PeerId::parse("gone").unwrap(), "before", std::time::Instant::now());
    });
    for (offline, why, refusal) in [
        (Offline::Wait, "would wait", None),
        (Offline::Skip, "expired", None),
        (Offline::Require, "requires it", Some("agent_away")),
    ] {
        let mut asked = trial(&["gone"]);
        asked.submit.spec.offline = offline;
        let preview = world.preview(&asked, PATIENCE).await.unwrap();
        assert_eq!(preview.refusal.map(|refusal| refusal.code).as_deref(), refusal, "{offline:?}");
        let row = preview.agents.first().unwrap();
        assert!(row.verdict == Some(Verdict::Away) && row.why.as_deref().unwrap().contains(why), "{row:?}");
    }
    // what would not be taken in at all is refused as a submit would be
    let mut odd = trial(&["gone"]);
    odd.submit.spec.procedure = "rp.call".into();
    assert_eq!(world.preview(&odd, PATIENCE).await.unwrap_err().code, FaultCode::BadArguments);
    assert_eq!(world.preview(&trial(&["never"]), PATIENCE).await.unwrap_err().code, FaultCode::UnknownAgent);
}

#[tokio::test]
async fn a_manager_that_stops_waits_for_no_answer() {
    let mut world = World::new().await;
    let (_never, asked, _) = crowd(&mut world, 1).await;
    let everybody = trial(&["*"]);
    let stopping = async {
        until(|| asked.load(Ordering::SeqCst) == 1).await;
        world.manager.start_draining();
    };
    let (preview, ()) = tokio::join!(world.preview(&everybody, PATIENCE), stopping);
    assert_eq!(preview.unwrap_err().code, FaultCode::ShuttingDown, "it waited for the agent");
}

/// Agents that answer when they are let.
async fn crowd(world: &mut World, size: usize) -> (Arc<Semaphore>, Arc<AtomicUsize>, Vec<String>) {
    let (go, waiting) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut names = Vec::new();
    for n in 0..size {
        let name = format!("web-{n:03}");
        let (go, waiting) = (go.clone(), waiting.clone());
        let answer = move |_| -> Answer {
            let go = go.clone();
            waiting.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                go.acquire().await.unwrap().forget();
                says(yes())
            })
        };
        world.agent(&name, answer).await;
        names.push(name);
    }
    (go, waiting, names)
}

#[tokio::test]
async fn no_more_than_a_bounded_number_of_agents_is_asked_at_a_time() {
    let mut world = World::new().await;
    let (go, asked, names) = crowd(&mut world, WIDTH + 20).await;
    let everybody = trial(&["*"]);
    let watching = async {
        until(|| asked.load(Ordering::SeqCst) >= WIDTH).await;
        // whoever was asked before this was asked first: what is sent to an agent keeps its order
        join_all(names.iter().map(|name| world.noop(name))).await;
        assert_eq!(asked.load(Ordering::SeqCst), WIDTH);
        go.add_permits(1);
        until(|| asked.load(Ordering::SeqCst) == WIDTH + 1).await;
        go.add_permits(names.len());
    };
    let (preview, ()) = tokio::join!(world.preview(&everybody, PATIENCE), watching);
    let preview = preview.unwrap();
    assert_eq!((preview.agents.len(), preview.next), (names.len(), None));
    assert!(preview.agents.iter().all(|agent| agent.verdict == Some(Verdict::WouldRun)));
    assert!(preview.agents.is_sorted_by(|one, next| one.id < next.id));
    assert_eq!(asked.load(Ordering::SeqCst), names.len(), "each once");
}

#[tokio::test]
async fn a_page_ends_where_the_time_did_and_the_next_one_goes_on() {
    let mut world = World::new().await;
    let (_never, asked, names) = crowd(&mut world, WIDTH + 20).await;
    let mut everybody = trial(&["*"]);
    let wait = Duration::from_secs(2);
    let first = world.preview(&everybody, wait).await.unwrap();
    assert_eq!((first.agents.len(), first.total), (WIDTH, (WIDTH + 20) as u64));
    assert!(first.agents.iter().all(|agent| agent.verdict == Some(Verdict::Unknown)));
    assert_eq!(first.next.as_ref(), names.get(WIDTH - 1));
    everybody.after = first.next;
    let second = world.preview(&everybody, wait).await.unwrap();
    assert_eq!((second.agents.len(), second.next), (20, None));
    assert_eq!(asked.load(Ordering::SeqCst), names.len(), "each once");
}
