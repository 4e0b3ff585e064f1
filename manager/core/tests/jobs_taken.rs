//! What is taken in, and in which order it starts: each agent once, up to the limits and not beyond, and nothing that was cancelled.

#![expect(clippy::unwrap_used, reason = "test code")]

mod jobs_support;

use std::collections::BTreeSet;

use jobs_support::alone::{Manager, answers, ids, offers};
use jobs_support::{Plan, agent, job};
use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::job::{JobId, Outcome, QueueKey, Submitter};
use redpoll_common::wire::Raw;
use redpoll_manager_core::jobs::record::EventKind;
use redpoll_manager_core::jobs::{
    Answer, Effect, Input, Offer, OfferAnswer, Refusal, Scope, Settings, Submit,
};

fn accept(manager: &mut Manager, offer: &Offer) -> Vec<Effect<u32>> {
    let (agent, connection, job) = (offer.agent.clone(), offer.connection, offer.run.job);
    let (dno, answer) = (offer.run.dno, OfferAnswer::Accepted);
    manager.feed(Input::OfferAnswered { agent, connection, job, dno, answer })
}

fn alive_on(manager: &Manager, name: &str) -> Vec<JobId> {
    manager.jobs.alive_on(&agent(name)).collect()
}

#[test]
fn an_agent_that_a_job_names_twice_runs_it_once() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let effects =
        manager.submit(1, &Plan::default(), &[("b", false), ("a", true), ("a", true), ("b", false)]);
    assert_eq!(ids(&effects), [job(1)]);
    let record = &manager.store.jobs[&job(1)];
    assert_eq!(record.agents.iter().map(PeerId::as_str).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(manager.jobs.open_runs(), 2);
}

#[test]
fn a_procedure_that_looks_after_the_machine_does_so_in_whatever_order_the_agents_are_named() {
    let settings = Settings { runs_per_agent: 1, admin_reserve: 1, ..Settings::default() };
    let mut manager = Manager::new(settings);
    let names = ["c", "a", "b"];
    for (name, n) in names.into_iter().zip(1..) {
        manager.up(name);
        manager.submit(n, &Plan::default(), &[(name, true)]);
    }
    let plan = Plan { admin: true, ..Plan::default() };
    assert_eq!(ids(&manager.submit(9, &plan, &names.map(|name| (name, true)))).len(), 3);
}

#[test]
fn an_id_that_is_in_use_is_given_to_no_second_job() {
    let mut manager = Manager::new(Settings::default());
    manager.submit(1, &Plan::default(), &[("a", false)]);
    let again = answers(&manager.submit(1, &Plan { held: true, ..Plan::default() }, &[("b", false)]));
    assert_eq!(again, [Err(Refusal::IdemConflict { job: job(1) })]);
}

/// A job with so many bytes of info in all, on so many agents; what is said against it.
fn refusal(manager: &mut Manager, n: u64, by: Option<&str>, bytes: u64, on: usize) -> Option<Refusal> {
    // two bytes more are the arguments, which are empty, and three the head of the info
    let info = Some(Raw::bin(&vec![0; usize::try_from(bytes).unwrap() - 5]));
    let names: Vec<String> = (0..on).map(|n| format!("a{n}")).collect();
    let on: Vec<(&str, bool)> = names.iter().map(|name| (name.as_str(), false)).collect();
    let submit = Plan { info, ..Plan::default() }.submit(0, job(n), &on);
    let submitter = by.map_or_else(|| submit.submitter.clone(), |name| Submitter::agent(&agent(name)));
    let effects = manager.feed(Input::Submit(Box::new(Submit { submitter, ..*submit })));
    answers(&effects).pop().unwrap().err()
}

#[test]
fn what_just_fits_is_taken_and_one_more_of_anything_is_not() {
    let settings = Settings { open_runs: 4, open_bytes: 2_000, ..Settings::default() };
    for (bytes, on, fits) in [(1_000, 3, true), (1_001, 3, false), (1_000, 4, false)] {
        let mut manager = Manager::new(settings);
        assert_eq!(refusal(&mut manager, 1, None, 1_000, 1), None);
        assert_eq!(refusal(&mut manager, 2, None, bytes, on).is_none(), fits, "{bytes} bytes, {on} runs");
    }
    let settings = Settings { open_runs_of_agent: 4, open_bytes_of_agent: 2_000, ..Settings::default() };
    for (bytes, on, fits) in [(1_000, 3, true), (1_001, 3, false), (1_000, 4, false)] {
        let mut manager = Manager::new(settings);
        assert_eq!(refusal(&mut manager, 1, Some("x"), 1_000, 1), None);
        assert_eq!(
            refusal(&mut manager, 2, Some("x"), bytes, on).is_none(),
            fits,
            "{bytes} bytes, {on} runs"
        );
    }
}

