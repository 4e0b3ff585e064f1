//! Which runs a cancel by criteria reaches, beside a plain reading of the criteria: these and no others, all in one step, and
//! counted as they are ended.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod jobs_support;

use std::collections::BTreeMap;

use jobs_support::alone::{Manager, answers, offers};
use jobs_support::{Plan, agent, job};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::wire::RunReport;
use redpoll_common::job::{JobId, Outcome, RunKey, RunState};
use redpoll_common::wire::Raw;
use redpoll_manager_core::jobs::criteria::{CriteriaError, MAX_DEPTH, MAX_PARTS, MAX_TEXT};
use redpoll_manager_core::jobs::effect::REACHED;
use redpoll_manager_core::jobs::record::{JobRecord, RunRecord};
use redpoll_manager_core::jobs::{
    Answer, Cancelled, Criteria, Found, Input, Jobs, OfferAnswer, Reached, Scope, Settings,
};

/// Criteria as the test has them.
#[derive(Debug, Clone)]
enum Tree {
    And(Vec<Self>),
    Or(Vec<Self>),
    Leaf(&'static str, &'static str, Word),
}

/// A value to compare with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Text(&'static str),
    Number(u64),
}

/// What there is: for each job its agents, whether it is held, its queue and its customer, and what becomes of its offers.
type Scene = (Vec<(u8, bool, bool, Option<u64>, Vec<u8>)>, bool, bool);

fn raw(word: &Word) -> Raw {
    match word {
        Word::Text(text) => Raw::text(text),
        Word::Number(number) => Raw::encode(number).unwrap(),
    }
}

fn written(tree: &Tree) -> Raw {
    let list = |all: &[Tree]| all.iter().map(written).collect::<Vec<_>>();
    match tree {
        Tree::And(all) => Raw::encode(&BTreeMap::from([("and", list(all))])).unwrap(),
        Tree::Or(any) => Raw::encode(&BTreeMap::from([("or", list(any))])).unwrap(),
        Tree::Leaf(comparison, field, word) => {
            let value = if *comparison == "in" { Raw::encode(&vec![raw(word)]).unwrap() } else { raw(word) };
            Raw::encode(&BTreeMap::from([(comparison, BTreeMap::from([(field, value)]))])).unwrap()
        }
    }
}

