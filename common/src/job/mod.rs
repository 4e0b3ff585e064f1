//! What a job is: its spec, the states of its runs, how they end, and what manager and agent tell each other about it.
//!
//! - [`ids`]: jobs, attempts, dispatch numbers.
//! - [`spec`]: what was submitted and under which limits.
//! - [`run`]: the states of a run on one agent, and its outcomes.
//! - [`item`]: values and output, numbered.
//! - [`queue`]: names of queues.
//! - [`secret`]: which of its arguments nobody may see.
//! - [`submitter`]: who submitted it: an operator, or an agent.
//! - [`spool`]: what an agent remembers of its runs, and what it owes the manager about them.
//! - [`wire`]: the bodies of `rp.job.*`.
//!
//! Who schedules what is `redpoll-manager-core`; what an agent remembers is its spool.

pub mod ids;
pub mod item;
pub mod queue;
pub mod run;
pub mod secret;
pub mod spec;
pub mod spool;
pub mod submitter;
pub mod wire;

pub use ids::{Attempt, Dno, JobId, RunKey};
pub use item::{ITEM_OVERHEAD, Item, ItemKind};
pub use run::{Ending, Outcome, RunState};
pub use spec::{Callback, JobSpec, Limits, Offline, Overflow, QueueKey, QueueSpec};
pub use submitter::Submitter;