/// Whoever is told that there is no room comes again, which for what never fits would have no end.
#[test]
fn for_what_can_never_fit_that_is_the_reason_whatever_else_is_full() {
    let settings = Settings {
        open_runs: 10,
        open_bytes: 5_000,
        open_runs_of_agent: 4,
        open_bytes_of_agent: 2_000,
        ..Settings::default()
    };
    let mut manager = Manager::new(settings);
    assert_eq!(refusal(&mut manager, 1, None, 4_990, 10), None, "nothing fits beside it");
    let said = |by, bytes, on| refusal(&mut manager, 2, by, bytes, on).unwrap();
    let mut said = said;
    let busy = Refusal::TooManyRuns { open: 10, runs: 1, limit: 10 };
    let of_agent = |bytes| Refusal::TooManyBytesOfAgent { bytes, of_job: bytes, limit: 2_000 };
    // an agent's: of just its share there may be room later
    assert_eq!(said(Some("x"), 2_000, 1), busy);
    assert_eq!(said(Some("x"), 2_001, 1), of_agent(2_001));
    assert_eq!(said(Some("x"), 5_000, 1), of_agent(5_000));
    let runs = |runs| Refusal::TooManyRunsOfAgent { open: 0, runs, limit: 4 };
    assert_eq!(said(Some("x"), 100, 4), Refusal::TooManyRuns { open: 10, runs: 4, limit: 10 });
    assert_eq!((said(Some("x"), 100, 5), said(Some("x"), 100, 10)), (runs(5), runs(10)));
    // anybody's
    assert_eq!(said(None, 5_000, 1), busy);
    let bytes = |bytes, of_job| Refusal::TooManyBytes { bytes, of_job, limit: 5_000 };
    assert_eq!(said(None, 5_001, 1), bytes(9_991, 5_001));
    assert_eq!(said(None, 5_001, 10), bytes(9_991, 5_001));
    assert_eq!(said(Some("x"), 5_001, 1), bytes(9_991, 5_001));
    assert_eq!(said(Some("x"), 5_001, 11), Refusal::TooManyRuns { open: 10, runs: 11, limit: 10 });
}

#[test]
fn what_was_cancelled_of_a_held_job_does_not_start_with_the_rest() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    manager.up("b");
    manager.submit(1, &Plan { held: true, ..Plan::default() }, &[("a", true), ("b", true)]);
    manager.cancel(Scope::Run(job(1), agent("a")), false);
    let release = Input::Release { token: 0, job: job(1), away: BTreeSet::new(), by: None };
    let given = offers(&manager.feed(release));
    assert_eq!(given.iter().map(|offer| offer.agent.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(manager.outcome(1, "a"), Some(Outcome::Cancelled));
}

#[test]
fn the_answer_to_a_cancel_names_each_job_once_and_the_history_as_well() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    manager.submit(1, &Plan::queued("q", 1), &[("a", true), ("b", false)]);
    manager.submit(2, &Plan::queued("q", 1), &[("b", false)]);
    // a run of the first job has the slot, another waits, and the second job's after it
    let effects = manager.cancel(Scope::Queue(QueueKey::text("q").unwrap()), false);
    let Some(Ok(Answer::Cancelled(cancelled))) = answers(&effects).pop() else { panic!("no answer") };
    assert_eq!(cancelled.jobs, [job(1), job(2)]);
    assert_eq!((cancelled.ended, cancelled.asked), (2, 1));
    let asked = manager.store.events.iter().filter(|event| event.kind == EventKind::CancelAsked);
    assert_eq!(asked.map(|event| event.job).collect::<Vec<_>>(), [Some(job(1)), Some(job(2))]);
}

#[test]
fn what_waits_for_room_starts_in_its_order_whether_it_is_in_a_queue_or_not() {
    let mut manager = Manager::new(Settings { offers_per_agent: 1, ..Settings::default() });
    manager.up("a");
    let mut offer = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).remove(0);
    let plans =
        [Plan::default(), Plan::queued("q", 9), Plan::default(), Plan::queued("r", 9), Plan::default()];
    for (plan, n) in plans.iter().zip(2..) {
        assert_eq!(ids(&manager.submit(n, plan, &[("a", true)])), []);
    }
    for n in 2..=6 {
        offer = offers(&accept(&mut manager, &offer)).pop().unwrap();
        assert_eq!(offer.run.job, job(n));
    }
}

#[test]
fn what_has_ended_is_on_no_agent_any_more() {
    let mut manager = Manager::new(Settings::default());
    manager.submit(1, &Plan::default(), &[("a", false), ("b", false)]);
    manager.submit(2, &Plan::default(), &[("a", false)]);
    manager.cancel(Scope::Run(job(1), agent("a")), false);
    assert_eq!((alive_on(&manager, "a"), alive_on(&manager, "b")), (vec![job(1), job(2)], vec![job(1)]));
    manager.cancel(Scope::Job(job(1)), false);
    assert_eq!((alive_on(&manager, "a"), alive_on(&manager, "b")), (vec![job(2)], vec![]));
}

#[test]
fn the_next_on_an_agent_is_not_overtaken_when_the_one_before_it_ends_with_what_had_the_slot() {
    const END: u64 = 10_000;
    let settings = Settings { unknown_after_ms: Some(END), return_ms: 0, ..Settings::default() };
    let mut manager = Manager::new(settings);
    for name in ["a", "b", "c"] {
        manager.up(name);
    }
    let plan = Plan::queued("q", 1);
    assert_eq!(ids(&manager.submit(1, &plan, &[("c", true)])), [job(1)]);
    manager.submit(2, &Plan { start_within_ms: Some(END), ..plan.clone() }, &[("a", true)]);
    manager.submit(3, &plan, &[("a", true)]);
    manager.submit(4, &plan, &[("b", true)]);
    let (agent, connection) = (agent("c"), ConnectionId(1));
    manager.feed(Input::AgentDown { agent, connection, reason: "cut".to_owned() });
    // the first is given up, and the time of the second is over
    assert_eq!(ids(&manager.later(END)), [job(3)]);
    assert_eq!(manager.outcome(2, "a"), Some(Outcome::Expired));
}
