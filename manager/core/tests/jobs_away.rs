//! Agents that are away: for how long what they have may be in doubt, and who counts as away when a job is released.

mod jobs_support;

use std::collections::BTreeSet;

use jobs_support::alone::{Manager, ids};
use jobs_support::{Plan, agent, job};
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::{Offline, Outcome};
use redpoll_manager_core::jobs::{Input, Jobs, Settings};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A run of an agent that has gone.
fn in_doubt(settings: Settings) -> Manager {
    let mut manager = Manager::new(settings);
    manager.up("a");
    manager.submit(1, &Plan::default(), &[("a", true)]);
    let (agent, connection) = (agent("a"), ConnectionId(1));
    manager.feed(Input::AgentDown { agent, connection, reason: "cut".to_owned() });
    manager
}

fn restart(manager: &mut Manager, settings: Settings) {
    manager.jobs = Jobs::recover(settings, manager.store.records(), manager.now);
    manager.take();
}

#[test]
fn a_manager_that_restarts_every_night_still_gives_up_after_two_days() {
    let settings = Settings { unknown_after_ms: Some(2 * DAY), ..Settings::default() };
    let mut manager = in_doubt(settings);
    let began = manager.now;
    for _ in 0..6 {
        manager.later(7 * HOUR);
        restart(&mut manager, settings);
    }
    assert_eq!(manager.outcome(1, "a"), None);
    let left = began + 2 * DAY - manager.now;
    // a reload changes nothing of that
    manager.feed(Input::Settings(settings));
    manager.later(left - 1);
    assert_eq!(manager.outcome(1, "a"), None);
    manager.later(1);
    assert_eq!(manager.outcome(1, "a"), Some(Outcome::Unknown));
}

#[test]
fn after_a_start_agents_have_some_time_to_return_before_anything_is_given_up() {
    for reloads in [false, true] {
        let settings = Settings { unknown_after_ms: Some(HOUR), ..Settings::default() };
        let mut manager = in_doubt(settings);
        // nobody could tell meanwhile
        manager.now += 5 * HOUR;
        restart(&mut manager, settings);
        if reloads {
            manager.feed(Input::Settings(settings));
        }
        manager.later(settings.return_ms - 1);
        assert_eq!(manager.outcome(1, "a"), None);
        manager.later(1);
        assert_eq!(manager.outcome(1, "a"), Some(Outcome::Unknown));
    }
}

#[test]
fn a_manager_that_stood_still_gives_agents_the_same_time() {
    let settings = Settings { unknown_after_ms: Some(HOUR), ..Settings::default() };
    let mut manager = in_doubt(settings);
    manager.now += 5 * HOUR;
    manager.feed(Input::StoodStill);
    manager.later(settings.return_ms - 1);
    assert_eq!(manager.outcome(1, "a"), None);
    manager.later(1);
    assert_eq!(manager.outcome(1, "a"), Some(Outcome::Unknown));
}

#[test]
fn a_time_that_is_shorter_than_that_begins_with_the_start() {
    let settings = Settings { unknown_after_ms: Some(MINUTE), ..Settings::default() };
    let mut manager = in_doubt(settings);
    manager.later(MINUTE / 2);
    restart(&mut manager, settings);
    manager.later(MINUTE - 1);
    assert_eq!(manager.outcome(1, "a"), None);
    manager.later(1);
    assert_eq!(manager.outcome(1, "a"), Some(Outcome::Unknown));
}

#[test]
fn who_is_away_when_a_job_is_released_says_the_same_look_as_for_a_submit() {
    let plan = Plan { held: true, offline: Offline::Skip, ..Plan::default() };
    let mut manager = Manager::new(Settings::default());
    manager.up("a");
    manager.up("b");
    manager.submit(1, &plan, &[("a", true), ("b", true)]);
    // it drains: its session is there, and takes no new work
    let away = BTreeSet::from([agent("b")]);
    let effects = manager.feed(Input::Release { token: 0, job: job(1), away, by: None });
    assert_eq!(ids(&effects), [job(1)]);
    assert_eq!((manager.outcome(1, "a"), manager.outcome(1, "b")), (None, Some(Outcome::Expired)));
    // and one whose session has ended, but of which the look says that another began
    let (down, connection) = (agent("a"), ConnectionId(1));
    manager.submit(2, &plan, &[("a", true)]);
    manager.feed(Input::AgentDown { agent: down, connection, reason: "cut".to_owned() });
    manager.feed(Input::Release { token: 0, job: job(2), away: BTreeSet::new(), by: None });
    assert_eq!(manager.outcome(2, "a"), None);
}
