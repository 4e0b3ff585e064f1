//! Ends whose outcome only a newer agent knows: the run is over, and how it ended is not known.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod jobs_support;

use jobs_support::alone::{Manager, offers};
use jobs_support::{Plan, agent, job};
use redpoll_common::job::wire::RunReport;
use redpoll_common::job::{Ending, Outcome, RunState};
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_manager_core::jobs::record::EventKind;
use redpoll_manager_core::jobs::{Input, Offer, Settings};

/// The end as it is read of a report with such a word.
fn report(offer: &Offer, started: Option<bool>) -> Input<u32> {
    let fault = Fault::new(FaultCode::Internal, "it ended as frozen, which this manager does not know");
    let done = Some(Ending { started, ..Ending::unstarted(Outcome::Unknown, fault) });
    let report = RunReport { done, newer_outcome: true, ..RunReport::about(offer.run) };
    let (agent, connection) = (offer.agent.clone(), offer.connection);
    Input::Report { token: 0, agent, connection, reports: vec![report] }
}

fn assert_over(manager: &Manager, started: Option<bool>, event: EventKind) {
    let run = manager.store.run_of(job(1), &agent("a")).unwrap();
    let RunState::Ended(end) = &run.state else { panic!("it is {}", run.state.word()) };
    assert_eq!((end.outcome, end.started), (Outcome::Unknown, started));
    assert!(end.fault.as_ref().unwrap().message.contains("frozen"), "the evidence is kept");
    assert!(run.corrected, "nothing replaces it");
    assert!(manager.jobs.job(job(1)).is_none(), "nothing of it is waited for");
    let kinds: Vec<EventKind> = manager.store.events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == event).count(), 1, "{kinds:?}");
}

fn offered(settings: Settings) -> (Manager, Offer) {
    let mut manager = Manager::new(settings);
    manager.up("a");
    let plan = Plan { idempotent: true, attempts: 3, ..Plan::default() };
    let offer = offers(&manager.submit(1, &plan, &[("a", true)])).pop().unwrap();
    (manager, offer)
}

#[test]
fn a_run_that_has_ended_is_not_tried_again_because_nobody_here_knows_how() {
    for (told, started) in [(Some(true), Some(true)), (Some(false), None), (None, None)] {
        let (mut manager, offer) = offered(Settings::default());
        assert_eq!(offers(&manager.feed(report(&offer, told))).len(), 0);
        assert_eq!(offers(&manager.later(1_000_000)).len(), 0);
        assert_over(&manager, started, EventKind::RunEnded);
    }
}

#[test]
fn what_is_said_of_a_run_that_was_given_up_replaces_what_was_not_known() {
    let settings = Settings { unknown_after_ms: Some(1_000), ..Settings::default() };
    let mut manager = Manager::new(settings);
    manager.up("a");
    let offer = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).pop().unwrap();
    let (agent, connection) = (offer.agent.clone(), offer.connection);
    manager.feed(Input::AgentDown { agent, connection, reason: "cut".to_owned() });
    manager.later(2_000_000);
    assert_eq!(manager.outcome(1, "a"), Some(Outcome::Unknown));
    manager.feed(report(&offer, Some(true)));
    assert_over(&manager, Some(true), EventKind::RunCorrected);
}

#[test]
fn an_outcome_that_is_unknown_never_says_that_the_run_did_not_begin() {
    let (mut manager, offer) = offered(Settings::default());
    let fault = Fault::new(FaultCode::AgentGone, "the machine went down");
    let done = Some(Ending::unstarted(Outcome::Unknown, fault));
    for n in 0..3 {
        let offer = match n {
            0 => offer.clone(),
            _ => offers(&manager.later(1_000_000)).pop().unwrap(),
        };
        let report = RunReport { done: done.clone(), ..RunReport::about(offer.run) };
        let (agent, connection) = (offer.agent, offer.connection);
        manager.feed(Input::Report { token: 0, agent, connection, reports: vec![report] });
    }
    let RunState::Ended(end) = manager.store.run_of(job(1), &agent("a")).unwrap().state.clone() else {
        panic!("three attempts are all")
    };
    assert_eq!((end.outcome, end.started), (Outcome::Unknown, None));
}
