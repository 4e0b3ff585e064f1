//! How runs end, and what time does to them.

use super::fit::{fit, parts};
use super::row::{Phase, Row};
use super::{
    BATCH_MS, COMMIT_BYTES, COMMIT_RECORDS, Cause, Exit, KEPT, MAX_LAZY, MAX_RECORD_ITEMS, Now, Output,
    RECORD_BYTES, Record, SMALL_ENDING, Spool, TIDY_MS, Untaken,
};
use crate::job::ids::Dno;
use crate::job::run::Ending;
use crate::job::wire::offer::whole_ms;

impl<T> Spool<T> {
    /// When [`handle_timeout`](Self::handle_timeout) is due, in milliseconds of the boot-time clock.
    pub fn poll_timeout(&self) -> Option<u64> {
        let rows = self.live.iter().filter_map(|dno| self.rows.get(dno)?.due());
        let session = self.session.retry_at();
        rows.chain(self.flush_at).chain(self.tidy_at).chain(self.hold_until).chain(session).min()
    }

    /// Runs whose time is over. Whoever is behind with what programs do says what of these waits, with
    /// [`handle_untaken`](Self::handle_untaken), before [`handle_timeout`](Self::handle_timeout) ends them.
    pub fn overdue(&self, now: Now) -> Vec<Dno> {
        let past = |at: Option<u64>| at.is_some_and(|at| at <= now.boot_ms);
        let is_over =
            |dno: &&Dno| self.rows.get(dno).is_some_and(|row| past(row.run_by) || past(row.idle_by));
        self.live.iter().filter(is_over).copied().collect()
    }

    /// What a program did in time counts, also when it is taken in late. That it is taken in later is expected.
    pub fn handle_untaken(&mut self, dno: Dno, untaken: Untaken) {
        let Some(row) = self.rows.get_mut(&dno).filter(|row| row.is_live()) else { return };
        match untaken {
            Untaken::Gave(at) => {
                let limit = row.limits.idle_timeout.map_or(0, whole_ms);
                row.idle_by = row.idle_by.map(|by| by.max(at.saturating_add(limit)));
            }
            Untaken::Ended(at) => {
                row.run_by = row.run_by.filter(|by| *by <= at);
                row.idle_by = row.idle_by.filter(|by| *by <= at);
            }
        }
    }

    /// Does what is due. Too early, or a second time, it does nothing.
    pub fn handle_timeout(&mut self, now: Now) {
        let past = |at: Option<u64>| at.is_some_and(|at| at <= now.boot_ms);
        let due: Vec<Dno> = self
            .live
            .iter()
            .copied()
            .filter(|dno| self.rows.get(dno).is_some_and(|row| past(row.due())))
            .collect();
        for dno in due {
            let Some(row) = self.rows.get_mut(&dno) else { continue };
            if past(row.kill_at) {
                row.kill_at = None;
                self.outputs.push_back(Output::Kill(dno));
            } else if past(row.start_by) {
                row.start_by = None;
                self.expire(dno, now);
            } else if past(row.run_by) {
                let limit = row.limits.run_timeout.unwrap_or_default();
                self.stop(dno, Cause::RunTimeout(limit), None, now);
            } else if past(row.idle_by) {
                let limit = row.limits.idle_timeout.unwrap_or_default();
                self.stop(dno, Cause::IdleTimeout(limit), None, now);
            }
        }
        if past(self.flush_at) || past(self.tidy_at) {
            self.flush(now);
        }
        if past(self.hold_until) {
            self.hold_until = None;
            self.report(now);
        }
        if past(self.session.retry_at()) {
            self.send_page(now);
        }
    }

    pub(super) fn exited(&mut self, dno: Dno, exit: Exit, now: Now) {
        let Some(row) = self.rows.get_mut(&dno).filter(|row| row.is_live()) else { return };
        row.stream.close();
        let ending = row.ending(exit, now);
        self.finish(dno, ending, now);
    }

    /// A run has ended: to disk with it, then into a report.
    pub(super) fn finish(&mut self, dno: Dno, ending: Ending, now: Now) {
        let Some(row) = self.rows.get_mut(&dno) else { return };
        (row.start_by, row.run_by, row.idle_by, row.kill_at) = (None, None, None, None);
        (row.progress, row.told_progress) = (None, None);
        self.live.remove(&dno);
        if row.unwanted {
            self.forget(dno);
            // what waits for its end may go into the reserve
            return if self.draining { self.flush(now) } else { self.tidy_later(now) };
        }
        row.phase = Phase::Ending(fit(ending, self.options.max_item));
        self.dirty.insert(dno);
        self.flush(now);
    }

    /// Nothing needs to be remembered of a run but that its number is used up.
    pub(super) fn forget(&mut self, dno: Dno) {
        let Some(row) = self.rows.remove(&dno) else { return };
        let attempt = (row.run.job, row.run.attempt);
        if self.attempts.get(&attempt) == Some(&dno) {
            self.attempts.remove(&attempt);
        }
        self.live.remove(&dno);
        self.refused.remove(&dno);
        self.dirty.remove(&dno);
        self.ready.remove(&dno);
        self.lazy.push(Record::Gone { dno });
        self.gone.insert(dno, attempt);
        if self.gone.len() > KEPT {
            self.gone.pop_first();
        }
    }

