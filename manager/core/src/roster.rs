//! Who is connected, who was, and who takes over: the newest connection of an agent wins.
//!
//! A [`Roster`] is told of connections that begin and end, and hands out the handle of each connected agent. What
//! comes late is fenced by the number of the connection: the goodbye of a connection that was replaced, or the hello
//! of a connection older than the newest one, which may be over, changes nothing.

mod row;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::text::tidy;

pub use self::row::{Counts, Entry, MAX_ADDRESS_LEN, MAX_POLICY_LEN, MAX_VERSION_LEN, Row, State};

/// How many agents that are away are remembered unless somebody says otherwise.
pub const MAX_AWAY: usize = 100_000;
/// Bytes kept of the reason why a connection ended.
pub const MAX_REASON_LEN: usize = 256;
/// An agent is flapping when it is replaced more often than this within [`FLAPPING_WINDOW`].
pub const FLAPPING_REPLACEMENTS: usize = 3;
/// How far back replacements are counted.
pub const FLAPPING_WINDOW: Duration = Duration::from_secs(60);

/// An agent was entered in the roster.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a replaced connection lives on until its handle is told to say goodbye"]
pub struct Connected<H> {
    /// The older connection of the same agent, which must get `Bye replaced`.
    pub replaced: Option<H>,
    /// The agent was replaced more than [`FLAPPING_REPLACEMENTS`] times within [`FLAPPING_WINDOW`]: most likely two
    /// machines share one identity. The newest still wins; somebody should hear of it.
    pub flapping: bool,
}

/// A newer connection of the same agent is in place, or was; nothing changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the newer connection {by} of this agent is in place, or was")]
pub struct Superseded<H> {
    /// The newest connection.
    pub by: ConnectionId,
    /// The handle that came too late, which must get `Bye replaced`.
    pub handle: H,
}

/// What the roster knows of one agent.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup<'a, H> {
    /// It is connected, or draining.
    Connected {
        /// The connection in place.
        connection: ConnectionId,
        /// How to reach it.
        handle: &'a H,
        /// It finishes what it has and refuses what is new.
        draining: bool,
    },
    /// It was connected and is not now.
    Away {
        /// When its last connection ended.
        last_seen: Instant,
        /// Why it ended.
        reason: &'a str,
    },
    /// It has not been seen, or so long ago that it was forgotten.
    Unknown,
}

/// Who is connected, with a handle `H` on each.
///
/// It has one owner. To read it from many tasks keep it behind one mutex and clone the handle out of [`Roster::get`]:
/// each operation is O(log n) and copies no text; a listing shares the texts and is taken in [pages](Roster::page).
/// No operation drops a handle: whoever leaves is returned, so that a handle's drop runs outside of the lock.
#[derive(Debug)]
pub struct Roster<H> {
    agents: BTreeMap<PeerId, Record<H>>,
    /// The agents that are away by the number of their departure: the longest away first.
    away: BTreeMap<u64, PeerId>,
    departures: u64,
    draining: usize,
    max_away: usize,
}

#[derive(Debug)]
struct Record<H> {
    connection: ConnectionId,
    entry: Arc<Entry>,
    presence: Presence<H>,
    /// When connections of this agent were replaced lately; at most one more than [`FLAPPING_REPLACEMENTS`].
    replacements: VecDeque<Instant>,
}

#[derive(Debug)]
enum Presence<H> {
    Here { handle: H, since: Instant, draining: bool },
    Away { departure: u64, last_seen: Instant, reason: Arc<str> },
}

impl<H> Roster<H> {
    /// An empty roster that remembers at most `max_away` agents that are away, the latest to leave.
    pub fn new(max_away: usize) -> Self {
        Self { agents: BTreeMap::new(), away: BTreeMap::new(), departures: 0, draining: 0, max_away }
    }

    /// Enters an authenticated connection of an agent. The newest wins: the highest number.
    ///
    /// # Errors
    /// [`Superseded`] when the connection in place, or the last one that was, has the same or a higher number. Hellos are answered by
    /// tasks of their own, so that an older connection's hello may come through after that of the newer one, and after its end, too:
    /// nothing that it says counts any more.
    pub fn connect(
        &mut self,
        agent: PeerId,
        connection: ConnectionId,
        entry: Entry,
        handle: H,
        now: Instant,
    ) -> Result<Connected<H>, Superseded<H>> {
        let entry = Arc::new(entry);
        let Some(record) = self.agents.get_mut(&agent) else {
            let presence = Presence::Here { handle, since: now, draining: false };
            self.agents.insert(agent, Record { connection, entry, presence, replacements: VecDeque::new() });
            return Ok(Connected { replaced: None, flapping: false });
        };
        if connection <= record.connection {
            return Err(Superseded { by: record.connection, handle });
        }
        record.connection = connection;
        record.entry = entry;
        match mem::replace(&mut record.presence, Presence::Here { handle, since: now, draining: false }) {
            Presence::Here { handle: older, draining, .. } => {
                self.draining -= usize::from(draining);
                Ok(Connected { replaced: Some(older), flapping: record.is_flapping(now) })
            }
            Presence::Away { departure, .. } => {
                self.away.remove(&departure);
                Ok(Connected { replaced: None, flapping: false })
            }
        }
    }

    /// Enters an agent that was connected before this roster was made, as away. Of no effect when it is known already.
    ///
    /// Only as many as the roster remembers: the rest is left out.
    pub fn remember(&mut self, agent: PeerId, reason: &str, now: Instant) {
        if self.away.len() >= self.max_away || self.agents.contains_key(&agent) {
            return;
        }
        let departure = self.departures;
        self.departures += 1;
        self.away.insert(departure, agent.clone());
        let reason = tidy(reason, MAX_REASON_LEN).into();
        let record = Record {
            connection: ConnectionId(0),
            entry: Arc::new(Entry::new("", 0, "", None)),
            presence: Presence::Away { departure, last_seen: now, reason },
            replacements: VecDeque::new(),
        };
        self.agents.insert(agent, record);
    }

