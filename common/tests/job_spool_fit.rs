//! Whatever a program gives, the spool can read back what it wrote down, and tell it.

#![expect(clippy::unwrap_used, reason = "test code")]

mod job_support;

use bytes::Bytes;
use job_support::{Bench, OPTIONS, fault, image, limits, offer, run};
use redpoll_common::job::spool::{
    COMMIT_BYTES, Exit, Input, MAX_RECORD_ITEMS, NotSpawned, Options, Output, RECORD_BYTES, Record,
};
use redpoll_common::job::wire::Report;
use redpoll_common::job::{Dno, Ending, Item, ItemKind, Limits, Outcome};
use redpoll_common::wire::{Fault, FaultCode, Raw, RawMap};

const LARGE: Options = Options { max_item: 600_000, window: 1 << 20, unacked: 16 << 20, ..OPTIONS };

/// A list of so many nils.
fn list(len: u16) -> Raw {
    let head = [0xdc].into_iter().chain(len.to_be_bytes());
    Raw::parse(head.chain(std::iter::repeat_n(0xc0, usize::from(len))).collect::<Vec<u8>>().into()).unwrap()
}

fn exception(details: &Raw) -> Fault {
    let details = || Some(details.clone());
    Fault { args: details(), state: details(), data: details(), ..fault("it broke") }
}

/// Runs that run, with these numbers.
fn running(options: Options, numbers: std::ops::Range<u64>) -> Bench {
    let mut bench = Bench::with(options, Vec::new());
    for dno in numbers {
        let offer = offer(run(dno), Limits { idle_timeout: None, ..limits() });
        bench.put(Input::Offer { token: "o", offer, admin: false, verdict: Ok(()) });
        bench.put(Input::Spawned(Dno(dno)));
    }
    bench
}

/// What was written down is what any peer would take, and reads back the same.
fn is_readable(disk: &[Record]) {
    for record in disk {
        let bytes = record.write();
        assert!(Raw::parse(bytes.clone()).is_ok(), "{} bytes of {}", bytes.len(), record.dno());
        assert_eq!(&Record::read(bytes).unwrap(), record);
    }
}

/// The records of items.
fn item_records(disk: &[Record]) -> Vec<&[Item]> {
    let mut records = Vec::new();
    for record in disk {
        if let Record::Items { items, .. } = record {
            records.push(items.as_slice());
        }
    }
    records
}

#[test]
fn items_with_many_values_inside_are_written_in_several_records() {
    let mut bench = running(LARGE, 1..2);
    for _ in 0..3 {
        bench.put(Input::Item { dno: Dno(1), kind: ItemKind::Value, data: list(22_000) });
    }
    bench.pass(5);
    is_readable(&bench.disk);
    let parts: Vec<usize> = item_records(&bench.disk).iter().map(|items| items.len()).collect();
    assert_eq!(parts, [1, 1, 1]);
    assert!(image(&bench.disk).into_rows().is_ok(), "no gaps");
}

#[test]
fn what_waited_for_a_full_disk_is_written_in_pieces() {
    let mut bench = running(Options { max_item: 5 << 20, ..LARGE }, 1..10);
    bench.put(Input::Full(true));
    for _ in 0..3 {
        bench.put(Input::Item { dno: Dno(1), kind: ItemKind::Stdout, data: Raw::bin(&[7; 700_000]) });
    }
    for _ in 0..=MAX_RECORD_ITEMS {
        bench.put(Input::Item { dno: Dno(2), kind: ItemKind::Stdout, data: Raw::bin(&[7]) });
    }
    for dno in 1..10 {
        bench.put(Input::Exited(Dno(dno), Exit::Succeeded(Raw::bin(&[7; 4 << 20]))));
    }
    bench.spool.handle(Input::Full(false), bench.now);
    let mut weights = Vec::new();
    while let Some(output) = bench.spool.poll_output() {
        if let Output::Commit(records) = output {
            weights.push(records.iter().map(|record| u64::try_from(record.write().len()).unwrap()).sum());
            bench.disk.extend(records);
        }
    }
    assert!(weights.len() > 2 && weights.iter().all(|weight: &u64| *weight <= COMMIT_BYTES), "{weights:?}");
    is_readable(&bench.disk);
    for items in item_records(&bench.disk) {
        let bytes: u64 = items.iter().map(Item::cost).sum();
        assert!(bytes <= RECORD_BYTES && items.len() <= MAX_RECORD_ITEMS, "{} with {bytes}", items.len());
    }
    let rows = image(&bench.disk).into_rows().unwrap();
    assert!(rows.values().all(|row| row.ending.is_some()), "all are there");
}

