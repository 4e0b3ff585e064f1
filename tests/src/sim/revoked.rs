//! Operators shut agents out and let them in again, and the process around the machine does what a manager does: the door closes when the list
//! is on disk, then the sessions end, then the machine takes nothing more of them, and only then somebody is told (I14).
//!
//! [`Revocations::out`] is the promise, by the word of the answers alone: from the answer to a revocation until somebody asks for the
//! restoration no agent in it may get in, and nothing that it said may do anything.

use std::collections::BTreeSet;

use redpoll_common::identity::{Identity, Role};
use redpoll_common::ids::{ClusterName, ConnectionId, PeerId};
use redpoll_common::session::handshake::Admission;
use redpoll_common::wire::{Bye, ByeCode, codec};
use redpoll_manager_core::jobs::{Answer, Input, Refusal};
use redpoll_manager_core::revoked::{Denial, Denied};

use super::invariant::{Check, Invariant, ensure};
use super::network::Side;
use super::world::World;

/// Who is shut out.
#[derive(Debug, Default)]
pub(super) struct Revocations {
    /// As the process has it: from the store, and from what the machine said since.
    door: BTreeSet<PeerId>,
    /// As operators were told.
    pub(super) out: BTreeSet<PeerId>,
    /// Of whom something was asked that is not answered.
    busy: BTreeSet<PeerId>,
}

/// What somebody waits for.
#[derive(Debug)]
pub(super) enum Asked {
    Revoke(PeerId),
    Cut(PeerId),
    Restore(PeerId),
}

fn whole(agent: &PeerId) -> Denied {
    Denied::whole(Role::Agent, agent.clone())
}

impl World {
    /// The process starts with what the disk has, and nobody waits any more.
    pub(super) fn door_opens(&mut self) {
        self.revocations.busy.clear();
        self.revocations.door = self.manager.store.denied.keys().map(|denied| denied.id.clone()).collect();
    }

    /// An agent is shut out, or let in again.
    pub(super) fn revoke_or_restore(&mut self) -> Check {
        let place = self.dice.index(self.agents.len());
        let agent = self.agents[place].id.clone();
        if self.revocations.busy.contains(&agent) {
            return Ok(());
        }
        if self.revocations.door.contains(&agent) { self.restore(&agent) } else { self.revoke(&agent) }
    }

    fn revoke(&mut self, agent: &PeerId) -> Check {
        self.revocations.busy.insert(agent.clone());
        let token = self.operators.ask_about(Asked::Revoke(agent.clone()));
        let by = PeerId::parse("anna").expect("a name").into();
        let denial = Box::new(Denial { denied: whole(agent), at_ms: 0, by, reason: None });
        self.tell_manager(Input::Revoke { token, denial })
    }

    fn restore(&mut self, agent: &PeerId) -> Check {
        self.revocations.busy.insert(agent.clone());
        self.revocations.out.remove(agent);
        let token = self.operators.ask_about(Asked::Restore(agent.clone()));
        let by = PeerId::parse("anna").expect("a name").into();
        self.tell_manager(Input::Restore { token, denied: whole(agent), by })
    }

    /// So that everything can come to its end.
    pub(super) fn restore_everybody(&mut self) -> Check {
        let out: Vec<PeerId> = self.revocations.door.difference(&self.revocations.busy).cloned().collect();
        out.iter().try_for_each(|agent| self.restore(agent))
    }

    /// The list is on disk.
    pub(super) fn door_denies(&mut self, agent: &PeerId) -> Check {
        let stored = self.manager.store.denied.contains_key(&whole(agent));
        ensure(stored, Invariant::ShutOut, || format!("the door closes for {agent}, which is not on disk"))?;
        self.revocations.door.insert(agent.clone());
        let theirs = self.manager.sessions.iter().filter(|(_, end)| end.agent == *agent && !end.shut);
        let theirs: Vec<u64> = theirs.map(|(connection, _)| *connection).collect();
        theirs.into_iter().for_each(|connection| self.end_session(connection, ByeCode::Revoked));
        Ok(())
    }

    pub(super) fn door_allows(&mut self, agent: &PeerId) {
        self.revocations.door.remove(agent);
    }

    /// An answer of the machine's, on its way to whoever asked.
    pub(super) fn revocation_answered(&mut self, asked: Asked, answer: Result<Answer, Refusal>) -> Check {
        match (asked, answer) {
            (Asked::Revoke(agent), Ok(Answer::Revoked { .. })) => {
                let id = agent.clone();
                let cluster = ClusterName::parse("sim").expect("a name");
                let who = Identity { cluster, role: Role::Agent, id };
                // of those that are inside, or still end
                let connection = ConnectionId(self.manager.presence.highest(&agent));
                let token = self.operators.ask_about(Asked::Cut(agent));
                self.tell_manager(Input::Cut { token, who, connection, whole: true })
            }
            (Asked::Cut(agent), Ok(Answer::Cut)) => {
                self.tally.hit("agent revoked");
                self.revocations.busy.remove(&agent);
                let stored = self.manager.store.denied.contains_key(&whole(&agent));
                self.revocations.out.insert(agent.clone());
                ensure(stored, Invariant::AcknowledgedIsStored, || {
                    format!("the revocation of {agent} is not stored")
                })
            }
            (Asked::Restore(agent), answer) => {
                self.revocations.busy.remove(&agent);
                let stored = self.manager.store.denied.contains_key(&whole(&agent));
                let fits = matches!(answer, Ok(Answer::Restored) | Err(Refusal::NotRevoked)) && !stored;
                ensure(fits, Invariant::AcknowledgedIsStored, || {
                    format!("the restoration of {agent} was answered {answer:?}, and is not stored")
                })
            }
            (asked, answer) => {
                ensure(false, Invariant::NoPanic, || format!("{answer:?} is no answer to {asked:?}"))
            }
        }
    }

    /// The hello of an agent that is shut out is answered with a goodbye. Gives the admission back when it is not.
    pub(super) fn at_the_door(
        &mut self,
        agent: &PeerId,
        connection: u64,
        admission: Admission,
    ) -> Option<Admission> {
        if !self.revocations.door.contains(agent) {
            let promised = self.revocations.out.contains(agent);
            let kept = ensure(!promised, Invariant::ShutOut, || format!("{agent} is revoked, and let in"));
            self.keep(kept);
            return Some(admission);
        }
        self.tally.hit("revoked agent turned away");
        let bye = admission.refuse(Bye::new(ByeCode::Revoked, "simulated"));
        self.send(connection, Side::Agent, codec::encode(&bye, 1));
        self.close_end(connection, Side::Manager);
        None
    }
}
