//! What an agent cannot do that is not what it was: its certificate is good, and what it says is made up.

#![expect(clippy::unwrap_used, reason = "test code")]

mod jobs_support;

use std::sync::Arc;

use jobs_support::alone::{Manager, offers};
use jobs_support::{Plan, agent, job};
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::wire::{Ack, ResumeRow, RunReport, SpoolState};
use redpoll_common::job::{Dno, Ending, Item, ItemKind, JobSpec, Limits, Outcome, Overflow};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_manager_core::jobs::event::MAX_DETAIL;
use redpoll_manager_core::jobs::record::EventKind;
use redpoll_manager_core::jobs::{Effect, Input, Offer, OfferAnswer, ResumePage, Scope, Settings, Submit};

fn resume(manager: &mut Manager, connection: u64, max_dno: u64, rows: Vec<ResumeRow>) -> Vec<Effect<u32>> {
    let (agent, connection, max_dno) = (agent("a"), ConnectionId(connection), Dno(max_dno));
    manager.feed(Input::Resume(ResumePage {
        token: 7,
        agent,
        connection,
        spool: [1; 16],
        max_dno,
        last: true,
        rows,
    }))
}

fn refused(effects: &[Effect<u32>]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::RefuseResume { token: 7, .. }))
}

#[test]
fn numbers_that_nobody_can_have_given_out_do_not_become_the_last() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let offer = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).remove(0);
    let most = 1 << 62;
    for (n, wrong) in [most + 1, u64::MAX].into_iter().enumerate() {
        let connection = 2 + 2 * n as u64;
        assert!(refused(&resume(&mut manager, connection, wrong, Vec::new())), "{wrong}");
        let mut run = offer.run;
        run.dno = Dno(wrong);
        let row = ResumeRow { run, state: SpoolState::Running, next_n: 0, acked_n: 0 };
        assert!(
            refused(&resume(&mut manager, connection + 1, offer.run.dno.0 + 1, vec![row])),
            "a row of {wrong}"
        );
    }
    assert_eq!(manager.store.agents[&agent("a")].last_dno, offer.run.dno);
    // as with a store that was put back
    assert!(!refused(&resume(&mut manager, 9, most, Vec::new())));
    let next = offers(&manager.submit(2, &Plan::default(), &[("a", true)])).remove(0);
    assert_eq!(next.run.dno.0, most + 1);
    // what was given out is possible, and what is a little beyond
    assert!(!refused(&resume(&mut manager, 10, most + 1, Vec::new())));
    assert!(refused(&resume(&mut manager, 11, most + 9 + (1 << 32), Vec::new())));
}

#[test]
fn numbers_that_nobody_can_have_given_out_are_told_once_a_session_and_keep_runs_away_alone() {
    let mut manager = Manager::new(Settings::default());
    let mut told = |connection| {
        let effects = resume(&mut manager, connection, u64::MAX, Vec::new());
        let first = |effect: &Effect<u32>| {
            if let Effect::RefuseResume { first, .. } = effect { Some(*first) } else { None }
        };
        effects.iter().find_map(first)
    };
    assert_eq!([told(2), told(2), told(3)], [Some(true), Some(false), Some(true)]);
    let run = manager.submit(1, &Plan::default(), &[("a", true)]);
    assert!(offers(&run).is_empty());
    // a spool that is new is another one
    let effects = resume(&mut manager, 3, 0, Vec::new());
    assert_eq!(offers(&effects).len(), 1);
}

#[test]
fn a_run_is_not_offered_without_a_pause_to_an_agent_that_has_nothing_of_it_each_time() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let mut offer = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).remove(0);
    let absent = |manager: &mut Manager, Offer { agent, connection, run, .. }: Offer| {
        let answer = OfferAnswer::Known(SpoolState::Absent);
        offers(&manager.feed(Input::OfferAnswered { agent, connection, job: run.job, dno: run.dno, answer }))
    };
    for round in 1..=3 {
        let attempt = offer.run.attempt;
        let again = absent(&mut manager, offer).remove(0);
        assert_eq!((again.run.attempt.0, attempt.0), (round, round), "once it is believed");
        assert!(absent(&mut manager, again).is_empty(), "{round}");
        let run = manager.store.run_of(job(1), &agent("a")).unwrap();
        assert_eq!((run.state.word(), run.put_back), ("queued", round));
        let wait = run.not_before_ms - manager.now;
        assert!(manager.later(wait - 1).is_empty());
        offer = offers(&manager.later(1)).remove(0);
    }
}

