//! The spool machine: offers, cancels and what the programs do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::fit::fit;
use super::report::InFlight;
use super::resume::Session;
use super::row::{Phase, Row};
use super::{Cause, Image, ImageError, Input, KEPT, NotSpawned, Now, Options, Output, Record, Stamp};
use crate::job::ids::{Attempt, Dno, JobId};
use crate::job::run::{Ending, Outcome};
use crate::job::wire::offer::whole_ms;
use crate::job::wire::{Cancel, Offer, OfferAnswer, RunRef, SpoolState};
use crate::wire::{Fault, FaultCode};

/// The spool. See the [module](super) for its rules.
///
/// Feed it with [`handle`](Self::handle) and, when [`poll_timeout`](Self::poll_timeout) is due,
/// [`handle_timeout`](Self::handle_timeout); after each, perform what [`poll_output`](Self::poll_output) gives, in order.
#[derive(Debug)]
pub struct Spool<T> {
    pub(super) options: Options,
    pub(super) max_dno: Dno,
    pub(super) rows: BTreeMap<Dno, Row>,
    /// Accepted attempts that are in `rows`: an attempt is never started under two numbers.
    pub(super) attempts: BTreeMap<(JobId, Attempt), Dno>,
    /// Runs that wait or run, whose deadlines count.
    pub(super) live: BTreeSet<Dno>,
    /// Refused and told, in `rows` until the next resume.
    pub(super) refused: BTreeSet<Dno>,
    /// Acknowledged runs.
    pub(super) gone: BTreeMap<Dno, (JobId, Attempt)>,
    /// Rows with items or endings that are not on disk.
    pub(super) dirty: BTreeSet<Dno>,
    /// Rows with something to report.
    pub(super) ready: BTreeSet<Dno>,
    /// Records that nothing waits for.
    pub(super) lazy: Vec<Record>,
    /// When they are written, if nothing else is before.
    pub(super) tidy_at: Option<u64>,
    /// When what is dirty is written, and what is new is reported.
    pub(super) flush_at: Option<u64>,
    pub(super) pending_bytes: u64,
    pub(super) session: Session,
    pub(super) reports: BTreeMap<u64, Vec<InFlight>>,
    /// The row that was reported last.
    pub(super) turn: Dno,
    /// Nothing is reported before.
    pub(super) hold_until: Option<u64>,
    pub(super) next_id: u64,
    pub(super) full: bool,
    pub(super) draining: bool,
    pub(super) outputs: VecDeque<Output<T>>,
}

impl<T> Spool<T> {
    /// A spool as the disk has it, at the agent's start.
    ///
    /// # Errors
    /// [`ImageError`] when records are missing.
    pub fn recover(options: Options, image: Image, now: Now) -> Result<Self, ImageError> {
        let max_dno = image.max_dno();
        let stamp = Stamp { boot: options.boot, boot_ms: now.boot_ms, wall_ms: now.wall_ms };
        let mut spool = Self::empty(options, max_dno);
        for (dno, row) in image.into_rows()? {
            let run = row.run.ok_or(ImageError::Headless { dno })?;
            let row = Row::recovered(run, row, stamp);
            if row.told_end {
                spool.refused.insert(dno);
            } else {
                spool.attempts.insert((run.job, run.attempt), dno);
            }
            match row.phase {
                Phase::Received(_) => drop(spool.live.insert(dno)),
                Phase::Ending(_) => drop(spool.dirty.insert(dno)),
                Phase::Starting | Phase::Running | Phase::Done(_) => {}
            }
            spool.rows.insert(dno, row);
        }
        spool.flush(now);
        Ok(spool)
    }

