//! What an input costs does not depend on what it has nothing to do with.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code, and one that measures")]

mod jobs_support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jobs_support::alone::{Manager, answers};
use jobs_support::{Plan, agent, job};
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::{Dno, JobSpec, Outcome, QueueKey, QueueSpec};
use redpoll_common::wire::Raw;
use redpoll_manager_core::jobs::{Answer, Criteria, Input, Jobs, Refusal, ResumePage, Scope, Settings};

/// The shortest that a hundred inputs took in a row: what the machine does beside it makes none shorter.
fn shortest(mut input: impl FnMut(), hundreds: usize) -> Duration {
    let took = (0..hundreds).map(|_| {
        let began = Instant::now();
        (0..100).for_each(|_| input());
        began.elapsed()
    });
    took.min().unwrap()
}

#[test]
fn what_is_in_memory_of_an_agent_and_what_a_page_asks_for_is_found_by_name() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    for (n, queue) in [(1, "q1"), (2, "q1"), (3, "q2"), (4, "q3")] {
        let agents: &[_] = if n == 1 { &[("a", true), ("b", false)] } else { &[("b", false)] };
        manager.submit(n, &Plan::queued(queue, 1), agents);
    }
    let on = |manager: &Manager, name: &str| manager.jobs.alive_on(&agent(name)).collect::<Vec<_>>();
    assert_eq!((on(&manager, "a"), on(&manager, "b")), (vec![job(1)], [1, 2, 3, 4].map(job).to_vec()));
    let key = |name: &str| QueueKey::text(name).unwrap();
    let after =
        |name: &str| manager.jobs.queues_after(Some(&key(name))).map(|queue| queue.key).collect::<Vec<_>>();
    assert_eq!(
        (after("q1"), after("q2"), after("q3")),
        (vec![key("q2"), key("q3")], vec![key("q3")], vec![])
    );
    let states = |slots, waiting| {
        let queue = key("q1");
        let runs = manager.jobs.queue_runs(&queue, slots, waiting);
        runs.map(|(job, run)| (job, run.state)).collect::<Vec<_>>()
    };
    let (holds, first, second) = ((job(1), "offered"), (job(1), "queued"), (job(2), "queued"));
    assert_eq!(states(9, 9), [holds, first, second]);
    assert_eq!((states(0, 1), states(1, 1)), (vec![first], vec![holds, first]));

    manager.cancel(Scope::Job(job(2)), false);
    manager.jobs = Jobs::recover(Settings::default(), manager.store.records(), manager.now);
    assert_eq!((on(&manager, "a"), on(&manager, "b")), (vec![job(1)], [1, 3, 4].map(job).to_vec()));
}

#[test]
fn criteria_that_compare_too_often_are_refused_with_what_to_do() {
    let mut manager = Manager::new(Settings::default());
    let names: Vec<String> = (0..20_001).map(|n| format!("a{n:05}")).collect();
    let agents: Vec<(&str, bool)> = names.iter().map(|name| (name.as_str(), false)).collect();
    manager.submit(1, &Plan { held: true, ..Plan::default() }, &agents);
    let criteria = |values: usize| {
        let agents = BTreeMap::from([("agent", &names[..values])]);
        Criteria::parse(&Raw::encode(&BTreeMap::from([("in", agents)])).unwrap()).unwrap()
    };
    for n in 2..=3 {
        manager.submit(n, &Plan { held: true, ..Plan::default() }, &agents[..100]);
    }
    let comparisons = 998 * 20_201;
    for preview in [true, false] {
        let refused = answers(&manager.cancel(Scope::Where(criteria(998)), preview));
        let limit = 20_000_000;
        assert_eq!(refused, [Err(Refusal::TooManyComparisons { comparisons, limit })]);
    }
    let [Ok(Answer::Cancelled(reached))] = &answers(&manager.cancel(Scope::Where(criteria(2)), true))[..]
    else {
        panic!("two names are few")
    };
    assert_eq!(reached.ended, 6);
}

#[test]
fn a_comparison_with_an_info_costs_as_the_info_is_large_and_jobs_that_have_ended_cost_nothing() {
    let mut manager = Manager::new(Settings::default());
    let info = Some(Raw::encode(&BTreeMap::from([("n", "x".repeat(64_000))])).unwrap());
    for n in 1..=22 {
        manager.submit(n, &Plan { held: true, info: info.clone(), ..Plan::default() }, &[("a", false)]);
    }
    let ask = |manager: &mut Manager| {
        let one = |n: u64| BTreeMap::from([("eq", BTreeMap::from([("info.n.m", n)]))]);
        let criteria = BTreeMap::from([("or", (0..300).map(one).collect::<Vec<_>>())]);
        let criteria = Criteria::parse(&Raw::encode(&criteria).unwrap()).unwrap();
        answers(&manager.cancel(Scope::Where(criteria), true)).pop().unwrap()
    };
    // three names, a thousand times 64 bytes, and the comparison itself
    let comparisons = |jobs: u64| jobs * 300 * (3 * (1 + 1_000) + 1);
    assert!(ask(&mut manager).is_ok(), "{} are few", comparisons(22));
    for n in 23..=24 {
        manager.submit(n, &Plan { held: true, info: info.clone(), ..Plan::default() }, &[("a", false)]);
    }
    let refused = |comparisons| Err(Refusal::TooManyComparisons { comparisons, limit: 20_000_000 });
    assert_eq!(ask(&mut manager), refused(comparisons(24)));
    manager.cancel(Scope::Job(job(24)), false);
    assert_eq!(ask(&mut manager), refused(comparisons(23)));
}

