//! What an agent puts back keeps its turn: before the next session of one that stops nothing is offered, and where something ends the
//! first that found no room is tried.

#![expect(clippy::unwrap_used, reason = "test code")]

mod jobs_support;

use jobs_support::alone::{Manager, ids, offers};
use jobs_support::{Plan, agent, job};
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::wire::{ResumeRow, RunReport, SpoolState};
use redpoll_common::job::{Ending, JobId, Outcome};
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_manager_core::jobs::{Effect, Input, Jobs, Offer, OfferAnswer, ResumePage, Scope, Settings};

const MINUTE: u64 = 60_000;

fn refused(offer: &Offer, code: FaultCode, hint: Option<u64>) -> Input<u32> {
    let answer = OfferAnswer::Refused(Fault { retry_after_ms: hint, ..Fault::new(code, "no") });
    let (agent, connection) = (offer.agent.clone(), offer.connection);
    Input::OfferAnswered { agent, connection, job: offer.run.job, dno: offer.run.dno, answer }
}

fn stops(offer: &Offer) -> Input<u32> {
    refused(offer, FaultCode::ShuttingDown, Some(1_000))
}

fn crowded(offer: &Offer) -> Input<u32> {
    refused(offer, FaultCode::Overloaded, Some(1_000))
}

/// The agent took it, and its procedure had no place.
fn no_place(offer: &Offer) -> Input<u32> {
    let ending = Ending::unstarted(Outcome::Rejected, Fault::new(FaultCode::Overloaded, "no place"));
    let report = RunReport { done: Some(ending), ..RunReport::about(offer.run) };
    let (agent, connection) = (offer.agent.clone(), offer.connection);
    Input::Report { token: 0, agent, connection, reports: vec![report] }
}

fn put_off_until(manager: &Manager, n: u64) -> u64 {
    manager.store.run_of(job(n), &agent("a")).unwrap().not_before_ms
}

fn down(manager: &mut Manager, connection: u64) -> Vec<Effect<u32>> {
    let connection = ConnectionId(connection);
    manager.feed(Input::AgentDown { agent: agent("a"), connection, reason: "it stops".to_owned() })
}

/// Three in a queue of one, of which the first runs and the others have waited for long.
fn in_line(plan: &Plan) -> (Manager, Offer) {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let first = offers(&manager.submit(1, plan, &[("a", true)])).remove(0);
    manager.submit(2, plan, &[("a", true)]);
    manager.submit(3, plan, &[("a", true)]);
    manager.later(40 * MINUTE);
    (manager, first)
}

#[test]
fn what_an_agent_refuses_because_it_stops_starts_in_its_turn_when_it_is_back() {
    let plan = Plan::queued("q", 1);
    let (mut manager, first) = in_line(&plan);
    let second = offers(&manager.done(&first, Outcome::Succeeded)).remove(0);
    assert_eq!(second.run.job, job(2));
    assert_eq!(ids(&manager.feed(stops(&second))), [], "it stops, and is not asked again");
    assert_eq!(ids(&manager.submit(4, &plan, &[("a", true)])), [], "for nothing else either");
    assert_eq!(ids(&manager.later(10_000)), []);
    down(&mut manager, 1);
    manager.later(3_000);
    let again = offers(&manager.up_again("a", 2)).remove(0);
    assert_eq!(again.run.job, job(2), "at once, and before what came later");
    let third = offers(&manager.done(&again, Outcome::Succeeded)).remove(0);
    assert_eq!(third.run.job, job(3));
    assert_eq!(ids(&manager.done(&third, Outcome::Succeeded)), [job(4)]);
}

#[test]
fn a_refusal_that_is_heard_after_the_session_keeps_nothing_waiting() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let offer = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).remove(0);
    down(&mut manager, 1);
    manager.feed(stops(&offer));
    assert_eq!(ids(&manager.up_again("a", 2)), [job(1)]);
}

#[test]
fn an_agent_that_said_that_it_stops_and_stays_is_asked_again() {
    let settings = Settings { retry_max_ms: 30_000, ..Settings::default() };
    let mut manager = Manager::new(settings);
    manager.up("a");
    let plan = Plan::queued("q", 5);
    let mut given = offers(&manager.submit(1, &plan, &[("a", true)])).remove(0);
    for _ in 0..2 {
        assert_eq!(ids(&manager.feed(stops(&given))), []);
        assert_eq!(ids(&manager.later(29_999)), []);
        given = offers(&manager.later(1)).remove(0);
    }
    assert_eq!(ids(&manager.submit(2, &Plan::default(), &[("a", true)])), [job(2)], "it takes offers again");
    manager.feed(stops(&given));
    down(&mut manager, 1);
    assert_eq!(ids(&manager.later(30_000)), [], "it is away");
    assert_eq!(ids(&manager.up_again("a", 2)), [job(2), job(1)]);
}

#[test]
fn an_agent_that_stops_keeps_no_other_from_its_turn() {
    let plan = Plan::queued("q", 1);
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    manager.up("b");
    let offer = offers(&manager.submit(1, &plan, &[("a", true)])).remove(0);
    assert_eq!(ids(&manager.submit(2, &plan, &[("b", true)])), []);
    assert_eq!(ids(&manager.feed(stops(&offer))), [job(2)]);
}

