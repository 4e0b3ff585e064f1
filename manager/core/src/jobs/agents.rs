//! What the machine knows of an agent: its session, and what it has.

use std::collections::{BTreeMap, BTreeSet};

use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::job::{Dno, QueueKey};

use super::model::{At, Class};
use super::put_back::Crowd;
use super::record::AgentCounters;

/// An agent that was connected, or has ever been offered something.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) counters: AgentCounters,
    pub(super) link: Link,
    /// The newest connection that anything was told of, its end included: what is told of an older one comes too late.
    pub(super) newest: Option<ConnectionId>,
    /// The newest connection that was closed because the agent was shut out: nothing of it counts, nor of an older one.
    pub(super) cut: Option<ConnectionId>,
    /// The connection over which it last showed numbers that nobody can have given out.
    pub(super) impossible: Option<ConnectionId>,
    /// What it has or may have, by dispatch number.
    pub(super) has: BTreeMap<Dno, At>,
    /// The first number that was new in its session.
    pub(super) first_dno: Dno,
    /// How many of these are offered and not answered.
    pub(super) unanswered: usize,
    /// The first of each of its lanes which found it without room.
    pub(super) blocked: BTreeSet<(Class, u64, QueueKey)>,
    /// It stops, and takes no offers before its next session, or before this time.
    pub(super) stops_until: Option<u64>,
    /// What it put back and has not been offered again, by what the runs wait for, in order of `seq`.
    pub(super) crowded: BTreeMap<(Crowd, u64), At>,
    /// What it put back and wants to be asked for again at a time.
    pub(super) asked: BTreeSet<At>,
}

/// An agent's session.
#[derive(Debug)]
pub(super) enum Link {
    Away,
    /// It has not told everything that it has.
    Resuming {
        connection: ConnectionId,
        /// `None` before the first page; then whether the spool is the one that we know.
        same_spool: Option<bool>,
        /// The highest number that this store had given out, when the agent has seen higher ones.
        behind: Option<Dno>,
        /// The numbers it has told of, of those it should have.
        told: BTreeSet<Dno>,
    },
    /// It takes offers, unless it stops.
    Live(ConnectionId),
}

impl Agent {
    pub(super) fn new(agent: PeerId) -> Self {
        let counters = AgentCounters { agent, spool: None, last_dno: Dno(0), seen_dno: Dno(0) };
        Self {
            counters,
            link: Link::Away,
            newest: None,
            cut: None,
            impossible: None,
            has: BTreeMap::new(),
            first_dno: Dno(0),
            unanswered: 0,
            blocked: BTreeSet::new(),
            stops_until: None,
            crowded: BTreeMap::new(),
            asked: BTreeSet::new(),
        }
    }

    /// The number of its next new offer.
    pub(super) fn next_dno(&self) -> Dno {
        Dno(self.counters.last_dno.0.saturating_add(1))
    }

    /// The first of this class that found no room. Found without looking at those of the others, which may be very many.
    pub(super) fn blocked_of(&self, class: Class) -> Option<(u64, QueueKey)> {
        let least = (class, 0, QueueKey::from_stored(&[]));
        let first = self.blocked.range(least..).next().filter(|(of, ..)| *of == class);
        first.map(|(_, seq, queue)| (*seq, queue.clone()))
    }

    /// It has told everything that it has.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.link, Link::Live(_))
    }

    /// It takes offers.
    pub(super) fn takes(&self) -> bool {
        self.is_live() && self.stops_until.is_none()
    }

    pub(super) fn connection(&self) -> Option<ConnectionId> {
        match &self.link {
            Link::Away => None,
            Link::Resuming { connection, .. } | Link::Live(connection) => Some(*connection),
        }
    }
}
