//! What is told the manager, in batches, and what it acknowledges.

use super::fit::size;
use super::resume::Session;
use super::row::{Phase, Row};
use super::{Cause, Now, Options, Output, REPORT_BYTES, REPORTS_IN_FLIGHT, RETRY_MS, Record, Spool};
use crate::job::ids::{Attempt, Dno, JobId};
use crate::job::item::{Item, data_cost};
use crate::job::wire::report::{MAX_REPORT_ITEMS, MAX_REPORTS};
use crate::job::wire::{Report, ReportAnswer, RunReport};

/// The least that a run gets into a report, if others want to be in it too, in bytes.
const QUANTUM: u64 = 16 * 1024;
/// What a report of a run costs beyond its items, in bytes.
const REPORT_OVERHEAD: u64 = 256;

/// A run in a report that was not answered yet.
#[derive(Debug)]
pub(super) struct InFlight {
    dno: Dno,
    attempt: (JobId, Attempt),
    /// The number after the last item in it.
    until: u64,
    has_items: bool,
    has_end: bool,
}

impl<T> Spool<T> {
    /// Reports what there is to report, as long as reports may be sent.
    pub(super) fn report(&mut self, now: Now) {
        let held = self.hold_until.is_some_and(|until| until > now.boot_ms);
        if held || !matches!(self.session, Session::Live) {
            return;
        }
        while self.reports.len() < REPORTS_IN_FLIGHT {
            let id = self.next_id + 1;
            let (reports, in_flight) = self.gather(id, now);
            if reports.is_empty() {
                return;
            }
            self.next_id = id;
            self.reports.insert(id, in_flight);
            self.outputs.push_back(Output::Report(id, Report { reports }));
        }
    }

    /// One report out of as many runs as fit, each in its turn.
    fn gather(&mut self, id: u64, now: Now) -> (Vec<RunReport>, Vec<InFlight>) {
        let after = self.ready.range((std::ops::Bound::Excluded(self.turn), std::ops::Bound::Unbounded));
        let order: Vec<Dno> =
            after.chain(self.ready.range(..=self.turn)).copied().take(MAX_REPORTS).collect();
        let quantum = QUANTUM.max(REPORT_BYTES / u64::try_from(order.len().max(1)).unwrap_or(1));
        let mut budget = REPORT_BYTES;
        let (mut reports, mut in_flight) = (Vec::new(), Vec::new());
        for dno in order {
            if budget < REPORT_OVERHEAD && !reports.is_empty() {
                break;
            }
            let Some(row) = self.rows.get_mut(&dno) else { continue };
            if let Some(from) = row.stream.start_load(self.options.window) {
                self.outputs.push_back(Output::Load { dno, from, bytes: self.options.window });
            }
            let alone = reports.is_empty();
            let Some((report, cost)) = compose(row, budget.min(quantum), alone, &self.options, now) else {
                if !alone && row_is_waiting(row, &self.options) {
                    // it has something that does not fit any more: the next report begins with it
                    break;
                }
                self.ready.remove(&dno);
                continue;
            };
            row.in_flight += 1;
            if let Some(progress) = &report.progress {
                row.told_progress = Some((id, progress.clone()));
            }
            in_flight.push(InFlight {
                dno,
                attempt: (row.run.job, row.run.attempt),
                until: row.stream.sent_n,
                has_items: !report.items.is_empty(),
                has_end: report.done.is_some(),
            });
            budget = budget.saturating_sub(cost);
            self.turn = dno;
            reports.push(report);
            if !row_is_waiting(row, &self.options) {
                self.ready.remove(&dno);
            }
        }
        (reports, in_flight)
    }

