//! Legs: an operator's waits for an agent's, then the bytes of one are those of the other. What they say to each other the manager
//! does not see. See [`redpoll_common::leg`].
//!
//! An operator comes first, and takes one of `relay.files` places; an agent comes because a call told it to. Who may do that is decided
//! where calls are: without the agent nothing comes of an operator's leg.

mod pump;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redpoll_common::identity::Role;
use redpoll_common::ids::PeerId;
use redpoll_common::leg::{LegAnswer, LegHello, Ticket};
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_config::RelayConfig;
use redpoll_manager_core::parking::Parking;
use redpoll_net::dial::chain;
use redpoll_net::tls::Leg;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::door::Pass;
use crate::gate::HeldSlot;
use crate::state::Manager;

/// Legs that wait, and places for those that are joined.
#[derive(Debug)]
pub struct Relays {
    parking: Mutex<Parking<oneshot::Sender<Handed>>>,
    places: Semaphore,
    /// How many each operator has.
    shares: Mutex<HashMap<PeerId, usize>>,
}

impl Relays {
    /// None yet.
    pub fn new(config: &RelayConfig) -> Self {
        Self {
            parking: Mutex::new(Parking::new(config.files)),
            places: Semaphore::new(config.files),
            shares: Mutex::default(),
        }
    }

    fn shares(&self) -> MutexGuard<'_, HashMap<PeerId, usize>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are waiting, for whoever looks on.
    pub fn waiting(&self) -> usize {
        self.parking().waiting()
    }

