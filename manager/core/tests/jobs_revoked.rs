//! Who is revoked: what is written and told, what of an agent still counts, and what an older connection cannot do.

#![expect(clippy::unwrap_used, reason = "test code")]

mod jobs_support;

use jobs_support::alone::{Manager, answers, ids, offers};
use jobs_support::{Plan, agent, job};
use redpoll_common::identity::{Identity, Role};
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::wire::{RunReport, SpoolState};
use redpoll_common::job::{Ending, JobId, Offline, Outcome, RunState};
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_manager_core::jobs::record::EventKind;
use redpoll_manager_core::jobs::{Answer, Effect, Found, Input, Jobs, Offer, OfferAnswer, Refusal, Settings};
use redpoll_manager_core::revoked::{CertificateName, Denial, Denied, MAX_REVOKED};

fn denial(role: Role, name: &str, certificate: Option<&str>) -> Denial {
    let certificate = certificate.map(|text| CertificateName::parse(text).unwrap());
    let denied = Denied { role, id: agent(name), certificate };
    Denial { denied, at_ms: 0, by: agent("anna").into(), reason: Some("stolen".to_owned()) }
}

fn revoke(manager: &mut Manager, denial: Denial) -> Vec<Effect<u32>> {
    manager.feed(Input::Revoke { token: 7, denial: Box::new(denial) })
}

fn restore(manager: &mut Manager, denied: Denied) -> Vec<Effect<u32>> {
    manager.feed(Input::Restore { token: 7, denied, by: agent("anna").into() })
}

fn who(role: Role, name: &str) -> Identity {
    Identity::parse(&format!("spiffe://home/{role}/{name}")).unwrap()
}

fn cut(manager: &mut Manager, name: &str, connection: u64) -> Vec<Effect<u32>> {
    let (who, connection) = (who(Role::Agent, name), ConnectionId(connection));
    manager.feed(Input::Cut { token: 8, who, connection, whole: true })
}

fn told(manager: &Manager) -> Vec<(EventKind, Option<String>)> {
    let of = [
        EventKind::AgentRevoked,
        EventKind::AgentRestored,
        EventKind::OperatorRevoked,
        EventKind::OperatorRestored,
    ];
    let events = manager.store.events.iter().filter(|event| of.contains(&event.kind));
    events.map(|event| (event.kind, event.detail.clone())).collect()
}

#[test]
fn whoever_is_revoked_is_written_down_before_the_door_hears_of_it_and_told_once() {
    let mut manager = Manager::new(Settings::default());
    let effects = revoke(&mut manager, denial(Role::Agent, "a", None));
    // `Manager::feed` stores before it gives the effects; the door closes before the answer goes out
    let places = |wanted: &dyn Fn(&Effect<u32>) -> bool| effects.iter().position(wanted).unwrap();
    let (door, answer) = (
        places(&|effect| matches!(effect, Effect::Deny(_))),
        places(&|effect| matches!(effect, Effect::Answer(7, Ok(Answer::Revoked { existing: false })))),
    );
    assert!(door < answer);
    assert_eq!(manager.store.denied.len(), 1);
    let again = revoke(&mut manager, denial(Role::Agent, "a", None));
    assert!(matches!(
        again[..],
        [Effect::Deny(_), Effect::Answer(7, Ok(Answer::Revoked { existing: true }))]
    ));
    let effects = restore(&mut manager, Denied::whole(Role::Agent, agent("a")));
    assert_eq!(answers(&effects), [Ok(Answer::Restored)]);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Allow(_))));
    let nobody = restore(&mut manager, Denied::whole(Role::Agent, agent("a")));
    assert_eq!(answers(&nobody), [Err(Refusal::NotRevoked)]);
    revoke(&mut manager, denial(Role::Operator, "eve", Some("0a1b")));
    assert_eq!(
        told(&manager),
        [
            (EventKind::AgentRevoked, Some("by anna: stolen".to_owned())),
            (EventKind::AgentRestored, Some("by anna".to_owned())),
            (EventKind::OperatorRevoked, Some("eve by anna, certificate 0a1b: stolen".to_owned())),
        ]
    );
}

