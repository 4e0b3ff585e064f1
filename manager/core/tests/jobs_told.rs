//! What rows and events say of a run is what became of it: when it waited, was taken and began, how far it is, and why it ended.

#![expect(clippy::unwrap_used, reason = "test code")]

mod jobs_support;

use std::collections::BTreeSet;

use jobs_support::alone::{Manager, offers};
use jobs_support::{Plan, agent, job};
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::wire::RunReport;
use redpoll_common::job::{Ending, Item, ItemKind, Outcome, Submitter};
use redpoll_common::wire::flight::Progress as Told;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_manager_core::clock::Anchor;
use redpoll_manager_core::jobs::record::{Change, EventKind, EventRecord, Progress, RunRecord};
use redpoll_manager_core::jobs::{Input, Offer, OfferAnswer, ResumePage, Scope, Settings};

fn offered(manager: &mut Manager, n: u64, plan: &Plan) -> Offer {
    offers(&manager.submit(n, plan, &[("a", true)])).pop().unwrap()
}

fn reported(offer: &Offer, report: RunReport) -> Input<u32> {
    let (agent, connection) = (offer.agent.clone(), offer.connection);
    Input::Report { token: 0, agent, connection, reports: vec![report] }
}

fn accepted(offer: &Offer) -> Input<u32> {
    let (agent, connection, job) = (offer.agent.clone(), offer.connection, offer.run.job);
    Input::OfferAnswered { agent, connection, job, dno: offer.run.dno, answer: OfferAnswer::Accepted }
}

fn ended(outcome: Outcome, started: Option<bool>, items: u64) -> Option<Ending> {
    let fault = (outcome != Outcome::Succeeded).then(|| Fault::new(FaultCode::Failed, "no"));
    Some(Ending { outcome, started, result: None, fault, items, duration_ms: None })
}

fn items(numbers: std::ops::Range<u64>) -> Vec<Item> {
    numbers.map(|n| Item { n, kind: ItemKind::Value, data: Raw::nil() }).collect()
}

fn row(manager: &Manager, n: u64) -> RunRecord {
    manager.store.run_of(job(n), &agent("a")).unwrap().clone()
}

fn ending(manager: &Manager, n: u64) -> Ending {
    row(manager, n).state.ending().unwrap().clone()
}

fn event(manager: &Manager, kind: EventKind) -> EventRecord {
    manager.store.events.iter().rfind(|event| event.kind == kind).unwrap().clone()
}

#[test]
fn a_row_says_when_the_run_waited_was_offered_taken_and_begun() {
    let mut manager = Manager::new(Settings::default());
    manager.submit(1, &Plan::default(), &[("a", false)]);
    manager.now = 2_000;
    let offer = offers(&manager.up("a")).pop().unwrap();
    manager.now = 3_000;
    manager.feed(accepted(&offer));
    manager.now = 9_000;
    manager.feed(reported(&offer, RunReport { started_ms_ago: Some(500), ..RunReport::about(offer.run) }));
    manager.now = 10_000;
    // what is told again says nothing new
    manager.feed(reported(&offer, RunReport { started_ms_ago: Some(7), ..RunReport::about(offer.run) }));
    let row = row(&manager, 1);
    assert_eq!((row.queued_ms, row.offered_ms), (Some(1_000), Some(2_000)));
    assert_eq!((row.accepted_ms, row.started_ms), (Some(3_000), Some(8_500)));
    let begun = manager.store.events.iter().filter(|event| event.kind == EventKind::RunStarted).count();
    assert_eq!(begun, 1);
}

#[test]
fn what_ends_without_a_start_says_whether_its_time_passed_or_somebody_wanted_it() {
    let mut manager = Manager::new(Settings::default());
    manager.submit(1, &Plan { start_within_ms: Some(10), ..Plan::default() }, &[("a", false)]);
    manager.later(10);
    manager.submit(2, &Plan::default(), &[("a", false)]);
    manager.cancel(Scope::Job(job(2)), false);
    let code = |n| ending(&manager, n).fault.unwrap().code;
    assert_eq!((manager.outcome(1, "a"), code(1)), (Some(Outcome::Expired), FaultCode::TimedOut));
    assert_eq!((manager.outcome(2, "a"), code(2)), (Some(Outcome::Cancelled), FaultCode::Cancelled));
}

