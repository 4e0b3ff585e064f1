//! Telling of ends: in time whatever restarts, to everybody whoever hangs, and once.

mod jobs_support;

use std::sync::Arc;

use jobs_support::alone::{Manager, done, offers};
use jobs_support::{Plan, agent, job};
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::{Callback, JobId, JobSpec, Outcome};
use redpoll_manager_core::jobs::record::{CallbackState, EventKind};
use redpoll_manager_core::jobs::{Effect, Input, Jobs, NotTaken, Scope, Settings};

fn delivered(effects: &[Effect<u32>]) -> Vec<JobId> {
    let job = |effect: &Effect<u32>| if let Effect::Deliver { job, .. } = effect { Some(*job) } else { None };
    effects.iter().filter_map(job).collect()
}

fn tried(id: JobId, error: Option<&str>) -> Input<u32> {
    Input::CallbackTried { job: id, serial: 1, error: error.map(Into::into) }
}

/// A job that has ended, whose end is to be told there.
fn ended(manager: &mut Manager, n: u64, target: Callback) {
    let mut submit = Plan::default().submit(0, job(n), &[("a", false)]);
    submit.spec = Arc::new(JobSpec { callback: Some(target), ..JobSpec::clone(&submit.spec) });
    manager.feed(Input::Submit(submit));
    manager.cancel(Scope::Job(job(n)), false);
}

fn hook(url: &str) -> Callback {
    Callback::Webhook(url.to_owned())
}

fn told(manager: &Manager, kind: EventKind) -> usize {
    manager.store.events.iter().filter(|event| event.kind == kind).count()
}

#[test]
fn restarts_neither_hurry_a_callback_nor_use_up_its_tries() {
    const EVERY_MS: u64 = 10 * 60_000;
    let mut manager = Manager::new(Settings::default());
    ended(&mut manager, 1, hook("https://dead.example/"));
    let (mut restarts, mut tries, mut waiting) = (0_u64, 0, Vec::new());
    while told(&manager, EventKind::CallbackAbandoned) == 0 {
        waiting.extend(delivered(&manager.later(10_000)));
        for id in std::mem::take(&mut waiting) {
            tries += 1;
            waiting.extend(delivered(&manager.feed(tried(id, Some("refused")))));
        }
        if manager.now / EVERY_MS > restarts {
            restarts = manager.now / EVERY_MS;
            manager.jobs = Jobs::recover(Settings::default(), manager.store.records(), manager.now);
            waiting.extend(delivered(&manager.take()));
        }
        assert!(manager.now < 24 * 3_600_000, "{tries} tries after a day");
    }
    let hours = manager.now / 3_600_000;
    println!("{tries} tries in {hours} hours, {restarts} restarts");
    assert_eq!(tries, 20);
    assert!(
        restarts >= 20 && (4..9).contains(&hours),
        "it was given up after {hours} hours and {restarts} restarts"
    );
}

#[test]
fn a_receiver_that_never_answers_does_not_hold_up_the_others() {
    let mut manager = Manager::new(Settings { callbacks_at_once: 8, ..Settings::default() });
    for n in 1..=100 {
        ended(&mut manager, n, hook(&format!("https://dead.example/{n}")));
    }
    let mut under_way = delivered(&manager.later(0));
    assert_eq!(under_way, [job(1), job(2)], "a quarter of 8");
    ended(&mut manager, 101, hook("https://DEAD.example/?other"));
    for n in 102..=140 {
        ended(&mut manager, n, hook(&format!("https://live-{}.example/", n % 3)));
    }
    ended(&mut manager, 141, Callback::Procedure("dead.example".to_owned()));
    // whoever is alive is told of everything, whatever hangs
    under_way.extend(delivered(&manager.later(0)));
    assert_eq!(under_way.len(), 8);
    for _ in 0..100 {
        let live: Vec<JobId> = under_way.iter().copied().filter(|id| *id > job(101)).collect();
        under_way.retain(|id| *id <= job(101));
        for id in live {
            under_way.extend(delivered(&manager.feed(tried(id, None))));
            assert!(under_way.iter().filter(|id| **id <= job(101)).count() <= 2);
        }
    }
    assert_eq!(told(&manager, EventKind::CallbackDelivered), 40);
    // in its order, as soon as it answers
    assert_eq!(under_way, [job(1), job(2)]);
    assert_eq!(delivered(&manager.feed(tried(job(1), None))), [job(3)]);
    assert_eq!(delivered(&manager.feed(tried(job(2), Some("no")))), [job(4)]);
}

