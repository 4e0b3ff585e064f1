//! `rp.events.*`: the public history.

use serde::{Deserialize, Serialize};

use crate::wire::Raw;

/// The arguments of `rp.events.list` and of `rp.events.follow`, whose values are [`EventSummary`]s and which ends when its caller
/// cancels it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventListArguments {
    /// Only events after this number. A list without it begins with the oldest that is kept; following without it begins now.
    #[serde(default)]
    pub since: Option<u64>,
    /// Only types that match this glob, such as `run.*`.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// At most so many; 1 to 1,000, 500 unless given. Following has no end.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// The answer of `rp.events.list`, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventList {
    /// The events.
    pub events: Vec<EventSummary>,
    /// The number to go on after: everything up to it was looked at.
    pub last: u64,
    /// There may be more after it now.
    #[serde(default)]
    pub more: bool,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventSummary {
    /// Its number, from 1, without gaps in the whole history.
    pub n: u64,
    /// When, in UTC milliseconds.
    pub at_ms: u64,
    /// What it is about, such as `run.ended`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The queue's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Raw>,
    /// The attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u16>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Whatever else a person wants to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
