//! What a session proves: which numbers an agent has seen, in which order they are offered again, and which run is meant.

#![expect(clippy::unwrap_used, reason = "test code")]

mod jobs_support;

use jobs_support::alone::{Manager, ids, offers};
use jobs_support::{Plan, agent, job};
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::wire::{Act, ResumeRow, RunRef, RunReport, SpoolState};
use redpoll_common::job::{Dno, Ending, JobId, Outcome};
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_manager_core::jobs::record::EventKind;
use redpoll_manager_core::jobs::{Effect, Input, Jobs, Offer, OfferAnswer, ResumePage, Scope, Settings};

const HOUR: u64 = 3_600_000;

fn offered(manager: &mut Manager, n: u64, plan: &Plan) -> Offer {
    offers(&manager.submit(n, plan, &[("a", true)])).pop().unwrap()
}

fn down(manager: &mut Manager, connection: u64) {
    let connection = ConnectionId(connection);
    manager.feed(Input::AgentDown { agent: agent("a"), connection, reason: "cut".to_owned() });
}

/// What shows that an offer was taken, in a word, and the input.
type Shown = (&'static str, fn(&Offer) -> Input<u32>);

/// The same spool in another session.
fn back(manager: &mut Manager, connection: u64, max_dno: u64, rows: Vec<ResumeRow>) -> Vec<Effect<u32>> {
    let (connection, max_dno) = (ConnectionId(connection), Dno(max_dno));
    let (token, agent, spool, last) = (0, agent("a"), [1; 16], true);
    manager.feed(Input::Resume(ResumePage { token, agent, connection, spool, max_dno, last, rows }))
}

fn row(run: RunRef, state: SpoolState) -> ResumeRow {
    ResumeRow { run, state, next_n: 0, acked_n: 0 }
}

fn acts(effects: &[Effect<u32>]) -> Vec<Act> {
    let answer = |effect: &Effect<u32>| {
        if let Effect::ResumeAnswer(_, answer) = effect {
            Some(answer.jobs.iter().map(|act| act.act).collect())
        } else {
            None
        }
    };
    effects.iter().find_map(answer).unwrap()
}

fn answered(offer: &Offer, answer: OfferAnswer) -> Input<u32> {
    let (agent, connection, job) = (offer.agent.clone(), offer.connection, offer.run.job);
    Input::OfferAnswered { agent, connection, job, dno: offer.run.dno, answer }
}

fn ended(offer: &Offer, connection: u64, ending: Ending) -> Input<u32> {
    let reports = vec![RunReport { done: Some(ending), ..RunReport::about(offer.run) }];
    let (token, agent, connection) = (0, offer.agent.clone(), ConnectionId(connection));
    Input::Report { token, agent, connection, reports }
}

fn failed() -> Ending {
    let mut failed = Ending::unstarted(Outcome::Failed, Fault::new(FaultCode::Failed, "no"));
    failed.started = Some(true);
    failed
}

fn refused() -> Ending {
    Ending::unstarted(Outcome::Rejected, Fault::new(FaultCode::UnknownProcedure, "gone"))
}

#[test]
fn whatever_shows_that_a_number_is_on_the_disk_of_an_agent_betrays_a_spool_that_lacks_it() {
    let known = |state| OfferAnswer::Known(state);
    let inputs: [Shown; 4] = [
        ("taken", |offer| answered(offer, OfferAnswer::Accepted)),
        ("ended", |offer| ended(offer, 1, failed())),
        ("refused", |offer| answered(offer, OfferAnswer::Refused(Fault::new(FaultCode::Rejected, "no")))),
        ("running", |offer| answered(offer, OfferAnswer::Known(SpoolState::Running))),
    ];
    let is_lost = |manager: &mut Manager| {
        down(manager, 1);
        back(manager, 2, 0, Vec::new());
        manager.store.events.iter().any(|event| event.kind == EventKind::SpoolLost)
    };
    for (what, input) in inputs {
        let mut manager = Manager::new(Settings::default());
        manager.up("a");
        let offer = offered(&mut manager, 1, &Plan::default());
        manager.feed(input(&offer));
        assert!(is_lost(&mut manager), "{what}");
    }
    for cancelled in [false, true] {
        // it has nothing of the run, and says that under its number
        let mut manager = Manager::new(Settings::default());
        manager.up("a");
        let offer = offered(&mut manager, 1, &Plan::default());
        if cancelled {
            manager.cancel(Scope::Job(job(1)), false);
            let (agent, connection, dno) = (agent("a"), ConnectionId(1), offer.run.dno);
            let state = SpoolState::Absent;
            manager.feed(Input::CancelAnswered { agent, connection, job: job(1), dno, state });
            assert_eq!(manager.outcome(1, "a"), Some(Outcome::Cancelled));
        } else {
            manager.feed(answered(&offer, known(SpoolState::Absent)));
        }
        assert!(is_lost(&mut manager), "cancelled: {cancelled}");
    }
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let offer = offered(&mut manager, 1, &Plan::default());
    manager.feed(answered(&offer, OfferAnswer::Refused(Fault::new(FaultCode::Overloaded, "full"))));
    assert!(!is_lost(&mut manager), "it had no room, and wrote nothing");
}

#[test]
fn that_an_offer_was_taken_counts_also_when_it_is_heard_after_the_session() {
    for answer in [OfferAnswer::Accepted, OfferAnswer::Known(SpoolState::Done)] {
        let mut manager = Manager::new(Settings::default());
        manager.up("a");
        let offer = offered(&mut manager, 1, &Plan::default());
        down(&mut manager, 1);
        manager.feed(answered(&offer, answer));
        back(&mut manager, 2, 0, Vec::new());
        assert!(manager.store.events.iter().any(|event| event.kind == EventKind::SpoolLost));
        assert_eq!(manager.outcome(1, "a"), Some(Outcome::Unknown));
    }
}

#[test]
fn what_was_never_received_is_offered_under_its_number_before_anything_under_a_new_one() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    for n in 1..=3 {
        offered(&mut manager, n, &Plan::default());
    }
    down(&mut manager, 1);
    let again: Vec<(JobId, u64)> = offers(&back(&mut manager, 2, 1, Vec::new()))
        .iter()
        .map(|offer| (offer.run.job, offer.run.dno.0))
        .collect();
    // an agent refuses a number below one that it has seen
    assert_eq!(again, [(job(2), 2), (job(3), 3), (job(1), 4)]);
}

