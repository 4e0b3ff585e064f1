//! What an agent's word proves, and what it does not: of a run that ended as unknown, and of offers that are on their way.

#![expect(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "test code")]

mod jobs_support;

use jobs_support::{Plan, agent, job, store::Store};
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::wire::{Act, ResumeRow, RunRef, RunReport, SpoolState};
use redpoll_common::job::{Attempt, Dno, Ending, Outcome, RunState};
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_manager_core::jobs::{Effect, Input, Jobs, OfferAnswer, ResumePage, Scope, Settings};

struct Manager {
    connection: ConnectionId,
    jobs: Jobs<u32>,
    store: Store,
    /// What the agent was told of each row that it showed.
    answered: Vec<Act>,
}

impl Manager {
    fn new(settings: Settings) -> Self {
        Self {
            jobs: Jobs::new(settings, 1_000),
            store: Store::default(),
            connection: ConnectionId(0),
            answered: Vec::new(),
        }
    }

    fn feed(&mut self, input: Input<u32>, now: u64) {
        self.jobs.handle(input, now);
        self.jobs.handle_timeout(now);
        while let Some(turn) = self.jobs.poll_turn() {
            self.store.apply(&turn.changes);
            for effect in turn.effects {
                let Effect::ResumeAnswer(_, answer) = effect else { continue };
                self.answered.extend(answer.jobs.into_iter().map(|row| row.act));
            }
        }
    }

    fn up(&mut self, max_dno: u64, rows: Vec<ResumeRow>, now: u64) {
        self.tell(ConnectionId(now), max_dno, rows, now);
    }

    fn tell(&mut self, connection: ConnectionId, max_dno: u64, rows: Vec<ResumeRow>, now: u64) {
        let (spool, max_dno) = ([1; 16], Dno(max_dno));
        self.connection = connection.max(self.connection);
        let page = ResumePage { token: 0, agent: agent("a"), connection, spool, max_dno, last: true, rows };
        self.feed(Input::Resume(page), now);
    }

    fn report(&mut self, run: RunRef, done: Ending, now: u64) {
        let report = RunReport { done: Some(done), ..RunReport::about(run) };
        self.feed(
            Input::Report { token: 0, agent: agent("a"), connection: self.connection, reports: vec![report] },
            now,
        );
    }

    fn end(&self) -> (Outcome, Option<bool>) {
        match &self.store.run_of(job(1), &agent("a")).unwrap().state {
            RunState::Ended(end) => (end.outcome, end.started),
            other => panic!("it is {}", other.word()),
        }
    }
}

fn run(attempt: u16, dno: u64) -> RunRef {
    RunRef { job: job(1), attempt: Attempt(attempt), dno: Dno(dno) }
}

/// The first attempt may have run; the second was refused, so that nobody knows.
fn unknown_then_refused() -> Manager {
    let settings = Settings { retry_first_ms: 10, retry_max_ms: 10, ..Settings::default() };
    let mut manager = Manager::new(settings);
    manager.up(0, Vec::new(), 1_000);
    let plan = Plan { attempts: 2, idempotent: true, ..Plan::default() };
    manager.feed(Input::Submit(plan.submit(0, job(1), &[("a", true)])), 1_001);
    let (agent, job) = (agent("a"), job(1));
    let answer = OfferAnswer::Accepted;
    manager.feed(
        Input::OfferAnswered {
            agent: agent.clone(),
            connection: ConnectionId(1_000),
            job,
            dno: Dno(1),
            answer,
        },
        1_002,
    );
    let mut lost = Ending::unstarted(Outcome::Unknown, Fault::new(FaultCode::AgentGone, "it stopped"));
    lost.started = None;
    manager.report(run(1, 1), lost, 1_003);
    // the next attempt is on its way
    manager.feed(Input::StoreFull(false), 2_000);
    let answer = OfferAnswer::Refused(busy());
    manager.feed(
        Input::OfferAnswered { agent, connection: ConnectionId(1_000), job, dno: Dno(2), answer },
        2_001,
    );
    assert_eq!(manager.end(), (Outcome::Unknown, None));
    manager
}

fn busy() -> Fault {
    Fault::new(FaultCode::UnknownProcedure, "busy")
}

/// The row of the attempt that was refused, as the agent shows it when it comes back.
fn refused_row() -> ResumeRow {
    ResumeRow { run: run(2, 2), state: SpoolState::Done, next_n: 0, acked_n: 0 }
}

