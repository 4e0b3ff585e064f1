//! What is kept, for how long, and what a manager goes on with: no ended job too many, none too few, and nothing left due of what is over.

mod jobs_support;

use jobs_support::alone::{Manager, ids, offers};
use jobs_support::{Plan, agent, job};
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::wire::{ResumeRow, SpoolState};
use redpoll_common::job::{Dno, Outcome, QueueKey, Submitter};
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_manager_core::jobs::record::{Change, EventKind, QueueRecord};
use redpoll_manager_core::jobs::{
    Effect, EndedJob, Input, Jobs, Offer, OfferAnswer, ResumePage, Scope, Settings, Submit, Whose,
};

/// Far beyond what any test waits for.
const NEVER: u64 = 1 << 40;

fn told(manager: &Manager, kind: EventKind) -> usize {
    manager.store.events.iter().filter(|event| event.kind == kind).count()
}

/// Ends a job at once; `by` an agent, or an operator.
fn end(manager: &mut Manager, n: u64, by: Option<&str>) -> Vec<Effect<u32>> {
    let submit = Plan::default().submit(0, job(n), &[("z", false)]);
    let submitter = by.map_or_else(|| submit.submitter.clone(), |name| Submitter::agent(&agent(name)));
    manager.feed(Input::Submit(Box::new(Submit { submitter, ..*submit })));
    manager.cancel(Scope::Job(job(n)), false)
}

/// Whose ended jobs are looked for, and whether they are counted.
fn looks(effects: &[Effect<u32>]) -> Vec<(Whose, bool)> {
    let look = |effect: &Effect<u32>| {
        if let Effect::FindOldest { whose, count, .. } = effect {
            Some((whose.clone(), *count))
        } else {
            None
        }
    };
    effects.iter().filter_map(look).collect()
}

fn found(manager: &mut Manager, whose: &Whose, stored: Option<u64>, jobs: Vec<EndedJob>) -> Vec<Effect<u32>> {
    manager.feed(Input::Oldest { whose: whose.clone(), stored, jobs })
}

fn ended(n: u64, ended_ms: u64) -> EndedJob {
    EndedJob { id: job(n), ended_ms, runs: 1 }
}

#[test]
fn ended_jobs_are_looked_for_when_there_are_a_few_too_many_also_after_a_restart() {
    let settings = Settings { keep_jobs: 3, prune_every_ms: NEVER, ..Settings::default() };
    let mut manager = Manager::new(settings);
    for n in 1..=3 + 64 {
        assert_eq!(looks(&end(&mut manager, n, None)), [], "job {n}");
    }
    assert_eq!(looks(&end(&mut manager, 68, None)), [(Whose::Operators, true)]);
    manager.jobs = Jobs::recover(settings, manager.store.records(), manager.now);
    assert_eq!(looks(&end(&mut manager, 69, None)), [(Whose::Operators, true)]);
}

#[test]
fn ended_jobs_are_counted_anew_with_each_look_at_their_age() {
    let settings = Settings { keep_jobs: 3, prune_every_ms: 10, ..Settings::default() };
    let mut manager = Manager::new(settings);
    for _ in 0..2 {
        let asked = looks(&manager.later(10));
        assert_eq!(asked, [(Whose::Operators, true), (Whose::Agents, true)]);
        for (whose, _) in asked {
            found(&mut manager, &whose, Some(0), Vec::new());
        }
    }
}

#[test]
fn a_job_goes_when_its_time_is_over_and_not_before() {
    let settings = Settings { keep_ms: Some(1_000), prune_every_ms: NEVER, ..Settings::default() };
    let mut manager = Manager { now: 10_000, ..Manager::new(settings) };
    for n in 1..=2 {
        end(&mut manager, n, None);
    }
    manager.submit(3, &Plan::default(), &[("a", false)]);
    // the last one is open, whatever the store is said to have
    let jobs = vec![ended(1, 9_000), ended(2, 9_001), ended(3, 1)];
    found(&mut manager, &Whose::Operators, Some(3), jobs);
    assert_eq!(manager.store.deleted, [job(1)]);
}

