//! Runs that agents made by themselves, and events of theirs: one turn, once per key.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod jobs_support;

use jobs_support::alone::{Manager, answers};
use jobs_support::{Plan, agent, job};
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::wire::{Ack, RunRef, RunReport};
use redpoll_common::job::{Attempt, Dno, Ending, Item, ItemKind, JobId, Outcome, RunState, Submitter};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_manager_core::jobs::record::{EventKind, RunRecord};
use redpoll_manager_core::jobs::{
    Answer, Effect, Ended, Found, Input, Jobs, Refusal, Scope, Settings, Submit,
};

fn manager() -> Manager {
    Manager { now: 10_000, ..Manager::new(Settings { prune_every_ms: 10_000_000, ..Settings::default() }) }
}

fn ending(outcome: Outcome) -> Ending {
    let started = match outcome {
        Outcome::Rejected | Outcome::Expired => Some(false),
        Outcome::Unknown => None,
        Outcome::Succeeded | Outcome::Failed | Outcome::Cancelled | Outcome::TimedOut => Some(true),
    };
    let fault = (outcome != Outcome::Succeeded).then(|| Fault::new(FaultCode::Failed, "it failed"));
    let result = (outcome == Outcome::Succeeded).then(Raw::nil);
    Ending { outcome, started, result, fault, items: 77, duration_ms: Some(5) }
}

fn ended(outcome: Outcome) -> Ended {
    let items = (0..2).map(|n| Item { n, kind: ItemKind::Value, data: Raw::encode(&n).unwrap() }).collect();
    Ended { ending: ending(outcome), started_ms_ago: Some(4_000), items, dropped: 0 }
}

fn submit(n: u64, key: &str) -> Box<Submit<u32>> {
    let plan = Plan { key: Some(key.to_owned()), ..Plan::default() };
    let submit = plan.submit(u32::try_from(n).unwrap(), job(n), &[("a", true)]);
    Box::new(Submit { submitter: Submitter::agent(&agent("a")), ..*submit })
}

/// Has a run of this agent recorded, without a key; looks for the oldest are answered as a store would.
fn record_of(manager: &mut Manager, name: &str, n: u64) {
    let submit = Plan::default().submit(0, job(n), &[(name, true)]);
    let submit = Submit { submitter: Submitter::agent(&agent(name)), ..*submit };
    let effects = manager.feed(Input::Record(Box::new(submit), Box::new(ended(Outcome::Succeeded))));
    answer_looks(manager, effects);
}

fn answer_looks(manager: &mut Manager, mut effects: Vec<Effect<u32>>) {
    while let Some(place) = effects.iter().position(|effect| matches!(effect, Effect::FindOldest { .. })) {
        let Effect::FindOldest { whose, limit, count } = effects.remove(place) else {
            panic!("not what was found")
        };
        let (stored, jobs) = manager.store.oldest(&whose, limit);
        effects.extend(manager.feed(Input::Oldest { whose, stored: count.then_some(stored), jobs }));
    }
}

/// The number of an agent's jobs is not what has ended since the start: age takes them, too.
#[test]
fn what_age_took_of_an_agent_takes_nothing_else_with_it() {
    let settings =
        Settings { keep_ms: Some(1_000), keep_per_agent: 10, prune_every_ms: 500, ..Settings::default() };
    let mut manager = Manager::new(settings);
    for n in 1..=500 {
        record_of(&mut manager, "a", n);
        let gone: Vec<u64> =
            (n.saturating_sub(4)..=n).filter(|n| !manager.store.jobs.contains_key(&job(*n))).collect();
        assert!(
            gone.len() <= usize::from(n < 5),
            "of the last five, none is older than a second: {gone:?} after {n}"
        );
        let effects = manager.later(200);
        answer_looks(&mut manager, effects);
    }
    assert!(manager.store.jobs.len() < 20, "age takes them");
}