#[test]
fn an_end_counts_the_items_that_are_stored() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let offer = offered(&mut manager, 1, &Plan::default());
    let report = RunReport { items: items(0..3), ..RunReport::about(offer.run) };
    manager.feed(reported(&offer, report));
    // its agent counts fewer
    let done = ended(Outcome::Succeeded, Some(true), 1);
    manager.feed(reported(&offer, RunReport { done, ..RunReport::about(offer.run) }));
    assert_eq!(ending(&manager, 1).items, 3);
}

#[test]
fn in_one_turn_the_row_of_a_run_comes_after_its_items() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let offer = offered(&mut manager, 1, &Plan::default());
    let started = RunReport {
        started_ms_ago: Some(0),
        items: items(0..2),
        done: ended(Outcome::Succeeded, Some(true), 2),
        ..RunReport::about(offer.run)
    };
    manager.jobs.handle(reported(&offer, started), manager.now);
    let turn = manager.jobs.poll_turn().unwrap();
    let last = |is: fn(&Change) -> bool| turn.changes.iter().rposition(is).unwrap();
    let row = last(|change| matches!(change, Change::RunChanged(_)));
    assert!(row > last(|change| matches!(change, Change::Items { .. })), "{:#?}", turn.changes);
}

#[test]
fn progress_is_kept_of_the_attempt_in_force() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let offer = offered(&mut manager, 1, &Plan::default());
    for (details, kept) in [(Raw::nil(), None), (Raw::text("half"), Some(Raw::text("half")))] {
        let progress = Some(Told { completed: 3, total: Some(6), details });
        let report = RunReport { progress, ..RunReport::about(offer.run) };
        manager.jobs.handle(reported(&offer, report), manager.now);
        let turn = manager.jobs.poll_turn().unwrap();
        let told: Vec<_> = turn
            .changes
            .iter()
            .filter_map(|change| {
                let Change::Progress { key, attempt, progress } = change else { return None };
                Some((key.job, *attempt, progress.clone()))
            })
            .collect();
        let progress = Progress { completed: Some(3), total: Some(6), details: kept };
        assert_eq!(told, [(job(1), offer.run.attempt, progress)]);
        manager.store.apply(&turn.changes);
    }
}

#[test]
fn an_end_that_nobody_here_can_read_still_says_that_the_run_had_begun() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let offer = offered(&mut manager, 1, &Plan::default());
    manager.feed(reported(&offer, RunReport { started_ms_ago: Some(0), ..RunReport::about(offer.run) }));
    let fault = Fault::new(FaultCode::Internal, "it ended as frozen, which this manager does not know");
    let done = Some(Ending { started: None, ..Ending::unstarted(Outcome::Unknown, fault) });
    let report = RunReport { done, newer_outcome: true, ..RunReport::about(offer.run) };
    manager.feed(reported(&offer, report));
    assert_eq!(ending(&manager, 1).started, Some(true));
}

#[test]
fn an_attempt_that_failed_before_it_began_is_none_that_ran() {
    for (began, outcome) in [(false, Outcome::Rejected), (true, Outcome::Failed)] {
        let mut manager = Manager::new(Settings::default());
        manager.up("a");
        let plan = Plan { attempts: 2, idempotent: true, ..Plan::default() };
        let first = offered(&mut manager, 1, &plan);
        let done = ended(Outcome::Failed, Some(began), 0);
        manager.feed(reported(&first, RunReport { done, ..RunReport::about(first.run) }));
        let second = offers(&manager.later(600_000)).pop().unwrap();
        let refused = Ending::unstarted(Outcome::Rejected, Fault::new(FaultCode::UnknownProcedure, "gone"));
        let report = RunReport { done: Some(refused), ..RunReport::about(second.run) };
        manager.feed(reported(&second, report));
        let ending = ending(&manager, 1);
        assert_eq!((ending.outcome, ending.started), (outcome, Some(began)));
    }
}

#[test]
fn what_fails_is_tried_again_only_before_its_time_is_over() {
    for (within, again) in [(5_000, false), (5_001, true)] {
        let mut manager = Manager::new(Settings::default());
        manager.up("a");
        let plan = Plan { attempts: 2, idempotent: true, start_within_ms: Some(within), ..Plan::default() };
        let offer = offered(&mut manager, 1, &plan);
        let mut done = ended(Outcome::Failed, Some(true), 0).unwrap();
        done.fault = Some(Fault { retry_after_ms: Some(5_000), ..Fault::new(FaultCode::Failed, "later") });
        manager.feed(reported(&offer, RunReport { done: Some(done), ..RunReport::about(offer.run) }));
        // an attempt at the deadline would expire, and hide how the first one ended
        let outcome = (!again).then_some(Outcome::Failed);
        assert_eq!(manager.outcome(1, "a"), outcome, "{within}");
    }
}

