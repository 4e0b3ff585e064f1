//! A manager's methods with the real engine behind them, and agents in the hands of a test: they report what it says.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use redpoll_common::api::items::FollowEvent;
use redpoll_common::api::method;
use redpoll_common::api::submit::{SubmitAnswer, SubmitArguments};
use redpoll_common::identity::Identity;
use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::job::wire::{Report, Resume, RunRef, RunReport};
use redpoll_common::job::{Callback, Dno, Ending, Item, ItemKind, JobId, Outcome, RunKey, RunState};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_config::ManagerConfig;
use redpoll_manager::clock::Hands;
use redpoll_manager::engine::{Agents, Callbacks, Engine, EngineOptions, Running};
use redpoll_manager::methods;
use redpoll_manager::state::Manager;
use redpoll_manager::store::{AbortHook, Faults, Memory, Options, Sqlite, Store};
use redpoll_manager_core::jobs::record::RunRecord;
use redpoll_manager_core::jobs::{NotTaken, Settings};
use redpoll_net::service::{DetachedOutput, StopHandle, detached_call, detached_call_within};
use redpoll_net::{CallContext, Peer, Registry, memory};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Agents without sessions: what is sent to them goes nowhere, and the test answers for them.
#[derive(Debug, Default)]
struct Dummies(Mutex<BTreeSet<PeerId>>);

impl Agents for Dummies {
    fn peer(&self, _agent: &PeerId, _connection: ConnectionId) -> Option<Peer> {
        None
    }

    fn is_connected(&self, agent: &PeerId) -> bool {
        self.0.lock().unwrap().contains(agent)
    }

    fn disconnect(&self, _agent: &PeerId, _connection: ConnectionId, _why: &str) {}

    fn disconnect_all(&self, _why: &str) {}
}

impl Callbacks for Dummies {
    fn deliver(&self, _: JobId, _: u32, _: Callback) -> BoxFuture<'static, Result<(), NotTaken>> {
        Box::pin(std::future::ready(Err("nobody is there".into())))
    }
}

/// The manager, as its operators meet it.
pub(crate) struct Desk {
    pub(crate) manager: Arc<Manager>,
    pub(crate) engine: Engine,
    pub(crate) store: Arc<dyn Store>,
    registry: Arc<Registry>,
    agents: Arc<Dummies>,
    running: Option<Running>,
    _folder: Option<TempDir>,
}

pub(crate) fn peer(name: &str) -> PeerId {
    PeerId::parse(name).unwrap()
}

/// Quick to try again, and large enough for whatever a test does.
pub(crate) fn settings() -> Settings {
    Settings {
        retry_first_ms: 0,
        retry_max_ms: 0,
        runs_per_agent: 100_000,
        offers_per_agent: 100_000,
        ..Settings::default()
    }
}

impl Desk {
    pub(crate) async fn memory() -> Self {
        Self::with_faults(&Faults::default()).await
    }

