//! What nobody may see of arguments is masked with the end of the job, whenever it became known and however the job ended.

mod jobs_support;

use std::sync::Arc;

use jobs_support::alone::{Manager, offers};
use jobs_support::{Plan, agent, job};
use redpoll_common::job::wire::RunReport;
use redpoll_common::job::{Ending, Outcome, Submitter, secret};
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_manager_core::jobs::{Ended, Found, Input, Offer, Scope, Settings, Submit};

const PIN: &str = "kwargs.pin";
const KEY: &str = "args.0";

fn paths(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|&path| path.to_owned()).collect()
}

fn ending(outcome: Outcome) -> Ending {
    let fault = (outcome != Outcome::Succeeded).then(|| Fault::new(FaultCode::Failed, "no"));
    Ending { outcome, started: Some(true), result: None, fault, items: 0, duration_ms: None }
}

fn report(manager: &mut Manager, offer: &Offer, done: Option<Outcome>, redact: &[&str]) {
    let report = RunReport { done: done.map(ending), redact: paths(redact), ..RunReport::about(offer.run) };
    let (agent, connection) = (offer.agent.clone(), offer.connection);
    manager.feed(Input::Report { token: 0, agent, connection, reports: vec![report] });
}

fn redact(manager: &mut Manager, path: &str) {
    manager.feed(Input::Redact { job: job(1), paths: paths(&[path]) });
}

/// A job on one agent that is there; its offer.
fn offered(settings: Settings) -> (Manager, Offer) {
    let mut manager = Manager::new(settings);
    manager.up("a");
    let offer = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).remove(0);
    (manager, offer)
}

fn masked(manager: &Manager) -> Option<Vec<String>> {
    manager.store.masked.get(&job(1)).cloned()
}

#[test]
fn what_was_known_at_the_submit_what_became_known_later_and_what_came_with_the_end_is_masked() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let submit = Plan::default().submit(0, job(1), &[("a", true)]);
    let submit = Submit { redact: Arc::from(paths(&["kwargs.first"])), ..*submit };
    let offer = offers(&manager.feed(Input::Submit(Box::new(submit)))).remove(0);
    redact(&mut manager, KEY);
    redact(&mut manager, KEY);
    assert_eq!(manager.store.jobs[&job(1)].redact.to_vec(), paths(&["kwargs.first", KEY]));
    assert_eq!(masked(&manager), None, "it runs");
    report(&mut manager, &offer, Some(Outcome::Failed), &[PIN]);
    assert_eq!(masked(&manager), Some(paths(&["kwargs.first", KEY, PIN])));
}

#[test]
fn a_job_that_never_reached_its_agent_is_masked_by_what_became_known_meanwhile() {
    let mut manager = Manager::new(Settings::default());
    manager.submit(1, &Plan::default(), &[("a", false)]);
    redact(&mut manager, PIN);
    manager.cancel(Scope::Job(job(1)), false);
    assert_eq!(manager.outcome(1, "a"), Some(Outcome::Cancelled));
    assert_eq!(masked(&manager), Some(paths(&[PIN])));
}

#[test]
fn a_job_without_secrets_is_not_masked_and_one_that_is_gone_neither() {
    let (mut manager, offer) = offered(Settings::default());
    report(&mut manager, &offer, Some(Outcome::Succeeded), &[]);
    redact(&mut manager, PIN);
    assert_eq!((manager.outcome(1, "a"), masked(&manager)), (Some(Outcome::Succeeded), None));
}

#[test]
fn what_comes_without_an_end_that_is_taken_is_not_noted() {
    let (mut manager, offer) = offered(Settings::default());
    report(&mut manager, &offer, None, &[PIN]);
    let done = Ending { items: 1, ..ending(Outcome::Succeeded) };
    let early = RunReport { done: Some(done), redact: paths(&[PIN]), ..RunReport::about(offer.run) };
    let (agent, connection) = (offer.agent.clone(), offer.connection);
    manager.feed(Input::Report { token: 0, agent, connection, reports: vec![early.clone(), early] });
    assert!(manager.store.jobs[&job(1)].redact.is_empty());
    report(&mut manager, &offer, Some(Outcome::Succeeded), &[PIN]);
    assert_eq!(masked(&manager), Some(paths(&[PIN])));
}