/// Tells of a run; what the store has under the key is asked for, and answered as a store would.
fn record(manager: &mut Manager, n: u64, key: &str, ended: Ended) -> Vec<Effect<u32>> {
    let mut effects = manager.feed(Input::Record(submit(n, key), Box::new(ended)));
    let asked = effects.iter().position(|effect| matches!(effect, Effect::FindKey { .. }));
    if let Some(place) = asked {
        let Effect::FindKey { submitter, key, look } = effects.remove(place) else {
            panic!("not what was found")
        };
        let found = manager.store.find_key(&submitter, &key);
        effects.extend(manager.feed(Input::KeyFound { submitter, key, look, found }));
    }
    effects
}

fn run(manager: &Manager, n: u64) -> &RunRecord {
    manager.store.run_of(job(n), &agent("a")).unwrap()
}

#[test]
fn every_outcome_becomes_a_job_that_has_ended_and_one_event() {
    for outcome in Outcome::ALL {
        let mut manager = manager();
        let effects = record(&mut manager, 1, "k", ended(outcome));
        assert_eq!(answers(&effects), [Ok(Answer::Submitted { job: job(1), existing: false })], "{outcome}");
        let stored = &manager.store.jobs[&job(1)];
        assert_eq!((stored.submitter.as_str(), stored.ended_ms), ("agent:a", Some(10_000)));
        assert_eq!(stored.summary.unwrap().outcome(), Some(outcome));
        let run = run(&manager, 1);
        let RunState::Ended(found) = &run.state else { panic!("{outcome}: it has not ended") };
        assert_eq!(**found, Ending { items: 2, ..ending(outcome) }, "{outcome}");
        assert_eq!((run.attempt, run.dno, run.items), (Attempt(1), Dno(0), 2));
        assert_eq!((run.started_ms, run.ended_ms), (Some(6_000), Some(10_000)));
        assert_eq!(manager.store.items.values().map(Vec::len).sum::<usize>(), 2);
        let [event] = manager.store.events.as_slice() else { panic!("{:?}", manager.store.events) };
        assert_eq!(
            (event.kind, event.job, event.outcome),
            (EventKind::JobRecorded, Some(job(1)), Some(outcome))
        );
        assert_eq!(event.agent, Some(agent("a")));
        assert_eq!(manager.jobs.open_runs(), 0);
        // no evidence can name it: it is in the store alone
        assert!(manager.jobs.job(job(1)).is_none() && manager.store.records().jobs.is_empty(), "{outcome}");
    }
}

#[test]
fn the_same_key_again_is_the_same_job_whatever_else_is_told() {
    for outcome in [Outcome::Succeeded, Outcome::Unknown] {
        let mut manager = manager();
        record(&mut manager, 1, "k", ended(outcome));
        manager.now += 60_000;
        let late = Ended { started_ms_ago: Some(64_000), dropped: 3, ..ended(Outcome::Failed) };
        let again = record(&mut manager, 2, "k", late);
        assert_eq!(answers(&again), [Ok(Answer::Submitted { job: job(1), existing: true })]);
        assert_eq!((manager.store.jobs.len(), manager.store.events.len()), (1, 1));
        assert_eq!(run(&manager, 1).state.ending().unwrap().outcome, outcome);
        record(&mut manager, 3, "other", ended(outcome));
        assert_eq!(manager.store.jobs.len(), 2);
    }
}

#[test]
fn a_recorded_run_began_no_later_than_it_took_its_time_and_never_before_the_count() {
    for (ago, lasted, told) in [(4_000, 1_000, Some(96_000)), (0, 7_000, Some(93_000)), (200_000, 1, None)] {
        let mut manager = manager();
        manager.now = 100_000;
        let ending = Ending { duration_ms: Some(lasted), ..ending(Outcome::Succeeded) };
        record(
            &mut manager,
            1,
            "k",
            Ended { ending, started_ms_ago: Some(ago), items: Vec::new(), dropped: 0 },
        );
        assert_eq!(run(&manager, 1).started_ms, told, "{ago} {lasted}");
    }
}

