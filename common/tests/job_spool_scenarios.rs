//! Quotas, credit, batches, clocks and full disks, one at a time.

mod job_support;

use std::time::Duration;

use job_support::{Bench, OPTIONS, fault, image, kept, limits, offer, run, running};
use redpoll_common::job::spool::{Exit, Input, Now, Options, Output, Record, Spool, TIDY_MS};
use redpoll_common::job::wire::{Act, OfferAnswer};
use redpoll_common::job::{Dno, Item, ItemKind, Limits, Overflow};
use redpoll_common::wire::flight::Progress;
use redpoll_common::wire::{FaultCode, Raw};

fn stdout(bench: &mut Bench, bytes: usize) -> String {
    let data = Raw::text(&"x".repeat(bytes));
    bench.put(Input::Item { dno: Dno(5), kind: ItemKind::Stdout, data })
}

#[test]
fn output_beyond_the_quota_is_cut_and_the_record_says_so() {
    let quota = Limits { output: Some(500), ..Limits::default() };
    let mut bench = running(quota, OPTIONS);
    for _ in 0..4 {
        assert_eq!(stdout(&mut bench, 200), "", "nobody waits");
    }
    // smaller, and yet not kept: nothing follows a gap
    stdout(&mut bench, 1);
    bench.item(5, "v");
    bench.succeed(5);
    let items = kept(&bench);
    assert_eq!(items.iter().map(|item| item.n).collect::<Vec<_>>(), [0, 1, 2, 3], "no gaps");
    let said = |item: &Item| item.data.decode::<serde_json::Value>().unwrap();
    assert_eq!(items[2].kind, ItemKind::Truncated);
    assert_eq!(said(&items[2]), serde_json::json!({"stream": "value", "bytes": 1}));
    assert_eq!(said(&items[3]), serde_json::json!({"stream": "stdout", "bytes": 401}));
}

#[test]
fn output_beyond_the_quota_ends_the_run_that_asks_for_it() {
    let quota = Limits { output: Some(500), overflow: Overflow::Kill, ..Limits::default() };
    let mut bench = running(quota, OPTIONS);
    stdout(&mut bench, 400);
    assert_eq!(stdout(&mut bench, 400), "term 5");
    assert_eq!(stdout(&mut bench, 400), "", "once");
    assert!(bench.succeed(5).contains("done 5 failed started"), "whatever it made of the signal");
    let Some(Record::Done { ending, .. }) = bench.disk.last() else { panic!("not done") };
    let fault = ending.fault.as_ref().unwrap();
    let limit = "the 500 bytes of its output limit; each item counts 32 bytes besides";
    assert!(fault.code == FaultCode::TooLarge && fault.message.contains(limit), "{fault}");
}

#[test]
fn a_program_that_blocks_waits_until_the_manager_has_taken_enough() {
    let quota = Limits {
        output: Some(1_000),
        overflow: Overflow::Block,
        idle_timeout: Some(Duration::from_secs(3)),
        ..Limits::default()
    };
    let mut bench = running(quota, OPTIONS);
    for _ in 0..4 {
        stdout(&mut bench, 200);
    }
    assert_eq!(stdout(&mut bench, 200), "pause 5");
    assert_eq!(
        bench.pass(10_000),
        "commit[items 5 0..5] report[5 items 0..5]",
        "no idle timeout while it waits for us"
    );
    let items = kept(&bench);
    assert_eq!(bench.ack(run(5), 2, false, false), "load 5 from 2", "not enough to go on");
    bench.put(Input::Loaded(Dno(5), items));
    bench.pass(1_000);
    bench.put(Input::Disconnected);
    bench.put(Input::Connected);
    assert!(bench.answer(&[(run(5), Act::SendFrom(5))], 0).starts_with("unpause 5"));
    assert_eq!(bench.pass(2_999), "", "idle time begins anew");
    assert_eq!(bench.pass(2), "term 5");
}

