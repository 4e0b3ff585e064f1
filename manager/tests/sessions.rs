//! A manager's sessions over connections within the process: what its peers see of it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: whatever cannot be done is a failure of the test"
)]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use redpoll_common::api::{CallArguments, SwitchAnswer, SwitchArguments, agent_method, method};
use redpoll_common::identity::{Identity, Role};
use redpoll_common::ids::RequestId;
use redpoll_common::session::handshake::SPOKEN;
use redpoll_common::wire::flight::Flight;
use redpoll_common::wire::{AgentHello, Bye, ByeCode, FaultCode, Message, Raw, Request, codec};
use redpoll_config::ManagerConfig;
use redpoll_manager::engine::Engine;
use redpoll_manager::gate::accept_loop;
use redpoll_manager::jobs::start_engine;
use redpoll_manager::methods;
use redpoll_manager::sessions::Sessions;
use redpoll_manager::state::Manager;
use redpoll_net::dial::{DialOptions, connect_once};
use redpoll_net::memory::{self, MemoryNetwork};
use redpoll_net::registry::RegistryService;
use redpoll_net::service::Service;
use redpoll_net::transport::{
    AcceptError, Accepted, BoxConnection, Incoming, Listener, PeerCertificate, PeerInfo, Transport, receive,
    send,
};
use redpoll_net::{DriverOptions, Peer, ProcedureInfo, Registry};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const PATIENCE: Duration = Duration::from_secs(10);

struct World {
    sessions: Arc<Sessions>,
    engine: Engine,
    network: MemoryNetwork,
    tracker: TaskTracker,
    _folder: TempDir,
}

fn identity(uri: &str) -> Identity {
    Identity::parse(uri).unwrap()
}

fn hello(id: &str) -> AgentHello {
    let version = "test".to_owned();
    AgentHello { id: id.to_owned(), version, protocol: Some(SPOKEN), ..AgentHello::default() }
}

impl World {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut config = ManagerConfig::default();
        config.store.path = Some(folder.path().join("store"));
        let manager = Arc::new(Manager::new(identity("spiffe://home/manager/m1"), config));
        let (engine, _running) = start_engine(&manager).await.unwrap();
        let registry = Arc::new(methods::registry(&manager, &engine).unwrap());
        let sessions = Sessions::new(manager, registry, engine.clone());
        let (network, listener) = MemoryNetwork::new(identity("spiffe://home/manager/m1"));
        let tracker = TaskTracker::new();
        tracker.spawn(accept_loop(Box::new(listener), sessions.clone(), CancellationToken::new()));
        Self { sessions, engine, network, tracker, _folder: folder }
    }

    async fn agent(&self, id: &str, registry: Registry) -> Peer {
        let transport = self.network.transport(identity(&format!("spiffe://home/agent/{id}")));
        let service: Arc<dyn Service> = Arc::new(RegistryService(Arc::new(registry)));
        let options = DialOptions {
            hello_timeout: PATIENCE,
            liveness: None,
            driver: DriverOptions::default(),
            backoff: redpoll_common::session::backoff::BackoffOptions::default(),
        };
        connect_once(&transport, hello(id), service, &options, &self.tracker).await.unwrap()
    }

    /// An operator in the hands of the test, past the hello.
    async fn operator(&self) -> BoxConnection {
        let transport = self.network.transport(identity("spiffe://home/operator/ada"));
        let mut connection = transport.connect().await.unwrap();
        say(&mut connection, &Message::AgentHello(Box::new(hello("ada")))).await;
        let Message::ManagerHello(_) = hear(&mut connection).await else { panic!("no hello") };
        connection.set_payload_limit(redpoll_common::wire::DEFAULT_FRAME_LIMIT);
        connection
    }
}

async fn say(connection: &mut BoxConnection, message: &Message) {
    send(&mut **connection, codec::encode(message, redpoll_common::wire::PROTOCOL)).await.unwrap();
}

async fn hear(connection: &mut BoxConnection) -> Message {
    let payload = tokio::time::timeout(PATIENCE, receive(&mut **connection)).await.unwrap();
    codec::decode(&payload.unwrap().unwrap()).unwrap()
}

/// A call of web-1.
fn call(id: &RequestId, procedure: &str, timeout_ms: Option<u64>) -> Request {
    let arguments = CallArguments {
        agent: "web-1".into(),
        procedure: procedure.into(),
        args: Raw::empty_array(),
        kwargs: Raw::empty_map(),
    };
    Request {
        id: id.clone(),
        method: method::CALL.into(),
        args: Raw::empty_array(),
        kwargs: arguments.write(),
        timeout_ms,
        trace: None,
        operator: None,
        roles: None,
    }
}