    /// The answer to a report.
    pub(super) fn reported(&mut self, id: u64, answer: Result<ReportAnswer, Option<u64>>, now: Now) {
        let Some(sent) = self.reports.remove(&id) else { return };
        let (acks, wait) = match answer {
            Ok(answer) => (answer.acks, None),
            Err(wait) => (Vec::new(), Some(wait.unwrap_or(RETRY_MS).max(RETRY_MS))),
        };
        let acks: std::collections::BTreeMap<_, _> =
            acks.into_iter().map(|ack| ((ack.job, ack.attempt), ack)).collect();
        let mut stuck = false;
        for part in sent {
            let Some(row) = self.rows.get_mut(&part.dno) else { continue };
            row.in_flight = row.in_flight.saturating_sub(1);
            let told_progress = row.told_progress.as_ref().is_some_and(|(of, _)| *of == id);
            let Some(ack) = acks.get(&part.attempt) else {
                if told_progress {
                    row.untold_progress();
                }
                // nothing is known of what became of it: all of it again
                stuck = true;
                row.gap = true;
                row.told_start = false;
                self.again(part.dno);
                continue;
            };
            if told_progress {
                row.told_progress = None;
            }
            let news = row.stream.ack(ack.next_n);
            if news {
                self.lazy.push(Record::Acked { dno: part.dno, next_n: row.stream.acked_n });
            }
            if ack.done && matches!(row.phase, Phase::Ending(_) | Phase::Done(_)) {
                self.forget(part.dno);
                continue;
            }
            let incomplete = ack.next_n < part.until || (part.has_end && !ack.done);
            if incomplete {
                row.gap = true;
                stuck |= !news && (part.has_items || part.has_end);
            }
            if ack.done {
                row.unwanted = true;
            }
            if ack.stop || ack.done {
                self.stop(part.dno, Cause::Cancelled, None, now);
            }
            self.again(part.dno);
            self.pace(part.dno, now);
        }
        if wait.is_some() || stuck {
            // the longest wait that was asked for: another answer does not make it shorter
            self.hold_until = self.hold_until.max(Some(now.after(wait.unwrap_or(RETRY_MS))));
        }
        self.tidy_later(now);
        self.report(now);
    }

    /// Once nothing about a run is on the way, sends again what the manager lacks.
    fn again(&mut self, dno: Dno) {
        let Some(row) = self.rows.get_mut(&dno) else { return };
        if row.gap && row.in_flight == 0 {
            row.gap = false;
            row.told_end = false;
            row.stream.rewind(row.stream.acked_n);
        }
        self.ready.insert(dno);
    }
}

/// Whether a row has something to report now.
fn row_is_waiting(row: &Row, options: &Options) -> bool {
    let start = !row.told_start && row.started_at.is_some();
    let end = matches!(row.phase, Phase::Done(_)) && !row.told_end && row.stream.is_sent();
    !row.gap && (start || end || row.progress.is_some() || row.stream.may_send(options.window))
}

/// What there is to report of a run, and its size; nothing if there is nothing, or if it does not fit.
fn compose(row: &mut Row, budget: u64, alone: bool, options: &Options, now: Now) -> Option<(RunReport, u64)> {
    if row.gap {
        return None;
    }
    let mut report = RunReport::about(row.run);
    if !row.told_start {
        report.started_ms_ago = row.started_at.map(|at| now.boot_ms.saturating_sub(at));
        row.told_start = report.started_ms_ago.is_some();
    }
    let room = if alone { u64::MAX } else { budget };
    let least_fits = row.stream.next_cost().is_some_and(|cost| cost <= room);
    if least_fits {
        report.items = row.stream.take(MAX_REPORT_ITEMS, budget, options.window);
    }
    let mut cost = REPORT_OVERHEAD + report.items.iter().map(Item::cost).sum::<u64>();
    report.progress = row.progress.take();
    cost += report.progress.as_ref().map_or(0, |progress| data_cost(&progress.details));
    if let Phase::Done(ending) = &row.phase
        && !row.told_end
        && row.stream.is_sent()
        && (size(ending) <= budget.saturating_sub(cost) || (alone && report.items.is_empty()))
    {
        cost += size(ending);
        row.told_end = true;
        report.done = Some(ending.clone());
    }
    let nothing = report == RunReport::about(row.run);
    (!nothing).then_some((report, cost))
}
