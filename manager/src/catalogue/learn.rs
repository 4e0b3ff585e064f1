//! Asks an agent for its list, page after page, when it announces one that is not known. One at a time for each session.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redpoll_common::api::agent_method;
use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::session::Refusal;
use redpoll_common::wire::{FaultCode, Raw, RawMap};
use redpoll_manager_core::catalogue::{Catalogue, NotEntered};
use redpoll_net::listing::{Announcement, ListingDigest, ListingPage, digest_of};
use redpoll_net::{Call, CallError, Peer, random};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, warn};

use super::Procedures;
use super::again::Again;
use crate::engine::{Agents as _, Engine};
use crate::state::Manager;

/// The most procedures of an agent, every version counted.
const MAX_PROCEDURES: usize = 4096;
/// The most bytes of a list.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// The least time between two lists of one session: whoever changes it without end costs no more than that.
const PAUSE: Duration = Duration::from_millis(200);

/// The announcements of one session.
#[derive(Debug, Default)]
pub struct Announcements {
    state: Mutex<State>,
    /// There is a newer one: whoever waits to ask again need not wait for that.
    newer: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The newest that was not looked at yet.
    newest: Option<ListingDigest>,
    /// A task looks at them.
    busy: bool,
}

/// Why a list was not taken.
#[derive(Debug, thiserror::Error)]
enum NotLearned {
    #[error("the agent did not give it: {0}")]
    Asked(#[from] CallError),
    #[error("its answer cannot be read: {0}")]
    Unreadable(#[from] redpoll_common::wire::DecodeError),
    #[error("it has more than {MAX_PROCEDURES} procedures or {MAX_BYTES} bytes")]
    TooLarge,
    #[error("its pages do not have the digest that the agent says they have")]
    OtherDigest,
    #[error("its pages do not end")]
    Endless,
    #[error("{0}")]
    NotEntered(#[from] NotEntered),
}

impl NotLearned {
    /// Whether the same question may be answered later: it was lost or came at a bad time, or the list changed meanwhile.
    fn may_pass(&self) -> bool {
        match self {
            Self::Asked(CallError::Fault(fault)) => {
                matches!(fault.code, FaultCode::Overloaded | FaultCode::TimedOut | FaultCode::Internal)
            }
            Self::Asked(CallError::TimedOut(_) | CallError::Refused(Refusal::TooMany { .. }))
            | Self::OtherDigest => true,
            // there is nobody to ask any more, or the answer would be the same
            Self::Asked(_) | Self::Unreadable(_) | Self::TooLarge | Self::Endless | Self::NotEntered(_) => {
                false
            }
        }
    }
}

impl Announcements {
    /// Takes an announcement; never waits.
    pub fn take(
        self: &Arc<Self>,
        (manager, engine): (&Arc<Manager>, &Engine),
        (agent, connection): (&PeerId, ConnectionId),
        data: &Raw,
        tracker: &TaskTracker,
    ) {
        let Ok(Announcement { digest, policy }) = Announcement::read(data) else {
            return warn!("an announcement of procedures that cannot be read");
        };
        if let Some(policy) = policy {
            manager.with_roster(|roster| roster.policy(agent, connection, &policy));
        }
        // before the list is bound: an older one that the task has in its hands must not be entered over it
        let is_busy = self.supersede(digest);
        if bind((manager, engine), (agent, connection), digest).is_ok() {
            if is_busy {
                self.newer.notify_one();
            }
            return;
        }
        let mut state = self.state();
        state.newest = Some(digest);
        if std::mem::replace(&mut state.busy, true) {
            drop(state);
            return self.newer.notify_one();
        }
        drop(state);
        let (own, manager, engine, agent) = (self.clone(), manager.clone(), engine.clone(), agent.clone());
        tracker.spawn(async move { own.work(&manager, &engine, &agent, connection).await }.in_current_span());
    }

    async fn work(&self, manager: &Manager, engine: &Engine, agent: &PeerId, connection: ConnectionId) {
        let mut again = Again::new(random::number());
        while let Some(digest) = self.next() {
            // known by now, from another agent, or bound when it was announced
            if bind((manager, engine), (agent, connection), digest).is_ok() {
                again.settled();
                continue;
            }
            let Some(peer) = manager.peer(agent, connection) else { continue };
            let entered = tokio::select! {
                biased;
                _ended = peer.closed() => continue,
                // a manager that stops waits for nobody's list
                () = manager.draining() => return,
                learned = learn(&peer, again.patience()) => learned.and_then(|(real, elements, bytes)| {
                    if real != digest {
                        debug!("the list has changed since it was announced");
                    }
                    self.enter((manager, engine), (agent, connection), (real, elements, bytes)).map_err(NotLearned::from)
                }),
            };
            let wait = match entered {
                Ok(()) => None,
                Err(error) => self.ask_again(digest, &mut again, &error),
            };
            let rest = async {
                tokio::time::sleep(PAUSE).await;
                let Some(wait) = wait else { return again.settled() };
                tokio::select! {
                    () = self.newer.notified() => again.settled(),
                    () = tokio::time::sleep(wait.saturating_sub(PAUSE)) => {}
                    _ended = peer.closed() => {}
                }
            };
            tokio::select! {
                () = manager.draining() => return,
                () = rest => {}
            }
        }
    }

    /// After a failure: how long to wait before the agent is asked again; `None` when that would not help, or was done often enough.
    fn ask_again(&self, digest: ListingDigest, again: &mut Again, error: &NotLearned) -> Option<Duration> {
        let wait = again.failed(Instant::now()).filter(|_| error.may_pass());
        let Some(wait) = wait else {
            warn!(%error, "the procedures of the agent are not known; calls are not checked before they are sent");
            return None;
        };
        debug!(%error, ?wait, "the agent is asked for its procedures again");
        // a newer one is what is asked for then
        self.state().newest.get_or_insert(digest);
        Some(wait)
    }

    /// Enters a list, unless the session is over. One that is known and was announced since this was asked for holds in its place.
    fn enter(
        &self,
        (manager, engine): (&Manager, &Engine),
        (agent, connection): (&PeerId, ConnectionId),
        (digest, elements, bytes): (ListingDigest, Vec<Raw>, usize),
    ) -> Result<(), NotEntered> {
        manager.with_catalogue(|catalogue| {
            if manager.peer(agent, connection).is_none() {
                return Err(NotEntered::Superseded);
            }
            let newest = self.state().newest;
            if newest.is_none_or(|newest| catalogue.bind(agent, connection, newest).is_err()) {
                catalogue.learn((agent, connection), digest, || Procedures::read(elements), bytes)?;
            }
            tell(catalogue, engine, agent);
            Ok(())
        })
    }

    /// Has the task, if there is one, look at this one next.
    fn supersede(&self, digest: ListingDigest) -> bool {
        let mut state = self.state();
        if state.busy {
            state.newest = Some(digest);
        }
        state.busy
    }

    fn next(&self) -> Option<ListingDigest> {
        let mut state = self.state();
        let next = state.newest.take();
        state.busy = next.is_some();
        next
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the jobs of an agent know what nobody may see of their arguments, if its list says anything of that. In the same step in which the
/// list becomes known: who sees it, and asks for the end of a job then, must find the job masked.
fn tell(catalogue: &Catalogue<Procedures>, engine: &Engine, agent: &PeerId) {
    if catalogue.of(agent).is_some_and(|(list, _standing)| list.has_secrets()) {
        engine.listed(agent.clone());
    }
}

/// Has the agent hold a list that is known, unless the session is over: whoever leaves is taken out of the roster first, and then out
/// of the catalogue.
fn bind(
    (manager, engine): (&Manager, &Engine),
    (agent, connection): (&PeerId, ConnectionId),
    digest: ListingDigest,
) -> Result<(), NotEntered> {
    manager.with_catalogue(|catalogue| {
        if manager.peer(agent, connection).is_none() {
            return Err(NotEntered::Superseded);
        }
        catalogue.bind(agent, connection, digest)?;
        tell(catalogue, engine, agent);
        Ok(())
    })
}

/// The whole list, with its digest computed here: what an agent says of it must not decide what others are judged by.
async fn learn(peer: &Peer, patience: Duration) -> Result<(ListingDigest, Vec<Raw>, usize), NotLearned> {
    let (mut elements, mut bytes, mut after, mut said) = (Vec::new(), 0_usize, 0_u64, None);
    loop {
        let kwargs = RawMap::new().uint("after", after).finish();
        let page = peer.call(Call::new(agent_method::PROCEDURES, patience).with_kwargs(kwargs)).await?;
        let page = ListingPage::read(&page)?;
        if *said.get_or_insert(page.digest) != page.digest {
            // it changed between two pages: the announcement of the new one is on its way
            return Err(NotLearned::OtherDigest);
        }
        bytes = page.elements.iter().fold(bytes, |sum, element| sum.saturating_add(element.len()));
        elements.extend(page.elements);
        if bytes > MAX_BYTES || elements.len() > MAX_PROCEDURES {
            return Err(NotLearned::TooLarge);
        }
        match page.next {
            Some(next) if next > after => after = next,
            Some(_) => return Err(NotLearned::Endless),
            None => {
                let digest = digest_of(&elements);
                let is_true = said == Some(digest);
                return if is_true { Ok((digest, elements, bytes)) } else { Err(NotLearned::OtherDigest) };
            }
        }
    }
}