#[test]
fn an_outcome_that_may_be_replaced_keeps_no_job_from_going_in_its_time() {
    let settings = Settings {
        keep_ms: Some(1_000),
        unknown_after_ms: Some(10),
        prune_every_ms: NEVER,
        ..Settings::default()
    };
    let mut manager = Manager::new(settings);
    manager.up("a");
    manager.submit(1, &Plan::default(), &[("a", true)]);
    let (agent, connection) = (agent("a"), ConnectionId(1));
    manager.feed(Input::AgentDown { agent, connection, reason: "cut".to_owned() });
    manager.later(10);
    assert_eq!(manager.outcome(1, "a"), Some(Outcome::Unknown));
    let ended_ms = manager.now;
    manager.later(1_000);
    found(&mut manager, &Whose::Operators, Some(1), vec![ended(1, ended_ms)]);
    assert!(manager.store.jobs.is_empty() && manager.jobs.job(job(1)).is_none());
}

#[test]
fn a_look_that_failed_says_of_nobody_that_it_is_one_too_many() {
    let settings = Settings { keep_ms: None, keep_per_agent: 0, ..Settings::default() };
    let mut manager = Manager::new(settings);
    let one = Whose::Agent(Submitter::agent(&agent("a")));
    assert_eq!(looks(&end(&mut manager, 1, Some("a"))), [(one.clone(), true)]);
    found(&mut manager, &one, None, vec![ended(1, 1_000)]);
    assert_eq!(manager.store.deleted, []);
    found(&mut manager, &one, Some(1), vec![ended(1, 1_000)]);
    assert_eq!(manager.store.deleted, [job(1)]);
}

#[test]
fn what_one_agent_lost_counts_no_more_among_those_of_all_agents() {
    let settings =
        Settings { keep_ms: None, keep_of_agents: 0, prune_every_ms: NEVER, ..Settings::default() };
    let mut manager = Manager::new(settings);
    let one = Whose::Agent(Submitter::agent(&agent("a")));
    let mut next = 0;
    // ends jobs until all those of agents are looked for; the agent's own are said to be as many as wanted
    let mut look = |manager: &mut Manager, lose: bool| loop {
        next += 1;
        for (whose, count) in looks(&end(manager, next, Some("a"))) {
            if whose == Whose::Agents {
                found(manager, &whose, Some(0), Vec::new());
                return count;
            }
            let (stored, jobs) = if lose { (1 << 20, vec![ended(next, 1_000)]) } else { (0, Vec::new()) };
            found(manager, &one, Some(stored), jobs);
        }
    };
    assert_eq!([look(&mut manager, false), look(&mut manager, false)], [true, false]);
    assert!(manager.store.deleted.is_empty());
    assert_eq!(told(&manager, EventKind::JobDeleted), 0);
    found(&mut manager, &one, Some(1 << 20), vec![ended(1, 1_000)]);
    assert_eq!(manager.store.deleted, [job(1)]);
    assert_eq!([look(&mut manager, false), look(&mut manager, false)], [true, false]);
}

#[test]
fn the_last_deletions_are_remembered_and_no_more() {
    const RECENT: u64 = 4_096;
    let mut manager = Manager::new(Settings { prune_every_ms: NEVER, ..Settings::default() });
    let delete = |n| Input::Delete { token: 0, job: job(n), by: None };
    for n in 1..=RECENT + 1 {
        end(&mut manager, n, None);
        manager.feed(delete(n));
    }
    // whether another deletion would be stored
    let mut again = |n| {
        manager.jobs.handle(delete(n), manager.now);
        let turn = manager.jobs.poll_turn().unwrap();
        turn.changes.iter().any(|change| matches!(change, Change::JobDeleted(_)))
    };
    assert_eq!((again(2), again(RECENT + 1), again(1)), (false, false, true));
}

#[test]
fn many_jobs_that_cannot_be_read_are_told_in_few_events() {
    for (unreadable, last) in [(100, None), (103, Some("3 jobs more cannot be read; the log names them"))] {
        let mut records = Manager::new(Settings::default()).store.records();
        records.unreadable = (1..=unreadable).map(job).collect();
        let mut manager = Manager::new(Settings::default());
        manager.jobs = Jobs::recover(Settings::default(), records, 5_000);
        manager.take();
        let events = &manager.store.events;
        assert!(events.iter().all(|event| event.kind == EventKind::StoreDamaged));
        let named: Vec<_> = events.iter().filter_map(|event| event.job).collect();
        assert_eq!(named, (1..=100).map(job).collect::<Vec<_>>());
        let why = "it cannot be read, and nothing of it runs; it can be deleted";
        assert_eq!(events[0].detail.as_deref(), Some(why));
        let more = events.iter().find(|event| event.job.is_none());
        assert_eq!(more.and_then(|event| event.detail.as_deref()), last);
    }
}

