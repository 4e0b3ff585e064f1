//! The engine commits, then acts: while a commit is on its way nobody is answered, nothing is offered, nothing acknowledged.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use redpoll_common::api::submit::SubmitArguments;
use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::job::wire::{Report, Resume, RunRef, RunReport};
use redpoll_common::job::{Attempt, Callback, Dno, Ending, Item, JobId, Outcome, RunKey, Submitter};
use redpoll_common::wire::{Raw, RawMap};
use redpoll_manager::clock::Clock;
use redpoll_manager::engine::{Agents, Callbacks, Engine, EngineOptions, NewJob, digest};
use redpoll_manager::store::chain::{Begin, Verified};
use redpoll_manager::store::{
    AbortHook, AttemptRecord, CommitError, Counts, Durable, Faults, Filter, Memory, Oldest, Page, ReadError,
    Room, Store, StoredEvent,
};
use redpoll_manager_core::jobs::record::{CallbackRecord, Change, JobRecord, Progress, Records, RunRecord};
use redpoll_manager_core::jobs::{NotTaken, Scope, Settings, Whose};
use redpoll_net::Peer;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

type Read<'a, T> = BoxFuture<'a, Result<T, ReadError>>;
type Held = Vec<(Vec<Change>, oneshot::Sender<Result<(), CommitError>>)>;

/// A store in memory whose commits take as long as the test wants.
#[derive(Debug)]
struct Gated {
    inner: Memory,
    /// What was handed over while the gate is closed; `None` while it is open.
    held: Mutex<Option<Held>>,
}

impl Gated {
    fn close_gate(&self) {
        *self.held.lock().unwrap() = Some(Vec::new());
    }

    fn waiting(&self) -> usize {
        self.held.lock().unwrap().as_ref().map_or(0, Vec::len)
    }

    async fn open_gate(&self) {
        let held = mem::take(&mut *self.held.lock().unwrap());
        for (changes, told) in held.unwrap_or_default() {
            let committed = self.inner.commit(changes).await;
            told.send(committed).unwrap();
        }
    }
}

impl Store for Gated {
    fn enqueue(&self, changes: Vec<Change>) -> BoxFuture<'_, Durable> {
        match &mut *self.held.lock().unwrap() {
            Some(held) => {
                let (told, durable) = Durable::pending();
                held.push((changes, told));
                Box::pin(std::future::ready(durable))
            }
            None => self.inner.enqueue(changes),
        }
    }

    fn clock(&self) -> &Clock {
        self.inner.clock()
    }

    fn room(&self) -> Room {
        self.inner.room()
    }

    fn recover(&self) -> Read<'_, Records> {
        self.inner.recover()
    }

    fn give_up(&self, last_word: &str) {
        self.inner.give_up(last_word);
    }

    fn job(&self, id: JobId) -> Read<'_, Option<JobRecord>> {
        self.inner.job(id)
    }

    fn by_key(&self, submitter: &Submitter, key: &str) -> Read<'_, Option<JobRecord>> {
        self.inner.by_key(submitter, key)
    }

    fn list(&self, filter: Filter, before: Option<JobId>, limit: usize) -> Read<'_, Page> {
        self.inner.list(filter, before, limit)
    }

    fn runs(&self, job: JobId, after: Option<PeerId>, limit: usize) -> Read<'_, Vec<RunRecord>> {
        self.inner.runs(job, after, limit)
    }

    fn run(&self, key: &RunKey) -> Read<'_, Option<RunRecord>> {
        self.inner.run(key)
    }

    fn attempts(&self, key: &RunKey) -> Read<'_, Vec<AttemptRecord>> {
        self.inner.attempts(key)
    }

    fn items_within(
        &self,
        key: &RunKey,
        attempt: Attempt,
        from: u64,
        limit: (usize, usize),
    ) -> Read<'_, Vec<Item>> {
        self.inner.items_within(key, attempt, from, limit)
    }

    fn next_item(&self, key: &RunKey, attempt: Attempt) -> Read<'_, u64> {
        self.inner.next_item(key, attempt)
    }

    fn progress(&self, key: &RunKey) -> Read<'_, Option<(Attempt, Progress)>> {
        self.inner.progress(key)
    }

    fn callbacks(&self, job: JobId) -> Read<'_, Vec<CallbackRecord>> {
        self.inner.callbacks(job)
    }

    fn events(&self, since: u64, limit: usize) -> Read<'_, Vec<StoredEvent>> {
        self.inner.events(since, limit)
    }

    fn verify(&self, begin: Begin, until: Option<u64>, limit: usize) -> Read<'_, Verified> {
        self.inner.verify(begin, until, limit)
    }

    fn counts(&self) -> Read<'_, Counts> {
        self.inner.counts()
    }

    fn oldest(&self, whose: &Whose, limit: usize, count: bool) -> Read<'_, Oldest> {
        self.inner.oldest(whose, limit, count)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}

/// Agents without sessions; counts how often something was to be sent to one.
#[derive(Debug, Default)]
struct Sent(AtomicUsize);

