//! What the spool promises, once more and as plainly as it can be said: a list of runs and a list of what is on disk.
//!
//! Where a promise leaves a choice (what is written together, what stands in which report), the model takes the spool's and
//! checks that it was allowed, and that nothing waits for longer than it may.

mod answers;
mod disk;
mod follow;

use std::collections::BTreeMap;

use redpoll_common::job::spool::{Exit, Input, KEPT, NotSpawned, Now, Options};
use redpoll_common::job::wire::{Offer, OfferAnswer, RunRef, SpoolState};
use redpoll_common::job::{Attempt, Dno, Item, ItemKind, JobId, Limits, Outcome, Overflow};
use redpoll_common::wire::{Fault, FaultCode, Raw, RawMap};

pub(crate) use disk::Disk;

/// An end, without the words for it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct End {
    pub(crate) outcome: Outcome,
    pub(crate) started: Option<bool>,
    pub(crate) code: Option<FaultCode>,
    pub(crate) result: Option<Raw>,
    pub(crate) items: u64,
    pub(crate) duration: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum At {
    Received,
    Starting,
    Running,
    Over(End),
}

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) run: RunRef,
    pub(crate) at: At,
    pub(crate) offer: Option<Box<Offer>>,
    limits: Limits,
    pub(crate) items: Vec<Item>,
    dropped: BTreeMap<ItemKind, u64>,
    pub(crate) acked: u64,
    pub(crate) sent: u64,
    start_by: Option<u64>,
    pub(crate) started: Option<u64>,
    run_by: Option<u64>,
    idle_by: Option<u64>,
    kill_at: Option<u64>,
    cause: Option<(Outcome, FaultCode)>,
    pub(crate) unwanted: bool,
    paused: bool,
    pub(crate) gap: bool,
    pub(crate) loading: bool,
    pub(crate) progress: Option<u64>,
    /// The latest that a report without an answer tells, and which.
    pub(crate) told: Option<(u64, u64)>,
    pub(crate) told_start: bool,
    pub(crate) told_end: bool,
    /// An answer told of its end; a report does only if somebody asks.
    pub(crate) refused: bool,
}

/// A run in a report that was not answered.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) run: RunRef,
    pub(crate) until: u64,
    pub(crate) bytes: u64,
    pub(crate) items: bool,
    pub(crate) end: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Session {
    Away,
    /// The page with this number, after that run, lists these and is the last; or it is to be sent, at some time.
    Telling {
        id: Option<u64>,
        after: Dno,
        listed: Vec<RunRef>,
        last: bool,
        at: Option<u64>,
    },
    Live,
}

pub(crate) struct Model {
    pub(crate) options: Options,
    pub(crate) now: Now,
    pub(crate) max: Dno,
    pub(crate) runs: BTreeMap<Dno, Run>,
    gone: BTreeMap<Dno, (JobId, Attempt)>,
    pub(crate) session: Session,
    pub(crate) reports: BTreeMap<u64, Vec<Part>>,
    pub(crate) last_id: u64,
    pub(crate) hold: Option<u64>,
    pub(crate) full: bool,
    draining: bool,
    pub(crate) disk: Disk,
    /// What goes out but for records, pages, reports and reads.
    pub(crate) said: Vec<String>,
    waits: BTreeMap<(Dno, &'static str), u64>,
}

const CANCELLED: (Outcome, FaultCode) = (Outcome::Cancelled, FaultCode::Cancelled);

pub(crate) fn cost(item: &Item) -> u64 {
    32 + item.data.len() as u64
}

fn unstarted((outcome, code): (Outcome, FaultCode)) -> End {
    End { outcome, started: Some(false), code: Some(code), result: None, items: 0, duration: None }
}

fn ms(limit: Option<std::time::Duration>) -> Option<u64> {
    limit.map(|limit| u64::try_from(limit.as_millis()).unwrap())
}

impl Run {
    fn new(run: RunRef, at: At, limits: Limits) -> Self {
        let (items, dropped) = (Vec::new(), BTreeMap::new());
        let (unwanted, paused, gap, loading) = (false, false, false, false);
        let (told_start, told_end, refused) = (false, false, false);
        let (start_by, started, run_by, idle_by, kill_at) = (None, None, None, None, None);
        let (offer, cause, progress, told, acked, sent) = (None, None, None, None, 0, 0);
        Self {
            run,
            at,
            offer,
            limits,
            items,
            dropped,
            acked,
            sent,
            start_by,
            started,
            run_by,
            idle_by,
            kill_at,
            cause,
            unwanted,
            paused,
            gap,
            loading,
            progress,
            told,
            told_start,
            told_end,
            refused,
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self.at, At::Starting | At::Running)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.is_live() || self.at == At::Received
    }

