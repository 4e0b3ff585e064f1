//! What an agent has no room for waits on, what the manager has none for is refused, and what is told late of a connection changes nothing.

mod jobs_support;

use jobs_support::alone::{Manager, answers, ids, offers};
use jobs_support::{Plan, agent, job};
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::wire::RunReport;
use redpoll_common::job::{Attempt, Ending, Outcome};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_manager_core::jobs::{Answer, Effect, Input, Jobs, Offer, OfferAnswer, Refusal, Scope, Settings};

fn refused(offer: &Offer, code: FaultCode) -> Input<u32> {
    let answer = OfferAnswer::Refused(Fault::new(code, "no"));
    let (agent, connection) = (offer.agent.clone(), offer.connection);
    Input::OfferAnswered { agent, connection, job: offer.run.job, dno: offer.run.dno, answer }
}

#[test]
fn a_run_that_its_agent_has_no_room_for_is_offered_again_and_that_counts_for_nothing() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let mut offer = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).remove(0);
    for _ in 0..3 {
        assert!(offers(&manager.feed(refused(&offer, FaultCode::Overloaded))).is_empty(), "not at once");
        assert_eq!(manager.outcome(1, "a"), None);
        let due = manager.jobs.poll_timeout().unwrap();
        let again = offers(&manager.later(due - manager.now)).remove(0);
        assert_eq!(again.run.attempt, Attempt(offer.run.attempt.0 + 1));
        assert!(again.run.dno > offer.run.dno, "a refusal uses the number up");
        offer = again;
    }
    manager.feed(refused(&offer, FaultCode::UnknownProcedure));
    assert_eq!(manager.outcome(1, "a"), Some(Outcome::Rejected), "another refusal is one");
}

#[test]
fn what_was_put_back_leaves_the_job_all_of_its_attempts() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let plan = Plan { attempts: 2, idempotent: true, ..Plan::default() };
    let mut offer = offers(&manager.submit(1, &plan, &[("a", true)])).remove(0);
    for (tried, put_back) in [(1, 3), (2, 2)] {
        for _ in 0..put_back {
            manager.feed(refused(&offer, FaultCode::Overloaded));
            let due = manager.jobs.poll_timeout().unwrap();
            offer = offers(&manager.later(due - manager.now)).remove(0);
        }
        manager.done(&offer, Outcome::Failed);
        assert_eq!(manager.outcome(1, "a").is_some(), tried == 2, "attempt {tried} of 2");
        if tried == 1 {
            let due = manager.jobs.poll_timeout().unwrap();
            offer = offers(&manager.later(due - manager.now)).remove(0);
        }
    }
}

#[test]
fn a_run_that_finds_no_room_in_time_expires() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let plan = Plan { start_within_ms: Some(500), ..Plan::default() };
    let offer = offers(&manager.submit(1, &plan, &[("a", true)])).remove(0);
    manager.feed(refused(&offer, FaultCode::Overloaded));
    assert!(offers(&manager.later(500)).is_empty());
    assert_eq!(manager.outcome(1, "a"), Some(Outcome::Expired));
}

#[test]
fn an_agent_gets_no_more_runs_at_a_time_than_it_may_have() {
    let mut manager = Manager::new(Settings { runs_per_agent: 2, ..Settings::default() });
    manager.up("a");
    let mut given = Vec::new();
    for n in 1..=3 {
        let plan = if n == 3 { Plan::queued("q", 5) } else { Plan::default() };
        given.extend(offers(&manager.submit(n, &plan, &[("a", true)])));
    }
    assert_eq!(given.iter().map(|offer| offer.run.job).collect::<Vec<_>>(), [job(1), job(2)]);
    let effects = manager.done(&given[0], Outcome::Succeeded);
    assert_eq!(ids(&effects), [job(3)], "the next one, as soon as there is room");
}

