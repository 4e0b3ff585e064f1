//! What the spool does, held against what it may: each output in its order, and after a step what still waits.

use std::collections::BTreeMap;

use redpoll_common::job::spool::{BATCH_MS, Now, Output, Record, SMALL_ENDING, TIDY_MS};
use redpoll_common::job::wire::resume::MAX_RESUME_ROWS;
use redpoll_common::job::wire::{OfferAnswer, Report, Resume, ResumeRow};
use redpoll_common::job::{Dno, Ending, Item, Limits, Outcome, Overflow};
use redpoll_common::wire::{FaultCode, Raw};

use super::{At, Disk, End, Model, Part, Run, Session, cost};

fn index(n: u64) -> usize {
    usize::try_from(n).unwrap()
}

/// Reports that may wait for their answer.
const REPORTS: usize = 8;

impl Model {
    /// The agent starts with what is on its disk; `left`: what still runs of runs that nobody knows the end of.
    pub(crate) fn recover(options: redpoll_common::job::spool::Options, disk: Disk, now: Now) -> Self {
        let mut runs = BTreeMap::new();
        for (dno, fact) in &disk.facts {
            let about = fact.run.unwrap();
            let items = fact.items.len() as u64;
            let (at, start_by) = match (&fact.end, &fact.received) {
                (Some((end, _)), _) => (At::Over(End::of(end)), None),
                (None, Some((offer, at))) if !fact.is_lost() => {
                    let same_boot = at.boot == options.boot;
                    let (was, is) =
                        if same_boot { (at.boot_ms, now.boot_ms) } else { (at.wall_ms, now.wall_ms) };
                    let within = super::ms(offer.limits.start_within);
                    let left = within.map(|within| within.saturating_sub(is.saturating_sub(was)));
                    (At::Received, left.map(|left| now.boot_ms + left))
                }
                (None, _) => {
                    let (outcome, code) = (Outcome::Unknown, Some(FaultCode::AgentGone));
                    let started = fact.running.then_some(true);
                    (At::Over(End { outcome, started, code, result: None, items, duration: None }), None)
                }
            };
            let offer = fact.received.as_ref().map(|(offer, _)| offer.clone());
            let limits = offer.as_ref().map_or_else(Limits::default, |offer| offer.limits);
            let refused = fact.end.as_ref().is_some_and(|(_, told)| *told);
            let run = Run::new(about, at, limits);
            let (items, acked) = (fact.items.clone(), fact.acked);
            let run = Run { offer, start_by, items, acked, sent: acked, refused, told_end: refused, ..run };
            runs.insert(*dno, run);
        }
        Self {
            options,
            now,
            max: disk.max,
            runs,
            gone: BTreeMap::new(),
            session: Session::Away,
            reports: BTreeMap::new(),
            last_id: 0,
            hold: None,
            full: false,
            draining: false,
            disk,
            said: Vec::new(),
            waits: BTreeMap::new(),
        }
    }

    /// Does what is due: one thing per run.
    pub(crate) fn pass(&mut self) {
        let now = self.now.boot_ms;
        let past = |at: Option<u64>| at.is_some_and(|at| at <= now);
        for dno in self.runs.keys().copied().collect::<Vec<_>>() {
            let run = self.runs.get_mut(&dno).unwrap();
            if past(run.kill_at) {
                run.kill_at = None;
                self.said.push(format!("kill {dno}"));
            } else if past(run.start_by) {
                self.finish(dno, super::unstarted((Outcome::Expired, FaultCode::TimedOut)));
            } else if past(run.run_by) || past(run.idle_by) {
                self.stop(dno, (Outcome::TimedOut, FaultCode::TimedOut), None);
            }
        }
        self.hold = self.hold.filter(|hold| *hold > now);
    }

    /// When something is due of itself.
    pub(crate) fn due(&self) -> Option<u64> {
        let page = if let Session::Telling { at, .. } = &self.session { *at } else { None };
        self.runs.values().filter_map(Run::due).chain(page).chain(self.hold).min()
    }