#[test]
fn an_answer_about_another_job_than_that_of_the_number_changes_nothing() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let first = offered(&mut manager, 1, &Plan::default());
    let second = offered(&mut manager, 2, &Plan::default());
    let mut mixed = first;
    mixed.run.dno = second.run.dno;
    manager.feed(answered(&mixed, OfferAnswer::Refused(Fault::new(FaultCode::Rejected, "no"))));
    assert_eq!((manager.outcome(1, "a"), manager.outcome(2, "a")), (None, None));
}

#[test]
fn a_run_that_was_in_doubt_and_goes_on_is_not_given_up_for_that_later() {
    let settings = Settings { unknown_after_ms: Some(HOUR), return_ms: 0, ..Settings::default() };
    let mut manager = Manager::new(settings);
    manager.up("a");
    let offer = offered(&mut manager, 1, &Plan::default());
    manager.feed(answered(&offer, OfferAnswer::Accepted));
    down(&mut manager, 1);
    manager.later(HOUR / 2);
    let effects = back(&mut manager, 2, 1, vec![row(offer.run, SpoolState::Running)]);
    assert_eq!(acts(&effects), [Act::Continue]);
    assert_eq!(manager.store.run_of(job(1), &agent("a")).unwrap().doubt_ms, None);
    manager.later(2 * HOUR);
    assert_eq!(manager.outcome(1, "a"), None);
}

#[test]
fn an_attempt_that_has_failed_is_not_taken_back_because_its_end_was_heard_late() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let plan = Plan { attempts: 2, idempotent: true, ..Plan::default() };
    let offer = offered(&mut manager, 1, &plan);
    manager.feed(answered(&offer, OfferAnswer::Accepted));
    down(&mut manager, 1);
    manager.feed(ended(&offer, 1, failed()));
    // its agent did not hear that this was heard
    let effects = back(&mut manager, 2, 1, vec![row(offer.run, SpoolState::Done)]);
    assert_eq!(acts(&effects), [Act::Drop]);
    assert_eq!(ids(&manager.later(HOUR)), [job(1)]);
}

