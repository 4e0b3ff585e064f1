//! What an agent brings of its own, and how its recurring procedures are put in place.

use std::sync::Arc;

use redpoll_common::identity::Identity;
use redpoll_config::daemon::Failure;
use redpoll_config::{AgentConfig, ExitClass};
use redpoll_net::Registry;
use redpoll_net::transport::PeerInfo;
use tokio::sync::watch;

use crate::manager::Manager;
use crate::offered::Offered;
use crate::schedule::outbox::{OutboxError, OutboxOptions};
use crate::schedule::{Around, Bounds, Driver, Entry, Recurring};
use crate::service::AgentService;

/// What an agent brings of its own, beside what its configuration names.
#[derive(Debug, Default)]
pub struct Own {
    /// Procedures.
    pub registry: Registry,
    /// How they reach the manager.
    pub manager: Manager,
    /// Which of them run by themselves.
    pub schedules: Vec<Entry>,
}

impl From<Registry> for Own {
    fn from(registry: Registry) -> Self {
        Self { registry, ..Self::default() }
    }
}

/// Opens what is kept of recurring procedures.
pub(crate) fn open_schedules(
    config: &AgentConfig,
    identity: &Identity,
    service: &AgentService,
    offered: Arc<Offered>,
    manager: &Manager,
) -> Result<(Recurring, Driver), Failure> {
    let own = PeerInfo {
        identity: identity.clone(),
        address: Arc::from("itself"),
        ip: None,
        speaks_rp1: true,
        certificate: None,
    };
    let bounds = Bounds {
        places: service.places(),
        run_timeout: Some(config.limits.run_timeout).filter(|limit| !limit.is_zero()),
        grace: config.limits.grace,
        frame_limit: usize::try_from(config.session.frame_limit).unwrap_or(usize::MAX),
        answer_timeout: config.manager.answer_timeout,
    };
    let around = Around { own: Arc::new(own), offered, manager: manager.clone(), bounds };
    let folder = config.agent.state_dir.join("schedule");
    Recurring::open(&folder, OutboxOptions::default(), around).map_err(|error| {
        let class = match &error {
            OutboxError::Permissions(error) => error.exit_class(),
            OutboxError::Io { .. } => ExitClass::Internal,
        };
        Failure::new(class, "what is kept of recurring procedures cannot be used").caused_by(error)
    })
}

/// Lets run by itself what the program and the manifests say, now and after each change of what is offered.
pub(crate) async fn follow(
    mut described: watch::Receiver<Vec<Entry>>,
    own: Vec<Entry>,
    recurring: Recurring,
) {
    loop {
        let entries = own.iter().chain(described.borrow_and_update().iter()).cloned().collect();
        recurring.set(entries);
        if described.changed().await.is_err() {
            // it never changes: what was set stays
            return;
        }
    }
}
