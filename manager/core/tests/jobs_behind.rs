//! An older copy of the store was put back: what waited in it may have run since, and is started at most once all the same.

#![expect(clippy::unwrap_used, reason = "test code")]

mod jobs_support;

use jobs_support::{Plan, agent, job, store::Store};
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::wire::{Act, ResumeAct, ResumeRow, RunRef, RunReport, SpoolState};
use redpoll_common::job::{Attempt, Dno, Ending, JobId, Outcome};
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_manager_core::jobs::record::EventKind;
use redpoll_manager_core::jobs::{Effect, Input, Jobs, ResumePage, Settings};

/// When the manager begins again, with the copy.
const AGAIN: u64 = 50_000;

struct Manager {
    jobs: Jobs<u32>,
    store: Store,
    offered: Vec<RunRef>,
    acts: Vec<ResumeAct>,
}

impl Manager {
    fn new() -> Self {
        let jobs = Jobs::new(Settings::default(), 1_000);
        Self { jobs, store: Store::default(), offered: Vec::new(), acts: Vec::new() }
    }

    fn feed(&mut self, input: Input<u32>, now: u64) {
        self.jobs.handle(input, now);
        while let Some(turn) = self.jobs.poll_turn() {
            self.store.apply(&turn.changes);
            for effect in turn.effects {
                if let Effect::Offer(offer) = effect {
                    self.offered.push(offer.run);
                } else if let Effect::ResumeAnswer(_, answer) = effect {
                    self.acts.extend(answer.jobs);
                }
            }
        }
    }

    fn submit(&mut self, n: u64, plan: Plan, now: u64) {
        self.feed(Input::Submit(plan.submit(0, job(n), &[("a", false)])), now);
    }

    fn resume(&mut self, max_dno: u64, rows: Vec<ResumeRow>, last: bool, now: u64) {
        let (spool, connection) = ([1; 16], ConnectionId(AGAIN));
        let page =
            ResumePage { token: 0, agent: agent("a"), connection, spool, max_dno: Dno(max_dno), last, rows };
        self.feed(Input::Resume(page), now);
    }

    /// The manager goes on from what the store has now, which is said to be the copy.
    fn restart(&mut self) {
        let records = self.store.records();
        self.jobs = Jobs::recover(Settings::default(), records, AGAIN);
        self.offered.clear();
        self.feed(Input::StoreFull(false), AGAIN);
    }

    fn state(&self, n: u64) -> String {
        let run = self.store.run_of(job(n), &agent("a")).unwrap();
        match run.state.ending() {
            Some(ending) => format!("{} {:?}", ending.outcome, ending.started),
            None => format!("{} {} {}", run.state.word(), run.attempt.0, run.dno.0),
        }
    }

    fn is_behind(&self) -> bool {
        self.store.events.iter().any(|event| event.kind == EventKind::StoreBehind)
    }

    fn offered(&self) -> Vec<(JobId, u64)> {
        self.offered.iter().map(|run| (run.job, run.dno.0)).collect()
    }
}

fn row(n: u64, attempt: u16, dno: u64, state: SpoolState) -> ResumeRow {
    ResumeRow {
        run: RunRef { job: job(n), attempt: Attempt(attempt), dno: Dno(dno) },
        state,
        next_n: 0,
        acked_n: 0,
    }
}

#[test]
fn what_waited_in_the_copy_and_is_not_shown_may_have_run() {
    let mut manager = Manager::new();
    manager.submit(1, Plan::default(), 2_000);
    manager.submit(2, Plan::queued("q", 1), 2_001);
    manager.submit(3, Plan { held: true, ..Plan::default() }, 2_002);
    manager.submit(4, Plan { idempotent: true, attempts: 2, ..Plan::default() }, 2_003);
    manager.restart();
    manager.submit(5, Plan::queued("q", 1), AGAIN + 1);
    manager.resume(7, Vec::new(), true, AGAIN + 2);
    assert!(manager.is_behind());
    for n in [1, 2, 3] {
        assert_eq!(manager.state(n), "unknown None", "job {n}");
    }
    // one that may be repeated is, and one that the copy cannot have is started, both under numbers that were never used
    assert_eq!(manager.offered(), [(job(5), 8), (job(4), 9)]);
}