/// A job whose run gives output under these limits; its offer.
fn giving(limits: Limits) -> (Manager, Offer) {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let submit = Plan::default().submit(0, job(1), &[("a", true)]);
    let spec = Arc::new(JobSpec { limits, ..JobSpec::clone(&submit.spec) });
    let offer = offers(&manager.feed(Input::Submit(Box::new(Submit { spec, ..*submit })))).remove(0);
    (manager, offer)
}

fn items(from: u64, count: u64, bytes: usize) -> Vec<Item> {
    let data = Raw::bin(&vec![0; bytes]);
    (from..from + count).map(|n| Item { n, kind: ItemKind::Stdout, data: data.clone() }).collect()
}

fn report(manager: &mut Manager, offer: &Offer, items: Vec<Item>) -> Ack {
    let report = RunReport { started_ms_ago: Some(0), items, ..RunReport::about(offer.run) };
    let (agent, connection) = (offer.agent.clone(), offer.connection);
    let effects = manager.feed(Input::Report { token: 0, agent, connection, reports: vec![report] });
    acked(&effects)
}

fn acked(effects: &[Effect<u32>]) -> Ack {
    let of = |effect: &Effect<u32>| {
        if let Effect::AckReport(_, acks) = effect { acks.first().copied() } else { None }
    };
    effects.iter().find_map(of).unwrap()
}

#[test]
fn a_run_that_gives_far_more_than_its_limit_is_ended_and_what_it_gave_too_much_is_not_stored() {
    let (mut manager, offer) = giving(Limits { output: Some(1 << 20), ..Limits::default() });
    // a quarter and a mebibyte beyond it; 32 bytes are counted for each beside its own and a head
    let (chunk, most) = (100_000, (1 << 20) / 4 * 5 + (1 << 20));
    let cost = items(0, 1, chunk).remove(0).cost();
    for n in 0..most / cost {
        // what is told twice counts once
        for _ in 0..2 {
            let ack = report(&mut manager, &offer, items(n, 1, chunk));
            assert_eq!((ack.next_n, ack.done, ack.stop), (n + 1, false, false));
        }
    }
    let ack = report(&mut manager, &offer, items(most / cost, 1, chunk));
    assert!(ack.done && ack.stop, "{ack:?}");
    let run = manager.store.run_of(job(1), &agent("a")).unwrap();
    let Ending { outcome, started, items: kept, fault, .. } = run.state.ending().unwrap();
    assert_eq!((*outcome, *started, *kept), (Outcome::Failed, Some(true), most / cost));
    assert_eq!(fault.as_ref().unwrap().code, FaultCode::TooLarge);
    assert!(report(&mut manager, &offer, items(most / cost, 1, chunk)).stop, "it is over");
    assert_eq!(manager.store.run_of(job(1), &agent("a")).unwrap().items, most / cost);
}

#[test]
fn a_run_of_which_all_output_is_wanted_may_give_any_amount() {
    let limits = Limits { output: Some(1024), overflow: Overflow::Block, ..Limits::default() };
    let (mut manager, offer) = giving(limits);
    for n in 0..30 {
        assert!(!report(&mut manager, &offer, items(n, 1, 100_000)).stop);
    }
}

/// What the machine says of a report, of which nothing is applied: the tests' store wants all items.
fn next_n(manager: &mut Manager, offer: &Offer, items: Vec<Item>) -> u64 {
    let (agent, connection) = (offer.agent.clone(), offer.connection);
    let reports = vec![RunReport { items, ..RunReport::about(offer.run) }];
    manager.jobs.handle(Input::Report { token: 0, agent, connection, reports }, manager.now);
    acked(&manager.jobs.poll_turn().unwrap().effects).next_n
}