#[test]
fn that_the_last_attempt_never_ran_does_not_say_that_none_did() {
    for outcome in [Outcome::Rejected, Outcome::Expired] {
        let mut manager = unknown_then_refused();
        manager.up(2, vec![refused_row()], 3_000);
        manager.report(run(2, 2), Ending::unstarted(outcome, busy()), 3_001);
        assert_eq!(manager.end(), (Outcome::Unknown, None), "{outcome} replaced what nobody knows");
    }
}

#[test]
fn how_an_attempt_ended_is_told_first_when_the_next_never_began() {
    let told = |manager: &Manager| match &manager.store.run_of(job(1), &agent("a")).unwrap().state {
        RunState::Ended(end) => end.fault.as_ref().map(|fault| (fault.code.clone(), fault.message.clone())),
        other => panic!("it is {}", other.word()),
    };
    let (code, text) = told(&unknown_then_refused()).unwrap();
    assert_eq!(code, FaultCode::AgentGone);
    assert!(text.contains("before may have run") && text.ends_with("never began: busy"), "{text}");

    let settings = Settings { retry_first_ms: 10, retry_max_ms: 10, ..Settings::default() };
    let mut manager = Manager::new(settings);
    manager.up(0, Vec::new(), 1_000);
    let plan = Plan { attempts: 2, idempotent: true, start_within_ms: Some(5_000), ..Plan::default() };
    manager.feed(Input::Submit(plan.submit(0, job(1), &[("a", true)])), 1_001);
    manager.report(run(1, 1), jobs_support::bench::ending(Outcome::Failed), 1_003);
    let (agent, connection) = (agent("a"), manager.connection);
    manager.feed(Input::AgentDown { agent, connection, reason: "cut".to_owned() }, 1_004);
    manager.feed(Input::StoreFull(false), 7_000);
    assert_eq!(manager.end(), (Outcome::Failed, Some(true)));
    let (code, text) = told(&manager).unwrap();
    assert_eq!(code, FaultCode::Failed, "as the outcome");
    assert!(text.contains("before failed") && text.contains("start_within passed"), "{text}");
}

#[test]
fn that_the_last_attempt_succeeded_replaces_unknown() {
    let mut manager = unknown_then_refused();
    manager.up(2, vec![refused_row()], 3_000);
    let mut done = Ending::unstarted(Outcome::Succeeded, busy());
    (done.started, done.fault) = (Some(true), None);
    manager.report(run(2, 2), done, 3_001);
    assert_eq!(manager.end(), (Outcome::Succeeded, Some(true)));
}

/// A run that nobody has heard of since its offer, and that was given up.
fn given_up() -> Manager {
    let settings = Settings { unknown_after_ms: Some(1_000), ..Settings::default() };
    let mut manager = Manager::new(settings);
    manager.up(0, Vec::new(), 1_000);
    manager.feed(Input::Submit(Plan::default().submit(0, job(1), &[("a", true)])), 1_001);
    let (agent, connection) = (agent("a"), manager.connection);
    manager.feed(Input::AgentDown { agent, connection, reason: "cut".to_owned() }, 1_002);
    manager.feed(Input::StoreFull(false), 3_000);
    assert_eq!(manager.end(), (Outcome::Unknown, None));
    manager
}

/// The agent ran it, and its spool was taken back to the moment before: whoever has heard of no start cannot see that.
#[test]
fn a_spool_that_says_that_an_unknown_run_never_started_is_not_believed() {
    let row = |state| vec![ResumeRow { run: run(1, 1), state, next_n: 0, acked_n: 0 }];
    let mut manager = given_up();
    manager.up(1, row(SpoolState::Received), 4_000);
    assert_eq!(
        manager.answered.last(),
        Some(&Act::Drop),
        "it starts a second time, or ends as if it had not"
    );
    for outcome in [Outcome::Rejected, Outcome::Expired, Outcome::Cancelled, Outcome::Failed] {
        let mut manager = given_up();
        manager.up(1, row(SpoolState::Done), 4_000);
        manager.report(run(1, 1), Ending::unstarted(outcome, busy()), 4_001);
        assert_eq!(manager.end(), (Outcome::Unknown, None), "{outcome}");
        // what says that it ran is evidence still
        let mut done = Ending::unstarted(Outcome::Succeeded, busy());
        (done.started, done.fault) = (Some(true), None);
        manager.report(run(1, 1), done, 4_002);
        assert_eq!(manager.end(), (Outcome::Succeeded, Some(true)), "{outcome}");
    }
}

