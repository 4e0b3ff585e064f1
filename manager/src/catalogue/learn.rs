//! Asks an agent for its list, page after page, when it announces one that is not known. One at a time for each session.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redpoll_common::api::agent_method;
use redpoll_common::bucket::TokenBucket;
use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::session::Refusal;
use redpoll_common::wire::{DecodeError, FaultCode, Raw, RawMap, scan};
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
/// The most values of a list: each takes many times as much memory as on the wire.
const MAX_VALUES: usize = 512 * 1024;
/// Announcements of known lists in one session that hold at once: per second in the long run, and in a row. Each has the engine look
/// at the open jobs; further ones come one by one, as those do that have to be asked for.
const AT_ONCE: (u32, u32) = (1, 10);
/// The least time between two lists of one session: whoever changes it without end costs no more than that.
const PAUSE: Duration = Duration::from_millis(200);

/// The announcements of one session.
#[derive(Debug)]
pub struct Announcements {
    state: Mutex<State>,
    /// There is a newer one: whoever waits to ask again need not wait for that.
    newer: Notify,
}

#[derive(Debug)]
struct State {
    /// The newest that was not looked at yet.
    newest: Option<ListingDigest>,
    /// A task looks at them.
    busy: bool,
    at_once: TokenBucket,
}

impl Default for Announcements {
    fn default() -> Self {
        let (rate, burst) = AT_ONCE;
        let state = State { newest: None, busy: false, at_once: TokenBucket::new(rate, burst) };
        Self { state: Mutex::new(state), newer: Notify::new() }
    }
}

/// A list as an agent gave it.
#[derive(Debug)]
struct Given {
    digest: ListingDigest,
    elements: Vec<Raw>,
    bytes: usize,
    values: usize,
}

/// Why a list was not taken.
#[derive(Debug, thiserror::Error)]
enum NotLearned {
    #[error("the agent did not give it: {0}")]
    Asked(#[from] CallError),
    #[error("its answer cannot be read: {0}")]
    Unreadable(#[from] DecodeError),
    #[error("it has more than {MAX_PROCEDURES} procedures, {MAX_BYTES} bytes or {MAX_VALUES} values")]
    TooLarge,
    #[error("its pages do not have the digest that the agent says they have")]
    OtherDigest,
    #[error("its pages do not end")]
    Endless,
    #[error("it could not be read")]
    Stopped,
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
            Self::Asked(_)
            | Self::Unreadable(_)
            | Self::TooLarge
            | Self::Endless
            | Self::Stopped
            | Self::NotEntered(_) => false,
        }
    }
}