#[test]
fn a_run_never_has_more_on_the_way_than_its_window() {
    let options = Options { window: 1_000, ..OPTIONS };
    let mut bench = running(Limits::default(), options);
    for _ in 0..20 {
        stdout(&mut bench, 200);
    }
    assert_eq!(bench.pass(5), "commit[items 5 0..20] load 5 from 0", "more than is kept in memory");
    let loaded = Input::Loaded(Dno(5), kept(&bench));
    assert_eq!(bench.put(loaded), "report[5 items 0..4]");
    assert_eq!(
        bench.ack(run(5), 4, false, false),
        "report[5 items 4..8]",
        "the acknowledgement is the credit"
    );
    assert_eq!(
        bench.ack(run(5), 6, false, false),
        "load 5 from 6",
        "a gap: what came after it is sent again"
    );
}

#[test]
fn what_is_small_goes_together_after_five_milliseconds_what_is_large_at_once() {
    let mut bench = running(Limits::default(), Options { window: 1 << 20, ..OPTIONS });
    assert_eq!(stdout(&mut bench, 10), "");
    assert_eq!(bench.pass(4), "");
    assert_eq!(stdout(&mut bench, 10), "");
    assert_eq!(bench.pass(1), "commit[items 5 0..2] report[5 items 0..2]");
    assert_eq!(stdout(&mut bench, 40_000), "");
    assert_eq!(stdout(&mut bench, 40_000), "commit[items 5 2..4] report[5 items 2..3] report[5 items 3..4]");
}

#[test]
fn one_chatty_run_leaves_room_for_the_others() {
    let mut bench = running(Limits::default(), Options { window: 1 << 20, ..OPTIONS });
    bench.offer(6);
    bench.put(Input::Spawned(Dno(6)));
    for _ in 0..6 {
        stdout(&mut bench, 10_000);
    }
    bench.item(6, "small");
    let words = bench.pass(5);
    assert!(
        words.contains(" report[6 started 5 ms ago items 0..1, 5 items 0..1] report[5 items 1..4]"),
        "{words}"
    );
}

#[test]
fn a_manager_without_an_answer_is_asked_again_later_with_the_same() {
    let mut bench = running(Limits::default(), OPTIONS);
    bench.item(5, "one");
    let first = bench.succeed(5);
    assert!(first.ends_with("report[5 items 0..1 succeeded started]"), "{first}");
    let id = bench.last_id;
    assert_eq!(bench.put(Input::Reported(id, Err(Some(3_000)))), "");
    assert_eq!(bench.pass(2_999), "");
    assert_eq!(bench.pass(1), "load 5 from 0 report[5 started 3005 ms ago]");
    let items = kept(&bench);
    assert_eq!(bench.put(Input::Loaded(Dno(5), items)), "report[5 items 0..1 succeeded started]");
    assert_eq!(bench.ack(run(5), 1, true, false), "");
    assert_eq!(bench.pass(TIDY_MS - 1), "", "nothing waits for it");
    assert_eq!(bench.pass(1), "commit[acked 5 1, gone 5]");
    assert_eq!(bench.spool.counts(), (0, 0));
}

#[test]
fn a_manager_that_asks_for_a_wait_gets_all_of_it_whatever_became_of_another_report() {
    let mut bench = running(Limits::default(), Options { window: 1 << 20, ..OPTIONS });
    bench.item(5, "one");
    bench.pass(5);
    let first = bench.last_id;
    bench.item(5, "two");
    bench.pass(5);
    let second = bench.last_id;
    assert_ne!(first, second);
    assert_eq!(bench.put(Input::Reported(first, Err(Some(3_000)))), "");
    assert_eq!(bench.put(Input::Reported(second, Err(None))), "");
    assert_eq!(bench.pass(2_999), "");
    assert!(bench.pass(1).starts_with("load 5 from 0"));
}

