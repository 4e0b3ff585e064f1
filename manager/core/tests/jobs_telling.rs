//! The history says what happened: how the judge of it is judged. Every [`Store`] of these tests asks it about every turn; here it is
//! given turns whose events are wrong, and has to say so.

#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "test code")]

mod jobs_support;

use std::collections::BTreeMap;

use jobs_support::store::Store;
use jobs_support::telling::judge;
use jobs_support::world::World;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use redpoll_common::job::{Attempt, Outcome};
use redpoll_manager_core::jobs::Settings;
use redpoll_manager_core::jobs::record::{Change, EventKind, EventRecord};

/// The turns of a world in which everything happens.
fn turns(seed: u8) -> Vec<Vec<Change>> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let settings = Settings {
        offers_per_agent: 3,
        unknown_after_ms: seed.is_multiple_of(2).then_some(3_000),
        retry_first_ms: 500,
        retry_max_ms: 2_000,
        callback_first_ms: 100,
        callback_tries: 2,
        ..Settings::default()
    };
    let mut world = World::new(settings);
    let steps = vec((any::<u8>(), any::<u16>()), 600).new_tree(&mut runner).unwrap().current();
    for (what, dice) in steps {
        world.step(what, dice);
    }
    world.calm_down();
    world.committed
}

/// Events of these kinds say something that no row holds.
fn is_of_rows(kind: EventKind) -> bool {
    !matches!(kind, EventKind::AgentConnected | EventKind::AgentDisconnected | EventKind::SpoolLost)
}

fn change_event(turn: &[Change], place: usize, change: impl FnOnce(&mut EventRecord)) -> Vec<Change> {
    let mut turn = turn.to_vec();
    if let Some(Change::Event(event)) = turn.get_mut(place) {
        change(event);
    }
    turn
}

fn renumber(mut turn: Vec<Change>, before: &Store) -> Vec<Change> {
    let mut n = before.events.len() as u64;
    for change in &mut turn {
        if let Change::Event(event) = change {
            n += 1;
            event.n = n;
        }
    }
    turn
}

/// A turn in which the event is wrong, in each way in which it can be.
fn spoilt(
    before: &Store,
    turn: &[Change],
    place: usize,
    event: &EventRecord,
) -> Vec<(&'static str, Vec<Change>)> {
    let mut all = vec![("another number", change_event(turn, place, |event| event.n += 1))];
    if !is_of_rows(event.kind) {
        return all;
    }
    let left_out = turn.iter().enumerate().filter(|(n, _)| *n != place).map(|(_, change)| change.clone());
    // another cancel of the same run says nothing new
    let again = event.kind == EventKind::CancelAsked;
    if !again {
        all.push(("left out", renumber(left_out.collect(), before)));
        let mut twice = turn.to_vec();
        twice.insert(place, Change::Event(event.clone()));
        all.push(("told twice", renumber(twice, before)));
    }
    if event.job.is_some() {
        let other = jobs_support::job(99_999);
        all.push(("of another job", change_event(turn, place, |event| event.job = Some(other))));
    }
    if event.kind.as_str().starts_with("run.") {
        let next = Attempt(event.attempt.map_or(0, |attempt| attempt.0) + 2);
        all.push(("of another attempt", change_event(turn, place, |event| event.attempt = Some(next))));
    }
    if let Some(outcome) = event.outcome {
        let other = if outcome == Outcome::Failed { Outcome::Succeeded } else { Outcome::Failed };
        all.push(("of another outcome", change_event(turn, place, |event| event.outcome = Some(other))));
    }
    let other = match event.kind {
        EventKind::RunStarted => Some(EventKind::RunInDoubt),
        EventKind::RunInDoubt | EventKind::RunRetried => Some(EventKind::RunPutBack),
        EventKind::RunPutBack => Some(EventKind::RunInDoubt),
        EventKind::RunEnded => Some(EventKind::RunCorrected),
        EventKind::RunCorrected => Some(EventKind::RunEnded),
        EventKind::QueueOpened => Some(EventKind::QueueClosed),
        EventKind::CallbackDelivered => Some(EventKind::CallbackAbandoned),
        _ => None,
    };
    if let Some(other) = other {
        all.push(("of another kind", change_event(turn, place, |event| event.kind = other)));
    }
    all
}

#[test]
fn the_judge_finds_every_event_that_is_wrong() {
    let mut seen: BTreeMap<EventKind, u32> = BTreeMap::new();
    for seed in 0..24 {
        let mut store = Store::default();
        for turn in turns(seed) {
            for (place, change) in turn.iter().enumerate() {
                let Change::Event(event) = change else { continue };
                let count = seen.entry(event.kind).or_default();
                *count += 1;
                // a few of each kind, as each is judged against all of its turn
                if *count > 100 {
                    continue;
                }
                for (how, wrong) in spoilt(&store, &turn, place, event) {
                    let found = judge(&store, &wrong);
                    assert!(!found.is_empty(), "{event:?} {how} is not noticed in {turn:#?}");
                }
            }
            store.apply(&turn);
        }
    }
    println!("{seen:?}");
    let unseen = [
        EventKind::JobRecorded,
        EventKind::Custom,
        EventKind::StoreBehind,
        EventKind::ClockSet,
        EventKind::HistoryBroken,
        EventKind::StoreDamaged,
        EventKind::ProcedureEnabled,
        EventKind::ProcedureDisabled,
        EventKind::AgentRevoked,
        EventKind::AgentRestored,
        EventKind::OperatorRevoked,
        EventKind::OperatorRestored,
    ];
    for kind in EventKind::ALL.into_iter().filter(|kind| !unseen.contains(kind)) {
        assert!(seen.contains_key(&kind), "{kind:?} never happened: this test sees too little");
    }
}
