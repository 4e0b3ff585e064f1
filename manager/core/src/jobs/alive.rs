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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use redpoll_common::job::JobSpec;
    use redpoll_common::wire::Raw;

    use super::*;
    use crate::jobs::record::Summary;

    fn job(n: u64, agents: &[&str]) -> JobRecord {
        let spec = JobSpec {
            procedure: "sys.echo".to_owned(),
            args: Raw::empty_array(),
            kwargs: Raw::empty_map(),
            queue: None,
            offline: Default::default(),
            limits: Default::default(),
            max_attempts: 1,
            idempotent: None,
            key: None,
            info: Raw::nil(),
            callback: None,
            held: false,
        };
        JobRecord {
            id: JobId::new(n, 0),
            submitter: PeerId::parse("anna").unwrap().into(),
            digest: [0; 32],
            idempotent: false,
            admin: [].into(),
            redact: [].into(),
            agents: agents.iter().map(|name| PeerId::parse(name).unwrap()).collect(),
            submitted_ms: 0,
            released_ms: None,
            ended_ms: None,
            summary: None::<Summary>,
            spec: Arc::new(spec),
        }
    }

    #[test]
    fn an_agent_is_remembered_as_long_as_a_job_is_on_it() {
        let (one, other) = (job(1, &["a", "b"]), job(2, &["b"]));
        let mut alive = Alive::default();
        alive.enter(&one);
        alive.enter(&other);
        let b = PeerId::parse("b").unwrap();
        assert_eq!(alive.on(&b).collect::<Vec<_>>(), [one.id, other.id]);
        alive.leave(&one);
        assert_eq!((alive.on(&b).collect::<Vec<_>>(), alive.0.len()), (vec![other.id], 1));
        alive.leave(&other);
        assert!(alive.0.is_empty());
    }
}