#[test]
fn what_found_no_room_is_tried_when_something_ends_the_first_of_them_first() {
    for turned_away in [crowded, no_place] {
        let mut manager = Manager::new(Settings::default());
        manager.up("a");
        let mut given = Vec::new();
        for n in 1..=4 {
            given.extend(offers(&manager.submit(n, &Plan::default(), &[("a", true)])));
        }
        // the later one is refused first
        for n in [3, 2, 1] {
            assert_eq!(ids(&manager.feed(turned_away(&given[n]))), []);
        }
        let second = offers(&manager.done(&given[0], Outcome::Succeeded));
        assert_eq!(second.iter().map(|offer| offer.run.job).collect::<Vec<_>>(), [job(2)]);
        let third = offers(&manager.done(&second[0], Outcome::Succeeded)).remove(0);
        assert_eq!(third.run.job, job(3));
        // a try in vain tells nothing
        assert_eq!(ids(&manager.feed(turned_away(&third))), []);
        assert_eq!(ids(&manager.cancel(Scope::Job(job(3)), false)), []);
    }
}

#[test]
fn the_end_of_another_procedure_is_no_room_for_this_one() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let offer = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).remove(0);
    let mut submit = *Plan::default().submit(0, job(2), &[("a", true)]);
    std::sync::Arc::make_mut(&mut submit.spec).procedure = "another".to_owned();
    let other = offers(&manager.feed(Input::Submit(Box::new(submit)))).remove(0);
    manager.feed(no_place(&offer));
    assert_eq!(ids(&manager.done(&other, Outcome::Succeeded)), []);
}

#[test]
fn how_long_a_run_waits_says_how_often_it_was_put_back_and_not_how_old_it_is() {
    let mut manager = Manager::new(Settings::default());
    manager.submit(1, &Plan::default(), &[("a", false)]);
    manager.later(40 * MINUTE);
    let mut offer = offers(&manager.up("a")).remove(0);
    for wait in [1_000, 2_000, 4_000, 8_000] {
        manager.feed(crowded(&offer));
        let due = put_off_until(&manager, 1) - manager.now;
        assert!((wait..=wait + wait / 2).contains(&due), "{due} and not {wait}");
        offer = offers(&manager.later(due)).remove(0);
    }
}

#[test]
fn of_two_that_wait_for_room_the_later_one_is_not_tried_before() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let mut first = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).remove(0);
    let second = offers(&manager.submit(2, &Plan::default(), &[("a", true)])).remove(0);
    for _ in 0..4 {
        manager.feed(crowded(&first));
        let due = put_off_until(&manager, 1) - manager.now;
        first = offers(&manager.later(due)).remove(0);
    }
    manager.feed(crowded(&first));
    manager.feed(crowded(&second));
    assert!(put_off_until(&manager, 2) >= put_off_until(&manager, 1), "refused once, and five times");
}

#[test]
fn an_agent_that_says_when_to_come_is_not_asked_before() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let offer = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).remove(0);
    let other = offers(&manager.submit(2, &Plan::default(), &[("a", true)])).remove(0);
    manager.feed(refused(&offer, FaultCode::Overloaded, Some(30_000)));
    assert_eq!(ids(&manager.done(&other, Outcome::Succeeded)), []);
    assert_eq!(ids(&manager.later(29_999)), []);
    assert_eq!(ids(&manager.later(15_001)), [job(1)]);
}

#[test]
fn an_agent_that_says_when_to_come_is_asked_not_much_later_and_in_its_next_session_at_once() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let mut offer = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).remove(0);
    for n in 0..12 {
        manager.feed(refused(&offer, FaultCode::Overloaded, Some(30_000)));
        let due = put_off_until(&manager, 1) - manager.now;
        assert!((30_000..=180_000).contains(&due), "{due} ms, the {n}th time");
        assert_eq!(ids(&manager.later(due - 1)), []);
        offer = offers(&manager.later(1)).remove(0);
    }
    manager.feed(refused(&offer, FaultCode::Overloaded, Some(30_000)));
    down(&mut manager, 1);
    assert_eq!(ids(&manager.up_again("a", 2)), [job(1)], "its disk may have room now");
}

#[test]
fn the_next_session_is_asked_at_once_also_after_a_restart_of_the_manager() {
    for restarts in [false, true] {
        let mut manager = Manager::new(Settings::default());
        manager.up("a");
        let mut given = Vec::new();
        for n in 1..=2 {
            given.extend(offers(&manager.submit(n, &Plan::default(), &[("a", true)])));
        }
        for offer in given {
            manager.feed(crowded(&offer));
        }
        if restarts {
            manager.jobs = Jobs::recover(Settings::default(), manager.store.records(), manager.now);
        }
        let asked: Vec<JobId> = ids(&manager.up_again("a", 2));
        assert_eq!(asked, [job(1), job(2)], "restarts: {restarts}");
    }
}

