//! The life of a session: into the roster, driven, out of the roster.

use std::sync::Arc;

use futures_util::FutureExt as _;
use redpoll_common::identity::{Identity, Role};
use redpoll_common::ids::ConnectionId;
use redpoll_common::session::handshake::Admission;
use redpoll_common::session::{CloseReason, Terms};
use redpoll_common::wire::{Bye, ByeCode};
use redpoll_manager_core::roster::Entry;
use redpoll_net::transport::BoxConnection;
use redpoll_net::{Peer, Registry, drive, expiry};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{Instrument, info, info_span, warn};

use crate::door::Guest;
use crate::engine::Engine;
use crate::gate::HeldSeat;
use crate::service::ManagerService;
use crate::state::Manager;

/// What makes and holds sessions.
#[derive(Debug)]
pub struct Sessions {
    /// The state they share.
    pub manager: Arc<Manager>,
    /// Handshakes and sessions.
    pub tracker: TaskTracker,
    /// Requests of peers that are being served.
    pub requests: TaskTracker,
    /// Ends the handshakes that are in progress.
    pub give_up_handshakes: CancellationToken,
    registry: Arc<Registry>,
    engine: Engine,
}

/// What a hello told, for the roster.
#[derive(Debug)]
pub struct Arrival {
    id: ConnectionId,
    identity: Identity,
    version: String,
    instance: Option<[u8; 16]>,
    policy: Option<String>,
}

impl Arrival {
    /// Takes it from an admission that is about to be answered.
    pub fn of(id: ConnectionId, admission: &Admission) -> Self {
        let hello = admission.hello();
        Self {
            id,
            identity: admission.proved().clone(),
            version: hello.version.clone(),
            instance: hello.instance,
            policy: hello.policy.clone(),
        }
    }
}

impl Sessions {
    /// No sessions yet.
    pub fn new(manager: Arc<Manager>, registry: Arc<Registry>, engine: Engine) -> Arc<Self> {
        Arc::new(Self {
            manager,
            tracker: TaskTracker::new(),
            requests: TaskTracker::new(),
            give_up_handshakes: CancellationToken::new(),
            registry,
            engine,
        })
    }

    /// Begins the session of a peer that was let in.
    pub fn begin(
        self: &Arc<Self>,
        connection: BoxConnection,
        terms: Terms,
        arrival: Arrival,
        seat: HeldSeat,
    ) {
        let Arrival { id, identity, version, instance, policy } = arrival;
        let address = connection.peer().address.clone();
        let entry = Entry::new(&version, terms.protocol, &address, instance).with_policy(policy.as_deref());
        let span = match identity.role {
            Role::Agent => info_span!(parent: None, "session", agent = %identity.id, connection = %id),
            Role::Operator => info_span!(parent: None, "session", operator = %identity.id, connection = %id),
            Role::Manager => info_span!(parent: None, "session", manager = %identity.id, connection = %id),
        };
        let guest = Guest::new(connection.peer(), id);
        let service = Arc::new(ManagerService::new(
            self.manager.clone(),
            self.registry.clone(),
            self.engine.clone(),
            guest.clone(),
            self.tracker.clone(),
        ));
        let options = self.manager.driver_options();
        let protocol = terms.protocol;
        let (peer, driver) = drive(connection, terms, service, options, self.requests.clone());
        let inside = match self.manager.door.enter(&guest, &peer) {
            Ok(inside) => inside,
            Err(bye) => {
                // revoked between its hello and now
                self.manager.counters.hellos_revoked.up();
                peer.close(bye);
                self.tracker.spawn(driver.map(drop).instrument(span));
                return;
            }
        };
        let stay = span.in_scope(|| {
            info!(%address, version = %entry.version(), protocol, "session begins");
            self.enter(&identity, entry, &peer, &guest);
            let _running = guest.requests().token();
            Stay { sessions: self.clone(), identity, id, reason: None, _running }
        });
        let driven = async move {
            let _seat = seat;
            let mut stay = stay;
            let driving = expiry::close_when_expired(&peer, driver);
            tokio::pin!(driving);
            let ended = tokio::select! {
                biased;
                reason = &mut driving => {
                    stay.reason = Some(reason);
                    return;
                }
                reason = peer.closed() => reason,
            };
            // out of the roster at once: the farewell may take its time
            stay.reason = Some(ended);
            drop(stay);
            driving.await;
        };
        let life = async move {
            tokio::select! {
                biased;
                () = driven => {}
                never = guest.closed_once_answered() => match never {},
            }
            // found by whoever shuts it out until its last request has ended
            guest.ended().await;
            drop(inside);
        };
        self.tracker.spawn(life.instrument(span));
    }

