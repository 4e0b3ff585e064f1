//! Who is revoked, and whose word counts: of each agent that on its newest connection, unless that was cut.

use redpoll_common::identity::{Identity, Role};
use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::job::Submitter;

use super::Jobs;
use super::effect::{Answer, Effect, Refusal};
use super::record::{Change, EventKind};
use crate::revoked::{Denial, Denied, DenyList};

/// Why the session of an agent ended that was shut out.
const REVOKED: &str = "it was revoked";

impl<T> Jobs<T> {
    /// Who is shut out.
    pub fn denied(&self) -> &DenyList {
        &self.denied
    }

    /// Shuts somebody out: in the store, then at the door. Saying it twice is saying it once; the door hears it again.
    pub(super) fn revoke(&mut self, token: T, mut denial: Denial, now_ms: u64) {
        denial.at_ms = now_ms;
        let existing = match self.denied.deny(denial.clone()) {
            Ok(new) => !new,
            Err(_full) => return self.answer(token, Err(Refusal::ListFull)),
        };
        if !existing {
            let Denial { denied, by, reason, .. } = &denial;
            let kind = match denied.role {
                Role::Agent => EventKind::AgentRevoked,
                Role::Operator | Role::Manager => EventKind::OperatorRevoked,
            };
            self.revocation_event(kind, denied, by, reason.as_deref(), now_ms);
            self.changes.push(Change::Denied(denial.clone()));
        }
        self.effects.push(Effect::Deny(Box::new(denial)));
        self.answer(token, Ok(Answer::Revoked { existing }));
    }

    /// Takes that back.
    pub(super) fn restore(&mut self, token: T, denied: Denied, by: &Submitter, now_ms: u64) {
        if !self.denied.allow(&denied) {
            return self.answer(token, Err(Refusal::NotRevoked));
        }
        let kind = match denied.role {
            Role::Agent => EventKind::AgentRestored,
            Role::Operator | Role::Manager => EventKind::OperatorRestored,
        };
        self.revocation_event(kind, &denied, by, None, now_ms);
        self.changes.push(Change::Allowed(denied.clone()));
        self.effects.push(Effect::Allow(denied));
        self.answer(token, Ok(Answer::Restored));
    }

    fn revocation_event(
        &mut self,
        kind: EventKind,
        denied: &Denied,
        by: &Submitter,
        reason: Option<&str>,
        now_ms: u64,
    ) {
        let Denied { role, id, certificate } = denied;
        let mut detail = format!("by {by}");
        if *role != Role::Agent {
            detail = format!("{id} {detail}");
        }
        if let Some(certificate) = certificate {
            detail = format!("{detail}, certificate {}", certificate.as_str());
        }
        if let Some(reason) = reason {
            detail = format!("{detail}: {reason}");
        }
        self.event(now_ms, kind, |event| {
            event.agent = (*role == Role::Agent).then(|| id.clone());
            event.detail = Some(detail);
        });
    }

    /// The sessions of somebody up to a connection are closed, and nobody works for them any more.
    pub(super) fn cut(
        &mut self,
        token: T,
        who: &Identity,
        connection: ConnectionId,
        whole: bool,
        now_ms: u64,
    ) {
        // what waits for a look into the store would be stored after this; with one certificate out, nobody knows with which it came
        let refusal = if whole { Refusal::Revoked } else { Refusal::CertificateRevoked };
        let submitter = Submitter::of(who);
        let theirs: Vec<_> = self.lookups.keys().filter(|(by, _)| *by == submitter).cloned().collect();
        for key in theirs {
            let (_look, waiting) = self.lookups.remove(&key).unwrap_or_default();
            for (submit, _) in waiting {
                self.answer(submit.token, Err(refusal.clone()));
            }
        }
        if who.role == Role::Agent {
            let entry = self.agent_mut(&who.id);
            entry.cut = entry.cut.max(Some(connection));
            entry.newest = entry.newest.max(Some(connection));
            if let Some(current) = entry.connection().filter(|current| *current <= connection) {
                self.agent_down(&who.id, current, REVOKED.to_owned(), now_ms);
            }
        }
        self.answer(token, Ok(Answer::Cut));
    }

    /// Whether what an agent says on a connection counts. One that nobody has told of yet is the newest from here on.
    pub(super) fn counts(&mut self, agent: &PeerId, connection: ConnectionId, now_ms: u64) -> bool {
        self.agent_up(agent, connection, now_ms);
        let entry = self.agent_mut(agent);
        // also that of a session which has ended, as long as there is no newer one: it is true, and was under way
        entry.newest == Some(connection) && entry.cut.is_none_or(|cut| connection > cut)
    }
}