#[test]
fn what_was_put_back_is_no_failure_of_which_the_waits_grow() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let plan = Plan { attempts: 2, idempotent: true, ..Plan::default() };
    let mut offer = offers(&manager.submit(1, &plan, &[("a", true)])).remove(0);
    for _ in 0..9 {
        manager.feed(crowded(&offer));
        let due = put_off_until(&manager, 1) - manager.now;
        offer = offers(&manager.later(due)).remove(0);
    }
    manager.done(&offer, Outcome::Failed);
    let wait = put_off_until(&manager, 1) - manager.now;
    assert!(wait <= Settings::default().retry_first_ms, "{wait} ms after the first failure");
}

#[test]
fn what_is_tried_in_vain_before_its_time_waits_no_longer_for_that() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let mut offer = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).remove(0);
    manager.feed(crowded(&offer));
    for n in 2..8 {
        let other = offers(&manager.submit(n, &Plan::default(), &[("a", true)])).remove(0);
        offer = offers(&manager.done(&other, Outcome::Succeeded)).remove(0);
        assert_eq!(offer.run.job, job(1));
        manager.feed(crowded(&offer));
        let due = put_off_until(&manager, 1) - manager.now;
        assert!(due <= 1_500, "{due} ms after {n} tries");
    }
}

#[test]
fn when_a_later_one_is_due_those_before_it_are_tried_first() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let first = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).remove(0);
    let second = offers(&manager.submit(2, &Plan::default(), &[("a", true)])).remove(0);
    // its refusal is heard before that of the first one, which waits for longer
    manager.feed(refused(&second, FaultCode::Overloaded, Some(0)));
    manager.feed(refused(&first, FaultCode::Overloaded, Some(2_000)));
    let due = put_off_until(&manager, 2);
    assert!(due < put_off_until(&manager, 1));
    assert_eq!(ids(&manager.later(due - manager.now)), [job(1), job(2)]);
}

#[test]
fn room_goes_to_the_first_whose_queue_has_a_slot() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    manager.up("b");
    let queued = Plan::queued("q", 1);
    let other = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).remove(0);
    let first = offers(&manager.submit(2, &queued, &[("a", true)])).remove(0);
    manager.feed(crowded(&first));
    let beside = offers(&manager.submit(3, &queued, &[("b", true)])).remove(0);
    let second = offers(&manager.submit(4, &Plan::default(), &[("a", true)])).remove(0);
    manager.feed(crowded(&second));
    let second = offers(&manager.done(&other, Outcome::Succeeded)).remove(0);
    assert_eq!(second.run.job, job(4), "the slot of the first one is taken");
    assert!(ids(&manager.submit(5, &queued, &[("b", true)])).is_empty());
    manager.done(&second, Outcome::Succeeded);
    // nothing runs on its agent any more whose end could let it in
    assert_eq!(ids(&manager.done(&beside, Outcome::Succeeded)), [job(2)], "it keeps its turn in its queue");
}

#[test]
fn what_looks_after_the_machine_waits_for_its_own_room() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let admin = Plan { admin: true, ..Plan::default() };
    let ends = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).remove(0);
    for (n, plan) in [(2, Plan::default()), (3, admin)] {
        let offer = offers(&manager.submit(n, &plan, &[("a", true)])).remove(0);
        manager.feed(crowded(&offer));
    }
    assert_eq!(ids(&manager.done(&ends, Outcome::Succeeded)), [job(3), job(2)]);
}

#[test]
fn what_a_stopping_agent_gave_back_keeps_its_turn_when_the_next_session_tells_of_it() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let mut given = offers(&manager.submit(1, &Plan::queued("q", 1), &[("a", true)])).remove(0);
    manager.submit(2, &Plan::queued("q", 1), &[("a", true)]);
    let accepted = |given: &Offer, connection| Input::OfferAnswered {
        agent: agent("a"),
        connection: ConnectionId(connection),
        job: given.run.job,
        dno: given.run.dno,
        answer: OfferAnswer::Accepted,
    };
    let gives_back = |given: &Offer| {
        let ending = Ending::unstarted(Outcome::Rejected, Fault::new(FaultCode::ShuttingDown, "it stops"));
        let reports = vec![RunReport { done: Some(ending), ..RunReport::about(given.run) }];
        Input::Report { token: 0, agent: agent("a"), connection: ConnectionId(2), reports }
    };
    manager.feed(accepted(&given, 1));
    down(&mut manager, 1);
    let row = ResumeRow { run: given.run, state: SpoolState::Done, next_n: 0, acked_n: 0 };
    manager.feed(Input::Resume(ResumePage {
        token: 0,
        agent: agent("a"),
        connection: ConnectionId(2),
        spool: [1; 16],
        max_dno: given.run.dno,
        last: true,
        rows: vec![row],
    }));
    given = offers(&manager.feed(gives_back(&given))).remove(0);
    assert_eq!(given.run.job, job(1), "at once, and before what came later");
    // what it gives back in this session is no word of the one before
    manager.feed(accepted(&given, 2));
    assert_eq!(ids(&manager.feed(gives_back(&given))), [job(2)]);
}
