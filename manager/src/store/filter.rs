//! Which jobs are listed, and a page of them.

use redpoll_common::ids::PeerId;
use redpoll_common::job::{JobId, Outcome, QueueKey, Submitter};
use redpoll_manager_core::jobs::record::JobRecord;

/// Which jobs [`Store::list`](super::Store::list) gives; each `None` lets all pass.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Where they are.
    pub state: Option<Whereabouts>,
    /// They have a run on this agent.
    pub agent: Option<PeerId>,
    /// They stand, or stood, in a queue of this name.
    pub queue: Option<QueueKey>,
    /// Who submitted them.
    pub submitter: Option<Submitter>,
    /// They were submitted at this time or later, counted as by [`Store::clock`](super::Store::clock).
    pub since_ms: Option<u64>,
}

/// Where a job is, for a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whereabouts {
    /// It has not ended.
    Open,
    /// It has not ended, and has a run in the state of this word, see
    /// [`RunState::word`](redpoll_common::job::RunState::word).
    In(&'static str),
    /// It has ended.
    Ended,
    /// It has ended, with this outcome to show.
    EndedAs(Outcome),
}

/// A page of jobs.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The newest first. That there are none does not mean that it was the last page.
    pub jobs: Vec<JobRecord>,
    /// Where the next page goes on, as its `before`; `None` after the last one.
    pub next: Option<JobId>,
}
