//! Rules of jobs that need no world: keys, queues, cancelling, callbacks, retention, and what a waiting run costs.

#![expect(clippy::unwrap_used, reason = "test code")]

mod jobs_support;

use std::collections::BTreeMap;
use std::sync::Arc;

use jobs_support::alone::{Manager, answers, ids, offers};
use jobs_support::{Plan, agent, job};
use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::job::wire::RunRef;
use redpoll_common::job::{Attempt, Dno, JobId, Offline, Outcome, QueueKey, RunState};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_manager_core::jobs::criteria::CriteriaError;
use redpoll_manager_core::jobs::record::{CallbackState, Change, EventKind};
use redpoll_manager_core::jobs::{
    Answer, Criteria, Effect, Found, Input, Jobs, Offer, OfferAnswer, Refusal, Scope, Settings, Whose,
};

#[test]
fn one_key_is_one_job_and_another_spec_is_a_conflict() {
    let mut manager = Manager::new(Settings::default());
    let plan = Plan { key: Some("k".to_owned()), ..Plan::default() };
    assert!(matches!(&manager.submit(1, &plan, &[("a", false)])[..], [Effect::FindKey { .. }]));
    assert!(manager.submit(2, &plan, &[("a", false)]).is_empty(), "it waits for the same lookup");
    let found =
        |look, found| Input::KeyFound { submitter: agent("anna").into(), key: "k".to_owned(), look, found };
    let effects = manager.feed(found(1, Found::Free));
    let same = |existing| Ok(Answer::Submitted { job: job(1), existing });
    assert_eq!(answers(&effects), [same(false), same(true)]);
    assert_eq!(answers(&manager.submit(3, &plan, &[("a", false)])), [same(true)]);
    let other = Plan { idempotent: true, ..plan.clone() };
    assert_eq!(
        answers(&manager.submit(4, &other, &[("a", false)])),
        [Err(Refusal::IdemConflict { job: job(1) })]
    );
    // ended, and in the store alone
    manager.cancel(Scope::Job(job(1)), false);
    manager.submit(5, &plan, &[("a", false)]);
    let taken = manager.store.find_key(&agent("anna").into(), "k");
    assert_eq!(answers(&manager.feed(found(2, taken))), [same(true)]);
    manager.submit(6, &plan, &[("a", false)]);
    assert_eq!(answers(&manager.feed(found(3, Found::Unreadable))), [Err(Refusal::StoreUnreadable)]);
}

#[test]
fn agents_that_are_away_are_waited_for_skipped_or_required() {
    let mut manager = Manager::new(Settings::default());
    let with = |offline| Plan { offline, ..Plan::default() };
    manager.submit(1, &with(Offline::Wait), &[("a", false), ("b", true)]);
    assert_eq!((manager.outcome(1, "a"), manager.outcome(1, "b")), (None, None));
    manager.submit(2, &with(Offline::Skip), &[("a", false), ("b", true)]);
    assert_eq!((manager.outcome(2, "a"), manager.outcome(2, "b")), (Some(Outcome::Expired), None));
    let refused = manager.submit(3, &with(Offline::Require), &[("a", false), ("b", true)]);
    assert_eq!(answers(&refused), [Err(Refusal::AgentsAway { agents: vec![agent("a")] })]);
    assert!(!manager.store.jobs.contains_key(&job(3)));
    assert_eq!(answers(&manager.submit(4, &with(Offline::Wait), &[])), [Err(Refusal::NoAgents)]);
    manager.feed(Input::StoreFull(true));
    assert_eq!(answers(&manager.submit(5, &Plan::default(), &[("a", true)])), [Err(Refusal::StoreFull)]);
}

