//! Which jobs in memory are on an agent: found without looking at those of the others.

use std::collections::{BTreeMap, BTreeSet};

use redpoll_common::ids::PeerId;
use redpoll_common::job::JobId;

use super::record::JobRecord;

/// The jobs that are in memory, by agent. No agent has an empty set.
#[derive(Debug, Default)]
pub(super) struct Alive(BTreeMap<PeerId, BTreeSet<JobId>>);

impl Alive {
    /// A job is in memory from here on.
    pub(super) fn enter(&mut self, job: &JobRecord) {
        for agent in &*job.agents {
            match self.0.get_mut(agent) {
                Some(jobs) => _ = jobs.insert(job.id),
                None => _ = self.0.insert(agent.clone(), BTreeSet::from([job.id])),
            }
        }
    }

    /// It is not any more.
    pub(super) fn leave(&mut self, job: &JobRecord) {
        for agent in &*job.agents {
            if let Some(jobs) = self.0.get_mut(agent) {
                jobs.remove(&job.id);
                if jobs.is_empty() {
                    self.0.remove(agent);
                }
            }
        }
    }

    /// The jobs on an agent, oldest first.
    pub(super) fn on(&self, agent: &PeerId) -> impl Iterator<Item = JobId> {
        self.0.get(agent).into_iter().flatten().copied()
    }
}
