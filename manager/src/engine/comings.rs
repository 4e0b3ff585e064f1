//! Sessions of agents that began and ended, until the machine has looked at them. Nothing waits for a place: of each agent there are the
//! [`KEPT`] newest, the last of which says where it is now. How many are left out of the history is told with the oldest that is not.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_manager_core::jobs::Input;

use super::task::Message;
use super::{Engine, Waiter};

/// Sessions of one agent that are remembered until somebody looks. An agent comes back after a pause; so many within one turn of the
/// machine are those of one that is in trouble, or of an attacker.
const KEPT: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Comings(Mutex<BTreeMap<PeerId, Newest>>);

/// The newest sessions of an agent.
#[derive(Debug, Default)]
struct Newest {
    sessions: BTreeMap<ConnectionId, Session>,
    /// How many older ones there were since the last look.
    left_out: u64,
}

/// What became of a session since the last look.
#[derive(Debug, Default)]
struct Session {
    began: bool,
    /// Why it ended.
    ended: Option<String>,
}

impl Newest {
    /// Notes something of a session. What comes late of one that was left out is left out as well.
    fn note(&mut self, connection: ConnectionId, note: impl FnOnce(&mut Session)) {
        let oldest = self.sessions.keys().next();
        let is_known = self.sessions.contains_key(&connection);
        if !is_known && self.sessions.len() >= KEPT && oldest.is_some_and(|oldest| connection < *oldest) {
            return;
        }
        note(self.sessions.entry(connection).or_default());
        while self.sessions.len() > KEPT {
            self.sessions.pop_first();
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    /// What the machine has to hear, in the order of the sessions.
    fn told(self, agent: &PeerId, told: &mut Vec<Input<Waiter>>) {
        let mut left_out = self.left_out;
        for (connection, Session { began, ended }) in self.sessions {
            if began {
                told.push(Input::AgentUp { agent: agent.clone(), connection });
            }
            let Some(mut reason) = ended else { continue };
            if mem::take(&mut left_out) > 0 {
                reason = format!("after {} sessions that are not in the history: {reason}", self.left_out);
            }
            told.push(Input::AgentDown { agent: agent.clone(), connection, reason });
        }
    }
}

impl Comings {
    fn up(&self, agent: PeerId, connection: ConnectionId) {
        self.agents().entry(agent).or_default().note(connection, |session| session.began = true);
    }

    fn down(&self, agent: PeerId, connection: ConnectionId, reason: String) {
        let note = |session: &mut Session| session.ended = Some(reason);
        self.agents().entry(agent).or_default().note(connection, note);
    }

    /// What the machine has to hear, of each agent in the order of its sessions.
    pub(super) fn take(&self) -> Vec<Input<Waiter>> {
        let agents = mem::take(&mut *self.agents());
        let mut told = Vec::with_capacity(agents.len());
        agents.into_iter().for_each(|(agent, newest)| newest.told(&agent, &mut told));
        told
    }

    fn agents(&self) -> MutexGuard<'_, BTreeMap<PeerId, Newest>> {
        // nothing panics while it holds the lock
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Tells of a session that began: whatever is asked for after this finds it noted. Beginnings and ends may come in any order. Waits
    /// for nobody.
    pub fn agent_up(&self, agent: PeerId, connection: ConnectionId) {
        self.comings.up(agent, connection);
        self.have_looked();
    }

    /// Tells of a session that ended, as [`Engine::agent_up`].
    pub fn agent_down(&self, agent: PeerId, connection: ConnectionId, reason: String) {
        self.comings.down(agent, connection, reason);
        self.have_looked();
    }

    /// Tells that the list of an agent became known, with procedures of which something may not be seen: whatever is asked for after this
    /// finds it noted. Waits for nobody.
    pub fn listed(&self, agent: PeerId) {
        self.listed.note(agent);
        self.have_looked();
    }

    fn have_looked(&self) {
        // where there is no room, there is somebody who looks
        let _full = self.inbox.try_send(Message::Look);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(name: &str) -> PeerId {
        PeerId::parse(name).unwrap()
    }

    fn told(comings: &Comings) -> Vec<String> {
        let word = |input: Input<Waiter>| {
            if let Input::AgentUp { agent, connection } = input {
                format!("{agent} up {connection}")
            } else if let Input::AgentDown { agent, connection, reason } = input {
                format!("{agent} down {connection}: {reason}")
            } else {
                panic!("{input:?}")
            }
        };
        comings.take().into_iter().map(word).collect()
    }

    #[test]
    fn of_each_agent_the_newest_are_told_in_order_and_how_many_there_were_before() {
        let comings = Comings::default();
        for n in 1..1000 {
            comings.up(agent("a"), ConnectionId(n));
            comings.down(agent("a"), ConnectionId(n), format!("end {n}"));
        }
        // too late to be told
        comings.down(agent("a"), ConnectionId(3), "end 3".to_owned());
        comings.up(agent("b"), ConnectionId(7));
        comings.up(agent("b"), ConnectionId(6));
        comings.down(agent("b"), ConnectionId(6), "replaced".to_owned());
        comings.down(agent("b"), ConnectionId(5), "replaced, too".to_owned());
        let first = "a down 992: after 991 sessions that are not in the history: end 992".to_owned();
        let of_a = (993..1000).flat_map(|n| [format!("a up {n}"), format!("a down {n}: end {n}")]);
        let of_b = ["b down 5: replaced, too", "b up 6", "b down 6: replaced", "b up 7"].map(str::to_owned);
        let all: Vec<String> = ["a up 992".to_owned(), first].into_iter().chain(of_a).chain(of_b).collect();
        assert_eq!(told(&comings), all);
        assert!(told(&comings).is_empty());
        comings.down(agent("b"), ConnectionId(7), "gone".to_owned());
        assert_eq!(told(&comings), ["b down 7: gone"], "what was left out is told once");
    }

    #[test]
    fn a_fleet_that_began_and_has_not_ended_needs_no_room_for_ends() {
        let comings = Comings::default();
        (0..20).for_each(|n| comings.up(agent("a"), ConnectionId(n)));
        let expected: Vec<String> = (12..20).map(|n| format!("a up {n}")).collect();
        assert_eq!(told(&comings), expected);
    }
}
