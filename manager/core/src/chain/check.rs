//! Checks rows against the chain, one after the other in the order of their numbers, and says where it breaks first.

use std::fmt;

use super::{Column, Hash, Linker, Point, Sha256};

/// After a flaw, rows that are looked at for the one that belongs there.
pub const LOOK_AHEAD: usize = 256;

/// Where the chain breaks first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flaw {
    /// The first number that is not as it was written. Everything before it is.
    pub n: u64,
    /// What is wrong with it.
    pub kind: FlawKind,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlawKind {
    /// The row or its hash was changed.
    Changed,
    /// The rows from here up to this number are not there, and later ones are.
    Missing {
        /// The last of them.
        upto: u64,
    },
    /// What belongs here stands under another number.
    Moved {
        /// Under which.
        to: u64,
    },
    /// The row, or the hash that is kept of what retention deleted before it, was changed.
    Anchor,
    /// The rows from here to the end of the history are not there.
    Truncated {
        /// The number of the last one.
        upto: u64,
    },
    /// The row fits those before it, and is not the last one that was written as this number.
    Head,
    /// The last event that was written is an earlier one: this and what follows came from somebody else.
    Beyond,
    /// It is not known any more what was written last.
    NoHead,
}

impl FlawKind {
    /// One word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Missing { .. } => "missing",
            Self::Moved { .. } => "moved",
            Self::Anchor => "anchor",
            Self::Truncated { .. } => "truncated",
            Self::Head => "head",
            Self::Beyond => "beyond",
            Self::NoHead => "no_head",
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.n;
        match self.kind {
            FlawKind::Changed => write!(f, "event {n} was changed"),
            FlawKind::Missing { upto } if upto == n => write!(f, "event {n} is missing"),
            FlawKind::Missing { upto } => write!(f, "events {n} to {upto} are missing"),
            FlawKind::Moved { to } => write!(f, "event {n} is out of order: it stands as number {to}"),
            FlawKind::Anchor => {
                write!(f, "event {n}, or the hash that was kept of what is before it, was changed")
            }
            FlawKind::Truncated { upto } => {
                write!(f, "the history was cut off: events {n} to {upto} are missing at its end")
            }
            FlawKind::Head => {
                write!(
                    f,
                    "event {n} is not the one that was written last: it, or the stored head, was changed"
                )
            }
            FlawKind::Beyond => write!(f, "event {n} and what follows were not written by the manager"),
            FlawKind::NoHead => write!(f, "the stored head is missing; the events fit up to {n}"),
        }
    }
}

/// What a stretch of the history is checked with.
#[derive(Debug)]
pub struct Checker {
    linker: Linker,
    at: Point,
    checked: u64,
    /// Whether the hash before the first row may be wrong itself.
    unsure: bool,
    head: Option<Point>,
    flaw: Option<Flaw>,
    looked: usize,
}

impl Checker {
    /// Begins after `from`. `unsure` when its hash was read from where somebody may have changed it. `head` is what was written
    /// last, as of the same moment as the rows.
    pub fn new(sha256: Sha256, from: Point, unsure: bool, head: Option<Point>) -> Self {
        Self { linker: Linker::new(sha256), at: from, checked: 0, unsure, head, flaw: None, looked: 0 }
    }

    /// How far the rows fit.
    pub fn at(&self) -> Point {
        self.at
    }

    /// How many rows fit.
    pub fn checked(&self) -> u64 {
        self.checked
    }

    /// Whether it has found where the chain breaks, and only looks for what belongs there.
    pub fn is_broken(&self) -> bool {
        self.flaw.is_some()
    }

    /// A row stands before those that are checked, where everything was deleted.
    pub fn stray(&mut self, n: u64) {
        self.flaw = Some(Flaw { n, kind: FlawKind::Anchor });
        self.looked = LOOK_AHEAD;
    }

    /// Takes the next row, with the hash that is stored with it. `false` when no further one is wanted.
    pub fn take(&mut self, n: u64, row: &[Column<'_>], stored: Option<&[u8]>) -> bool {
        let stored = stored.and_then(|hash| Hash::try_from(hash).ok());
        if let Some(flaw) = self.flaw {
            return self.look_for(flaw, n, row, stored);
        }
        let due = self.at.n.saturating_add(1);
        let kind = if n > due {
            FlawKind::Missing { upto: n - 1 }
        } else if n == due && stored == Some(self.linker.link(&self.at.hash, row)) {
            return self.fits(Point { n, hash: stored.unwrap_or_default() });
        } else if self.unsure && self.checked == 0 {
            FlawKind::Anchor
        } else {
            FlawKind::Changed
        };
        self.flaw = Some(Flaw { n: due, kind });
        true
    }

    fn fits(&mut self, here: Point) -> bool {
        self.checked += 1;
        self.at = here;
        if self.head.is_some_and(|head| head.n == here.n && head.hash != here.hash) {
            self.flaw = Some(Flaw { n: here.n, kind: FlawKind::Head });
        }
        self.flaw.is_none()
    }

    /// Whether this row is the one that belongs where the flaw is.
    fn look_for(&mut self, flaw: Flaw, n: u64, row: &[Column<'_>], stored: Option<Hash>) -> bool {
        self.looked += 1;
        let number = Column::Integer(i64::try_from(flaw.n).unwrap_or(i64::MAX));
        let there = std::iter::once(number).chain(row.iter().skip(1).copied()).collect::<Vec<_>>();
        if stored.is_some_and(|stored| stored == self.linker.link(&self.at.hash, &there)) {
            self.flaw = Some(Flaw { n: flaw.n, kind: FlawKind::Moved { to: n } });
            return false;
        }
        self.looked < LOOK_AHEAD
    }

    /// What was found; `ended` when there are no more rows.
    pub fn finish(self, ended: bool) -> Option<Flaw> {
        if self.flaw.is_some() || !ended {
            return self.flaw;
        }
        let next = self.at.n.saturating_add(1);
        let Some(head) = self.head else { return Some(Flaw { n: self.at.n, kind: FlawKind::NoHead }) };
        match head.n.cmp(&self.at.n) {
            std::cmp::Ordering::Greater => Some(Flaw { n: next, kind: FlawKind::Truncated { upto: head.n } }),
            std::cmp::Ordering::Less => Some(Flaw { n: head.n.saturating_add(1), kind: FlawKind::Beyond }),
            // nothing is left of the history: what was deleted last was what was written last
            std::cmp::Ordering::Equal if head.hash != self.at.hash => {
                Some(Flaw { n: self.at.n, kind: FlawKind::Head })
            }
            std::cmp::Ordering::Equal => None,
        }
    }
}