#[test]
fn deadlines_hold_across_a_restart_and_across_a_boot() {
    let within = Limits { start_within: Some(Duration::from_secs(60)), ..Limits::default() };
    let at = Now { boot_ms: 1_000_000, wall_ms: 1_700_000_000_000 };
    let mut spool: Spool<&str> = Spool::recover(OPTIONS, image(&[]), at).unwrap();
    spool
        .handle(Input::Offer { token: "o", offer: offer(run(5), within), admin: false, verdict: Ok(()) }, at);
    let Some(Output::Commit(mut disk)) = spool.poll_output() else { panic!("not committed") };
    disk.truncate(1); // received, and no more
    let due = |boot, boot_ms, wall_ms| {
        let now = Now { boot_ms, wall_ms };
        let spool: Spool<&str> = Spool::recover(Options { boot, ..OPTIONS }, image(&disk), now).unwrap();
        spool.poll_timeout().unwrap()
    };
    assert_eq!(due(OPTIONS.boot, 1_020_000, 0), 1_060_000, "same boot: whatever the wall clock says");
    assert_eq!(due([9; 16], 5_000, 1_700_000_020_000), 45_000, "other boot: by the wall clock");
    assert_eq!(due([9; 16], 5_000, 1_600_000_000_000), 65_000, "never longer than it was");
    assert_eq!(due([9; 16], 5_000, 1_800_000_000_000), 5_000, "long past");
}

#[test]
fn a_run_that_was_asleep_too_long_is_not_started() {
    let mut bench = Bench::new();
    bench.offer(5);
    bench.disk.truncate(1);
    let mut bench = bench.restarted();
    bench.put(Input::Connected);
    // the machine sleeps: no timeout fires before the answer comes
    bench.now.boot_ms += 2_000;
    let words = bench.answer(&[(run(5), Act::Continue)], 0);
    assert_eq!(words, "commit[done 5 expired not started] report[5 expired not started]");
}

#[test]
fn before_the_end_everything_is_written_and_nothing_is_late_for_it() {
    let mut bench = running(Limits::default(), OPTIONS);
    bench.succeed(5);
    assert_eq!(bench.ack(run(5), 0, true, false), "", "nothing waits for it");
    bench.spool.write_all(bench.now);
    assert_eq!(bench.words().trim(), "commit[gone 5]");

    let mut bench = Bench::new();
    bench.offer(5);
    bench.disk.truncate(1);
    let mut bench = bench.restarted();
    // a received run whose manager is away still has time
    bench.now.boot_ms += 900;
    bench.spool.write_all(bench.now);
    assert_eq!(bench.words().trim(), "");
    assert!(bench.pass(100).contains("5 expired not started"));
}

#[test]
fn the_spawn_carries_the_moment_after_which_it_is_too_late() {
    let mut bench = Bench::new();
    bench.spool.handle(
        Input::Offer { token: "o", offer: offer(run(5), limits()), admin: false, verdict: Ok(()) },
        bench.now,
    );
    let outputs: Vec<_> = std::iter::from_fn(|| bench.spool.poll_output()).collect();
    let [Output::Commit(_), Output::OfferAnswer("o", Ok(OfferAnswer::Accepted)), last] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    assert!(matches!(last, Output::Spawn { not_after: Some(at), .. } if *at == bench.now.boot_ms + 1_000));
}

#[test]
fn a_full_disk_stops_what_is_new_and_lets_small_endings_through() {
    let mut bench = running(Limits::default(), OPTIONS);
    bench.offer(6);
    bench.put(Input::Spawned(Dno(6)));
    bench.offer(7);
    bench.put(Input::Spawned(Dno(7)));
    bench.item(6, "not on disk");
    assert_eq!(bench.put(Input::Full(true)), "pause 5 pause 6 pause 7");
    assert_eq!(bench.offer(8), "refuse(overloaded)", "not a byte of what is left for ends");
    let words = bench.succeed(5);
    assert!(words.contains("done 5 succeeded") && !words.contains("items 6"), "{words}");
    assert!(!bench.succeed(6).contains("done 6"), "its items come first, and they wait");
    let large = Exit::Succeeded(Raw::text(&"x".repeat(5_000)));
    assert!(!bench.put(Input::Exited(Dno(7), large)).contains("done 7"), "too large for the reserve");
    let words = bench.put(Input::Full(false));
    assert!(
        words.starts_with("commit[items 6 0..1, done 6 succeeded started, done 7 succeeded started]"),
        "{words}"
    );
}

