//! A well-behaved operator with a session of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use redpoll_certs::credentials::Credentials;
use redpoll_certs::identity;
use redpoll_certs::testing::TestCertificate;
use redpoll_common::api::{AgentState, AgentSummary, CallArguments, Status, method};
use redpoll_common::session::backoff::BackoffOptions;
use redpoll_common::session::handshake::SPOKEN;
use redpoll_common::wire::{AgentHello, Bye, ByeCode, Fault, Limits, Notification, Raw};
use redpoll_net::dial::{self, connect_once};
use redpoll_net::service::Running;
use redpoll_net::tls::{self, TlsClient, TlsTransport};
use redpoll_net::transport::PeerInfo;
use redpoll_net::{
    Call, CallContext, CallError, CallEvent, CallStream, DriverOptions, Peer, Registry, Service, random,
};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::{PATIENCE, eventually, in_time};

/// Serves nothing, as operators do.
#[derive(Debug)]
pub struct Nothing(Registry);

impl Nothing {
    /// A service without procedures.
    #[expect(clippy::new_ret_no_self, reason = "what everybody wants is the trait object")]
    pub fn new() -> Arc<dyn Service> {
        Arc::new(Self(Registry::new()))
    }
}

impl Service for Nothing {
    fn start(&self, call: CallContext) -> Running {
        self.0.start(call)
    }

    fn notified(&self, _from: &PeerInfo, _notification: Notification) {}
}

/// What an end with a good certificate needs.
///
/// # Panics
/// When the certificate cannot be read.
pub fn credentials(own: &TestCertificate) -> Credentials {
    let first = own.chain.first().expect("a certificate");
    let info = identity::read(first).expect("a good certificate");
    Credentials { chain: own.chain.clone(), key: own.key(), roots: vec![own.root.clone()], info }
}

/// The way to a manager.
///
/// # Panics
/// When the certificate cannot be used.
pub fn transport(address: SocketAddr, own: &TestCertificate) -> TlsTransport {
    let client = TlsClient::new(credentials(own)).expect("credentials of a dialler");
    TlsTransport::new(vec![address.to_string().into()], Arc::new(client), tls::DialOptions::default())
}

/// A hello with everything that a peer of today says.
pub fn hello(id: &str) -> AgentHello {
    AgentHello {
        id: id.to_owned(),
        version: "9.9.9-test".to_owned(),
        protocol: Some(SPOKEN),
        limits: Some(Limits::default()),
        instance: Some(random::bytes16()),
        ..AgentHello::default()
    }
}

/// An operator.
#[derive(Debug)]
pub struct Operator {
    peer: Peer,
    tracker: TaskTracker,
}

impl Operator {
    /// Connects.
    ///
    /// # Panics
    /// When the manager does not let the operator in.
    pub async fn dial(address: SocketAddr, own: &TestCertificate) -> Self {
        Self::dial_with(address, own, Limits::default()).await
    }

    /// The same with limits of its own.
    ///
    /// # Panics
    /// When the manager does not let the operator in.
    pub async fn dial_with(address: SocketAddr, own: &TestCertificate, limits: Limits) -> Self {
        Self::begin(address, own, limits).await.expect("a session for an honest operator")
    }

    /// The same, or nothing when there is no session.
    pub async fn try_dial(address: SocketAddr, own: &TestCertificate) -> Option<Self> {
        Self::begin(address, own, Limits::default()).await
    }

    async fn begin(address: SocketAddr, own: &TestCertificate, limits: Limits) -> Option<Self> {
        let id = credentials(own).info.identity.id.to_string();
        let options = dial::DialOptions {
            hello_timeout: PATIENCE,
            liveness: None,
            driver: DriverOptions { seed: random::number(), ..DriverOptions::default() },
            backoff: BackoffOptions::default(),
        };
        let tracker = TaskTracker::new();
        let transport = transport(address, own);
        let hello = AgentHello { limits: Some(limits), ..hello(&id) };
        let peer = connect_once(&transport, hello, Nothing::new(), &options, &tracker).await;
        Some(Self { peer: peer.ok()?, tracker })
    }

    /// The session.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Asks the manager.
    ///
    /// # Errors
    /// Its fault, or the one that stands for a lost session.
    pub async fn ask(&self, method: &str, kwargs: &Value) -> Result<Raw, Fault> {
        let kwargs = Raw::encode(kwargs).expect("arguments");
        self.peer.call(Call::new(method, PATIENCE).with_kwargs(kwargs)).await.map_err(CallError::into_fault)
    }

