//! Output of runs: kept, dropped, waited for, and never in the way of others.

#[path = "../../common/exec/tests/exec_support/mod.rs"]
mod exec_support;
mod jobs_support;

use std::time::{Duration, Instant};

use exec_support::{counting_writer, stalled};
use jobs_support::{Mood, World, ended, eventually, limited, offer, shell, terms};
use redpoll_common::job::wire::OfferAnswer;
use redpoll_common::job::{ItemKind, Limits, Outcome, Overflow};
use redpoll_common::wire::FaultCode;
use serde_json::{Value, json};

fn quota(output: u64, overflow: Overflow) -> Limits {
    Limits { output: Some(output), overflow, ..Limits::default() }
}

#[tokio::test]
async fn beyond_its_quota_output_is_dropped_and_the_record_says_how_much() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect(&agent);
    let wordy = limited(shell(1, "head -c 300000 /dev/zero; echo end"), quota(100_000, Overflow::Truncate));
    link.offer(&wordy).await.unwrap();
    let ending = world.manager.ending(1).await;
    assert_eq!(ended(&ending), (Outcome::Succeeded, Some(true), None));
    let summary: Value = ending.result.unwrap().decode().unwrap();
    assert_eq!((&summary["stdout_bytes"], &summary["dropped"]), (&json!(300_004), &json!(0)));
    let seen = world.manager.seen(1);
    let kept = u64::try_from(seen.bytes(ItemKind::Stdout).len()).unwrap();
    assert!(kept <= 100_000 && kept > 50_000, "{kept}");
    let mark: Value = seen.items.last().unwrap().data.decode().unwrap();
    assert_eq!(mark, json!({"stream": "stdout", "bytes": 300_004 - kept}));
}

#[tokio::test]
async fn beyond_its_quota_a_run_is_ended_if_it_shall_be() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect(&agent);
    link.offer(&limited(shell(1, "yes"), quota(100_000, Overflow::Kill))).await.unwrap();
    let ending = world.manager.ending(1).await;
    assert_eq!(ended(&ending), (Outcome::Failed, Some(true), Some(FaultCode::TooLarge)));
}

#[tokio::test]
async fn a_program_waits_while_the_manager_takes_nothing_and_goes_on_when_it_does() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect(&agent);
    let mark = world.folder.path().join("mark");
    let blocked = limited(shell(1, &counting_writer(32, &mark)), quota(300_000, Overflow::Block));
    world.manager.ledger().mood = Mood::Forgetful;
    link.offer(&blocked).await.unwrap();
    let written = stalled(&mark).await;
    assert!((2..16).contains(&written), "{written} of 32 blocks");
    world.manager.ledger().mood = Mood::Good;
    let ending = world.manager.ending(1).await;
    assert_eq!(ending.outcome, Outcome::Succeeded);
    assert_eq!(world.manager.seen(1).bytes(ItemKind::Stdout).len(), 32 * 65536, "nothing is lost");
}

#[tokio::test]
async fn a_chatty_run_delays_no_other() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect(&agent);
    link.offer(&shell(1, "yes | head -c 200000000")).await.unwrap();
    eventually("it gives output", || world.manager.seen(1).items.len() > 10).await;
    let mut slowest = Duration::ZERO;
    for dno in 2..12 {
        let begin = Instant::now();
        link.offer(&offer(dno, "sys.echo", json!([dno]), json!({}))).await.unwrap();
        world.manager.ending(dno).await;
        slowest = slowest.max(begin.elapsed());
        let begin = Instant::now();
        link.agent.ping().await.unwrap();
        slowest = slowest.max(begin.elapsed());
    }
    assert!(world.manager.seen(1).endings.is_empty(), "it goes on meanwhile");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    link.cancel(jobs_support::run(1), Some(0)).await;
    world.manager.ending(1).await;
}

#[tokio::test]
async fn a_manager_that_takes_small_frames_gets_all_in_pieces() {
    let world = World::new();
    let agent = world.agent().await;
    // a chunk of a stream has up to 16 KiB
    let link = world.connect_with(&agent, terms(24 * 1024));
    link.offer(&shell(1, "head -c 300000 /dev/zero")).await.unwrap();
    let ending = world.manager.ending(1).await;
    assert_eq!(ending.outcome, Outcome::Succeeded);
    assert_eq!(world.manager.seen(1).bytes(ItemKind::Stdout).len(), 300_000);
}

#[tokio::test]
async fn many_runs_at_a_time_keep_their_output_apart() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect(&agent);
    for dno in 1..=20 {
        let script = format!("i=0; while [ $i -lt 50 ]; do echo {dno}; i=$((i+1)); done");
        assert_eq!(link.offer(&shell(dno, &script)).await, Ok(OfferAnswer::Accepted));
    }
    for dno in 1..=20 {
        assert_eq!(world.manager.ending(dno).await.outcome, Outcome::Succeeded);
        assert_eq!(world.manager.seen(dno).text(), format!("{dno}\n").repeat(50));
    }
}
