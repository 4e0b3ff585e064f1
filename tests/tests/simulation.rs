//! The whole system, simulated: two hundred worlds of faults, each decided by its seed.
//!
//! A failure names the invariant and the command that shows the seed again, step by step.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use redpoll_tests::sim::{self, Report, Tally};

/// Seeds in an ordinary test run. `cargo xtask simulate` runs as many as anybody likes.
const SEEDS: u64 = 200;

/// What has to happen in these seeds, or the simulation has become blind to it.
const SEEN: [&str; 78] = [
    // what is in doubt is settled by each row of the table
    "resolved: row present",
    "resolved: never received, the same number again",
    "resolved: number burnt, a new one",
    "resolved: spool lost",
    "resolved: given up",
    // ends
    "run.ended succeeded",
    "run.ended failed",
    "run.ended rejected",
    "run.ended cancelled",
    "run.ended timed_out",
    "run.ended expired",
    "run.ended unknown",
    "run.corrected",
    "run.corrected succeeded",
    "run.retried failed",
    "run.put_back",
    "run.retried timed_out",
    "run.retried unknown",
    "run.in_doubt",
    "agent.spool_lost",
    // what operators ask for
    "cancelled before it started",
    "cancelled after it started",
    "cancel of a run",
    "cancel of a job",
    "cancel of a queue",
    "cancel by criteria",
    "cancel answered absent",
    "cancel answered starting",
    "cancel answered running",
    "cancel answered done",
    "offer answered absent",
    "held job released",
    "job deleted on request",
    "key repeated with the same spec",
    "key repeated with another spec",
    "submit repeated after a lost answer",
    "refused: agents away",
    "refused: store full",
    "refused: store unreadable",
    "refused: too many runs",
    "refused: too many runs of an agent",
    "reader joined while it ran",
    "callback.delivered",
    "callback.abandoned",
    "queue.opened",
    "queue.closed",
    "progress",
    "job.recorded",
    "job.recorded unknown",
    "record told again",
    "events pruned",
    "arguments masked",
    "more became known to be secret",
    // what goes wrong
    "manager lost unsynced turns",
    "manager died between effects",
    "manager disk full",
    "manager gave up on a full disk",
    "agent lost unsynced records",
    "agent died right after a commit",
    "agent disk full",
    "program outlived its agent",
    "program paused",
    "items read back",
    "not spawned",
    "spool wiped",
    "spool rolled back",
    "certificate ended",
    "word on a closed connection",
    "word of a manager that is dead",
    "connection replaced",
    "report of an older connection",
    // who is shut out
    "agent revoked",
    "agent.restored",
    "revoked agent turned away",
    "refused: agents revoked",
    "word of an agent that was cut",
    "answer on an older connection",
    "offer without an answer in time",
];

/// Runs seeds on all cores.
fn seeds(count: u64) -> Vec<Report> {
    let (next, reports) = (AtomicU64::new(1), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > count {
                return;
            }
            let report = sim::run(seed, false);
            reports.lock().unwrap().push(report);
        }
    };
    let cores = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    reports.into_inner().unwrap()
}

#[test]
fn every_invariant_holds_in_two_hundred_worlds_and_each_of_them_sees_enough() {
    let reports = seeds(SEEDS);
    let failures: Vec<String> = reports.iter().filter_map(Report::failure).collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    let mut tally = Tally::default();
    reports.iter().for_each(|report| tally.add(&report.tally));
    tally.iter().for_each(|(what, count)| println!("{count:>8}  {what}"));
    let unseen: Vec<&str> = SEEN.into_iter().filter(|what| tally.count(what) == 0).collect();
    assert!(unseen.is_empty(), "the simulation does not see any more: {unseen:?}");
}

#[test]
fn the_same_seed_is_the_same_world_and_another_one_is_another() {
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 1..=6 {
        let (once, again) = (sim::run(seed, false), sim::run(seed, true));
        assert_eq!(
            (once.hash, once.events),
            (again.hash, again.events),
            "seed {seed}, with and without its trace"
        );
        hashes.insert(once.hash);
    }
    assert_eq!(hashes.len(), 6);
}
