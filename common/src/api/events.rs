//! `rp.events.*`: the public history.

use serde::{Deserialize, Serialize};

use crate::wire::{DecodeError, Fields, Raw, RawMap};

/// What the types of events begin with that agents emit. The manager puts it there, so that no agent can say what only the
/// manager may.
pub const CUSTOM_PREFIX: &str = "custom.";
/// The longest type that an agent may give an event, in bytes, without the prefix.
pub const MAX_EMIT_TYPE: usize = 100;
/// The largest data of an event, in bytes.
pub const MAX_EMIT_DATA: usize = 16 * 1024;
/// The most values in it.
pub const MAX_EMIT_NODES: u64 = 1024;
/// The deepest it may nest.
pub const MAX_EMIT_DEPTH: usize = 16;

/// The arguments of `rp.events.emit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmitArguments {
    /// What happened, such as `disk.full`: words of lower-case letters, digits, `_` and `-`, with dots between them.
    pub kind: String,
    /// Anything about it; `nil` when there is nothing to say.
    pub data: Raw,
}

impl EmitArguments {
    /// Reads the named arguments of a request. Whether the type is one, and the data small enough, is the manager's to say.
    ///
    /// # Errors
    /// [`DecodeError`] when a field is missing, has another type or is too long.
    pub fn read(kwargs: &Raw) -> Result<Self, DecodeError> {
        let fields = Fields::of(kwargs)?;
        Ok(Self {
            kind: fields.text("type", MAX_EMIT_TYPE)?.to_owned(),
            data: fields.opt_raw("data")?.unwrap_or_else(Raw::nil),
        })
    }

    /// Writes them as the named arguments of a request.
    pub fn write(&self) -> Raw {
        let map = RawMap::with_capacity(self.data.len() + self.kind.len() + 16).text("type", &self.kind);
        map.opt_raw("data", Some(&self.data).filter(|data| !data.is_nil())).finish()
    }
}

/// The answer of `rp.events.emit`: the event is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmitAnswer {
    /// Its number in the history.
    pub n: u64,
}

/// The arguments of `rp.events.list` and of `rp.events.follow`, whose values are [`EventSummary`]s and which ends when its caller
/// cancels it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventListArguments {
    /// Only events after this number. A list without it begins with the oldest that is kept; following without it begins now.
    #[serde(default)]
    pub since: Option<u64>,
    /// The newest so many of a list, instead of the first after a number; as many as fit, at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recent: Option<u32>,
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
    /// The same: what to give as `since` for the rest. 0 in older managers.
    #[serde(default)]
    pub next: u64,
    /// There may be more after it now; of the newest, there may be older ones.
    #[serde(default)]
    pub more: bool,
    /// How many after the last of these, up to `last`, are not kept any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
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
    /// What an agent said with an event of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Raw>,
    /// How many events between what the caller has and this one are not kept any more; absent when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
}

/// A place in the history: after this event it has this hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPoint {
    /// The number of the event.
    pub n: u64,
    /// Its hash, 64 hexadecimal digits.
    pub hash: String,
}

/// The arguments of `rp.events.verify`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventVerifyArguments {
    /// Where an earlier answer came to; without it from the oldest event that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<EventPoint>,
    /// No event after this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// At most so many; 1 to 10,000, which it is unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// The answer of `rp.events.verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventVerified {
    /// The point after which it began: as asked for, or the hash that is kept of what was deleted.
    pub from: EventPoint,
    /// Up to where everything fits; to go on with, and to be written down elsewhere when it is the last.
    pub last: EventPoint,
    /// How many events fit.
    pub checked: u64,
    /// There may be more.
    #[serde(default)]
    pub more: bool,
    /// The event that was written last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<EventPoint>,
    /// Events up to this number are from before there were hashes; 0 is none.
    #[serde(default)]
    pub begun: u64,
    /// The first event that does not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flaw: Option<EventFlaw>,
}

/// Where the history is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFlaw {
    /// The first number that is not.
    pub n: u64,
    /// What is wrong, in one word: `changed`, `missing`, `moved`, `anchor`, `truncated`, `head`, `beyond` or `no_head`.
    pub kind: String,
    /// The same for people.
    pub message: String,
}
