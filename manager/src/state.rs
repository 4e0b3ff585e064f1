//! What all sessions of a manager share. Each part has one lock, held inside one short function and never across
//! an await.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use redpoll_common::identity::{Identity, Role};
use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::job::Submitter;
use redpoll_common::session::terms::Offer;
use redpoll_common::throttle::{LOG_KEYS, LOG_WINDOW, LogThrottle};
use redpoll_common::wire::{Bye, ByeCode, Fault, FaultCode};
use redpoll_config::{ANY, AccessConfig, AgentsConfig, ITSELF, ManagerConfig};
use redpoll_manager_core::address::AddressKey;
use redpoll_manager_core::admission::{Admission, AdmissionOptions};
use redpoll_manager_core::agents::{AgentRules, Rates, SubmitOn};
use redpoll_manager_core::catalogue::{Bounds, Catalogue};
use redpoll_manager_core::counters::Counters;
use redpoll_manager_core::revoked::{Denial, Denied};
use redpoll_manager_core::roles::Roles;
use redpoll_manager_core::roster::{Lookup, Roster};
use redpoll_manager_core::spread::spread;
use redpoll_net::Peer;
use redpoll_net::driver::DriverOptions;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::catalogue::Procedures;
use crate::door::Door;
use crate::engine::Agents;
use crate::orders::Orders;
use crate::procedures::Offering;
use crate::relay::Relays;

/// Questions what would become of a job that may be under way to agents, of all previews. Beyond, they wait within their time.
const TRIALS: usize = 512;

