//! What a run gives while it goes on: items, within its limits, and progress.

use super::fit::fits;
use super::{Cause, Now, Spool};
use crate::job::ids::Dno;
use crate::job::item::{ItemKind, data_cost};
use crate::job::spec::Overflow;
use crate::wire::Raw;
use crate::wire::flight::Progress;

/// Bytes of a character of UTF-8 after its first, at most.
const FOLLOWING: usize = 3;

impl<T> Spool<T> {
    pub(super) fn progress(&mut self, dno: Dno, mut progress: Progress, now: Now) {
        let Some(row) = self.rows.get_mut(&dno).filter(|row| row.is_live()) else { return };
        if !fits(&progress.details, self.options.max_item / 4) {
            progress.details = Raw::nil();
        }
        row.progress = Some(progress);
        self.ready.insert(dno);
        self.flush_soon(now);
    }

    pub(super) fn item(&mut self, dno: Dno, kind: ItemKind, data: Raw, now: Now) {
        let Some(row) = self.rows.get_mut(&dno).filter(|row| row.is_live()) else { return };
        row.restart_idle(now);
        if !fits(&data, self.options.max_item) {
            row.stream.drop_item(kind, &data, None);
            return self.stop(dno, Cause::ItemTooLarge, None, now);
        }
        let cost = data_cost(&data);
        let quota = row.limits.output.filter(|_| row.limits.overflow != Overflow::Block);
        if row.stream.is_dropping() || quota.is_some_and(|quota| row.stream.total_bytes + cost > quota) {
            let room = quota.unwrap_or(0).saturating_sub(row.stream.total_bytes);
            // nothing follows a gap
            let kept = if row.stream.is_dropping() { None } else { begin_of(kind, &data, room) };
            row.stream.drop_item(kind, &data, kept.as_ref());
            let is_killed = row.limits.overflow == Overflow::Kill;
            if let Some(kept) = kept {
                self.keep(dno, kind, kept, now);
            }
            if is_killed {
                self.stop(dno, Cause::OutputLimit(quota.unwrap_or(0)), None, now);
            }
            return;
        }
        self.keep(dno, kind, data, now);
    }

    /// Keeps what there is room for.
    fn keep(&mut self, dno: Dno, kind: ItemKind, data: Raw, now: Now) {
        let Some(row) = self.rows.get_mut(&dno) else { return };
        self.pending_bytes += data_cost(&data);
        row.stream.push(kind, data);
        self.dirty.insert(dno);
        self.pace(dno, now);
        if self.pending_bytes >= super::BATCH_BYTES {
            self.flush(now);
        } else {
            self.flush_soon(now);
        }
    }
}

/// The begin of a piece of output that counts at most so much, and does not end within a character. Values have no begin.
fn begin_of(kind: ItemKind, data: &Raw, room: u64) -> Option<Raw> {
    if !matches!(kind, ItemKind::Stdout | ItemKind::Stderr) || data.as_text().is_some() {
        return None;
    }
    let octets = data.octets()?;
    // what a byte string has before its bytes is no more than it was
    let around = data_cost(data).saturating_sub(u64::try_from(octets.len()).ok()?);
    let most = usize::try_from(room.checked_sub(around)?).ok()?.min(octets.len());
    let continues = |at: usize| octets.get(at).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
    // bytes that are no text are cut anywhere
    let end = (most.saturating_sub(FOLLOWING)..=most).rev().find(|at| !continues(*at)).unwrap_or(most);
    octets.get(..end).filter(|begin| !begin.is_empty()).map(Raw::bin)
}