#[test]
fn a_beginning_that_is_told_after_its_end_begins_nothing() {
    let mut manager = Manager::new(Settings::default());
    let (a, connection) = (agent("a"), ConnectionId(7));
    manager.feed(Input::AgentDown { agent: a.clone(), connection, reason: "cut".to_owned() });
    manager.feed(Input::AgentUp { agent: a, connection });
    manager.up_again("a", 7);
    assert!(offers(&manager.submit(1, &Plan::default(), &[("a", true)])).is_empty());
    let effects = manager.up_again("a", 8);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::ResumeAnswer(..))));
    assert_eq!(ids(&effects), [job(1)]);
}

#[test]
fn what_waits_for_room_goes_on_when_a_reload_makes_some() {
    let tight = Settings { runs_per_agent: 1, ..Settings::default() };
    for queue in [None, Some(("q", 5))] {
        let mut manager = Manager::new(tight);
        manager.up("a");
        for n in 1..=2 {
            manager.submit(n, &Plan { queue, ..Plan::default() }, &[("a", true)]);
        }
        assert_eq!(ids(&manager.feed(Input::Settings(Settings::default()))), [job(2)], "{queue:?}");
    }
}

#[test]
fn a_reload_that_makes_room_at_two_agents_keeps_the_order_of_their_queue() {
    let mut manager = Manager::new(Settings { offers_per_agent: 1, ..Settings::default() });
    for name in ["a", "b"] {
        manager.up(name);
        manager.submit(if name == "a" { 1 } else { 2 }, &Plan::default(), &[(name, true)]);
    }
    let plan = Plan::queued("q", 1);
    assert_eq!(ids(&manager.submit(3, &plan, &[("b", true)])), [], "it has an offer to answer");
    assert_eq!(ids(&manager.submit(4, &plan, &[("a", true)])), []);
    assert_eq!(ids(&manager.feed(Input::Settings(Settings::default()))), [job(3)], "it was there first");
}

/// What looks after the machine, of which an agent may have two more.
fn admin() -> (Settings, Plan) {
    let settings =
        Settings { runs_per_agent: 2, offers_per_agent: 2, admin_reserve: 2, ..Settings::default() };
    (settings, Plan { admin: true, ..Plan::default() })
}

#[test]
fn what_looks_after_the_machine_does_not_wait_behind_what_fills_it() {
    let (settings, plan) = admin();
    for queue in [None, Some(("q", 9))] {
        let mut manager = Manager::new(settings);
        manager.up("a");
        for n in 1..=9 {
            // as many as there may be, and those that wait
            manager.submit(n, &Plan { queue, ..Plan::default() }, &[("a", true)]);
        }
        assert_eq!(ids(&manager.submit(10, &plan, &[("a", true)])), [job(10)], "{queue:?}");
        let queued = Plan { queue: Some(("r", 9)), ..plan.clone() };
        assert_eq!(ids(&manager.submit(11, &queued, &[("a", true)])), [job(11)], "{queue:?}");
        assert_eq!(ids(&manager.submit(12, &plan, &[("a", true)])), [], "the reserve has an end");
        let same = Plan { queue: queue.or(Some(("s", 9))), ..plan.clone() };
        assert_eq!(ids(&manager.submit(13, &same, &[("a", true)])), []);
    }
}

#[test]
fn what_looks_after_the_machine_goes_first_when_a_place_becomes_free() {
    let (settings, plan) = admin();
    for queue in [None, Some(("q", 9))] {
        let mut manager = Manager::new(settings);
        manager.up("a");
        let mut given = Vec::new();
        for n in 1..=3 {
            given.extend(offers(&manager.submit(n, &Plan { queue, ..Plan::default() }, &[("a", true)])));
        }
        for n in 4..=6 {
            given.extend(offers(&manager.submit(n, &Plan { queue, ..plan.clone() }, &[("a", true)])));
        }
        assert_eq!(given.iter().map(|offer| offer.run.job).collect::<Vec<_>>(), [1, 2, 4, 5].map(job));
        let effects = manager.done(&given[0], Outcome::Succeeded);
        assert_eq!(ids(&effects), [job(6)], "{queue:?}: 3 was there first, and has no room");
        assert_eq!(ids(&manager.done(&given[1], Outcome::Succeeded)), [], "{queue:?}");
        assert_eq!(ids(&manager.done(&given[2], Outcome::Succeeded)), [], "{queue:?}");
        assert_eq!(ids(&manager.done(&given[3], Outcome::Succeeded)), [job(3)], "{queue:?}");
    }
}

