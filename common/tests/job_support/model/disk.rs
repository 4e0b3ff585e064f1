//! What is on disk, as a plain sum of the records.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use redpoll_common::job::spool::{Record, Stamp};
use redpoll_common::job::wire::{Offer, RunRef};
use redpoll_common::job::{Dno, Ending, Item};

use super::cost;

/// What the disk has of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fact {
    pub(crate) run: Option<RunRef>,
    pub(crate) received: Option<(Box<Offer>, Stamp)>,
    pub(crate) starting: bool,
    pub(crate) running: bool,
    pub(crate) items: Vec<Item>,
    /// Number after the last, and bytes, of what was written together: it counts as a whole until all of it is acknowledged.
    pub(crate) batches: Vec<(u64, u64)>,
    pub(crate) acked: u64,
    /// How it ended, and whether an answer tells it.
    pub(crate) end: Option<(Ending, bool)>,
    /// What nobody may see of it: as the offer's procedure said, and what of that its arguments have.
    pub(crate) redact: Option<Vec<String>>,
    pub(crate) secret: Option<Vec<String>>,
}

#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) facts: BTreeMap<Dno, Fact>,
    pub(crate) max: Dno,
}

static NOTHING: LazyLock<Fact> = LazyLock::new(Fact::default);

impl Fact {
    /// It may have run, and nobody knows how it ended.
    pub(crate) fn is_lost(&self) -> bool {
        self.end.is_none() && (self.starting || self.received.is_none())
    }
}

impl Disk {
    pub(crate) fn of(records: &[Record]) -> Self {
        let mut disk = Self::default();
        records.iter().for_each(|record| disk.write(record));
        disk
    }

    pub(crate) fn fact(&self, dno: Dno) -> &Fact {
        self.facts.get(&dno).unwrap_or(&NOTHING)
    }

    pub(crate) fn write(&mut self, record: &Record) {
        let dno = record.dno();
        self.max = self.max.max(dno);
        if matches!(record, Record::Floor { .. } | Record::Gone { .. }) {
            self.facts.remove(&dno);
            return;
        }
        let fact = self.facts.entry(dno).or_default();
        match record.clone() {
            Record::Received { offer, at, redact } => {
                (fact.run, fact.received, fact.redact) = (Some(offer.run), Some((offer, at)), redact);
            }
            Record::Starting { run, redact } => {
                (fact.run, fact.starting, fact.secret) = (Some(run), true, redact);
            }
            Record::Running { .. } => fact.running = true,
            Record::Items { items, .. } => {
                let bytes = items.iter().map(cost).sum();
                fact.items.extend(items);
                fact.batches.push((fact.items.len() as u64, bytes));
            }
            Record::Acked { next_n, .. } => fact.acked = next_n,
            Record::Done { run, ending, told, redact } => {
                (fact.run, fact.end) = (Some(run), Some((*ending, told)));
                fact.secret = fact.secret.take().or(redact);
            }
            Record::Floor { .. } | Record::Gone { .. } => {}
        }
    }
}
