//! A job is deleted once, whoever asks for it and however often.

mod jobs_support;

use jobs_support::alone::{Manager, answers};
use jobs_support::{Plan, job};
use redpoll_manager_core::jobs::record::EventKind;
use redpoll_manager_core::jobs::{Answer, Effect, Input, Scope, Settings};

fn ended(settings: Settings) -> Manager {
    let mut manager = Manager::new(settings);
    manager.submit(1, &Plan::default(), &[("a", false)]);
    manager.cancel(Scope::Job(job(1)), false);
    manager
}

fn told(manager: &Manager) -> usize {
    manager.store.events.iter().filter(|event| event.kind == EventKind::JobDeleted).count()
}

#[test]
fn two_who_saw_the_same_job_delete_it_once() {
    let mut manager = ended(Settings::default());
    for _ in 0..2 {
        let effects = manager.feed(Input::Delete { token: 0, job: job(1), by: None });
        assert_eq!(answers(&effects), [Ok(Answer::Deleted)]);
    }
    assert_eq!(told(&manager), 1);
}

#[test]
fn retention_deletes_nothing_that_was_deleted_while_it_looked() {
    let mut manager = ended(Settings { keep_ms: Some(5), prune_every_ms: 10, ..Settings::default() });
    assert!(manager.later(10).iter().any(|effect| matches!(effect, Effect::FindOldest { .. })));
    let (stored, jobs) = manager.store.oldest(10);
    assert_eq!(jobs.len(), 1);
    manager.feed(Input::Delete { token: 0, job: job(1), by: None });
    manager.feed(Input::Oldest { stored, jobs });
    assert_eq!(told(&manager), 1);
}