    /// Notes the end of a connection and returns its handle; from here on the agent is away.
    ///
    /// `None`, and nothing changes, when this connection is not the one in place: it was replaced, or its end is
    /// known. `reason` is shortened to [`MAX_REASON_LEN`] and freed of control characters.
    pub fn disconnect(
        &mut self,
        agent: &PeerId,
        connection: ConnectionId,
        reason: &str,
        now: Instant,
    ) -> Option<H> {
        let record = self.agents.get_mut(agent).filter(|record| record.is_at(connection))?;
        let departure = self.departures;
        let reason = tidy(reason, MAX_REASON_LEN).into();
        let away = Presence::Away { departure, last_seen: now, reason };
        let Presence::Here { handle, draining, .. } = mem::replace(&mut record.presence, away) else {
            return None;
        };
        self.draining -= usize::from(draining);
        self.departures += 1;
        self.away.insert(departure, agent.clone());
        if self.away.len() > self.max_away
            && let Some((_, forgotten)) = self.away.pop_first()
        {
            self.agents.remove(&forgotten);
        }
        Some(handle)
    }

    /// Notes that an agent finishes what it has. `false`, and nothing changes, when this connection is not in place or said
    /// so before.
    ///
    /// It ends with the connection: the agent's next one is not draining.
    pub fn drain(&mut self, agent: &PeerId, connection: ConnectionId) -> bool {
        let Some(record) = self.agents.get_mut(agent).filter(|record| record.is_at(connection)) else {
            return false;
        };
        if let Presence::Here { draining, .. } = &mut record.presence
            && !mem::replace(draining, true)
        {
            self.draining += 1;
            return true;
        }
        false
    }

    /// Notes which policy holds on an agent from here on, by its digest. `false`, and nothing changes, when this connection is not in
    /// place or said the same before.
    pub fn policy(&mut self, agent: &PeerId, connection: ConnectionId, digest: &str) -> bool {
        let Some(record) = self.agents.get_mut(agent).filter(|record| record.is_at(connection)) else {
            return false;
        };
        let digest = tidy(digest, MAX_POLICY_LEN);
        if record.entry.policy() == Some(digest.as_str()) {
            return false;
        }
        // shared with listings, which show what held when they were taken
        record.entry = Arc::new(Entry::clone(&record.entry).with_policy(Some(&digest)));
        true
    }

    /// How to reach an agent, or why not.
    pub fn get(&self, agent: &PeerId) -> Lookup<'_, H> {
        match self.agents.get(agent) {
            None => Lookup::Unknown,
            Some(Record { connection, presence, .. }) => match presence {
                Presence::Here { handle, draining, .. } => {
                    Lookup::Connected { connection: *connection, handle, draining: *draining }
                }
                Presence::Away { last_seen, reason, .. } => Lookup::Away { last_seen: *last_seen, reason },
            },
        }
    }

    /// One agent's row, or `None` if it is unknown.
    pub fn row(&self, agent: &PeerId) -> Option<Row> {
        self.agents.get_key_value(agent).map(|(agent, record)| record.row(agent))
    }

    /// The first `limit` agents whose names come after `after`, in order of name.
    ///
    /// For readers who must not hold a lock for a whole listing: take a page, let go, and go on after its last name.
    /// Agents that come and go between two pages may be missed; none is listed twice.
    pub fn page(&self, after: Option<&PeerId>, limit: usize) -> Vec<Row> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.agents.range::<PeerId, _>((from, Bound::Unbounded));
        rest.take(limit).map(|(agent, record)| record.row(agent)).collect()
    }

    /// The handles of all connected agents in order of name, to tell them all something. O(n).
    pub fn handles(&self) -> impl Iterator<Item = (&PeerId, ConnectionId, &H)> {
        self.agents.iter().filter_map(|(agent, record)| match &record.presence {
            Presence::Here { handle, .. } => Some((agent, record.connection, handle)),
            Presence::Away { .. } => None,
        })
    }

    /// How many agents are in which state. O(1).
    pub fn counts(&self) -> Counts {
        let away = self.away.len();
        Counts { connected: self.agents.len() - away, draining: self.draining, away }
    }
}

impl<H> Default for Roster<H> {
    fn default() -> Self {
        Self::new(MAX_AWAY)
    }
}

impl<H> Record<H> {
    fn is_here(&self) -> bool {
        matches!(self.presence, Presence::Here { .. })
    }

    /// Whether this connection is the one in place.
    fn is_at(&self, connection: ConnectionId) -> bool {
        self.is_here() && self.connection == connection
    }

    /// Notes a replacement, and whether they have become too many.
    fn is_flapping(&mut self, now: Instant) -> bool {
        self.replacements.retain(|at| now.saturating_duration_since(*at) < FLAPPING_WINDOW);
        self.replacements.truncate(FLAPPING_REPLACEMENTS);
        self.replacements.push_front(now);
        self.replacements.len() > FLAPPING_REPLACEMENTS
    }

    fn row(&self, agent: &PeerId) -> Row {
        let state = match &self.presence {
            Presence::Here { since, draining: true, .. } => State::Draining { since: *since },
            Presence::Here { since, draining: false, .. } => State::Connected { since: *since },
            Presence::Away { last_seen, reason, .. } => {
                State::Away { last_seen: *last_seen, reason: Arc::clone(reason) }
            }
        };
        Row { agent: agent.clone(), connection: self.connection, entry: Arc::clone(&self.entry), state }
    }
}