    /// A call of a procedure with positional and named arguments.
    ///
    /// # Panics
    /// When the arguments cannot be encoded.
    pub fn call_of(agent: &str, procedure: &str, args: &Value, kwargs: &Value, timeout: Duration) -> Call {
        let arguments = CallArguments {
            agent: agent.to_owned(),
            procedure: procedure.to_owned(),
            args: Raw::encode(args).expect("arguments"),
            kwargs: Raw::encode(kwargs).expect("arguments"),
        };
        Call::new(method::CALL, timeout).with_kwargs(arguments.write())
    }

    /// Calls a procedure and waits for the answer.
    ///
    /// # Errors
    /// The fault of whoever could not do its part.
    pub async fn call(&self, agent: &str, procedure: &str, kwargs: &Value) -> Result<Raw, Fault> {
        let call = Self::call_of(agent, procedure, &json!([]), kwargs, PATIENCE);
        self.peer.call(call).await.map_err(CallError::into_fault)
    }

    /// Runs a program on an agent.
    ///
    /// # Panics
    /// When the call cannot even be queued.
    pub async fn exec<S: AsRef<str>>(&self, agent: &str, argv: &[S]) -> CallStream {
        let argv: Vec<&str> = argv.iter().map(AsRef::as_ref).collect();
        let call = Self::call_of(agent, "exec.run", &json!(argv), &json!({}), PATIENCE * 3);
        self.peer.start(call).await.expect("a call in flight")
    }

    /// The end of a call, whatever comes before it.
    ///
    /// # Errors
    /// The fault of whoever could not do its part.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn end_of(stream: &mut CallStream) -> Result<Raw, Fault> {
        in_time("the end of a call", async {
            loop {
                match stream.next().await {
                    Some(CallEvent::End(result)) => return result.map_err(CallError::into_fault),
                    Some(CallEvent::Value(_) | CallEvent::Progress(_)) => {}
                    None => panic!("a call ended without an end"),
                }
            }
        })
        .await
    }

    /// Calls `sys.echo` with `text` and checks the answer.
    ///
    /// # Errors
    /// The fault of whoever could not do its part.
    ///
    /// # Panics
    /// When another answer comes.
    pub async fn echo(&self, agent: &str, text: &str) -> Result<(), Fault> {
        let answer = self.call(agent, "sys.echo", &json!({ "text": text })).await?;
        let answer: Value = answer.decode().expect("an answer");
        assert_eq!(answer, json!({"args": [], "kwargs": {"text": text}}));
        Ok(())
    }

    /// How the manager is.
    ///
    /// # Panics
    /// When it does not say.
    pub async fn status(&self) -> Status {
        let answer = self.ask(method::STATUS, &json!({})).await.expect("a status");
        answer.decode().expect("a status")
    }

    /// One of the manager's counters.
    ///
    /// # Panics
    /// When there is none of that name.
    pub async fn counter(&self, name: &str) -> u64 {
        *self.status().await.counters.get(name).unwrap_or_else(|| panic!("no counter {name}"))
    }

    /// Waits until one of the manager's counters has grown to `n`, and checks that it does not exceed it.
    ///
    /// # Panics
    /// When it has another value.
    pub async fn counted(&self, name: &str, n: u64) {
        let what = format!("{name} grows to {n}");
        let found = eventually(&what, async || Some(self.counter(name).await).filter(|now| *now >= n)).await;
        assert_eq!(found, n, "{name}");
    }

    /// What the manager knows of an agent.
    pub async fn agent(&self, id: &str) -> Option<AgentSummary> {
        let answer = self.ask(method::AGENTS_SHOW, &json!({ "agent": id })).await.ok()?;
        answer.decode().ok()
    }

    /// Waits until an agent is in a state, such as `connected`.
    pub async fn until(&self, id: &str, state: AgentState) -> AgentSummary {
        let what = format!("{id} is {state:?}");
        eventually(&what, async || self.agent(id).await.filter(|agent| agent.state == state)).await
    }

    /// Says goodbye.
    pub async fn leave(self) {
        self.peer.close(Bye::new(ByeCode::Idle, "done"));
        self.tracker.close();
        self.tracker.wait().await;
    }
}
