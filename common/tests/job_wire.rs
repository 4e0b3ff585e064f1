//! The bodies of `rp.job.*`: golden bytes, and what holds for all of them and for all bytes.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use redpoll_common::job::spool::{Record, Stamp};
use redpoll_common::job::wire::{
    Ack, Act, Cancel, Offer, OfferAnswer, Report, ReportAnswer, Resume, ResumeAct, ResumeAnswer, ResumeRow,
    RunRef, RunReport, SpoolState, StateAnswer,
};
use redpoll_common::job::{Attempt, Dno, Ending, Item, ItemKind, JobId, Limits, Outcome, Overflow};
use redpoll_common::wire::flight::Progress;
use redpoll_common::wire::{DecodeError, Fault, FaultCode, Raw, RawMap};

/// Lines of name and body in hexadecimal, each followed by what the body says, for people.
const GOLDEN: &str = include_str!("golden/job.txt");

fn run() -> RunRef {
    RunRef { job: JobId::from_bytes([0x11; 16]), attempt: Attempt(2), dno: Dno(300) }
}

fn offer() -> Offer {
    Offer {
        run: run(),
        procedure: "exec.run@1".into(),
        args: Raw::encode(&["a"]).unwrap(),
        kwargs: RawMap::new().uint("n", 7).finish(),
        limits: Limits {
            start_within: Some(Duration::from_secs(60)),
            run_timeout: Some(Duration::from_micros(1)),
            idle_timeout: Some(Duration::ZERO),
            grace: Some(Duration::from_millis(1500)),
            output: Some(1 << 20),
            overflow: Overflow::Block,
        },
        info: Raw::text("mine"),
        operator: "alice".into(),
        roles: None,
    }
}

fn least_offer() -> Offer {
    Offer { limits: Limits::default(), info: Raw::nil(), ..offer() }
}

/// As a manager offers that says what the operator is.
fn offer_of(roles: &[&str]) -> Offer {
    Offer { roles: Some(roles.iter().map(|&role| role.to_owned()).collect()), ..least_offer() }
}

fn ending() -> Ending {
    Ending {
        outcome: Outcome::Failed,
        started: Some(true),
        result: None,
        fault: Some(Fault::new(FaultCode::Failed, "it broke")),
        items: 2,
        duration_ms: Some(1234),
    }
}

fn report() -> Report {
    let item = |n, kind, data| Item { n, kind, data };
    let whole = RunReport {
        run: run(),
        started_ms_ago: Some(5),
        items: vec![
            item(0, ItemKind::Value, Raw::text("one")),
            item(1, ItemKind::Stdout, Raw::parse(Bytes::from_static(&[0xc4, 2, 0, 255])).unwrap()),
        ],
        progress: Some(Progress { completed: 1, total: Some(2), details: Raw::text("half") }),
        done: Some(ending()),
        newer_outcome: false,
        redact: Vec::new(),
    };
    let unknown =
        Ending { started: None, fault: None, duration_ms: None, outcome: Outcome::Unknown, ..ending() };
    let other = RunReport { done: Some(unknown), ..RunReport::about(RunRef { dno: Dno(301), ..run() }) };
    Report { reports: vec![whole, other] }
}

fn resume() -> Resume {
    let row = |state| ResumeRow { run: run(), state, next_n: 7, acked_n: 5 };
    Resume { spool: [0x22; 16], max_dno: Dno(300), last: true, jobs: SpoolState::ALL.map(row).to_vec() }
}

fn resume_answer(acts: &[Act]) -> ResumeAnswer {
    let act = |act: &Act| ResumeAct { job: run().job, attempt: run().attempt, act: *act };
    ResumeAnswer { jobs: acts.iter().map(act).collect(), purge_below_dno: Dno(290) }
}

const ACTS: [Act; 4] = [Act::Continue, Act::SendFrom(5), Act::Kill { grace_ms: None }, Act::Drop];
const GRACE: [Act; 1] = [Act::Kill { grace_ms: Some(30_000) }];