#[test]
fn a_queue_keeps_its_order_and_its_first_concurrency_and_is_gone_when_empty() {
    let mut manager = Manager::new(Settings::default());
    manager.up("b");
    manager.submit(1, &Plan::queued("q", 1), &[("a", false)]);
    // the run before it waits for an agent that is away, and holds nobody up
    assert_eq!(ids(&manager.submit(2, &Plan::queued("q", 5), &[("b", true)])), [job(2)]);
    assert_eq!(ids(&manager.submit(3, &Plan::queued("q", 5), &[("b", true)])), []);
    assert_eq!(ids(&manager.up("a")), [], "its one slot is taken");
    let second = manager.store.run_of(job(2), &agent("b")).unwrap().clone();
    let run = RunRef { job: job(2), attempt: second.attempt, dno: second.dno };
    let offer = Offer {
        agent: agent("b"),
        connection: ConnectionId(1),
        run,
        spec: manager.store.spec_of(job(2)).unwrap(),
        start_by_ms: None,
        submitter: agent("anna").into(),
    };
    assert_eq!(ids(&manager.done(&offer, Outcome::Succeeded)), [job(1)]);
    manager.cancel(Scope::Queue(QueueKey::text("q").unwrap()), false);
    assert_eq!(manager.outcome(3, "b"), Some(Outcome::Cancelled));
    assert_eq!(manager.store.queues.len(), 1, "one run of it is with its agent");
    manager.feed(Input::CancelAnswered {
        agent: agent("a"),
        connection: ConnectionId(1),
        job: job(1),
        dno: Dno(1),
        state: redpoll_common::job::wire::SpoolState::Absent,
    });
    assert!(manager.store.queues.is_empty());
}

#[test]
fn a_whole_queue_ends_in_one_step_and_nothing_of_it_starts_meanwhile() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    for n in 1..=5 {
        manager.submit(n, &Plan::queued("q", 1), &[("a", true)]);
    }
    let effects = manager.cancel(Scope::Queue(QueueKey::text("q").unwrap()), false);
    assert!(offers(&effects).is_empty());
    let Some(Ok(Answer::Cancelled(cancelled))) = answers(&effects).pop() else { panic!("no answer") };
    assert_eq!((cancelled.jobs.len(), cancelled.ended, cancelled.asked), (5, 4, 1));
}

#[test]
fn offers_without_an_answer_are_few_and_the_rest_follows_in_order() {
    let mut manager = Manager::new(Settings { offers_per_agent: 2, ..Settings::default() });
    for n in 1..=4 {
        manager.submit(n, &Plan::default(), &[("a", false)]);
    }
    assert_eq!(ids(&manager.up("a")), [job(1), job(2)]);
    let answer = Input::OfferAnswered {
        agent: agent("a"),
        connection: ConnectionId(1),
        job: job(1),
        dno: Dno(1),
        answer: OfferAnswer::Accepted,
    };
    assert_eq!(ids(&manager.feed(answer)), [job(3)]);
}

#[test]
fn what_waits_for_room_at_its_agent_is_not_overtaken_when_room_and_slot_come_together() {
    let mut manager = Manager::new(Settings { offers_per_agent: 1, ..Settings::default() });
    for name in ["a", "b", "c"] {
        manager.up(name);
    }
    let plan = Plan::queued("q", 2);
    assert_eq!(ids(&manager.submit(1, &plan, &[("a", true)])), [job(1)]);
    assert_eq!(ids(&manager.submit(2, &plan, &[("a", true)])), [], "its agent has an offer to answer");
    assert_eq!(ids(&manager.submit(3, &plan, &[("c", true)])), [job(3)]);
    assert_eq!(ids(&manager.submit(4, &plan, &[("b", true)])), [], "the slots are taken");
    let answer = OfferAnswer::Refused(Fault::new(FaultCode::Rejected, "policy"));
    let refused = Input::OfferAnswered {
        agent: agent("a"),
        connection: ConnectionId(1),
        job: job(1),
        dno: Dno(1),
        answer,
    };
    assert_eq!(ids(&manager.feed(refused)), [job(2)]);
}

#[test]
fn what_is_cancelled_is_not_tried_again() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let plan = Plan { attempts: 5, idempotent: true, ..Plan::default() };
    let offer = offers(&manager.submit(1, &plan, &[("a", true)])).pop().unwrap();
    manager.cancel(Scope::Job(job(1)), false);
    manager.done(&offer, Outcome::Failed);
    assert_eq!(manager.outcome(1, "a"), Some(Outcome::Failed));
}

