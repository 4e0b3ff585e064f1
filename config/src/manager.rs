//! The configuration of `redpoll-manager`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redpoll_common::ids::PeerId;
use serde::{Deserialize, Serialize};

use crate::access::AccessConfig;
use crate::agents::AgentsConfig;
use crate::checks::Checks;
use crate::error::Problem;
use crate::jobs::JobsConfig;
use crate::load::{Config, Program, Shared};
use crate::manager_procedures::ManagerProceduresConfig;
use crate::relay::RelayConfig;
use crate::sections::{DEADLINE, LogConfig, SessionConfig, TlsConfig};
use crate::store::StoreConfig;
use crate::values::{duration, number, sockets};

const HOUR: Duration = Duration::from_secs(3600);

/// Everything `redpoll-manager` can be told. See `config/samples/manager.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagerConfig {
    /// `[manager]`: the daemon itself.
    pub manager: ManagerSection,
    /// `[listen]`: where peers dial.
    pub listen: ListenConfig,
    /// `[tls]`: certificate, key and authorities.
    pub tls: TlsConfig,
    /// `[session]`: keep-alive and limits of each session.
    pub session: SessionConfig,
    /// `[admission]`: who gets in how fast.
    pub admission: AdmissionConfig,
    /// `[access]`: what operators are, for the policies of machines.
    pub access: AccessConfig,
    /// `[agents]`: what agents may ask for.
    pub agents: AgentsConfig,
    /// `[procedures]`: what agents and operators may call here.
    pub procedures: ManagerProceduresConfig,
    /// `[relay]`: files between operators and agents that are encrypted from end to end.
    pub relay: RelayConfig,
    /// `[jobs]`: how many jobs there may be, how long they are kept, how their ends are told.
    pub jobs: JobsConfig,
    /// `[store]`: where they are kept.
    pub store: StoreConfig,
    /// `[log]`: what is logged, and how.
    pub log: LogConfig,
}

/// `[manager]`: the daemon itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagerSection {
    /// The manager's name, if it shall be checked: the certificate says it, and another name here is an error.
    pub id: Option<PeerId>,
    /// The folder of everything the manager keeps; mode 0700, see [`check_state_dir`](crate::check_state_dir).
    pub state_dir: PathBuf,
    /// How long calls in flight may go on after the order to stop.
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
    /// The span over which peers that are sent away at shutdown are told to come back.
    #[serde(with = "duration")]
    pub reconnect_spread: Duration,
}

/// `[listen]`: where peers dial. `listen = "…"` alone stands for `listen.address`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenConfig {
    /// IP addresses with ports; at least one. Port 0 takes any free port.
    #[serde(with = "sockets")]
    pub address: Vec<SocketAddr>,
    /// How many connections the operating system holds until they are accepted.
    #[serde(with = "number")]
    pub backlog: u32,
}

/// `[admission]`: who gets in how fast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdmissionConfig {
    /// How many connections may be between accept and hello at a time.
    #[serde(with = "number")]
    pub handshakes: usize,
    /// The same for one IPv4 address or IPv6 /64.
    #[serde(with = "number")]
    pub handshakes_per_address: usize,
    /// How many connections are accepted per second, in the long run.
    #[serde(with = "number")]
    pub accept_rate: u32,
    /// How many connections may be accepted at once before `accept_rate` holds.
    #[serde(with = "number")]
    pub accept_burst: u32,
    /// How long TLS may take, from accept.
    #[serde(with = "duration")]
    pub tls_timeout: Duration,
    /// How long the hello may take, from the end of TLS.
    #[serde(with = "duration")]
    pub hello_timeout: Duration,
    /// How many sessions there may be at a time.
    #[serde(with = "number")]
    pub connections: usize,
    /// How many sessions one operator may have at a time.
    #[serde(with = "number")]
    pub operator_sessions: usize,
    /// How often each agent may begin a session, in the long run; 0 = as often as it wants.
    #[serde(with = "duration")]
    pub agent_interval: Duration,
    /// How many sessions each agent may begin at once before `agent_interval` holds.
    #[serde(with = "number")]
    pub agent_burst: u32,
}