#[test]
fn of_more_paths_than_a_job_may_have_everything_is_masked_and_nothing_is_added_any_more() {
    let many =
        |from: usize| (from..from + secret::MAX_SECRET_PATHS).map(|n| format!("kwargs.p{n}")).collect();
    let (mut manager, offer) = offered(Settings::default());
    manager.feed(Input::Redact { job: job(1), paths: many(0) });
    assert_eq!(manager.store.jobs[&job(1)].redact.len(), secret::MAX_SECRET_PATHS);
    manager.feed(Input::Redact { job: job(1), paths: many(1) });
    for path in [PIN, KEY] {
        assert_eq!(manager.store.jobs[&job(1)].redact.to_vec(), secret::everything());
        redact(&mut manager, path);
    }
    report(&mut manager, &offer, Some(Outcome::Succeeded), &[PIN]);
    assert_eq!(masked(&manager), Some(secret::everything()));
}

#[test]
fn a_submit_with_too_many_paths_is_masked_as_a_whole() {
    let mut manager = Manager::new(Settings::default());
    let submit = Plan::default().submit(0, job(1), &[("a", false)]);
    let redact = (0..=secret::MAX_SECRET_PATHS).map(|n| format!("kwargs.p{n}")).collect();
    manager.feed(Input::Submit(Box::new(Submit { redact, ..*submit })));
    assert_eq!(manager.store.jobs[&job(1)].redact.to_vec(), secret::everything());
}

#[test]
fn what_comes_with_another_dispatch_says_nothing_of_this_one() {
    let (mut manager, offer) = offered(Settings::default());
    let mut other = offer;
    other.run.dno.0 += 1;
    report(&mut manager, &other, Some(Outcome::Succeeded), &[PIN]);
    assert!(manager.store.jobs[&job(1)].redact.is_empty());
}

#[test]
fn an_unknown_end_is_masked_as_soon_as_it_is_known_what_of_it_and_again_when_it_is_corrected() {
    let settings = Settings { unknown_after_ms: Some(1_000), ..Settings::default() };
    let (mut manager, offer) = offered(settings);
    report(&mut manager, &offer, None, &[]);
    let (agent, connection) = (agent("a"), offer.connection);
    manager.feed(Input::AgentDown { agent, connection, reason: "gone".into() });
    manager.later(5_000);
    assert_eq!((manager.outcome(1, "a"), masked(&manager)), (Some(Outcome::Unknown), None));
    redact(&mut manager, KEY);
    assert_eq!(masked(&manager), Some(paths(&[KEY])));
    report(&mut manager, &offer, Some(Outcome::Succeeded), &[PIN]);
    assert_eq!(manager.outcome(1, "a"), Some(Outcome::Succeeded));
    assert_eq!(masked(&manager), Some(paths(&[KEY, PIN])));
}

#[test]
fn a_recorded_run_is_masked_in_the_turn_that_stores_it() {
    for outcome in [Outcome::Succeeded, Outcome::Unknown] {
        let mut manager = Manager::new(Settings::default());
        let plan = Plan { key: Some("k".into()), ..Plan::default() };
        let submit = plan.submit(0, job(1), &[("a", true)]);
        let submitter = Submitter::agent(&agent("a"));
        let submit = Submit { submitter: submitter.clone(), redact: Arc::from(paths(&[PIN])), ..*submit };
        let ended = Ended { ending: ending(outcome), started_ms_ago: None, items: Vec::new(), dropped: 0 };
        manager.feed(Input::Record(Box::new(submit), Box::new(ended)));
        assert_eq!(masked(&manager), None);
        manager.feed(Input::KeyFound { submitter, key: "k".into(), look: 1, found: Found::Free });
        assert_eq!(masked(&manager), Some(paths(&[PIN])), "{outcome}");
        // it is over, also when nobody knows how it ended
        redact(&mut manager, KEY);
        assert_eq!(masked(&manager), Some(paths(&[PIN])), "{outcome}");
    }
}