#[test]
fn what_was_offered_in_the_copy_and_is_not_shown_may_have_run() {
    let mut manager = Manager::new();
    manager.feed(Input::AgentUp { agent: agent("a"), connection: ConnectionId(1) }, 1_000);
    let page = |max_dno| ResumePage {
        token: 0,
        agent: agent("a"),
        connection: ConnectionId(1),
        spool: [1; 16],
        max_dno: Dno(max_dno),
        last: true,
        rows: Vec::new(),
    };
    manager.feed(Input::Resume(page(0)), 1_001);
    manager.submit(1, Plan::default(), 2_000);
    assert_eq!(manager.state(1), "offered 1 1");
    manager.restart();
    manager.resume(1, Vec::new(), true, AGAIN + 1);
    assert!(!manager.is_behind());
    assert_eq!(manager.state(1), "offered 1 2", "the store knows of all numbers: it was never accepted");
    manager.restart();
    manager.resume(3, Vec::new(), true, AGAIN + 2);
    assert_eq!(manager.state(1), "unknown None");
    assert_eq!(manager.offered(), []);
}

#[test]
fn what_is_shown_under_a_number_given_out_since_is_followed() {
    let mut manager = Manager::new();
    for n in 1..=3 {
        manager.submit(n, Plan::queued("q", 2), 2_000 + n);
    }
    manager.submit(4, Plan { held: true, ..Plan::default() }, 2_010);
    manager.restart();
    manager.resume(9, vec![row(1, 1, 4, SpoolState::Running)], false, AGAIN + 1);
    let rest = vec![row(2, 3, 8, SpoolState::Done), row(4, 1, 9, SpoolState::Running)];
    manager.resume(9, rest, true, AGAIN + 2);
    let acts: Vec<Act> = manager.acts.iter().map(|act| act.act).collect();
    // nobody can tell who released the last one
    assert_eq!(acts, [Act::Continue, Act::Continue, Act::Drop]);
    assert_eq!(manager.state(1), "running 1 4");
    assert_eq!(manager.state(2), "accepted 3 8");
    assert_eq!(manager.state(3), "unknown None");
    assert_eq!(manager.state(4), "unknown None");
    assert_eq!(manager.offered(), []);
    // its third attempt never ran; nobody knows of the two before
    let mut done = Ending::unstarted(Outcome::Rejected, Fault::new(FaultCode::UnknownProcedure, "gone"));
    done.started = Some(false);
    let report = |run: &ResumeRow, done| RunReport { done: Some(done), ..RunReport::about(run.run) };
    let mut good = Ending::unstarted(Outcome::Succeeded, Fault::new(FaultCode::Internal, ""));
    (good.started, good.fault) = (Some(true), None);
    let reports =
        vec![report(&row(2, 3, 8, SpoolState::Done), done), report(&row(1, 1, 4, SpoolState::Done), good)];
    let connection = ConnectionId(AGAIN);
    manager.feed(Input::Report { token: 0, agent: agent("a"), connection, reports }, AGAIN + 3);
    assert_eq!(manager.state(2), "unknown None");
    assert_eq!(manager.state(1), "succeeded Some(true)");
    // and the queue goes on
    manager.submit(5, Plan::queued("q", 2), AGAIN + 4);
    assert_eq!(manager.offered(), [(job(5), 10)]);
}

#[test]
fn a_session_that_breaks_off_leaves_the_store_behind() {
    let mut manager = Manager::new();
    manager.submit(1, Plan::default(), 2_000);
    manager.submit(2, Plan::default(), 2_001);
    manager.restart();
    manager.resume(5, vec![row(2, 1, 3, SpoolState::Running)], false, AGAIN + 1);
    manager.restart();
    manager.resume(5, vec![row(2, 1, 3, SpoolState::Running)], true, AGAIN + 2);
    assert_eq!(manager.state(1), "unknown None");
    assert_eq!(manager.state(2), "running 1 3");
    assert_eq!(manager.offered(), []);
}

#[test]
fn an_agent_that_saw_nothing_since_the_copy_goes_on() {
    let mut manager = Manager::new();
    manager.submit(1, Plan::default(), 2_000);
    manager.restart();
    manager.resume(0, Vec::new(), true, AGAIN + 1);
    assert!(!manager.is_behind());
    assert_eq!(manager.offered(), [(job(1), 1)]);
}