    pub(super) fn flush_soon(&mut self, now: Now) {
        self.flush_at = self.flush_at.or_else(|| Some(now.after(BATCH_MS)));
    }

    /// What nothing waits for is written with what comes next, or by itself after a while.
    pub(super) fn tidy_later(&mut self, now: Now) {
        if self.lazy.len() >= MAX_LAZY {
            self.flush(now);
        } else if !self.lazy.is_empty() {
            self.tidy_at = self.tidy_at.or_else(|| Some(now.after(TIDY_MS)));
        }
    }

    /// Writes these down, and with them what waited for company: it happened before them.
    pub(super) fn commit(&mut self, records: Vec<Record>) {
        self.tidy_at = None;
        let mut all = std::mem::take(&mut self.lazy);
        all.extend(records);
        self.outputs.push_back(Output::Commit(all));
    }

    /// Before the end: what waits for more to be written with it, or for room, does not wait any longer.
    pub fn write_all(&mut self, now: Now) {
        self.flush(now);
        self.write_held(now);
    }

    /// The agent stops: nothing new is taken, and what waits for room goes into the reserve once nothing runs.
    pub(super) fn drain(&mut self, now: Now) {
        self.draining = true;
        if self.full {
            self.flush(now);
        }
    }

    /// Writes everything down that is not, as far as the disk has room, and reports.
    pub(super) fn flush(&mut self, now: Now) {
        (self.flush_at, self.pending_bytes) = (None, 0);
        let mut records = Vec::new();
        for dno in std::mem::take(&mut self.dirty) {
            if !self.write_row(dno, self.full, &mut records) {
                self.dirty.insert(dno);
            }
        }
        self.commit_in_parts(records);
        if !self.lazy.is_empty() {
            self.commit(Vec::new());
        }
        self.report(now);
        if self.draining && !self.runs_any() {
            self.write_held(now);
        }
    }

    /// Writes these down in commits of no more than a commit may have.
    fn commit_in_parts(&mut self, records: Vec<Record>) {
        let (mut next, mut weight) = (Vec::new(), 0);
        for record in records {
            let is_full = weight + record.weight() > COMMIT_BYTES || next.len() >= COMMIT_RECORDS;
            if is_full && !next.is_empty() {
                self.commit(std::mem::take(&mut next));
                weight = 0;
            }
            weight += record.weight();
            next.push(record);
        }
        if !next.is_empty() {
            self.commit(next);
        }
    }

    fn runs_any(&self) -> bool {
        self.live.iter().filter_map(|dno| self.rows.get(dno)).any(Row::is_live)
    }

    /// What waits for room would be lost with the agent that stops: the reserve is there for it. One run after the other, the smallest
    /// first, and none before the end of what still runs, as the first that is too large for what is left of the reserve keeps those
    /// after it waiting.
    fn write_held(&mut self, now: Now) {
        let mut held: Vec<Dno> = std::mem::take(&mut self.dirty).into_iter().collect();
        held.sort_by_key(|dno| self.rows.get(dno).map_or(0, Row::unwritten_bytes));
        for dno in held {
            let mut records = Vec::new();
            let _all = self.write_row(dno, false, &mut records);
            self.commit_in_parts(records);
            self.report(now);
        }
    }

    /// Gives whether all that a row has was written. While the disk is `full` only small endings are: the rest waits in
    /// memory, where a crash makes the run unknown, which is true.
    fn write_row(&mut self, dno: Dno, full: bool, records: &mut Vec<Record>) -> bool {
        let Some(row) = self.rows.get_mut(&dno) else { return true };
        if row.stream.has_pending() {
            if full {
                return false;
            }
            let items = row.stream.commit(self.options.window);
            let parts = parts(items, MAX_RECORD_ITEMS, RECORD_BYTES);
            records.extend(parts.into_iter().map(|items| Record::Items { dno, items }));
            self.ready.insert(dno);
        }
        if let Phase::Ending(ending) = &row.phase {
            let (run, boxed) = (row.run, Box::new(ending.clone()));
            let record = Record::Done { run, ending: boxed, told: false, redact: None };
            if full && record.write().len() > SMALL_ENDING {
                return false;
            }
            row.phase = Phase::Done(ending.clone());
            records.push(record);
            self.ready.insert(dno);
        }
        true
    }

    /// Makes a program wait, or go on, by what the manager has not acknowledged yet.
    pub(super) fn pace(&mut self, dno: Dno, now: Now) {
        let full = self.full;
        let Some(row) = self.rows.get_mut(&dno).filter(|row| row.is_live()) else { return };
        let (unacked, limit) = (row.stream.unacked_bytes(), row.pause_above(self.options.unacked));
        if !row.paused && (full || unacked >= limit) {
            row.paused = true;
            row.idle_by = None;
            self.outputs.push_back(Output::Pause(dno));
        } else if row.paused && !full && unacked <= limit / 2 {
            row.paused = false;
            row.restart_idle(now);
            self.outputs.push_back(Output::Unpause(dno));
        }
    }

    pub(super) fn filled(&mut self, full: bool, now: Now) {
        self.full = full;
        for dno in self.live.clone() {
            self.pace(dno, now);
        }
        if !full {
            self.flush(now);
        }
    }
}
