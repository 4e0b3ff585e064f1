//! What was submitted.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::wire::Raw;

/// The longest text name of a queue, or the longest canonical form of a map that names one, in bytes.
pub const MAX_QUEUE_NAME: usize = 1024;
/// The most attempts a job may ask for.
pub const MAX_ATTEMPTS: u16 = 100;
/// The most agents one job may run on.
pub const MAX_AGENTS: usize = 100_000;
/// The longest idempotency key, in bytes.
pub const MAX_KEY: usize = 256;
/// The largest caller's info, in bytes.
pub const MAX_INFO: usize = 64 * 1024;

/// The name of a queue in canonical form: a text, or a map with its keys sorted, as MessagePack. Equal names are equal
/// bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueKey(pub(super) Arc<[u8]>);

impl QueueKey {
    /// The queue with this text for a name, or `None` if it is empty or longer than [`MAX_QUEUE_NAME`].
    pub fn text(name: &str) -> Option<Self> {
        Self::parse(&Raw::text(name)).ok()
    }

    /// Takes back what [`QueueKey::as_bytes`] gave: bytes of a store, not of a peer.
    pub fn from_stored(bytes: &[u8]) -> Self {
        Self(Arc::from(bytes))
    }

    /// The canonical form, for storing and sending: one MessagePack value.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for QueueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QueueKey({} bytes)", self.0.len())
    }
}

/// Which queue a job stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSpec {
    /// The queue's name.
    pub name: QueueKey,
    /// How many of its runs may be running or in doubt at a time. Counts only for the job that makes the queue; it holds
    /// for the queue's life.
    pub concurrency: u32,
}

/// What to do about agents that are not connected at submit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Offline {
    /// Wait until they return, at most `start_within`.
    #[default]
    Wait,
    /// Their runs end as expired at once.
    Skip,
    /// Refuse the whole job.
    Require,
}

/// What happens with output beyond the quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The program waits until there is room: until the manager has taken what came before.
    Block,
    /// The rest is dropped, and a truncation item says so.
    #[default]
    Truncate,
    /// The run is ended as failed.
    Kill,
}

/// The limits of each run. All are durations, measured on the agent's boot-time clock once it has the run; `None` is no
/// limit. Waiting in a queue counts for `start_within` only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// From submit (or release) to the start.
    pub start_within: Option<Duration>,
    /// From the start to the end.
    pub run_timeout: Option<Duration>,
    /// The longest gap between two items.
    pub idle_timeout: Option<Duration>,
    /// Between TERM and KILL when it is ended.
    pub grace: Option<Duration>,
    /// Bytes of items that are kept of an attempt.
    pub output: Option<u64>,
    /// What happens beyond.
    pub overflow: Overflow,
}

/// Who is told of the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Callback {
    /// An HTTP POST to this URL.
    Webhook(String),
    /// A procedure on the manager.
    Procedure(String),
}

/// A job as it was submitted, defaults filled in. Never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSpec {
    /// The procedure, `name` or `name@version`.
    pub procedure: String,
    /// Its positional arguments.
    pub args: Raw,
    /// Its named arguments.
    pub kwargs: Raw,
    /// The queue; `None` starts at once.
    pub queue: Option<QueueSpec>,
    /// About agents that are away.
    pub offline: Offline,
    /// Of each run.
    pub limits: Limits,
    /// How many attempts a run may have in all; 1 is no retry.
    pub max_attempts: u16,
    /// Whether the submitter says that the procedure may be repeated although it may have run, or must not be; `None`: it is as
    /// the procedure says of itself.
    pub idempotent: Option<bool>,
    /// Unique per submitter: the same key with the same spec is the same job.
    pub key: Option<String>,
    /// The caller's own words, returned unchanged.
    pub info: Raw,
    /// Who is told of the end.
    pub callback: Option<Callback>,
    /// Stored now, started when released.
    pub held: bool,
}

impl JobSpec {
    /// The same with what its submitter chose in memory of its own, for whoever keeps it: see [`Raw::detached`].
    #[must_use = "the job itself goes on sharing the memory of its request"]
    pub fn detached(&self) -> Self {
        let (args, kwargs, info) = (self.args.detached(), self.kwargs.detached(), self.info.detached());
        Self { args, kwargs, info, ..self.clone() }
    }
}
