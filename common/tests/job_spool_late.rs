//! What programs do in time, and what is taken in, or written, late.

mod job_support;

use std::time::Duration;

use job_support::{Bench, OPTIONS, offer, run};
use redpoll_common::job::spool::{Input, Untaken};
use redpoll_common::job::{Dno, Limits};

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
