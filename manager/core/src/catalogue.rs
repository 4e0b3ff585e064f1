//! What each agent offers: lists that agents share, found by their digest.
//!
//! Ten thousand agents with the same procedures cost one list. An agent that says nothing is not in the catalogue. What an
//! agent said in an earlier session is kept as the last that is known, until it says something new; it counts as
//! [`Standing::LastKnown`], and what is connected must not be judged by it: the agent may have been replaced by another.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use redpoll_common::ids::{ConnectionId, PeerId};

/// Names a list: the digest of its content, computed by whoever enters it.
pub type ListDigest = [u8; 32];

/// What a catalogue may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Different lists.
    pub lists: usize,
    /// Bytes of all lists.
    pub bytes: usize,
    /// Agents that are away and remembered.
    pub away: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { lists: 4096, bytes: 256 * 1024 * 1024, away: 100_000 }
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
    here: bool,
}

impl Place {
    /// Whether what comes on this connection comes too late.
    fn is_over(&self, connection: ConnectionId) -> bool {
        self.connection > connection || (self.connection == connection && !self.here)
    }
}

/// Lists `L` by digest, and which agent holds which.
#[derive(Debug)]
pub struct Catalogue<L> {
    bounds: Bounds,
    bytes: usize,
    lists: BTreeMap<ListDigest, Shelf<L>>,
    agents: BTreeMap<PeerId, Place>,
    /// Who left, the longest gone first; an entry counts only while the agent is away since that connection.
    gone: VecDeque<(PeerId, ConnectionId)>,
}

impl<L> Catalogue<L> {
    /// An empty one.
    pub fn new(bounds: Bounds) -> Self {
        let (lists, agents, gone) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        Self { bounds, bytes: 0, lists, agents, gone }
    }

    /// A session of the agent begins: what it said before is the last that is known.
    pub fn arrive(&mut self, agent: &PeerId, connection: ConnectionId) {
        if let Some(place) = self.agents.get_mut(agent)
            && place.connection < connection
        {
            *place = Place { connection, standing: Standing::LastKnown, here: true, ..*place };
        }
    }

    /// The agent says that it holds a list that is here already.
    ///
    /// # Errors
    /// [`NotEntered`] when it is not here, or comes too late.
    pub fn bind(
        &mut self,
        agent: &PeerId,
        connection: ConnectionId,
        digest: ListDigest,
    ) -> Result<(), NotEntered> {
        let before = self.agents.get(agent).copied();
        if before.is_some_and(|place| place.is_over(connection)) {
            return Err(NotEntered::Superseded);
        }
        let shelf = self.lists.get_mut(&digest).ok_or(NotEntered::Unknown)?;
        shelf.holders += 1;
        let place = Place { connection, digest, standing: Standing::Current, here: true };
        self.agents.insert(agent.clone(), place);
        if let Some(before) = before {
            self.let_go(&before.digest);
        }
        Ok(())
    }