#[test]
fn who_submits_has_the_last_word_on_whether_it_may_be_repeated() {
    for (says, of_itself, again) in [
        (None, false, false),
        (None, true, true),
        (Some(true), false, true),
        (Some(true), true, true),
        (Some(false), false, false),
        (Some(false), true, false),
    ] {
        let mut manager = Manager::new(Settings::default());
        manager.up("a");
        let plan = Plan { attempts: 2, ..Plan::default() };
        let mut submit = plan.submit(0, job(1), &[("a", true)]);
        submit.idempotent = of_itself;
        Arc::make_mut(&mut submit.spec).idempotent = says;
        let offer = offers(&manager.feed(Input::Submit(submit))).pop().unwrap();
        manager.done(&offer, Outcome::Failed);
        let ended = (!again).then_some(Outcome::Failed);
        assert_eq!(manager.outcome(1, "a"), ended, "{says:?}, the procedure {of_itself}");
    }
}

#[test]
fn what_was_never_received_is_not_offered_again_after_its_time() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    manager.submit(1, &Plan { start_within_ms: Some(10_000), ..Plan::default() }, &[("a", true)]);
    let down = Input::AgentDown { agent: agent("a"), connection: ConnectionId(1), reason: "cut".to_owned() };
    manager.feed(down);
    manager.later(10_000);
    assert_eq!(manager.outcome(1, "a"), None, "nobody can tell yet");
    assert!(offers(&manager.up_again("a", 2)).is_empty());
    assert_eq!(manager.outcome(1, "a"), Some(Outcome::Expired));
}

#[test]
fn an_attempt_that_never_began_does_not_hide_the_one_before_it_however_often_it_is_told() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    let plan = Plan { attempts: 2, idempotent: true, ..Plan::default() };
    let first = offers(&manager.submit(1, &plan, &[("a", true)])).pop().unwrap();
    manager.done(&first, Outcome::Unknown);
    let second = offers(&manager.later(600_000)).pop().unwrap();
    assert_eq!(second.run.attempt, Attempt(2));
    // the acknowledgement of the first report is lost
    for _ in 0..2 {
        manager.done(&second, Outcome::Expired);
        assert_eq!(manager.outcome(1, "a"), Some(Outcome::Unknown), "the first attempt may have run");
    }
}

