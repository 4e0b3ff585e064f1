//! `rp.queues.*`: the queues that are there now.

use serde::{Deserialize, Serialize};

use crate::wire::Raw;

/// The arguments of `rp.queues.list`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueListArguments {
    /// Only names after this one, in the order of their canonical form.
    #[serde(default)]
    pub after: Option<Raw>,
    /// At most so many; 1 to 1,000, 500 unless given.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// The answer of `rp.queues.list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueList {
    /// The queues.
    pub queues: Vec<QueueSummary>,
    /// Where to go on.
    #[serde(default)]
    pub next: Option<Raw>,
}

/// A queue in which something waits or runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSummary {
    /// Its name: a text or a map.
    pub name: Raw,
    /// How many of its runs agents may have at a time, from the job that made it.
    pub concurrency: u32,
    /// When it was made, in UTC milliseconds.
    pub opened_ms: u64,
    /// How many slots are taken: by runs that agents have, or may have.
    pub taken: u64,
    /// How many runs wait.
    pub waiting: u64,
}

/// The arguments of `rp.queues.show`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueArguments {
    /// Its name: a text or a map.
    pub name: Raw,
    /// At most so many of the waiting runs; 1 to 1,000, 100 unless given.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// The answer of `rp.queues.show`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueDetail {
    /// The queue.
    pub queue: QueueSummary,
    /// Those that hold its slots, then those that wait, in the order in which they will start.
    pub runs: Vec<QueueRun>,
}

/// A run in a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRun {
    /// The job.
    pub job: String,
    /// The agent.
    pub agent: String,
    /// As in [`RunSummary::state`](super::jobs::RunSummary::state).
    pub state: String,
}

/// The arguments of `rp.queues.cancel`: all that waits or runs in it, in one step. The answer is that of `rp.jobs.cancel`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueCancelArguments {
    /// Its name: a text or a map.
    pub name: Raw,
    /// Between TERM and KILL, in milliseconds, if not as the jobs say.
    #[serde(default)]
    pub grace_ms: Option<u32>,
    /// Only say what it would reach.
    #[serde(default)]
    pub preview: bool,
}