#[test]
fn the_end_of_a_session_and_a_lost_spool_are_told_with_the_agent_and_the_reason() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let (a, connection) = (agent("a"), ConnectionId(1));
    manager.feed(Input::AgentDown { agent: a.clone(), connection, reason: "it is asleep".to_owned() });
    let gone = event(&manager, EventKind::AgentDisconnected);
    assert_eq!((gone.agent, gone.detail.as_deref()), (Some(a.clone()), Some("it is asleep")));
    let (token, spool, max_dno, last, rows) = (0, [2; 16], redpoll_common::job::Dno(3), true, Vec::new());
    let connection = ConnectionId(2);
    manager.feed(Input::Resume(ResumePage {
        token,
        agent: a.clone(),
        connection,
        spool,
        max_dno,
        last,
        rows,
    }));
    let behind = event(&manager, EventKind::StoreBehind);
    assert_eq!(behind.agent, Some(a.clone()));
    let numbers = "it has seen number 3, this store knows of 0";
    assert_eq!(behind.detail.as_deref(), Some(numbers));
    assert_eq!(event(&manager, EventKind::SpoolLost).agent, Some(a));
}

#[test]
fn the_history_says_who_wanted_something_of_a_job() {
    let mut manager = Manager::new(Settings::default());
    manager.submit(1, &Plan { held: true, ..Plan::default() }, &[("a", false)]);
    let by = Some(Submitter::operator(&agent("ada")));
    manager.feed(Input::Release { token: 0, job: job(1), away: BTreeSet::new(), by: by.clone() });
    let (scope, grace_ms, preview) = (Scope::Job(job(1)), None, false);
    manager.feed(Input::Cancel { token: 0, scope, grace_ms, preview, by: by.clone() });
    manager.feed(Input::Delete { token: 0, job: job(1), by });
    for kind in [EventKind::JobReleased, EventKind::CancelAsked, EventKind::JobDeleted] {
        let event = event(&manager, kind);
        assert_eq!((event.job, event.detail.as_deref()), (Some(job(1)), Some("by ada")), "{kind:?}");
    }
}

#[test]
fn the_history_says_which_way_a_clock_was_set() {
    let mut manager = Manager::new(Settings::default());
    for (set_by_ms, detail) in [(0, None), (61_000, Some("forward by 61s")), (-500, Some("back by 500ms"))] {
        let anchor = Anchor { boot: None, base_ms: 0, ahead_ms: 0, ahead_at_boot_ms: 0 };
        let before = manager.store.events.len();
        manager.feed(Input::Clock { anchor, set_by_ms });
        let told: Vec<_> =
            manager.store.events[before..].iter().map(|event| event.detail.as_deref()).collect();
        assert_eq!(told, detail.map(Some).into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn what_is_open_is_shown_with_its_runs_and_who_is_to_end() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    manager.submit(1, &Plan::default(), &[("a", true), ("b", false), ("c", false)]);
    manager.cancel(Scope::Run(job(1), agent("a")), false);
    manager.cancel(Scope::Run(job(1), agent("b")), false);
    let view = manager.jobs.job(job(1)).unwrap();
    assert_eq!((view.summary.open, view.summary.total(), view.summary.outcome()), (2, 3, None));
    let runs: Vec<_> = view.runs().map(|run| (run.state, run.outcome, run.cancelling)).collect();
    let ended = ("ended", Some(Outcome::Cancelled), false);
    assert_eq!(runs, [("offered", None, true), ended, ("queued", None, false)]);
}

#[test]
fn what_fails_together_is_not_tried_again_together() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let plan = Plan { attempts: 2, idempotent: true, ..Plan::default() };
    let mut dues = BTreeSet::new();
    for n in 1..=16 {
        let offer = offered(&mut manager, n, &plan);
        manager.done(&offer, Outcome::Failed);
        dues.insert(row(&manager, n).not_before_ms);
    }
    assert!(dues.len() > 12, "{dues:?}");
    assert!(*dues.first().unwrap() >= 1_500 && *dues.last().unwrap() <= 2_000, "{dues:?}");
}
