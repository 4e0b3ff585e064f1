//! `rp.jobs.read` and `rp.jobs.follow`: values and output of runs, and how they go on.
//!
//! Items travel as they were recorded, byte by byte, so bodies are written and read by hand.

use serde::{Deserialize, Serialize};

use super::jobs::{EndSummary, JobSummary, ProgressSummary};
use crate::ids::MAX_NAME_LEN;
use crate::job::Item;
use crate::job::wire::report::{read_told_item, write_item};
use crate::wire::{DecodeError, Fields, Raw, RawMap};

/// Items in one answer or value, at most.
pub const MAX_ITEMS: usize = 10_000;

/// Items that nobody has any more: an older copy of the manager's store was put back, after their agent was told that they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The first number that is not there.
    pub from: u64,
    /// The number to go on with.
    pub until: u64,
}

/// What items are told, in the order of their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// An item.
    Item(&'a Item),
    /// Items that are not there.
    Missing(Missing),
}

/// The arguments of `rp.jobs.read`: what is there now, of one run. Without `since` and `recent`: from the first item on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadArguments {
    /// The job.
    pub job: String,
    /// The agent; may be left out when the job has one run.
    #[serde(default)]
    pub agent: Option<String>,
    /// Which attempt; the one in force, or the last one, unless given.
    #[serde(default)]
    pub attempt: Option<u16>,
    /// From this number on.
    #[serde(default)]
    pub since: Option<u64>,
    /// The last so many.
    #[serde(default)]
    pub recent: Option<u64>,
    /// At most so many; 1 to [`MAX_ITEMS`]. An answer holds no more than what fits a frame anyway.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// The answer of `rp.jobs.read`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemPage {
    /// The agent.
    pub agent: String,
    /// The attempt.
    pub attempt: u16,
    /// The items, without gaps but those in `missing`.
    pub items: Vec<Item>,
    /// Which items before `next` are not there, in their order.
    pub missing: Vec<Missing>,
    /// The number to go on with.
    pub next: u64,
    /// There is more now, or there may be later: the attempt has not ended, or not all fitted.
    pub more: bool,
    /// How many items there are now, of an attempt that goes on: whoever wants no later ones stops there. `None` also of older managers.
    pub stored: Option<u64>,
    /// How the run ended, once the items are all read. The result is in it.
    pub end: Option<EndSummary>,
}

/// The arguments of `rp.jobs.follow`: past and future of a job. Without `since` and `recent`: from the first item on.
///
/// The values are [`FollowEvent`]s; the answer comes when all runs that are followed have ended, and is a [`JobSummary`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowArguments {
    /// The job.
    pub job: String,
    /// Only the run on this agent.
    #[serde(default)]
    pub agent: Option<String>,
    /// Of each run from this number on.
    #[serde(default)]
    pub since: Option<u64>,
    /// Of each run the last so many that are there now, and all that follow.
    #[serde(default)]
    pub recent: Option<u64>,
    /// Runs of which some is known already: they go on exactly there.
    #[serde(default)]
    pub from: Vec<FollowFrom>,
}

/// Where to go on with a run after an interruption.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowFrom {
    /// The agent.
    pub agent: String,
    /// The attempt of `next`. When another one is in force meanwhile, that one is told from its first item on.
    pub attempt: u16,
    /// The first item that is not known.
    pub next: u64,
    /// The end was told: the run is left out.
    #[serde(default)]
    pub ended: bool,
}

/// What is told of a run, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowEvent {
    /// The agent.
    pub agent: String,
    /// The attempt; item numbers begin anew with each.
    pub attempt: u16,
    /// The state, when it is another one than was told before.
    pub state: Option<String>,
    /// Items, without gaps within the attempt but those that were told as `missing`.
    pub items: Vec<Item>,
    /// Which items of the attempt are not there, in their order: before, between or after those of this value.
    pub missing: Vec<Missing>,
    /// How far it is, when that is news.
    pub progress: Option<ProgressSummary>,
    /// How it ended, with the result: the last that is told of it, unless an outcome `unknown` is corrected later.
    pub end: Option<EndSummary>,
}

impl ItemPage {
    /// Reads the answer.
    ///
    /// # Errors
    /// [`DecodeError`] when a field is missing, has another type or exceeds its limit.
    pub fn read(data: &Raw) -> Result<Self, DecodeError> {
        let fields = Fields::of(data)?;
        Ok(Self {
            agent: fields.text("agent", MAX_NAME_LEN)?.to_owned(),
            attempt: attempt(&fields)?,
            items: fields.maps("items", MAX_ITEMS, read_told_item)?,
            missing: fields.maps("missing", MAX_ITEMS, read_missing)?,
            next: fields.u64("next")?,
            more: fields.bool("more")?,
            stored: fields.opt_u64("stored")?,
            end: decoded(&fields, "end")?,
        })
    }

    /// Writes the answer.
    pub fn write(&self) -> Raw {
        let map = RawMap::with_capacity(room(&self.items)).text("agent", &self.agent);
        let map = map.uint("attempt", self.attempt.into()).maps("items", &self.items, write_item);
        let map = map.opt_maps("missing", &self.missing, write_missing);
        let map = map.uint("next", self.next).bool("more", self.more).opt_uint("stored", self.stored);
        map.opt_raw("end", encoded(self.end.as_ref()).as_ref()).finish()
    }
}