    fn restart_idle(&mut self, now: u64) {
        let counts = self.is_live() && !self.paused && self.cause.is_none() && self.started.is_some();
        self.idle_by = ms(self.limits.idle_timeout).filter(|_| counts).map(|limit| now + limit);
    }

    fn due(&self) -> Option<u64> {
        [self.start_by, self.run_by, self.idle_by, self.kill_at].into_iter().flatten().min()
    }
}

impl Model {
    pub(crate) fn state(&self, run: &Run) -> SpoolState {
        match run.at {
            At::Received => SpoolState::Received,
            At::Starting => SpoolState::Starting,
            At::Over(_) if self.disk.fact(run.run.dno).end.is_some() => SpoolState::Done,
            At::Running | At::Over(_) => SpoolState::Running,
        }
    }

    pub(crate) fn hear(&mut self, input: Input<u32>) {
        let now = self.now.boot_ms;
        match input {
            Input::Offer { token, offer, admin, verdict } => self.offer(token, offer, (admin, verdict)),
            Input::Cancel { token, cancel } => {
                let run = cancel.run;
                if run.dno > self.max {
                    self.use_up(run, CANCELLED);
                    return self.said.push(format!("cancel {token} {}", SpoolState::Absent.as_str()));
                }
                if self.runs.get(&run.dno).is_some_and(|row| row.run == run) {
                    self.stop(run.dno, CANCELLED, cancel.grace_ms);
                }
                self.said.push(format!("cancel {token} {}", self.known(run).as_str()));
                self.ask(run);
            }
            Input::Spawned(dno) => {
                let Some(run) = self.runs.get_mut(&dno).filter(|run| run.at == At::Starting) else { return };
                (run.at, run.started) = (At::Running, Some(now));
                run.run_by =
                    ms(run.limits.run_timeout).filter(|_| run.cause.is_none()).map(|limit| now + limit);
                run.restart_idle(now);
            }
            Input::NotSpawned(dno, why) => {
                let Some(run) = self.runs.get(&dno).filter(|run| run.at == At::Starting) else { return };
                let why = match (run.cause.clone(), why) {
                    (Some(cause), _) => cause,
                    (None, NotSpawned::Late) => (Outcome::Expired, FaultCode::TimedOut),
                    (None, NotSpawned::Refused(fault)) => (Outcome::Rejected, fault.code),
                };
                self.finish(dno, unstarted(why));
            }
            Input::Item { dno, kind, data } => self.item(dno, kind, data),
            Input::Progress(dno, progress) => {
                let run = self.runs.get_mut(&dno).filter(|run| run.is_live());
                run.into_iter().for_each(|run| run.progress = Some(progress.completed));
            }
            Input::Exited(dno, exit) => self.exited(dno, exit),
            Input::Connected => {
                self.hear(Input::Disconnected);
                let listed = Vec::new();
                self.session =
                    Session::Telling { id: None, after: Dno(0), listed, last: false, at: Some(now) };
            }
            Input::Disconnected => {
                (self.session, self.hold) = (Session::Away, None);
                self.reports.clear();
                for run in self.runs.values_mut() {
                    (run.gap, run.sent) = (false, run.acked);
                    run.told_start &= run.started.is_none();
                    let told = run.told.take().map(|(_, progress)| progress);
                    run.progress = run.progress.or(told);
                    run.told_end &= run.refused;
                }
            }
            Input::Resumed(id, answer) => self.resumed(id, answer),
            Input::Reported(id, answer) => self.reported(id, answer),
            Input::Loaded(dno, _) => self.runs.get_mut(&dno).into_iter().for_each(|run| run.loading = false),
            Input::Full(full) => self.full = full,
            Input::Draining => self.draining = true,
        }
    }

