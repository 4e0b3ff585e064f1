//! A manager that plays a script: real TLS, real handshake, real driver, and no agents behind it.

mod jobs;
mod lists;
mod pages;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};

use redpoll_certs::credentials::load_identity_files;
use redpoll_certs::expect::Expect;
use redpoll_certs::store;
use redpoll_common::api::revoked::{Revocation, RevokeAnswer, RevokeArguments};
use redpoll_common::api::{
    AgentList, AgentListArguments, AgentState, AgentSummary, CallArguments, NotifyArguments, PingAnswer,
    Status, method,
};
use redpoll_common::identity::Role;
use redpoll_common::ids::PeerId;
use redpoll_common::session::StopReason;
use redpoll_common::session::terms::{Liveness, Offer};
use redpoll_common::wire::{Bye, ByeCode, Fault, FaultCode, Limits, Notification, Raw};
use redpoll_net::service::{Running, stop_fault};
use redpoll_net::tls::{ListenOptions, TlsListener, TlsServer};
use redpoll_net::transport::{Accepted, Listener, PeerInfo};
use redpoll_net::{CallContext, DriverOptions, Service, drive, greet};
use rmpv::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const SOON: Duration = Duration::from_secs(10);
const STUCK: Duration = Duration::from_millis(200);
/// How long a peer may be silent. Short, so that a test can wait for longer.
pub(crate) const DEAD: Duration = Duration::from_secs(3);

/// What the manager saw.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    /// A call that hangs was begun.
    Hanging,
    /// A call that floods its caller got no more credit for a while.
    Stuck,
    /// A call was told to stop.
    Stopped(StopReason),
    /// A question about jobs, queues or events: its method and arguments.
    Asked(String, Value),
    /// A notification was handed over.
    Notified(String, Value),
}

/// A running manager; it ends with the test.
pub(crate) struct Scripted {
    pub(crate) address: String,
    pub(crate) seen: mpsc::Receiver<Seen>,
    go: Arc<Semaphore>,
    _runtime: tokio::runtime::Runtime,
}

impl Scripted {
    /// Starts on the authority in `ca`, to which a manager's certificate is added.
    pub(crate) fn start(ca: &Path) -> Self {
        let id = PeerId::parse("m1").unwrap();
        let now = SystemTime::now();
        let issued = store::issue(ca, Role::Manager, &id, &Default::default(), now).unwrap();
        let credentials = load_identity_files(&issued.files, &Expect::role(Role::Manager), now).unwrap();
        let server = Arc::new(TlsServer::new(credentials).unwrap());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (sender, seen) = mpsc::sync_channel(64);
        let listener = runtime.block_on(async move {
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            TlsListener::bind(any, server, ListenOptions::default()).unwrap()
        });
        let address = listener.local_address();
        let go = Arc::new(Semaphore::new(0));
        runtime.spawn(serve(listener, sender, go.clone()));
        Self { address, seen, go, _runtime: runtime }
    }

    /// Lets a call of `stream` go on after its progress.
    pub(crate) fn go_on(&self) {
        self.go.add_permits(1);
    }

    /// The arguments of the next question, which is this one.
    pub(crate) fn asked(&self, method: &str) -> Value {
        let seen = self.next();
        let Seen::Asked(found, arguments) = seen else { panic!("{method} was expected, not {seen:?}") };
        assert_eq!(found, method);
        arguments
    }

    /// Asserts that it sees nothing more.
    pub(crate) fn nothing_more(&self) {
        assert_eq!(self.seen.try_recv().ok(), None);
    }

    /// The next thing that it sees.
    pub(crate) fn next(&self) -> Seen {
        self.seen.recv_timeout(SOON).unwrap()
    }
}

async fn serve(mut listener: TlsListener, seen: mpsc::SyncSender<Seen>, go: Arc<Semaphore>) {
    let tracker = TaskTracker::new();
    let book = Arc::new(jobs::Book::default());
    let offer = Offer {
        version: "0.0.0".into(),
        manager: "m1".into(),
        cluster: "home".into(),
        limits: Limits::default(),
        liveness: Liveness { ping: Some(DEAD / 10), dead: Some(DEAD) },
        wall_ms: 0,
    };
    while let Ok(incoming) = listener.accept().await {
        let Ok(Some(connection)) = incoming.handshake.await.map(Accepted::session) else { continue };
        let Ok((connection, admission)) = greet::expect_hello(connection, SOON).await else { continue };
        if book.shut.load(Ordering::SeqCst) {
            greet::refuse(connection, admission, Bye::new(ByeCode::Revoked, "as the script says")).await;
            continue;
        }
        let (connection, terms) = greet::accept(connection, admission, &offer, SOON).await.unwrap();
        let cut = CancellationToken::new();
        let script =
            Arc::new(Script { seen: seen.clone(), cut: cut.clone(), go: go.clone(), book: book.clone() });
        let (_peer, driver) = drive(connection, terms, script, DriverOptions::default(), tracker.clone());
        tracker.spawn(async move {
            tokio::select! {
                _ = driver => {}
                () = cut.cancelled() => {}
            }
        });
    }
}