#[test]
fn a_cancel_that_comes_with_a_resume_has_no_more_grace_than_the_agent_gives() {
    for (asked, granted) in [(Some(100), 100), (Some(500), 500), (Some(3_600_000), 500), (None, 500)] {
        let mut bench = running(Limits::default(), OPTIONS);
        bench.put(Input::Connected);
        assert!(bench.answer(&[(run(5), Act::Kill { grace_ms: asked })], 0).contains("term 5"));
        assert!(!bench.pass(granted - 1).contains("kill"), "{asked:?}");
        assert!(bench.pass(1).contains("kill 5"), "{asked:?}");
    }
}

#[test]
fn values_and_results_that_cannot_travel_end_the_run_as_failed() {
    let deep = Raw::parse([vec![0x91; 30], vec![0xc0]].concat().into()).unwrap();
    for data in [deep.clone(), Raw::text(&"x".repeat(200_000))] {
        let mut bench = running(Limits::default(), OPTIONS);
        let words = bench.put(Input::Item { dno: Dno(5), kind: ItemKind::Value, data });
        assert_eq!(words, "term 5");
    }
    let mut bench = running(Limits::default(), OPTIONS);
    let words = bench.put(Input::Exited(Dno(5), Exit::Succeeded(deep)));
    assert!(words.contains("done 5 failed started"), "{words}");
    let mut long = fault("it broke");
    long.trace = Some("x".repeat(1_000_000));
    let mut bench = running(Limits::default(), OPTIONS);
    bench.put(Input::Exited(Dno(5), Exit::Failed(long)));
    let Some(Record::Done { ending, .. }) = bench.disk.last() else { panic!("not done") };
    assert!(ending.fault.as_ref().unwrap().trace.as_ref().unwrap().len() < OPTIONS.max_item);
}

#[test]
fn a_spool_with_many_runs_is_told_in_pages() {
    let mut bench = Bench::with(Options { max_runs: 1_000, ..OPTIONS }, Vec::new());
    for dno in 1..=300 {
        bench.offer(dno);
    }
    let first = bench.put(Input::Connected);
    assert!(first.contains("256 starting 0/0, …)"), "{first}");
    let last_id = bench.last_id;
    let second = bench.answer(&[], 0);
    assert!(
        second.starts_with("resume(max 300: 257 starting") && second.ends_with("300 starting 0/0)"),
        "{second}"
    );
    bench.last_id = last_id;
    assert_eq!(bench.answer(&[], 0), "", "an answer to a page that was answered");
}

#[test]
fn what_is_remembered_of_refused_and_acknowledged_runs_has_an_end() {
    let mut bench = Bench::new();
    bench.connect();
    for dno in 1..=3_000 {
        bench.refuse(dno);
    }
    assert_eq!(
        bench.refuse(3_000),
        "known(done) report[3000 rejected not started]",
        "who asks again is told"
    );
    assert_eq!(bench.offer(1), "known(absent)", "forgotten, and yet never executed");
    bench.pass(TIDY_MS);
    assert_eq!(image(&bench.disk).rows().len(), 1_024);
    assert_eq!(image(&bench.disk).max_dno(), Dno(3_000));
}

#[test]
fn progress_whose_report_was_lost_is_told_again_unless_there_is_newer() {
    let tell = |bench: &mut Bench, completed| {
        let progress = Progress { completed, total: None, details: Raw::nil() };
        bench.put(Input::Progress(Dno(5), progress)) + &bench.pass(5)
    };
    let mut bench = running(Limits::default(), OPTIONS);
    assert_eq!(tell(&mut bench, 1), "report[5 progress 1]");
    // not taken, and then the session ends before an answer
    let id = bench.last_id;
    bench.put(Input::Reported(id, Err(None)));
    assert_eq!(bench.pass(1_000), "report[5 started 1010 ms ago progress 1]");
    bench.put(Input::Disconnected);
    let again = bench.connect();
    assert!(again.ends_with("progress 1]"), "{again}");
    // an older one is not told after a newer one
    let first = bench.last_id;
    assert_eq!(tell(&mut bench, 2), "report[5 progress 2]");
    bench.ack(run(5), 0, false, false);
    bench.put(Input::Reported(first, Err(None)));
    let words = bench.pass(1_000);
    assert!(!words.contains("progress"), "{words}");
    // what was taken is not told again
    bench.put(Input::Disconnected);
    let again = bench.connect();
    assert!(!again.contains("progress"), "{again}");
}