#[test]
fn an_end_that_was_taken_is_not_told_again_although_the_machine_was_made_anew_meanwhile() {
    let mut manager = Manager::new(Settings::default());
    ended(&mut manager, 1, hook("https://slow.example/"));
    manager.later(0);
    manager.jobs = Jobs::recover(Settings::default(), manager.store.records(), manager.now);
    // a failure of that try says nothing: the next one comes anyway
    assert_eq!(delivered(&manager.feed(tried(job(1), Some("late")))), []);
    assert_eq!(manager.store.callbacks[&(job(1), 1)].tries, 0);
    manager.feed(tried(job(1), None));
    assert_eq!(manager.store.callbacks[&(job(1), 1)].state, CallbackState::Delivered);
    assert_eq!(delivered(&manager.later(10_000_000)), [], "it was taken");
    manager.feed(tried(job(1), None));
    assert_eq!(told(&manager, EventKind::CallbackDelivered), 1);
}

#[test]
fn an_end_that_is_not_told_because_its_job_was_deleted_is_said_to_be_abandoned() {
    let mut manager = Manager::new(Settings::default());
    ended(&mut manager, 1, hook("https://dead.example/"));
    manager.feed(tried(job(1), Some("refused")));
    manager.feed(Input::Delete { token: 0, job: job(1), by: None });
    let abandoned = manager.store.events.iter().find(|event| event.kind == EventKind::CallbackAbandoned);
    let abandoned = abandoned.map(|event| (event.job, event.detail.as_deref()));
    assert_eq!(abandoned, Some((Some(job(1)), Some("the job was deleted"))));
    assert!(delivered(&manager.later(24 * 3_600_000)).is_empty());
    // what comes back late says nothing more
    manager.feed(tried(job(1), None));
    assert_eq!(told(&manager, EventKind::CallbackDelivered), 0);
}

#[test]
fn what_is_told_first_is_the_end_also_when_runs_were_corrected_before_it() {
    let settings = Settings { unknown_after_ms: Some(1_000), ..Settings::default() };
    let mut manager = Manager::new(settings);
    let agents = ["a", "b", "c"];
    for name in agents {
        manager.up(name);
    }
    let plan = Plan { callback: true, ..Plan::default() };
    let runs = offers(&manager.submit(1, &plan, &agents.map(|name| (name, true))));
    for (name, connection) in [("a", ConnectionId(1)), ("c", ConnectionId(1))] {
        let reason = "cut".to_owned();
        manager.feed(Input::AgentDown { agent: agent(name), connection, reason });
    }
    manager.later(1_000);
    let serials = |manager: &Manager| manager.store.callbacks.keys().map(|(_, n)| *n).collect::<Vec<_>>();
    // its evidence comes while the job is open
    manager.done(&runs[0], Outcome::Succeeded);
    assert_eq!((manager.outcome(1, "a"), serials(&manager)), (Some(Outcome::Succeeded), vec![]));
    manager.done(&runs[1], Outcome::Succeeded);
    assert_eq!(serials(&manager), [1], "the job ends, whatever was corrected before");
    manager.done(&runs[2], Outcome::Failed);
    assert_eq!(serials(&manager).len(), 2, "and this is a correction of its end");
}

