//! An event as it lies in a store: what this build can read of it. A later build may have written it, or something changed the row; the
//! events around it are told all the same.

use std::borrow::Cow;

use redpoll_common::ids::PeerId;
use redpoll_common::job::{Attempt, JobId, QueueKey};
use redpoll_manager_core::jobs::record::EventRecord;

/// An event of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its number.
    pub n: u64,
    /// What happened, or what can be read of that.
    pub record: Result<EventRecord, Unread>,
}

/// What can be read of an event of which this build does not understand all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// When, counted; 0 if that cannot be read.
    pub at_ms: u64,
    /// The text of its kind, known or not.
    pub kind: String,
    /// About which job.
    pub job: Option<JobId>,
    /// About which agent.
    pub agent: Option<PeerId>,
    /// About which queue.
    pub queue: Option<QueueKey>,
    /// Which attempt.
    pub attempt: Option<Attempt>,
    /// The text of how it ended, known or not.
    pub outcome: Option<String>,
    /// What its detail says, and what of it cannot be read.
    pub detail: Option<String>,
}

impl StoredEvent {
    /// What it is about, in one word with dots: see [`EventRecord::kind_text`].
    pub fn kind_text(&self) -> Cow<'_, str> {
        match &self.record {
            Ok(event) => event.kind_text(),
            Err(unread) => Cow::Borrowed(&unread.kind),
        }
    }
}

impl From<EventRecord> for StoredEvent {
    fn from(event: EventRecord) -> Self {
        Self { n: event.n, record: Ok(event) }
    }
}

impl PartialEq<EventRecord> for StoredEvent {
    fn eq(&self, event: &EventRecord) -> bool {
        self.record.as_ref() == Ok(event)
    }
}
