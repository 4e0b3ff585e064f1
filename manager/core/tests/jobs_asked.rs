//! What an agent takes that may ask for jobs: its own share, and nothing without an end.

#![expect(clippy::unwrap_used, reason = "test code")]

mod jobs_support;

use std::sync::Arc;
use std::time::Duration;

use jobs_support::alone::{Manager, answers, offers};
use jobs_support::{Plan, agent, job};
use redpoll_common::job::wire::RunReport;
use redpoll_common::job::{Ending, Outcome, Submitter};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_manager_core::jobs::record::EventKind;
use redpoll_manager_core::jobs::{Effect, Input, Jobs, Offer, OfferAnswer, Refusal, Scope, Settings, Submit};

#[test]
fn one_end_that_is_asked_for_again_and_again_is_written_down_once_and_each_that_is_to_come_sooner() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let _offered = manager.submit(1, &Plan::default(), &[("a", true)]);
    for (grace_ms, written) in
        [(None, 2), (None, 0), (Some(20), 2), (None, 0), (Some(20), 0), (Some(30), 0), (Some(10), 2)]
    {
        let scope = Scope::Job(job(1));
        let cancel = Input::Cancel { token: 0, scope, grace_ms, preview: false, by: None };
        manager.jobs.handle(cancel, manager.now);
        let turn = manager.jobs.poll_turn().unwrap();
        manager.store.apply(&turn.changes);
        assert_eq!(turn.changes.len(), written, "{grace_ms:?}");
        let told = |effect: &Effect<u32>| matches!(effect, Effect::CancelOnAgent { .. });
        assert!(turn.effects.iter().any(told), "its agent is told each time");
    }
    let cancel = manager.store.run_of(job(1), &agent("a")).unwrap().cancel;
    assert_eq!(cancel.and_then(|cancel| cancel.grace_ms), Some(10), "the shortest counts");
}

#[test]
fn the_grace_of_the_job_is_what_holds_where_none_is_asked_for() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let mut submit = Plan::default().submit(0, job(1), &[("a", true)]);
    Arc::make_mut(&mut submit.spec).limits.grace = Some(Duration::from_secs(5));
    manager.feed(Input::Submit(submit));
    for (grace_ms, written) in [(Some(10_000), 2), (None, 2), (Some(10_000), 0), (Some(5_000), 0), (None, 0)]
    {
        let scope = Scope::Job(job(1));
        let cancel = Input::Cancel { token: 0, scope, grace_ms, preview: false, by: None };
        manager.jobs.handle(cancel, manager.now);
        let turn = manager.jobs.poll_turn().unwrap();
        manager.store.apply(&turn.changes);
        assert_eq!(turn.changes.len(), written, "{grace_ms:?}");
    }
}

#[test]
fn a_job_that_is_cancelled_again_is_told_of_once_more_only_for_what_was_not_asked_before() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let _offered = manager.submit(1, &Plan::default(), &[("a", true), ("b", false), ("c", false)]);
    let told = |manager: &Manager| {
        manager.store.events.iter().filter(|event| event.kind == EventKind::CancelAsked).count()
    };
    manager.cancel(Scope::Run(job(1), agent("a")), false);
    manager.cancel(Scope::Job(job(1)), false);
    assert_eq!(told(&manager), 2, "two runs of it were not asked to end before");
    manager.cancel(Scope::Job(job(1)), false);
    assert_eq!(told(&manager), 2);
}

/// A job of an agent, with so many bytes of info, on agents that are away.
fn of_agent(manager: &mut Manager, who: &str, n: u64, bytes: usize, on: &[&str]) -> Option<Refusal> {
    let info = Some(Raw::bin(&vec![0; bytes]));
    let on: Vec<(&str, bool)> = on.iter().map(|name| (*name, false)).collect();
    let submit = Plan { info, ..Plan::default() }.submit(0, job(n), &on);
    let submitter = match who {
        "anna" => submit.submitter.clone(),
        name => Submitter::agent(&agent(name)),
    };
    let effects = manager.feed(Input::Submit(Box::new(Submit { submitter, ..*submit })));
    answers(&effects).pop().unwrap().err()
}