#[test]
fn what_looks_after_the_machine_on_one_agent_is_a_run_like_others_on_another() {
    let (settings, plan) = admin();
    let mut manager = Manager::new(settings);
    manager.up("a");
    manager.up("b");
    for n in 1..=3 {
        manager.submit(n, &Plan::default(), &[("a", true), ("b", true)]);
    }
    let mut submit = *plan.submit(0, job(4), &[("a", true), ("b", true)]);
    submit.admin = [agent("b")].into();
    let given = offers(&manager.feed(Input::Submit(Box::new(submit))));
    assert_eq!(given.iter().map(|offer| offer.agent.as_str()).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn what_looks_after_the_machine_does_so_after_a_restart_of_the_manager() {
    let (settings, plan) = admin();
    let mut manager = Manager::new(settings);
    for n in 1..=9 {
        manager.submit(n, &Plan::default(), &[("a", false)]);
    }
    manager.submit(10, &plan, &[("a", false)]);
    manager.jobs = Jobs::recover(settings, manager.store.records(), manager.now);
    assert_eq!(ids(&manager.up("a")), [job(10), job(1)]);
}

#[test]
fn arguments_in_memory_have_a_limit_in_bytes_also_after_a_restart() {
    let settings = Settings { open_bytes: 250, ..Settings::default() };
    let mut manager = Manager::new(settings);
    let large = Plan { info: Some(Raw::encode(&"x".repeat(90)).unwrap()), ..Plan::default() };
    let refused = |effects: &[Effect<u32>]| match answers(effects).pop() {
        Some(Err(Refusal::TooManyBytes { bytes, of_job: 90..=250, limit: 250 })) => bytes > 250,
        Some(Ok(Answer::Submitted { .. })) => false,
        other => panic!("{other:?}"),
    };
    for n in 1..=2 {
        manager.submit(n, &large, &[("a", false)]);
    }
    let submit =
        |manager: &mut Manager, n: u64| manager.feed(Input::Submit(large.submit(0, job(n), &[("a", false)])));
    assert!(refused(&submit(&mut manager, 3)));
    assert!(!manager.store.jobs.contains_key(&job(3)), "nothing was stored");
    manager.jobs = Jobs::recover(settings, manager.store.records(), 5_000);
    assert!(refused(&submit(&mut manager, 4)));
    manager.cancel(Scope::Job(job(1)), false);
    assert!(!refused(&submit(&mut manager, 5)), "the end of one makes room");
    assert!(refused(&submit(&mut manager, 6)));
}

#[test]
fn in_a_queue_an_admin_run_overtakes_nobody_also_when_both_find_room_at_once() {
    let settings = Settings { runs_per_agent: 2, admin_reserve: 1, ..Settings::default() };
    let mut manager = Manager::new(settings);
    manager.up("a");
    let admin = |plan| Plan { admin: true, ..plan };
    let first = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).remove(0);
    let second = offers(&manager.submit(2, &Plan::default(), &[("a", true)])).remove(0);
    let third = offers(&manager.submit(3, &admin(Plan::default()), &[("a", true)])).remove(0);
    assert_eq!(ids(&manager.submit(4, &Plan::queued("q", 1), &[("a", true)])), []);
    assert_eq!(ids(&manager.submit(5, &admin(Plan::queued("q", 1)), &[("a", true)])), []);
    // two end in one report, so that there is room for both
    let connection = ConnectionId(1);
    let report = |offer: &Offer| {
        let mut done = Ending::unstarted(Outcome::Succeeded, Fault::new(FaultCode::Internal, ""));
        (done.started, done.fault) = (Some(true), None);
        RunReport { done: Some(done), ..RunReport::about(offer.run) }
    };
    let reports = vec![report(&first), report(&third)];
    let effects = manager.feed(Input::Report { token: 0, agent: agent("a"), connection, reports });
    assert_eq!(ids(&effects), [job(4)], "it came first");
    assert_eq!(ids(&manager.done(&second, Outcome::Succeeded)), []);
}

fn hinted(offer: &Offer, ms: u64) -> Input<u32> {
    let fault = Fault { retry_after_ms: Some(ms), ..Fault::new(FaultCode::Overloaded, "full") };
    let (agent, connection) = (offer.agent.clone(), offer.connection);
    let (job, dno, answer) = (offer.run.job, offer.run.dno, OfferAnswer::Refused(fault));
    Input::OfferAnswered { agent, connection, job, dno, answer }
}

#[test]
fn nobody_waits_for_room_less_long_than_all_those_before_it() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let given: Vec<Offer> =
        (1..=3).map(|n| offers(&manager.submit(n, &Plan::default(), &[("a", true)])).remove(0)).collect();
    for (offer, ms) in given.iter().zip([1_000, 2_000, 1_000]) {
        manager.feed(hinted(offer, ms));
    }
    let [first, second, third] =
        [1, 2, 3].map(|n| manager.store.run_of(job(n), &agent("a")).unwrap().not_before_ms);
    assert!(first < second && second <= third, "{first} {second} {third}");
}