#[test]
fn a_spool_that_was_lost_is_believed_no_more_when_it_comes_a_second_time() {
    let mut manager = given_up();
    let row = || vec![ResumeRow { run: run(1, 1), state: SpoolState::Received, next_n: 0, acked_n: 0 }];
    // numbers that it is known to have had are missing; the answer is lost, and it comes again as it is now known
    manager.up(9, Vec::new(), 4_000);
    manager.up(1, row(), 5_000);
    manager.up(1, row(), 6_000);
    assert_eq!(manager.answered, [Act::Drop, Act::Drop]);
}

#[test]
fn what_was_given_up_is_ended_on_its_agent_once_its_job_is_deleted() {
    let running = || vec![ResumeRow { run: run(1, 1), state: SpoolState::Running, next_n: 0, acked_n: 0 }];
    let mut manager = given_up();
    manager.up(1, running(), 4_000);
    manager.feed(Input::Delete { token: 0, job: job(1), by: None }, 5_000);
    manager.up(1, running(), 6_000);
    assert_eq!(manager.answered, [Act::Continue, Act::Drop]);
}

#[test]
fn a_page_that_is_told_again_proves_nothing_about_offers_on_their_way() {
    for cancelled in [false, true] {
        let mut manager = Manager::new(Settings::default());
        manager.up(0, Vec::new(), 1_000);
        manager.feed(Input::Submit(Plan::default().submit(0, job(1), &[("a", true)])), 1_001);
        if cancelled {
            let scope = Scope::Job(job(1));
            manager.feed(Input::Cancel { token: 0, scope, grace_ms: None, preview: false, by: None }, 1_002);
        }
        let before = manager.store.run_of(job(1), &agent("a")).unwrap().clone();
        // the agent had no answer to its page in time, and sent it again before the offer came
        manager.tell(ConnectionId(1_000), 0, Vec::new(), 1_003);
        assert_eq!(*manager.store.run_of(job(1), &agent("a")).unwrap(), before, "cancelled: {cancelled}");
        let answer = OfferAnswer::Accepted;
        let accepted = Input::OfferAnswered {
            agent: agent("a"),
            connection: ConnectionId(1_000),
            job: job(1),
            dno: Dno(1),
            answer,
        };
        manager.feed(accepted, 1_004);
        let state = &manager.store.run_of(job(1), &agent("a")).unwrap().state;
        assert!(matches!(state, RunState::Accepted(..)), "{state:?}");
    }
}

#[test]
fn what_an_older_connection_has_to_tell_is_out_of_date_also_when_the_newer_one_is_over() {
    let mut manager = Manager::new(Settings::default());
    manager.tell(ConnectionId(2), 0, Vec::new(), 1_000);
    manager.feed(Input::Submit(Plan::default().submit(0, job(1), &[("a", true)])), 1_001);
    let scope = Scope::Job(job(1));
    manager.feed(Input::Cancel { token: 0, scope, grace_ms: None, preview: false, by: None }, 1_002);
    let (agent, connection) = (agent("a"), ConnectionId(2));
    manager.feed(Input::AgentDown { agent: agent.clone(), connection, reason: "cut".to_owned() }, 1_003);
    // said before the offer came, and heard now
    manager.tell(ConnectionId(1), 0, Vec::new(), 1_004);
    let state = &manager.store.run_of(job(1), &agent).unwrap().state;
    assert!(matches!(state, RunState::InDoubt(..)), "{state:?}");
    manager.tell(ConnectionId(3), 0, Vec::new(), 1_005);
    assert_eq!(manager.end(), (Outcome::Cancelled, Some(false)));
}