#[test]
fn criteria_choose_by_info_and_a_missing_key_never_matches() {
    let mut manager = Manager::new(Settings::default());
    let customers = [Some(("acme", 7_u64)), Some(("acorn", 9)), None];
    for (n, customer) in (1..).zip(customers) {
        let info = customer.map(|(name, level)| {
            let inner: BTreeMap<&str, u64> = BTreeMap::from([("level", level)]);
            let mut map = BTreeMap::from([("customer", Raw::text(name))]);
            map.insert("deep", Raw::encode(&inner).unwrap());
            map.insert("a.b/c~d", Raw::text("odd"));
            Raw::encode(&map).unwrap()
        });
        manager.submit(n, &Plan { info, ..Plan::default() }, &[("a", false)]);
    }
    // an info that is no map
    manager.submit(4, &Plan { info: Some(Raw::text("batch 7")), ..Plan::default() }, &[("a", false)]);
    let one = |word: &str, field: &str, value: Raw| {
        Raw::encode(&BTreeMap::from([(word, BTreeMap::from([(field, value)]))])).unwrap()
    };
    let number = |n: u64| Raw::encode(&n).unwrap();
    let float = Raw::encode(&7.0_f64).unwrap();
    let both = vec![one("match", "info.customer", Raw::text("ac*")), one("gt", "info.deep.level", number(8))];
    let cases = [
        (one("eq", "info.customer", Raw::text("acme")), vec![1]),
        (one("match", "info.customer", Raw::text("a*c*e")), vec![1]),
        (one("match", "info.customer", Raw::text("ac*")), vec![1, 2]),
        (one("neq", "info.customer", Raw::text("acme")), vec![2]),
        (one("gt", "info.deep.level", number(7)), vec![2]),
        (one("lt", "info.deep.level", number(8)), vec![1]),
        (one("eq", "info.deep.level", float), vec![1]),
        (one("gt", "info.deep.level", Raw::text("1")), vec![]),
        (one("in", "info.deep.level", Raw::encode(&vec![1, 9]).unwrap()), vec![2]),
        (one("eq", "info.missing", Raw::nil()), vec![]),
        (one("neq", "info.missing", Raw::nil()), vec![]),
        (one("eq", "info/deep/level", number(7)), vec![1]),
        (one("eq", "info/a.b~1c~0d", Raw::text("odd")), vec![1, 2]),
        (one("eq", "info.a.b/c~d", Raw::text("odd")), vec![]),
        (one("match", "info", Raw::text("batch *")), vec![4]),
        (one("neq", "info", Raw::text("batch 7")), vec![1, 2]),
        (one("gt", "submitted_ms", number(0)), vec![1, 2, 3, 4]),
        (one("eq", "procedure", Raw::text("sys.echo")), vec![1, 2, 3, 4]),
        (one("eq", "agent", Raw::text("a")), vec![1, 2, 3, 4]),
        (one("eq", "state", Raw::text("running")), vec![]),
        (Raw::encode(&BTreeMap::from([("and", both.clone())])).unwrap(), vec![2]),
        (Raw::encode(&BTreeMap::from([("or", both)])).unwrap(), vec![1, 2]),
    ];
    for (criteria, expected) in cases {
        let scope = Scope::Where(Criteria::parse(&criteria).unwrap());
        let Some(Ok(Answer::Cancelled(found))) = answers(&manager.cancel(scope.clone(), true)).pop() else {
            panic!("no answer")
        };
        let expected: Vec<JobId> = expected.into_iter().map(job).collect();
        assert_eq!(found.jobs, expected, "{scope:?}");
    }
    assert_eq!(manager.jobs.open_runs(), 4, "a preview ends nothing");
    let late = Criteria::parse(&one("gt", "submitted_ms", number(5))).unwrap().with_times(&|told| told + 2);
    assert_eq!(late, Criteria::parse(&one("gt", "submitted_ms", number(7))).unwrap());
    let float = Criteria::parse(&one("gt", "submitted_ms", Raw::encode(&5.0_f64).unwrap()));
    assert_eq!(float.unwrap().with_times(&|told| told + 2), late);
    for wrong in [Raw::text("today"), Raw::nil(), Raw::encode(&5.5_f64).unwrap(), Raw::encode(&-5).unwrap()] {
        for word in ["eq", "neq", "gt", "lt", "match"] {
            assert_eq!(
                Criteria::parse(&one(word, "submitted_ms", wrong.clone())),
                Err(CriteriaError::NoTime)
            );
        }
    }
    let empty: [Raw; 3] = [
        Raw::empty_map(),
        Raw::encode(&BTreeMap::from([("and", Vec::<Raw>::new())])).unwrap(),
        one("eq", "nmae", Raw::nil()),
    ];
    for wrong in empty {
        assert!(Criteria::parse(&wrong).is_err(), "{wrong:?} is not everything");
    }
}

#[test]
fn an_end_is_told_until_somebody_heard_and_recorded_once() {
    let mut manager = Manager::new(Settings { callback_tries: 3, ..Settings::default() });
    manager.submit(1, &Plan { callback: true, ..Plan::default() }, &[("a", false)]);
    manager.cancel(Scope::Job(job(1)), false);
    let due = |effects: &[Effect<u32>]| {
        effects.iter().filter(|effect| matches!(effect, Effect::Deliver { .. })).count()
    };
    assert_eq!(due(&manager.later(0)), 1);
    let tried =
        |error: Option<&str>| Input::CallbackTried { job: job(1), serial: 1, error: error.map(Into::into) };
    manager.feed(tried(Some("refused")));
    assert_eq!(due(&manager.later(400)), 0, "not so soon");
    assert_eq!(due(&manager.later(600)), 1);
    // a crash while it is under way: it is tried again
    manager.jobs = Jobs::recover(Settings::default(), manager.store.records(), manager.now);
    manager.take();
    assert_eq!(due(&manager.later(0)), 1);
    manager.feed(tried(None));
    manager.feed(tried(None));
    let told = manager.store.events.iter().filter(|event| event.kind == EventKind::CallbackDelivered).count();
    assert_eq!(told, 1);
    assert_eq!(manager.store.callbacks[&(job(1), 1)].state, CallbackState::Delivered);
}