impl FollowEvent {
    /// Nothing yet of this attempt.
    pub fn of(agent: impl Into<String>, attempt: u16) -> Self {
        let (agent, items, missing) = (agent.into(), Vec::new(), Vec::new());
        Self { agent, attempt, state: None, items, missing, progress: None, end: None }
    }

    /// Whether there is something in it.
    pub fn is_news(&self) -> bool {
        let has_items = !self.items.is_empty() || !self.missing.is_empty();
        self.state.is_some() || has_items || self.progress.is_some() || self.end.is_some()
    }

    /// The items, and which are missing, in the order of their numbers.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let (mut items, mut missing) = (self.items.iter().peekable(), self.missing.iter().peekable());
        std::iter::from_fn(move || {
            let next = items.peek().map_or(u64::MAX, |item| item.n);
            match missing.next_if(|missing| missing.from <= next) {
                Some(missing) => Some(Part::Missing(*missing)),
                None => items.next().map(Part::Item),
            }
        })
    }

    /// Reads a value.
    ///
    /// # Errors
    /// [`DecodeError`] when a field is missing, has another type or exceeds its limit.
    pub fn read(data: &Raw) -> Result<Self, DecodeError> {
        let fields = Fields::of(data)?;
        Ok(Self {
            agent: fields.text("agent", MAX_NAME_LEN)?.to_owned(),
            attempt: attempt(&fields)?,
            state: fields.opt_text("state", 32)?.map(str::to_owned),
            items: fields.maps("items", MAX_ITEMS, read_told_item)?,
            missing: fields.maps("missing", MAX_ITEMS, read_missing)?,
            progress: decoded(&fields, "progress")?,
            end: decoded(&fields, "end")?,
        })
    }

    /// Writes a value.
    pub fn write(&self) -> Raw {
        RawMap::with_capacity(room(&self.items))
            .text("agent", &self.agent)
            .uint("attempt", self.attempt.into())
            .opt_text("state", self.state.as_deref())
            .opt_maps("items", &self.items, write_item)
            .opt_maps("missing", &self.missing, write_missing)
            .opt_raw("progress", encoded(self.progress.as_ref()).as_ref())
            .opt_raw("end", encoded(self.end.as_ref()).as_ref())
            .finish()
    }
}

/// The answer of `rp.jobs.follow`.
pub type Followed = JobSummary;

fn room(items: &[Item]) -> usize {
    items.iter().map(|item| item.data.len() + 32).sum::<usize>() + 256
}

fn read_missing(fields: &Fields<'_>) -> Result<Missing, DecodeError> {
    Ok(Missing { from: fields.u64("from")?, until: fields.u64("until")? })
}

fn write_missing(map: RawMap, missing: &Missing) -> RawMap {
    map.uint("from", missing.from).uint("until", missing.until)
}

fn attempt(fields: &Fields<'_>) -> Result<u16, DecodeError> {
    let wanted = "an integer up to 65535";
    u16::try_from(fields.u64("attempt")?)
        .map_err(|_large| DecodeError::WrongType { field: "attempt", wanted })
}

fn encoded<T: Serialize>(value: Option<&T>) -> Option<Raw> {
    // what has no form on the wire is left out: all of these have one
    value.and_then(|value| Raw::encode(value).ok())
}

fn decoded<T: for<'de> Deserialize<'de>>(
    fields: &Fields<'_>,
    field: &'static str,
) -> Result<Option<T>, DecodeError> {
    let Some(raw) = fields.opt_raw(field)? else { return Ok(None) };
    let wanted = "a map as documented";
    raw.decode().map(Some).map_err(|_| DecodeError::WrongType { field, wanted })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::ItemKind;

    fn item(n: u64) -> Item {
        Item { n, kind: ItemKind::Value, data: Raw::text("x") }
    }

    fn end() -> EndSummary {
        EndSummary {
            outcome: "succeeded".into(),
            started: Some(true),
            result: Some(Raw::text("r")),
            fault: None,
            items: 2,
            duration_ms: Some(3),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let page = ItemPage {
            agent: "a".into(),
            attempt: 1,
            items: vec![item(0), item(4)],
            missing: vec![Missing { from: 1, until: 4 }],
            next: 5,
            more: false,
            stored: Some(6),
            end: Some(end()),
        };
        assert_eq!(ItemPage::read(&page.write()).unwrap(), page);
        let progress = ProgressSummary { completed: Some(1), total: Some(2), details: None };
        let event = FollowEvent {
            state: Some("running".into()),
            items: vec![item(7)],
            progress: Some(progress),
            end: Some(end()),
            ..FollowEvent::of("a", 2)
        };
        assert_eq!(FollowEvent::read(&event.write()).unwrap(), event);
        let missing = vec![Missing { from: 3, until: 7 }, Missing { from: 8, until: 9 }];
        let torn = FollowEvent { missing: missing.clone(), ..event.clone() };
        assert_eq!(FollowEvent::read(&torn.write()).unwrap(), torn);
        let parts: Vec<_> = torn.parts().collect();
        assert_eq!(parts, [Part::Missing(missing[0]), Part::Item(&item(7)), Part::Missing(missing[1])]);
        assert!(FollowEvent { missing, ..FollowEvent::of("a", 1) }.is_news());
        assert!(event.is_news() && !FollowEvent::of("a", 1).is_news());
        let none = FollowEvent::of("a", 1);
        assert_eq!(FollowEvent::read(&none.write()).unwrap(), none);
    }
}