    /// Programs wait while the disk is full, or while too much of them was not acknowledged; until half of that is left.
    pub(crate) fn pace(&mut self) {
        let now = self.now.boot_ms;
        for run in self.runs.values_mut().filter(|run| run.is_live()) {
            let fact = self.disk.facts.get(&run.run.dno);
            let batches = fact.into_iter().flat_map(|fact| &fact.batches);
            let written: u64 = batches.filter(|(until, _)| *until > run.acked).map(|(_, bytes)| bytes).sum();
            let pending = run.items.iter().skip(fact.map_or(0, |fact| fact.items.len()));
            let unacked = written + pending.map(cost).sum::<u64>();
            let quota = run.limits.output.filter(|_| run.limits.overflow == Overflow::Block);
            let limit = quota.unwrap_or(u64::MAX).min(self.options.unacked);
            if !run.paused && (self.full || unacked >= limit) {
                (run.paused, run.idle_by) = (true, None);
                self.said.push(format!("pause {}", run.run.dno));
            } else if run.paused && !self.full && unacked <= limit / 2 {
                run.paused = false;
                run.restart_idle(now);
                self.said.push(format!("unpause {}", run.run.dno));
            }
        }
    }

    /// Takes an output that is not in `said`, or what has to be on disk before one that is.
    pub(crate) fn see(&mut self, output: &Output<u32>) {
        match output {
            Output::Commit(records) => {
                assert!(!records.is_empty(), "nothing is written");
                records.iter().for_each(|record| self.written(record));
            }
            Output::OfferAnswer(_, Ok(OfferAnswer::Known(_))) => {}
            Output::OfferAnswer(..) | Output::CancelAnswer(..) => {
                assert_eq!(self.disk.max, self.max, "answered before the number was on disk");
            }
            Output::Spawn { offer, .. } => {
                let dno = offer.run.dno;
                assert_eq!(self.runs[&dno].offer.as_ref(), Some(offer), "another run is started");
                assert!(self.disk.fact(dno).starting, "{dno} is started before that is on disk");
            }
            Output::Resume(id, page) => self.page(*id, page),
            Output::Report(id, report) => self.report(*id, report),
            Output::Load { dno, from, bytes } => {
                let written = self.disk.fact(*dno).items.len() as u64;
                let run = self.runs.get_mut(dno).unwrap();
                let right = *from == run.sent && run.sent < written && *bytes == self.options.window;
                assert!(right && !std::mem::replace(&mut run.loading, true), "{output:?} of {run:?}");
            }
            Output::Terminate(_) | Output::Kill(_) | Output::Pause(_) | Output::Unpause(_) => {}
        }
    }

    fn written(&mut self, record: &Record) {
        let dno = record.dno();
        let (fact, run) = (self.disk.fact(dno), self.runs.get(&dno));
        let right = match record {
            Record::Floor { .. } => dno == self.max && fact.run.is_none(),
            Record::Received { offer, at, .. } => {
                let Now { boot_ms, wall_ms } = self.now;
                let now = redpoll_common::job::spool::Stamp { boot: self.options.boot, boot_ms, wall_ms };
                dno > self.disk.max && *at == now && run.is_some_and(|run| run.offer.as_ref() == Some(offer))
            }
            Record::Starting { run: about, .. } => {
                fact.received.is_some() && !fact.starting && run.is_some_and(|run| run.run == *about)
            }
            Record::Running { .. } => fact.starting && run.is_none_or(|run| run.started.is_some()),
            Record::Items { items, .. } => {
                let next: Option<Vec<Item>> = run
                    .map(|run| run.items.iter().skip(fact.items.len()).take(items.len()).cloned().collect());
                !self.holds() && !items.is_empty() && next.as_ref() == Some(items)
            }
            Record::Acked { next_n, .. } => {
                *next_n > fact.acked
                    && run.is_none_or(|run| *next_n <= run.acked)
                    && *next_n <= fact.items.len() as u64
            }
            Record::Done { run: about, ending, told, .. } => {
                let all = fact.items.len() as u64 >= ending.items;
                let small = *told || !self.holds() || record.write().len() <= SMALL_ENDING;
                let end = run.is_some_and(|run| run.run == *about && run.at == At::Over(End::of(ending)));
                end && all && small && fact.end.is_none() && *told == fact.run.is_none()
            }
            Record::Gone { .. } => fact.run.is_some() && run.is_none(),
        };
        assert!(right, "{record:?} of {run:?}, on disk {fact:?}");
        self.disk.write(record);
    }