#[test]
fn a_queue_without_runs_is_gone_after_a_restart_and_one_without_places_has_one() {
    let mut manager = Manager::new(Settings::default());
    manager.submit(1, &Plan::queued("q", 0), &[("a", false)]);
    let (left, mut records) = (QueueKey::text("left").unwrap(), manager.store.records());
    let mut none = QueueRecord { key: left, concurrency: 1, opened_ms: 1_000 };
    records.queues.push(none.clone());
    records.queues[0].concurrency = 0;
    manager.store.queues.insert(none.key.clone(), none.clone());
    manager.jobs = Jobs::recover(Settings::default(), records, 5_000);
    manager.take();
    none.key = QueueKey::text("q").unwrap();
    assert_eq!(manager.store.queues.keys().collect::<Vec<_>>(), [&none.key]);
    assert_eq!(ids(&manager.up("a")), [job(1)]);
    let mut fresh = Manager::new(Settings::default());
    fresh.up("a");
    assert_eq!(ids(&fresh.submit(1, &Plan::queued("q", 0), &[("a", true)])), [job(1)]);
}

fn answered(offer: &Offer, answer: OfferAnswer) -> Input<u32> {
    let (agent, connection, job) = (offer.agent.clone(), offer.connection, offer.run.job);
    Input::OfferAnswered { agent, connection, job, dno: offer.run.dno, answer }
}

#[test]
fn nothing_is_left_due_of_what_is_over() {
    let settings = Settings { prune_every_ms: NEVER, unknown_after_ms: Some(1 << 30), ..Settings::default() };
    let mut manager = Manager::new(settings);
    let nothing = manager.jobs.poll_timeout();
    manager.up("a");
    // it expires, unless it starts
    let plan = Plan { start_within_ms: Some(1 << 30), attempts: 2, idempotent: true, ..Plan::default() };
    let offer = offers(&manager.submit(1, &plan, &[("a", true)])).remove(0);
    assert_eq!(manager.jobs.poll_timeout(), nothing, "it was offered");
    // it is tried later, and is not
    manager.feed(answered(&offer, OfferAnswer::Refused(Fault::new(FaultCode::Overloaded, "full"))));
    assert!(manager.jobs.poll_timeout() < nothing);
    manager.cancel(Scope::Job(job(1)), false);
    assert_eq!(manager.jobs.poll_timeout(), nothing, "it was cancelled");
    // it is in doubt, and then is not
    let mut offer = offers(&manager.submit(2, &plan, &[("a", true)])).remove(0);
    manager.feed(answered(&offer, OfferAnswer::Accepted));
    let reason = "cut".to_owned();
    manager.feed(Input::AgentDown { agent: agent("a"), connection: ConnectionId(1), reason });
    assert!(manager.jobs.poll_timeout() < nothing);
    offer.connection = ConnectionId(2);
    let rows = vec![ResumeRow { run: offer.run, state: SpoolState::Running, next_n: 0, acked_n: 0 }];
    let (token, spool, max_dno, last) = (0, [1; 16], Dno(offer.run.dno.0), true);
    let (agent, connection) = (agent("a"), offer.connection);
    manager.feed(Input::Resume(ResumePage { token, agent, connection, spool, max_dno, last, rows }));
    assert_eq!(manager.jobs.poll_timeout(), nothing, "its agent is back");
    manager.done(&offer, Outcome::Failed);
    assert!(manager.jobs.poll_timeout() < nothing, "it is tried again");
    manager.cancel(Scope::Job(job(2)), false);
    assert_eq!(manager.jobs.poll_timeout(), nothing);
    // its agent stops, and then is gone
    let mut offer = offers(&manager.submit(3, &Plan::default(), &[("a", true)])).remove(0);
    offer.connection = ConnectionId(2);
    manager.feed(answered(&offer, OfferAnswer::Refused(Fault::new(FaultCode::ShuttingDown, "stops"))));
    assert!(manager.jobs.poll_timeout() < nothing, "it may stay");
    manager.cancel(Scope::Job(job(3)), false);
    let reason = "it stops".to_owned();
    manager.feed(Input::AgentDown { agent: offer.agent, connection: offer.connection, reason });
    assert_eq!(manager.jobs.poll_timeout(), nothing);
}
