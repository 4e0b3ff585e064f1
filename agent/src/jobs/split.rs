//! Reports in pieces that fit a frame: a manager may take less at a time than the rules put into one.

use redpoll_common::job::secret::{everything, is_everything};
use redpoll_common::job::spool::fit;
use redpoll_common::job::wire::{Report, RunRef, RunReport};
use redpoll_common::job::{ItemKind, Outcome};
use redpoll_common::wire::{Fault, FaultCode, MAX_NODES, Raw, scan};

/// Values that a request has beside its named arguments, generously.
const VALUES_AROUND: usize = 64;

/// A report in pieces.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// In their order.
    pub(super) pieces: Vec<Report>,
    /// What had to be left out, of which run.
    pub(super) left_out: Vec<(RunRef, &'static str)>,
}

/// Whether the named arguments of a request fit a frame with room for so many bytes of them.
pub(super) fn fits(kwargs: &Raw, room: usize) -> bool {
    let most = MAX_NODES - VALUES_AROUND;
    // a value has at least one byte, and so only what is long has to be counted
    let counts = || scan::measure(kwargs.as_bytes()).is_ok_and(|cost| cost.nodes <= most);
    kwargs.len() <= room && (kwargs.len() <= most || counts())
}

/// The report in as many pieces as it takes for each to fit `room` bytes, in order. What is larger by itself is left out, and its
/// place says so: it would hold up its run for ever, and others with it.
pub(super) fn split(report: Report, room: usize) -> Pieces {
    let (mut done, mut rest) = (Pieces::default(), vec![report]);
    while let Some(mut report) = rest.pop() {
        let kwargs = report.write();
        if fits(&kwargs, room) {
            done.pieces.push(report);
        } else if let Some(second) = half(&mut report) {
            rest.push(second);
            rest.push(report);
        } else if let Some((run, what)) = shrink(&mut report, kwargs.len(), room) {
            done.left_out.push((run, what));
            rest.push(report);
        } else {
            // the smallest frame has room for what is left now; if not, the session refuses it
            done.pieces.push(report);
        }
    }
    done
}

/// Leaves something out of a report that has no halves: it tells of one item, of progress or of an end.
fn shrink(report: &mut Report, len: usize, room: usize) -> Option<(RunRef, &'static str)> {
    let one = report.reports.first_mut()?;
    let run = one.run;
    if let Some(item) = one.items.first_mut().filter(|item| item.kind != ItemKind::Truncated) {
        let bytes = u64::try_from(item.data.content_len()).unwrap_or(u64::MAX);
        (item.kind, item.data) = (ItemKind::Truncated, item.kind.dropped(bytes));
        return Some((run, "an item"));
    }
    if let Some(progress) = one.progress.as_mut().filter(|progress| !progress.details.is_nil()) {
        progress.details = Raw::nil();
        return Some((run, "the details of its progress"));
    }
    let ending = one.done.as_mut()?;
    let paths: usize = one.redact.iter().map(String::len).sum();
    if !is_everything(&one.redact) && paths > 0 && len.saturating_sub(paths) <= room {
        one.redact = everything();
        return Some((run, "which of its arguments are secret: all are taken for it"));
    }
    if let Some(result) = ending.result.take() {
        let text = format!(
            "the result has {} bytes, and the manager takes {room} at a time: its session.frame_limit is smaller than that of the \
             agent",
            result.len()
        );
        (ending.outcome, ending.fault) = (Outcome::Failed, Some(Fault::new(FaultCode::TooLarge, text)));
        return Some((run, "its result"));
    }
    let smaller = fit(ending.clone(), room / 4);
    (smaller != *ending).then(|| {
        *ending = smaller;
        (run, "the details of its fault")
    })
}

