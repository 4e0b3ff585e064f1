//! From an accepted connection to an admitted peer. Every handshake is a task of its own with deadlines; what is
//! refused is counted, and logged once per address and minute.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use redpoll_common::identity::Role;
use redpoll_common::ids::ConnectionId;
use redpoll_common::session::handshake::{Admission, HandshakeError};
use redpoll_common::wire::{Bye, ByeCode};
use redpoll_manager_core::admission::{Applicant, Seat, Slot};
use redpoll_manager_core::roster::Lookup;
use redpoll_net::dial::chain;
use redpoll_net::greet::{self, GreetError};
use redpoll_net::transport::{AcceptError, Accepted, BoxConnection, Incoming, Listener, TransportError};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info_span, warn};

use crate::relay;
use crate::sessions::{self, Sessions};
use crate::state::Manager;

/// Accepts until told to stop.
///
/// # Errors
/// When the listener broke, for a reason that waiting does not heal; it is in the log.
pub async fn accept_loop(
    mut listener: Box<dyn Listener>,
    sessions: Arc<Sessions>,
    stop: CancellationToken,
) -> Result<(), AcceptError> {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(incoming) => arrive(&sessions, incoming),
            Err(error) => {
                error!(error = %chain(&error), address = %listener.local_address(), "the listener broke");
                return Err(error);
            }
        }
    }
}

fn arrive(sessions: &Arc<Sessions>, incoming: Incoming) {
    let manager = &sessions.manager;
    manager.counters.accepted.up();
    // a transport without addresses counts as one address
    let ip = incoming.ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    match manager.with_admission(|admission| admission.arrive(ip, Instant::now())) {
        Err(refusal) => {
            manager.counters.refused(refusal);
            if let Some(left_out) = manager.log_due(incoming.ip, "refused") {
                warn!(address = %incoming.address, reason = %refusal, left_out, "connection refused");
            }
        }
        Ok(slot) => {
            let slot = HeldSlot { slot: Some(slot), manager: manager.clone() };
            // numbered here, because handshakes overtake each other: the newest is who arrived last
            let id = manager.next_connection();
            let span = info_span!("handshake", connection = %id, address = %incoming.address);
            let hurry = sessions.give_up_handshakes.clone();
            let task = hurry.run_until_cancelled_owned(handshake(sessions.clone(), id, incoming, slot));
            sessions.tracker.spawn(Box::pin(task.instrument(span)));
        }
    }
}

/// A handshake slot that goes back when it is dropped.
pub(crate) struct HeldSlot {
    slot: Option<Slot>,
    manager: Arc<Manager>,
}

impl Drop for HeldSlot {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.manager.with_admission(|admission| admission.finished(slot));
        }
    }
}

async fn handshake(sessions: Arc<Sessions>, id: ConnectionId, incoming: Incoming, slot: HeldSlot) {
    let manager = sessions.manager.clone();
    let ip = incoming.ip;
    let connection = match incoming.handshake.await {
        Ok(Accepted::Session(connection)) => connection,
        Ok(Accepted::Leg(leg)) => return Box::pin(relay::serve(&manager, *leg, slot)).await,
        Err(error) => return note_tls_failure(&manager, ip, &error),
    };
    let identity = connection.peer().identity.clone();
    let within = manager.config.admission.hello_timeout;
    let (connection, admission) = match greet::expect_hello(connection, within).await {
        Ok(greeted) => greeted,
        Err(error) => {
            count_hello(&manager, &error);
            if let Some(left_out) = manager.log_due(ip, "hello") {
                warn!(peer = %identity, error = %chain(&error), left_out, "hello refused");
            }
            return;
        }
    };
    if let Err(bye) = manager.door.check(connection.peer()) {
        manager.counters.hellos_revoked.up();
        if let Some(left_out) = manager.log_due(ip, "revoked") {
            warn!(peer = %identity, left_out, "refused: it is revoked");
        }
        return greet::refuse(connection, admission, bye).await;
    }
    match seat(&manager, &admission, slot) {
        Ok(seat) => admit(sessions, id, connection, admission, seat).await,
        Err(bye) => {
            if let Some(left_out) = manager.log_due(ip, "sent away") {
                warn!(peer = %identity, %bye, left_out, "sent away");
            }
            greet::refuse(connection, admission, bye).await;
        }
    }
}