fn report_answer() -> ReportAnswer {
    let ack = Ack { job: run().job, attempt: run().attempt, next_n: 2, done: false, stop: true };
    ReportAnswer { acks: vec![ack, Ack { done: true, stop: false, ..ack }] }
}

fn records() -> Vec<(&'static str, Record)> {
    let dno = Dno(300);
    let at = Stamp { boot: [0x33; 16], boot_ms: 5, wall_ms: 1_700_000_000_000 };
    vec![
        ("record-floor", Record::Floor { dno }),
        ("record-received", Record::Received { offer: Box::new(offer()), at, redact: None }),
        ("record-starting", Record::Starting { run: run(), redact: None }),
        ("record-running", Record::Running { dno }),
        ("record-items", Record::Items { dno, items: report().reports[0].items.clone() }),
        ("record-acked", Record::Acked { dno, next_n: 2 }),
        ("record-done", Record::Done { run: run(), ending: Box::new(ending()), told: false, redact: None }),
        ("record-gone", Record::Gone { dno }),
        // those above without `redact` are what older spools hold
        (
            "record-received-roles",
            Record::Received { offer: Box::new(offer_of(&["deploy", "on-call"])), at, redact: None },
        ),
        (
            "record-received-redact",
            Record::Received { offer: Box::new(offer()), at, redact: secret(&["kwargs.n", "kwargs.pin"]) },
        ),
        (
            "record-received-nothing-secret",
            Record::Received { offer: Box::new(offer()), at, redact: secret(&[]) },
        ),
        (
            "record-starting-redact",
            Record::Starting { run: run(), redact: secret(&["kwargs.n", "kwargs.pin"]) },
        ),
        (
            "record-done-redact",
            Record::Done {
                run: run(),
                ending: Box::new(ending()),
                told: false,
                redact: secret(&["kwargs.n"]),
            },
        ),
    ]
}

#[expect(clippy::unnecessary_wraps, reason = "the form of the field")]
fn secret(paths: &[&str]) -> Option<Vec<String>> {
    Some(paths.iter().map(|&path| path.to_owned()).collect())
}

fn bodies() -> Vec<(&'static str, Raw)> {
    let mut bodies = vec![
        ("offer", offer().write()),
        ("offer-least", least_offer().write()),
        ("offer-roles", offer_of(&["deploy", "on-call"]).write()),
        ("offer-no-roles", offer_of(&[]).write()),
        ("offer-accepted", OfferAnswer::Accepted.write()),
        ("offer-known", OfferAnswer::Known(SpoolState::Absent).write()),
        ("cancel", Cancel { run: run(), grace_ms: Some(0) }.write()),
        ("cancel-least", Cancel { run: run(), grace_ms: None }.write()),
        ("cancel-answer", StateAnswer { state: SpoolState::Running }.write()),
        ("report", report().write()),
        ("report-answer", report_answer().write()),
        ("resume", resume().write()),
        ("resume-answer", resume_answer(&ACTS).write()),
        ("resume-answer-grace", resume_answer(&GRACE).write()),
    ];
    bodies.extend(records().into_iter().map(|(name, record)| (name, Raw::parse(record.write()).unwrap())));
    bodies
}

#[test]
fn every_body_is_written_as_the_golden_bytes() {
    let mut text =
        String::from("# The bodies of rp.job.* and the records of a spool. Compared by `job_wire.rs`.\n");
    for (name, body) in bodies() {
        let hex = body.as_bytes().iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        let words = rmpv::decode::read_value(&mut body.as_bytes()).unwrap();
        write!(text, "\n{name} {hex}\n    {words}\n").unwrap();
    }
    assert!(text == GOLDEN, "the wire changed; if that is intended, golden/job.txt becomes:\n{text}");
}