#[test]
fn a_machine_that_goes_on_from_the_store_knows_who_is_revoked() {
    let mut manager = Manager::new(Settings::default());
    revoke(&mut manager, denial(Role::Agent, "a", None));
    manager.jobs = Jobs::recover(Settings::default(), manager.store.records(), manager.now);
    assert!(manager.jobs.denied().whole(Role::Agent, &agent("a")).is_some());
    let effects = manager.submit(1, &Plan::default(), &[("a", false), ("b", false)]);
    assert_eq!(answers(&effects), [Err(Refusal::AgentsRevoked { agents: vec![agent("a")] })]);
    restore(&mut manager, Denied::whole(Role::Agent, agent("a")));
    let effects = manager.submit(1, &Plan::default(), &[("a", false), ("b", false)]);
    assert!(answers(&effects)[0].is_ok());
}

#[test]
fn a_revoked_certificate_keeps_no_job_from_its_agent() {
    let mut manager = Manager::new(Settings::default());
    revoke(&mut manager, denial(Role::Agent, "a", Some("01")));
    assert!(answers(&manager.submit(1, &Plan::default(), &[("a", false)]))[0].is_ok());
}

#[test]
fn a_full_list_is_a_refusal_and_writes_nothing() {
    let mut manager = Manager::new(Settings::default());
    let mut records = manager.store.records();
    records.denied = (0..MAX_REVOKED).map(|n| denial(Role::Agent, &format!("x{n}"), None)).collect();
    manager.jobs = Jobs::recover(Settings::default(), records, manager.now);
    assert_eq!(answers(&revoke(&mut manager, denial(Role::Agent, "a", None))), [Err(Refusal::ListFull)]);
    assert!(manager.store.denied.is_empty() && told(&manager).is_empty());
}

/// Everything that an agent may say of a run, on a connection.
fn words(offer: &Offer, connection: u64) -> Vec<Input<u32>> {
    let (agent, job, dno) = (offer.agent.clone(), offer.run.job, offer.run.dno);
    let connection = ConnectionId(connection);
    let done = Ending {
        outcome: Outcome::Succeeded,
        started: Some(true),
        result: None,
        fault: None,
        items: 0,
        duration_ms: None,
    };
    let begun = RunReport { started_ms_ago: Some(0), ..RunReport::about(offer.run) };
    let ended = RunReport { done: Some(done), ..RunReport::about(offer.run) };
    let report = |report| Input::Report { token: 0, agent: agent.clone(), connection, reports: vec![report] };
    let answered = |answer| Input::OfferAnswered { agent: agent.clone(), connection, job, dno, answer };
    vec![
        report(RunReport::about(offer.run)),
        report(begun),
        report(ended),
        answered(OfferAnswer::Accepted),
        answered(OfferAnswer::Known(SpoolState::Running)),
        answered(OfferAnswer::Known(SpoolState::Absent)),
        answered(OfferAnswer::Refused(Fault::new(FaultCode::Rejected, "no"))),
        answered(OfferAnswer::Lost),
        Input::CancelAnswered { agent: agent.clone(), connection, job, dno, state: SpoolState::Absent },
    ]
}

fn is_refusal(effects: &[Effect<u32>]) -> bool {
    effects.iter().all(|effect| matches!(effect, Effect::RefuseReport(_)))
}

#[test]
fn nothing_that_comes_over_an_older_connection_does_anything_once_a_newer_one_is_in() {
    // not told of its end, told of it, and the newer one over as well
    for (older_ends, newer_ends) in [(false, false), (true, false), (false, true)] {
        for n in 0..9 {
            let mut manager = Manager::new(Settings::default());
            manager.up_again("a", 4);
            let offer = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).remove(0);
            manager.feed(Input::AgentUp { agent: agent("a"), connection: ConnectionId(5) });
            for (ends, connection) in [(older_ends, 4), (newer_ends, 5)] {
                let connection = ConnectionId(connection);
                let down = Input::AgentDown { agent: agent("a"), connection, reason: "cut".to_owned() };
                drop(ends.then(|| manager.feed(down)));
            }
            let before = manager.store.clone();
            let word = words(&offer, 4).remove(n);
            let said = format!("{word:?}, {older_ends} {newer_ends}");
            assert!(is_refusal(&manager.feed(word)), "{said}");
            assert_eq!(manager.store.runs, before.runs, "{said}");
            assert_eq!(manager.store.events, before.events, "{said}");
        }
    }
}