    /// Enters a list of so many bytes that the agent gave, and that the agent holds it. To make room, agents that are away are
    /// forgotten, the longest gone first.
    ///
    /// # Errors
    /// [`NotEntered`] when there is no room, or it comes too late; then nothing is entered.
    pub fn learn(
        &mut self,
        (agent, connection): (&PeerId, ConnectionId),
        digest: ListDigest,
        list: impl FnOnce() -> L,
        bytes: usize,
    ) -> Result<(), NotEntered> {
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
            self.lists.insert(digest, Shelf { list: Arc::new(list()), bytes, holders: 0 });
        }
        self.bind(agent, connection, digest)
    }

    /// A session of the agent ended. Of no effect when a newer one is in place.
    pub fn leave(&mut self, agent: &PeerId, connection: ConnectionId) {
        let Some(place) = self.agents.get_mut(agent).filter(|place| place.connection <= connection) else {
            return;
        };
        *place = Place { connection, standing: Standing::LastKnown, here: false, ..*place };
        self.gone.push_back((agent.clone(), connection));
        while self.gone.len() > self.bounds.away && self.forget_oldest() {}
    }

    /// What the agent holds.
    pub fn of(&self, agent: &PeerId) -> Option<(&Arc<L>, Standing)> {
        let place = self.agents.get(agent)?;
        Some((&self.lists.get(&place.digest)?.list, place.standing))
    }

    /// How many different lists there are, and their bytes.
    pub fn size(&self) -> (usize, usize) {
        (self.lists.len(), self.bytes)
    }

    /// Forgets the agent that is away longest; false when none is.
    fn forget_oldest(&mut self) -> bool {
        while let Some((agent, connection)) = self.gone.pop_front() {
            let is_gone = |place: &&Place| !place.here && place.connection == connection;
            if let Some(digest) = self.agents.get(&agent).filter(is_gone).map(|place| place.digest) {
                self.agents.remove(&agent);
                self.let_go(&digest);
                return true;
            }
        }
        false
    }

    fn let_go(&mut self, digest: &ListDigest) {
        let Some(shelf) = self.lists.get_mut(digest) else { return };
        shelf.holders = shelf.holders.saturating_sub(1);
        if shelf.holders == 0 {
            self.bytes = self.bytes.saturating_sub(shelf.bytes);
            self.lists.remove(digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ListDigest = [1; 32];
    const B: ListDigest = [2; 32];
    const C: ListDigest = [3; 32];

    /// What happens to a catalogue, by the number of the agent and of its connection.
    enum Step {
        Arrive(u32, u64),
        Learn(u32, u64, ListDigest, Result<(), NotEntered>),
        Bind(u32, u64, ListDigest, Result<(), NotEntered>),
        Leave(u32, u64),
        /// The agent holds this, in this way.
        Holds(u32, Option<(ListDigest, Standing)>),
        /// Lists and bytes.
        Size(usize, usize),
    }
    use NotEntered::{Full, Superseded, Unknown};
    use Standing::{Current, LastKnown};
    use Step::{Arrive, Bind, Holds, Learn, Leave, Size};

    fn agent(number: u32) -> PeerId {
        PeerId::parse(&format!("a-{number}")).unwrap()
    }

    fn run(bounds: Bounds, steps: &[Step]) {
        let mut catalogue: Catalogue<ListDigest> = Catalogue::new(bounds);
        for (number, step) in steps.iter().enumerate() {
            match *step {
                Arrive(n, at) => catalogue.arrive(&agent(n), ConnectionId(at)),
                Leave(n, at) => catalogue.leave(&agent(n), ConnectionId(at)),
                Bind(n, at, digest, expected) => {
                    assert_eq!(
                        catalogue.bind(&agent(n), ConnectionId(at), digest),
                        expected,
                        "step {number}"
                    );
                }
                Learn(n, at, digest, expected) => {
                    let learned = catalogue.learn((&agent(n), ConnectionId(at)), digest, || digest, 10);
                    assert_eq!(learned, expected, "step {number}");
                }
                Holds(n, expected) => {
                    let held = catalogue.of(&agent(n)).map(|(list, standing)| (**list, standing));
                    assert_eq!(held, expected, "step {number}");
                }
                Size(lists, bytes) => assert_eq!(catalogue.size(), (lists, bytes), "step {number}"),
            }
        }
    }

    #[test]
    fn agents_with_the_same_procedures_share_one_list() {
        run(
            Bounds::default(),
            &[
                Bind(1, 1, A, Err(Unknown)),
                Learn(1, 1, A, Ok(())),
                Bind(2, 2, A, Ok(())),
                Learn(3, 3, A, Ok(())),
                Size(1, 10),
                Holds(2, Some((A, Current))),
                Learn(2, 2, B, Ok(())),
                Size(2, 20),
                Holds(1, Some((A, Current))),
                Holds(4, None),
            ],
        );
    }

    #[test]
    fn a_list_that_nobody_holds_any_more_is_gone() {
        run(
            Bounds::default(),
            &[
                Learn(1, 1, A, Ok(())),
                Bind(1, 1, A, Ok(())),
                Learn(1, 1, B, Ok(())),
                Size(1, 10),
                Bind(1, 1, A, Err(Unknown)),
                Holds(1, Some((B, Current))),
            ],
        );
    }

    #[test]
    fn what_was_said_in_an_earlier_session_is_only_the_last_that_is_known() {
        run(
            Bounds::default(),
            &[
                Learn(1, 1, A, Ok(())),
                Leave(1, 1),
                Holds(1, Some((A, LastKnown))),
                Bind(1, 1, A, Err(Superseded)),
                Arrive(1, 2),
                Holds(1, Some((A, LastKnown))),
                // the goodbye of the old connection comes late
                Bind(1, 2, A, Ok(())),
                Leave(1, 1),
                Holds(1, Some((A, Current))),
                Bind(1, 1, A, Err(Superseded)),
                Learn(1, 1, B, Err(Superseded)),
                Size(1, 10),
            ],
        );
    }

    #[test]
    fn a_full_catalogue_forgets_who_is_away_longest_and_nobody_who_is_here() {
        let bounds = Bounds { lists: 2, ..Bounds::default() };
        run(
            bounds,
            &[
                Learn(1, 1, A, Ok(())),
                Learn(2, 2, B, Ok(())),
                Learn(3, 3, C, Err(Full)),
                Holds(3, None),
                Leave(1, 1),
                Learn(3, 3, C, Ok(())),
                Holds(1, None),
                Size(2, 20),
            ],
        );
        let bounds = Bounds { bytes: 25, ..Bounds::default() };
        run(
            bounds,
            &[Learn(1, 1, A, Ok(())), Learn(2, 2, B, Ok(())), Learn(3, 3, C, Err(Full)), Size(2, 20)],
        );
        let bounds = Bounds { away: 1, ..Bounds::default() };
        run(
            bounds,
            &[
                Learn(1, 1, A, Ok(())),
                Learn(2, 2, A, Ok(())),
                Leave(1, 1),
                Leave(2, 2),
                Holds(1, None),
                Holds(2, Some((A, LastKnown))),
                Size(1, 10),
            ],
        );
    }

    #[test]
    fn an_agent_that_came_back_is_not_forgotten_for_having_been_away() {
        let bounds = Bounds { lists: 1, ..Bounds::default() };
        run(
            bounds,
            &[
                Learn(1, 1, A, Ok(())),
                Leave(1, 1),
                Arrive(1, 2),
                Bind(1, 2, A, Ok(())),
                Learn(2, 3, B, Err(Full)),
                Holds(1, Some((A, Current))),
            ],
        );
    }
}
