//! After a turn that was not stored nothing of the machine that made it is done or told, also what needs no storing.

#![expect(clippy::unwrap_used, reason = "test code")]

mod store_common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use redpoll_common::api::submit::SubmitArguments;
use redpoll_common::identity::Role;
use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::job::{Callback, JobId, JobSpec};
use redpoll_common::wire::{Fault, FaultCode, RawMap};
use redpoll_manager::engine::{Agents, Callbacks, Engine, EngineOptions, NewJob, Running, digest};
use redpoll_manager::store::chain::Begin;
use redpoll_manager::store::sqlite::DATABASE;
use redpoll_manager::store::{AbortHook, Faults, Options, Room, Sqlite, Store};
use redpoll_manager_core::jobs::{NotTaken, Scope, Settings};
use redpoll_manager_core::revoked::{Denial, Denied};
use redpoll_net::Peer;
use serde_json::{Value, json};
use store_common::{peer, private_folder, small};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

/// Agents without sessions, whose lists say that nobody may see a pin, once they are known.
#[derive(Debug, Default)]
struct Away {
    listed: AtomicBool,
    /// They were sent away: the machine begins anew.
    sent_away: AtomicBool,
}

impl Agents for Away {
    fn peer(&self, _agent: &PeerId, _connection: ConnectionId) -> Option<Peer> {
        None
    }

    fn is_connected(&self, _agent: &PeerId) -> bool {
        false
    }

    fn redact(&self, _agent: &PeerId, _procedure: &str) -> Vec<String> {
        let pin = self.listed.load(Ordering::SeqCst).then(|| "kwargs.pin".to_owned());
        pin.into_iter().collect()
    }

    fn secretive(&self) -> Vec<PeerId> {
        self.listed.load(Ordering::SeqCst).then(|| peer("a")).into_iter().collect()
    }

    fn disconnect(&self, _agent: &PeerId, _connection: ConnectionId, _why: &str) {}

    fn disconnect_all(&self, _why: &str) {
        self.sent_away.store(true, Ordering::SeqCst);
    }
}

impl Callbacks for Away {
    fn deliver(&self, _: JobId, _: u32, _: Callback) -> BoxFuture<'static, Result<(), NotTaken>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// An engine with a store on disk, in which a call waits half a second for space.
struct Rig {
    folder: TempDir,
    store: Arc<Sqlite>,
    faults: Faults,
    around: Arc<Away>,
    engine: Engine,
    running: Running,
    /// Whether the store had the process end.
    ended: Arc<AtomicBool>,
    tracker: TaskTracker,
}

impl Rig {
    async fn start() -> Self {
        let folder = private_folder();
        let (around, ended) = (Arc::new(Away::default()), Arc::new(AtomicBool::new(false)));
        let last_word = ended.clone();
        let abort = AbortHook::new(move |_word| last_word.store(true, Ordering::SeqCst));
        let options = Options { full_patience: Duration::from_millis(500), abort, ..small() };
        let faults = options.faults.clone();
        let store = Arc::new(Sqlite::open(folder.path(), options).unwrap());
        let numbers = EngineOptions { settings: Settings::default(), offer_timeout: Duration::from_secs(60) };
        let (engine, running, _known) =
            Engine::start(store.clone(), around.clone(), around.clone(), numbers).await.unwrap();
        // everything that is stored of the start is stored before the disk is full
        engine.submit(new_job(None)).await.unwrap();
        Self { folder, store, faults, around, engine, running, ended, tracker: TaskTracker::new() }
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

/// What the list said is in a turn that is lost, and the agent does not come back to say it again.
#[tokio::test]
async fn a_list_that_became_known_in_a_lost_turn_masks_all_the_same() {
    let rig = Rig::start().await;
    let mut job = new_job(None);
    let spec = JobSpec { kwargs: RawMap::new().text("pin", "1234").finish(), ..JobSpec::clone(&job.spec) };
    job.spec = Arc::new(spec);
    let job = rig.engine.submit(job).await.unwrap().job;
    rig.faults.set_full(true);
    rig.around.listed.store(true, Ordering::SeqCst);
    rig.engine.listed(peer("a"));
    rig.until("the turn is lost", async || rig.around.sent_away.load(Ordering::SeqCst)).await;
    rig.faults.set_full(false);
    rig.engine.cancel(Scope::Job(job), None, false, peer("ada").into()).await.unwrap();
    let job = rig.store.job(job).await.unwrap().unwrap();
    assert_eq!(job.spec.kwargs.decode::<Value>().unwrap(), json!({"pin": "***"}));
    rig.assert_whole().await;
}

/// The store takes changes again before it is read, and the machine that was ahead of it must make none.
#[tokio::test]
async fn a_stop_while_the_store_cannot_be_read_leaves_nothing_to_the_machine_of_before() {
    let rig = Rig::start().await;
    // a row without which nobody may go on: who it shuts out is not known
    let beside = rusqlite::Connection::open(rig.folder.path().join(DATABASE)).unwrap();
    let row =
        "INSERT INTO denied (role, id, certificate, at_ms, revoked_by) VALUES ('nobody', 'a', '', 1, 'ada')";
    beside.execute(row, []).unwrap();
    rig.faults.set_full(true);
    let lost = rig.tracker.spawn({
        let engine = rig.engine.clone();
        async move { engine.submit(new_job(None)).await }
    });
    rig.until("the turn is lost", async || rig.around.sent_away.load(Ordering::SeqCst)).await;
    rig.faults.set_full(false);
    assert!(is_full(&lost.await.unwrap()));
    rig.until("there is room", async || rig.store.room() == Room::Plenty).await;
    let mut late = Box::pin(rig.engine.submit(new_job(None)));
    assert!((&mut late).now_or_never().is_none(), "it stands in line");
    rig.running.stop().await;
    assert!(late.await.is_err(), "acknowledged by a machine that did not know what is on disk");
    rig.store.close().await;
    assert!(!rig.ended.load(Ordering::SeqCst), "it built on what was lost");
    let events: i64 = beside.query_row("SELECT count(*) FROM event", [], |row| row.get(0)).unwrap();
    let last: i64 = beside.query_row("SELECT max(n) FROM event", [], |row| row.get(0)).unwrap();
    let jobs: i64 = beside.query_row("SELECT count(*) FROM job", [], |row| row.get(0)).unwrap();
    assert_eq!((events, jobs), (last, 1));
}