fn note_tls_failure(manager: &Manager, ip: Option<IpAddr>, error: &TransportError) {
    match error {
        TransportError::Timeout { .. } => manager.counters.tls_timed_out.up(),
        TransportError::Unreachable { .. }
        | TransportError::Resolve { .. }
        | TransportError::Certificate { .. }
        | TransportError::Refused { .. }
        | TransportError::Tls { .. }
        | TransportError::Frame(_)
        | TransportError::Reset { .. }
        | TransportError::Closed
        | TransportError::Io { .. } => manager.counters.tls_failed.up(),
    }
    if let Some(left_out) = manager.log_due(ip, "tls") {
        let help = error.help().unwrap_or_default();
        warn!(error = %chain(error), help, left_out, "TLS handshake failed");
    }
}

fn count_hello(manager: &Manager, error: &GreetError) {
    let counters = &manager.counters;
    match error {
        GreetError::Silent(_) => counters.hellos_timed_out.up(),
        GreetError::Handshake(HandshakeError::WrongId { .. }) => counters.hellos_unauthorized.up(),
        GreetError::Handshake(HandshakeError::NoCommonProtocol { .. }) => counters.hellos_version.up(),
        GreetError::Handshake(HandshakeError::WrongKind { .. } | HandshakeError::Refused(_))
        | GreetError::Malformed(_)
        | GreetError::Transport(_)
        | GreetError::Ended => counters.hellos_malformed.up(),
    }
}

/// Trades the slot for a seat, or gives the goodbye for the peer.
fn seat(manager: &Arc<Manager>, admission: &Admission, mut slot: HeldSlot) -> Result<HeldSeat, Bye> {
    if manager.is_draining() {
        return Err(manager.stopping_bye(manager.with_roster(|roster| roster.counts().connected)));
    }
    let identity = admission.proved();
    let applicant = match identity.role {
        Role::Agent => {
            // each session is written into the history, for good
            manager.may_begin(&identity.id).inspect_err(|_bye| manager.counters.hellos_hasty.up())?;
            manager.with_roster(|roster| match roster.get(&identity.id) {
                Lookup::Connected { .. } => Applicant::ReturningAgent,
                Lookup::Away { .. } | Lookup::Unknown => Applicant::Agent,
            })
        }
        Role::Operator => Applicant::Operator(identity.id.clone()),
        Role::Manager => {
            manager.counters.hellos_unauthorized.up();
            return Err(Bye::new(ByeCode::Unauthorized, "managers do not dial managers"));
        }
    };
    let Some(taken) = slot.slot.take() else {
        return Err(Bye::new(ByeCode::Overloaded, "no handshake slot"));
    };
    let (now, random) = (Instant::now(), redpoll_net::random::number());
    match manager.with_admission(|gate| gate.seat(taken, applicant, now, random)) {
        Ok(seat) => Ok(HeldSeat { seat: Some(seat), manager: manager.clone() }),
        Err(overloaded) => {
            manager.counters.hellos_overloaded.up();
            Err(overloaded.bye())
        }
    }
}

/// A seat that goes back when it is dropped.
pub struct HeldSeat {
    seat: Option<Seat>,
    manager: Arc<Manager>,
}

impl Drop for HeldSeat {
    fn drop(&mut self) {
        if let Some(seat) = self.seat.take() {
            self.manager.with_admission(|admission| admission.left(seat));
        }
    }
}

impl std::fmt::Debug for HeldSeat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeldSeat").finish_non_exhaustive()
    }
}

async fn admit(
    sessions: Arc<Sessions>,
    id: ConnectionId,
    connection: BoxConnection,
    admission: Admission,
    seat: HeldSeat,
) {
    let manager = &sessions.manager;
    let arrival = sessions::Arrival::of(id, &admission);
    let within = manager.config.admission.hello_timeout;
    match greet::accept(connection, admission, &manager.offer(), within).await {
        // the session lives in a task of its own: this one has the size of a handshake
        Ok((connection, terms)) => sessions.begin(connection, terms, arrival, seat),
        Err(error) => debug!(error = %chain(&error), "the peer was gone before it was let in"),
    }
}
