//! What the tests of drivers share: a service that notes what happens to it, ends of connections, a log that is kept.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redpoll_common::identity::Identity;
use redpoll_common::session::terms::Liveness;
use redpoll_common::session::{CloseReason, StopReason, Terms};
use redpoll_common::wire::{Fault, Limits, Message, Notification, Raw, codec};
use redpoll_net::driver::{DriverOptions, drive};
use redpoll_net::memory;
use redpoll_net::service::{CallContext, OutputError, Running, Service, stop_fault};
use redpoll_net::transport::{BoxConnection, PeerInfo, receive, send};
use redpoll_net::{Call, Peer};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// What has happened to a [`Probe`] service.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) started: AtomicUsize,
    pub(crate) running: AtomicUsize,
    pub(crate) values: AtomicUsize,
    pub(crate) notified: AtomicUsize,
    pub(crate) stops: Mutex<Vec<StopReason>>,
    pub(crate) output: Mutex<Vec<OutputError>>,
}

impl Notes {
    pub(crate) fn started(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }

    /// Futures of requests that exist.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    pub(crate) fn values(&self) -> usize {
        self.values.load(Ordering::SeqCst)
    }

    pub(crate) fn stops(&self) -> Vec<StopReason> {
        self.stops.lock().unwrap().clone()
    }
}

struct InProgress(Arc<Notes>);

impl InProgress {
    fn new(notes: &Arc<Notes>) -> Self {
        notes.running.fetch_add(1, Ordering::SeqCst);
        Self(notes.clone())
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Serves what its methods are called.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    pub(crate) notes: Arc<Notes>,
}

impl Service for Probe {
    fn start(&self, call: CallContext) -> Running {
        self.notes.started.fetch_add(1, Ordering::SeqCst);
        let notes = self.notes.clone();
        assert!(call.method != "panic at once", "as asked");
        let graceful = call.method.starts_with("graceful");
        let here = InProgress::new(&self.notes);
        let answer = Box::pin(async move {
            let _here = here;
            serve(&notes, call).await
        });
        Running { answer, graceful }
    }

    fn notified(&self, _from: &PeerInfo, notification: Notification) {
        assert!(notification.kind != "panic", "as asked");
        self.notes.notified.fetch_add(1, Ordering::SeqCst);
    }
}

async fn serve(notes: &Arc<Notes>, call: CallContext) -> Result<Raw, Fault> {
    match call.method.as_str() {
        "echo" => Ok(call.args),
        "wait" => std::future::pending().await,
        "graceful wait" => {
            let reason = call.stop.stopped().await;
            notes.stops.lock().unwrap().push(reason);
            Err(stop_fault(reason))
        }
        "panic later" => {
            tokio::task::yield_now().await;
            panic!("as asked");
        }
        // numbered values of so many bytes, until there are enough or nobody takes them
        "values" | "graceful values" => {
            let (count, len): (u32, usize) = call.args.decode().unwrap();
            for n in 0..count {
                call.output.progress(u64::from(n), Some(u64::from(count)), Raw::nil());
                match call.output.value(Raw::encode(&(n, "x".repeat(len))).unwrap()).await {
                    Ok(()) => notes.values.fetch_add(1, Ordering::SeqCst),
                    Err(error) => {
                        notes.output.lock().unwrap().push(error);
                        break;
                    }
                };
            }
            Ok(Raw::text("done"))
        }
        "progress" => {
            for n in 1..=10_000 {
                call.output.progress(n, Some(10_000), Raw::nil());
            }
            Ok(Raw::nil())
        }
        other => panic!("no such method: {other}"),
    }
}

pub(crate) fn terms() -> Terms {
    Terms {
        protocol: 1,
        limits: Limits::default(),
        liveness: Liveness::default(),
        peer_version: "test".into(),
        peer_caps: Vec::new(),
    }
}

/// Terms without pings, where the clock is to stand still.
pub(crate) fn quiet() -> Terms {
    Terms { liveness: Liveness { ping: None, dead: None }, ..terms() }
}

pub(crate) fn agent() -> PeerInfo {
    memory::peer(Identity::parse("spiffe://home/agent/web-1").unwrap())
}

pub(crate) fn manager() -> PeerInfo {
    memory::peer(Identity::parse("spiffe://home/manager/m-1").unwrap())
}

/// One end with its driver.
pub(crate) struct End {
    pub(crate) peer: Peer,
    pub(crate) driver: JoinHandle<CloseReason>,
    pub(crate) notes: Arc<Notes>,
    pub(crate) tracker: TaskTracker,
}

impl End {
    pub(crate) fn new(connection: BoxConnection, terms: &Terms, options: DriverOptions) -> Self {
        let probe = Probe::default();
        let notes = probe.notes.clone();
        let tracker = TaskTracker::new();
        let (peer, driver) = drive(connection, terms.clone(), Arc::new(probe), options, tracker.clone());
        let driver = tracker.spawn(driver);
        Self { peer, driver, notes, tracker }
    }

