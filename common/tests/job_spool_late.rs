//! What programs do in time, and what is taken in, or written, late.

mod job_support;

use std::time::Duration;

use job_support::{Bench, OPTIONS, offer, run};
use redpoll_common::job::spool::{Exit, Input, SMALL_ENDING, Untaken};
use redpoll_common::job::wire::Act;
use redpoll_common::job::{Dno, Limits};
use redpoll_common::wire::Raw;

/// A running run 5 with these limits, in a session.
fn running(limits: Limits) -> Bench {
    let mut bench = Bench::with(OPTIONS, Vec::new());
    bench.connect();
    bench.put(Input::Offer { token: "o", offer: offer(run(5), limits), admin: false, verdict: Ok(()) });
    bench.put(Input::Spawned(Dno(5)));
    bench.pass(5);
    bench.ack(run(5), 0, false, false);
    bench
}

fn of_seconds(run_timeout: Option<u64>, idle_timeout: Option<u64>) -> Limits {
    let [run_timeout, idle_timeout] = [run_timeout, idle_timeout].map(|limit| limit.map(Duration::from_secs));
    Limits { run_timeout, idle_timeout, ..Limits::default() }
}

#[test]
fn a_run_that_gave_something_in_time_is_not_idle_although_nobody_took_it_in() {
    let mut bench = running(of_seconds(None, Some(3)));
    bench.now.boot_ms += 4_000;
    assert_eq!(bench.spool.overdue(bench.now), [Dno(5)]);
    let gave = bench.now.boot_ms - 1_000;
    bench.spool.handle_untaken(Dno(5), Untaken::Gave(gave));
    assert_eq!(bench.spool.overdue(bench.now), []);
    assert_eq!(bench.pass(1_999), "", "counted from what it gave");
    assert_eq!(bench.pass(1), "term 5");
    // what it gave before its time was over helps nobody
    let mut bench = running(of_seconds(None, Some(3)));
    bench.now.boot_ms += 4_000;
    bench.spool.handle_untaken(Dno(5), Untaken::Gave(bench.now.boot_ms - 3_500));
    assert_eq!(bench.pass(0), "term 5");
}

#[test]
fn a_run_that_ended_in_time_has_ended_so_although_nobody_took_it_in() {
    for limits in [of_seconds(Some(3), None), of_seconds(None, Some(3))] {
        let mut bench = running(limits);
        bench.now.boot_ms += 4_000;
        assert_eq!(bench.spool.overdue(bench.now), [Dno(5)]);
        bench.spool.handle_untaken(Dno(5), Untaken::Ended(bench.now.boot_ms - 2_000));
        assert_eq!((bench.spool.overdue(bench.now), bench.pass(60_000)), (vec![], String::new()));
        assert!(bench.succeed(5).contains("done 5 succeeded"));

        let mut bench = running(limits);
        bench.now.boot_ms += 4_000;
        bench.spool.handle_untaken(Dno(5), Untaken::Ended(bench.now.boot_ms - 500));
        assert_eq!(bench.pass(0), "term 5", "it was too late");
        assert!(bench.succeed(5).contains("done 5 timed_out"));
    }
}

#[test]
fn what_waits_for_room_is_written_and_told_when_the_agent_stops() {
    let full = || {
        let mut bench = running(of_seconds(None, None));
        bench.put(Input::Full(true));
        bench
    };
    let large = |bench: &mut Bench| {
        let result = Raw::text(&"x".repeat(SMALL_ENDING + 1));
        bench.put(Input::Exited(Dno(5), Exit::Succeeded(result)))
    };
    // output that was taken, and then the end by the stop
    let mut bench = full();
    assert_eq!(bench.item(5, "one"), "");
    assert_eq!(bench.pass(1_000), "", "it waits");
    assert_eq!(bench.put(Input::Draining), "", "the reserve is for the ends of what runs first");
    assert!(bench.succeed(5).starts_with("commit[items 5 0..1, done 5 succeeded"));
    // a run that does not end in time
    let mut bench = full();
    bench.item(5, "one");
    bench.put(Input::Draining);
    bench.spool.write_all(bench.now);
    assert_eq!(bench.words(), "commit[items 5 0..1] report[5 items 0..1]");
    // an end that is no small one, before and after the stop begins
    let mut bench = full();
    assert_eq!(large(&mut bench), "");
    let said = bench.put(Input::Draining);
    assert!(said.starts_with("commit[done 5 succeeded") && said.contains("report[5 succeeded"), "{said}");
    let mut bench = full();
    bench.put(Input::Draining);
    assert!(large(&mut bench).contains("done 5 succeeded"));
}

#[test]
fn what_is_large_keeps_nothing_small_from_the_reserve() {
    let mut bench = running(of_seconds(None, None));
    for dno in [6, 7] {
        let offer = offer(run(dno), of_seconds(None, None));
        bench.put(Input::Offer { token: "o", offer, admin: false, verdict: Ok(()) });
        bench.put(Input::Spawned(Dno(dno)));
    }
    bench.put(Input::Full(true));
    let result = Raw::text(&"x".repeat(SMALL_ENDING + 1));
    bench.put(Input::Exited(Dno(5), Exit::Succeeded(result)));
    bench.item(6, "one");
    assert_eq!(bench.put(Input::Draining), "", "before the ends of what still runs");
    assert_eq!(bench.succeed(6), "", "its output is held, and its end with it");
    let said = bench.succeed(7);
    let commits: Vec<&str> = said.split("commit[").skip(1).collect();
    let begins = ["done 7", "items 6", "done 5"];
    assert_eq!(commits.len(), begins.len(), "{said}");
    assert!(commits.iter().zip(begins).all(|(commit, begin)| commit.contains(begin)), "{said}");
}

#[test]
fn what_waits_for_room_is_written_after_the_end_of_a_run_that_nobody_wants_too() {
    let mut bench = running(of_seconds(None, None));
    bench.offer(6);
    bench.put(Input::Spawned(Dno(6)));
    bench.put(Input::Full(true));
    let result = Raw::text(&"x".repeat(SMALL_ENDING + 1));
    bench.put(Input::Exited(Dno(5), Exit::Succeeded(result)));
    bench.put(Input::Draining);
    bench.put(Input::Disconnected);
    bench.put(Input::Connected);
    bench.answer(&[(run(6), Act::Drop)], 0);
    let said = bench.succeed(6);
    assert!(said.contains("gone 6") && said.contains("done 5"), "{said}");
}
