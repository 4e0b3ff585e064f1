//! Words of a newer version in what agents tell: the run is told as far as it is understood, and those beside it whole.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use redpoll_common::api::items::FollowEvent;
use redpoll_common::job::spool::Record;
use redpoll_common::job::wire::{Report, RunRef, RunReport};
use redpoll_common::job::{Attempt, Dno, Ending, Item, ItemKind, JobId, Outcome};
use redpoll_common::wire::{Fault, FaultCode, Raw, RawMap};

fn about(dno: u64) -> RunReport {
    let run = RunRef { job: JobId::from_bytes([1; 16]), attempt: Attempt(1), dno: Dno(dno) };
    let items = vec![Item { n: 0, kind: ItemKind::Stdout, data: Raw::bin(b"hello") }];
    let done = Ending {
        outcome: Outcome::Failed,
        started: Some(true),
        result: None,
        fault: Some(Fault::new(FaultCode::Failed, "the disk is full")),
        items: 1,
        duration_ms: Some(7),
    };
    RunReport { items, done: Some(done), ..RunReport::about(run) }
}

/// The bytes with one word in place of another of the same length, once, as a newer version would send them.
fn newer(raw: &Raw, old: &str, new: &str) -> Raw {
    assert_eq!(old.len(), new.len());
    let mut bytes = raw.as_bytes().to_vec();
    let at = bytes.windows(old.len()).rposition(|window| window == old.as_bytes()).unwrap();
    bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
    Raw::parse(bytes.into()).unwrap()
}

#[test]
fn an_item_of_a_kind_of_a_newer_version_is_marked_as_dropped_in_its_place() {
    let report = Report { reports: vec![about(1), about(2)] };
    let told = Report::read(&newer(&report.write(), "stdout", "metric")).unwrap();
    assert_eq!(told.reports[0], about(1), "the run beside it is told whole");
    let mark = RawMap::new().text("stream", "metric").uint("bytes", 5).finish();
    assert_eq!(told.reports[1].items, [Item { n: 0, kind: ItemKind::Truncated, data: mark.clone() }]);
    assert_eq!(told.reports[1].done, about(2).done);
    // whoever follows it with an older rpctl
    let event = FollowEvent { items: about(1).items, ..FollowEvent::of("a", 1) };
    let told = FollowEvent::read(&newer(&event.write(), "stdout", "metric")).unwrap();
    assert_eq!((told.items[0].kind, &told.items[0].data), (ItemKind::Truncated, &mark));
}

#[test]
fn a_run_that_ended_as_only_a_newer_version_knows_has_ended_as_unknown() {
    let report = Report { reports: vec![about(1), about(2)] };
    let told = Report::read(&newer(&report.write(), "failed", "frozen")).unwrap();
    // the code of the fault is the last word of that kind: of the outcome it is the one before
    assert_eq!(told.reports[1].done.as_ref().unwrap().outcome, Outcome::Failed);
    let mut quiet = about(2);
    quiet.done.as_mut().unwrap().fault.as_mut().unwrap().code = FaultCode::Internal;
    let report = Report { reports: vec![about(1), quiet.clone()] };
    let told = Report::read(&newer(&report.write(), "failed", "frozen")).unwrap();
    assert_eq!(told.reports[0], about(1), "the run beside it is told whole");
    assert!(told.reports[1].newer_outcome && !told.reports[0].newer_outcome);
    let done = told.reports[1].done.clone().unwrap();
    let message = &done.fault.as_ref().unwrap().message;
    assert!(message.contains("frozen") && message.contains("the disk is full"), "{message}");
    let expected = Ending { outcome: Outcome::Unknown, fault: done.fault.clone(), ..quiet.done.unwrap() };
    assert_eq!(done, expected, "when and whether it began, and its items, are as told");
}

#[test]
fn a_result_beside_an_outcome_that_nobody_knows_is_not_kept() {
    let mut one = about(1);
    let done = one.done.as_mut().unwrap();
    (done.outcome, done.fault, done.result) = (Outcome::Succeeded, None, Some(Raw::text("r")));
    done.started = Some(false);
    let report = Report { reports: vec![one] };
    let told = Report::read(&newer(&report.write(), "succeeded", "postponed")).unwrap();
    let done = told.reports[0].done.clone().unwrap();
    assert_eq!(
        (done.outcome, done.started, done.result),
        (Outcome::Unknown, None, None),
        "nor that it never began"
    );
}

#[test]
fn a_spool_does_not_take_such_words_for_others() {
    let RunReport { run, items, .. } = about(1);
    let record = Record::Items { dno: run.dno, items }.write();
    let bytes = newer(&Raw::parse(record).unwrap(), "stdout", "metric").to_bytes();
    assert!(Record::read(bytes).is_err(), "the agent that wrote it is to read it again");
}
