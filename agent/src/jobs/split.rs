//! Reports in pieces that fit a frame: a manager may take less at a time than the rules put into one.

use redpoll_common::job::wire::{Report, RunReport};

/// The report in as many pieces as it takes for each to have at most `room` bytes, in order. `None` when something in
/// it is larger by itself.
pub(super) fn split(report: Report, room: usize) -> Option<Vec<Report>> {
    let (mut fitting, mut rest) = (Vec::new(), vec![report]);
    while let Some(mut report) = rest.pop() {
        if report.write().len() <= room {
            fitting.push(report);
            continue;
        }
        let second = half(&mut report)?;
        rest.push(second);
        rest.push(report);
    }
    Some(fitting)
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
    use redpoll_common::job::wire::RunRef;
    use redpoll_common::job::{Attempt, Dno, Ending, Item, ItemKind, JobId, Outcome};
    use redpoll_common::wire::flight::Progress;
    use redpoll_common::wire::{Fault, FaultCode, Raw};

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
        let pieces = split(report, room).unwrap();
        assert!(pieces.len() > 2);
        for piece in pieces.iter().flat_map(|piece| &piece.reports).filter(|run| run.run.dno == Dno(2)) {
            assert_eq!(piece.redact.is_empty(), piece.done.is_none(), "{piece:?}");
        }
    }

    #[test]
    fn the_pieces_of_a_report_fit_and_say_the_same_in_the_same_order() {
        for room in [700, 900, 1_500, 100_000] {
            let pieces = split(whole(), room).unwrap();
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

    #[test]
    fn what_is_too_large_by_itself_has_no_pieces() {
        assert!(split(whole(), 400).is_none());
        assert!(split(Report { reports: vec![about(1, 0..1)] }, 100).is_none());
        assert!(split(Report { reports: vec![about(1, 0..0)] }, 10).is_none());
    }
}