#[test]
fn every_body_reads_back() {
    let rounded = Limits { run_timeout: Some(Duration::from_millis(1)), ..offer().limits };
    assert_eq!(Offer::read(&offer().write()).unwrap(), Offer { limits: rounded, ..offer() });
    assert_eq!(Offer::read(&least_offer().write()).unwrap(), least_offer());
    // an operator without roles is not one of whom nothing is said
    for roles in [&[][..], &["deploy", "on-call"]] {
        assert_eq!(Offer::read(&offer_of(roles).write()).unwrap(), offer_of(roles));
    }
    assert_eq!(Report::read(&report().write()).unwrap(), report());
    assert_eq!(ReportAnswer::read(&report_answer().write()).unwrap(), report_answer());
    assert_eq!(Resume::read(&resume().write()).unwrap(), resume());
    for answer in [resume_answer(&ACTS), resume_answer(&GRACE)] {
        assert_eq!(ResumeAnswer::read(&answer.write()).unwrap(), answer);
    }
    for grace_ms in [None, Some(0), Some(u64::MAX)] {
        let cancel = Cancel { run: run(), grace_ms };
        assert_eq!(Cancel::read(&cancel.write()).unwrap(), cancel);
    }
    for state in SpoolState::ALL {
        assert_eq!(StateAnswer::read(&StateAnswer { state }.write()).unwrap().state, state);
        assert_eq!(OfferAnswer::read(&OfferAnswer::Known(state).write()).unwrap(), OfferAnswer::Known(state));
    }
    assert_eq!(OfferAnswer::read(&OfferAnswer::Accepted.write()).unwrap(), OfferAnswer::Accepted);
}

#[test]
fn every_record_reads_back() {
    for (name, record) in records() {
        let read = Record::read(record.write()).unwrap();
        let rounded = matches!(record, Record::Received { .. });
        assert!(rounded || read == record, "{name}");
        assert_eq!(read.write(), record.write(), "{name}");
    }
}

#[test]
fn a_success_without_a_result_has_the_result_nil() {
    let mut report = report();
    report.reports.truncate(1);
    let done = Ending { outcome: Outcome::Succeeded, result: Some(Raw::nil()), fault: None, ..ending() };
    report.reports[0].done = Some(done);
    assert_eq!(Report::read(&report.write()).unwrap(), report);
}

#[test]
fn fields_out_of_their_range_are_refused() {
    let base = || RawMap::new().bin("job", &[1; 16]);
    let read = |map: RawMap| Cancel::read(&map.finish()).unwrap_err();
    let wrong = |field, wanted| DecodeError::WrongType { field, wanted };
    let attempt = wrong("attempt", "an integer from 1 to 65535");
    assert_eq!(read(base().uint("attempt", 0).uint("dno", 1)), attempt);
    assert_eq!(read(base().uint("attempt", 65_536).uint("dno", 1)), attempt);
    assert_eq!(read(base().uint("attempt", 1).uint("dno", 0)), wrong("dno", "an integer from one on"));
    assert_eq!(read(base().uint("attempt", 1)), DecodeError::Missing { field: "dno" });
    assert_eq!(
        read(RawMap::new().bin("job", &[1; 15]).uint("attempt", 1).uint("dno", 1)),
        wrong("job", "a byte string of 16 bytes")
    );
    let send_from = RawMap::new()
        .maps("jobs", &[()], |map, ()| map.bin("job", &[1; 16]).uint("attempt", 1).text("act", "send_from"));
    let answer = send_from.uint("purge_below_dno", 0).finish();
    assert_eq!(ResumeAnswer::read(&answer), Err(DecodeError::Missing { field: "from" }));
    let not_accepted = RawMap::new().bool("accepted", false).finish();
    assert_eq!(OfferAnswer::read(&not_accepted), Err(wrong("accepted", "true")));
}

