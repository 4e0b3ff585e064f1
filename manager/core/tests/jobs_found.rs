//! What was given up and shows up again while its next attempt waits: it is followed, and nothing of it is thrown away.

#![expect(clippy::unwrap_used, reason = "test code")]

mod jobs_support;

use jobs_support::alone::{Manager, ids, offers};
use jobs_support::{Plan, agent, job};
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::wire::{Act, ResumeRow, RunReport, SpoolState};
use redpoll_common::job::{Dno, Ending, Outcome};
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_manager_core::jobs::record::EventKind;
use redpoll_manager_core::jobs::{Effect, Input, Jobs, Offer, ResumePage, Settings};

const UNKNOWN_AFTER_MS: u64 = 3_600_000;

/// A manager and the offer of a run that may be repeated, whose agent was cut off for so long that it was given up.
fn given_up(queue: Option<(&'static str, u32)>) -> (Manager, Offer) {
    let settings = Settings { unknown_after_ms: Some(UNKNOWN_AFTER_MS), ..Settings::default() };
    let mut manager = Manager::new(settings);
    manager.up("a");
    manager.up("b");
    let plan = Plan { attempts: 2, idempotent: true, queue, ..Plan::default() };
    let offer = offers(&manager.submit(1, &plan, &[("a", true)])).pop().unwrap();
    let reason = "cut".to_owned();
    manager.feed(Input::AgentDown { agent: agent("a"), connection: ConnectionId(1), reason });
    manager.later(UNKNOWN_AFTER_MS);
    (manager, offer)
}

/// The agent comes back and shows the run; gives what it is told of it, and what else follows.
fn back(manager: &mut Manager, offer: &Offer, state: SpoolState, spool: u8) -> (Act, Vec<Effect<u32>>) {
    let rows = vec![ResumeRow { run: offer.run, state, next_n: 0, acked_n: 0 }];
    let effects = manager.feed(Input::Resume(ResumePage {
        token: 0,
        agent: agent("a"),
        connection: ConnectionId(2),
        spool: [spool; 16],
        max_dno: Dno(1),
        last: true,
        rows,
    }));
    let answer = effects.iter().find_map(|effect| {
        if let Effect::ResumeAnswer(_, answer) = effect { answer.jobs.first() } else { None }
    });
    (answer.unwrap().act, effects)
}

fn found(manager: &Manager) -> usize {
    manager.store.events.iter().filter(|event| event.kind == EventKind::RunFound).count()
}

#[test]
fn what_was_given_up_and_runs_or_has_ended_is_followed_and_not_run_again() {
    for restarted in [false, true] {
        for state in [SpoolState::Starting, SpoolState::Running, SpoolState::Done] {
            let (mut manager, mut offer) = given_up(None);
            if restarted {
                let settings = Settings { unknown_after_ms: Some(UNKNOWN_AFTER_MS), ..Settings::default() };
                manager.jobs = Jobs::recover(settings, manager.store.records(), manager.now);
                manager.take();
            }
            let (act, effects) = back(&mut manager, &offer, state, 1);
            assert_eq!((act, ids(&effects).len(), found(&manager)), (Act::Continue, 0, 1), "{state:?}");
            assert_eq!(ids(&manager.later(600_000)), [], "{state:?}: it is not offered beside itself");
            offer.connection = ConnectionId(2);
            manager.done(&offer, Outcome::Succeeded);
            assert_eq!(manager.outcome(1, "a"), Some(Outcome::Succeeded), "{state:?}");
        }
    }
}

#[test]
fn what_was_given_up_and_fails_after_all_uses_up_one_attempt_and_is_tried_again() {
    let (mut manager, mut offer) = given_up(None);
    back(&mut manager, &offer, SpoolState::Running, 1);
    offer.connection = ConnectionId(2);
    manager.done(&offer, Outcome::Failed);
    let second = offers(&manager.later(600_000)).pop().unwrap();
    assert_eq!(second.run.attempt.0, 2);
    manager.done(&second, Outcome::Failed);
    assert_eq!(manager.outcome(1, "a"), Some(Outcome::Failed));
}

#[test]
fn what_was_given_up_and_never_began_ends_as_that() {
    for outcome in [Outcome::Rejected, Outcome::Expired, Outcome::Cancelled] {
        let (mut manager, mut offer) = given_up(None);
        back(&mut manager, &offer, SpoolState::Done, 1);
        offer.connection = ConnectionId(2);
        let never = Ending::unstarted(outcome, Fault::new(FaultCode::Rejected, "no"));
        let reports = vec![RunReport { done: Some(never), ..RunReport::about(offer.run) }];
        manager.feed(Input::Report { token: 0, agent: agent("a"), connection: ConnectionId(2), reports });
        let row = manager.store.run_of(job(1), &agent("a")).unwrap();
        let ending = row.state.ending().unwrap();
        assert_eq!((ending.outcome, ending.started), (outcome, Some(false)));
    }
}

#[test]
fn what_had_not_begun_or_runs_by_another_spool_gives_way_to_the_next_attempt() {
    for (state, spool) in [(SpoolState::Received, 1), (SpoolState::Running, 2), (SpoolState::Absent, 1)] {
        let (mut manager, offer) = given_up(None);
        let (act, mut effects) = back(&mut manager, &offer, state, spool);
        effects.extend(manager.later(600_000));
        let next = offers(&effects).pop().unwrap();
        assert_eq!((act, next.run.attempt.0, found(&manager)), (Act::Drop, 2, 0), "{state:?} {spool}");
    }
    // an end is true wherever it comes from
    let (mut manager, offer) = given_up(None);
    assert_eq!(back(&mut manager, &offer, SpoolState::Done, 2).0, Act::Continue);
}

#[test]
fn what_is_found_has_its_place_again_and_nothing_starts_until_there_is_room() {
    let (mut manager, mut offer) = given_up(Some(("q", 1)));
    let plan = Plan::queued("q", 1);
    let beside = offers(&manager.submit(2, &plan, &[("b", true)])).pop().unwrap();
    assert_eq!(ids(&manager.submit(3, &plan, &[("b", true)])), []);
    back(&mut manager, &offer, SpoolState::Running, 1);
    let taken = |manager: &Manager| manager.jobs.queues().next().map(|queue| queue.taken);
    assert_eq!(taken(&manager), Some(2), "the one that took its place, and it");
    assert_eq!(ids(&manager.done(&beside, Outcome::Succeeded)), [], "one of both has ended");
    offer.connection = ConnectionId(2);
    assert_eq!(ids(&manager.done(&offer, Outcome::Succeeded)), [job(3)]);
}
