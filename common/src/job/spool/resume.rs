//! The first thing in each session: what the spool holds, and what the manager wants done with it.

use std::ops::Bound;

use super::row::Phase;
use super::{Cause, Now, Output, RETRY_MS, Record, Spool};
use crate::job::ids::Dno;
use crate::job::wire::resume::MAX_RESUME_ROWS;
use crate::job::wire::{Act, Resume, ResumeAnswer, ResumeRow, SpoolState};

/// The session, as far as the spool cares.
#[derive(Debug)]
pub(super) enum Session {
    /// There is none.
    Away,
    /// Pages are being told.
    Telling(Page),
    /// All pages were answered.
    Live,
}

/// A page on its way.
#[derive(Debug)]
pub(super) struct Page {
    /// Its number, while it waits for its answer.
    id: Option<u64>,
    /// It begins after this.
    after: Dno,
    /// What it listed.
    listed: Vec<ResumeRow>,
    last: bool,
    /// When to send it again.
    retry_at: Option<u64>,
}

impl Session {
    pub(super) fn retry_at(&self) -> Option<u64> {
        match self {
            Self::Telling(page) => page.retry_at,
            Self::Away | Self::Live => None,
        }
    }
}

impl<T> Spool<T> {
    pub(super) fn connected(&mut self, now: Now) {
        self.disconnected();
        // what a page says is on disk before it is said
        self.flush(now);
        let page = Page { id: None, after: Dno(0), listed: Vec::new(), last: false, retry_at: None };
        self.session = Session::Telling(page);
        self.send_page(now);
    }

    pub(super) fn disconnected(&mut self) {
        self.session = Session::Away;
        self.reports.clear();
        self.hold_until = None;
        self.ready.clear();
        for row in self.rows.values_mut() {
            row.in_flight = 0;
            row.gap = false;
            row.told_start = row.told_start && row.started_at.is_none();
            row.untold_progress();
            row.stream.rewind(row.stream.acked_n);
        }
        for (dno, row) in &mut self.rows {
            row.told_end = row.told_end && self.refused.contains(dno);
        }
    }

    pub(super) fn send_page(&mut self, _now: Now) {
        let Session::Telling(page) = &mut self.session else { return };
        let rows = self.rows.range((Bound::Excluded(page.after), Bound::Unbounded));
        let mut listed: Vec<ResumeRow> = rows
            .take(MAX_RESUME_ROWS + 1)
            .map(|(_, row)| ResumeRow {
                run: row.run,
                state: row.state(),
                next_n: row.stream.committed_n,
                acked_n: row.stream.acked_n,
            })
            .collect();
        page.last = listed.len() <= MAX_RESUME_ROWS;
        listed.truncate(MAX_RESUME_ROWS);
        self.next_id += 1;
        page.id = Some(self.next_id);
        page.retry_at = None;
        page.listed.clone_from(&listed);
        let (spool, max_dno, last) = (self.options.spool, self.max_dno, page.last);
        self.outputs.push_back(Output::Resume(self.next_id, Resume { spool, max_dno, last, jobs: listed }));
    }

    pub(super) fn resumed(&mut self, id: u64, answer: Result<ResumeAnswer, Option<u64>>, now: Now) {
        let Session::Telling(page) = &mut self.session else { return };
        if page.id != Some(id) {
            return;
        }
        page.id = None;
        let answer = match answer {
            Ok(answer) => answer,
            Err(wait) => return page.retry_at = Some(now.after(wait.unwrap_or(RETRY_MS).max(RETRY_MS))),
        };
        let (listed, last) = (std::mem::take(&mut page.listed), page.last);
        page.after = listed.last().map_or(page.after, |row| row.run.dno);
        for row in listed {
            let is_it =
                |act: &&crate::job::wire::ResumeAct| (act.job, act.attempt) == (row.run.job, row.run.attempt);
            match answer.jobs.iter().find(is_it) {
                Some(act) => self.act(row.run.dno, act.act, now),
                // a run that the manager is silent about goes on if it runs; it is not started
                None if row.state == SpoolState::Received => {}
                None => self.go_on(row.run.dno, None, now),
            }
        }
        self.purge(answer.purge_below_dno);
        if last {
            self.session = Session::Live;
            self.flush(now);
        } else {
            self.send_page(now);
        }
        self.tidy_later(now);
    }

    fn act(&mut self, dno: Dno, act: Act, now: Now) {
        match act {
            Act::Continue => self.go_on(dno, None, now),
            Act::SendFrom(from) => self.go_on(dno, Some(from), now),
            Act::Kill { grace_ms } => {
                let grace_ms = grace_ms.map(|grace| grace.min(self.options.grace_ms));
                self.stop(dno, Cause::Cancelled, grace_ms, now);
                self.go_on(dno, None, now);
            }
            Act::Drop => {
                let Some(row) = self.rows.get_mut(&dno) else { return };
                row.unwanted = true;
                match row.phase {
                    Phase::Starting | Phase::Running => self.stop(dno, Cause::Cancelled, None, now),
                    Phase::Received(_) | Phase::Ending(_) | Phase::Done(_) => self.forget(dno),
                }
            }
        }
    }

    /// Starts it if it waits, and reports it, its items from `from` on.
    fn go_on(&mut self, dno: Dno, from: Option<u64>, now: Now) {
        let Some(row) = self.rows.get_mut(&dno) else { return };
        if let Some(from) = from {
            row.stream.rewind(from);
            if row.stream.ack(from) {
                self.lazy.push(Record::Acked { dno, next_n: row.stream.acked_n });
            }
        }
        if self.refused.remove(&dno) {
            row.told_end = false;
        }
        self.ready.insert(dno);
        self.start(dno, now);
        self.pace(dno, now);
    }

    /// Forgets what is left of runs below a number.
    fn purge(&mut self, below: Dno) {
        self.gone = self.gone.split_off(&below);
        let refused: Vec<Dno> = self.refused.range(..below).copied().collect();
        refused.into_iter().for_each(|dno| self.forget(dno));
    }
}
