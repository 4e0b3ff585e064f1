//! Somebody inside: what may be asked, and how they are closed.

use std::convert::Infallible;
use std::future::pending;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redpoll_common::identity::Identity;
use redpoll_common::ids::ConnectionId;
use redpoll_common::wire::{Bye, ByeCode, Fault, FaultCode};
use redpoll_manager_core::revoked::Denied;
use redpoll_net::Peer;
use redpoll_net::transport::{PeerCertificate, PeerInfo};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Place;

/// Whether anything of a guest is taken: it is.
pub(super) const OPEN: u8 = 0;
/// No more: a newer connection of the same agent is in.
pub(super) const REPLACED: u8 = 1;
/// No more: it is revoked.
pub(super) const REVOKED: u8 = 2;
/// How long a session that shut itself out has for the answer, and for what else is in flight.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// Somebody inside: a session, or a leg.
#[derive(Debug)]
pub struct Guest {
    pub(super) who: Identity,
    pub(super) certificate: Option<PeerCertificate>,
    pub(super) number: u64,
    pub(super) standing: AtomicU8,
    /// How often it asks for its own revocation just now: it is closed when it has the answers. Changed under the lock of the door alone.
    pub(super) spared: AtomicU32,
    /// It has them.
    answered: CancellationToken,
    requests: TaskTracker,
    pub(super) way: OnceLock<Way>,
}

/// How it is closed.
#[derive(Debug)]
pub(super) enum Way {
    Session(Peer),
    Leg(CancellationToken),
}

/// The goodbye for somebody who is revoked. The reason is for operators alone.
pub(super) fn revoked_bye(who: &Identity) -> Bye {
    Bye::new(ByeCode::Revoked, format!("{} {} is revoked, or its certificate", who.role, who.id))
}

impl Guest {
    /// Whoever is at the other end of a connection that has a number.
    pub fn new(who: &PeerInfo, connection: ConnectionId) -> Arc<Self> {
        Arc::new(Self::of(who, connection.0))
    }

    pub(super) fn of(who: &PeerInfo, number: u64) -> Self {
        Self {
            who: who.identity.clone(),
            certificate: who.certificate.clone(),
            number,
            standing: AtomicU8::new(OPEN),
            spared: AtomicU32::new(0),
            answered: CancellationToken::new(),
            requests: TaskTracker::new(),
            way: OnceLock::new(),
        }
    }

    /// What is done for it, also when nobody waits for it any more: nothing of that may have an effect after [`Guest::ended`].
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

    /// Waits until it has the answer to its own revocation, and closes it a moment later, whatever else is in flight.
    pub async fn closed_once_answered(&self) -> Infallible {
        self.answered.cancelled().await;
        sleep(LEAVE_WITHIN).await;
        self.close();
        pending().await
    }

    /// It has the answer: closed at once if nothing else is in flight, or soon.
    pub(super) fn finish(&self) {
        if let Some(Way::Session(peer)) = self.way.get() {
            peer.finish(revoked_bye(&self.who));
        }
        self.answered.cancel();
    }

    /// Whether it is the session that has this caller's requests.
    pub(super) fn asks_as(&self, caller: &PeerInfo) -> bool {
        match self.way.get() {
            Some(Way::Session(peer)) => std::ptr::eq(peer.info(), caller),
            Some(Way::Leg(_)) | None => false,
        }
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.standing.load(Ordering::Acquire) == REVOKED
    }

    pub(super) fn is_spared(&self) -> bool {
        self.spared.load(Ordering::Acquire) > 0
    }

    pub(super) fn close(&self) {
        match self.way.get() {
            Some(Way::Session(peer)) => peer.close(revoked_bye(&self.who)),
            Some(Way::Leg(cut)) => cut.cancel(),
            None => {}
        }
    }

    pub(super) fn is_covered(&self, denied: &Denied) -> bool {
        denied.covers(&self.who, &names(self.certificate.as_ref()))
    }

    pub(super) fn place(&self) -> Place {
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
pub(super) fn names(certificate: Option<&PeerCertificate>) -> [&str; 2] {
    certificate.map_or([""; 2], |certificate| [&*certificate.serial, &*certificate.sha256])
}
