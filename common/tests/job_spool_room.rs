//! What a spool takes when it has enough.

mod job_support;

use job_support::{Bench, OPTIONS, limits, offer, run};
use redpoll_common::job::Dno;
use redpoll_common::job::spool::{Input, Options, Output};
use redpoll_common::wire::Raw;
use redpoll_common::wire::flight::Progress;

#[test]
fn an_agent_that_stops_or_has_enough_takes_nothing_new() {
    let mut bench = Bench::with(Options { max_runs: 1, ..OPTIONS }, Vec::new());
    bench.offer(1);
    assert_eq!(bench.offer(2), "refuse(overloaded)");
    bench.put(Input::Draining);
    assert_eq!(bench.offer(3), "refuse(shutting_down)");
    assert_eq!(bench.spool.max_dno(), Dno(1), "they count as unseen");
    let seen = bench.disk.iter().any(|record| record.dno() > Dno(1));
    assert!(!seen, "a backlog that is offered again and again writes nothing: {:?}", bench.disk);
    let mut bench = bench.restarted();
    bench.connect();
    assert!(bench.offer(3).ends_with("accept spawn 3"), "the same number is taken when there is room");
}

#[test]
fn a_manager_burns_no_numbers_far_beyond_those_that_were_seen() {
    let (far, first) = (1 << 32, (1 << 62) + (1 << 61));
    let mut bench = Bench::with(OPTIONS, Vec::new());
    bench.connect();
    assert_eq!(bench.offer(first + 1), "refuse(bad_arguments)");
    assert!(bench.offer(5).ends_with("accept spawn 5"));
    for dno in [far + 6, u64::MAX] {
        assert_eq!(bench.offer(dno), "refuse(bad_arguments)");
        assert_eq!(bench.refuse(dno), "refuse(bad_arguments)");
        assert_eq!(bench.cancel(dno), "cancel(bad_arguments)");
    }
    assert_eq!(bench.spool.max_dno(), Dno(5));
    assert!(bench.disk.iter().all(|record| record.dno() <= Dno(5)), "{:?}", bench.disk);
    assert!(
        bench.offer(far + 5).ends_with(&format!("accept spawn {}", far + 5)),
        "a manager may be far ahead"
    );
    // a new spool knows nothing of what its manager has given out
    let mut bench = Bench::with(OPTIONS, Vec::new());
    bench.connect();
    assert!(bench.offer(first).contains("accept"));
}

#[test]
fn a_run_whose_end_is_on_its_way_keeps_no_other_out() {
    let mut bench = Bench::with(Options { max_runs: 1, ..OPTIONS }, Vec::new());
    bench.connect();
    bench.offer(1);
    bench.put(Input::Spawned(Dno(1)));
    assert!(bench.offer(2).ends_with("refuse(overloaded)"), "it runs");
    assert!(bench.succeed(1).contains("report[1 "), "the manager knows when it has this");
    assert!(bench.offer(2).contains("accept"), "before its acknowledgement is heard");
    assert!(bench.succeed(2).contains("report[2 "));
    assert!(bench.offer(3).ends_with("refuse(overloaded)"), "ends that nobody acknowledges have an end too");
    // what is on its way no more takes its place again
    bench.put(Input::Disconnected);
    assert!(bench.offer(3).ends_with("refuse(overloaded)"));
    let mut bench = Bench::with(Options { max_runs: 1, ..OPTIONS }, Vec::new());
    bench.offer(1);
    bench.succeed(1);
    assert!(bench.offer(2).ends_with("refuse(overloaded)"), "nobody was told");
}

#[test]
fn what_looks_after_the_machine_is_taken_beyond_the_runs_that_may_be_here() {
    let mut bench = Bench::with(Options { max_runs: 1, admin_reserve: 2, ..OPTIONS }, Vec::new());
    let admin = |bench: &mut Bench, dno| {
        let offer = offer(run(dno), limits());
        bench.put(Input::Offer { token: "o", offer, admin: true, verdict: Ok(()) })
    };
    bench.offer(1);
    for dno in [2, 3] {
        assert!(admin(&mut bench, dno).contains("accept"), "{dno}");
    }
    assert!(admin(&mut bench, 4).ends_with("refuse(overloaded)"), "the reserve has an end");
    // after a restart those that are there count
    let disk = std::mem::take(&mut bench.disk);
    let mut bench = Bench::with(Options { max_runs: 4, admin_reserve: 1, ..OPTIONS }, disk);
    assert!(bench.offer(5).contains("accept"));
    assert!(bench.offer(6).ends_with("refuse(overloaded)"));
    assert!(admin(&mut bench, 7).contains("accept"));
    assert!(admin(&mut bench, 8).ends_with("refuse(overloaded)"));
}

#[test]
fn what_progress_says_beside_its_numbers_is_told_unless_it_is_large() {
    const MAX_DETAILS: usize = OPTIONS.max_item / 4;
    for (bytes, is_told) in [(10, true), (MAX_DETAILS / 2, true), (MAX_DETAILS + 1, false)] {
        let mut bench = Bench::with(OPTIONS, Vec::new());
        bench.connect();
        bench.offer(1);
        bench.put(Input::Spawned(Dno(1)));
        bench.pass(5);
        bench.ack(run(1), 0, false, false);
        let details = Raw::text(&"x".repeat(bytes));
        let progress = Progress { completed: 1, total: Some(2), details: details.clone() };
        bench.spool.handle(Input::Progress(Dno(1), progress), bench.now);
        bench.now.boot_ms += 5;
        bench.spool.handle_timeout(bench.now);
        let report = std::iter::from_fn(|| bench.spool.poll_output())
            .find_map(|output| if let Output::Report(_, report) = output { Some(report) } else { None });
        let progress = report.and_then(|mut report| report.reports.remove(0).progress);
        let details = if is_told { details } else { Raw::nil() };
        assert_eq!(progress, Some(Progress { completed: 1, total: Some(2), details }), "{bytes} bytes");
    }
}