impl Default for ManagerConfig {
    fn default() -> Self {
        Self {
            manager: ManagerSection {
                id: None,
                state_dir: PathBuf::from("/var/lib/redpoll/manager"),
                drain_timeout: Duration::from_secs(30),
                reconnect_spread: Duration::from_secs(30),
            },
            listen: ListenConfig { address: vec![SocketAddr::from(([0, 0, 0, 0], 7051))], backlog: 4096 },
            tls: TlsConfig::named("/etc/redpoll/tls", "manager"),
            session: SessionConfig::default(),
            admission: AdmissionConfig::default(),
            access: AccessConfig::default(),
            agents: AgentsConfig::default(),
            procedures: ManagerProceduresConfig::default(),
            relay: RelayConfig::default(),
            jobs: JobsConfig::default(),
            store: StoreConfig::default(),
            log: LogConfig::at("info"),
        }
    }
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self {
            handshakes: 512,
            handshakes_per_address: 128,
            accept_rate: 2000,
            accept_burst: 4000,
            tls_timeout: Duration::from_secs(10),
            hello_timeout: Duration::from_secs(5),
            connections: 20_000,
            operator_sessions: 256,
            agent_interval: Duration::from_secs(10),
            agent_burst: 30,
        }
    }
}

impl Config for ManagerConfig {
    const PROGRAM: Program = Program {
        prefix: "REDPOLL_MANAGER_",
        default_file: "/etc/redpoll/manager.toml",
        daemon: true,
        shorthands: &[("listen", "address")],
    };

    fn check(&self) -> Vec<Problem> {
        let mut checks = Checks::default();
        checks.path("manager.state_dir", &self.manager.state_dir);
        checks.duration("manager.drain_timeout", self.manager.drain_timeout, Duration::ZERO..=HOUR);
        checks.duration("manager.reconnect_spread", self.manager.reconnect_spread, Duration::ZERO..=HOUR);
        self.listen.check(&mut checks);
        self.tls.check(&mut checks);
        self.session.check(&mut checks);
        self.admission.check(&mut checks);
        self.access.check(&mut checks);
        self.agents.check(&mut checks);
        self.procedures.check(&mut checks);
        self.relay.check(&mut checks);
        self.jobs.check(&mut checks);
        self.store.check(&mut checks);
        self.log.check(&mut checks);
        checks.into_problems()
    }

    fn shared(&self) -> Shared<'_> {
        Shared { tls: &self.tls, log: &self.log }
    }

    fn paths(&mut self) -> Vec<(&'static str, &mut PathBuf)> {
        let mut paths = vec![
            ("manager.state_dir", &mut self.manager.state_dir),
            ("procedures.dir", &mut self.procedures.dir),
            ("procedures.policy", &mut self.procedures.policy),
        ];
        paths.extend(self.tls.paths());
        paths.extend(self.jobs.paths());
        paths.extend(self.store.paths());
        paths
    }
}

impl ManagerConfig {
    /// The folder of the store: `store.path`, or the state folder.
    pub fn store_folder(&self) -> &Path {
        self.store.path.as_deref().unwrap_or(&self.manager.state_dir)
    }
}

impl ListenConfig {
    fn check(&self, checks: &mut Checks) {
        if self.address.is_empty() {
            checks.add("listen.address", "name at least one address, such as \"0.0.0.0:7051\"");
        }
        for (position, address) in self.address.iter().enumerate() {
            let earlier = self.address.iter().take(position);
            // Port 0 is a different free port each time.
            if address.port() != 0 && earlier.clone().any(|other| other == address) {
                checks.add("listen.address", format!("{address} is named twice"));
            }
        }
        checks.number("listen.backlog", self.backlog, 1..=65_535);
    }
}

impl AdmissionConfig {
    fn check(&self, checks: &mut Checks) {
        checks.number("admission.handshakes", self.handshakes, 1..=65_536);
        checks.number("admission.handshakes_per_address", self.handshakes_per_address, 1..=65_536);
        if self.handshakes_per_address > self.handshakes {
            let what = format!(
                "one address cannot have more than all together: admission.handshakes is {}",
                self.handshakes
            );
            checks.add("admission.handshakes_per_address", what);
        }
        checks.number("admission.accept_rate", self.accept_rate, 1..=100_000);
        checks.number("admission.accept_burst", self.accept_burst, 1..=1_000_000);
        checks.duration("admission.tls_timeout", self.tls_timeout, DEADLINE);
        checks.duration("admission.hello_timeout", self.hello_timeout, DEADLINE);
        checks.number("admission.connections", self.connections, 1..=1_000_000);
        checks.number("admission.operator_sessions", self.operator_sessions, 1..=1_000_000);
        checks.duration("admission.agent_interval", self.agent_interval, Duration::ZERO..=HOUR);
        checks.number("admission.agent_burst", self.agent_burst, 1..=100_000);
    }
}
