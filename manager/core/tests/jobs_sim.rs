//! The machine in a small world of crashes, cuts and lost disks, judged by what really started.
//!
//! `JOBS_SIM_SEED` replays one seed, `JOBS_SIM_SEEDS` says how many are run from that one on, and `JOBS_SIM_CASES` how many cases each
//! has.

#![expect(clippy::panic, clippy::print_stdout, reason = "test code")]

mod jobs_support;

use std::cell::RefCell;
use std::collections::BTreeMap;

use jobs_support::world::World;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use redpoll_common::job::Outcome;
use redpoll_manager_core::jobs::Settings;

fn settings(kind: u8) -> Settings {
    Settings {
        offers_per_agent: 1 + usize::from(kind % 3),
        unknown_after_ms: kind.is_multiple_of(4).then_some(3_000),
        retry_first_ms: 500,
        retry_max_ms: 2_000,
        keep_jobs: if kind % 8 < 4 { 1_000 } else { 0 },
        prune_every_ms: 10_000,
        callback_first_ms: 100,
        ..Settings::default()
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::vars()
        .find(|(key, _)| key == name)
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(otherwise)
}

/// One world from its beginning to its end; `trace` prints what the manager is told and says.
fn run(kind: u8, steps: &[(u8, u16)], trace: bool) -> World {
    let mut world = World::new(settings(kind));
    world.trace = trace;
    for (what, dice) in steps {
        world.step(*what, *dice);
    }
    world.calm_down();
    world
}

#[test]
fn nothing_is_lost_started_twice_or_told_wrongly_whatever_fails() {
    let cases = u32::try_from(number("JOBS_SIM_CASES", 400)).unwrap();
    let first = number("JOBS_SIM_SEED", 1);
    for seed in first..first + number("JOBS_SIM_SEEDS", 1) {
        println!("JOBS_SIM_SEED={seed} JOBS_SIM_CASES={cases}");
        worlds(seed, cases);
    }
}

fn worlds(seed: u64, cases: u32) {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let steps = vec((any::<u8>(), any::<u16>()), 0..600);
    let tally = RefCell::new(BTreeMap::new());
    let outcome = runner.run(&(any::<u8>(), steps), |(kind, steps)| {
        run(kind, &steps, false).tally(&mut tally.borrow_mut());
        Ok(())
    });
    println!("{:#?}", tally.borrow());
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, (kind, steps))) => {
            println!("seed {seed}: {why}; settings {kind}, steps {steps:?}");
            run(kind, &steps, true);
            panic!("seed {seed}: {why}");
        }
        Err(TestError::Abort(why)) => panic!("seed {seed}: {why}"),
    }
    for seen in Outcome::ALL.iter().map(|outcome| format!("run.ended {outcome}")).chain(
        ["run.corrected succeeded", "run.retried failed", "run.put_back", "agent.spool_lost"]
            .map(str::to_owned),
    ) {
        assert!(
            cases < 200 || tally.borrow().contains_key(&seen),
            "{seen} never happened: this test sees too little"
        );
    }
}