#[test]
fn two_that_wait_for_one_lookup_become_one_job() {
    let mut manager = manager();
    for n in 1..=2 {
        manager.feed(Input::Record(submit(n, "k"), Box::new(ended(Outcome::Succeeded))));
    }
    let submitter = Submitter::agent(&agent("a"));
    let effects = manager.feed(Input::KeyFound { submitter, key: "k".into(), look: 1, found: Found::Free });
    let existing = |job: JobId, existing| Ok(Answer::Submitted { job, existing });
    assert_eq!(answers(&effects), [existing(job(1), false), existing(job(1), true)]);
    assert_eq!(manager.store.jobs.len(), 1);
}

#[test]
fn what_is_recorded_neither_counts_as_open_nor_reaches_an_agent() {
    let mut manager = Manager::new(Settings { open_runs: 1, ..Settings::default() });
    manager.up("a");
    let offered = manager.submit(9, &Plan::default(), &[("a", true)]);
    assert_eq!(jobs_support::alone::offers(&offered).len(), 1, "the only place is taken");
    let effects = record(&mut manager, 1, "k", ended(Outcome::Succeeded));
    assert!(answers(&effects)[0].is_ok() && jobs_support::alone::offers(&effects).is_empty());
    assert_eq!(manager.jobs.open_runs(), 1);
}

#[test]
fn however_many_ended_as_unknown_nobody_is_kept_from_submitting_and_no_start_reads_them() {
    let settings = Settings { open_bytes: 250, ..Settings::default() };
    let mut manager = Manager::new(settings);
    let large = |mut submit: Submit<u32>| {
        std::sync::Arc::make_mut(&mut submit.spec).kwargs = Raw::text(&"x".repeat(90));
        Box::new(submit)
    };
    for n in 1..=10 {
        let mut submit = large(*submit(n, "k"));
        std::sync::Arc::make_mut(&mut submit.spec).key = None;
        let effects = manager.feed(Input::Record(submit, Box::new(ended(Outcome::Unknown))));
        assert!(answers(&effects)[0].is_ok());
        assert!(manager.jobs.job(job(n)).is_none());
    }
    let effects = manager.feed(Input::Submit(large(*Plan::default().submit(0, job(11), &[("a", true)]))));
    assert_eq!(answers(&effects), [Ok(Answer::Submitted { job: job(11), existing: false })]);
    assert_eq!(manager.store.records().jobs.len(), 1, "the one that waits");
}

#[test]
fn what_an_earlier_version_kept_of_them_is_over_with_the_next_start() {
    let mut manager = manager();
    record(&mut manager, 1, "k", ended(Outcome::Unknown));
    let mut records = manager.store.records();
    records.jobs.extend(manager.store.jobs.values().cloned());
    records.runs.extend(manager.store.runs.values().cloned());
    manager.jobs = Jobs::recover(Settings::default(), records, manager.now);
    assert!(manager.jobs.job(job(1)).is_none());
    let again = record(&mut manager, 2, "k", ended(Outcome::Unknown));
    assert_eq!(answers(&again), [Ok(Answer::Submitted { job: job(1), existing: true })]);
}

#[test]
fn a_report_corrects_no_run_that_was_recorded() {
    let mut manager = manager();
    record(&mut manager, 1, "k", ended(Outcome::Unknown));
    let about = RunRef { job: job(1), attempt: Attempt(1), dno: Dno(0) };
    let reports = vec![RunReport { done: Some(ending(Outcome::Succeeded)), ..RunReport::about(about) }];
    let connection = ConnectionId(1);
    let effects = manager.feed(Input::Report { token: 0, agent: agent("a"), connection, reports });
    let acks = effects.iter().find_map(|effect| {
        if let Effect::AckReport(_, acks) = effect { Some(acks.as_slice()) } else { None }
    });
    assert!(matches!(acks, Some([Ack { done: true, stop: false, .. }])), "nobody waits for it: {acks:?}");
    assert_eq!(manager.outcome(1, "a"), Some(Outcome::Unknown));
}

