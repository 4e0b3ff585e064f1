//! What operators ask for in the world.

use std::collections::BTreeSet;

use redpoll_common::ids::PeerId;
use redpoll_common::job::{JobId, Offline, QueueKey};
use redpoll_manager_core::jobs::{Input, Scope};

use super::world::{Token, World};
use super::{Plan, job};

impl World {
    pub(super) fn submit(&mut self, dice: u16) {
        self.submitted += 1;
        let id = job(self.submitted);
        let place = usize::from(dice / 7);
        let key = dice.is_multiple_of(5).then(|| format!("k{}", dice % 3));
        let plan = Plan {
            queue: [Some(("q", 1)), Some(("r", 2)), Some(("q", 3)), None][usize::from(dice) % 4],
            offline: if dice.is_multiple_of(13) { Offline::Skip } else { Offline::Wait },
            start_within_ms: dice.is_multiple_of(11).then_some(5_000),
            attempts: 1 + dice / 8 % 3,
            idempotent: (dice / 32).is_multiple_of(3),
            admin: (dice / 64).is_multiple_of(4),
            key: key.clone(),
            held: dice.is_multiple_of(17),
            callback: dice.is_multiple_of(9),
            info: None,
        };
        let count = 1 + usize::from(dice % 10 == 3) * 2;
        let names: Vec<(PeerId, bool)> = (0..count)
            .map(|n| &self.agents[(place + n) % self.agents.len()])
            .map(|agent| (agent.id.clone(), agent.connection.is_some()))
            .collect();
        let names: Vec<(&str, bool)> = names.iter().map(|(id, here)| (id.as_str(), *here)).collect();
        self.handle(Input::Submit(plan.submit(Token::Operator { key }, id, &names)));
    }

    pub(super) fn cancel(&mut self, dice: u16) {
        let id = job(1 + u64::from(dice / 8) % self.submitted.max(1));
        let scope = match dice % 8 {
            0 => Scope::Queue(QueueKey::text("q").unwrap()),
            1 => Scope::Run(id, self.agents[usize::from(dice / 64) % 3].id.clone()),
            _ => Scope::Job(id),
        };
        self.handle(Input::Cancel {
            token: Token::Operator { key: None },
            scope,
            grace_ms: None,
            preview: dice % 16 == 2,
            by: None,
        });
    }

    pub(super) fn release(&mut self, dice: u16) {
        let held = self.ahead.jobs.values().filter(|job| job.is_held()).map(|job| job.id);
        let id = held.max().unwrap_or_else(|| job(u64::from(dice)));
        self.handle(Input::Release {
            token: Token::Operator { key: None },
            job: id,
            away: BTreeSet::new(),
            by: None,
        });
    }

    pub(super) fn delete(&mut self, dice: u16) {
        let ids: Vec<JobId> = self.store.jobs.keys().copied().collect();
        if let Some(id) = ids.get(usize::from(dice) % ids.len().max(1)) {
            self.handle(Input::Delete { token: Token::Operator { key: None }, job: *id, by: None });
        }
    }
}
