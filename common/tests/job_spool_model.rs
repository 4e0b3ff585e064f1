//! The spool beside a model of what it promises: after each step the same answers, starts, signals and pages; records and reports
//! that the promises allow; and nothing that waits for longer than it may.
//!
//! `SPOOL_MODEL_SEED` replays one seed, `SPOOL_MODEL_CASES` says how many cases a run has.

mod job_support;

use std::cell::RefCell;
use std::collections::BTreeMap;

use job_support::model_bench::Pair;
use job_support::model_steps::{Do, steps};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use redpoll_common::job::Outcome;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::vars()
        .find(|(key, _)| key == name)
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(otherwise)
}

fn run(kind: u8, steps: &[Do], trace: bool) -> BTreeMap<String, u32> {
    let mut pair = Pair::new(kind);
    pair.trace = trace;
    steps.iter().for_each(|step| pair.step(step));
    pair.tally
}

#[test]
fn the_spool_does_what_a_plain_model_of_its_promises_does() {
    let cases = u32::try_from(number("SPOOL_MODEL_CASES", 600)).unwrap();
    let seed = number("SPOOL_MODEL_SEED", 1);
    println!("SPOOL_MODEL_SEED={seed} SPOOL_MODEL_CASES={cases}");
    // a plain one: to draw the steps takes longer than to take them otherwise
    let mut bytes = [12; 16];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 4_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::XorShift, &bytes));
    let tally = RefCell::new(BTreeMap::<String, u32>::new());
    let outcome = runner.run(&(any::<u8>(), vec(steps(), 1..200)), |(kind, steps)| {
        for (word, count) in run(kind, &steps, false) {
            *tally.borrow_mut().entry(word).or_default() += count;
        }
        Ok(())
    });
    println!("{:#?}", tally.borrow());
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, (kind, steps))) => {
            println!("seed {seed}: {why}; settings {kind}, steps {steps:#?}");
            run(kind, &steps, true);
            panic!("seed {seed}: {why}");
        }
        Err(TestError::Abort(why)) => panic!("seed {seed}: {why}"),
    }
    let ends = Outcome::ALL.iter().map(|outcome| outcome.to_string());
    let others = ["Accepted", "spawn", "terminate", "kill", "pause", "unpause", "page", "report", "load"];
    for seen in ends.chain(others.map(str::to_owned)) {
        let count = tally.borrow().get(&seen).copied().unwrap_or(0);
        assert!(cases < 200 || count > 20, "{seen} happened {count} times: this test sees too little");
    }
}