#[test]
fn a_report_on_a_connection_that_nobody_has_told_of_yet_is_the_first_word_of_the_newest() {
    let mut manager = Manager::new(Settings::default());
    manager.up_again("a", 4);
    let offer = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).remove(0);
    manager.feed(words(&offer, 5).remove(0));
    assert!(is_refusal(&manager.feed(words(&offer, 4).remove(2))), "the older one counts no more");
    let before = manager.store.events.len();
    manager.feed(Input::AgentUp { agent: agent("a"), connection: ConnectionId(5) });
    assert_eq!(manager.store.events.len(), before, "it is known already");
}

#[test]
fn after_the_cut_nothing_of_the_connections_before_it_counts_and_what_was_out_is_in_doubt() {
    for n in 0..9 {
        let mut manager = Manager::new(Settings::default());
        manager.up_again("a", 4);
        let offer = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).remove(0);
        revoke(&mut manager, denial(Role::Agent, "a", None));
        assert_eq!(answers(&cut(&mut manager, "a", 4)), [Ok(Answer::Cut)]);
        let run = manager.store.run_of(job(1), &agent("a")).unwrap();
        assert!(matches!(run.state, RunState::InDoubt(..)), "{:?}", run.state);
        let before = manager.store.clone();
        let said = format!("{:?}", words(&offer, 4).remove(n));
        assert!(is_refusal(&manager.feed(words(&offer, 4).remove(n))), "{said}");
        // also what was told late of its beginning, and a page
        manager.feed(Input::AgentUp { agent: agent("a"), connection: ConnectionId(4) });
        manager.up_again("a", 4);
        assert_eq!((manager.store.runs, manager.store.events), (before.runs, before.events), "{said}");
    }
}

#[test]
fn a_newer_session_with_another_certificate_is_not_touched_by_the_cut_of_an_older_one() {
    let mut manager = Manager::new(Settings::default());
    manager.up_again("a", 5);
    let offer = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).remove(0);
    cut(&mut manager, "a", 4);
    manager.feed(words(&offer, 5).remove(2));
    assert_eq!(manager.outcome(1, "a"), Some(Outcome::Succeeded));
}

#[test]
fn who_is_restored_comes_back_and_settles_what_was_in_doubt() {
    let mut manager = Manager::new(Settings::default());
    manager.up_again("a", 4);
    manager.submit(1, &Plan::default(), &[("a", true)]);
    manager.submit(2, &Plan::default(), &[("b", false)]);
    revoke(&mut manager, denial(Role::Agent, "a", None));
    cut(&mut manager, "a", 4);
    restore(&mut manager, Denied::whole(Role::Agent, agent("a")));
    let again: Vec<JobId> = ids(&manager.up_again("a", 6));
    assert_eq!(again, [job(1)], "never received, so offered again");
}

#[test]
fn a_submit_that_waits_for_a_look_into_the_store_is_not_stored_after_the_cut() {
    // whose one certificate is out has not lost the right to ask
    for (whole, refusal) in [(true, Refusal::Revoked), (false, Refusal::CertificateRevoked)] {
        let mut manager = Manager::new(Settings::default());
        let plan = Plan { key: Some("k".to_owned()), ..Plan::default() };
        let effects = manager.submit(1, &plan, &[("a", false)]);
        assert!(effects.iter().any(|effect| matches!(effect, Effect::FindKey { .. })));
        let who = who(Role::Operator, "anna");
        let effects = manager.feed(Input::Cut { token: 8, who, connection: ConnectionId(1), whole });
        assert_eq!(answers(&effects), [Err(refusal), Ok(Answer::Cut)]);
        let found = Found::Free;
        let found = Input::KeyFound { submitter: agent("anna").into(), key: "k".to_owned(), look: 1, found };
        manager.feed(found);
        assert!(manager.store.jobs.is_empty());
    }
}

#[test]
fn an_answer_that_is_older_than_a_cut_is_none_to_the_look_after_it() {
    let mut manager = Manager::new(Settings::default());
    let plan = Plan { key: Some("k".to_owned()), offline: Offline::Skip, ..Plan::default() };
    let answered =
        |look, found| Input::KeyFound { submitter: agent("anna").into(), key: "k".to_owned(), look, found };
    manager.submit(1, &plan, &[("a", false)]);
    let (who, connection) = (who(Role::Operator, "anna"), ConnectionId(1));
    manager.feed(Input::Cut { token: 8, who, connection, whole: false });
    // with another certificate, before the first look is answered
    manager.submit(2, &plan, &[("a", false)]);
    assert!(manager.feed(answered(1, Found::Free)).is_empty() && manager.store.jobs.is_empty());
    let taken = answers(&manager.feed(answered(2, Found::Free)));
    assert_eq!(taken, [Ok(Answer::Submitted { job: job(2), existing: false })]);
    // it ended at once, so that the store alone knows its key
    manager.submit(3, &plan, &[("a", false)]);
    assert!(manager.feed(answered(1, Found::Free)).is_empty() && manager.store.jobs.len() == 1);
    let found = manager.store.find_key(&agent("anna").into(), "k");
    let existing = answers(&manager.feed(answered(3, found)));
    assert_eq!(existing, [Ok(Answer::Submitted { job: job(2), existing: true })]);
}