#[derive(Debug, Clone)]
struct Script {
    seen: mpsc::SyncSender<Seen>,
    cut: CancellationToken,
    go: Arc<Semaphore>,
    book: Arc<jobs::Book>,
}

impl Service for Script {
    fn start(&self, call: CallContext) -> Running {
        Running { answer: Box::pin(answer(call, self.clone())), graceful: true }
    }

    fn notified(&self, _from: &PeerInfo, _notification: Notification) {}
}

async fn answer(call: CallContext, script: Script) -> Result<Raw, Fault> {
    let no = |code| Fault::new(code, "as the script says");
    Ok(match call.method.as_str() {
        method::CALL => return procedure(call, script).await,
        method::NOTIFY => {
            let told = NotifyArguments::read(&call.kwargs).unwrap();
            let silent = told.kind == "silent";
            script.seen.send(Seen::Notified(told.kind, value(&told.data))).unwrap();
            if silent {
                std::future::pending::<()>().await;
            }
            Raw::nil()
        }
        // the manager's own
        "sys.procedures" => {
            raw(r#"{"procedures":[{"name":"p","version":1,"description":"d","args":{"type":"object"}},
                {"name":"site.notify","version":2,"description":"d","args":{"type":"object"},"deprecated":"use\u001b[2J @3"}]}"#)
        }
        "site.notify" => Raw::nil(),
        method::STATUS => {
            let status = Status { manager: "m1".into(), uptime_ms: 90_000, ..Status::default() };
            Raw::encode(&status).unwrap()
        }
        method::AGENTS_LIST if asks_for_new(&call.kwargs) => {
            raw(r#"{"agents":[{"id":"new-1","state":"asleep","mood":"new"}]}"#)
        }
        method::AGENTS_REVOKED | method::OPERATORS_REVOKED => {
            raw(r#"{"revoked":[{"id":"new-1","at_ms":1000,"by":"ada","mood":"new"}]}"#)
        }
        method::OPERATORS_LIST => raw(r#"{"operators":[{"id":"new-1","sessions":1,"mood":"new"}]}"#),
        method::AGENTS_LIST => Raw::encode(&page(&call.kwargs.decode().unwrap())).unwrap(),
        method::AGENTS_RESTORE | method::OPERATORS_RESTORE => Raw::nil(),
        method::AGENTS_SHOW => return Err(no(FaultCode::UnknownAgent)),
        method::AGENTS_PING => Raw::encode(&PingAnswer { round_trips_us: vec![1000, 3000, 2000] }).unwrap(),
        method::AGENTS_RELOAD | method::PROCEDURES_ENABLE | method::PROCEDURES_DISABLE => {
            let asked = value(&call.kwargs);
            let answers = rpctl::value::field(&asked, "agent").and_then(Value::as_str) == Some("db-1");
            script.seen.send(Seen::Asked(call.method.clone(), asked)).unwrap();
            if !answers {
                std::future::pending::<()>().await;
            }
            match call.method.as_str() {
                method::AGENTS_RELOAD => raw(
                    r#"{"offered":7,"added":1,"changed":0,"removed":0,"problems":["x.toml: what is this?"]}"#,
                ),
                _ => raw(r#"{"procedure":"p@1","enabled":false,"changed":true}"#),
            }
        }
        method::OPERATORS_REVOKE => {
            let asked: RevokeArguments = call.kwargs.decode().unwrap();
            script.seen.send(Seen::Asked(call.method.clone(), value(&call.kwargs))).unwrap();
            match asked.id.as_str() {
                "halfway" => return Err(no(FaultCode::Unsettled)),
                "silent" => std::future::pending().await,
                id => {
                    let ending = u64::from(id == "stuck");
                    Raw::encode(&RevokeAnswer { changed: true, cut: 1, ending, known: true }).unwrap()
                }
            }
        }
        name if ["rp.jobs.", "rp.queues.", "rp.events."].iter().any(|family| name.starts_with(family)) => {
            script.seen.send(Seen::Asked(name.to_owned(), value(&call.kwargs))).unwrap();
            return jobs::answer(call, script).await;
        }
        _ => return Err(no(FaultCode::UnknownMethod)),
    })
}

/// Whether it is about the agents of a newer manager.
fn asks_for_new(kwargs: &Raw) -> bool {
    let asked: AgentListArguments = kwargs.decode().unwrap();
    asked.id.is_some_and(|id| id.starts_with("new"))
}

/// Three agents, one a page. Of `old-1` and `old-2` the second is revoked, of `gone-1` all there is.
fn page(arguments: &AgentListArguments) -> AgentList {
    let old = ["gone-1", "old-1", "old-2"];
    let asks_for_old =
        arguments.id.as_deref().is_some_and(|id| id.starts_with("old") || id.starts_with("gone"));
    let all = if asks_for_old { old } else { ["db-1", "web-1", "web-2"] };
    let prefix = arguments.id.as_deref().map(|glob| glob.trim_end_matches('*'));
    let mut left = all
        .into_iter()
        .filter(|id| prefix.is_none_or(|prefix| id.starts_with(prefix)))
        .filter(|id| arguments.after.as_deref().is_none_or(|after| *id > after));
    let agents: Vec<_> = left
        .next()
        .map(|id| AgentSummary {
            id: id.into(),
            state: AgentState::Connected,
            address: "192.0.2.1:1".into(),
            version: "0.0.0\u{1b}[2J".into(),
            protocol: 1,
            policy: None,
            since_ms: 1000,
            reason: None,
            revoked: (id == "gone-1" || id == "old-2").then(|| Revocation {
                at_ms: 1000,
                by: "ada".into(),
                why: None,
            }),
        })
        .into_iter()
        .collect();
    let next = left.next().and_then(|_| agents.first()).map(|agent| agent.id.clone());
    AgentList { agents, next }
}

fn raw(json: &str) -> Raw {
    rpctl::value::encode(&rpctl::value::from_json(json).unwrap()).unwrap()
}

fn value(raw: &Raw) -> Value {
    rpctl::value::decode(raw)
}

async fn procedure(call: CallContext, script: Script) -> Result<Raw, Fault> {
    let seen = &script.seen;
    let asked = CallArguments::read(&call.kwargs).unwrap();
    match asked.procedure.as_str() {
        "sys.echo" => {
            let both = vec![("args".into(), value(&asked.args)), ("kwargs".into(), value(&asked.kwargs))];
            Ok(rpctl::value::encode(&Value::Map(both)).unwrap())
        }
        "sys.procedures" => {
            Ok(raw(r#"[{"name":"p","version":1,"description":"d","args":{"type":"object"}}]"#))
        }
        "file.stat" if value(&asked.kwargs).to_string().contains("/impossible") => {
            let size = u64::MAX;
            Ok(raw(&format!(r#"{{"type":"file","size":{size},"mode":420,"mtime_ns":1,"inode":1}}"#)))
        }
        "file.stat" => Ok(raw(r#"{"type":"file","size":9000,"mode":420,"mtime_ns":1,"inode":1}"#)),
        "file.read" => {
            call.output.value(raw(r#"{"$bin":"ZGF0YQo="}"#)).await.unwrap();
            let reason = call.stop.stopped().await;
            seen.send(Seen::Stopped(reason)).unwrap();
            Err(stop_fault(reason))
        }
        "stream" => {
            call.output.value(raw("1")).await.unwrap();
            call.output.progress(1, Some(2), Raw::nil());
            script.go.acquire().await.unwrap().forget();
            call.output.value(raw("2")).await.unwrap();
            Ok(raw("\"end\""))
        }
        "exec.run" => {
            call.output.value(raw(r#"{"stream":"stdout","data":{"$bin":"G1szMW1vdXQK"}}"#)).await.unwrap();
            call.output.value(raw(r#"{"stream":"stderr","data":{"$bin":"ZXJyCg=="}}"#)).await.unwrap();
            let fault = Fault::new(FaultCode::Failed, "sh exited with 3");
            Err(fault.with_data(raw(r#"{"exit":3,"signal":null}"#)))
        }
        "hang" => {
            call.output.value(raw("\"begun\"")).await.unwrap();
            seen.send(Seen::Hanging).unwrap();
            let reason = call.stop.stopped().await;
            seen.send(Seen::Stopped(reason)).unwrap();
            Err(stop_fault(reason))
        }
        "fails_late" => {
            call.output.value(raw("\"begun\"")).await.unwrap();
            script.go.acquire().await.unwrap().forget();
            Err(Fault::new(FaultCode::Failed, "as the script says"))
        }
        "goes_on" => {
            call.output.value(raw("\"begun\"")).await.unwrap();
            script.go.acquire().await.unwrap().forget();
            call.output.progress(1, None, Raw::nil());
            let reason = call.stop.stopped().await;
            seen.send(Seen::Stopped(reason)).unwrap();
            Err(stop_fault(reason))
        }
        "deaf" => {
            seen.send(Seen::Hanging).unwrap();
            std::future::pending().await
        }
        "flood" => flood(call, seen).await,
        "lost" => {
            script.cut.cancel();
            std::future::pending().await
        }
        other => Err(Fault::new(FaultCode::from_wire(other), "as the script says")),
    }
}

/// Sends values until told to stop; says once when nobody takes them.
async fn flood(call: CallContext, seen: &mpsc::SyncSender<Seen>) -> Result<Raw, Fault> {
    let mut told = false;
    while call.stop.reason().is_none() {
        let sending = call.output.value(raw("\"again and again\""));
        match tokio::time::timeout(STUCK, sending).await {
            Ok(Ok(())) => {}
            Ok(Err(_ended)) => break,
            Err(_no_credit) => {
                if !std::mem::replace(&mut told, true) {
                    seen.send(Seen::Stuck).unwrap();
                }
            }
        }
    }
    seen.send(Seen::Stopped(call.stop.stopped().await)).unwrap();
    Ok(Raw::nil())
}
