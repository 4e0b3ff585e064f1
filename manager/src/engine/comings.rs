//! Sessions of agents that began and ended, until the machine has looked at them. Nothing waits for a place: of each agent there is the
//! newest of both alone, which says where it is now. What of a session that was over before anybody looked is left out of the history.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_manager_core::jobs::Input;

use super::task::Message;
use super::{Engine, Waiter};

#[derive(Debug, Default)]
pub(super) struct Comings(Mutex<BTreeMap<PeerId, Newest>>);

/// The newest session of an agent that began, and the newest that ended and why.
#[derive(Debug, Default)]
struct Newest {
    up: Option<ConnectionId>,
    down: Option<(ConnectionId, String)>,
}

impl Comings {
    fn up(&self, agent: PeerId, connection: ConnectionId) {
        let mut agents = self.agents();
        let newest = agents.entry(agent).or_default();
        newest.up = newest.up.max(Some(connection));
    }

    fn down(&self, agent: PeerId, connection: ConnectionId, reason: String) {
        let mut agents = self.agents();
        let down = &mut agents.entry(agent).or_default().down;
        if down.as_ref().is_none_or(|(known, _)| *known < connection) {
            *down = Some((connection, reason));
        }
    }

    /// What the machine has to hear, of each agent in the order of its sessions.
    pub(super) fn take(&self) -> Vec<Input<Waiter>> {
        let agents = mem::take(&mut *self.agents());
        let mut told = Vec::with_capacity(agents.len());
        for (agent, Newest { up, down }) in agents {
            let ended_before = down.as_ref().is_some_and(|(ended, _)| Some(*ended) < up);
            let up = up.map(|connection| Input::AgentUp { agent: agent.clone(), connection });
            let down = down.map(|(connection, reason)| Input::AgentDown { agent, connection, reason });
            let both = if ended_before { [down, up] } else { [up, down] };
            told.extend(both.into_iter().flatten());
        }
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
    fn of_each_agent_the_newest_is_told_in_order_however_many_there_were() {
        let comings = Comings::default();
        for n in 1..1000 {
            comings.up(agent("a"), ConnectionId(n));
            comings.down(agent("a"), ConnectionId(n), format!("end {n}"));
        }
        comings.up(agent("b"), ConnectionId(7));
        comings.up(agent("b"), ConnectionId(6));
        comings.down(agent("b"), ConnectionId(6), "replaced".to_owned());
        comings.down(agent("b"), ConnectionId(5), "replaced, too".to_owned());
        assert_eq!(told(&comings), ["a up 999", "a down 999: end 999", "b down 6: replaced", "b up 7"]);
        assert!(told(&comings).is_empty());
        comings.down(agent("b"), ConnectionId(7), "gone".to_owned());
        assert_eq!(told(&comings), ["b down 7: gone"]);
    }
}