    fn empty(options: Options, max_dno: Dno) -> Self {
        Self {
            options,
            max_dno,
            rows: BTreeMap::new(),
            attempts: BTreeMap::new(),
            live: BTreeSet::new(),
            refused: BTreeSet::new(),
            gone: BTreeMap::new(),
            dirty: BTreeSet::new(),
            ready: BTreeSet::new(),
            lazy: Vec::new(),
            tidy_at: None,
            flush_at: None,
            pending_bytes: 0,
            session: Session::Away,
            reports: BTreeMap::new(),
            turn: Dno(0),
            hold_until: None,
            next_id: 0,
            full: false,
            draining: false,
            outputs: VecDeque::new(),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input<T>, now: Now) {
        match input {
            Input::Offer { token, offer, admin, verdict } => self.offer(token, offer, (admin, verdict), now),
            Input::Cancel { token, cancel } => self.cancel(token, &cancel, now),
            Input::Spawned(dno) => self.spawned(dno, now),
            Input::NotSpawned(dno, why) => self.not_spawned(dno, why, now),
            Input::Item { dno, kind, data } => self.item(dno, kind, data, now),
            Input::Progress(dno, progress) => self.progress(dno, progress, now),
            Input::Exited(dno, exit) => self.exited(dno, exit, now),
            Input::Connected => self.connected(now),
            Input::Disconnected => self.disconnected(),
            Input::Resumed(id, answer) => self.resumed(id, answer, now),
            Input::Reported(id, answer) => self.reported(id, answer, now),
            Input::Loaded(dno, items) => {
                if let Some(row) = self.rows.get_mut(&dno) {
                    row.stream.loaded(items);
                    self.ready.insert(dno);
                    self.report(now);
                }
            }
            Input::Full(full) => self.filled(full, now),
            Input::Draining => self.drain(now),
        }
    }

    /// What to do next, if anything.
    pub fn poll_output(&mut self) -> Option<Output<T>> {
        self.outputs.pop_front()
    }

    /// The highest dispatch number seen: what the hello tells.
    pub fn max_dno(&self) -> Dno {
        self.max_dno
    }

    /// Whether a run is here that has not ended.
    pub fn is_live(&self, dno: Dno) -> bool {
        self.live.contains(&dno)
    }

    /// Runs that have not ended, and runs whose ending is not acknowledged.
    pub fn counts(&self) -> (usize, usize) {
        let live = self.live.len();
        (live, self.rows.len().saturating_sub(live + self.refused.len()))
    }

    fn offer(&mut self, token: T, offer: Box<Offer>, (admin, verdict): (bool, Result<(), Fault>), now: Now) {
        let run = offer.run;
        if run.dno <= self.max_dno {
            let state = self.state_of(run);
            self.outputs.push_back(Output::OfferAnswer(token, Ok(OfferAnswer::Known(state))));
            return self.tell(run, now);
        }
        let known =
            self.attempts.get(&(run.job, run.attempt)).and_then(|dno| self.rows.get(dno)).map(Row::state);
        let room = if known.is_none() { self.room(admin) } else { Ok(()) };
        if let Err(fault) = self.in_reach(run.dno).and(room) {
            // the number stays unseen and nothing is written: a backlog that is offered again and again would use up what is
            // left of a full disk, which is there for ends
            return self.outputs.push_back(Output::OfferAnswer(token, Err(fault)));
        }
        self.max_dno = run.dno;
        if let Some(state) = known {
            // the attempt is here under an older number: it is not started a second time
            self.commit(vec![Record::Floor { dno: run.dno }]);
            return self.outputs.push_back(Output::OfferAnswer(token, Ok(OfferAnswer::Known(state))));
        }
        if let Err(fault) = verdict {
            self.use_up(run, Ending::unstarted(Outcome::Rejected, fault.clone()), now);
            return self.outputs.push_back(Output::OfferAnswer(token, Err(fault)));
        }
        let at = Stamp { boot: self.options.boot, boot_ms: now.boot_ms, wall_ms: now.wall_ms };
        let mut row = Row::new(run, Phase::Starting, offer.limits);
        row.start_by = offer.limits.start_within.map(|limit| now.after(whole_ms(limit)));
        let late = row.start_by.is_some_and(|by| by <= now.boot_ms);
        let not_after = row.start_by.take();
        self.rows.insert(run.dno, row);
        self.attempts.insert((run.job, run.attempt), run.dno);
        self.live.insert(run.dno);
        let received = Record::Received { offer: offer.clone(), at, redact: None };
        if late {
            self.commit(vec![received]);
            self.outputs.push_back(Output::OfferAnswer(token, Ok(OfferAnswer::Accepted)));
            return self.expire(run.dno, now);
        }
        // it is started at once, so one write says both: before the accept, and before the spawn
        self.commit(vec![received, Record::Starting { run, redact: None }]);
        self.outputs.push_back(Output::OfferAnswer(token, Ok(OfferAnswer::Accepted)));
        self.outputs.push_back(Output::Spawn { offer, not_after });
    }

    /// Whether another run may come.
    fn room(&self, admin: bool) -> Result<(), Fault> {
        let runs = self.options.max_runs.saturating_add(if admin { self.options.admin_reserve } else { 0 });
        let fault = if self.draining {
            Fault::new(FaultCode::ShuttingDown, "the agent is stopping")
        } else if self.full {
            Fault::new(FaultCode::Overloaded, "spool_full: the disk of the agent's spool is full")
        } else if self.has(runs) {
            Fault::new(FaultCode::Overloaded, "the agent has as many runs as it may have")
        } else {
            return Ok(());
        };
        Err(Fault { retry_after_ms: Some(if self.full { 30_000 } else { RETRY_OFFER_MS }), ..fault })
    }

    /// Whether so many runs are here. One whose end is on its way to the manager is only a record, and the manager may offer the next
    /// because of that end before the acknowledgement is heard; but records have an end too.
    fn has(&self, runs: usize) -> bool {
        let rows = self.rows.len().saturating_sub(self.refused.len());
        if rows < runs || rows >= runs.saturating_mul(2) {
            return rows >= runs;
        }
        let is_told = |row: &&Row| row.told_end && matches!(row.phase, Phase::Done(_));
        let told = self.rows.values().filter(is_told).count().saturating_sub(self.refused.len());
        rows.saturating_sub(told) >= runs
    }

    /// A dispatch number whose run never starts, and why; the answer that follows tells.
    fn use_up(&mut self, run: RunRef, ending: Ending, now: Now) {
        let ending = fit(ending, self.options.max_item);
        let record = Record::Done { run, ending: Box::new(ending.clone()), told: true, redact: None };
        self.commit(vec![record]);
        let row = Row::new(run, Phase::Done(ending), crate::job::Limits::default());
        self.rows.insert(run.dno, Row { told_start: true, told_end: true, ..row });
        self.refused.insert(run.dno);
        if self.refused.len() > KEPT
            && let Some(oldest) = self.refused.first().copied()
        {
            self.forget(oldest);
            self.flush_soon(now);
        }
    }

    /// Whoever asks for a refused run was not reached by the refusal: a report will tell.
    fn tell(&mut self, run: RunRef, now: Now) {
        let asked = self.rows.get_mut(&run.dno).filter(|row| row.run == run);
        if let Some(row) = asked
            && self.refused.remove(&run.dno)
        {
            row.told_end = false;
            self.ready.insert(run.dno);
            self.report(now);
        }
    }

    /// What the spool holds under a number that was seen.
    fn state_of(&self, run: RunRef) -> SpoolState {
        match (self.rows.get(&run.dno), self.gone.get(&run.dno)) {
            (Some(row), _) if row.run == run => row.state(),
            (_, Some(gone)) if *gone == (run.job, run.attempt) => SpoolState::Done,
            _ => SpoolState::Absent,
        }
    }

    /// Starts a received run, unless it is too late.
    pub(super) fn start(&mut self, dno: Dno, now: Now) {
        let Some(row) = self.rows.get_mut(&dno) else { return };
        let late = row.start_by.is_some_and(|by| by <= now.boot_ms);
        match std::mem::replace(&mut row.phase, Phase::Starting) {
            Phase::Received(_) if late => self.expire(dno, now),
            Phase::Received(offer) => {
                let (starting, not_after) =
                    (Record::Starting { run: row.run, redact: None }, row.start_by.take());
                self.commit(vec![starting]);
                self.outputs.push_back(Output::Spawn { offer, not_after });
            }
            other @ (Phase::Starting | Phase::Running | Phase::Ending(_) | Phase::Done(_)) => {
                row.phase = other
            }
        }
    }

    pub(super) fn expire(&mut self, dno: Dno, now: Now) {
        let fault = Fault::new(FaultCode::TimedOut, "it could not be started within start_within");
        self.finish(dno, Ending::unstarted(Outcome::Expired, fault), now);
    }

    fn cancel(&mut self, token: T, cancel: &Cancel, now: Now) {
        let run = cancel.run;
        if let Err(fault) = self.in_reach(run.dno) {
            return self.outputs.push_back(Output::CancelAnswer(token, Err(fault)));
        }
        if run.dno > self.max_dno {
            self.max_dno = run.dno;
            self.use_up(run, Ending::unstarted(Outcome::Cancelled, Cause::Cancelled.fault()), now);
            return self.outputs.push_back(Output::CancelAnswer(token, Ok(SpoolState::Absent)));
        }
        if self.rows.get(&run.dno).is_some_and(|row| row.run == run) {
            self.stop(run.dno, Cause::Cancelled, cancel.grace_ms, now);
        }
        self.outputs.push_back(Output::CancelAnswer(token, Ok(self.state_of(run))));
        self.tell(run, now);
    }

    /// Ends a run that has not ended, or keeps it from starting.
    pub(super) fn stop(&mut self, dno: Dno, cause: Cause, grace_ms: Option<u64>, now: Now) {
        let Some(row) = self.rows.get_mut(&dno) else { return };
        match row.phase {
            Phase::Received(_) => {
                self.finish(dno, Ending::unstarted(cause.outcome(), cause.fault()), now);
            }
            Phase::Starting | Phase::Running => {
                let grace =
                    grace_ms.or_else(|| row.limits.grace.map(whole_ms)).unwrap_or(self.options.grace_ms);
                let kill_at = now.after(grace);
                if row.cause.is_none() {
                    row.cause = Some(cause);
                    (row.run_by, row.idle_by) = (None, None);
                    row.kill_at = Some(kill_at);
                    self.outputs.push_back(Output::Terminate(dno));
                } else if let Some(at) = &mut row.kill_at {
                    *at = kill_at.min(*at);
                }
            }
            Phase::Ending(_) | Phase::Done(_) => {}
        }
    }

    fn spawned(&mut self, dno: Dno, now: Now) {
        let Some(row) = self.rows.get_mut(&dno).filter(|row| matches!(row.phase, Phase::Starting)) else {
            return;
        };
        row.started(now);
        if row.cause.is_some() {
            (row.run_by, row.idle_by) = (None, None);
        }
        self.lazy.push(Record::Running { dno });
        self.ready.insert(dno);
        self.flush_soon(now);
    }

    fn not_spawned(&mut self, dno: Dno, why: NotSpawned, now: Now) {
        let Some(row) = self.rows.get(&dno).filter(|row| matches!(row.phase, Phase::Starting)) else {
            return;
        };
        match (row.cause, why) {
            (Some(cause), _) => self.finish(dno, Ending::unstarted(cause.outcome(), cause.fault()), now),
            (None, NotSpawned::Late) => self.expire(dno, now),
            (None, NotSpawned::Refused(fault)) => {
                self.finish(dno, Ending::unstarted(Outcome::Rejected, *fault), now);
            }
        }
    }
}

/// When an offer that found no room may be repeated, in milliseconds.
const RETRY_OFFER_MS: u64 = 1_000;