#[test]
fn what_an_agent_has_recorded_pushes_out_what_it_had_before_and_nothing_of_others() {
    let kept = |manager: &Manager, name: &str| {
        let submitter = Submitter::agent(&agent(name));
        manager.store.jobs.values().filter(|job| job.submitter == submitter).count()
    };
    let settings =
        Settings { keep_jobs: 1, keep_of_agents: 1_000, keep_per_agent: 10, ..Settings::default() };
    let mut manager = Manager { now: 10_000, ..Manager::new(settings) };
    manager.submit(1, &Plan::default(), &[("a", false)]);
    manager.cancel(Scope::Job(job(1)), false);
    record_of(&mut manager, "b", 2);
    for n in 3..1_003 {
        manager.now += 1;
        record_of(&mut manager, "a", n);
    }
    assert!(manager.store.jobs.contains_key(&job(1)), "an operator's, which ended before");
    assert!(manager.store.jobs.contains_key(&job(2)), "another agent's");
    assert!((10..=10 + 64).contains(&kept(&manager, "a")), "{}", kept(&manager, "a"));
    assert!(manager.store.jobs.contains_key(&job(1_002)), "the oldest go");

    // a machine that goes on from the store counts what was there before
    manager.jobs = Jobs::recover(settings, manager.store.records(), manager.now);
    record_of(&mut manager, "a", 1_003);
    assert_eq!(kept(&manager, "a"), 10);
}

#[test]
fn all_agents_together_have_so_many_jobs_and_no_more() {
    let settings = Settings { keep_jobs: 1, keep_of_agents: 100, ..Settings::default() };
    let mut manager = Manager { now: 10_000, ..Manager::new(settings) };
    manager.submit(1, &Plan::default(), &[("a", false)]);
    manager.cancel(Scope::Job(job(1)), false);
    for n in 2..502 {
        manager.now += 1;
        record_of(&mut manager, if n % 2 == 0 { "a" } else { "b" }, n);
    }
    assert!(manager.store.jobs.contains_key(&job(1)), "an operator's, which ended before");
    assert!((101..=101 + 64).contains(&manager.store.jobs.len()), "{}", manager.store.jobs.len());
}

#[test]
fn a_full_disk_takes_neither_runs_nor_events() {
    let mut manager = manager();
    manager.feed(Input::StoreFull(true));
    let refused = record(&mut manager, 1, "k", ended(Outcome::Succeeded));
    assert_eq!(answers(&refused), [Err(Refusal::StoreFull)]);
    assert_eq!(answers(&emit(&mut manager)), [Err(Refusal::StoreFull)]);
    assert!(manager.store.jobs.is_empty() && manager.store.events.is_empty());
    manager.feed(Input::StoreFull(false));
    assert!(answers(&record(&mut manager, 1, "k", ended(Outcome::Succeeded)))[0].is_ok());
}

#[test]
fn what_was_lost_on_the_agent_is_said_in_the_event() {
    let mut manager = manager();
    record(&mut manager, 1, "k", Ended { dropped: 3, ..ended(Outcome::Failed) });
    let detail = manager.store.events[0].detail.as_deref();
    assert_eq!(detail, Some("failed; 3 older ones were lost on the agent"));
}

fn emit(manager: &mut Manager) -> Vec<Effect<u32>> {
    let (name, data) = ("agent.connected".to_owned(), Raw::text("x"));
    manager.feed(Input::Emit { token: 1, agent: agent("a"), name, data })
}

#[test]
fn an_agents_event_is_numbered_and_never_looks_like_one_of_the_managers() {
    let mut manager = manager();
    let effects = emit(&mut manager);
    assert_eq!(answers(&effects), [Ok(Answer::Emitted { n: 1 })]);
    let event = &manager.store.events[0];
    assert_eq!((event.n, event.kind_text().as_ref()), (1, "custom.agent.connected"));
    assert_eq!(event.agent, Some(agent("a")));
    for kind in EventKind::ALL {
        assert!(!kind.as_str().starts_with("custom."), "{kind:?}");
    }
}