    fn offer(&mut self, token: u32, offer: Box<Offer>, (admin, verdict): (bool, Result<(), Fault>)) {
        let (run, now) = (offer.run, self.now.boot_ms);
        let known = |state| format!("offer {token} {:?}", OfferAnswer::Known(state));
        if run.dno <= self.max {
            self.said.push(known(self.known(run)));
            return self.ask(run);
        }
        let same = |row: &&Run| (row.run.job, row.run.attempt) == (run.job, run.attempt);
        if let Some(row) = self.runs.values().filter(|row| row.offer.is_some()).find(same) {
            self.said.push(known(self.state(row)));
            return self.max = run.dno;
        }
        let taken = self.runs.values().filter(|run| !run.refused);
        // an end that is on its way takes no place
        let (told, taken): (Vec<_>, Vec<_>) = taken.partition(|run| run.told_end);
        let places = self.options.max_runs + if admin { self.options.admin_reserve } else { 0 };
        let busy = taken.len() >= places || taken.len() + told.len() >= 2 * places;
        let full = self.full;
        let no_room = match () {
            () if self.draining => Some(FaultCode::ShuttingDown),
            () if full || busy => Some(FaultCode::Overloaded),
            () => None,
        };
        if let Some(code) = no_room {
            // as if it had not come
            let wait = Some(if full { 30_000 } else { 1_000 });
            return self.said.push(format!("refuse {token} {code} {wait:?}"));
        }
        if let Err(Fault { code, retry_after_ms: wait, .. }) = verdict {
            self.said.push(format!("refuse {token} {code} {wait:?}"));
            return self.use_up(run, (Outcome::Rejected, code));
        }
        self.max = run.dno;
        self.said.push(format!("offer {token} {:?}", OfferAnswer::Accepted));
        let within = ms(offer.limits.start_within);
        let mut row = Run::new(run, At::Received, offer.limits);
        (row.offer, row.start_by) = (Some(offer), within.map(|within| now + within));
        self.runs.insert(run.dno, row);
        self.start(run.dno);
    }

    /// What is told of a number that was seen.
    fn known(&self, run: RunRef) -> SpoolState {
        match self.runs.get(&run.dno) {
            Some(row) if row.run == run => self.state_soon(row),
            _ if self.gone.get(&run.dno) == Some(&(run.job, run.attempt)) => SpoolState::Done,
            _ => SpoolState::Absent,
        }
    }

    /// The same once what can be written is.
    fn state_soon(&self, run: &Run) -> SpoolState {
        if matches!(run.at, At::Over(_)) && self.may_write_end(run) {
            SpoolState::Done
        } else {
            self.state(run)
        }
    }

    /// Whoever asks for a refused run was not reached by the refusal: a report tells.
    fn ask(&mut self, run: RunRef) {
        let row = self.runs.get_mut(&run.dno).filter(|row| row.run == run && row.refused);
        row.into_iter().for_each(|row| (row.refused, row.told_end) = (false, false));
    }

    fn use_up(&mut self, run: RunRef, why: (Outcome, FaultCode)) {
        self.max = run.dno;
        let row = Run::new(run, At::Over(unstarted(why)), Limits::default());
        self.runs.insert(run.dno, Run { refused: true, told_end: true, ..row });
        let refused: Vec<Dno> = self.runs.values().filter(|run| run.refused).map(|run| run.run.dno).collect();
        if refused.len() > KEPT {
            self.forget(refused[0]);
        }
    }