#[test]
fn lists_beyond_their_limit_are_refused() {
    let rows = vec![resume().jobs[0]; 257];
    let error = Resume::read(&Resume { jobs: rows, ..resume() }.write()).unwrap_err();
    assert_eq!(error, DecodeError::TooMany { field: "jobs", count: 257, max: 256 });
    let one = RunReport::about(run());
    let error = Report::read(&Report { reports: vec![one.clone(); 257] }.write()).unwrap_err();
    assert_eq!(error, DecodeError::TooMany { field: "reports", count: 257, max: 256 });
    let items = (0..4097).map(|n| Item { n, kind: ItemKind::Value, data: Raw::nil() }).collect();
    let error = Report::read(&Report { reports: vec![RunReport { items, ..one }] }.write()).unwrap_err();
    assert_eq!(error, DecodeError::TooMany { field: "items", count: 4097, max: 4096 });
    let redact = vec!["kwargs.x".to_owned(); 1001];
    let one = RunReport { redact, ..RunReport::about(run()) };
    let error = Report::read(&Report { reports: vec![one] }.write()).unwrap_err();
    assert_eq!(error, DecodeError::TooMany { field: "redact", count: 1001, max: 1000 });
    let long = Offer { info: Raw::text(&"x".repeat(65_536)), ..offer() };
    assert!(matches!(Offer::read(&long.write()), Err(DecodeError::TooLong { field: "info", .. })));
    let long = Offer { operator: "x".repeat(135), ..offer() };
    assert!(matches!(Offer::read(&long.write()), Err(DecodeError::TooLong { field: "operator", .. })));
    let long = Offer { roles: Some(vec!["x".repeat(65)]), ..offer() };
    assert!(matches!(Offer::read(&long.write()), Err(DecodeError::TooLong { field: "roles", .. })));
    let many = Offer { roles: Some(vec!["x".into(); 65]), ..offer() };
    let error = Offer::read(&many.write()).unwrap_err();
    assert_eq!(error, DecodeError::TooMany { field: "roles", count: 65, max: 64 });
}

#[test]
fn a_record_whose_redact_is_no_list_of_texts_is_refused() {
    let starting = |map: RawMap| {
        let map = map.text("r", "starting").bin("job", &[1; 16]).uint("attempt", 1).uint("dno", 1);
        Record::read(map.finish().to_bytes())
    };
    let wrong = DecodeError::WrongType { field: "redact", wanted: "an array of texts" };
    assert!(starting(RawMap::new()).is_ok(), "an older spool");
    assert_eq!(starting(RawMap::new().text("redact", "kwargs.n")), Err(wrong.clone()));
    assert_eq!(starting(RawMap::new().uints("redact", &[1])), Err(wrong));
    let many = vec!["kwargs.n".to_owned(); 1001];
    let too_many = DecodeError::TooMany { field: "redact", count: 1001, max: 1000 };
    assert_eq!(starting(RawMap::new().texts("redact", &many)), Err(too_many));
}

#[test]
fn what_nobody_may_see_is_known_of_a_run_whichever_of_its_records_are_left() {
    let records: std::collections::BTreeMap<_, _> = records().into_iter().collect();
    let image = |names: &[&str]| {
        let mut image = redpoll_common::job::spool::Image::default();
        names.iter().for_each(|name| image.add(records[name].clone()).unwrap());
        let row = image.rows()[&Dno(300)].clone();
        (row.redact, row.secret)
    };
    let (all, one) = (secret(&["kwargs.n", "kwargs.pin"]), secret(&["kwargs.n"]));
    assert_eq!(image(&["record-received"]), (None, None));
    assert_eq!(image(&["record-received-redact", "record-running"]), (all.clone(), None));
    assert_eq!(image(&["record-starting-redact", "record-running"]), (None, all.clone()));
    assert_eq!(image(&["record-done-redact"]), (None, one));
    assert_eq!(image(&["record-done", "record-starting-redact"]), (None, all), "in any order");
}