    fn page(&mut self, number: u64, page: &Resume) {
        let Session::Telling { id: None, after, at: Some(at), .. } = self.session.clone() else {
            panic!("{page:?} in {:?}", self.session)
        };
        assert!(at <= self.now.boot_ms && number > self.last_id, "it is too early for page {number}");
        self.last_id = number;
        let row = |run: &Run| {
            let fact = self.disk.fact(run.run.dno);
            ResumeRow {
                run: run.run,
                state: self.state(run),
                next_n: fact.items.len() as u64,
                acked_n: run.acked,
            }
        };
        let rows: Vec<ResumeRow> = self.runs.values().filter(|run| run.run.dno > after).map(row).collect();
        let (last, jobs) =
            (rows.len() <= MAX_RESUME_ROWS, rows.into_iter().take(MAX_RESUME_ROWS).collect::<Vec<_>>());
        let listed = jobs.iter().map(|row| row.run).collect();
        assert_eq!(*page, Resume { spool: self.options.spool, max_dno: self.disk.max, last, jobs });
        self.session = Session::Telling { id: Some(number), after, listed, last, at: None };
    }

    /// Bytes of a run in reports that were not answered, but for those that were acknowledged whole.
    fn on_the_way(&self, run: &Run) -> u64 {
        let parts =
            self.reports.values().flatten().filter(|part| part.run == run.run && part.until > run.acked);
        parts.map(|part| part.bytes).sum()
    }

    fn report(&mut self, id: u64, report: &Report) {
        assert!(
            self.is_free() && id > self.last_id,
            "report {id} in {:?}, not before {:?}",
            self.session,
            self.hold
        );
        self.last_id = id;
        let mut parts: Vec<Part> = Vec::new();
        for told in &report.reports {
            let dno = told.run.dno;
            let (run, fact) = (&self.runs[&dno], self.disk.fact(dno));
            assert!(
                parts.iter().all(|part| part.run != told.run) && run.run == told.run && !run.gap,
                "{told:?}"
            );
            let began = run.started.filter(|_| !run.told_start).map(|at| self.now.boot_ms - at);
            assert_eq!(told.started_ms_ago, began, "when {dno} was started");
            let items = fact.items.iter().skip(index(run.sent)).take(told.items.len());
            assert!(told.items.iter().eq(items), "{:?} from {} on, of {fact:?}", told.items, run.sent);
            let (before, bytes) = (self.on_the_way(run), told.items.iter().map(cost).sum::<u64>());
            let alone = before == 0 && told.items.len() <= 1;
            assert!(
                told.items.is_empty() || alone || before + bytes <= self.options.window,
                "{before} and {bytes}"
            );
            assert_eq!(
                told.progress.as_ref().map(|progress| progress.completed),
                run.progress,
                "progress of {dno}"
            );
            let run = self.runs.get_mut(&dno).unwrap();
            run.told = run.progress.map(|progress| (id, progress)).or(run.told);
            run.sent += told.items.len() as u64;
            (run.progress, run.told_start) = (None, run.told_start || began.is_some());
            if told.done.is_some() {
                let all = run.sent == run.items.len() as u64 && !std::mem::replace(&mut run.told_end, true);
                assert!(
                    all && told.done.as_ref() == fact.end.as_ref().map(|(end, _)| end),
                    "the end of {dno}: {told:?}"
                );
            }
            let end = told.done.is_some();
            let anything = began.is_some() || bytes > 0 || told.progress.is_some() || end;
            assert!(anything && told.redact.is_empty(), "{told:?}");
            parts.push(Part { run: told.run, until: run.sent, bytes, items: bytes > 0, end });
        }
        assert!(!parts.is_empty(), "an empty report");
        self.reports.insert(id, parts);
    }