    fn parking(&self) -> MutexGuard<'_, Parking<oneshot::Sender<Handed>>> {
        // a panic inside one of these short functions leaves the map whole
        self.parking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An agent's leg, with its right to be there.
type Handed = (Leg, Pass);

/// Nothing comes of this leg, and why.
type Refused = Box<(Leg, Fault)>;

/// Takes a leg to its end.
pub(crate) async fn serve(manager: &Arc<Manager>, mut leg: Leg, slot: HeldSlot) {
    let identity = leg.peer().identity.clone();
    let hello = match leg.hello(manager.config.admission.hello_timeout).await {
        Ok(hello) => hello,
        Err(error) => {
            manager.counters.relays_refused.up();
            if let Some(left_out) = manager.log_due(leg.peer().ip, "leg") {
                warn!(peer = %identity, error = %chain(&error), left_out, "a leg said nothing that can be used");
            }
            return;
        }
    };
    // it has proved who it is, and what follows has bounds of its own
    drop(slot);
    let ended = match (identity.role, hello, manager.door.pass(leg.peer())) {
        (_, _, Err(revoked)) => Err(Box::new((leg, revoked))),
        _ if manager.is_draining() => {
            Err(Box::new((leg, Fault::new(FaultCode::ShuttingDown, "the manager is stopping"))))
        }
        (Role::Operator, LegHello { ticket, agent: Some(agent) }, Ok(pass)) => {
            let carrying = carry(manager, leg, &identity.id, (ticket, agent));
            // one that is cut is dropped, and so is what it is joined with
            pass.while_open(Box::pin(carrying)).await.unwrap_or(Ok(()))
        }
        (Role::Agent, LegHello { ticket, agent: None }, Ok(pass)) => {
            hand_over(manager, (leg, pass), &identity.id, &ticket)
        }
        (Role::Operator | Role::Agent | Role::Manager, LegHello { .. }, Ok(_)) => {
            let text = "on a leg an operator names an agent, and an agent nobody";
            Err(Box::new((leg, Fault::new(FaultCode::BadArguments, text))))
        }
    };
    if let Err(refused) = ended {
        let (mut leg, fault) = *refused;
        manager.counters.relays_refused.up();
        if let Some(left_out) = manager.log_due(leg.peer().ip, "leg refused") {
            info!(peer = %identity, %fault, left_out, "a leg is refused");
        }
        // who is gone need not be told
        let _told = leg
            .answer(
                &LegAnswer::Refused { code: fault.code, message: fault.message },
                manager.config.admission.hello_timeout,
            )
            .await;
    }
}

/// An agent's leg goes to the operator's that waits for it.
fn hand_over(manager: &Manager, leg: Handed, agent: &PeerId, ticket: &Ticket) -> Result<(), Refused> {
    let waiting = manager.relays.parking().join(ticket, agent);
    let back = match waiting {
        Some(operator) => operator.send(leg).err(),
        None => Some(leg),
    };
    let Some((leg, _pass)) = back else { return Ok(()) };
    Err(Box::new((leg, Fault::new(FaultCode::Cancelled, "nobody waits for this agent under that ticket"))))
}

/// An operator's leg waits, and is joined with the agent's.
async fn carry(
    manager: &Manager,
    mut leg: Leg,
    operator: &PeerId,
    (ticket, agent): (Ticket, PeerId),
) -> Result<(), Refused> {
    let config = &manager.config.relay;
    let full = || {
        let text = format!("{} files are on their way already, relay.files of the manager", config.files);
        Fault::new(FaultCode::Overloaded, text)
    };
    let Ok(_place) = manager.relays.places.try_acquire() else { return Err(Box::new((leg, full()))) };
    let Some(_share) = Share::take(manager, operator) else {
        let text = format!(
            "{operator} has as many files on their way as one operator may, of relay.files of the manager"
        );
        return Err(Box::new((leg, Fault::new(FaultCode::Overloaded, text))));
    };
    // one that is away will not come; whether it may be called is decided when it is
    if let Err(fault) = manager.agent(agent.as_str()) {
        return Err(Box::new((leg, fault)));
    }
    let (sender, mut coming) = oneshot::channel();
    let parked = manager.relays.parking().park(ticket, agent.clone(), sender);
    let number = match parked {
        Ok(number) => number,
        Err(error) => return Err(Box::new((leg, Fault::new(FaultCode::Overloaded, error.to_string())))),
    };
    let waiting = Waiting { manager, ticket, number };
    if leg.answer(&LegAnswer::Waiting, config.wait).await.is_err() {
        return Ok(());
    }
    let other = tokio::select! {
        biased;
        other = timeout(config.wait, &mut coming) => other,
        () = leg.gone() => {
            debug!("the operator does not wait any more");
            return Ok(());
        }
    };
    drop(waiting);
    // one that came at the last moment is here, and not lost
    let Some((other, pass)) = other.ok().and_then(Result::ok).or_else(|| coming.try_recv().ok()) else {
        let text = format!("agent {agent} did not come within {:?}, relay.wait of the manager", config.wait);
        return Err(Box::new((leg, Fault::new(FaultCode::TimedOut, text))));
    };
    // without its agent nothing goes on
    let joined = Box::pin(join(manager, (leg, other), (operator, &agent)));
    let _cut = pass.while_open(joined).await;
    Ok(())
}

/// Joins two legs, and moves what goes between them.
async fn join(manager: &Manager, (leg, other): (Leg, Leg), (operator, agent): (&PeerId, &PeerId)) {
    let config = &manager.config.relay;
    let joined = tokio::try_join!(leg.joined(config.wait), other.joined(config.wait));
    match joined {
        Ok((one, other)) => {
            manager.counters.relays_begun.up();
            let moved = pump::between(one, other, config.idle_timeout).await;
            manager.counters.relayed_bytes.add(moved.bytes);
            let (bytes, ended) = (moved.bytes, moved.ended);
            info!(%operator, %agent, bytes, %ended, "what went between them has ended");
        }
        Err(error) => info!(%operator, %agent, error = %chain(&error), "two legs were not joined"),
    }
}

/// One of the legs of an operator; given back when it is dropped.
struct Share<'m> {
    manager: &'m Manager,
    operator: &'m PeerId,
}

impl<'m> Share<'m> {
    /// Takes one, unless the operator has three quarters of all: the rest is for others.
    fn take(manager: &'m Manager, operator: &'m PeerId) -> Option<Self> {
        let files = manager.config.relay.files;
        let mut shares = manager.relays.shares();
        let has = shares.entry(operator.clone()).or_default();
        if *has >= files - files / 4 {
            return None;
        }
        *has += 1;
        Some(Self { manager, operator })
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut shares = self.manager.relays.shares();
        if let Some(has) = shares.get_mut(self.operator) {
            *has -= 1;
            if *has == 0 {
                shares.remove(self.operator);
            }
        }
    }
}

/// A leg that waits; not any more when it is dropped.
struct Waiting<'m> {
    manager: &'m Manager,
    ticket: Ticket,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.manager.relays.parking().leave(&self.ticket, self.number);
    }
}