/// Reads bytes as everything; nothing may panic.
fn read_all(raw: &Raw) {
    let _any = (Offer::read(raw), OfferAnswer::read(raw), Cancel::read(raw), StateAnswer::read(raw));
    let _any = (Report::read(raw), ReportAnswer::read(raw), Resume::read(raw), ResumeAnswer::read(raw));
    let _any =
        (Record::read(raw.to_bytes()), redpoll_common::job::QueueKey::parse(raw).map(|key| key.to_string()));
}

fn runs() -> impl Strategy<Value = RunRef> {
    (any::<[u8; 16]>(), 1..=u16::MAX, 1..=u64::MAX).prop_map(|(job, attempt, dno)| RunRef {
        job: JobId::from_bytes(job),
        attempt: Attempt(attempt),
        dno: Dno(dno),
    })
}

fn raws() -> impl Strategy<Value = Raw> {
    prop_oneof![
        Just(Raw::nil()),
        ".{0,40}".prop_map(|text| Raw::text(&text)),
        any::<i64>().prop_map(|n| Raw::encode(&n).unwrap()),
        vec(any::<u8>(), 0..300).prop_map(|bytes| Raw::encode(&bytes).unwrap()),
    ]
}

fn endings() -> impl Strategy<Value = Ending> {
    let outcome = prop::sample::select(Outcome::ALL.to_vec());
    (outcome, any::<Option<bool>>(), raws(), option::of(".{1,30}"), any::<u64>(), any::<Option<u64>>())
        .prop_map(|(outcome, started, result, fault, items, duration_ms)| Ending {
            outcome,
            started,
            result: (outcome == Outcome::Succeeded).then_some(result),
            fault: fault.map(|text| Fault::new(FaultCode::Failed, text)),
            items,
            duration_ms,
        })
}

fn run_reports() -> impl Strategy<Value = RunReport> {
    let kinds = prop::sample::select(ItemKind::ALL.to_vec());
    let items = vec((any::<u64>(), kinds, raws()).prop_map(|(n, kind, data)| Item { n, kind, data }), 0..20);
    let progress = (any::<u64>(), any::<Option<u64>>(), raws())
        .prop_map(|(completed, total, details)| Progress { completed, total, details });
    let redact = vec("(args|kwargs)[.][a-z]{1,9}", 0..3);
    (runs(), any::<Option<u64>>(), items, option::of(progress), option::of(endings()), redact).prop_map(
        |(run, started_ms_ago, items, progress, done, redact)| RunReport {
            run,
            started_ms_ago,
            items,
            progress,
            done,
            newer_outcome: false,
            redact,
        },
    )
}

proptest! {
    #[test]
    fn any_report_reads_back(reports in vec(run_reports(), 0..20)) {
        let report = Report { reports };
        prop_assert_eq!(Report::read(&Raw::parse(report.write().to_bytes()).unwrap()).unwrap(), report);
    }

    #[test]
    fn any_resume_reads_back(rows in vec((runs(), any::<u64>(), any::<u64>()), 0..200), spool: [u8; 16], last: bool) {
        let row = |(run, next_n, acked_n)| ResumeRow { run, state: SpoolState::Done, next_n, acked_n };
        let page = Resume { spool, max_dno: Dno(1), last, jobs: rows.into_iter().map(row).collect() };
        prop_assert_eq!(Resume::read(&Raw::parse(page.write().to_bytes()).unwrap()).unwrap(), page);
    }

    #[test]
    fn random_bytes_are_read_or_refused_but_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(raw) = Raw::parse(bytes.into()) {
            read_all(&raw);
        }
    }

    #[test]
    fn damaged_bodies_are_read_or_refused_but_never_panic(which in 0_usize..19, at: prop::sample::Index, byte: u8) {
        let mut bytes = bodies()[which].1.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(raw) = Raw::parse(bytes.into()) {
            read_all(&raw);
        }
    }
}
