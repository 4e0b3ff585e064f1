//! The agent's side of its session: what it says in the hello, and which session is the present one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use redpoll_common::session::CloseReason;
use redpoll_common::session::handshake::SPOKEN;
use redpoll_common::wire::{AgentHello, Limits};
use redpoll_config::{Secret, SessionConfig};
use redpoll_net::dial::Link;
use redpoll_net::tls::TlsClient;
use redpoll_net::{Peer, expiry, random};
use tokio::sync::watch;

use crate::clock;
use crate::jobs::Jobs;
use crate::manager::Manager;
use crate::offered::Offered;

/// Makes hellos and holds the present session.
#[derive(Debug)]
pub struct AgentLink {
    client: Arc<TlsClient>,
    credentials: Option<Secret<String>>,
    limits: Limits,
    instance: [u8; 16],
    boot: Option<String>,
    jobs: Jobs,
    offered: Arc<Offered>,
    manager: Manager,
    present: watch::Sender<Option<Peer>>,
    /// When the certificate of the last dial ends.
    ends: Mutex<SystemTime>,
}

impl AgentLink {
    /// A link without a session, for the agent that `client` is.
    pub fn new(
        client: Arc<TlsClient>,
        credentials: Option<Secret<String>>,
        session: &SessionConfig,
        jobs: Jobs,
        (offered, manager): (Arc<Offered>, Manager),
    ) -> Self {
        let ends = Mutex::new(client.own_not_after());
        Self {
            client,
            ends,
            credentials,
            limits: session.limits(),
            instance: random::bytes16(),
            boot: clock::boot_id(),
            jobs,
            offered,
            manager,
            present: watch::Sender::new(None),
        }
    }

    /// The present session, if there is one.
    pub fn present(&self) -> Option<Peer> {
        self.present.borrow().clone()
    }

    /// The present session, whenever it changes.
    pub fn sessions(&self) -> watch::Receiver<Option<Peer>> {
        self.present.subscribe()
    }

    /// When the certificate ends that the agent dials with now.
    pub fn own_not_after(&self) -> SystemTime {
        self.client.own_not_after()
    }

    /// When the certificate ends that the present session began with.
    pub fn certificate_ends(&self) -> SystemTime {
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, peer: Option<Peer>) {
        self.present.send_replace(peer);
    }
}

impl Link for AgentLink {
    fn hello(&self) -> AgentHello {
        // before the handshake: one that is replaced meanwhile makes a session be left once too often, and none too late
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = self.own_not_after();
        AgentHello {
            id: self.client.own_identity().id.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            credentials: self.credentials.as_ref().map(|secret| secret.expose().clone()).unwrap_or_default(),
            protocol: Some(SPOKEN),
            limits: Some(self.limits),
            instance: Some(self.instance),
            boot: self.boot.clone(),
            spool: Some(self.jobs.spool()),
            max_dno: Some(self.jobs.max_dno().0),
            policy: Some(self.offered.gate().digest()),
            wall_ms: Some(redpoll_net::clock::wall_ms()),
            ..AgentHello::default()
        }
    }

    fn connected(&self, peer: &Peer) {
        expiry::warn_if_soon("this agent", self.client.own_not_after());
        self.set(Some(peer.clone()));
        self.jobs.connected(peer);
        self.manager.set(Some(peer.clone()));
    }

    fn disconnected(&self, _reason: &CloseReason) {
        self.set(None);
        self.manager.set(None);
    }
}