    pub(crate) async fn with_faults(faults: &Faults) -> Self {
        let store = Memory::new(faults.clone(), AbortHook::default());
        Self::over(Arc::new(store), None, ManagerConfig::default(), settings()).await
    }

    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        let options = Options { reserve_bytes: 64 * 1024, ..Options::default() };
        let store = Sqlite::open(&folder.path().join("store"), options).unwrap();
        Self::over(Arc::new(store), Some(folder), ManagerConfig::default(), settings()).await
    }

    /// On a store in a folder of the test's own, and with its clocks.
    pub(crate) async fn in_folder(folder: &Path, hands: &Hands, settings: Settings) -> Self {
        let options = Options { reserve_bytes: 64 * 1024, hands: hands.clone(), ..Options::default() };
        let store = Sqlite::open(&folder.join("store"), options).unwrap();
        Self::over(Arc::new(store), None, ManagerConfig::default(), settings).await
    }

    pub(crate) async fn with(config: ManagerConfig, settings: Settings) -> Self {
        let store = Memory::new(Faults::default(), AbortHook::default());
        Self::over(Arc::new(store), None, config, settings).await
    }

    async fn over(
        store: Arc<dyn Store>,
        folder: Option<TempDir>,
        config: ManagerConfig,
        settings: Settings,
    ) -> Self {
        let manager = Arc::new(Manager::new(Identity::parse("spiffe://home/manager/m1").unwrap(), config));
        let agents = Arc::new(Dummies::default());
        let options = EngineOptions { settings, offer_timeout: PATIENCE };
        let (engine, running, _known) =
            Engine::start(store.clone(), agents.clone(), agents.clone(), options).await.unwrap();
        let registry = Arc::new(methods::registry(&manager, &engine).unwrap());
        Self { manager, engine, store, registry, agents, running: Some(running), _folder: folder }
    }

    /// Agents that are known and away.
    pub(crate) fn know(&self, names: &[&str]) {
        for name in names {
            let now = std::time::Instant::now();
            self.manager.with_roster(|roster| roster.remember(peer(name), "before", now));
        }
    }

    /// Agents that are there, with nothing in their spools.
    pub(crate) async fn connect(&self, names: &[&str]) {
        self.know(names);
        for name in names {
            self.agents.0.lock().unwrap().insert(peer(name));
            let connection = ConnectionId(1);
            self.engine.agent_up(peer(name), connection);
            let resume = Resume { spool: [7; 16], max_dno: Dno(0), last: true, jobs: Vec::new() };
            self.engine.resume(&peer(name), connection, resume).await.unwrap();
        }
    }

    /// A request of an operator, running.
    pub(crate) fn start(&self, method: &str, kwargs: Raw) -> Request {
        self.start_within(method, kwargs, redpoll_common::wire::DEFAULT_FRAME_LIMIT)
    }

    /// The same over a session whose values may have so many bytes.
    pub(crate) fn start_within(&self, method: &str, kwargs: Raw, value_limit: usize) -> Request {
        self.begin(method, kwargs, |call| call.with_value_limit(value_limit))
    }

    /// The same with a caller who waits so long.
    pub(crate) fn start_until(&self, method: &str, kwargs: Raw, wait: Duration) -> Request {
        let deadline = Some(tokio::time::Instant::now() + wait);
        self.begin(method, kwargs, |call| CallContext { deadline, ..call })
    }

    /// The same with a caller who grants so many bytes of values.
    pub(crate) fn start_with_window(&self, method: &str, kwargs: Raw, window: u64) -> Request {
        let caller = memory::peer(Identity::parse("spiffe://home/operator/ada").unwrap());
        self.serve(detached_call_within(window, caller, method, Raw::empty_array(), kwargs), |call| call)
    }

    fn begin(&self, method: &str, kwargs: Raw, change: impl FnOnce(CallContext) -> CallContext) -> Request {
        self.begin_as("operator/ada", method, kwargs, change)
    }

    /// A request of an agent to its answer; what the table of rights says has been asked before.
    pub(crate) async fn of_agent(&self, agent: &str, method: &str, kwargs: Raw) -> Result<Raw, Fault> {
        self.begin_as(&format!("agent/{agent}"), method, kwargs, |call| call).answer().await
    }

    fn begin_as(
        &self,
        who: &str,
        method: &str,
        kwargs: Raw,
        change: impl FnOnce(CallContext) -> CallContext,
    ) -> Request {
        let caller = memory::peer(Identity::parse(&format!("spiffe://home/{who}")).unwrap());
        self.serve(detached_call(caller, method, Raw::empty_array(), kwargs), change)
    }

    fn serve(
        &self,
        (call, output, stop): (CallContext, DetachedOutput, StopHandle),
        change: impl FnOnce(CallContext) -> CallContext,
    ) -> Request {
        let running = self.registry.start(change(call));
        #[expect(clippy::disallowed_methods, reason = "a test's own task")]
        let answer = tokio::spawn(running.answer);
        Request { output, answer, stop }
    }

    /// A request without values, to its answer.
    pub(crate) async fn ask_raw(&self, method: &str, kwargs: Raw) -> Result<Raw, Fault> {
        self.start(method, kwargs).answer().await
    }

    pub(crate) async fn ask<A: DeserializeOwned>(
        &self,
        method: &str,
        arguments: &impl Serialize,
    ) -> Result<A, Fault> {
        let answer = self.ask_raw(method, Raw::encode(arguments).unwrap()).await?;
        Ok(answer.decode().unwrap())
    }

    pub(crate) async fn refused(&self, method: &str, arguments: &impl Serialize) -> Fault {
        self.ask_raw(method, Raw::encode(arguments).unwrap()).await.unwrap_err()
    }

    pub(crate) async fn submit_with(&self, submit: &SubmitArguments) -> Result<SubmitAnswer, Fault> {
        Ok(self.ask_raw(method::JOBS_SUBMIT, submit.write()).await?.decode().unwrap())
    }

    /// A job on these agents, by its id.
    pub(crate) async fn submit(&self, agents: &[&str]) -> JobId {
        let agents = agents.iter().map(|&agent| agent.to_owned()).collect();
        let answer = self.submit_with(&SubmitArguments::new(agents, "app.work")).await.unwrap();
        JobId::parse(&answer.job).unwrap()
    }

    pub(crate) async fn run(&self, job: JobId, agent: &str) -> RunRecord {
        self.store.run(&RunKey { job, agent: peer(agent) }).await.unwrap().unwrap()
    }

    /// What an agent says of the run that it was offered, once it was.
    pub(crate) async fn report(&self, job: JobId, agent: &str, fill: impl FnOnce(RunReport) -> RunReport) {
        let dispatch = |run: &RunRecord| RunRef { job, attempt: run.attempt, dno: run.dno };
        let run = timeout(PATIENCE, async {
            loop {
                let run = self.run(job, agent).await;
                let replaceable = run.is_alive() && run.state.ending().is_some();
                if run.state.dispatch().is_some() || replaceable {
                    return dispatch(&run);
                }
                tokio::task::yield_now().await;
            }
        });
        let run = run.await.expect("the run is never offered");
        let report = fill(RunReport { started_ms_ago: Some(0), ..RunReport::about(run) });
        self.engine.report(&peer(agent), ConnectionId(1), Report { reports: vec![report] }).await.unwrap();
    }

    pub(crate) async fn give(&self, job: JobId, agent: &str, items: Vec<Item>) {
        self.report(job, agent, |report| RunReport { items, ..report }).await;
    }

    pub(crate) async fn end(&self, job: JobId, agent: &str, ending: Ending) {
        self.report(job, agent, |report| RunReport { done: Some(ending), ..report }).await;
    }

    pub(crate) async fn stop(mut self) {
        drop(self.registry);
        if let Some(running) = self.running.take() {
            drop(self.engine);
            running.stop().await;
        }
    }
}