    /// Nothing runs any more.
    pub(crate) async fn check_over(self) -> CloseReason {
        let reason = self.driver.await.unwrap();
        self.tracker.close();
        tokio::time::timeout(SECOND, self.tracker.wait()).await.expect("a task is left");
        assert_eq!(self.notes.running(), 0);
        assert_eq!(self.peer.closed().await, reason);
        reason
    }
}

pub(crate) fn options(seed: u64) -> DriverOptions {
    DriverOptions { seed, ..DriverOptions::default() }
}

/// Two ends of one connection.
pub(crate) fn ends(terms: &Terms) -> (End, End) {
    let (one, other) = memory::pair(agent(), manager());
    (End::new(one, terms, options(1)), End::new(other, terms, options(2)))
}

/// The same over frames in a pipe of so many bytes.
pub(crate) fn piped(terms: &Terms, pipe: usize) -> (End, End) {
    let (one, other) = memory::framed_pair(agent(), manager(), pipe);
    (End::new(one, terms, options(1)), End::new(other, terms, options(2)))
}

/// An end, and the bare connection of a peer that does as the test says.
pub(crate) fn bare(terms: &Terms, pipe: Option<usize>) -> (End, BoxConnection) {
    let (one, mut other) = match pipe {
        None => memory::pair(agent(), manager()),
        Some(pipe) => memory::framed_pair(agent(), manager(), pipe),
    };
    other.set_payload_limit(terms.frame_limit());
    (End::new(one, terms, options(1)), other)
}

pub(crate) fn call(method: &str) -> Call {
    Call::new(method, 30 * SECOND)
}

pub(crate) fn values(method: &str, count: u32, len: usize) -> Call {
    call(method).with_args(Raw::encode(&(count, len)).unwrap())
}

pub(crate) fn request(id: &str, method: &str, args: Raw) -> Message {
    Message::Request(redpoll_common::wire::Request {
        id: redpoll_common::ids::RequestId::parse(id).unwrap(),
        method: method.into(),
        args,
        kwargs: Raw::empty_map(),
        timeout_ms: None,
        trace: None,
        operator: None,
        roles: None,
    })
}

pub(crate) async fn say(connection: &mut BoxConnection, message: &Message) {
    send(&mut **connection, codec::encode(message, 1)).await.unwrap();
}

pub(crate) async fn hear(connection: &mut BoxConnection) -> Option<Message> {
    Some(codec::decode(&receive(&mut **connection).await?.ok()?).unwrap())
}

/// Waits for a condition that other tasks bring about; the clock may move on for it.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never: {what}");
}

/// Keeps the lines that this thread logs while it lives.
pub(crate) struct Log {
    lines: Lines,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Log {
    pub(crate) fn count(&self, level: tracing::Level) -> usize {
        self.lines(level).len()
    }

    /// The fields of each line of a level, as `message=… name=…`.
    pub(crate) fn lines(&self, level: tracing::Level) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|(of, _)| *of == level).map(|(_, text)| text.clone()).collect()
    }
}

pub(crate) fn log() -> Log {
    let lines = Lines::default();
    let guard = tracing::subscriber::set_default(Keeping { lines: lines.clone() });
    Log { lines, _guard: guard }
}

type Lines = Arc<Mutex<Vec<(tracing::Level, String)>>>;

struct Keeping {
    lines: Lines,
}

/// Writes fields down.
#[derive(Default)]
struct Fields(String);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!("{}={value:?} ", field.name()));
    }
}

impl tracing::Subscriber for Keeping {
    fn enabled(&self, _metadata: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _span: &tracing::span::Id, _values: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _span: &tracing::span::Id, _follows: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.lines.lock().unwrap().push((*event.metadata().level(), fields.0));
    }

    fn enter(&self, _span: &tracing::span::Id) {}

    fn exit(&self, _span: &tracing::span::Id) {}
}
