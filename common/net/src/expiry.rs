//! The end of certificates while sessions live: one that comes soon is told, one that has come ends the session.

use std::time::{Duration, SystemTime};

use redpoll_common::identity::Role;
use redpoll_common::session::CloseReason;
use redpoll_common::wire::{Bye, ByeCode};
use tokio::time::Instant;
use tracing::warn;

use crate::peer::Peer;

/// How long before its end a certificate is worth a line in the log.
pub const SOON: Duration = Duration::from_secs(7 * DAY);

const DAY: u64 = 86_400;

/// How long the wall clock is believed when it says that a certificate is still valid: it may be set meanwhile, and
/// timers stand still while the machine sleeps.
const LOOK_AT_THE_CLOCK: Duration = Duration::from_secs(60);

/// Whether a certificate ends within [`SOON`].
pub fn is_soon(not_after: SystemTime, now: SystemTime) -> bool {
    not_after.duration_since(now).map_or(true, |left| left <= SOON)
}

/// Logs at WARN that a certificate ends within [`SOON`], if it does; `whose` names its owner.
pub fn warn_if_soon(whose: &str, not_after: SystemTime) {
    let now = SystemTime::now();
    if is_soon(not_after, now) {
        let days_left = not_after.duration_since(now).unwrap_or_default().as_secs() / DAY;
        warn!(whose, days_left, help = "renew it and reload its owner", "a certificate ends soon");
    }
}

/// When the certificate of a session's peer ends, where it has one.
pub fn of(peer: &Peer) -> Option<SystemTime> {
    peer.info().certificate.as_ref().map(|certificate| certificate.not_after)
}

/// Drives a session to its end, and closes it when the peer's certificate expires: the peer would not be let in any
/// more. Once a day it is told if that is soon, but not of operators, who may have certificates for a day.
pub async fn close_when_expired(peer: &Peer, driver: impl Future<Output = CloseReason>) -> CloseReason {
    let Some(not_after) = of(peer) else { return driver.await };
    let tell = || match peer.info().identity.role {
        Role::Agent => warn_if_soon("agent", not_after),
        Role::Manager => warn_if_soon("manager", not_after),
        Role::Operator => {}
    };
    tokio::pin!(driver);
    tokio::select! {
        biased;
        reason = &mut driver => return reason,
        () = expires(not_after, tell) => {}
    }
    peer.close(Bye::new(ByeCode::Unauthorized, "the certificate has expired"));
    driver.await
}

/// Completes when a certificate ends, and calls `tell` once a day, the first time after a day.
async fn expires(not_after: SystemTime, tell: impl Fn()) {
    let mut told = Instant::now();
    // a certificate that expired during the handshake has nothing left
    while let Ok(left) = not_after.duration_since(SystemTime::now()) {
        tokio::time::sleep(left.min(LOOK_AT_THE_CLOCK)).await;
        if told.elapsed().as_secs() >= DAY {
            told = Instant::now();
            tell();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_worth_a_line_in_its_last_week_and_after_it() {
        let now = SystemTime::UNIX_EPOCH + 100 * SOON;
        assert!(!is_soon(now + SOON + Duration::from_secs(1), now));
        assert!(is_soon(now + SOON, now));
        assert!(is_soon(now, now));
        assert!(is_soon(now - SOON, now));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_certificate_is_looked_at_once_a_day_as_long_as_a_session_lives() {
        let told = std::cell::Cell::new(0_u32);
        let tell = || told.set(told.get() + 1);
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let life = tokio::time::timeout(hours(7 * 24 + 1), expires(SystemTime::now() + 100 * SOON, tell));
        assert!(life.await.is_err());
        assert_eq!(told.get(), 7);
        expires(SystemTime::now() - SOON, tell).await;
    }
}