impl Announcements {
    /// Takes an announcement; never waits.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn take(
        self: &Arc<Self>,
        (manager, engine): (&Arc<Manager>, &Engine),
        (agent, connection): (&PeerId, ConnectionId),
        data: &Raw,
        tracker: &TaskTracker,
    ) -> Result<(), DecodeError> {
        let Announcement { digest, policy } = Announcement::read(data)?;
        if let Some(policy) = policy {
            manager.with_roster(|roster| roster.policy(agent, connection, &policy));
        }
        // before the list is bound: an older one that the task has in its hands must not be entered over it
        let is_busy = self.supersede(digest);
        let is_known = manager.with_catalogue(|catalogue| catalogue.holds(agent, connection, digest))
            || (self.may_hold_at_once() && bind((manager, engine), (agent, connection), digest).is_ok());
        if is_known {
            if is_busy {
                self.newer.notify_one();
            }
            return Ok(());
        }
        let mut state = self.state();
        state.newest = Some(digest);
        if std::mem::replace(&mut state.busy, true) {
            drop(state);
            self.newer.notify_one();
            return Ok(());
        }
        drop(state);
        let (own, manager, engine, agent) = (self.clone(), manager.clone(), engine.clone(), agent.clone());
        tracker.spawn(async move { own.work(&manager, &engine, &agent, connection).await }.in_current_span());
        Ok(())
    }

    async fn work(&self, manager: &Manager, engine: &Engine, agent: &PeerId, connection: ConnectionId) {
        let mut again = Again::new(random::number());
        while let Some(digest) = self.next() {
            let Some(peer) = manager.peer(agent, connection) else { continue };
            let entered = match bind((manager, engine), (agent, connection), digest) {
                // bound when it was announced
                Ok(false) => {
                    again.settled();
                    continue;
                }
                // known by now, from another agent
                Ok(true) => Ok(()),
                Err(_not_known) => tokio::select! {
                    biased;
                    _ended = peer.closed() => continue,
                    // a manager that stops waits for nobody's list
                    () = manager.draining() => return,
                    learned = self.learn((manager, engine), (agent, connection, &peer), digest, again.patience()) => learned,
                },
            };
            let wait = match entered {
                Ok(()) => None,
                Err(error) => self.ask_again((manager, &peer), digest, &mut again, &error),
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
    fn ask_again(
        &self,
        (manager, peer): (&Manager, &Peer),
        digest: ListingDigest,
        again: &mut Again,
        error: &NotLearned,
    ) -> Option<Duration> {
        let wait = again.failed(Instant::now()).filter(|_| error.may_pass());
        let Some(wait) = wait else {
            if let Some(left_out) = manager.log_due(peer.info().ip, "procedures") {
                warn!(%error, left_out, "the procedures of the agent are not known; calls are not checked before they are sent");
            }
            return None;
        };
        debug!(%error, ?wait, "the agent is asked for its procedures again");
        // a newer one is what is asked for then
        self.state().newest.get_or_insert(digest);
        Some(wait)
    }

    /// Asks for the list, and enters it.
    async fn learn(
        &self,
        whom: (&Manager, &Engine),
        (agent, connection, peer): (&PeerId, ConnectionId, &Peer),
        announced: ListingDigest,
        patience: Duration,
    ) -> Result<(), NotLearned> {
        let Given { digest, elements, bytes, values } = ask(peer, patience).await?;
        if digest != announced {
            debug!("the list has changed since it was announced");
        }
        // megabytes, which are read where nobody waits for the thread, nor for the catalogue
        let list = tokio::task::spawn_blocking(move || Arc::new(Procedures::read(elements)));
        let list = list.await.map_err(|_panicked| NotLearned::Stopped)?;
        let weight = Procedures::weight(bytes, values);
        self.enter(whom, (agent, connection), (digest, &list, weight)).map_err(NotLearned::from)
    }

    /// Enters a list, unless the session is over. One that is known and was announced since this was asked for holds in its place.
    fn enter(
        &self,
        (manager, engine): (&Manager, &Engine),
        (agent, connection): (&PeerId, ConnectionId),
        (digest, list, weight): (ListingDigest, &Arc<Procedures>, usize),
    ) -> Result<(), NotEntered> {
        manager.with_catalogue(|catalogue| {
            if manager.peer(agent, connection).is_none() {
                return Err(NotEntered::Superseded);
            }
            let newest = self.state().newest;
            let bound = newest.and_then(|newest| catalogue.bind(agent, connection, newest).ok());
            let is_new = match bound {
                Some(is_new) => is_new,
                None => catalogue.learn((agent, connection), digest, list, weight)?,
            };
            if is_new {
                tell(catalogue, engine, agent);
            }
            Ok(())
        })
    }

    /// Whether a known list that is announced now holds at once.
    fn may_hold_at_once(&self) -> bool {
        let now = tokio::time::Instant::now().into_std();
        self.state().at_once.take(now).is_ok()
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
/// of the catalogue. `false`, and nothing changes, when it does already.
fn bind(
    (manager, engine): (&Manager, &Engine),
    (agent, connection): (&PeerId, ConnectionId),
    digest: ListingDigest,
) -> Result<bool, NotEntered> {
    manager.with_catalogue(|catalogue| {
        if manager.peer(agent, connection).is_none() {
            return Err(NotEntered::Superseded);
        }
        let is_new = catalogue.bind(agent, connection, digest)?;
        if is_new {
            tell(catalogue, engine, agent);
        }
        Ok(is_new)
    })
}

/// The whole list, with its digest computed here: what an agent says of it must not decide what others are judged by.
async fn ask(peer: &Peer, patience: Duration) -> Result<Given, NotLearned> {
    let (mut elements, mut bytes, mut values) = (Vec::new(), 0_usize, 0_usize);
    let (mut after, mut said) = (0_u64, None);
    loop {
        let kwargs = RawMap::new().uint("after", after).finish();
        let page = peer.call(Call::new(agent_method::PROCEDURES, patience).with_kwargs(kwargs)).await?;
        let page = ListingPage::read(&page)?;
        if *said.get_or_insert(page.digest) != page.digest {
            // it changed between two pages: the announcement of the new one is on its way
            return Err(NotLearned::OtherDigest);
        }
        let is_empty = page.elements.is_empty();
        bytes = page.elements.iter().fold(bytes, |sum, element| sum.saturating_add(element.len()));
        values = page.elements.iter().fold(values, |sum, element| sum.saturating_add(values_of(element)));
        elements.extend(page.elements);
        if bytes > MAX_BYTES || values > MAX_VALUES || elements.len() > MAX_PROCEDURES {
            return Err(NotLearned::TooLarge);
        }
        match page.next {
            Some(next) if next > after && !is_empty => after = next,
            // one that brings nothing costs nothing that is counted
            Some(_) => return Err(NotLearned::Endless),
            None => {
                let digest = digest_of(&elements);
                let is_true = said == Some(digest);
                let given = Given { digest, elements, bytes, values };
                return if is_true { Ok(given) } else { Err(NotLearned::OtherDigest) };
            }
        }
    }
}

/// How many values a value has.
fn values_of(element: &Raw) -> usize {
    scan::measure(element.as_bytes()).map_or(usize::MAX, |cost| cost.nodes)
}
