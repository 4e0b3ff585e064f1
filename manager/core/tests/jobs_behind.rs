//! An older copy of the store was put back: what waited in it may have run since, and is started at most once all the same.

#![expect(clippy::unwrap_used, reason = "test code")]

mod jobs_support;

use jobs_support::{Plan, agent, job, store::Store};
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::wire::{Act, ResumeAct, ResumeRow, RunRef, RunReport, SpoolState};
use redpoll_common::job::{Attempt, Dno, Ending, Item, ItemKind, JobId, Outcome};
use redpoll_common::wire::{Fault, FaultCode, Raw};
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
        self.resume_of("a", max_dno, rows, last, now);
    }

    fn resume_of(&mut self, name: &str, max_dno: u64, rows: Vec<ResumeRow>, last: bool, now: u64) {
        let (spool, connection) = ([1; 16], ConnectionId(AGAIN));
        let page =
            ResumePage { token: 0, agent: agent(name), connection, spool, max_dno: Dno(max_dno), last, rows };
        self.feed(Input::Resume(page), now);
    }

    /// A report in the session of this number.
    fn report(&mut self, session: u64, report: RunReport, now: u64) {
        let (agent, connection) = (agent("a"), ConnectionId(session));
        self.feed(Input::Report { token: 0, agent, connection, reports: vec![report] }, now);
    }

    /// Its agent is there before the copy is made, and has seen nothing.
    fn up_before(&mut self) {
        let (token, spool, connection) = (0, [1; 16], ConnectionId(1));
        let (max_dno, last, rows) = (Dno(0), true, Vec::new());
        let agent = agent("a");
        self.feed(Input::Resume(ResumePage { token, agent, connection, spool, max_dno, last, rows }), 1_000);
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
    manager.submit(6, Plan { idempotent: true, attempts: 1, ..Plan::default() }, 2_004);
    manager.submit(7, Plan { idempotent: false, attempts: 2, ..Plan::default() }, 2_005);
    manager.restart();
    manager.submit(5, Plan::queued("q", 1), AGAIN + 1);
    manager.resume(7, Vec::new(), true, AGAIN + 2);
    assert!(manager.is_behind());
    for n in [1, 2, 3, 6, 7] {
        assert_eq!(manager.state(n), "unknown None", "job {n}");
    }
    // one that may be repeated is, and one that the copy cannot have is started, both under numbers that were never used
    assert_eq!(manager.offered(), [(job(5), 8), (job(4), 9)]);
}

#[test]
fn what_was_offered_in_the_copy_and_is_not_shown_may_have_run() {
    let mut manager = Manager::new();
    manager.up_before();
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

#[test]
fn what_another_agent_shows_after_the_first_is_followed_all_the_same() {
    let mut manager = Manager::new();
    for (n, name) in [(1, "a"), (2, "b"), (3, "b")] {
        manager.feed(Input::Submit(Plan::default().submit(0, job(n), &[(name, false)])), 2_000 + n);
    }
    manager.restart();
    manager.resume(5, Vec::new(), true, AGAIN + 1);
    // what waited was looked for when the first one came
    manager.resume_of("b", 4, vec![row(2, 1, 4, SpoolState::Running)], true, AGAIN + 2);
    let run = |n| manager.store.run_of(job(n), &agent("b")).unwrap().state.word();
    assert_eq!((manager.state(1).as_str(), run(2), run(3)), ("unknown None", "running", "ended"));
}

#[test]
fn only_a_row_of_something_under_a_number_given_out_since_is_taken_for_the_truth() {
    let mut manager = Manager::new();
    manager.up_before();
    manager.submit(1, Plan::default(), 2_000);
    assert_eq!(manager.state(1), "offered 1 1");
    manager.submit(2, Plan { held: true, ..Plan::default() }, 2_001);
    manager.submit(3, Plan::queued("q", 1), 2_002);
    assert_eq!(manager.state(3), "offered 1 2");
    manager.submit(4, Plan::queued("q", 1), 2_003);
    manager.submit(5, Plan::queued("q", 1), 2_004);
    manager.restart();
    // the second number was another's in this store; of the third there is nothing; and the first run was offered again since
    let rows = vec![
        row(4, 1, 2, SpoolState::Running),
        row(5, 1, 3, SpoolState::Absent),
        row(1, 2, 4, SpoolState::Running),
    ];
    manager.resume(4, rows, true, AGAIN + 1);
    let acts: Vec<Act> = manager.acts.iter().map(|act| act.act).collect();
    assert_eq!(acts, [Act::Drop, Act::Drop, Act::Continue]);
    let found = manager.store.events.iter().filter(|event| event.kind == EventKind::RunFound);
    assert_eq!(found.map(|event| event.job).collect::<Vec<_>>(), [Some(job(1))]);
    assert_eq!(manager.state(1), "running 2 4");
    for n in 2..=5 {
        assert_eq!(manager.state(n), "unknown None", "job {n}");
    }
}

#[test]
fn a_later_attempt_that_is_shown_begins_without_what_the_one_before_left() {
    let mut manager = Manager::new();
    manager.up_before();
    manager.submit(1, Plan { idempotent: true, attempts: 3, ..Plan::default() }, 2_000);
    let first = RunRef { job: job(1), attempt: Attempt(1), dno: Dno(1) };
    let items = (0..2).map(|n| Item { n, kind: ItemKind::Value, data: Raw::nil() }).collect();
    let mut failed = Ending::unstarted(Outcome::Failed, Fault::new(FaultCode::Failed, "no"));
    (failed.started, failed.items) = (Some(true), 2);
    let report = RunReport { started_ms_ago: Some(0), items, done: Some(failed), ..RunReport::about(first) };
    manager.report(1, report, 2_001);
    assert_eq!(manager.state(1), "queued 1 1");
    manager.restart();
    manager.resume(2, vec![row(1, 2, 2, SpoolState::Received)], true, AGAIN + 1);
    // that it has items, and began, was said of the first one
    assert_eq!(manager.acts.iter().map(|act| act.act).collect::<Vec<_>>(), [Act::Continue]);
    assert_eq!(manager.state(1), "accepted 2 2");
    let run = manager.store.run_of(job(1), &agent("a")).unwrap();
    assert_eq!((run.items, run.started_ms), (0, None));
}

#[test]
fn a_first_attempt_that_is_shown_had_none_before_it() {
    let mut manager = Manager::new();
    manager.submit(1, Plan::default(), 2_000);
    manager.restart();
    let shown = row(1, 1, 1, SpoolState::Done);
    manager.resume(1, vec![shown], true, AGAIN + 1);
    let refused = Ending::unstarted(Outcome::Rejected, Fault::new(FaultCode::UnknownProcedure, "gone"));
    manager.report(AGAIN, RunReport { done: Some(refused), ..RunReport::about(shown.run) }, AGAIN + 2);
    assert_eq!(manager.state(1), "rejected Some(false)");
}

#[test]
fn that_what_is_started_again_may_have_run_before_outlives_the_manager() {
    let mut manager = Manager::new();
    let plan = Plan { idempotent: true, attempts: 2, ..Plan::queued("q", 1) };
    manager.submit(1, plan, 2_000);
    manager.restart();
    // the one slot of its queue is taken by what is shown
    manager.submit(2, Plan::queued("q", 1), AGAIN);
    manager.resume(2, vec![row(2, 1, 2, SpoolState::Running)], true, AGAIN + 1);
    let run = manager.store.run_of(job(1), &agent("a")).unwrap();
    assert_eq!((run.state.word(), run.earlier), ("queued", Some(Outcome::Unknown)));
}