#[test]
fn one_agent_uses_up_its_own_share_of_the_open_runs_and_nobody_elses_also_after_a_restart() {
    let settings = Settings { open_runs_of_agent: 3, ..Settings::default() };
    let mut manager = Manager::new(settings);
    let full = Some(Refusal::TooManyRunsOfAgent { open: 3, runs: 1, limit: 3 });
    assert_eq!(of_agent(&mut manager, "a", 1, 1, &["a", "b"]), None);
    assert_eq!(of_agent(&mut manager, "a", 2, 1, &["a"]), None);
    assert_eq!(of_agent(&mut manager, "a", 3, 1, &["a"]), full);
    assert_eq!(of_agent(&mut manager, "b", 4, 1, &["a"]), None);
    assert_eq!(of_agent(&mut manager, "anna", 5, 1, &["a", "b", "c", "d"]), None);
    manager.jobs = Jobs::recover(settings, manager.store.records(), manager.now);
    manager.take();
    assert_eq!(of_agent(&mut manager, "a", 6, 1, &["a"]), full);
    manager.cancel(Scope::Run(job(1), agent("b")), false);
    assert_eq!(of_agent(&mut manager, "a", 7, 1, &["a"]), None, "the end of one makes room");
    assert_eq!(of_agent(&mut manager, "a", 8, 1, &["a"]), full);
}

#[test]
fn one_agent_uses_up_its_own_share_of_the_bytes_and_nobody_elses_also_after_a_restart() {
    let settings = Settings { open_bytes_of_agent: 1_000, ..Settings::default() };
    let mut manager = Manager::new(settings);
    let full = |refusal: Option<Refusal>| {
        matches!(
            refusal,
            Some(Refusal::TooManyBytesOfAgent { bytes: 1_001.., of_job: 450..=500, limit: 1_000 })
        )
    };
    assert_eq!(of_agent(&mut manager, "a", 1, 450, &["a"]), None);
    assert_eq!(of_agent(&mut manager, "a", 2, 450, &["a"]), None);
    assert!(full(of_agent(&mut manager, "a", 3, 450, &["a"])));
    assert_eq!(of_agent(&mut manager, "b", 4, 450, &["a"]), None);
    assert_eq!(of_agent(&mut manager, "anna", 5, 4_500, &["a"]), None);
    manager.jobs = Jobs::recover(settings, manager.store.records(), manager.now);
    manager.take();
    assert!(full(of_agent(&mut manager, "a", 6, 450, &["a"])));
    manager.cancel(Scope::Job(job(1)), false);
    assert_eq!(of_agent(&mut manager, "a", 7, 450, &["a"]), None);
    assert!(full(of_agent(&mut manager, "a", 8, 450, &["a"])));
}

#[test]
fn what_an_agent_says_of_the_wait_parks_no_run_for_long() {
    const DAY: u64 = 86_400_000;
    let due = |manager: &Manager| {
        let run = manager.store.run_of(job(1), &agent("a")).unwrap();
        assert_eq!(run.state.word(), "queued");
        run.not_before_ms - manager.now
    };
    let fault = |code| Fault { retry_after_ms: Some(u64::MAX), ..Fault::new(code, "later") };
    let plan = Plan { idempotent: true, attempts: 2, ..Plan::default() };
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let Offer { agent: of, connection, run, .. } =
        offers(&manager.submit(1, &plan, &[("a", true)])).remove(0);
    let answer = OfferAnswer::Refused(fault(FaultCode::Overloaded));
    manager.feed(Input::OfferAnswered { agent: of, connection, job: run.job, dno: run.dno, answer });
    let wait = due(&manager);
    assert!((DAY..=DAY + DAY / 2).contains(&wait), "{wait}");
    let offer = offers(&manager.later(wait)).remove(0);
    let failed =
        Ending { started: Some(true), ..Ending::unstarted(Outcome::Failed, fault(FaultCode::Failed)) };
    let report = RunReport { done: Some(failed), ..RunReport::about(offer.run) };
    let (agent, connection) = (offer.agent, offer.connection);
    manager.feed(Input::Report { token: 0, agent, connection, reports: vec![report] });
    assert_eq!(due(&manager), DAY);
}