fn field(name: &str, job: &JobRecord, run: &RunRecord) -> Option<Word> {
    let known =
        |text: &str, all: &[&'static str]| all.iter().find(|one| **one == text).map(|one| Word::Text(one));
    match name {
        "agent" => known(run.key.agent.as_str(), &["a", "b", "c"]),
        "state" => known(run.state.word(), &["held", "queued", "offered", "accepted", "running", "in_doubt"]),
        "attempt" => Some(Word::Number(run.attempt.0.into())),
        "queue" => job.spec.queue.as_ref().map(|_| Word::Text("q")),
        _ => job.spec.info.decode::<BTreeMap<String, u64>>().ok().map(|info| Word::Number(info["customer"])),
    }
}

fn holds(tree: &Tree, job: &JobRecord, run: &RunRecord) -> bool {
    match tree {
        Tree::And(all) => all.iter().all(|one| holds(one, job, run)),
        Tree::Or(any) => any.iter().any(|one| holds(one, job, run)),
        Tree::Leaf(comparison, name, wanted) => {
            field(name, job, run).is_some_and(|found| match *comparison {
                "neq" => found != *wanted,
                "gt" => found > *wanted,
                "lt" => found < *wanted,
                _ => found == *wanted,
            })
        }
    }
}

fn trees() -> impl Strategy<Value = Tree> {
    let equal = || prop::sample::select(vec!["eq", "neq", "in", "match"]);
    let order = || prop::sample::select(vec!["eq", "neq", "gt", "lt"]);
    let word = |words: &[&'static str]| prop::sample::select(words.to_vec()).prop_map(Word::Text);
    let states = ["held", "queued", "offered", "accepted", "running", "in_doubt"];
    let leaf = prop_oneof![
        3 => (equal(), word(&["a", "b", "c"])).prop_map(|(how, word)| Tree::Leaf(how, "agent", word)),
        3 => (equal(), word(&states)).prop_map(|(how, word)| Tree::Leaf(how, "state", word)),
        2 => (order(), 0..3_u64).prop_map(|(how, n)| Tree::Leaf(how, "attempt", Word::Number(n))),
        2 => (order(), 0..3_u64).prop_map(|(how, n)| Tree::Leaf(how, "info.customer", Word::Number(n))),
        1 => equal().prop_map(|how| Tree::Leaf(how, "queue", Word::Text("q"))),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let list = prop::collection::vec(inner, 1..4);
        (any::<bool>(), list).prop_map(|(and, list)| if and { Tree::And(list) } else { Tree::Or(list) })
    })
}

fn scenes() -> impl Strategy<Value = Scene> {
    let dice = prop::collection::vec(0..5_u8, 3);
    let job = (1..8_u8, prop::bool::weighted(0.2), any::<bool>(), prop::option::of(0..3_u64), dice);
    (prop::collection::vec(job, 1..6), any::<bool>(), prop::bool::weighted(0.3))
}

/// Agents a and b are there, c is away. Offers of both are left, accepted, run, or tried again.
fn stage((jobs, again, gone): &Scene) -> Manager {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    manager.up("b");
    for (n, (mask, held, queue, customer, dice)) in (1..).zip(jobs) {
        let info = customer.map(|customer| Raw::encode(&BTreeMap::from([("customer", customer)])).unwrap());
        let plan = Plan {
            queue: queue.then_some(("q", 2)),
            held: *held,
            info,
            attempts: 3,
            idempotent: true,
            ..Plan::default()
        };
        let all = [("a", true), ("b", true), ("c", false)];
        let chosen: Vec<_> =
            (0..).zip(all).filter(|(bit, _)| mask >> bit & 1 == 1).map(|(_, one)| one).collect();
        let mut effects = manager.submit(n, &plan, &chosen);
        if *again {
            effects.extend(manager.later(600_000));
        }
        for (offer, dice) in offers(&effects).iter().zip(dice) {
            let accepted = Input::OfferAnswered {
                agent: offer.agent.clone(),
                connection: offer.connection,
                job: offer.run.job,
                dno: offer.run.dno,
                answer: OfferAnswer::Accepted,
            };
            let begun = RunReport { started_ms_ago: Some(0), ..RunReport::about(offer.run) };
            let (agent, connection) = (offer.agent.clone(), offer.connection);
            let begun = Input::Report { token: 0, agent, connection, reports: vec![begun] };
            match dice {
                0 => {}
                1 => drop(manager.feed(accepted)),
                2 => drop(manager.feed(begun)),
                3 => drop(manager.done(offer, Outcome::Failed)),
                _ => drop(manager.done(offer, Outcome::Succeeded)),
            }
        }
    }
    if *gone {
        let connection = ConnectionId(1);
        manager.feed(Input::AgentDown { agent: agent("a"), connection, reason: "cut".to_owned() });
    }
    manager
}

fn cancelled(manager: &mut Manager, tree: &Tree, preview: bool) -> Cancelled {
    by_criteria(manager, Criteria::parse(&written(tree)).unwrap(), preview)
}

fn by_criteria(manager: &mut Manager, criteria: Criteria, preview: bool) -> Cancelled {
    let scope = Scope::Where(criteria);
    match answers(&manager.cancel(scope, preview)).pop() {
        Some(Ok(Answer::Cancelled(cancelled))) => cancelled,
        other => panic!("{other:?}"),
    }
}

fn is_open(run: &RunRecord) -> bool {
    !matches!(run.state, RunState::Ended(_))
}

#[test]
fn criteria_reach_the_runs_they_speak_of_and_the_answer_counts_these() {
    let seed = [23; 32];
    println!("seed {seed:?}");
    let config = Config { cases: 600, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let mut seen: BTreeMap<&'static str, u32> = BTreeMap::new();
    let tally = std::cell::RefCell::new(&mut seen);
    let done = runner.run(&(scenes(), trees(), prop::bool::weighted(0.2)), |(scene, tree, restarted)| {
        let mut manager = stage(&scene);
        if restarted {
            manager.jobs = Jobs::recover(Settings::default(), manager.store.records(), manager.now);
            manager.take();
        }
        let before: BTreeMap<RunKey, RunRecord> = manager.store.runs.clone();
        let meant = |run: &&RunRecord| is_open(run) && holds(&tree, &manager.store.jobs[&run.key.job], run);
        let meant: Vec<RunRecord> = before.values().filter(meant).cloned().collect();
        let some = meant.iter().any(|run| {
            before
                .values()
                .any(|other| other.key.job == run.key.job && is_open(other) && !meant.contains(other))
        });
        let jobs: std::collections::BTreeSet<JobId> = meant.iter().map(|run| run.key.job).collect();
        let preview = cancelled(&mut manager, &tree, true);
        assert_eq!(manager.store.runs, before, "a preview ends nothing");
        let answer = cancelled(&mut manager, &tree, false);
        assert_eq!(answer, preview);
        assert_eq!(answer.jobs, jobs.into_iter().collect::<Vec<_>>());
        assert_eq!(usize::try_from(answer.ended + answer.asked).unwrap(), meant.len());
        let named = meant.iter().map(|run| Reached {
            job: run.key.job,
            agent: run.key.agent.clone(),
            state: run.state.word(),
            attempt: run.attempt,
        });
        assert_eq!(answer.runs, named.collect::<Vec<_>>());
        let mut ended = 0;
        for (key, run) in &manager.store.runs {
            let was = &before[key];
            if !meant.contains(was) {
                // a slot that came free may have let it start
                assert!(run == was || (is_open(was) && run.cancel.is_none() && is_open(run)), "{run:?}");
            } else if let RunState::Ended(ending) = &run.state {
                assert_eq!(ending.outcome, Outcome::Cancelled);
                ended += 1;
            } else {
                assert!(run.cancel.is_some(), "{run:?}");
            }
        }
        assert_eq!(ended, answer.ended);
        for (word, hit) in [("none", meant.is_empty()), ("part of a job", some), ("asked", answer.asked > 0)]
        {
            *tally.borrow_mut().entry(word).or_default() += u32::from(hit);
        }
        for run in &answer.runs {
            *tally.borrow_mut().entry(run.state).or_default() += 1;
        }
        Ok(())
    });
    done.unwrap();
    println!("{seen:?}");
    assert!(seen.len() == 9 && seen.values().all(|cases| *cases > 30), "{seen:?}");
}

#[test]
fn a_misspelt_state_is_refused_and_never_means_all() {
    let one = |word: &str, value: Raw| {
        Criteria::parse(&Raw::encode(&BTreeMap::from([(word, BTreeMap::from([("state", value)]))])).unwrap())
    };
    for word in ["eq", "neq"] {
        let wrong = one(word, Raw::text("runing")).unwrap_err();
        assert_eq!(wrong, CriteriaError::UnknownState { state: "runing".to_owned() });
        assert!(one(word, Raw::nil()).is_err() && one(word, Raw::text("ended")).is_err());
        assert!(one(word, Raw::text("in_doubt")).is_ok());
    }
    let list = |words: &[&str]| Raw::encode(&words.to_vec()).unwrap();
    assert!(one("in", list(&["queued", "helt"])).is_err() && one("in", list(&["queued", "held"])).is_ok());
    assert!(one("match", Raw::text("q*")).is_ok());
}

#[test]
fn the_answer_names_the_first_runs_and_counts_all() {
    let mut manager = Manager::new(Settings::default());
    for n in 1..=150 {
        manager.submit(n, &Plan::default(), &[("a", false), ("b", false)]);
    }
    let answer = cancelled(&mut manager, &Tree::Leaf("eq", "agent", Word::Text("b")), false);
    assert_eq!((answer.ended, answer.jobs.len(), answer.runs.len()), (150, 150, REACHED));
    assert_eq!((answer.runs[0].job, answer.runs[0].agent.as_str()), (job(1), "b"));
    assert_eq!(manager.jobs.open_runs(), 150, "those on a go on");
}

#[test]
fn a_pattern_and_the_name_of_a_field_are_bounded_and_the_error_says_so() {
    let one = |word: &str, field: &str, value: Raw| {
        Criteria::parse(&Raw::encode(&BTreeMap::from([(word, BTreeMap::from([(field, value)]))])).unwrap())
    };
    let (long, longer) = ("x".repeat(MAX_TEXT), "x".repeat(MAX_TEXT + 1));
    assert!(one("match", "agent", Raw::text(&long)).is_ok());
    let wrong = one("match", "agent", Raw::text(&longer)).unwrap_err().to_string();
    assert!(wrong.contains("has 1025 bytes; the limit is 1024") && wrong.len() < 200, "{wrong}");
    let wrong = one("eq", &format!("info.{long}"), Raw::nil()).unwrap_err().to_string();
    assert!(wrong.starts_with("a field ") && wrong.contains("has 1029 bytes; the limit is 1024"), "{wrong}");
    // what the caller's info is equal to may be as long as that
    assert!(one("eq", "info.text", Raw::text(&longer)).is_ok());
    // a thousand stars cost what one does, and mean the same
    let stars = |pattern: &str| one("match", "agent", Raw::text(pattern)).unwrap();
    assert_eq!(stars(&format!("a{}b{}", "*".repeat(500), "*".repeat(500))), stars("a*b*"));
}

#[test]
fn what_is_equal_is_so_however_it_is_written() {
    let mut manager = Manager::new(Settings::default());
    let info = Raw::encode(&BTreeMap::from([("a", 2), ("b", 1)])).unwrap();
    manager.submit(1, &Plan { info: Some(info), ..Plan::default() }, &[("a", false)]);
    // the same map, in another order and with longer heads than are needed
    let wanted = b"\xde\x00\x02\xd9\x01b\xcd\x00\x01\xa1a\x02";
    let wanted = Raw::parse(wanted.as_slice().into()).unwrap();
    for (word, reached) in [("eq", 1), ("match", 1), ("neq", 0)] {
        let fields = BTreeMap::from([("info", wanted.clone())]);
        let criteria = Criteria::parse(&Raw::encode(&BTreeMap::from([(word, fields)])).unwrap()).unwrap();
        assert_eq!(by_criteria(&mut manager, criteria, true).ended, reached, "{word}");
    }
}

#[test]
fn a_number_is_compared_as_the_number_it_is() {
    let mut manager = Manager::new(Settings::default());
    let info = Some(Raw::encode(&9_007_199_254_740_993_u64).unwrap());
    manager.submit(1, &Plan { info, ..Plan::default() }, &[("a", false)]);
    // the nearest float that there is below it
    let wanted = Raw::encode(&9_007_199_254_740_992.0).unwrap();
    for (word, reached) in [("eq", 0), ("neq", 1), ("gt", 1), ("lt", 0)] {
        let fields = BTreeMap::from([("info", wanted.clone())]);
        let criteria = Criteria::parse(&Raw::encode(&BTreeMap::from([(word, fields)])).unwrap()).unwrap();
        assert_eq!(by_criteria(&mut manager, criteria, true).ended, reached, "{word}");
    }
}

fn parsed(comparison: &str, field: &str, value: &Raw) -> Result<Criteria, CriteriaError> {
    let fields = BTreeMap::from([(field, value)]);
    Criteria::parse(&Raw::encode(&BTreeMap::from([(comparison, fields)])).unwrap())
}

#[test]
fn criteria_have_so_many_parts_and_so_many_levels_and_no_more() {
    // one for the comparison, one for its field, and the values
    for (values, fits) in [(MAX_PARTS - 2, true), (MAX_PARTS - 1, false)] {
        let values = Raw::encode(&vec!["x"; values]).unwrap();
        assert_eq!(parsed("in", "id", &values).is_ok(), fits);
    }
    let fields: BTreeMap<String, u8> = (0..MAX_PARTS / 2).map(|n| (format!("info.{n}"), 0)).collect();
    let eq = |fields: &BTreeMap<String, u8>| Raw::encode(&BTreeMap::from([("eq", fields)])).unwrap();
    assert!(matches!(Criteria::parse(&eq(&fields)), Err(CriteriaError::TooLarge)));
    let fewer = fields.into_iter().skip(1).collect();
    assert!(Criteria::parse(&eq(&fewer)).is_ok());
    let leaf = Tree::Leaf("eq", "id", Word::Text("x"));
    // one for the list, and three for each
    for (leaves, fits) in [((MAX_PARTS - 1) / 3, true), ((MAX_PARTS - 1) / 3 + 1, false)] {
        assert_eq!(Criteria::parse(&written(&Tree::Or(vec![leaf.clone(); leaves]))).is_ok(), fits);
    }
    for (lists, fits) in [(MAX_DEPTH - 1, true), (MAX_DEPTH, false)] {
        let tree = (0..lists).fold(leaf.clone(), |tree, _| Tree::And(vec![tree]));
        assert_eq!(Criteria::parse(&written(&tree)).is_ok(), fits, "{lists} lists");
    }
}

#[test]
fn texts_and_large_numbers_are_in_order_and_the_parts_of_a_pattern_do_not_overlap() {
    let (large, larger) = (Raw::encode(&(1_u64 << 60)).unwrap(), Raw::encode(&((1_u64 << 60) + 1)).unwrap());
    let [b, less, half] = [Raw::text("b"), Raw::encode(&-1).unwrap(), Raw::encode(&0.5).unwrap()];
    for (info, comparison, value, hits) in [
        (&b, "gt", Raw::text("a"), true),
        (&b, "gt", Raw::text("b"), false),
        (&b, "lt", Raw::text("c"), true),
        (&b, "lt", Raw::text("a"), false),
        (&b, "gt", Raw::encode(&1).unwrap(), false),
        (&larger, "gt", large.clone(), true),
        (&large, "gt", larger.clone(), false),
        (&large, "lt", larger.clone(), true),
        (&large, "eq", larger.clone(), false),
        (&less, "lt", Raw::encode(&0).unwrap(), true),
        (&half, "gt", Raw::encode(&0.25).unwrap(), true),
        (&Raw::text("xay"), "match", Raw::text("*a*a*"), false),
        (&Raw::text("xaay"), "match", Raw::text("*a*a*"), true),
        (&Raw::text("ab"), "match", Raw::text("ab*b"), false),
    ] {
        let mut manager = Manager::new(Settings::default());
        let plan = Plan { info: Some(info.clone()), ..Plan::default() };
        manager.submit(1, &plan, &[("a", false)]);
        let criteria = parsed(comparison, "info", &value).unwrap();
        let reached = by_criteria(&mut manager, criteria, true);
        assert_eq!(!reached.runs.is_empty(), hits, "{info:?} {comparison} {value:?}");
    }
}

#[test]
fn each_field_of_a_job_is_its_own() {
    let mut manager = Manager::new(Settings::default());
    let plan = Plan { held: true, idempotent: true, ..Plan::default() };
    manager.submit(1, &plan, &[("a", false)]);
    let other = Plan { held: false, idempotent: false, key: Some("k".to_owned()), ..Plan::default() };
    let effects = manager.submit(2, &other, &[("a", false)]);
    assert_eq!(effects.len(), 1, "its key is looked for");
    let (submitter, key, look) = (agent("anna").into(), "k".to_owned(), 1);
    manager.feed(Input::KeyFound { submitter, key, look, found: Found::Free });
    let id = Raw::text(&job(1).to_string());
    for (field, value, jobs) in [
        ("id", id, vec![job(1)]),
        ("submitter", Raw::text("anna"), vec![job(1), job(2)]),
        ("submitter", Raw::text("eve"), vec![]),
        ("key", Raw::text("k"), vec![job(2)]),
        ("held", Raw::encode(&true).unwrap(), vec![job(1)]),
        ("idempotent", Raw::encode(&false).unwrap(), vec![job(2)]),
    ] {
        let reached = by_criteria(&mut manager, parsed("eq", field, &value).unwrap(), true);
        assert_eq!(reached.jobs, jobs, "{field}");
    }
}