/// A run whose attempt of this number was given up, and which waits for the next one; the manager was started anew since, or not.
fn given_up(before: &[Ending], restarted: bool) -> (Manager, Offer) {
    let settings = Settings { unknown_after_ms: Some(HOUR), ..Settings::default() };
    let mut manager = Manager::new(settings);
    manager.up("a");
    let plan = Plan { attempts: 5, idempotent: true, ..Plan::default() };
    let mut offer = offered(&mut manager, 1, &plan);
    for ending in before {
        manager.feed(ended(&offer, 1, ending.clone()));
        offer = offers(&manager.later(600_000)).pop().unwrap();
    }
    down(&mut manager, 1);
    manager.later(HOUR);
    if restarted {
        manager.jobs = Jobs::recover(settings, manager.store.records(), manager.now);
        manager.take();
    }
    (manager, offer)
}

#[test]
fn what_is_found_and_never_began_ends_by_what_is_known_of_the_attempts_before_it() {
    let put_back = Ending::unstarted(Outcome::Rejected, Fault::new(FaultCode::Overloaded, "full"));
    for restarted in [false, true] {
        // an attempt that was put back is none
        let before = [(put_back.clone(), Outcome::Rejected, Some(false))];
        let failed = [(failed(), if restarted { Outcome::Unknown } else { Outcome::Failed }, None)];
        for (before, outcome, started) in before.into_iter().chain(failed) {
            let (mut manager, offer) = given_up(&[before], restarted);
            let max_dno = offer.run.dno.0;
            assert_eq!(
                acts(&back(&mut manager, 2, max_dno, vec![row(offer.run, SpoolState::Done)])),
                [Act::Continue]
            );
            manager.feed(ended(&offer, 2, refused()));
            let ending = manager.store.run_of(job(1), &agent("a")).unwrap().state.ending().unwrap().clone();
            assert_eq!(ending.outcome, outcome, "restarted: {restarted}");
            assert!(started.is_none() || ending.started == started, "{:?}", ending.started);
        }
    }
}

#[test]
fn only_the_attempt_that_was_given_up_is_found() {
    let (mut manager, offer) = given_up(&[failed()], false);
    let mut other = offer.run;
    (other.attempt.0, other.dno.0) = (1, 1);
    let max_dno = offer.run.dno.0;
    assert_eq!(acts(&back(&mut manager, 2, max_dno, vec![row(other, SpoolState::Running)])), [Act::Drop]);
    assert_eq!(manager.store.run_of(job(1), &agent("a")).unwrap().state.word(), "queued");
    assert_eq!(offers(&manager.later(600_000)).pop().unwrap().run.attempt.0, 3);
}

#[test]
fn a_cancel_is_not_sent_beside_the_answer_to_the_first_page_which_says_it() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let offer = offered(&mut manager, 1, &Plan::default());
    manager.feed(answered(&offer, OfferAnswer::Accepted));
    down(&mut manager, 1);
    manager.feed(Input::AgentUp { agent: agent("a"), connection: ConnectionId(2) });
    let effects = manager.cancel(Scope::Job(job(1)), false);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::CancelOnAgent { .. })));
    let effects = back(&mut manager, 2, 1, vec![row(offer.run, SpoolState::Running)]);
    assert_eq!(acts(&effects), [Act::Kill { grace_ms: None }]);
}

#[test]
fn a_reload_that_gives_agents_more_time_gives_it_also_to_what_is_in_doubt() {
    let short = Settings { unknown_after_ms: Some(1_000), return_ms: 0, ..Settings::default() };
    for longer in [Some(HOUR), None] {
        let mut manager = Manager::new(short);
        manager.up("a");
        offered(&mut manager, 1, &Plan::default());
        down(&mut manager, 1);
        manager.feed(Input::Settings(Settings { unknown_after_ms: longer, ..short }));
        manager.later(HOUR - 1);
        assert_eq!(manager.outcome(1, "a"), None);
        manager.later(1);
        assert_eq!(manager.outcome(1, "a"), longer.map(|_| Outcome::Unknown));
    }
}
