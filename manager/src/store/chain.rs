//! The [chain](redpoll_manager_core::chain) over the history of events, as stores keep and check it.
//!
//! Beside the rows with their hashes a store has three points: *begun*, after which the chain begins (events of an older build have no
//! hashes); the *anchor*, the newest event that retention deleted; and the *head*, the event that was written last. They are written in
//! the transaction of what moves them.

use aws_lc_rs::digest::{SHA256, digest};
use redpoll_manager_core::chain::check::{Checker, Flaw};
use redpoll_manager_core::chain::{Column, Hash, Point};

/// The most events that one [`Store::verify`](super::Store::verify) looks at, unless the first flaw comes last.
pub const MAX_VERIFY: usize = 2000;
/// Bytes of texts and data after which it stops too.
const MAX_VERIFY_BYTES: usize = 4 * 1024 * 1024;

/// What hashes the chain.
pub fn sha256(bytes: &[u8]) -> Hash {
    let mut hash = Hash::default();
    let made = digest(&SHA256, bytes);
    hash.iter_mut().zip(made.as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With the oldest event of the chain that is kept.
    Oldest,
    /// After this point, up to which it was checked; with the oldest if that is a later one by now.
    After(Point),
    /// With the newest so many.
    Newest(u64),
}

/// What was found in a stretch of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// The point after which it began.
    pub from: Point,
    /// Up to where everything fits.
    pub at: Point,
    /// How many events fit.
    pub checked: u64,
    /// Where it breaks.
    pub flaw: Option<Flaw>,
    /// There is more, or may be.
    pub more: bool,
    /// What was written last, if that is known.
    pub head: Option<Point>,
    /// Events up to this number are from before the chain.
    pub begun: u64,
}

/// Goes through the rows of a stretch.
#[derive(Debug)]
pub(super) struct Walk {
    from: Point,
    head: Option<Point>,
    until: u64,
    limit: u64,
    bytes: usize,
    checker: Checker,
}

impl Walk {
    /// Begins after `from`, see [`Checker::new`]; at most `limit` rows, and none after `until`.
    pub(super) fn new(
        from: Point,
        unsure: bool,
        head: Option<Point>,
        until: Option<u64>,
        limit: usize,
    ) -> Self {
        let limit = u64::try_from(limit.clamp(1, MAX_VERIFY)).unwrap_or(1);
        let checker = Checker::new(sha256, from, unsure, head);
        Self { from, head, until: until.unwrap_or(u64::MAX), limit, bytes: 0, checker }
    }

    /// Takes a row. `false` when no further one is wanted.
    pub(super) fn take(&mut self, n: u64, row: &[Column<'_>], stored: Option<&[u8]>) -> bool {
        let is_enough =
            n > self.until || self.checker.checked() >= self.limit || self.bytes >= MAX_VERIFY_BYTES;
        if is_enough && !self.checker.is_broken() {
            return false;
        }
        self.bytes += row.iter().map(size).sum::<usize>();
        self.checker.take(n, row, stored)
    }

    /// There is a row where there should be none any more.
    pub(super) fn stray(&mut self, n: u64) {
        self.checker.stray(n);
    }

    /// `ended` when there were no more rows.
    pub(super) fn finish(self, ended: bool, begun: u64) -> Verified {
        let (at, checked) = (self.checker.at(), self.checker.checked());
        let flaw = self.checker.finish(ended);
        let more = !ended && flaw.is_none();
        Verified { from: self.from, at, checked, flaw, more, head: self.head, begun }
    }
}

fn size(column: &Column<'_>) -> usize {
    match column {
        Column::Text(bytes) | Column::Blob(bytes) => bytes.len(),
        Column::Null | Column::Integer(_) | Column::Id(_) => 0,
    }
}