/// Offers a procedure whose values never end.
fn endless() -> Registry {
    let info = ProcedureInfo::new("endless", "Sends values until nobody takes them.", serde_json::json!({}));
    let run = |call: redpoll_net::CallContext| async move {
        while call.output.value(Raw::text(&"x".repeat(32 * 1024))).await.is_ok() {}
        Ok(Raw::nil())
    };
    Registry::new().with(info, run).unwrap()
}

#[tokio::test]
async fn a_call_whose_values_nobody_takes_ends_as_timed_out_and_not_as_too_large() {
    let world = World::new().await;
    let _agent = world.agent("web-1", endless()).await;
    let mut operator = world.operator().await;
    say(&mut operator, &Message::Request(call(&RequestId::numbered(1, 1), "endless", Some(300)))).await;
    // values come until the credit is spent; the test grants none
    let answer = loop {
        if let Message::Response(answer) = hear(&mut operator).await {
            break answer;
        }
    };
    assert_eq!(answer.result.unwrap_err().code, FaultCode::TimedOut);
    assert_eq!(world.sessions.manager.counters.calls_timed_out.read(), 1);
}

#[tokio::test]
async fn a_cancelled_call_that_is_not_answered_ends_with_the_connection_of_its_caller() {
    let world = World::new().await;
    let (told, mut heard) = watch::channel("nothing");
    let info = ProcedureInfo::new("deaf", "Hears of a cancel and goes on.", serde_json::json!({}));
    let run = move |call: redpoll_net::CallContext| {
        let told = told.clone();
        async move {
            told.send_replace("the call");
            call.stop.stopped().await;
            told.send_replace("the cancel");
            std::future::pending().await
        }
    };
    let _agent = world.agent("web-1", Registry::new().with_graceful(info, run).unwrap()).await;
    let mut operator = world.operator().await;
    let id = RequestId::numbered(1, 1);
    say(&mut operator, &Message::Request(call(&id, "deaf", None))).await;
    heard.wait_for(|what| *what == "the call").await.unwrap();
    say(&mut operator, &Message::Notification(Flight::Cancel { request: id }.encode())).await;
    heard.wait_for(|what| *what == "the cancel").await.unwrap();
    assert_eq!(world.sessions.manager.door.sessions(Role::Operator).len(), 1);
    drop(operator);
    let left = async {
        while !world.sessions.manager.door.sessions(Role::Operator).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    // the agent would be waited for three times as long
    tokio::time::timeout(PATIENCE, left).await.unwrap();
}

#[tokio::test]
async fn who_switched_a_procedure_is_in_the_history_also_when_they_do_not_wait_for_the_answer() {
    let world = World::new().await;
    let (told, mut heard) = watch::channel(false);
    let (answer, answered) = watch::channel(false);
    let info = ProcedureInfo::new(agent_method::DISABLE, "Switches.", serde_json::json!({}));
    let run = move |_call: redpoll_net::CallContext| {
        let (told, mut answered) = (told.clone(), answered.clone());
        async move {
            told.send_replace(true);
            answered.wait_for(|now| *now).await.unwrap();
            let answer = SwitchAnswer { procedure: "p".to_owned(), enabled: false, changed: true };
            Ok(Raw::encode(&answer).unwrap())
        }
    };
    let _agent = world.agent("web-1", Registry::new().with_graceful(info, run).unwrap()).await;
    let mut operator = world.operator().await;
    let arguments = SwitchArguments { agent: "web-1".to_owned(), procedure: "p".to_owned() };
    let request = Request {
        method: method::PROCEDURES_DISABLE.into(),
        kwargs: Raw::encode(&arguments).unwrap(),
        ..call(&RequestId::numbered(1, 1), "p", None)
    };
    say(&mut operator, &Message::Request(request)).await;
    heard.wait_for(|now| *now).await.unwrap();
    drop(operator);
    while !world.sessions.manager.door.sessions(Role::Operator).is_empty() {
        tokio::task::yield_now().await;
    }
    answer.send_replace(true);
    let noted = async {
        let mut last = world.engine.last_event();
        loop {
            let events = world.engine.store().events(0, 1000).await.unwrap();
            if let Some(event) = events.into_iter().find(|event| event.kind_text() == "procedure.disabled") {
                return event.record.unwrap().detail;
            }
            last.changed().await.unwrap();
        }
    };
    let detail = tokio::time::timeout(PATIENCE, noted).await.unwrap();
    assert_eq!(detail.as_deref(), Some("p by ada"));
}

#[tokio::test]
async fn whoever_comes_while_the_manager_stops_is_told_when_to_come_back() {
    let world = World::new().await;
    world.sessions.manager.start_draining();
    let transport = world.network.transport(identity("spiffe://home/agent/web-1"));
    let mut connection = transport.connect().await.unwrap();
    say(&mut connection, &Message::AgentHello(Box::new(hello("web-1")))).await;
    let Message::Bye(bye) = hear(&mut connection).await else { panic!("no goodbye") };
    assert_eq!(bye.code, Some(ByeCode::ShuttingDown));
    assert!(bye.retry_after_ms.is_some());
}

#[tokio::test]
async fn the_end_of_a_session_leaves_the_roster_and_gives_its_seat_back() {
    let world = World::new().await;
    let agent = world.agent("web-1", Registry::new()).await;
    let manager = world.sessions.manager.clone();
    assert_eq!(manager.with_roster(|roster| roster.counts().connected), 1);
    assert_eq!(manager.with_admission(|admission| (admission.handshakes(), admission.sessions())), (0, 1));
    agent.close(Bye::new(ByeCode::ShuttingDown, "done"));
    world.sessions.tracker.close();
    tokio::time::timeout(PATIENCE, world.sessions.tracker.wait()).await.unwrap();
    assert_eq!(manager.with_roster(|roster| roster.counts().connected), 0);
    assert_eq!(manager.with_admission(|admission| admission.sessions()), 0);
    assert_eq!(manager.counters.sessions_closed.read(), 1);
}

#[tokio::test]
async fn handshakes_of_silent_strangers_are_given_up_at_the_end() {
    let world = World::new().await;
    for _ in 0..20 {
        world.network.dial_in_silence().await.unwrap();
    }
    // the last to arrive: when it is in, the strangers were taken
    let _agent = world.agent("web-1", Registry::new()).await;
    let manager = world.sessions.manager.clone();
    assert_eq!(manager.with_admission(|admission| admission.handshakes()), 20);
    world.sessions.give_up_handshakes.cancel();
    let gone = async {
        while manager.with_admission(|admission| admission.handshakes()) > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}

/// One peer who has arrived, and nobody after it.
#[derive(Debug)]
struct One(Option<Incoming>);

impl Listener for One {
    fn accept(&mut self) -> BoxFuture<'_, Result<Incoming, AcceptError>> {
        let next = self.0.take();
        Box::pin(async move {
            match next {
                Some(incoming) => Ok(incoming),
                None => std::future::pending().await,
            }
        })
    }

    fn local_address(&self) -> String {
        "memory:one".to_owned()
    }
}

#[tokio::test]
async fn a_session_does_not_outlive_its_certificate() {
    for left in [Duration::from_millis(300), Duration::ZERO] {
        let world = World::new().await;
        let not_after = SystemTime::now() + left;
        let certificate = Some(PeerCertificate { serial: "01".into(), sha256: "02".into(), not_after });
        let agent = PeerInfo { certificate, ..memory::peer(identity("spiffe://home/agent/web-1")) };
        let (mut mine, theirs) = memory::pair(agent, memory::peer(identity("spiffe://home/manager/m1")));
        let handshake = Box::pin(async move { Ok(Accepted::Session(theirs)) });
        let listener = One(Some(Incoming { ip: None, address: "memory:agent".into(), handshake }));
        let stop = CancellationToken::new();
        world.tracker.spawn(accept_loop(Box::new(listener), world.sessions.clone(), stop));
        say(&mut mine, &Message::AgentHello(Box::new(hello("web-1")))).await;
        let Message::ManagerHello(_) = hear(&mut mine).await else { panic!("no hello") };
        let Message::Bye(bye) = hear(&mut mine).await else { panic!("no goodbye") };
        assert_eq!(bye.code, Some(ByeCode::Unauthorized), "{bye}");
        assert!(SystemTime::now() >= not_after);
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_comes_and_goes_is_told_to_come_later_and_no_other_is() {
    let world = World::new().await;
    let manager = world.sessions.manager.clone();
    let admission = manager.config.admission.clone();
    let arrive = async |name: &str| {
        let transport = world.network.transport(identity(&format!("spiffe://home/agent/{name}")));
        let mut connection = transport.connect().await.unwrap();
        say(&mut connection, &Message::AgentHello(Box::new(hello(name)))).await;
        let said = hear(&mut connection).await;
        if let Message::ManagerHello(_) = said {
            return None;
        }
        let Message::Bye(bye) = said else { panic!("{said:?}") };
        Some((bye.code, bye.retry_after_ms))
    };
    let wait = u64::try_from(admission.agent_interval.as_millis()).unwrap();
    for _ in 0..admission.agent_burst {
        assert_eq!(arrive("web-1").await, None);
    }
    let told = arrive("web-1").await;
    let Some((Some(ByeCode::Overloaded), Some(ms))) = told else { panic!("{told:?}") };
    assert!(ms <= wait && ms + 1000 > wait, "{ms}");
    assert_eq!(arrive("web-2").await, None);
    assert_eq!(manager.counters.hellos_hasty.read(), 1);
    // when it was told to, it is let in, and who asks in vain waits no longer for it
    tokio::time::advance(Duration::from_millis(ms)).await;
    assert_eq!(arrive("web-1").await, None);
    assert_ne!(arrive("web-1").await, None);
    assert_eq!(manager.counters.sessions_opened.read(), u64::from(admission.agent_burst) + 2);
}
