//! What the record of a run has room for, in its file and in a frame.

use redpoll_common::api::record::RecordArguments;
use redpoll_common::job::{Ending, Item, ItemKind, Outcome, spool};
use redpoll_common::wire::{Fault, FaultCode, MAX_DEPTH, MAX_NODES, scan};

/// Bytes of a frame that a record leaves free.
const AROUND: usize = 4_096;
/// Values that are around a record in its file and in a request, generously.
const VALUES_AROUND: usize = 64;
/// Levels that are, also in an answer of the manager.
const LEVELS_AROUND: usize = 5;
/// Characters of a fault's message that are kept where a frame has no room for more.
const SHORT_MESSAGE: usize = 1_024;

/// Leaves out what a frame has no room for: the details of a fault first, then the items, then the result.
pub(super) fn fit(run: &mut RecordArguments, frame_limit: usize) {
    slim_fault(run, usize::MAX);
    if !fits(run, frame_limit) {
        slim_fault(run, frame_limit);
    }
    if !fits(run, frame_limit)
        && let Some(fault) = &mut run.ending.fault
    {
        let message = fault.message.chars().take(SHORT_MESSAGE).collect::<String>();
        *fault = Fault::new(fault.code.clone(), message);
    }
    if !fits(run, frame_limit) {
        run.items = marks(&run.items);
    }
    if !fits(run, frame_limit)
        && let Some(result) = run.ending.result.take()
    {
        let text = format!(
            "the result of {} bytes does not fit a record, which has {frame_limit} bytes (the session.frame_limit of the agent, or of \
             the manager if that is less), fewer than {MAX_NODES} values and some 24 levels",
            result.len()
        );
        (run.ending.outcome, run.ending.fault) =
            (Outcome::Failed, Some(Fault::new(FaultCode::TooLarge, text)));
    }
}

/// Leaves out of a fault what cannot be told, and what takes more than its share of so many bytes. The result goes last, and is not
/// looked at here.
fn slim_fault(run: &mut RecordArguments, max: usize) {
    let result = run.ending.result.take();
    run.ending = Ending { result, ..spool::fit(run.ending.clone(), max) };
}

fn fits(run: &RecordArguments, frame_limit: usize) -> bool {
    let written = run.write();
    let counts =
        |cost: scan::Cost| cost.nodes <= MAX_NODES - VALUES_AROUND && cost.depth <= MAX_DEPTH - LEVELS_AROUND;
    written.len() <= frame_limit.saturating_sub(AROUND) && scan::measure(written.as_bytes()).is_ok_and(counts)
}

/// What is told in place of items: how much of each kind there was. Marks among them stay.
fn marks(items: &[Item]) -> Vec<Item> {
    let kinds = [ItemKind::Value, ItemKind::Stdout, ItemKind::Stderr].into_iter().filter_map(|kind| {
        let lengths = items.iter().filter(|item| item.kind == kind).map(|item| item.data.content_len());
        let bytes = u64::try_from(lengths.sum::<usize>()).unwrap_or(u64::MAX);
        (bytes > 0).then(|| kind.dropped(bytes))
    });
    let kept = items.iter().filter(|item| item.kind == ItemKind::Truncated).map(|item| item.data.clone());
    let all = kinds.chain(kept).zip(0..);
    all.map(|(data, n)| Item { n, kind: ItemKind::Truncated, data }).collect()
}

#[cfg(test)]
mod tests {
    use redpoll_common::wire::Raw;

    use super::*;
    use crate::schedule::record::{Began, Kept};

    /// A list of so many nils.
    fn list(len: u16) -> Raw {
        let head = [0xdc].into_iter().chain(len.to_be_bytes());
        Raw::parse(head.chain(std::iter::repeat_n(0xc0, usize::from(len))).collect::<Vec<u8>>().into())
            .unwrap()
    }

    fn run(result: Raw, items: Vec<Raw>) -> RecordArguments {
        RecordArguments {
            key: "k".into(),
            schedule: "s".into(),
            procedure: "p".into(),
            kwargs: Raw::empty_map(),
            started_ms_ago: Some(1),
            ending: Ending {
                outcome: Outcome::Succeeded,
                started: Some(true),
                result: Some(result),
                fault: None,
                items: 0,
                duration_ms: Some(1),
            },
            items: items
                .into_iter()
                .zip(0..)
                .map(|(data, n)| Item { n, kind: ItemKind::Value, data })
                .collect(),
            dropped: 0,
        }
    }

    /// What is left, which can be written, read and told.
    fn fitted(mut run: RecordArguments, frame_limit: usize) -> RecordArguments {
        fit(&mut run, frame_limit);
        assert!(run.write().len() <= frame_limit);
        let kept = Kept { run, began: Began { boot: Some([1; 16]), boot_ms: 1, wall_ms: 2 } };
        let read = Kept::read(&Raw::parse(kept.write().to_bytes()).unwrap()).unwrap();
        assert_eq!(read, kept);
        read.run
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let whole = run(list(20_000), vec![list(20_000)]);
        assert_eq!(fitted(whole.clone(), 1 << 20), whole);
    }

    #[test]
    fn a_fault_that_fits_keeps_its_details_and_another_the_begin_of_its_trace() {
        let failed = |trace| {
            let fault = Fault {
                data: Some(Raw::text(&"d".repeat(300 << 10))),
                trace: Some("t".repeat(trace)),
                ..Fault::new(FaultCode::Failed, "x")
            };
            let mut failed = run(Raw::nil(), vec![Raw::text("kept")]);
            failed.ending =
                Ending { outcome: Outcome::Failed, result: None, fault: Some(fault), ..failed.ending };
            failed
        };
        let whole = failed(200 << 10);
        assert_eq!(fitted(whole.clone(), 1 << 20), whole);
        let fault = fitted(failed(900 << 10), 1 << 20).ending.fault.unwrap();
        assert_eq!((fault.data, fault.trace.map(|trace| trace.len())), (None, Some(128 << 10)));
    }

    #[test]
    fn items_and_a_result_with_too_many_values_together_are_told_as_the_result() {
        let told = fitted(run(list(40_000), vec![list(30_000), list(1)]), 1 << 20);
        assert_eq!(told.ending.result, Some(list(40_000)));
        assert_eq!(
            told.items,
            [Item { n: 0, kind: ItemKind::Truncated, data: ItemKind::Value.dropped(30_007) }]
        );
    }

    #[test]
    fn a_result_that_fits_no_record_is_a_failure_that_says_so() {
        let deep = Raw::parse([vec![0x91; 30], vec![0xc0]].concat().into()).unwrap();
        for result in [list(65_500), deep, Raw::text(&"x".repeat(62_000))] {
            let told = fitted(run(result, vec![Raw::text("kept")]), 64 * 1024);
            assert_eq!((told.ending.outcome, told.ending.started), (Outcome::Failed, Some(true)));
            assert_eq!(told.ending.fault.unwrap().code, FaultCode::TooLarge);
        }
    }

    #[test]
    fn a_fault_with_too_many_values_goes_without_its_details() {
        let details = || Some(list(22_000));
        let fault = Fault {
            args: details(),
            state: details(),
            data: details(),
            ..Fault::new(FaultCode::Failed, "x")
        };
        let mut failed = run(Raw::nil(), vec![Raw::text("kept")]);
        failed.ending =
            Ending { outcome: Outcome::Failed, result: None, fault: Some(fault), ..failed.ending };
        let told = fitted(failed, 1 << 20);
        assert_eq!(told.ending.fault.as_ref(), Some(&Fault::new(FaultCode::Failed, "x")));
        assert_eq!(told.items.len(), 1);
    }
}