/// The info is walked through once for all of them: what is asked in an emergency is not refused for its length.
#[test]
fn how_many_values_are_wanted_of_an_info_costs_little_and_patterns_cost_as_the_text_is_long() {
    let mut manager = Manager::new(Settings::default());
    let info = Some(Raw::encode(&BTreeMap::from([("n", "x".repeat(64_000))])).unwrap());
    for n in 1..=40 {
        manager.submit(n, &Plan { held: true, info: info.clone(), ..Plan::default() }, &[("a", false)]);
    }
    let mut ask = |criteria: Raw| {
        let criteria = Criteria::parse(&criteria).unwrap();
        answers(&manager.cancel(Scope::Where(criteria), true)).pop().unwrap()
    };
    let values: Vec<u64> = (0..998).collect();
    let listed = BTreeMap::from([("in", BTreeMap::from([("info.n", values)]))]);
    assert!(ask(Raw::encode(&listed).unwrap()).is_ok());
    let one = |n: u64| BTreeMap::from([("match", BTreeMap::from([("info.n", format!("*{n}*"))]))]);
    let patterns = BTreeMap::from([("or", (0..300).map(one).collect::<Vec<_>>())]);
    let comparisons = 40 * 300 * (3 * (1 + 1_000) + 1);
    let refused = Err(Refusal::TooManyComparisons { comparisons, limit: 20_000_000 });
    assert_eq!(ask(Raw::encode(&patterns).unwrap()), refused);
}

/// One that was given up is in memory for as long as its outcome may be replaced.
#[test]
fn a_job_that_may_be_corrected_and_is_not_open_is_compared_with_nothing() {
    let mut manager = Manager::new(Settings { unknown_after_ms: Some(1_000), ..Settings::default() });
    manager.up("a");
    manager.submit(1, &Plan::default(), &[("a", true)]);
    let connection = ConnectionId(1);
    manager.feed(Input::AgentDown { agent: agent("a"), connection, reason: "cut".to_owned() });
    manager.later(2_000_000);
    assert_eq!(manager.outcome(1, "a"), Some(Outcome::Unknown));
    let info = Some(Raw::encode(&BTreeMap::from([("n", "x".repeat(64_000))])).unwrap());
    for n in 2..=18 {
        manager.submit(n, &Plan { held: true, info: info.clone(), ..Plan::default() }, &[("a", false)]);
    }
    let one = |n: u64| BTreeMap::from([("eq", BTreeMap::from([("info.n.m.o", n)]))]);
    let criteria = BTreeMap::from([("or", (0..300).map(one).collect::<Vec<_>>())]);
    let criteria = Criteria::parse(&Raw::encode(&criteria).unwrap()).unwrap();
    let refused = answers(&manager.cancel(Scope::Where(criteria), true)).pop().unwrap();
    let comparisons = 17 * 300 * (4 * 1_001 + 1);
    assert_eq!(refused, Err(Refusal::TooManyComparisons { comparisons, limit: 20_000_000 }));
}

#[test]
fn a_submit_costs_the_same_however_many_queues_wait_for_room_at_its_agent() {
    let settings = Settings::default();
    let mut jobs = Jobs::<u32>::new(settings, 1_000);
    let page = ResumePage {
        token: 0,
        agent: agent("a"),
        connection: ConnectionId(1),
        spool: [1; 16],
        max_dno: Dno(0),
        last: true,
        rows: Vec::new(),
    };
    jobs.handle(Input::Resume(page), 1_000);
    let mut n = 0;
    let mut submit = || {
        n += 1;
        let mut submit = Plan::default().submit(0, job(n), &[("a", true)]);
        let queue = QueueSpec { name: QueueKey::text(&format!("q{n}")).unwrap(), concurrency: 1 };
        submit.spec = Arc::new(JobSpec { queue: Some(queue), ..JobSpec::clone(&submit.spec) });
        jobs.handle(Input::Submit(submit), 1_000);
        drop(jobs.poll_turn());
    };
    (0..1_000).for_each(|_| submit());
    let few = shortest(&mut submit, 10);
    (0..20_000).for_each(|_| submit());
    let many = shortest(&mut submit, 10);
    println!("{few:?} with a thousand queues, {many:?} with twenty thousand");
    assert!(many < few * 4, "{few:?} with a thousand queues, {many:?} with twenty thousand");
}