    fn start(&mut self, dno: Dno) {
        let now = self.now.boot_ms;
        let Some(run) = self.runs.get_mut(&dno).filter(|run| run.at == At::Received) else { return };
        if run.start_by.is_some_and(|by| by <= now) {
            return self.finish(dno, unstarted((Outcome::Expired, FaultCode::TimedOut)));
        }
        run.at = At::Starting;
        self.said.push(format!("spawn {dno} {:?}", run.start_by.take()));
    }

    fn stop(&mut self, dno: Dno, cause: (Outcome, FaultCode), grace_ms: Option<u64>) {
        let Some(run) = self.runs.get_mut(&dno).filter(|run| run.is_open()) else { return };
        if run.at == At::Received {
            return self.finish(dno, unstarted(cause));
        }
        let grace = grace_ms.or_else(|| ms(run.limits.grace)).unwrap_or(self.options.grace_ms);
        let kill_at = Some(self.now.boot_ms + grace);
        if run.cause.is_none() {
            (run.cause, run.run_by, run.idle_by, run.kill_at) = (Some(cause), None, None, kill_at);
            self.said.push(format!("term {dno}"));
        } else {
            run.kill_at = run.kill_at.min(kill_at);
        }
    }

    fn item(&mut self, dno: Dno, kind: ItemKind, data: Raw) {
        let Some(run) = self.runs.get_mut(&dno).filter(|run| run.is_live()) else { return };
        run.restart_idle(self.now.boot_ms);
        let item = Item { n: run.items.len() as u64, kind, data };
        let kept = run.items.iter().map(cost).sum::<u64>() + cost(&item);
        let beyond =
            run.limits.overflow != Overflow::Block && run.limits.output.is_some_and(|quota| kept > quota);
        let large = item.data.len() > self.options.max_item;
        if !large && !beyond && run.dropped.is_empty() {
            return run.items.push(item);
        }
        *run.dropped.entry(kind).or_default() += item.data.as_text().unwrap().len() as u64;
        if large || run.limits.overflow == Overflow::Kill {
            self.stop(dno, (Outcome::Failed, FaultCode::TooLarge), None);
        }
    }

    fn exited(&mut self, dno: Dno, exit: Exit) {
        let Some(run) = self.runs.get_mut(&dno).filter(|run| run.is_live()) else { return };
        for (kind, bytes) in std::mem::take(&mut run.dropped) {
            let data = RawMap::new().text("stream", kind.as_str()).uint("bytes", bytes).finish();
            run.items.push(Item { n: run.items.len() as u64, kind: ItemKind::Truncated, data });
        }
        let (outcome, code, result) = match (run.cause.clone(), exit) {
            (Some((outcome, code)), _) => (outcome, Some(code), None),
            (None, Exit::Succeeded(result)) if result.len() > self.options.max_item => {
                (Outcome::Failed, Some(FaultCode::TooLarge), None)
            }
            (None, Exit::Succeeded(result)) => (Outcome::Succeeded, None, Some(result)),
            (None, Exit::Failed(fault)) => (Outcome::Failed, Some(fault.code), None),
            (None, Exit::TimedOut(fault)) => (Outcome::TimedOut, Some(fault.code), None),
        };
        let (duration, items) = (run.started.map(|at| self.now.boot_ms - at), run.items.len() as u64);
        self.finish(dno, End { outcome, started: Some(true), code, result, items, duration });
    }

    fn finish(&mut self, dno: Dno, end: End) {
        let run = self.runs.get_mut(&dno).unwrap();
        (run.start_by, run.run_by, run.idle_by, run.kill_at) = (None, None, None, None);
        (run.progress, run.told, run.at) = (None, None, At::Over(end));
        if run.unwanted {
            self.forget(dno);
        }
    }

    fn forget(&mut self, dno: Dno) {
        let Some(run) = self.runs.remove(&dno) else { return };
        self.gone.insert(dno, (run.run.job, run.run.attempt));
        if self.gone.len() > KEPT {
            self.gone.pop_first();
        }
    }
}
