//! A stop waits for the callbacks under way, whose answers count, and begins no others.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use redpoll_common::api::submit::SubmitArguments;
use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::job::{Callback, JobId, Submitter};
use redpoll_manager::engine::{Agents, Callbacks, Engine, EngineOptions, NewJob, Running, digest};
use redpoll_manager::store::{AbortHook, Faults, Memory, Store};
use redpoll_manager_core::jobs::record::CallbackState;
use redpoll_manager_core::jobs::{NotTaken, Scope, Settings};
use redpoll_net::Peer;
use tokio::sync::oneshot;

/// Nobody is connected, and a callback lasts until the test says how it went.
#[derive(Debug, Default)]
struct Around(Mutex<Vec<oneshot::Sender<Result<(), NotTaken>>>>);

impl Agents for Around {
    fn peer(&self, _agent: &PeerId, _connection: ConnectionId) -> Option<Peer> {
        None
    }

    fn is_connected(&self, _agent: &PeerId) -> bool {
        false
    }

    fn disconnect(&self, _agent: &PeerId, _connection: ConnectionId, _why: &str) {}

    fn disconnect_all(&self, _why: &str) {}
}

impl Callbacks for Around {
    fn deliver(&self, _: JobId, _: u32, _: Callback) -> BoxFuture<'static, Result<(), NotTaken>> {
        let (tell, told) = oneshot::channel();
        self.0.lock().unwrap().push(tell);
        Box::pin(async move { told.await.unwrap_or_else(|_gone| Err("nobody says".into())) })
    }
}

impl Around {
    /// Waits for so many callbacks. One thread runs everything.
    async fn begun(&self, count: usize) {
        while self.0.lock().unwrap().len() < count {
            tokio::task::yield_now().await;
        }
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

struct Rig {
    store: Arc<Memory>,
    around: Arc<Around>,
    engine: Engine,
    running: Running,
}

impl Rig {
    async fn start() -> Self {
        let store = Arc::new(Memory::new(Faults::default(), AbortHook::default()));
        let around = Arc::new(Around::default());
        let options = EngineOptions { settings: Settings::default(), offer_timeout: Duration::from_secs(60) };
        let (engine, running, _known) =
            Engine::start(store.clone(), around.clone(), around.clone(), options).await.unwrap();
        Self { store, around, engine, running }
    }

    /// A job with a callback, which is cancelled before it ran anywhere.
    async fn ended(&self) -> JobId {
        let mut asked = SubmitArguments::new(vec!["a".to_owned()], "sys.ping");
        asked.spec.callback = Some(Callback::Webhook("http://127.0.0.1:1/".to_owned()));
        let ada = PeerId::parse("ada").unwrap();
        let job = NewJob {
            submitter: ada.clone().into(),
            digest: digest::of(&asked),
            spec: Arc::new(asked.spec),
            agents: vec![PeerId::parse("a").unwrap()],
            admin: Arc::default(),
            idempotent: false,
            redact: Arc::default(),
        };
        let job = self.engine.submit(job).await.unwrap().job;
        self.engine.cancel(Scope::Job(job), None, false, Submitter::operator(&ada)).await.unwrap();
        job
    }

    async fn state(&self, job: JobId) -> CallbackState {
        self.store.callbacks(job).await.unwrap().first().unwrap().state
    }
}

#[tokio::test]
async fn a_callback_under_way_at_a_stop_is_waited_for_and_its_answer_counts() {
    let rig = Rig::start().await;
    let job = rig.ended().await;
    rig.around.begun(1).await;
    let mut callbacks = Box::pin(rig.running.callbacks());
    assert!((&mut callbacks).now_or_never().is_none(), "one is under way");
    let tell = rig.around.0.lock().unwrap().remove(0);
    tell.send(Ok(())).unwrap();
    callbacks.await;
    rig.engine.queues(None, 1).await.unwrap();
    assert_eq!(rig.running.callbacks_under_way(), 0);
    let Rig { store, running, .. } = rig;
    running.stop().await;
    assert_eq!(store.callbacks(job).await.unwrap().first().unwrap().state, CallbackState::Delivered);
}

#[tokio::test]
async fn a_callback_that_ends_in_no_time_holds_up_no_stop_and_is_left_to_the_next_start() {
    let rig = Rig::start().await;
    let under_way = rig.ended().await;
    rig.around.begun(1).await;
    assert!(rig.running.callbacks().now_or_never().is_none(), "one is under way");
    assert_eq!(rig.running.callbacks_under_way(), 1);
    let late = rig.ended().await;
    // everything that was decided was done
    rig.engine.release(late, Submitter::operator(&PeerId::parse("ada").unwrap())).await.unwrap_err();
    assert_eq!(rig.around.count(), 1, "another one began, and would be cut");
    assert_eq!(rig.state(late).await, CallbackState::Pending);
    let Rig { store, around, running, .. } = rig;
    running.stop().await;
    let callbacks = store.callbacks(under_way).await.unwrap();
    let callback = callbacks.first().unwrap();
    assert_eq!((callback.state, callback.tries), (CallbackState::Pending, 0), "it is tried again");
    assert!(around.0.lock().unwrap().remove(0).is_closed(), "it goes on");
}
