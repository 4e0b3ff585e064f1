//! Runs of jobs from the offer to the last acknowledgement, as the manager sees them.

#![expect(clippy::unwrap_used, reason = "test code")]

mod jobs_support;

use jobs_support::{World, ended, eventually, shell};
use redpoll_common::job::wire::{OfferAnswer, SpoolState};
use redpoll_common::job::{ItemKind, Outcome};
use serde_json::Value;

#[tokio::test]
async fn a_run_is_accepted_started_recorded_told_and_forgotten() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect(&agent);
    assert_eq!(link.offer(&shell(1, "echo hello; echo oops >&2")).await, Ok(OfferAnswer::Accepted));
    let ending = world.manager.ending(1).await;
    assert_eq!(ended(&ending), (Outcome::Succeeded, Some(true), None));
    let summary: Value = ending.result.unwrap().decode().unwrap();
    assert_eq!(summary["exit"], 0);
    let seen = world.manager.seen(1);
    assert!(seen.started);
    assert_eq!(seen.bytes(ItemKind::Stdout), b"hello\n");
    assert_eq!(seen.bytes(ItemKind::Stderr), b"oops\n");
    eventually("the run is forgotten", || agent.jobs.status().untold == 0).await;
    assert_eq!(agent.jobs.max_dno().0, 1);
    assert_eq!(seen.endings.len(), 1, "the end is told once");
    assert_eq!(
        link.offer(&shell(1, "touch /nowhere")).await,
        Ok(OfferAnswer::Known(SpoolState::Done)),
        "its number is used up"
    );
}