#[test]
fn a_machine_that_begins_anew_takes_no_look_of_the_one_before_for_its_own() {
    let mut manager = Manager::new(Settings::default());
    let plan = Plan { key: Some("k".to_owned()), ..Plan::default() };
    manager.submit(1, &plan, &[("a", false)]);
    let anew = Jobs::recover(Settings::default(), manager.store.records(), manager.now);
    manager.jobs = anew.after(manager.jobs.heritage());
    manager.submit(2, &plan, &[("a", false)]);
    let (submitter, key, found) = (agent("anna").into(), "k".to_owned(), Found::Free);
    manager.feed(Input::KeyFound { submitter, key, look: 1, found });
    assert!(manager.store.jobs.is_empty());
}

/// The disk was full to the end: the machine begins anew in a process that lives on, and so do the connections.
#[test]
fn a_machine_that_begins_anew_knows_which_connection_was_the_newest_and_which_was_cut() {
    for shut_out in [false, true] {
        for n in 0..9 {
            let mut manager = Manager::new(Settings::default());
            manager.up_again("a", 4);
            let offer = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).remove(0);
            // the other one is replaced, or is cut while it is the newest
            let late = if shut_out { 5 } else { 4 };
            manager.feed(Input::AgentUp { agent: agent("a"), connection: ConnectionId(5) });
            drop(shut_out.then(|| cut(&mut manager, "a", 5)));
            let anew = Jobs::recover(Settings::default(), manager.store.records(), manager.now);
            manager.jobs = anew.after(manager.jobs.heritage());
            manager.take();
            let before = manager.store.clone();
            let word = words(&offer, late).remove(n);
            let said = format!("{word:?}, {shut_out}");
            assert!(is_refusal(&manager.feed(word)), "{said}");
            manager.feed(Input::AgentUp { agent: agent("a"), connection: ConnectionId(late) });
            assert_eq!(
                (&manager.store.runs, &manager.store.events),
                (&before.runs, &before.events),
                "{said}"
            );
            // and whoever comes back is the newest again, and has a session
            assert_eq!(ids(&manager.up_again("a", 6)), [job(1)], "{said}");
        }
    }
}

#[test]
fn what_is_written_of_a_revocation_is_when_the_manager_heard_of_it() {
    let mut manager = Manager { now: 77_000, ..Manager::new(Settings::default()) };
    revoke(&mut manager, Denial { at_ms: 5, ..denial(Role::Agent, "a", None) });
    assert_eq!(manager.store.denied.values().map(|denial| denial.at_ms).collect::<Vec<_>>(), [77_000]);
}

#[test]
fn a_session_that_began_after_the_one_that_was_cut_goes_on_and_so_does_an_agent_of_an_operators_name() {
    let mut manager = Manager::new(Settings::default());
    manager.up_again("a", 7);
    cut(&mut manager, "a", 6);
    let (who, connection) = (who(Role::Operator, "a"), ConnectionId(99));
    manager.feed(Input::Cut { token: 8, who, connection, whole: true });
    assert_eq!(ids(&manager.submit(1, &Plan::default(), &[("a", true)])), [job(1)]);
    assert!(manager.store.events.iter().all(|event| event.kind != EventKind::AgentDisconnected));
}

#[test]
fn a_session_that_was_cut_before_anybody_told_of_it_does_not_begin() {
    let mut manager = Manager::new(Settings::default());
    cut(&mut manager, "a", 5);
    manager.feed(Input::AgentUp { agent: agent("a"), connection: ConnectionId(5) });
    manager.up_again("a", 5);
    assert_eq!(ids(&manager.submit(1, &Plan::default(), &[("a", true)])), []);
    assert!(manager.store.events.iter().all(|event| event.kind != EventKind::AgentConnected));
    assert_eq!(ids(&manager.up_again("a", 6)), [job(1)]);
}