    fn enter(&self, identity: &Identity, entry: Entry, peer: &Peer, guest: &Guest) {
        let (manager, id) = (&self.manager, guest.connection());
        manager.counters.sessions_opened.up();
        match identity.role {
            Role::Agent => {
                // not for operators, who may have certificates for a day and see their end with `rpctl certs show`
                if let Some(not_after) = expiry::of(peer) {
                    expiry::warn_if_soon("agent", not_after);
                }
                let now = redpoll_net::clock::awake_or_not();
                let agent = identity.id.clone();
                let handle = peer.clone();
                match manager.with_roster(|roster| roster.connect(agent, id, entry, handle, now)) {
                    Ok(connected) => {
                        manager.with_catalogue(|catalogue| catalogue.arrive(&identity.id, id));
                        if let Some(older) = connected.replaced {
                            manager.counters.sessions_replaced.up();
                            older.close(Bye::new(ByeCode::Replaced, "a newer connection took over"));
                        }
                        if connected.flapping {
                            manager.counters.agents_flapping.up();
                            if let Some(left_out) = manager.log_due(peer.info().ip, "flapping") {
                                warn!(
                                    left_out,
                                    "replaced again and again: do two machines share this identity?"
                                );
                            }
                        }
                    }
                    Err(superseded) => {
                        manager.counters.sessions_superseded.up();
                        superseded
                            .handle
                            .close(Bye::new(ByeCode::Replaced, "a newer connection is in place, or was"));
                    }
                }
            }
            Role::Operator | Role::Manager => {
                manager.with_operators(|operators| operators.insert(id, peer.clone()));
            }
        }
        if identity.role == Role::Agent {
            // after the roster, where the engine looks for it
            self.engine.agent_up(identity.id.clone(), id);
        }
        // whoever began to stop meanwhile has said goodbye to everybody but this one
        if manager.is_draining() {
            peer.close(manager.stopping_bye(manager.with_roster(|roster| roster.counts().connected)));
        }
    }

    fn leave(&self, identity: &Identity, id: ConnectionId, reason: &CloseReason) {
        let manager = &self.manager;
        let counters = &manager.counters;
        counters.sessions_closed.up();
        match reason {
            CloseReason::Silent(_) => counters.sessions_silent.up(),
            CloseReason::Stalled(_) => counters.sessions_stalled.up(),
            CloseReason::Violation(_) => counters.sessions_violated.up(),
            CloseReason::Ours(_) | CloseReason::Theirs(_) | CloseReason::Lost(_) | CloseReason::Ended => {}
        }
        if identity.role == Role::Agent {
            self.engine.agent_down(identity.id.clone(), id, reason.to_string());
        }
        let handle = match identity.role {
            Role::Agent => manager.with_roster(|roster| {
                roster.disconnect(&identity.id, id, &reason.to_string(), redpoll_net::clock::awake_or_not())
            }),
            Role::Operator | Role::Manager => manager.with_operators(|operators| operators.remove(&id)),
        };
        drop(handle);
        if identity.role == Role::Agent {
            // after the roster, where what comes late looks
            manager.with_catalogue(|catalogue| catalogue.leave(&identity.id, id));
        }
        match reason {
            CloseReason::Violation(_) => warn!(%reason, "session ends"),
            CloseReason::Ours(_)
            | CloseReason::Theirs(_)
            | CloseReason::Silent(_)
            | CloseReason::Stalled(_)
            | CloseReason::Lost(_)
            | CloseReason::Ended => info!(%reason, "session ends"),
        }
    }

    /// Every peer with a session.
    pub fn peers(&self) -> Vec<Peer> {
        let mut peers: Vec<Peer> =
            self.manager.with_roster(|roster| roster.handles().map(|(_, _, peer)| peer.clone()).collect());
        peers.extend(self.manager.with_operators(|o| o.values().cloned().collect::<Vec<_>>()));
        peers
    }
}

/// A session in the roster. Its end is noted once, when this is dropped: also when the session's task has panicked, or
/// the agent would stay "connected" until it comes back.
#[derive(Debug)]
struct Stay {
    sessions: Arc<Sessions>,
    identity: Identity,
    id: ConnectionId,
    reason: Option<CloseReason>,
    /// Whoever shuts it out waits until it is out of the roster.
    _running: TaskTrackerToken,
}

impl Drop for Stay {
    fn drop(&mut self) {
        let unknown = || CloseReason::Lost("the session's task was stopped".to_owned());
        let reason = self.reason.take().unwrap_or_else(unknown);
        self.sessions.leave(&self.identity, self.id, &reason);
    }
}
