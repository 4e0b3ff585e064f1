//! `rp.jobs.record`: a run that an agent made by itself, told when it is over.
//!
//! Items and endings travel as in `rp.job.report`.

use serde::{Deserialize, Serialize};

use crate::ids::MAX_NAME_LEN;
use crate::job::wire::report::{read_told_ending, read_told_item, write_ending, write_item};
use crate::job::{Ending, Item, spec};
use crate::wire::{DecodeError, Fields, MAX_METHOD_LEN, Raw, RawMap};

/// The most items that one record may carry.
pub const MAX_RECORD_ITEMS: usize = 4096;

/// The arguments of `rp.jobs.record`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordArguments {
    /// Unique among the agent's own jobs: told again, it is the same run.
    pub key: String,
    /// The name of the schedule that it ran for.
    pub schedule: String,
    /// The procedure, `name` or `name@version`.
    pub procedure: String,
    /// Its named arguments.
    pub kwargs: Raw,
    /// Milliseconds since it was started; `None` when it never was.
    pub started_ms_ago: Option<u64>,
    /// How it ended. Its `items` are not looked at: what is told is what there is.
    pub ending: Ending,
    /// Values and output, numbered from 0 without gaps.
    pub items: Vec<Item>,
    /// How many older records the agent had to drop, untold, for want of room, since it was last asked.
    pub dropped: u64,
}

impl RecordArguments {
    /// Reads the named arguments of a request.
    ///
    /// # Errors
    /// [`DecodeError`] when a field is missing, has another type or exceeds its limit.
    pub fn read(kwargs: &Raw) -> Result<Self, DecodeError> {
        let fields = Fields::of(kwargs)?;
        let key = fields.text("key", spec::MAX_KEY)?;
        if key.is_empty() {
            return Err(DecodeError::WrongType { field: "key", wanted: "a text that is not empty" });
        }
        let ending = fields.opt_fields("ending")?.ok_or(DecodeError::Missing { field: "ending" })?;
        let items = fields.maps("items", MAX_RECORD_ITEMS, read_told_item)?;
        if items.iter().zip(0..).any(|(item, n)| item.n != n) {
            return Err(DecodeError::WrongType { field: "items", wanted: "numbered from 0 without gaps" });
        }
        Ok(Self {
            key: key.to_owned(),
            schedule: fields.text("schedule", MAX_NAME_LEN)?.to_owned(),
            procedure: fields.text("procedure", MAX_METHOD_LEN)?.to_owned(),
            kwargs: fields.opt_map("kwargs")?.unwrap_or_else(Raw::empty_map),
            started_ms_ago: fields.opt_u64("started_ms_ago")?,
            ending: read_told_ending(&ending)?.0,
            items,
            dropped: fields.opt_u64("dropped")?.unwrap_or(0),
        })
    }

    /// Writes them as the named arguments of a request.
    pub fn write(&self) -> Raw {
        let items: usize = self.items.iter().map(|item| item.data.len() + 32).sum();
        let result = self.ending.result.as_ref().map_or(0, Raw::len);
        let map = RawMap::with_capacity(items + result + self.kwargs.len() + 512)
            .text("key", &self.key)
            .text("schedule", &self.schedule)
            .text("procedure", &self.procedure)
            .raw("kwargs", &self.kwargs)
            .opt_uint("started_ms_ago", self.started_ms_ago)
            .map("ending", |map| write_ending(map, &self.ending))
            .opt_maps("items", &self.items, write_item);
        map.opt_uint("dropped", Some(self.dropped).filter(|dropped| *dropped > 0)).finish()
    }
}

/// The answer of `rp.jobs.record`: the job is on disk, with its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordAnswer {
    /// Its id.
    pub job: String,
    /// It was there before, under the same key.
    #[serde(default)]
    pub existing: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{ItemKind, Outcome};
    use crate::wire::{Fault, FaultCode};

    fn record() -> RecordArguments {
        RecordArguments {
            key: "k".into(),
            schedule: "disk".into(),
            procedure: "disk.check@2".into(),
            kwargs: RawMap::new().text("path", "/").finish(),
            started_ms_ago: Some(7),
            ending: Ending {
                outcome: Outcome::Failed,
                started: Some(true),
                result: None,
                fault: Some(Fault::new(FaultCode::Failed, "full")),
                items: 1,
                duration_ms: Some(3),
            },
            items: vec![Item { n: 0, kind: ItemKind::Stdout, data: Raw::bin(&[0xff]) }],
            dropped: 2,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let bare = RecordArguments { started_ms_ago: None, items: Vec::new(), dropped: 0, ..record() };
        for record in [record(), bare] {
            assert_eq!(RecordArguments::read(&record.write()), Ok(record));
        }
    }

    #[test]
    fn items_with_a_gap_and_empty_keys_are_refused() {
        let mut gap = record();
        gap.items = vec![Item { n: 1, kind: ItemKind::Value, data: Raw::nil() }];
        let keyless = RecordArguments { key: String::new(), ..record() };
        for wrong in [gap, keyless] {
            assert!(matches!(
                RecordArguments::read(&wrong.write()),
                Err(DecodeError::WrongType { field: "items" | "key", .. })
            ));
        }
    }
}
