//! What a journal says, once all its records are read.

use std::collections::{BTreeMap, BTreeSet};

use super::record::{Record, Stamp};
use crate::job::ids::Dno;
use crate::job::item::Item;
use crate::job::run::Ending;
use crate::job::wire::{Offer, RunRef};

/// A journal that nobody can make sense of, although each of its records can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// There is something about a run, but not which.
    #[error("the record that began dispatch number {dno} is missing")]
    Headless {
        /// Its dispatch number.
        dno: Dno,
    },
    /// Items are missing between others.
    #[error("dispatch number {dno} lacks its item {n}")]
    Gap {
        /// Its dispatch number.
        dno: Dno,
        /// The first item that is missing.
        n: u64,
    },
    /// Two runs have one dispatch number.
    #[error("dispatch number {dno} was given to two runs")]
    Twice {
        /// The dispatch number.
        dno: Dno,
    },
}

/// The sum of all records.
#[derive(Debug, Clone, Default)]
pub struct Image {
    max_dno: Dno,
    rows: BTreeMap<Dno, ImageRow>,
    gone: BTreeSet<Dno>,
}

/// What is known of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageRow {
    /// Which run it is.
    pub run: Option<RunRef>,
    /// The offer and when it came.
    pub received: Option<(Box<Offer>, Stamp)>,
    /// What nobody may see of it, as its procedure said when the offer came; `None` if nobody kept that, or if the record of the
    /// offer is gone because the run went on.
    pub redact: Option<Vec<String>>,
    /// Of that what leads to something in its arguments, as the records of a run that went on say it.
    pub secret: Option<Vec<String>>,
    /// It was about to be started.
    pub starting: bool,
    /// It was started.
    pub running: bool,
    /// First number → number after the last, and bytes, of each record of items.
    pub items: BTreeMap<u64, (u64, u64)>,
    /// The manager has the items below.
    pub acked_n: u64,
    /// How it ended, and whether that was told.
    pub ending: Option<(Ending, bool)>,
    /// What still runs of it, in words for its end: nothing of this is on disk.
    pub left: Option<String>,
}

impl ImageRow {
    /// It may have run, and how it ended is not known: [recovery](super::Spool::recover) ends it as unknown.
    pub(super) fn is_lost(&self) -> bool {
        let may_have_run = self.starting || self.running;
        self.ending.is_none() && (may_have_run || self.received.is_none())
    }

    /// The number of its next item.
    pub fn next_n(&self) -> u64 {
        let last = self.items.last_key_value().map_or(0, |(_, (until, _))| *until);
        let ended = self.ending.as_ref().map_or(0, |(ending, _)| ending.items);
        last.max(self.acked_n).max(ended)
    }

    /// The first item from `acked_n` on that is not there.
    fn gap(&self) -> Option<u64> {
        let mut n = self.acked_n;
        for (first, (until, _)) in &self.items {
            if *first > n {
                return Some(n);
            }
            n = n.max(*until);
        }
        (n < self.next_n()).then_some(n)
    }
}

impl Image {
    /// Adds a record.
    ///
    /// # Errors
    /// [`ImageError::Twice`].
    pub fn add(&mut self, record: Record) -> Result<(), ImageError> {
        let dno = record.dno();
        self.max_dno = self.max_dno.max(dno);
        if self.gone.contains(&dno) || matches!(record, Record::Floor { .. }) {
            return Ok(());
        }
        if matches!(record, Record::Gone { .. }) {
            self.rows.remove(&dno);
            self.gone.insert(dno);
            return Ok(());
        }
        let row = self.rows.entry(dno).or_default();
        if let Some(run) = run_of(&record) {
            if row.run.is_some_and(|known| known != run) {
                return Err(ImageError::Twice { dno });
            }
            row.run = Some(run);
        }
        match record {
            Record::Received { offer, at, redact } => {
                (row.received, row.redact) = (Some((offer, at)), redact);
            }
            Record::Starting { redact, .. } => {
                row.starting = true;
                row.secret = row.secret.take().or(redact);
            }
            Record::Running { .. } => row.running = true,
            Record::Items { items, .. } => {
                if let (Some(first), Some(last)) = (items.first(), items.last()) {
                    let bytes = items.iter().map(Item::cost).sum();
                    row.items.insert(first.n, (last.n.saturating_add(1), bytes));
                }
            }
            Record::Acked { next_n, .. } => row.acked_n = row.acked_n.max(next_n),
            Record::Done { ending, told, redact, .. } => {
                row.ending = Some((*ending, told));
                row.secret = row.secret.take().or(redact);
            }
            Record::Floor { .. } | Record::Gone { .. } => {}
        }
        Ok(())
    }

    /// Raises the highest dispatch number, as the head of a journal file tells it.
    pub fn raise(&mut self, dno: Dno) {
        self.max_dno = self.max_dno.max(dno);
    }

    /// The highest dispatch number seen.
    pub fn max_dno(&self) -> Dno {
        self.max_dno
    }

    /// The runs.
    pub fn rows(&self) -> &BTreeMap<Dno, ImageRow> {
        &self.rows
    }

    /// The runs that recovery ends as unknown, and their procedures as far as these are known.
    pub fn lost(&self) -> impl Iterator<Item = (RunRef, Option<&str>)> {
        self.rows.values().filter(|row| row.is_lost()).filter_map(|row| {
            let procedure = row.received.as_ref().map(|(offer, _)| offer.procedure.as_str());
            Some((row.run?, procedure))
        })
    }

    /// What still runs of such a run, in words that its end will have.
    pub fn say_left(&mut self, dno: Dno, words: String) {
        if let Some(row) = self.rows.get_mut(&dno) {
            row.left = Some(words);
        }
    }

    /// Takes the runs out, once all records are in.
    ///
    /// # Errors
    /// [`ImageError::Headless`] and [`ImageError::Gap`]: records are missing.
    pub fn into_rows(self) -> Result<BTreeMap<Dno, ImageRow>, ImageError> {
        for (dno, row) in &self.rows {
            if row.run.is_none() {
                return Err(ImageError::Headless { dno: *dno });
            }
            if let Some(n) = row.gap() {
                return Err(ImageError::Gap { dno: *dno, n });
            }
        }
        Ok(self.rows)
    }
}

fn run_of(record: &Record) -> Option<RunRef> {
    match record {
        Record::Received { offer, .. } => Some(offer.run),
        Record::Starting { run, .. } | Record::Done { run, .. } => Some(*run),
        Record::Floor { .. }
        | Record::Running { .. }
        | Record::Items { .. }
        | Record::Acked { .. }
        | Record::Gone { .. } => None,
    }
}