#[test]
fn a_fault_whose_details_are_too_much_together_goes_without_them() {
    for (details, kept) in [(list(10_000), true), (list(22_000), false)] {
        let mut bench = running(LARGE, 1..2);
        bench.connect();
        bench.spool.handle(Input::Exited(Dno(1), Exit::Failed(exception(&details))), bench.now);
        let mut told = None;
        while let Some(output) = bench.spool.poll_output() {
            if let Output::Commit(records) = output {
                bench.disk.extend(records);
            } else if let Output::Report(_, report) = output {
                told = Some(report);
            }
        }
        is_readable(&bench.disk);
        let told = told.unwrap();
        let read = Report::read(&Raw::parse(told.write().to_bytes()).unwrap()).unwrap();
        let told = read.reports[0].done.as_ref().unwrap().fault.as_ref().unwrap();
        assert_eq!((told.args.is_some(), told.message.as_str()), (kept, "it broke"));
    }
}

#[test]
fn refusals_fit_as_well() {
    let long = Fault { code: FaultCode::Other("x".repeat(1_000)), ..exception(&list(22_000)) };
    let mut bench = running(LARGE, 1..2);
    let offer = offer(run(2), limits());
    bench.put(Input::Offer { token: "o", offer, admin: false, verdict: Err(long.clone()) });
    bench.offer(3);
    bench.put(Input::NotSpawned(Dno(3), NotSpawned::Refused(Box::new(long))));
    is_readable(&bench.disk);
    let rows = image(&bench.disk).into_rows().unwrap();
    for dno in [2, 3] {
        let ending = &rows[&Dno(dno)].ending.as_ref().unwrap().0;
        assert_eq!(ending.outcome, Outcome::Rejected, "{dno}");
        assert_eq!(ending.fault.as_ref().unwrap().code, FaultCode::Internal, "{dno}");
    }
}

#[test]
fn an_offer_as_large_as_a_frame_is_read_back_with_what_is_written_beside_it() {
    let mut offer = offer(run(1), limits());
    offer.kwargs = RawMap::new().raw("list", &list(65_490)).finish();
    assert!(Raw::parse(offer.write().to_bytes()).is_ok());
    let mut bench = Bench::with(LARGE, Vec::new());
    bench.put(Input::Offer { token: "o", offer, admin: false, verdict: Ok(()) });
    let Some(Record::Received { redact, .. }) = bench.disk.first_mut() else { panic!("not received") };
    *redact = Some((0..60).map(|n| format!("kwargs.{n}")).collect());
    let written = bench.disk[0].write();
    assert!(Raw::parse(written.clone()).is_err(), "a frame does not hold that much");
    assert_eq!(Record::read(written).as_ref(), Ok(&bench.disk[0]));
}

/// As agents wrote them once.
fn too_much() -> Vec<Record> {
    let mut bench = running(LARGE, 1..3);
    let item = |n| Item { n, kind: ItemKind::Value, data: list(22_000) };
    let ending = Ending {
        outcome: Outcome::Failed,
        started: Some(true),
        result: None,
        fault: Some(exception(&list(22_000))),
        items: 3,
        duration_ms: Some(1),
    };
    bench.disk.push(Record::Items { dno: Dno(1), items: (0..3).map(item).collect() });
    bench.disk.push(Record::Done { run: run(1), ending: Box::new(ending), told: false, redact: None });
    bench.disk
}

#[test]
fn a_spool_of_before_with_more_in_a_record_than_a_frame_holds_is_read_and_told() {
    let disk = too_much();
    let unfit = |record: &&Record| Raw::parse(record.write()).is_err();
    assert_eq!(disk.iter().filter(unfit).count(), 2);
    let mut bench = Bench::with(LARGE, disk);
    let mut reports = Vec::new();
    bench.connect();
    let items = item_records(&bench.disk).concat();
    bench.spool.handle(Input::Loaded(Dno(1), items), bench.now);
    while let Some(output) = bench.spool.poll_output() {
        if let Output::Report(_, report) = output {
            assert!(Raw::parse(report.write().to_bytes()).is_ok());
            reports.extend(report.reports);
        }
    }
    let told: Vec<u64> = reports.iter().flat_map(|report| &report.items).map(|item| item.n).collect();
    assert_eq!(told, [0, 1, 2]);
    let ended = reports.iter().find_map(|report| report.done.as_ref()).unwrap();
    assert_eq!(
        ended.fault.as_ref().map(|fault| (fault.message.as_str(), &fault.data)),
        Some(("it broke", &None))
    );
}

#[test]
fn bytes_that_nobody_wrote_are_no_record() {
    let cut = |record: &Record| record.write().slice(..record.write().len() - 1);
    for record in too_much() {
        assert!(Record::read(cut(&record)).is_err());
    }
    assert!(Record::read(Bytes::from_static(&[0x91; 64])).is_err());
    assert!(Record::read(Bytes::from_static(&[0xdd, 0xff, 0xff, 0xff, 0xff])).is_err());
}
