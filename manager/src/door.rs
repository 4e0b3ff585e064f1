//! The door: who is in, and who is not let in. One lock holds the list of who is revoked and everybody who is inside, so that nobody
//! comes in beside it: who enters before an entry is made is found by it, and who comes after it is turned away.
//!
//! Whoever is inside is a [`Guest`], from before its first frame is taken until its last request has ended.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use redpoll_common::identity::{Identity, Role};
use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::wire::{Bye, ByeCode, Fault, FaultCode};
use redpoll_manager_core::revoked::{Denial, Denied, DenyList};
use redpoll_net::Peer;
use redpoll_net::transport::{PeerCertificate, PeerInfo};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Whether anything of a guest is taken: it is.
const OPEN: u8 = 0;
/// No more: a newer connection of the same agent is in.
const REPLACED: u8 = 1;
/// No more: it is revoked.
const REVOKED: u8 = 2;

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
}

/// Role and name, whether it is a leg, and the number of the connection.
type Place = (Role, PeerId, bool, u64);

/// Somebody inside: a session, or a leg.
#[derive(Debug)]
pub struct Guest {
    who: Identity,
    certificate: Option<PeerCertificate>,
    number: u64,
    standing: AtomicU8,
    /// It asks for its own revocation, and is closed when it has the answer.
    spared: AtomicBool,
    requests: TaskTracker,
    way: OnceLock<Way>,
}

/// How it is closed.
#[derive(Debug)]
enum Way {
    Session(Peer),
    Leg(CancellationToken),
}

/// The goodbye for somebody who is revoked. The reason is for operators alone.
fn revoked_bye(who: &Identity) -> Bye {
    Bye::new(ByeCode::Revoked, format!("{} {} is revoked, or its certificate", who.role, who.id))
}

impl Guest {
    /// Whoever is at the other end of a connection that has a number.
    pub fn new(who: &PeerInfo, connection: ConnectionId) -> Arc<Self> {
        Arc::new(Self::of(who, connection.0))
    }

    fn of(who: &PeerInfo, number: u64) -> Self {
        Self {
            who: who.identity.clone(),
            certificate: who.certificate.clone(),
            number,
            standing: AtomicU8::new(OPEN),
            spared: AtomicBool::new(false),
            requests: TaskTracker::new(),
            way: OnceLock::new(),
        }
    }

    /// What is done for it: nothing that is tracked here may have an effect after [`Guest::ended`].
    pub fn requests(&self) -> &TaskTracker {
        &self.requests
    }

    /// The number of its connection.
    pub fn connection(&self) -> ConnectionId {
        ConnectionId(self.number)
    }

    /// Why nothing is taken of it any more, if so.
    ///
    /// # Errors
    /// The fault that answers its request.
    pub fn may_ask(&self) -> Result<(), Fault> {
        match self.standing.load(Ordering::Acquire) {
            OPEN => Ok(()),
            REPLACED => Err(superseded()),
            _revoked => Err(Fault::new(FaultCode::Forbidden, "the caller is revoked; nothing was changed")),
        }
    }

    /// The same if it is a session; legs are numbered by themselves.
    pub fn session(&self) -> Option<ConnectionId> {
        matches!(self.way.get(), Some(Way::Session(_))).then(|| self.connection())
    }

    /// Waits until it is closed, and everything that was done for it has ended.
    pub async fn ended(&self) {
        if let Some(Way::Session(peer)) = self.way.get() {
            peer.closed().await;
        }
        self.requests.close();
        self.requests.wait().await;
    }

    fn close(&self) {
        match self.way.get() {
            Some(Way::Session(peer)) => peer.close(revoked_bye(&self.who)),
            Some(Way::Leg(cut)) => cut.cancel(),
            None => {}
        }
    }

    fn is_covered(&self, denied: &Denied) -> bool {
        denied.covers(&self.who, &names(self.certificate.as_ref()))
    }

    fn place(&self) -> Place {
        let is_leg = matches!(self.way.get(), Some(Way::Leg(_)));
        (self.who.role, self.who.id.clone(), is_leg, self.number)
    }
}

/// The fault for what comes over a connection that a newer one has replaced.
pub fn superseded() -> Fault {
    let text =
        "a newer connection of this agent is in place, or was; nothing was changed: tell it over that one";
    Fault::new(FaultCode::WrongState, text)
}

/// How deny lists name a certificate.
fn names(certificate: Option<&PeerCertificate>) -> [&str; 2] {
    certificate.map_or([""; 2], |certificate| [&*certificate.serial, &*certificate.sha256])
}

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
        Ok(Pass { cut, _running: guest.requests.token(), _inside })
    }

    /// Lets somebody in no more: from here on nothing of theirs is taken that has not begun, and what they have is being closed.
    pub fn deny(&self, denial: Denial) {
        let mut state = self.state();
        let denied = denial.denied.clone();
        // a list that is full was refused by the machine, which has the same
        let _known = state.denied.deny(denial);
        for guest in state.inside_of(&denied) {
            guest.standing.store(REVOKED, Ordering::Release);
            if !guest.spared.load(Ordering::Acquire) {
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

    /// The session that asks, spared when it is among those: it has to hear the answer.
    pub fn spare(&self, caller: &PeerInfo, denied: &Denied) -> Option<Spared> {
        let is_its = |guest: &&Arc<Guest>| match guest.way.get() {
            Some(Way::Session(peer)) => std::ptr::eq(peer.info(), caller),
            Some(Way::Leg(_)) | None => false,
        };
        let guest = self.state().inside_of(denied).find(is_its)?.clone();
        guest.spared.store(true, Ordering::Release);
        Some(Spared(guest))
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

/// A session that asks for its own revocation: closed once its requests are answered, this one among them.
#[derive(Debug)]
pub struct Spared(Arc<Guest>);

impl Spared {
    /// Whether that is the one.
    pub fn is(&self, guest: &Arc<Guest>) -> bool {
        Arc::ptr_eq(&self.0, guest)
    }
}

impl Drop for Spared {
    fn drop(&mut self) {
        // also when nothing came of it: then it stays
        self.0.spared.store(false, Ordering::Release);
        if let (Some(Way::Session(peer)), REVOKED) =
            (self.0.way.get(), self.0.standing.load(Ordering::Acquire))
        {
            peer.finish(revoked_bye(&self.0.who));
        }
    }
}
