//! The agent's own certificate while it lives: its end is told in time, and once there is a newer one, the session that began with the
//! older one is left before the manager ends it.

use std::time::{Duration, SystemTime};

use redpoll_common::wire::{Bye, ByeCode};
use redpoll_net::{Peer, expiry};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::link::AgentLink;

const HOUR: Duration = Duration::from_secs(3_600);
/// How long before the end of its certificate a session is left as soon as nothing is in flight.
const LEAVE: Duration = Duration::from_secs(24 * 3_600);
/// The same, whatever is in flight: the manager would cut it, by a clock that may be another.
const LATEST: Duration = Duration::from_secs(300);

/// What to do with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nothing.
    Stay,
    /// Leave it when nothing is in flight.
    Finish,
    /// Leave it.
    Close,
}

/// What to do with a session whose certificate ends at `end`, when the newest one ends at `own`; and when to look again. The wall clock
/// may be set meanwhile: an hour is the longest that it is believed.
fn step(end: SystemTime, own: SystemTime, now: SystemTime) -> (Step, Duration) {
    let left = end.duration_since(now).unwrap_or_default();
    let until = |moment| left.saturating_sub(moment).min(HOUR);
    match left {
        _ if own <= end => (Step::Stay, HOUR), // the manager says so when it is over, and a person must act
        _ if left <= LATEST => (Step::Close, HOUR),
        _ if left <= LEAVE => (Step::Finish, until(LATEST)),
        _ => (Step::Stay, until(LEAVE)),
    }
}

/// Looks after the agent's certificate, for ever. `reloaded` tells that there may be another one.
pub(crate) async fn follow(link: &AgentLink, reloaded: &Notify) {
    let mut sessions: watch::Receiver<Option<Peer>> = link.sessions();
    let (mut told, mut finishing) = (Instant::now(), false);
    loop {
        let mut wait = HOUR;
        if let Some(peer) = sessions.borrow_and_update().clone() {
            let (step, again) = step(link.certificate_ends(), link.own_not_after(), SystemTime::now());
            let bye = || Bye::new(ByeCode::Idle, "the agent comes back with its newer certificate");
            match step {
                Step::Stay => {}
                Step::Finish if finishing => {}
                Step::Finish => {
                    info!("leaving the session when it is idle, for one with the newer certificate");
                    finishing = true;
                    peer.finish(bye());
                }
                Step::Close => peer.close(bye()),
            }
            wait = again;
        }
        if told.elapsed() >= 24 * HOUR {
            told = Instant::now();
            expiry::warn_if_soon("this agent", link.own_not_after());
        }
        tokio::select! {
            biased; // the order is of no importance
            changed = sessions.changed() => {
                finishing = false;
                if changed.is_err() {
                    return;
                }
            }
            () = reloaded.notified() => {
                told = Instant::now();
                expiry::warn_if_soon("this agent", link.own_not_after());
            }
            () = sleep(wait) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_left_on_its_last_day_if_there_is_a_newer_certificate_and_only_then() {
        let now = SystemTime::UNIX_EPOCH + 10_000 * HOUR;
        let of = |left: Duration, newer: bool| {
            let end = now + left;
            step(end, if newer { end + HOUR } else { end }, now)
        };
        for left in [Duration::ZERO, LATEST, LEAVE, 100 * LEAVE] {
            assert_eq!(of(left, false), (Step::Stay, HOUR));
        }
        assert_eq!(of(100 * LEAVE, true), (Step::Stay, HOUR));
        let second = Duration::from_secs(1);
        assert_eq!(of(LEAVE + second, true), (Step::Stay, second));
        assert_eq!(of(LEAVE, true), (Step::Finish, HOUR));
        assert_eq!(of(LATEST + second, true), (Step::Finish, second));
        assert_eq!(of(LATEST, true).0, Step::Close);
        assert_eq!(step(now - HOUR, now + HOUR, now).0, Step::Close, "it is over");
    }
}