#[test]
fn what_an_agent_is_known_to_have_had_is_not_offered_again_when_it_has_lost_it() {
    let started = || RunReport { started_ms_ago: Some(0), ..RunReport::about(run(1, 1)) };
    let accepted = |answer| Input::OfferAnswered {
        agent: agent("a"),
        connection: ConnectionId(1_000),
        job: job(1),
        dno: Dno(1),
        answer,
    };
    let words: [(&str, Input<u32>); 4] = [
        ("accepted", accepted(OfferAnswer::Accepted)),
        ("known", accepted(OfferAnswer::Known(SpoolState::Starting))),
        (
            "started",
            Input::Report {
                token: 0,
                agent: agent("a"),
                connection: ConnectionId(1_000),
                reports: vec![started()],
            },
        ),
        (
            "reported",
            Input::Report {
                token: 0,
                agent: agent("a"),
                connection: ConnectionId(1_000),
                reports: vec![RunReport::about(run(1, 1))],
            },
        ),
    ];
    for (word, late) in words {
        let mut manager = Manager::new(Settings::default());
        manager.up(0, Vec::new(), 1_000);
        manager.feed(Input::Submit(Plan::default().submit(0, job(1), &[("a", true)])), 1_001);
        let (agent, connection) = (agent("a"), ConnectionId(1_000));
        manager.feed(Input::AgentDown { agent, connection, reason: "cut".to_owned() }, 1_002);
        // said before the session ended, and heard after it
        manager.feed(late, 1_003);
        manager.up(1, Vec::new(), 1_004);
        let unknown = (Outcome::Unknown, (word == "started").then_some(true));
        assert_eq!(manager.end(), unknown, "{word}: it may have run");
    }
}

#[test]
fn a_refusal_that_meets_a_cancel_is_one_end_however_it_is_told() {
    for code in [FaultCode::Overloaded, FaultCode::Rejected] {
        for reported in [false, true] {
            let mut manager = Manager::new(Settings::default());
            manager.up(0, Vec::new(), 1_000);
            manager.feed(Input::Submit(Plan::default().submit(0, job(1), &[("a", true)])), 1_001);
            let scope = Scope::Job(job(1));
            manager.feed(Input::Cancel { token: 0, scope, grace_ms: None, preview: false, by: None }, 1_002);
            let fault = Fault::new(code.clone(), "no");
            if reported {
                manager.report(run(1, 1), Ending::unstarted(Outcome::Rejected, fault), 1_003);
            } else {
                let answer = OfferAnswer::Refused(fault);
                let refused = Input::OfferAnswered {
                    agent: agent("a"),
                    connection: ConnectionId(1_000),
                    job: job(1),
                    dno: Dno(1),
                    answer,
                };
                manager.feed(refused, 1_003);
            }
            assert_eq!(manager.end(), (Outcome::Cancelled, Some(false)), "{code} reported: {reported}");
        }
    }
}

#[test]
fn a_refusal_does_not_undo_a_start() {
    for outcome in [Outcome::Rejected, Outcome::Expired] {
        for started in [None, Some(false), Some(true)] {
            let mut manager = Manager::new(Settings::default());
            manager.up(0, Vec::new(), 1_000);
            manager.feed(Input::Submit(Plan::default().submit(0, job(1), &[("a", true)])), 1_001);
            let begun = RunReport { started_ms_ago: Some(0), ..RunReport::about(run(1, 1)) };
            manager.feed(
                Input::Report {
                    token: 0,
                    agent: agent("a"),
                    connection: ConnectionId(1_000),
                    reports: vec![begun],
                },
                1_002,
            );
            manager.report(run(1, 1), Ending { started, ..Ending::unstarted(outcome, busy()) }, 1_003);
            assert_eq!(manager.end(), (Outcome::Unknown, Some(true)), "{outcome} {started:?}");
        }
    }
}

#[test]
fn what_is_told_of_an_unknown_run_is_taken_although_the_store_lacks_items_before_it() {
    let mut manager = unknown_then_refused();
    manager.store.lacks = true;
    let row = ResumeRow { run: run(2, 2), state: SpoolState::Running, next_n: 7, acked_n: 5 };
    manager.up(2, vec![row], 3_000);
    let mut done = Ending::unstarted(Outcome::Succeeded, busy());
    (done.started, done.fault, done.items) = (Some(true), None, 7);
    // from the first one on that the agent still has
    let items = (5..7).map(jobs_support::bench::item).collect();
    let report = RunReport { items, done: Some(done), ..RunReport::about(run(2, 2)) };
    let (agent, connection) = (agent("a"), manager.connection);
    manager.feed(Input::Report { token: 0, agent, connection, reports: vec![report] }, 3_001);
    assert_eq!(manager.end(), (Outcome::Succeeded, Some(true)));
}
