//! The machine beside a model of what it promises: after each step the same states, queues, answers and refusals, and offers that
//! the promises allow.
//!
//! `JOBS_MODEL_SEED` replays one seed, `JOBS_MODEL_CASES` says how many cases a run has.

mod jobs_support;

use std::cell::RefCell;
use std::collections::BTreeMap;

use jobs_support::model_bench::{INPUTS, Pair};
use jobs_support::model_do::{Do, steps};
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
    for step in steps {
        pair.step(step);
    }
    let mut tally = pair.tally;
    for event in &pair.store.events {
        let outcome = event.outcome.map(|outcome| format!(" {outcome}")).unwrap_or_default();
        *tally.entry(format!("{}{outcome}", event.kind.as_str())).or_default() += 1;
    }
    tally
}

#[test]
fn the_machine_does_what_a_plain_model_of_its_promises_does() {
    let cases = u32::try_from(number("JOBS_MODEL_CASES", 500)).unwrap();
    let seed = number("JOBS_MODEL_SEED", 1);
    println!("JOBS_MODEL_SEED={seed} JOBS_MODEL_CASES={cases}");
    let mut bytes = [11; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let tally = RefCell::new(BTreeMap::<String, u32>::new());
    let outcome = runner.run(&(any::<u8>(), vec(steps(), 1..160)), |(kind, steps)| {
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
    let told = INPUTS.iter().map(|name| format!("input {name}"));
    let ends = Outcome::ALL.iter().map(|outcome| format!("run.ended {outcome}"));
    let others = [
        "crash",
        "run.corrected succeeded",
        "run.retried failed",
        "run.put_back",
        "agent.spool_lost",
        "job.deleted",
        "job.released",
        "job.recorded succeeded",
        "manager.clock_set",
    ];
    for seen in told.chain(ends).chain(others.map(str::to_owned)) {
        assert!(
            cases < 200 || tally.borrow().contains_key(&seen),
            "{seen} never happened: this test sees too little"
        );
    }
}