#[test]
fn each_correction_of_a_job_is_told_under_a_number_of_its_own_however_many_there_were() {
    let settings = Settings { unknown_after_ms: Some(1_000), ..Settings::default() };
    let mut manager = Manager::new(settings);
    let agents = ["a", "b", "c"];
    for name in agents {
        manager.up(name);
    }
    let plan = Plan { callback: true, ..Plan::default() };
    let runs = offers(&manager.submit(1, &plan, &agents.map(|name| (name, true))));
    for name in agents {
        let reason = "cut".to_owned();
        manager.feed(Input::AgentDown { agent: agent(name), connection: ConnectionId(1), reason });
    }
    manager.later(1_000);
    let mut records = manager.store.records();
    // the same job on sixty-five thousand agents more, whose outcomes were replaced
    let mut row = records.runs[0].clone();
    row.corrected = true;
    let others = (0..65_533).map(|n| agent(&format!("z{n:05}")));
    let mut names = records.jobs[0].agents.to_vec();
    for name in others {
        row.key.agent = name.clone();
        records.runs.push(row.clone());
        names.push(name);
    }
    records.jobs[0].agents = names.into();
    manager.jobs = Jobs::recover(settings, records, manager.now);
    let mut serials = Vec::new();
    for run in &runs {
        manager.jobs.handle(done(run, Outcome::Succeeded), manager.now);
        manager.jobs.handle_timeout(manager.now);
        let turn = manager.jobs.poll_turn().unwrap();
        let serial = |effect: &Effect<u32>| {
            if let Effect::Deliver { serial, .. } = effect { Some(*serial) } else { None }
        };
        serials.extend(turn.effects.iter().filter_map(serial));
    }
    assert_eq!(serials, [1, 65_535, 65_536, 65_537]);
}

#[test]
fn the_history_says_that_a_callback_was_given_up_and_its_row_what_the_receiver_said() {
    let mut manager = Manager::new(Settings { callback_tries: 1, ..Settings::default() });
    ended(&mut manager, 1, Callback::Procedure("tell".to_owned()));
    manager.later(0);
    let (why, said) = ("the procedure ended with exit code 3".to_owned(), Some("hunter2".to_owned()));
    let error = Some(NotTaken { why: why.clone(), said });
    manager.feed(Input::CallbackTried { job: job(1), serial: 1, error });
    let abandoned = manager.store.events.iter().find(|event| event.kind == EventKind::CallbackAbandoned);
    assert_eq!(abandoned.unwrap().detail, Some(why.clone()));
    let row = &manager.store.callbacks[&(job(1), 1)];
    assert_eq!(row.error, Some(format!("{why}: hunter2")));
}

#[test]
fn what_was_deleted_while_it_waited_for_its_turn_takes_no_place_and_leaves_nothing_due() {
    let settings = Settings { callbacks_at_once: 1, prune_every_ms: 1 << 40, ..Settings::default() };
    let mut manager = Manager::new(settings);
    let nothing = manager.jobs.poll_timeout();
    for n in 1..=4 {
        ended(&mut manager, n, hook("https://one.example/"));
    }
    assert_eq!(delivered(&manager.later(0)), [job(1)]);
    for n in 2..=3 {
        manager.feed(Input::Delete { token: 0, job: job(n), by: None });
    }
    assert_eq!(delivered(&manager.feed(tried(job(1), None))), [job(4)]);
    manager.feed(tried(job(4), Some("no")));
    assert!(manager.jobs.poll_timeout() < nothing, "it is tried again");
    manager.feed(Input::Delete { token: 0, job: job(4), by: None });
    assert_eq!(manager.jobs.poll_timeout(), nothing);
}

#[test]
fn a_reload_that_makes_room_for_callbacks_lets_go_on_what_waited() {
    let mut manager = Manager::new(Settings { callbacks_at_once: 4, ..Settings::default() });
    for n in 1..=2 {
        ended(&mut manager, n, hook("https://one.example/"));
    }
    assert_eq!(delivered(&manager.later(0)), [job(1)]);
    assert_eq!(delivered(&manager.feed(Input::Settings(Settings::default()))), [job(2)]);
}