#[test]
fn a_callback_under_way_keeps_its_place_when_its_job_is_deleted() {
    let mut manager = Manager::new(Settings { callbacks_at_once: 1, ..Settings::default() });
    for n in 1..=2 {
        manager.submit(n, &Plan { callback: true, ..Plan::default() }, &[("a", false)]);
        manager.cancel(Scope::Job(job(n)), false);
    }
    let due = |effects: &[Effect<u32>]| {
        let job =
            |effect: &Effect<u32>| if let Effect::Deliver { job, .. } = effect { Some(*job) } else { None };
        effects.iter().filter_map(job).collect::<Vec<_>>()
    };
    assert_eq!(due(&manager.later(0)), [job(1)]);
    manager.feed(Input::Delete { token: 0, job: job(1), by: None });
    assert_eq!(due(&manager.later(1_000)), [], "it is still being delivered");
    let tried = |n| Input::CallbackTried { job: job(n), serial: 1, error: None };
    assert_eq!(due(&manager.feed(tried(1))), [job(2)]);
    assert_eq!(due(&manager.feed(tried(1))), [], "once");
    manager.feed(tried(2));
    assert_eq!(manager.store.callbacks[&(job(2), 1)].state, CallbackState::Delivered);
}

#[test]
fn ended_jobs_are_kept_for_a_time_and_up_to_a_number() {
    let settings =
        Settings { keep_ms: Some(50_000), keep_jobs: 3, prune_every_ms: 10_000, ..Settings::default() };
    let mut manager = Manager::new(settings);
    for n in 1..=5 {
        manager.submit(n, &Plan { callback: n == 1, ..Plan::default() }, &[("a", false)]);
        manager.cancel(Scope::Job(job(n)), false);
        manager.now += 1;
    }
    manager.submit(6, &Plan::default(), &[("a", false)]);
    let asked =
        |effects: &[Effect<u32>]| effects.iter().any(|effect| matches!(effect, Effect::FindOldest { .. }));
    assert!(asked(&manager.later(10_000)));
    let (stored, jobs) = manager.store.oldest(&Whose::Operators, 100);
    manager.feed(Input::Oldest { whose: Whose::Operators, stored: Some(stored), jobs });
    // the first one has a callback that nobody heard; the next two are too many
    assert_eq!(manager.store.deleted, [job(2), job(3)]);
    assert!(asked(&manager.later(50_000)));
    let (stored, jobs) = manager.store.oldest(&Whose::Operators, 100);
    manager.feed(Input::Oldest { whose: Whose::Operators, stored: Some(stored), jobs });
    assert_eq!(manager.store.deleted.len(), 4);
    assert!(manager.store.jobs.contains_key(&job(6)), "it is open");
}

#[test]
fn a_first_turn_after_a_crash_says_what_is_in_doubt_and_numbers_go_on() {
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    manager.submit(1, &Plan::default(), &[("a", true)]);
    let mut again = Jobs::<u32>::recover(Settings::default(), manager.store.records(), 5_000);
    let turn = again.poll_turn().unwrap();
    let doubtful = turn.changes.iter().filter(|change| matches!(change, Change::RunChanged(run) if matches!(run.state, RunState::InDoubt(Attempt(1), Dno(1))))).count();
    assert_eq!(doubtful, 1);
    assert!(offers(&turn.effects).is_empty());
}

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
#[cfg(target_os = "linux")]
fn a_hundred_thousand_waiting_runs_are_cheap() {
    const RUNS: u64 = 100_000;
    let mut manager = Jobs::<u32>::new(Settings::default(), 1_000);
    let plan = Plan { start_within_ms: Some(100_000), ..Plan::queued("q", 1) };
    let spec = plan.submit(0, job(0), &[]).spec;
    let agents: Vec<PeerId> = (0..100).map(|n| agent(&format!("agent-{n}"))).collect();
    let before = resident();
    for n in 1..=RUNS {
        let mut submit = plan.submit(0, job(n), &[]);
        submit.spec = spec.clone();
        submit.agents = vec![(agents[usize::try_from(n).unwrap() % 100].clone(), false)];
        manager.handle(Input::Submit(submit), 1_000);
        drop(manager.poll_turn());
    }
    let per_run = (resident() - before) / usize::try_from(RUNS).unwrap();
    println!("{per_run} bytes per waiting run");
    assert!(per_run <= 1_000, "{per_run} bytes per waiting run");
}
