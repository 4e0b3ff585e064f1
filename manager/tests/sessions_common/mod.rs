//! A manager with sessions over connections within the process.

#![allow(dead_code, reason = "each test binary uses a part")]

#[path = "../store_folder/mod.rs"]
mod store_folder;

use std::sync::Arc;
use std::time::Duration;

use redpoll_common::api::{CallArguments, method};
use redpoll_common::identity::Identity;
use redpoll_common::ids::RequestId;
use redpoll_common::session::handshake::SPOKEN;
use redpoll_common::wire::{AgentHello, Message, Raw, Request, codec};
use redpoll_config::ManagerConfig;
use redpoll_manager::engine::Engine;
use redpoll_manager::gate::accept_loop;
use redpoll_manager::jobs::start_engine;
use redpoll_manager::methods;
use redpoll_manager::sessions::Sessions;
use redpoll_manager::state::Manager;
use redpoll_net::dial::{DialOptions, connect_once};
use redpoll_net::memory::MemoryNetwork;
use redpoll_net::registry::RegistryService;
use redpoll_net::service::Service;
use redpoll_net::transport::{BoxConnection, Transport, receive, send};
use redpoll_net::{DriverOptions, Peer, Registry};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use store_folder::StoreFolder;

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct World {
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) engine: Engine,
    pub(crate) network: MemoryNetwork,
    pub(crate) tracker: TaskTracker,
    _folder: StoreFolder,
}

pub(crate) fn identity(uri: &str) -> Identity {
    Identity::parse(uri).unwrap()
}

pub(crate) fn hello(id: &str) -> AgentHello {
    let version = "test".to_owned();
    AgentHello { id: id.to_owned(), version, protocol: Some(SPOKEN), ..AgentHello::default() }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(ManagerConfig::default()).await
    }

    pub(crate) async fn with(mut config: ManagerConfig) -> Self {
        let folder = TempDir::new().unwrap();
        config.store.path = Some(folder.path().join("store"));
        let manager = Arc::new(Manager::new(identity("spiffe://home/manager/m1"), config));
        let (engine, _running) = start_engine(&manager).await.unwrap();
        let folder = StoreFolder::of(folder, engine.store());
        let registry = Arc::new(methods::registry(&manager, &engine).unwrap());
        let sessions = Sessions::new(manager, registry, engine.clone());
        let (network, listener) = MemoryNetwork::new(identity("spiffe://home/manager/m1"));
        let tracker = TaskTracker::new();
        tracker.spawn(accept_loop(Box::new(listener), sessions.clone(), CancellationToken::new()));
        Self { sessions, engine, network, tracker, _folder: folder }
    }

    pub(crate) async fn agent(&self, id: &str, registry: Registry) -> Peer {
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
    pub(crate) async fn operator(&self, id: &str) -> BoxConnection {
        let transport = self.network.transport(identity(&format!("spiffe://home/operator/{id}")));
        let mut connection = transport.connect().await.unwrap();
        say(&mut connection, &Message::AgentHello(Box::new(hello(id)))).await;
        let Message::ManagerHello(_) = hear(&mut connection).await else { panic!("no hello") };
        connection.set_payload_limit(redpoll_common::wire::DEFAULT_FRAME_LIMIT);
        connection
    }
}

pub(crate) async fn say(connection: &mut BoxConnection, message: &Message) {
    send(&mut **connection, codec::encode(message, redpoll_common::wire::PROTOCOL)).await.unwrap();
}

pub(crate) async fn hear(connection: &mut BoxConnection) -> Message {
    let payload = tokio::time::timeout(PATIENCE, receive(&mut **connection)).await.unwrap();
    codec::decode(&payload.unwrap().unwrap()).unwrap()
}

/// A call of web-1.
pub(crate) fn call(id: &RequestId, procedure: &str, timeout_ms: Option<u64>) -> Request {
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