    /// The disk is full, and what has no room waits for it. Not once the agent stops and nothing runs: then all goes into the reserve.
    fn holds(&self) -> bool {
        self.full && !(self.draining && self.runs.values().all(|run| !run.is_live()))
    }

    pub(super) fn may_write_end(&self, run: &Run) -> bool {
        let At::Over(end) = &run.at else { return false };
        let pending = run.items.len() > self.disk.fact(run.run.dno).items.len();
        // all but the result is small here
        !self.holds()
            || (!pending && end.result.as_ref().is_none_or(|result| result.len() + 200 <= SMALL_ENDING))
    }

    fn is_free(&self) -> bool {
        let held = self.hold.is_some_and(|until| until > self.now.boot_ms);
        self.session == Session::Live && !held && self.reports.len() < REPORTS
    }

    /// Something of a run could be in a report now.
    fn could_report(&self, run: &Run) -> bool {
        let fact = self.disk.fact(run.run.dno);
        let start = run.started.is_some() && !run.told_start;
        let end = fact.end.is_some() && !run.told_end && run.sent == run.items.len() as u64;
        let before = self.on_the_way(run);
        let next = fact.items.get(index(run.sent)).filter(|_| !run.loading);
        let item = next.is_some_and(|item| before == 0 || before + cost(item) <= self.options.window);
        self.is_free() && !run.gap && !run.unwanted && (start || end || item || run.progress.is_some())
    }

    /// After each step: nothing waits for longer than it may, for the disk or for a report.
    pub(crate) fn check_waits(&mut self) {
        let mut waits: Vec<(Dno, &'static str, u64)> = Vec::new();
        for (dno, run) in &self.runs {
            let fact = self.disk.fact(*dno);
            let pending = run.items.len() > fact.items.len();
            let over = matches!(run.at, At::Over(_)) && fact.end.is_none();
            let all = [
                (pending && !self.holds(), "items", BATCH_MS),
                (over && self.may_write_end(run), "end", 0),
                (run.at == At::Running && !fact.running, "running", BATCH_MS),
                (run.acked > fact.acked, "acked", TIDY_MS),
                (self.could_report(run), "report", BATCH_MS),
            ];
            waits.extend(all.iter().filter(|(waits, ..)| *waits).map(|(_, what, most)| (*dno, *what, *most)));
        }
        let forgotten = self.disk.facts.keys().filter(|dno| !self.runs.contains_key(dno));
        waits.extend(forgotten.map(|dno| (*dno, "gone", TIDY_MS)));
        let now = self.now.boot_ms;
        let since = |(dno, what, _): &(Dno, &'static str, u64)| {
            ((*dno, *what), self.waits.get(&(*dno, *what)).copied().unwrap_or(now))
        };
        let next: BTreeMap<_, _> = waits.iter().map(since).collect();
        for (dno, what, most) in waits {
            assert!(now < next[&(dno, what)] + most, "{what} of {dno} waits: {:?}", self.runs.get(&dno));
        }
        self.waits = next;
        let telling =
            matches!(&self.session, Session::Telling { id: None, at, .. } if at.is_some_and(|at| at <= now));
        assert!(!telling, "a page is not sent");
    }
}

impl End {
    pub(crate) fn of(ending: &Ending) -> Self {
        let code = ending.fault.as_ref().map(|fault| fault.code.clone());
        let result: Option<Raw> = ending.result.clone();
        let Ending { outcome, started, items, duration_ms, .. } = ending;
        Self { outcome: *outcome, started: *started, code, result, items: *items, duration: *duration_ms }
    }
}