/// What a throttled line of the log is about: an address and what happened, in a word.
pub type Noise = (Option<AddressKey>, &'static str);

/// The state of one manager.
#[derive(Debug)]
pub struct Manager {
    /// Who the manager is, by its certificate.
    pub identity: Identity,
    /// What happened so far.
    pub counters: Counters,
    /// What agents and operators may call here, and jobs name as callbacks.
    pub procedures: Arc<Offering>,
    /// The configuration as it was at the start.
    pub config: ManagerConfig,
    /// What agents may ask for.
    pub agent_rules: AgentRules,
    /// Who is inside, and who is not let in.
    pub door: Arc<Door>,
    /// Legs that wait, and those that are joined.
    pub relays: Relays,
    /// Places of questions to agents what would become of a job.
    pub trials: Semaphore,
    /// Orders for agents that have to be noted, whoever waits for them.
    pub orders: Orders,
    /// What operators are. SIGHUP puts others in their place.
    roles: ArcSwap<Roles>,
    started: Instant,
    roster: Mutex<Roster<Peer>>,
    operators: Mutex<BTreeMap<ConnectionId, Peer>>,
    admission: Mutex<Admission>,
    throttle: Mutex<LogThrottle<Noise>>,
    rates: Mutex<Rates>,
    records: Mutex<Rates>,
    arrivals: Mutex<Rates>,
    catalogue: Mutex<Catalogue<Procedures>>,
    connections: AtomicU64,
    draining: CancellationToken,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // a panic inside one of these short functions leaves the maps consistent enough to go on
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Manager {
    /// A manager without sessions, whose procedures are not read yet.
    pub fn new(identity: Identity, config: ManagerConfig) -> Self {
        let procedures = Offering::new(identity.clone(), &config.procedures, None);
        Self::offering(identity, config, procedures)
    }

    /// The same with these procedures.
    pub fn offering(identity: Identity, config: ManagerConfig, procedures: Offering) -> Self {
        let admission = AdmissionOptions {
            handshakes: config.admission.handshakes,
            handshakes_per_address: config.admission.handshakes_per_address,
            rate: config.admission.accept_rate,
            burst: config.admission.accept_burst,
            max_sessions: config.admission.connections,
            reserve: redpoll_manager_core::admission::RESERVE,
            operator_sessions: config.admission.operator_sessions,
        };
        let agent_rules = agent_rules(&config.agents);
        let roles = ArcSwap::from_pointee(Roles::new(config.access.roles.clone()));
        let relays = Relays::new(&config.relay);
        let rates = Rates::new(config.agents.rate, config.agents.burst);
        let records = Rates::every(config.agents.record_interval, config.agents.record_burst);
        let arrivals = Rates::every(config.admission.agent_interval, config.admission.agent_burst);
        Self {
            identity,
            counters: Counters::default(),
            procedures: Arc::new(procedures),
            config,
            agent_rules,
            door: Arc::default(),
            relays,
            trials: Semaphore::new(TRIALS),
            orders: Orders::default(),
            roles,
            started: redpoll_net::clock::awake_or_not(),
            roster: Mutex::new(Roster::default()),
            operators: Mutex::new(BTreeMap::new()),
            admission: Mutex::new(Admission::new(admission)),
            throttle: Mutex::new(LogThrottle::new(LOG_WINDOW, LOG_KEYS)),
            rates: Mutex::new(rates),
            records: Mutex::new(records),
            arrivals: Mutex::new(arrivals),
            catalogue: Mutex::new(Catalogue::new(Bounds::default())),
            connections: AtomicU64::new(0),
            draining: CancellationToken::new(),
        }
    }

    /// How long the manager has been running.
    pub fn uptime(&self) -> Duration {
        redpoll_net::clock::awake_or_not().saturating_duration_since(self.started)
    }

    /// The number of the next connection.
    pub fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.connections.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Whether the manager is stopping.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Waits until the manager begins to stop. For requests that go on without end: they must not hold up the stop.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// From now on nobody is let in and nothing new is run.
    pub fn start_draining(&self) {
        self.draining.cancel();
    }

    /// The goodbye for one of `sessions` peers that are sent away because the manager stops.
    pub fn stopping_bye(&self, sessions: usize) -> Bye {
        let wait = spread(sessions, self.config.manager.reconnect_spread, redpoll_net::random::number());
        Bye::new(ByeCode::ShuttingDown, "the manager is stopping").retry_after(wait)
    }

    /// Works on the roster. `work` must be short and must not wait.
    pub fn with_roster<T>(&self, work: impl FnOnce(&mut Roster<Peer>) -> T) -> T {
        work(&mut lock(&self.roster))
    }

    /// Works on the operators' sessions. `work` must be short and must not wait.
    pub fn with_operators<T>(&self, work: impl FnOnce(&mut BTreeMap<ConnectionId, Peer>) -> T) -> T {
        work(&mut lock(&self.operators))
    }

    /// Works on what agents offer. `work` must be short and must not wait; it may look into the roster, and nobody who holds the
    /// roster looks into this.
    pub fn with_catalogue<T>(&self, work: impl FnOnce(&mut Catalogue<Procedures>) -> T) -> T {
        let mut catalogue = lock(&self.catalogue);
        let result = work(&mut catalogue);
        let dropped = catalogue.take_dropped();
        // lists are large: they are freed when others can go on
        drop(catalogue);
        drop(dropped);
        result
    }

    /// Works on admission. `work` must be short and must not wait.
    pub fn with_admission<T>(&self, work: impl FnOnce(&mut Admission) -> T) -> T {
        work(&mut lock(&self.admission))
    }

    /// Works on the pace of agents. `work` must be short and must not wait.
    pub fn with_rates<T>(&self, work: impl FnOnce(&mut Rates) -> T) -> T {
        work(&mut lock(&self.rates))
    }

    /// Lets an agent have a run recorded, unless it does so too often.
    ///
    /// # Errors
    /// How long it has to wait.
    pub fn may_record(&self, agent: &PeerId) -> Result<(), Duration> {
        lock(&self.records).take(agent, Instant::now())
    }

    /// Lets an agent begin a session, unless it does so too often.
    ///
    /// # Errors
    /// The goodbye for it.
    pub fn may_begin(&self, agent: &PeerId) -> Result<(), Bye> {
        let now = tokio::time::Instant::now().into_std();
        lock(&self.arrivals).take(agent, now).map_err(|wait| {
            let text = "this agent has begun too many sessions lately";
            Bye::new(ByeCode::Overloaded, text).retry_after(wait)
        })
    }

    /// Whether a line about this is due in the log now: the lines left out since the last one, if so.
    pub fn log_due(&self, ip: Option<IpAddr>, what: &'static str) -> Option<u64> {
        let due = lock(&self.throttle).note(&(ip.map(AddressKey::of), what), Instant::now())?;
        Some(due.suppressed.saturating_add(due.unlisted))
    }

    /// What was left out of the log and has ended since, with its number; call it until `None`.
    pub fn poll_left_out(&self, now: Instant) -> Option<(Noise, u64)> {
        lock(&self.throttle).poll_suppressed(now)
    }

    /// The session of an agent, for a call to it.
    ///
    /// # Errors
    /// `bad_arguments` for what is no name, `unknown_agent`, `agent_away` or `shutting_down`.
    pub fn agent(&self, name: &str) -> Result<Peer, Fault> {
        let id = parse_agent(name)?;
        let found = self.with_roster(|roster| match roster.get(&id) {
            Lookup::Connected { handle, draining: false, .. } => Ok(handle.clone()),
            Lookup::Connected { draining: true, .. } => Err(Fault::new(
                FaultCode::AgentAway,
                format!("agent {id} is stopping and takes no new calls; nothing was sent"),
            )),
            Lookup::Away { last_seen, reason } => Err(Fault::new(
                FaultCode::AgentAway,
                format!(
                    "agent {id} left {} s ago ({reason}); nothing was sent",
                    redpoll_net::clock::awake_or_not().saturating_duration_since(last_seen).as_secs()
                ),
            )),
            Lookup::Unknown => Err(unknown_agent(&id)),
        });
        // whoever is shut out has no session, so that calls of others need not look there
        found.map_err(|fault| {
            self.door.revoked(Role::Agent, &id).map_or(fault, |denial| revoked_agent(&denial))
        })
    }

    /// What agents are told of somebody for whom they are asked; `None`: nothing. By the configuration as it is now.
    pub fn roles_of(&self, who: &Submitter) -> Option<Vec<String>> {
        self.roles.load().of(who)
    }

    /// From now on operators are what this says.
    pub fn set_roles(&self, access: &AccessConfig) {
        let roles = Roles::new(access.roles.clone());
        if roles != **self.roles.load() {
            info!(roles = roles.count(), "operators have other roles from now on");
            self.roles.store(Arc::new(roles));
        }
    }

    /// What is offered to a peer whose hello is accepted.
    pub fn offer(&self) -> Offer {
        let session = &self.config.session;
        Offer {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            manager: self.identity.id.to_string(),
            cluster: self.identity.cluster.to_string(),
            limits: session.limits(),
            liveness: session.liveness(),
            wall_ms: redpoll_net::clock::wall_ms(),
        }
    }

    /// How a session is driven.
    pub fn driver_options(&self) -> DriverOptions {
        let session = &self.config.session;
        DriverOptions {
            write_timeout: session.write_timeout,
            queue_limit: usize::try_from(session.queue_limit).unwrap_or(usize::MAX),
            seed: redpoll_net::random::number(),
            ..DriverOptions::default()
        }
    }
}

impl Agents for Manager {
    fn peer(&self, agent: &PeerId, connection: ConnectionId) -> Option<Peer> {
        self.with_roster(|roster| match roster.get(agent) {
            Lookup::Connected { connection: current, handle, .. } if current == connection => {
                Some(handle.clone())
            }
            Lookup::Connected { .. } | Lookup::Away { .. } | Lookup::Unknown => None,
        })
    }

    fn is_connected(&self, agent: &PeerId) -> bool {
        self.with_roster(|roster| matches!(roster.get(agent), Lookup::Connected { draining: false, .. }))
    }

    fn redact(&self, agent: &PeerId, procedure: &str) -> Vec<String> {
        crate::catalogue::redact_of(self, std::slice::from_ref(agent), procedure)
    }

    fn secretive(&self) -> Vec<PeerId> {
        self.with_catalogue(|catalogue| catalogue.holders(Procedures::has_secrets))
    }

    fn roles(&self, submitter: &Submitter) -> Option<Vec<String>> {
        self.roles_of(submitter)
    }

    fn load(&self, denied: &[Denial]) {
        self.door.load(denied.to_vec());
    }

    fn deny(&self, denial: &Denial) {
        self.door.deny(denial.clone());
    }

    fn allow(&self, denied: &Denied) {
        self.door.allow(denied);
    }

    fn disconnect(&self, agent: &PeerId, connection: ConnectionId, why: &str) {
        if let Some(peer) = self.peer(agent, connection) {
            peer.close(Bye::new(ByeCode::Overloaded, why));
        }
    }

    fn disconnect_all(&self, why: &str) {
        let peers: Vec<Peer> =
            self.with_roster(|roster| roster.handles().map(|(_, _, peer)| peer.clone()).collect());
        let spread_over = self.config.manager.reconnect_spread;
        for peer in &peers {
            let wait = spread(peers.len(), spread_over, redpoll_net::random::number());
            peer.close(Bye::new(ByeCode::Overloaded, why).retry_after(wait));
        }
    }
}

/// The rules that a configuration says.
fn agent_rules(config: &AgentsConfig) -> AgentRules {
    let submit_on = match config.submit_on.as_slice() {
        [one] if one == ITSELF => SubmitOn::Itself,
        [one] if one == ANY => SubmitOn::Any,
        // what is no name was refused when the configuration was read
        names => SubmitOn::Named(names.iter().filter_map(|name| PeerId::parse(name).ok()).collect()),
    };
    AgentRules {
        emit: config.emit.clone(),
        submit: config.submit.clone(),
        submit_on,
        record: config.record.clone(),
    }
}

/// The name of an agent as a peer wrote it.
///
/// # Errors
/// `bad_arguments` says which rule it breaks.
pub fn parse_agent(name: &str) -> Result<PeerId, Fault> {
    PeerId::parse(name).map_err(|error| {
        Fault::new(FaultCode::BadArguments, format!("{name:?} is not an agent's name: {error}"))
    })
}

/// The name of whoever submitted a job, as a peer wrote it.
///
/// # Errors
/// `bad_arguments` says which rule it breaks.
pub fn parse_submitter(name: &str) -> Result<Submitter, Fault> {
    Submitter::parse(name).map_err(|error| {
        Fault::new(FaultCode::BadArguments, format!("{name:?} is not the name of a submitter: {error}"))
    })
}

/// The fault for an agent that is shut out.
fn revoked_agent(denial: &Denial) -> Fault {
    let Denial { denied, by, reason, .. } = denial;
    let why = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    Fault::new(
        FaultCode::AgentAway,
        format!("agent {} is revoked (by {by}{why}); nothing was sent", denied.id),
    )
}

/// The fault for an agent nobody has seen.
pub fn unknown_agent(id: &PeerId) -> Fault {
    Fault::new(FaultCode::UnknownAgent, format!("no agent {id} has ever connected"))
}
