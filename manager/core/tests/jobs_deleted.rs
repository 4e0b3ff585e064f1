//! A job is deleted once, whoever asks for it and however often; and what retention deletes in one go has an end.

mod jobs_support;

use jobs_support::alone::{Manager, answers, offers};
use jobs_support::{Plan, agent, job};
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::Submitter;
use redpoll_common::wire::Raw;
use redpoll_manager_core::jobs::record::EventKind;
use redpoll_manager_core::jobs::{Answer, Effect, Input, Jobs, ResumePage, Scope, Settings, Whose};

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
    let (stored, jobs) = manager.store.oldest(&Whose::Operators, 10);
    assert_eq!(jobs.len(), 1);
    manager.feed(Input::Delete { token: 0, job: job(1), by: None });
    manager.feed(Input::Oldest { whose: Whose::Operators, stored: Some(stored), jobs });
    assert_eq!(told(&manager), 1);
}

/// Counting takes time by what is stored: it is done once a minute, and where somebody else has deleted.
#[test]
fn retention_has_ended_jobs_counted_no_more_often_than_it_must() {
    let settings = Settings { keep_jobs: 0, prune_every_ms: 1_000_000, ..Settings::default() };
    let mut manager = Manager::new(settings);
    let mut next = 0;
    // ends jobs until they are looked for, and says whether they are counted
    let mut look = |manager: &mut Manager| {
        for _ in 0..100 {
            next += 1;
            manager.submit(next, &Plan::default(), &[("a", false)]);
            let effects = manager.cancel(Scope::Job(job(next)), false);
            let found = effects.iter().find_map(|effect| {
                if let Effect::FindOldest { count, .. } = effect { Some(*count) } else { None }
            });
            if let Some(count) = found {
                let (stored, jobs) = manager.store.oldest(&Whose::Operators, 1_000);
                let stored = count.then_some(stored);
                manager.feed(Input::Oldest { whose: Whose::Operators, stored, jobs });
                assert!(manager.store.jobs.is_empty(), "none is kept");
                return count;
            }
        }
        panic!("nothing is looked for")
    };
    assert_eq!([look(&mut manager), look(&mut manager), look(&mut manager)], [true, false, false]);
    manager.submit(1_000, &Plan::default(), &[("a", false)]);
    manager.cancel(Scope::Job(job(1_000)), false);
    manager.feed(Input::Delete { token: 0, job: job(1_000), by: Some(Submitter::operator(&agent("ada"))) });
    assert_eq!([look(&mut manager), look(&mut manager)], [true, false]);
}

#[test]
fn a_job_that_cannot_be_read_is_told_of_keeps_no_other_from_going_on_and_can_be_deleted() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let dno = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).remove(0).run.dno;
    manager.submit(2, &Plan::default(), &[("b", false)]);
    let mut records = manager.store.records();
    records.jobs.retain(|row| row.id != job(1));
    records.unreadable = vec![job(1)];
    // the row that counts the numbers of its agent may be gone as well
    records.agents.clear();
    manager.jobs = Jobs::recover(Settings::default(), records, manager.now);
    manager.take();
    let told: Vec<_> =
        manager.store.events.iter().filter(|event| event.kind == EventKind::StoreDamaged).collect();
    assert_eq!(told.iter().map(|event| event.job).collect::<Vec<_>>(), [Some(job(1))]);
    manager.up_again("b", 2);
    assert_eq!(manager.store.run_of(job(2), &agent("b")).unwrap().state.word(), "offered");
    let (agent, connection) = (agent("a"), ConnectionId(3));
    let (token, spool, last, rows) = (0, [1; 16], true, Vec::new());
    manager.feed(Input::Resume(ResumePage { token, agent, connection, spool, max_dno: dno, last, rows }));
    let next = offers(&manager.submit(3, &Plan::default(), &[("a", true)])).remove(0).run.dno;
    assert!(next > dno, "{next} was given out before");
    assert_eq!(
        answers(&manager.feed(Input::Delete { token: 0, job: job(1), by: None })),
        [Ok(Answer::Deleted)]
    );
    assert!(!manager.store.jobs.contains_key(&job(1)));
}

#[test]
fn retention_deletes_no_more_runs_at_once_than_it_may_but_always_a_job() {
    const AGENTS: [(&str, bool); 3] = [("a", false), ("b", false), ("c", false)];
    let settings = Settings { keep_ms: Some(5), prune_every_ms: 10, prune_runs: 200, ..Settings::default() };
    for (full, steps) in [(false, vec![5]), (true, vec![1, 2, 1, 1])] {
        let mut manager = Manager::new(settings);
        for n in 1..=5 {
            let agents = if n == 1 || n > 3 { &AGENTS[..] } else { &AGENTS[..1] };
            manager.submit(n, &Plan::default(), agents);
            manager.cancel(Scope::Job(job(n)), false);
        }
        manager.feed(Input::StoreFull(full));
        let mut asked = manager.later(10);
        for wanted in steps {
            assert!(asked.iter().any(|effect| matches!(effect, Effect::FindOldest { .. })), "it goes on");
            let before = manager.store.jobs.len();
            let (stored, jobs) = manager.store.oldest(&Whose::Operators, settings.prune_at_once);
            asked = manager.feed(Input::Oldest { whose: Whose::Operators, stored: Some(stored), jobs });
            assert_eq!(before - manager.store.jobs.len(), wanted, "full: {full}");
        }
        assert!(manager.store.jobs.is_empty());
    }
}

#[test]
fn when_fewer_events_are_kept_than_before_they_go_in_steps_also_after_a_restart() {
    let few = Settings { keep_events: 10, prune_events: 20, ..Settings::default() };
    let mut manager = ended(Settings::default());
    let emit = |manager: &mut Manager| {
        let name = "told".to_owned();
        manager.feed(Input::Emit { token: 0, agent: agent("a"), name, data: Raw::nil() });
    };
    (0..100).for_each(|_| emit(&mut manager));
    assert_eq!(manager.store.pruned, 0);
    manager.feed(Input::Settings(few));
    let (mut before, mut steps) = (1, 0);
    for restarts in [true, false, true, false, false, false] {
        emit(&mut manager);
        assert!(
            (before..=before + 20).contains(&manager.store.pruned),
            "{} after {before}",
            manager.store.pruned
        );
        steps += u32::from(manager.store.pruned > before);
        before = manager.store.pruned;
        if restarts {
            manager.jobs = Jobs::recover(few, manager.store.records(), manager.now);
        }
    }
    let last = manager.store.events.len() as u64;
    assert_eq!(manager.store.pruned, last - 10 + 1, "{steps} steps");
}
