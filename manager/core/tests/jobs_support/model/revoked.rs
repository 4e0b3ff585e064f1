//! Who is shut out, and what of an agent still counts.

use redpoll_common::identity::{Identity, Role};
use redpoll_common::ids::PeerId;
use redpoll_common::job::Submitter;
use redpoll_manager_core::jobs::{Answer, Refusal};
use redpoll_manager_core::revoked::{Denial, Denied};

use super::{Link, Model};

impl Model {
    pub(super) fn revoke(&mut self, token: u32, denial: &Denial) {
        let denied = denial.denied.clone();
        let existing = self.denied.contains(&denied);
        if !existing {
            self.told.push(event("revoked", &denied, &denial.by));
            self.denied.insert(denied.clone());
        }
        self.said.push(format!("deny {denied:?}"));
        self.answer(token, Ok(Answer::Revoked { existing }));
    }

    pub(super) fn restore(&mut self, token: u32, denied: &Denied, by: &Submitter) {
        if !self.denied.remove(denied) {
            return self.answer(token, Err(Refusal::NotRevoked));
        }
        self.told.push(event("restored", denied, by));
        self.said.push(format!("allow {denied:?}"));
        self.answer(token, Ok(Answer::Restored));
    }

    pub(super) fn cut(&mut self, token: u32, who: &Identity, connection: u64, whole: bool) {
        let theirs = Submitter::of(who);
        let (dropped, others) = std::mem::take(&mut self.lookups)
            .into_iter()
            .partition(|(submit, ..)| submit.submitter == theirs);
        self.lookups = others;
        let dropped: Vec<_> = dropped;
        let why = if whole { Refusal::Revoked } else { Refusal::CertificateRevoked };
        dropped.iter().for_each(|(submit, ..)| self.answer(submit.token, Err(why.clone())));
        if who.role == Role::Agent {
            let agent = self.agent(&who.id);
            (agent.cut, agent.newest) = (agent.cut.max(Some(connection)), agent.newest.max(connection));
            if agent.link != Link::Away && agent.connection <= connection {
                self.leave(&who.id);
            }
        }
        self.answer(token, Ok(Answer::Cut));
    }

    /// Of an agent what it says on its newest connection counts, also when that is over; unless it was cut.
    pub(super) fn counts(&mut self, id: &PeerId, connection: u64) -> bool {
        self.up(id, connection);
        let agent = self.agent(id);
        agent.newest == connection && agent.cut.is_none_or(|cut| connection > cut)
    }

    /// Those of them that are shut out with every certificate.
    pub(super) fn refused(&self, agents: &[(PeerId, bool)]) -> Vec<PeerId> {
        let agents = agents.iter().map(|(agent, _)| agent);
        let is_out = |agent: &&PeerId| self.denied.contains(&Denied::whole(Role::Agent, (*agent).clone()));
        agents.filter(is_out).cloned().collect()
    }
}

/// The event: with the agent or with nobody, and what it says.
fn event(what: &str, Denied { role, id, certificate }: &Denied, by: &Submitter) -> String {
    let certificate = certificate.as_ref().map(|one| format!(", certificate {}", one.as_str()));
    let whom =
        if *role == Role::Agent { format!("agent.{what} {id}") } else { format!("operator.{what}  {id}") };
    format!("{whom} by {by}{}", certificate.unwrap_or_default())
}
