//! What each agent offers: lists that agents share, found by their digest.
//!
//! Ten thousand agents with the same procedures cost one list. An agent that says nothing is not in the catalogue. What an
//! agent said in an earlier session is kept as the last that is known, until it says something new; it counts as
//! [`Standing::LastKnown`], and what is connected must not be judged by it: the agent may have been replaced by another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use redpoll_common::ids::{ConnectionId, PeerId};

/// Names a list: the digest of its content, computed by whoever enters it.
pub type ListDigest = [u8; 32];

/// What a catalogue may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Different lists.
    pub lists: usize,
    /// Bytes of all lists, as whoever enters them weighs them.
    pub bytes: usize,
    /// Agents that are away and remembered.
    pub away: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { lists: 4096, bytes: 512 * 1024 * 1024, away: 100_000 }
    }
}

/// How sure it is that a list holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The agent said so in its present session.
    Current,
    /// It said so in an earlier session.
    LastKnown,
}

/// Why an agent was not entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotEntered {
    /// No list has this digest; it has to be asked for.
    #[error("no list has this digest")]
    Unknown,
    /// The catalogue is full.
    #[error("the catalogue of procedures is full")]
    Full,
    /// A newer connection of the agent is in place, or this one has ended.
    #[error("this connection of the agent is over")]
    Superseded,
}

#[derive(Debug)]
struct Shelf<L> {
    list: Arc<L>,
    bytes: usize,
    holders: usize,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    connection: ConnectionId,
    digest: ListDigest,
    standing: Standing,
    /// The number of its departure, while it is away.
    gone: Option<u64>,
}

impl Place {
    /// Whether what comes on this connection comes too late.
    fn is_over(&self, connection: ConnectionId) -> bool {
        self.connection > connection || (self.connection == connection && self.gone.is_some())
    }
}

/// Lists `L` by digest, and which agent holds which.
#[derive(Debug)]
pub struct Catalogue<L> {
    bounds: Bounds,
    bytes: usize,
    lists: BTreeMap<ListDigest, Shelf<L>>,
    agents: BTreeMap<PeerId, Place>,
    /// Who is away, the longest gone first. Whoever comes back is taken out: how often one came and went costs no other its list.
    gone: BTreeMap<u64, PeerId>,
    departures: u64,
    /// What nobody holds any more, until somebody takes it.
    dropped: Vec<Arc<L>>,
}

impl<L> Catalogue<L> {
    /// An empty one.
    pub fn new(bounds: Bounds) -> Self {
        let (lists, agents, gone) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { bounds, bytes: 0, lists, agents, gone, departures: 0, dropped: Vec::new() }
    }

    /// A session of the agent begins: what it said before is the last that is known.
    pub fn arrive(&mut self, agent: &PeerId, connection: ConnectionId) {
        if let Some(place) = self.agents.get_mut(agent)
            && place.connection < connection
        {
            if let Some(departure) = place.gone {
                self.gone.remove(&departure);
            }
            *place = Place { connection, standing: Standing::LastKnown, gone: None, ..*place };
        }
    }

    /// The agent says that it holds a list that is here already. `false`, and nothing changes, when it said so before on this
    /// connection.
    ///
    /// # Errors
    /// [`NotEntered`] when it is not here, or comes too late.
    pub fn bind(
        &mut self,
        agent: &PeerId,
        connection: ConnectionId,
        digest: ListDigest,
    ) -> Result<bool, NotEntered> {
        if self.holds(agent, connection, digest) {
            return Ok(false);
        }
        let before = self.agents.get(agent).copied();
        if before.is_some_and(|place| place.is_over(connection)) {
            return Err(NotEntered::Superseded);
        }
        let shelf = self.lists.get_mut(&digest).ok_or(NotEntered::Unknown)?;
        shelf.holders += 1;
        let place = Place { connection, digest, standing: Standing::Current, gone: None };
        self.agents.insert(agent.clone(), place);
        if let Some(before) = before {
            if let Some(departure) = before.gone {
                self.gone.remove(&departure);
            }
            self.let_go(&before.digest);
        }
        Ok(true)
    }

