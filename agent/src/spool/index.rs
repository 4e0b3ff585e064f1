//! Where on disk each record is that still matters, and how much of each file that is.

use std::collections::BTreeMap;

use redpoll_common::job::spool::Record;

/// The place of a record: the bytes of its map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The number of its file.
    pub(super) file: u64,
    pub(super) offset: u64,
    pub(super) len: u32,
}

/// What a record is, as far as it decides how long it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Received,
    Starting,
    Running,
    /// The first item, and the number after the last.
    Items(u64, u64),
    /// Items below were acknowledged.
    Acked(u64),
    Done,
    /// It ends all others of its run and never needs to be copied: files are deleted oldest first, those before it sooner.
    Gone,
    /// The head of each newer file says it too.
    Floor,
}

/// The dispatch number and the kind of a record.
pub(super) fn key_of(record: &Record) -> (u64, Kind) {
    let kind = match record {
        Record::Floor { .. } => Kind::Floor,
        Record::Received { .. } => Kind::Received,
        Record::Starting { .. } => Kind::Starting,
        Record::Running { .. } => Kind::Running,
        Record::Items { items, .. } => Kind::Items(
            items.first().map_or(0, |item| item.n),
            items.last().map_or(0, |item| item.n.saturating_add(1)),
        ),
        Record::Acked { next_n, .. } => Kind::Acked(*next_n),
        Record::Done { .. } => Kind::Done,
        Record::Gone { .. } => Kind::Gone,
    };
    (record.dno().0, kind)
}

/// All records that matter.
#[derive(Debug, Default)]
pub(super) struct Index {
    runs: BTreeMap<u64, Vec<(Kind, Place)>>,
    /// Bytes that matter, by file.
    live: BTreeMap<u64, u64>,
}

impl Index {
    /// Adds a record, and forgets those that it makes superfluous.
    pub(super) fn add(&mut self, dno: u64, kind: Kind, place: Place) {
        if matches!(kind, Kind::Floor) {
            return;
        }
        let run = self.runs.entry(dno).or_default();
        let live = &mut self.live;
        run.retain(|(older, at)| {
            let keep = !ends(kind, *older);
            if !keep && let Some(bytes) = live.get_mut(&at.file) {
                *bytes = bytes.saturating_sub(u64::from(at.len));
            }
            keep
        });
        let superfluous = run.iter().any(|(newer, _)| *newer != kind && ends(*newer, kind));
        if matches!(kind, Kind::Gone) {
            self.runs.remove(&dno);
        } else if !superfluous {
            run.push((kind, place));
            *live.entry(place.file).or_default() += u64::from(place.len);
        }
    }

    /// How many runs have records.
    pub(super) fn runs(&self) -> usize {
        self.runs.len()
    }

    /// The dispatch numbers that have records.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.runs.keys().copied()
    }

    /// Bytes of a file that matter.
    pub(super) fn live_in(&self, file: u64) -> u64 {
        self.live.get(&file).copied().unwrap_or(0)
    }

    /// Bytes that matter.
    pub(super) fn live(&self) -> u64 {
        self.live.values().sum()
    }

    /// Forgets a deleted file.
    pub(super) fn drop_file(&mut self, file: u64) {
        self.live.remove(&file);
    }

    /// The records of a file that matter.
    pub(super) fn of_file(&self, file: u64) -> Vec<(u64, Kind, Place)> {
        let all =
            self.runs.iter().flat_map(|(dno, run)| run.iter().map(move |(kind, at)| (*dno, *kind, *at)));
        all.filter(|(_, _, at)| at.file == file).collect()
    }

    /// The record that holds an item, if one does.
    pub(super) fn item(&self, dno: u64, n: u64) -> Option<Place> {
        let holds = |(kind, _): &&(Kind, Place)| matches!(kind, Kind::Items(first, until) if (*first..*until).contains(&n));
        self.runs.get(&dno)?.iter().find(holds).map(|(_, at)| *at)
    }
}

/// Whether a record of one kind makes one of another kind superfluous, of the same run; a copy replaces its original.
fn ends(newer: Kind, older: Kind) -> bool {
    match (newer, older) {
        (Kind::Gone, _) | (Kind::Starting | Kind::Done, Kind::Received) => true,
        (Kind::Done, Kind::Starting | Kind::Running) => true,
        (Kind::Acked(next_n), Kind::Items(_, until)) => until <= next_n,
        (Kind::Acked(newer), Kind::Acked(older)) => older <= newer,
        (newer, older) => newer == older,
    }
}
