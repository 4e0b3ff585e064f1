//! After a turn that was not stored nothing of the machine that made it is done or told, also what needs no storing.

#![expect(clippy::unwrap_used, reason = "test code")]

mod store_common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use redpoll_common::api::submit::SubmitArguments;
use redpoll_common::identity::Role;
use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::job::{Callback, JobId};
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_manager::engine::{Agents, Callbacks, Engine, EngineOptions, NewJob, Running, digest};
use redpoll_manager::store::chain::Begin;
use redpoll_manager::store::{Faults, Options, Room, Sqlite, Store};
use redpoll_manager_core::jobs::{NotTaken, Settings};
use redpoll_manager_core::revoked::{Denial, Denied};
use redpoll_net::Peer;
use store_common::{peer, private_folder, small};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

#[derive(Debug)]
struct Nobody;

impl Agents for Nobody {
    fn peer(&self, _agent: &PeerId, _connection: ConnectionId) -> Option<Peer> {
        None
    }

    fn is_connected(&self, _agent: &PeerId) -> bool {
        false
    }

    fn disconnect(&self, _agent: &PeerId, _connection: ConnectionId, _why: &str) {}

    fn disconnect_all(&self, _why: &str) {}
}

impl Callbacks for Nobody {
    fn deliver(&self, _: JobId, _: u32, _: Callback) -> BoxFuture<'static, Result<(), NotTaken>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// An engine with a store on disk, in which a call waits half a second for space.
struct Rig {
    _folder: TempDir,
    store: Arc<Sqlite>,
    faults: Faults,
    engine: Engine,
    _running: Running,
    tracker: TaskTracker,
}

impl Rig {
    async fn start() -> Self {
        let folder = private_folder();
        let options = Options { full_patience: Duration::from_millis(500), ..small() };
        let faults = options.faults.clone();
        let store = Arc::new(Sqlite::open(folder.path(), options).unwrap());
        let numbers = EngineOptions { settings: Settings::default(), offer_timeout: Duration::from_secs(60) };
        let (engine, _running, _known) =
            Engine::start(store.clone(), Arc::new(Nobody), Arc::new(Nobody), numbers).await.unwrap();
        // everything that is stored of the start is stored before the disk is full
        engine.submit(new_job(None)).await.unwrap();
        Self { _folder: folder, store, faults, engine, _running, tracker: TaskTracker::new() }
    }

    /// Asks twice on a disk that is full until the first is lost: the second finds in memory what the first one did.
    async fn twice<T, F, Q>(&self, ask: F) -> [Result<T, Fault>; 2]
    where
        T: Send + 'static,
        Q: Future<Output = Result<T, Fault>> + Send + 'static,
        F: Fn(Engine) -> Q,
    {
        self.faults.set_full(true);
        let first = self.tracker.spawn(ask(self.engine.clone()));
        self.until("the first one waits for space", async || self.store.room() == Room::Nothing).await;
        let second = ask(self.engine.clone()).await;
        let first = first.await.unwrap();
        self.faults.set_full(false);
        [first, second]
    }

    async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let begin = Instant::now();
        while !holds().await {
            assert!(begin.elapsed() < Duration::from_secs(20), "{what}: never");
            tokio::task::yield_now().await;
        }
    }

    /// Nothing of the history is missing, and no number was given twice.
    async fn assert_whole(&self) {
        let history = self.store.verify(Begin::Oldest, None, usize::MAX).await.unwrap();
        assert_eq!(history.flaw, None);
        let events = self.store.events(0, 1000).await.unwrap();
        assert!(events.iter().map(|event| event.n).eq(1..=history.at.n), "{events:?}");
    }
}

fn is_full<T>(answer: &Result<T, Fault>) -> bool {
    answer.as_ref().err().map(|fault| &fault.code) == Some(&FaultCode::StoreFull)
}

fn denial() -> Denial {
    let denied = Denied::whole(Role::Agent, peer("a"));
    Denial { denied, at_ms: 0, by: peer("ada").into(), reason: None }
}

fn new_job(key: Option<&str>) -> NewJob {
    let mut asked = SubmitArguments::new(vec!["a".to_owned()], "sys.ping");
    asked.spec.key = key.map(str::to_owned);
    NewJob {
        submitter: peer("ada").into(),
        digest: digest::of(&asked),
        spec: Arc::new(asked.spec),
        agents: vec![peer("a")],
        admin: Arc::default(),
        idempotent: false,
        redact: Arc::default(),
    }
}

#[tokio::test]
async fn a_revocation_that_was_lost_is_not_acknowledged_to_whoever_asked_again() {
    let rig = Rig::start().await;
    let [first, second] = rig.twice(|engine| async move { engine.revoke(denial()).await }).await;
    assert!(is_full(&first), "{first:?}");
    assert!(is_full(&second), "acknowledged, and not on disk: {second:?}");
    assert!(rig.store.recover().await.unwrap().denied.is_empty());
    let mut answer = None;
    rig.until("it is stored", async || {
        answer = rig.engine.revoke(denial()).await.ok();
        answer.is_some()
    })
    .await;
    assert_eq!(answer, Some(false), "the first that is on disk");
    assert_eq!(rig.store.recover().await.unwrap().denied.len(), 1);
    rig.assert_whole().await;
}

#[tokio::test]
async fn a_keyed_job_that_was_lost_is_not_acknowledged_to_whoever_asked_again() {
    let rig = Rig::start().await;
    let [first, second] = rig.twice(|engine| async move { engine.submit(new_job(Some("once"))).await }).await;
    assert!(is_full(&first), "{first:?}");
    assert!(is_full(&second), "acknowledged, and not on disk: {second:?}");
    rig.until("it is stored", async || {
        let stored = rig.engine.submit(new_job(Some("once"))).await;
        stored.is_ok_and(|stored| !stored.existing)
    })
    .await;
    assert_eq!(rig.store.counts().await.unwrap().open_jobs, 2);
    rig.assert_whole().await;
}