    /// Whether the agent is here on this connection, and said on it that it holds this list.
    pub fn holds(&self, agent: &PeerId, connection: ConnectionId, digest: ListDigest) -> bool {
        self.agents.get(agent).is_some_and(|place| {
            place.connection == connection
                && place.digest == digest
                && place.standing == Standing::Current
                && place.gone.is_none()
        })
    }

    /// Enters a list of so many bytes that the agent gave, and that the agent holds it. To make room, agents that are away are
    /// forgotten, the longest gone first. `false`, and nothing changes, when it said so before on this connection.
    ///
    /// # Errors
    /// [`NotEntered`] when there is no room, or it comes too late; then nothing is entered.
    pub fn learn(
        &mut self,
        (agent, connection): (&PeerId, ConnectionId),
        digest: ListDigest,
        list: &Arc<L>,
        bytes: usize,
    ) -> Result<bool, NotEntered> {
        if self.agents.get(agent).is_some_and(|place| place.is_over(connection)) {
            return Err(NotEntered::Superseded);
        }
        if !self.lists.contains_key(&digest) {
            while self.lists.len() >= self.bounds.lists
                || self.bytes.saturating_add(bytes) > self.bounds.bytes
            {
                if !self.forget_oldest() {
                    return Err(NotEntered::Full);
                }
            }
            self.bytes = self.bytes.saturating_add(bytes);
            self.lists.insert(digest, Shelf { list: list.clone(), bytes, holders: 0 });
        }
        self.bind(agent, connection, digest)
    }

    /// A session of the agent ended. Of no effect when a newer one is in place.
    pub fn leave(&mut self, agent: &PeerId, connection: ConnectionId) {
        let Some(place) = self.agents.get_mut(agent).filter(|place| !place.is_over(connection)) else {
            return;
        };
        let departure = self.departures;
        self.departures += 1;
        let before = place.gone.replace(departure);
        *place = Place { connection, standing: Standing::LastKnown, ..*place };
        if let Some(before) = before {
            self.gone.remove(&before);
        }
        self.gone.insert(departure, agent.clone());
        while self.gone.len() > self.bounds.away && self.forget_oldest() {}
    }

    /// What the agent holds.
    pub fn of(&self, agent: &PeerId) -> Option<(&Arc<L>, Standing)> {
        let place = self.agents.get(agent)?;
        Some((&self.lists.get(&place.digest)?.list, place.standing))
    }

    /// The agents whose list is one of these. Each list is looked at once.
    pub fn holders(&self, of: impl Fn(&L) -> bool) -> Vec<PeerId> {
        let lists = self.lists.iter().filter(|(_, shelf)| of(&shelf.list));
        let wanted: BTreeSet<ListDigest> = lists.map(|(digest, _)| *digest).collect();
        let holders = self.agents.iter().filter(|(_, place)| wanted.contains(&place.digest));
        holders.map(|(agent, _)| agent.clone()).collect()
    }

    /// How many different lists there are, and their bytes.
    pub fn size(&self) -> (usize, usize) {
        (self.lists.len(), self.bytes)
    }

    /// What nobody holds any more since this was called last: large, and freed better where nobody waits for the catalogue.
    pub fn take_dropped(&mut self) -> Vec<Arc<L>> {
        std::mem::take(&mut self.dropped)
    }

    /// Forgets the agent that is away longest; false when none is.
    fn forget_oldest(&mut self) -> bool {
        let Some((_departure, agent)) = self.gone.pop_first() else { return false };
        if let Some(place) = self.agents.remove(&agent) {
            self.let_go(&place.digest);
        }
        true
    }

    fn let_go(&mut self, digest: &ListDigest) {
        let Some(shelf) = self.lists.get_mut(digest) else { return };
        shelf.holders = shelf.holders.saturating_sub(1);
        if shelf.holders == 0 {
            self.bytes = self.bytes.saturating_sub(shelf.bytes);
            self.dropped.extend(self.lists.remove(digest).map(|shelf| shelf.list));
        }
    }
}

#[cfg(test)]
mod tests;