/// Takes the second half out of a report: of its runs, or of its one run's items and what follows them.
fn half(report: &mut Report) -> Option<Report> {
    if report.reports.len() > 1 {
        let second = report.reports.split_off(report.reports.len() / 2);
        return Some(Report { reports: second });
    }
    let one = report.reports.first_mut()?;
    let mut second = RunReport::about(one.run);
    if one.items.len() > 1 {
        second.items = one.items.split_off(one.items.len() / 2);
    } else if one.items.is_empty()
        && one.started_ms_ago.is_none()
        && (one.progress.is_none() || one.done.is_none())
    {
        return None;
    }
    if !one.items.is_empty() || one.started_ms_ago.is_some() {
        second.progress = one.progress.take();
    }
    (second.done, second.redact) = (one.done.take(), std::mem::take(&mut one.redact));
    (second != RunReport::about(one.run)).then(|| Report { reports: vec![second] })
}

#[cfg(test)]
mod tests {
    use redpoll_common::job::{Attempt, Dno, Ending, Item, JobId};
    use redpoll_common::wire::flight::Progress;

    use super::*;

    fn about(dno: u64, items: std::ops::Range<u64>) -> RunReport {
        let run = RunRef { job: JobId::from_bytes([1; 16]), attempt: Attempt(1), dno: Dno(dno) };
        let item = |n| Item { n, kind: ItemKind::Stdout, data: Raw::bin(&[7; 400]) };
        RunReport { items: items.map(item).collect(), ..RunReport::about(run) }
    }

    fn whole() -> Report {
        let mut last = about(2, 5..9);
        last.progress = Some(Progress { completed: 1, total: None, details: Raw::nil() });
        last.started_ms_ago = Some(3);
        let fault = Fault::new(FaultCode::Failed, "x".repeat(500));
        last.done = Some(Ending::unstarted(Outcome::Failed, fault));
        Report { reports: vec![about(1, 0..3), last] }
    }

    #[test]
    fn what_nobody_may_see_stays_with_the_end() {
        let mut report = whole();
        let last = report.reports.last_mut().unwrap();
        last.redact = vec!["kwargs.password".to_owned()];
        let room = report.write().len() / 4;
        let pieces = whole_pieces(report, room);
        assert!(pieces.len() > 2);
        for piece in pieces.iter().flat_map(|piece| &piece.reports).filter(|run| run.run.dno == Dno(2)) {
            assert_eq!(piece.redact.is_empty(), piece.done.is_none(), "{piece:?}");
        }
    }

    #[test]
    fn the_pieces_of_a_report_fit_and_say_the_same_in_the_same_order() {
        for room in [700, 900, 1_500, 100_000] {
            let pieces = whole_pieces(whole(), room);
            assert!(pieces.iter().all(|piece| piece.write().len() <= room));
            let parts: Vec<RunReport> = pieces.into_iter().flat_map(|piece| piece.reports).collect();
            let numbers: Vec<(u64, u64)> = parts
                .iter()
                .flat_map(|part| part.items.iter().map(|item| (part.run.dno.0, item.n)))
                .collect();
            assert_eq!(numbers, [(1, 0), (1, 1), (1, 2), (2, 5), (2, 6), (2, 7), (2, 8)], "room {room}");
            assert_eq!(parts.iter().filter(|part| part.done.is_some()).count(), 1);
            assert!(parts.last().unwrap().done.is_some(), "the end comes last");
            assert_eq!(parts.iter().filter(|part| part.progress.is_some()).count(), 1);
        }
    }

    /// The pieces of a report of which nothing has to be left out.
    fn whole_pieces(report: Report, room: usize) -> Vec<Report> {
        let Pieces { pieces, left_out } = split(report, room);
        assert_eq!(left_out, []);
        pieces
    }

    /// What is told of run 2 when a frame has room for so many bytes, and what is left out.
    fn told(one: RunReport, room: usize) -> (RunReport, Vec<&'static str>) {
        let report = Report { reports: vec![about(1, 0..1), one] };
        let Pieces { pieces, left_out } = split(report, room);
        assert!(pieces.iter().all(|piece| fits(&piece.write(), room)));
        let mut parts: Vec<RunReport> = pieces.into_iter().flat_map(|piece| piece.reports).collect();
        assert_eq!(parts.remove(0), about(1, 0..1), "nothing of another run is lost");
        let mut one = parts.remove(0);
        for part in parts {
            one.items.extend(part.items);
            one.progress = part.progress.or(one.progress);
            one.done = part.done.or(one.done);
            one.redact.extend(part.redact);
        }
        assert!(left_out.iter().all(|(run, _)| run.dno == Dno(2)));
        (one, left_out.into_iter().map(|(_, what)| what).collect())
    }

