//! What the tests of jobs share: a store in memory that checks what it is told, and jobs to submit.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]
#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod agent;
pub(crate) mod alone;
pub(crate) mod bench;
pub(crate) mod judge;
pub(crate) mod model;
pub(crate) mod model_bench;
pub(crate) mod model_do;
pub(crate) mod model_steps;
pub(crate) mod operator;
pub(crate) mod store;
pub(crate) mod table_events;
pub(crate) mod telling;
pub(crate) mod world;

use std::sync::Arc;
use std::time::Duration;

use redpoll_common::ids::PeerId;
use redpoll_common::job::{Callback, JobId, JobSpec, Limits, Offline, QueueKey, QueueSpec};
use redpoll_common::wire::Raw;
use redpoll_manager_core::jobs::Submit;

pub(crate) fn agent(name: &str) -> PeerId {
    PeerId::parse(name).unwrap()
}

pub(crate) fn job(n: u64) -> JobId {
    JobId::new(n, u128::from(n) * 0x9e37_79b9_7f4a_7c15)
}

/// What a test varies of a job.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub(crate) queue: Option<(&'static str, u32)>,
    pub(crate) offline: Offline,
    pub(crate) start_within_ms: Option<u64>,
    pub(crate) attempts: u16,
    pub(crate) idempotent: bool,
    pub(crate) admin: bool,
    pub(crate) key: Option<String>,
    pub(crate) held: bool,
    pub(crate) callback: bool,
    pub(crate) info: Option<Raw>,
}

impl Plan {
    pub(crate) fn queued(name: &'static str, concurrency: u32) -> Self {
        Self { queue: Some((name, concurrency)), ..Self::default() }
    }

    pub(crate) fn spec(&self) -> JobSpec {
        JobSpec {
            procedure: "sys.echo".to_owned(),
            args: Raw::empty_array(),
            kwargs: Raw::empty_map(),
            queue: self
                .queue
                .map(|(name, concurrency)| QueueSpec { name: QueueKey::text(name).unwrap(), concurrency }),
            offline: self.offline,
            limits: Limits {
                start_within: self.start_within_ms.map(Duration::from_millis),
                ..Limits::default()
            },
            max_attempts: self.attempts.max(1),
            idempotent: self.idempotent.then_some(true),
            key: self.key.clone(),
            info: self.info.clone().unwrap_or_else(Raw::nil),
            callback: self.callback.then(|| Callback::Procedure("told".to_owned())),
            held: self.held,
        }
    }

    pub(crate) fn submit<T>(&self, token: T, id: JobId, agents: &[(&str, bool)]) -> Box<Submit<T>> {
        let digest = [u8::from(self.idempotent) + 2 * u8::from(self.held); 32];
        let admin = agents.iter().filter(|_| self.admin);
        Box::new(Submit {
            token,
            id,
            submitter: agent("anna").into(),
            spec: Arc::new(self.spec()),
            digest,
            agents: agents.iter().map(|(name, here)| (agent(name), *here)).collect(),
            idempotent: false,
            admin: admin.map(|(name, _)| agent(name)).collect(),
            redact: Arc::default(),
        })
    }
}