/// A request that is being served.
pub(crate) struct Request {
    pub(crate) output: DetachedOutput,
    answer: JoinHandle<Result<Raw, Fault>>,
    pub(crate) stop: StopHandle,
}

impl Request {
    pub(crate) async fn answer(self) -> Result<Raw, Fault> {
        timeout(PATIENCE, self.answer).await.expect("no answer").unwrap()
    }

    /// The next value; `None` after the last.
    pub(crate) async fn value(&mut self) -> Option<Raw> {
        let next = timeout(PATIENCE, self.output.next()).await.expect("no value");
        next.map(|value| value.unwrap_or_else(|_progress| unreachable!("no progress is sent")))
    }

    pub(crate) async fn event(&mut self) -> Option<FollowEvent> {
        self.value().await.map(|value| FollowEvent::read(&value).unwrap())
    }

    /// All values to the last, and the answer.
    pub(crate) async fn all(mut self) -> (Vec<FollowEvent>, Result<Raw, Fault>) {
        let mut events = Vec::new();
        while let Some(event) = self.event().await {
            events.push(event);
        }
        (events, self.answer().await)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.answer.is_finished()
    }

    pub(crate) fn abort(self) {
        self.answer.abort();
    }
}

/// Items with numbers from `from`, each saying its own.
pub(crate) fn items(from: u64, count: u64) -> Vec<Item> {
    (from..from + count).map(|n| Item { n, kind: ItemKind::Value, data: Raw::encode(&n).unwrap() }).collect()
}

/// Items of so many bytes.
pub(crate) fn large_items(from: u64, count: u64, bytes: usize) -> Vec<Item> {
    let data = Raw::text(&"x".repeat(bytes));
    (from..from + count).map(|n| Item { n, kind: ItemKind::Stdout, data: data.clone() }).collect()
}

pub(crate) fn succeeded(items: u64, result: Raw) -> Ending {
    let outcome = Outcome::Succeeded;
    Ending { outcome, started: Some(true), result: Some(result), fault: None, items, duration_ms: Some(1) }
}

pub(crate) fn ended(outcome: Outcome, items: u64) -> Ending {
    let fault = Some(Fault::new(FaultCode::Failed, "it broke"));
    Ending { outcome, started: Some(true), result: None, fault, items, duration_ms: Some(1) }
}

pub(crate) fn is_ended(run: &RunRecord) -> bool {
    matches!(run.state, RunState::Ended(_))
}

/// Small numbers out of a seed: xorshift.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}