#[test]
fn items_that_are_numbered_to_the_end_are_not_taken() {
    let (mut manager, offer) = giving(Limits::default());
    let row = ResumeRow { run: offer.run, state: SpoolState::Running, next_n: u64::MAX, acked_n: u64::MAX };
    let (agent, connection, max_dno) = (agent("a"), ConnectionId(2), offer.run.dno);
    let (spool, rows) = ([1; 16], vec![row]);
    let page = ResumePage { token: 7, agent, connection, spool, max_dno, last: true, rows };
    manager.jobs.handle(Input::Resume(page), manager.now);
    let _told = manager.jobs.poll_turn().unwrap();
    let offer = Offer { connection, ..offer };
    let last = Item { n: u64::MAX, ..items(0, 1, 1).remove(0) };
    let next = next_n(&mut manager, &offer, vec![last.clone(), last]);
    assert!(next < 1 << 50, "{next}");
    assert_eq!(next_n(&mut manager, &offer, items(next, 2, 1)), next, "nor beyond");
}

#[test]
fn what_an_agent_says_makes_no_event_long() {
    let mut manager = Manager::new(Settings::default());
    for (connection, reason) in [(1, "\u{1b}".repeat(10_000)), (2, "ä".repeat(10_000))] {
        manager.up_again("a", connection);
        let (agent, connection) = (agent("a"), ConnectionId(connection));
        manager.feed(Input::AgentDown { agent, connection, reason });
    }
    let (agent, operator) = (agent("a"), "anna".to_owned());
    manager.feed(Input::Switched { token: 0, agent, procedure: "ä".repeat(9_999), on: true, operator });
    let of = |kind| manager.store.events.iter().filter(move |event| event.kind == kind);
    let left = of(EventKind::AgentDisconnected).map(|event| event.detail.clone().unwrap());
    assert!(left.into_iter().all(|detail| detail.len() <= 256 && !detail.contains('\u{1b}')));
    let switched = of(EventKind::ProcedureEnabled).next().unwrap().detail.clone().unwrap();
    assert!(switched.len() <= MAX_DETAIL && switched.ends_with('…'), "{}", switched.len());
}

#[test]
fn each_attempt_that_ran_may_give_as_much_and_one_that_was_put_back_adds_nothing() {
    // what one may give: a quarter and a mebibyte beyond its limit
    let (limit, chunk) = (1 << 20, 100_000);
    let most = (limit / 4 * 5 + (1 << 20)) / items(0, 1, chunk).remove(0).cost();
    let next = |manager: &mut Manager| offers(&manager.later(600_000)).remove(0);
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let plan = Plan { attempts: 2, idempotent: true, ..Plan::default() };
    let submit = plan.submit(0, job(1), &[("a", true)]);
    let limits = Limits { output: Some(limit), ..Limits::default() };
    let spec = Arc::new(JobSpec { limits, ..JobSpec::clone(&submit.spec) });
    let offer = offers(&manager.feed(Input::Submit(Box::new(Submit { spec, ..*submit })))).remove(0);
    let answer = OfferAnswer::Refused(Fault::new(FaultCode::Overloaded, "full"));
    let (dno, connection) = (offer.run.dno, offer.connection);
    manager.feed(Input::OfferAnswered { agent: agent("a"), connection, job: job(1), dno, answer });
    let first = next(&mut manager);
    for n in 0..most {
        assert!(!report(&mut manager, &first, items(n, 1, chunk)).stop);
    }
    manager.done(&first, Outcome::Failed);
    let second = next(&mut manager);
    for n in 0..most {
        assert!(!report(&mut manager, &second, items(n, 1, chunk)).stop, "item {n}");
    }
    assert!(report(&mut manager, &second, items(most, 2, chunk)).stop, "twice as much, and no more");
}

#[test]
fn what_an_older_session_says_of_a_cancel_ends_nothing() {
    let (mut manager, offer) = giving(Limits::default());
    manager.cancel(Scope::Job(job(1)), false);
    resume(
        &mut manager,
        2,
        1,
        vec![ResumeRow { run: offer.run, state: SpoolState::Received, next_n: 0, acked_n: 0 }],
    );
    for (connection, of_job) in [(1, job(1)), (2, job(2))] {
        let (agent, connection, dno) = (agent("a"), ConnectionId(connection), offer.run.dno);
        manager.feed(Input::CancelAnswered {
            agent,
            connection,
            job: of_job,
            dno,
            state: SpoolState::Absent,
        });
        assert_eq!(manager.outcome(1, "a"), None);
    }
}