impl Agents for Sent {
    fn peer(&self, _agent: &PeerId, _connection: ConnectionId) -> Option<Peer> {
        self.0.fetch_add(1, Ordering::SeqCst);
        None
    }

    fn is_connected(&self, _agent: &PeerId) -> bool {
        true
    }

    fn disconnect(&self, _agent: &PeerId, _connection: ConnectionId, _why: &str) {}

    fn disconnect_all(&self, _why: &str) {}
}

/// One agent that is away, whose list says that nobody may see a pin.
#[derive(Debug)]
struct Secretive;

impl Agents for Secretive {
    fn redact(&self, _agent: &PeerId, _procedure: &str) -> Vec<String> {
        vec!["kwargs.pin".to_owned()]
    }

    fn peer(&self, _agent: &PeerId, _connection: ConnectionId) -> Option<Peer> {
        None
    }

    fn is_connected(&self, _agent: &PeerId) -> bool {
        false
    }

    fn disconnect(&self, _agent: &PeerId, _connection: ConnectionId, _why: &str) {}

    fn disconnect_all(&self, _why: &str) {}
}

impl Callbacks for Sent {
    fn deliver(&self, _: JobId, _: u32, _: Callback) -> BoxFuture<'static, Result<(), NotTaken>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Lets everybody else go on until nothing is left to do but to wait for the gate. One thread runs all of them.
async fn settled(store: &Gated) {
    while store.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// For agent `a`.
fn new_job(kwargs: Raw) -> NewJob {
    let mut asked = SubmitArguments::new(vec!["a".to_owned()], "sys.ping");
    asked.spec.kwargs = kwargs;
    NewJob {
        submitter: PeerId::parse("ada").unwrap().into(),
        digest: digest::of(&asked),
        spec: Arc::new(asked.spec),
        agents: vec![PeerId::parse("a").unwrap()],
        admin: Arc::default(),
        idempotent: false,
        redact: Arc::default(),
    }
}

/// The cancel is in the same turn as the news of the list: nothing waits between the two.
#[tokio::test]
async fn a_job_that_is_cancelled_as_soon_as_a_list_is_known_is_masked_by_it() {
    let store = Arc::new(Memory::new(Faults::default(), AbortHook::default()));
    let options = EngineOptions { settings: Settings::default(), offer_timeout: Duration::from_secs(60) };
    let (engine, _running, _known) =
        Engine::start(store.clone(), Arc::new(Secretive), Arc::new(Sent::default()), options).await.unwrap();
    let job = engine.submit(new_job(RawMap::new().text("pin", "1234").finish())).await.unwrap().job;
    let pin = async || store.job(job).await.unwrap().unwrap().spec.kwargs.decode::<Value>().unwrap();
    assert_eq!(pin().await, json!({"pin": "1234"}), "nobody can know yet");
    engine.listed(PeerId::parse("a").unwrap());
    engine
        .cancel(Scope::Job(job), None, false, Submitter::operator(&PeerId::parse("ada").unwrap()))
        .await
        .unwrap();
    assert_eq!(pin().await, json!({"pin": "***"}));
}

#[tokio::test]
async fn nobody_hears_of_what_is_not_on_disk() {
    let inner = Memory::new(Faults::default(), AbortHook::default());
    let store = Arc::new(Gated { inner, held: Mutex::new(None) });
    let sent = Arc::new(Sent::default());
    let options = EngineOptions { settings: Settings::default(), offer_timeout: Duration::from_secs(60) };
    let (engine, _running, _known) =
        Engine::start(store.clone(), sent.clone(), sent.clone(), options).await.unwrap();
    let agent = PeerId::parse("a").unwrap();
    let resume = Resume { spool: [7; 16], max_dno: Dno(0), last: true, jobs: Vec::new() };
    engine.resume(&agent, ConnectionId(1), resume).await.unwrap();

    store.close_gate();
    let job = new_job(RawMap::new().finish());
    let tracker = TaskTracker::new();
    let submitting = tracker.spawn({
        let engine = engine.clone();
        async move { engine.submit(job).await }
    });
    settled(&store).await;
    assert!(!submitting.is_finished(), "a submit was answered before it was on disk");
    assert_eq!(sent.0.load(Ordering::SeqCst), 0, "a run was offered before its number was on disk");
    store.open_gate().await;
    let job = submitting.await.unwrap().unwrap().job;
    assert_eq!(sent.0.load(Ordering::SeqCst), 1, "and then it is offered");

    store.close_gate();
    let run = RunRef { job, attempt: Attempt(1), dno: Dno(1) };
    let (outcome, started) = (Outcome::Succeeded, Some(true));
    let done = Ending { outcome, started, result: None, fault: None, items: 0, duration_ms: None };
    let report = Report { reports: vec![RunReport { done: Some(done), ..RunReport::about(run) }] };
    let reporting = tracker.spawn(engine.report(&agent, ConnectionId(1), report));
    settled(&store).await;
    assert!(!reporting.is_finished(), "an end was acknowledged before it was on disk");
    store.open_gate().await;
    let answer = reporting.await.unwrap().unwrap();
    assert!(answer.acks.iter().all(|ack| ack.done));
}
