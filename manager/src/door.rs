//! The door: who is in, and who is not let in. One lock holds the list of who is revoked and everybody who is inside, so that nobody
//! comes in beside it: who enters before an entry is made is found by it, and who comes after it is turned away.
//!
//! Whoever is inside is a [`Guest`], from before its first frame is taken until its last request has ended.

mod guest;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redpoll_common::identity::{Identity, Role};
use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::wire::{Bye, Fault, FaultCode};
use redpoll_manager_core::revoked::{Denial, Denied, DenyList};
use redpoll_net::Peer;
use redpoll_net::transport::{PeerCertificate, PeerInfo};
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

pub use self::guest::{Guest, superseded};
use self::guest::{OPEN, REPLACED, REVOKED, Way, names, revoked_bye};

/// The list and everybody inside.
#[derive(Debug, Default)]
pub struct Door {
    state: Mutex<State>,
    legs: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    denied: DenyList,
    inside: BTreeMap<Place, Arc<Guest>>,
    /// Of every agent that was ever let in: its newest session, also when that is over. As many as there are identities.
    newest: BTreeMap<PeerId, Newest>,
}

/// The newest session of an agent.
#[derive(Debug)]
struct Newest {
    number: u64,
    certificate: Option<PeerCertificate>,
}

/// Role and name, whether it is a leg, and the number of the connection.
type Place = (Role, PeerId, bool, u64);

impl Door {
    /// From the start on these are not let in.
    pub fn load(&self, denied: Vec<Denial>) {
        self.state().denied = denied.into_iter().collect();
    }

    /// Whether somebody would be let in now; [`Door::enter`] asks again.
    ///
    /// # Errors
    /// The goodbye.
    pub fn check(&self, who: &PeerInfo) -> Result<(), Bye> {
        self.state().check(&who.identity, who.certificate.as_ref())
    }

    /// Lets a session in, before anything of it is taken. Of an agent nothing is taken any more on its older sessions.
    ///
    /// # Errors
    /// The goodbye for somebody who was revoked meanwhile.
    pub fn enter(self: &Arc<Self>, guest: &Arc<Guest>, peer: &Peer) -> Result<Inside, Bye> {
        let _first = guest.way.set(Way::Session(peer.clone()));
        let mut state = self.state();
        if let Err(bye) = state.check(&guest.who, guest.certificate.as_ref()) {
            guest.standing.store(REVOKED, Ordering::Release);
            return Err(bye);
        }
        if guest.who.role == Role::Agent {
            state.supersede(guest);
            state.note(guest);
        }
        state.inside.insert(guest.place(), guest.clone());
        Ok(Inside { door: self.clone(), guest: guest.clone() })
    }

    /// Lets a leg in.
    ///
    /// # Errors
    /// The fault for somebody who is revoked.
    pub fn pass(self: &Arc<Self>, who: &PeerInfo) -> Result<Pass, Fault> {
        let guest = Arc::new(Guest::of(who, self.legs.fetch_add(1, Ordering::Relaxed)));
        let cut = CancellationToken::new();
        let _first = guest.way.set(Way::Leg(cut.clone()));
        let mut state = self.state();
        let checked = state.check(&guest.who, guest.certificate.as_ref());
        checked.map_err(|bye| Fault::new(FaultCode::Forbidden, bye.reason))?;
        state.inside.insert(guest.place(), guest.clone());
        let _inside = Inside { door: self.clone(), guest: guest.clone() };
        Ok(Pass { cut, _running: guest.requests().token(), _inside })
    }

    /// Lets somebody in no more: from here on nothing of theirs is taken that has not begun, and what they have is being closed.
    pub fn deny(&self, denial: Denial) {
        let mut state = self.state();
        let denied = denial.denied.clone();
        // how many there may be says the machine: what it has taken is kept
        state.denied.keep(denial);
        for guest in state.inside_of(&denied) {
            guest.standing.store(REVOKED, Ordering::Release);
            if !guest.is_spared() {
                guest.close();
            }
        }
    }

    /// Lets somebody in again.
    pub fn allow(&self, denied: &Denied) {
        let _unknown = self.state().denied.allow(denied);
    }

    /// Who is inside of those that an entry is about, those whose last requests are ending included.
    pub fn inside(&self, denied: &Denied) -> Vec<Arc<Guest>> {
        self.state().inside_of(denied).cloned().collect()
    }

    /// Who is still inside of those that an entry shut out, without those that are spared: they wait for each other else.
    pub fn leaving(&self, denied: &Denied) -> Vec<Arc<Guest>> {
        let state = self.state();
        let leaving = state.inside_of(denied).filter(|guest| guest.is_revoked() && !guest.is_spared());
        leaving.cloned().collect()
    }

    /// The newest connection of an agent of which nothing counts by an entry, whether it is over or not; 0 if there is none.
    pub fn newest(&self, denied: &Denied) -> ConnectionId {
        self.state().newest(denied)
    }

    /// The same, if the entry stands: whoever came in after it was taken back counts.
    pub fn newest_denied(&self, denied: &Denied) -> ConnectionId {
        let state = self.state();
        if state.denied.contains(denied) { state.newest(denied) } else { ConnectionId(0) }
    }