#[test]
fn the_end_of_what_was_not_on_the_agent_makes_no_room_there() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let offer = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).remove(0);
    manager.feed(refused(&offer, FaultCode::Overloaded));
    manager.submit(2, &Plan { held: true, ..Plan::default() }, &[("a", true)]);
    assert_eq!(ids(&manager.cancel(Scope::Job(job(2)), false)), []);
}

#[test]
fn what_was_put_back_very_often_is_tried_at_its_own_time_alone_until_its_numbers_are_used_up() {
    for (often, early) in [(999, true), (1_000, false)] {
        let mut manager = Manager::new(Settings::default());
        manager.up("a");
        let first = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).remove(0);
        let mut offer = offers(&manager.submit(2, &Plan::default(), &[("a", true)])).remove(0);
        for _ in 0..often {
            manager.feed(refused(&offer, FaultCode::Overloaded));
            let due = manager.store.run_of(job(2), &agent("a")).unwrap().not_before_ms;
            offer = offers(&manager.later(due - manager.now)).remove(0);
        }
        manager.feed(refused(&offer, FaultCode::Overloaded));
        let tried = ids(&manager.done(&first, Outcome::Succeeded));
        assert_eq!(!tried.is_empty(), early, "put back {often} times");
    }
    for (attempt, again) in [(u16::MAX - 1, true), (u16::MAX, false)] {
        let mut manager = Manager::new(Settings::default());
        manager.submit(1, &Plan::default(), &[("a", false)]);
        let row = manager.store.runs.values_mut().next().unwrap();
        (row.attempt, row.put_back) = (Attempt(attempt - 1), attempt - 1);
        manager.jobs = Jobs::recover(Settings::default(), manager.store.records(), manager.now);
        let offer = offers(&manager.up("a")).remove(0);
        assert_eq!(offer.run.attempt, Attempt(attempt));
        manager.feed(refused(&offer, FaultCode::Overloaded));
        assert_eq!(manager.outcome(1, "a"), (!again).then_some(Outcome::Rejected), "{attempt}");
    }
}

#[test]
fn what_fails_and_is_tried_again_leaves_its_place_to_what_found_none() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let plan = Plan { attempts: 2, idempotent: true, ..Plan::default() };
    let first = offers(&manager.submit(1, &plan, &[("a", true)])).remove(0);
    let second = offers(&manager.submit(2, &Plan::default(), &[("a", true)])).remove(0);
    manager.feed(refused(&second, FaultCode::Overloaded));
    assert_eq!(ids(&manager.done(&first, Outcome::Failed)), [job(2)]);
    assert_eq!(manager.outcome(1, "a"), None, "it waits");
}