    fn large() -> Raw {
        Raw::text(&"x".repeat(40_000))
    }

    #[test]
    fn an_item_that_is_too_large_by_itself_is_a_mark_in_its_place() {
        let mut one = about(2, 5..8);
        one.items[1].data = large();
        let (told, left_out) = told(one.clone(), 16_000);
        assert_eq!((left_out, told.items.len()), (vec!["an item"], 3));
        assert_eq!((&told.items[0], &told.items[2]), (&one.items[0], &one.items[2]));
        let mark = Item { n: 6, kind: ItemKind::Truncated, data: ItemKind::Stdout.dropped(40_000) };
        assert_eq!(told.items[1], mark);
    }

    #[test]
    fn an_end_that_is_too_large_by_itself_is_told_as_far_as_it_fits() {
        let ended = |result, fault: Option<Fault>| Ending {
            outcome: if fault.is_none() { Outcome::Succeeded } else { Outcome::Failed },
            started: Some(true),
            result,
            fault,
            items: 5,
            duration_ms: Some(7),
        };
        let of = |done| RunReport { done: Some(done), ..about(2, 0..0) };
        let (result, left_out) = told(of(ended(Some(large()), None)), 16_000);
        let done = result.done.unwrap();
        assert_eq!((left_out, done.outcome, done.started), (vec!["its result"], Outcome::Failed, Some(true)));
        assert_eq!(
            (done.fault.unwrap().code, done.items, done.duration_ms),
            (FaultCode::TooLarge, 5, Some(7))
        );
        let text = "y".repeat(20_000);
        let fault =
            Fault { trace: Some(text.clone()), data: Some(large()), ..Fault::new(FaultCode::Failed, text) };
        let (result, left_out) = told(of(ended(None, Some(fault))), 16_000);
        let fault = result.done.unwrap().fault.unwrap();
        assert_eq!((left_out, fault.code), (vec!["the details of its fault"], FaultCode::Failed));
        assert!(fault.data.is_none() && !fault.message.is_empty() && fault.trace.is_some());
    }

    #[test]
    fn secret_paths_that_are_too_many_for_a_frame_hide_everything() {
        let result = Some(Raw::text("kept"));
        let done = Ending { outcome: Outcome::Succeeded, result, ..whole().reports[1].done.clone().unwrap() };
        let redact: Vec<String> = (0..1_000).map(|n| format!("kwargs.{n:020}")).collect();
        let one = RunReport { done: Some(Ending { fault: None, ..done.clone() }), redact, ..about(2, 0..0) };
        let (told, left_out) = told(one, 16_000);
        assert_eq!((told.redact, left_out.len()), (everything(), 1));
        assert_eq!(told.done.unwrap().result, done.result, "that is all that had to go");
    }

    #[test]
    fn a_report_has_no_more_values_than_a_frame_may_have() {
        let list = |len: u16| {
            let head = [0xdc].into_iter().chain(len.to_be_bytes());
            let all: Vec<u8> = head.chain(std::iter::repeat_n(0xc0, usize::from(len))).collect();
            Raw::parse(all.into()).unwrap()
        };
        let mut one = about(2, 0..1);
        one.items[0].data = list(32_760);
        one.progress = Some(Progress { completed: 1, total: None, details: list(32_760) });
        let mut other = about(1, 0..1);
        other.items[0].data = list(1_000);
        let report = Report { reports: vec![other, one] };
        assert!(scan::scan(report.write().as_bytes()).is_err());
        let pieces = whole_pieces(report, 1 << 20);
        assert!(pieces.iter().all(|piece| fits(&piece.write(), 1 << 20)));
        assert_eq!(pieces.len(), 3);
    }
}