    /// The session that asks, spared when it is among those: it has to hear the answer.
    pub fn spare(self: &Arc<Self>, caller: &PeerInfo, denied: &Denied) -> Option<Spared> {
        let state = self.state();
        let guest = state.inside_of(denied).find(|guest| guest.asks_as(caller))?.clone();
        guest.spared.fetch_add(1, Ordering::AcqRel);
        Some(Spared { door: self.clone(), guest })
    }

    /// For what goes on when the request for it has ended: whoever shuts the session out that asks waits until this is dropped.
    ///
    /// # Errors
    /// The fault for a session that is shut out.
    pub fn lasting(&self, caller: &PeerInfo) -> Result<TaskTrackerToken, Fault> {
        let state = self.state();
        let guest = state.of(caller.identity.role, &caller.identity.id).find(|guest| guest.asks_as(caller));
        let left = || Fault::new(FaultCode::WrongState, "the caller has left; nothing was changed");
        let guest = guest.ok_or_else(left)?;
        // under the lock: a denial finds what is done for it, or it is refused here
        guest.may_ask()?;
        Ok(guest.requests().token())
    }

    /// The entry that shuts an agent or operator out with every certificate.
    pub fn revoked(&self, role: Role, id: &PeerId) -> Option<Denial> {
        self.state().denied.whole(role, id).cloned()
    }

    /// A page of the list.
    pub fn list(&self, role: Role, after: Option<&Denied>, limit: usize) -> Vec<Denial> {
        self.state().denied.page(role, after, limit)
    }

    /// The names of a role that have sessions, each with how many.
    pub fn sessions(&self, role: Role) -> BTreeMap<PeerId, u64> {
        let mut sessions = BTreeMap::new();
        for (of, id, is_leg, _) in self.state().inside.keys() {
            if *of == role && !is_leg {
                *sessions.entry(id.clone()).or_default() += 1;
            }
        }
        sessions
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // a panic inside one of these short functions leaves the maps consistent enough to go on
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&self, who: &Identity, certificate: Option<&PeerCertificate>) -> Result<(), Bye> {
        match self.denied.denies(who, &names(certificate)) {
            Some(_denial) => Err(revoked_bye(who)),
            None => Ok(()),
        }
    }

    fn of(&self, role: Role, id: &PeerId) -> impl Iterator<Item = &Arc<Guest>> {
        let (from, to) = ((role, id.clone(), false, 0), (role, id.clone(), true, u64::MAX));
        self.inside.range(from..=to).map(|(_, guest)| guest)
    }

    fn inside_of(&self, denied: &Denied) -> impl Iterator<Item = &Arc<Guest>> {
        self.of(denied.role, &denied.id).filter(|guest| guest.is_covered(denied))
    }

    fn note(&mut self, guest: &Guest) {
        let Guest { number, ref certificate, .. } = *guest;
        if self.newest.get(&guest.who.id).is_none_or(|newest| newest.number < number) {
            self.newest.insert(guest.who.id.clone(), Newest { number, certificate: certificate.clone() });
        }
    }

    /// Sessions older than one that stays are no more heard in any case.
    fn newest(&self, denied: &Denied) -> ConnectionId {
        let newest = (denied.role == Role::Agent).then(|| self.newest.get(&denied.id)).flatten();
        let last = newest.map_or(0, |Newest { number, certificate }| {
            let names = names(certificate.as_ref());
            let goes = denied.certificate.as_ref().is_none_or(|its| names.contains(&its.as_str()));
            if goes { *number } else { number.saturating_sub(1) }
        });
        ConnectionId(last)
    }

    /// The newest session of an agent is the one with the highest number.
    fn supersede(&self, guest: &Guest) {
        let sessions = self.of(guest.who.role, &guest.who.id);
        for other in sessions.filter(|other| matches!(other.way.get(), Some(Way::Session(_)))) {
            let older = if other.number < guest.number { other } else { guest };
            let newer = if other.number < guest.number { guest } else { other };
            if newer.standing.load(Ordering::Acquire) == OPEN {
                let (open, replaced) = (OPEN, REPLACED);
                let _was =
                    older.standing.compare_exchange(open, replaced, Ordering::AcqRel, Ordering::Acquire);
            }
        }
    }
}

/// Somebody is inside until this is dropped.
#[derive(Debug)]
#[must_use = "whoever is not inside is not found when it is revoked"]
pub struct Inside {
    door: Arc<Door>,
    guest: Arc<Guest>,
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Entry::Occupied(entry) = self.door.state().inside.entry(self.guest.place()) {
            entry.remove();
        }
    }
}

/// A leg inside.
#[derive(Debug)]
pub struct Pass {
    cut: CancellationToken,
    _running: TaskTrackerToken,
    // last: whoever waits for its end finds it until then
    _inside: Inside,
}

impl Pass {
    /// Does something until the leg is cut; `None` when it was.
    pub async fn while_open<F: Future>(&self, work: F) -> Option<F::Output> {
        self.cut.run_until_cancelled(work).await
    }
}

/// A session that asks for its own revocation: closed once it has the answer, or all of them.
#[derive(Debug)]
pub struct Spared {
    door: Arc<Door>,
    guest: Arc<Guest>,
}

impl Drop for Spared {
    fn drop(&mut self) {
        // under the lock: a denial finds it spared and is found here, or finds it spared no more and closes it
        let _state = self.door.state();
        let others = self.guest.spared.fetch_sub(1, Ordering::AcqRel) - 1;
        // when nothing came of it, it stays
        if others == 0 && self.guest.is_revoked() {
            self.guest.finish();
        }
    }
}
