//! Jobs while the manager is away, after the agent died, and when the agent stops.

#[path = "../../common/exec/tests/exec_support/mod.rs"]
mod exec_support;
mod jobs_support;

use std::time::Duration;

use exec_support::lives;
use jobs_support::{Mood, PATIENCE, World, ended, eventually, limited, offer, run, shell, terms};
use redpoll_agent::spool::{OpenOptions, Spool};
use redpoll_common::job::spool::{Record, Stamp};
use redpoll_common::job::wire::{Act, OfferAnswer, SpoolState};
use redpoll_common::job::{Dno, Limits, Outcome};
use redpoll_common::session::Terms;
use redpoll_common::wire::FaultCode;
use serde_json::json;

/// A script that goes on as soon as a file is there.
fn until(file: &std::path::Path) -> String {
    format!("while [ ! -e {} ]; do sleep 0.02; done", file.display())
}

#[tokio::test]
async fn a_run_goes_on_while_the_manager_is_away_and_is_told_from_where_it_left_off() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect(&agent);
    let gate = world.folder.path().join("gate");
    let script = format!("echo one; {}; echo two; exit 4", until(&gate));
    link.offer(&shell(1, &script)).await.unwrap();
    eventually("it gives output", || world.manager.seen(1).text() == "one\n").await;
    link.cut().await;
    std::fs::write(&gate, "").unwrap();
    eventually("it ends", || agent.jobs.status().running == 0).await;
    assert!(world.manager.seen(1).endings.is_empty());
    let _link = world.connect(&agent);
    let ending = world.manager.ending(1).await;
    assert_eq!(ended(&ending), (Outcome::Failed, Some(true), Some(FaultCode::Failed)));
    let seen = world.manager.seen(1);
    assert_eq!(seen.text(), "one\ntwo\n");
    assert_eq!(seen.repeated, 0, "what it has is not sent again");
    let ledger = world.manager.ledger();
    assert_eq!(ledger.resumes.len(), 2);
    assert_eq!(ledger.resumes[1].jobs[0].state, SpoolState::Done);
    assert_eq!((ledger.resumes[1].jobs[0].next_n, ledger.resumes[1].max_dno), (2, Dno(1)));
}

#[tokio::test]
async fn what_is_not_acknowledged_is_told_again_the_same_also_by_the_next_life() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect(&agent);
    world.manager.ledger().mood = Mood::Forgetful;
    link.offer(&shell(1, "seq 1 3000; exit 5")).await.unwrap();
    let first = world.manager.ending(1).await;
    let items = world.manager.seen(1).items;
    link.cut().await;
    // it does not say what it has: all of it comes again
    world.manager.ledger().acts.insert(Dno(1), Act::Continue);
    let link = world.connect(&agent);
    eventually("it is told again", || world.manager.seen(1).endings.len() > 1).await;
    link.cut().await;
    agent.die().await;

    let agent = world.agent().await;
    let told = world.manager.seen(1).endings.len();
    let _link = world.connect(&agent);
    eventually("the next life tells it", || world.manager.seen(1).endings.len() > told).await;
    world.manager.ledger().mood = Mood::Good;
    eventually("it is forgotten", || agent.jobs.status().untold == 0).await;
    let seen = world.manager.seen(1);
    assert!(seen.endings.iter().all(|ending| *ending == first), "byte for byte");
    assert_eq!(seen.items, items);
    assert!(seen.repeated >= items.len());
}

#[tokio::test]
async fn what_ran_when_the_agent_died_is_unknown_and_never_run_again() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect(&agent);
    let oracle = world.folder.path().join("oracle");
    link.offer(&shell(1, &format!("echo $$ >> {}; echo out; sleep 1000", oracle.display()))).await.unwrap();
    eventually("it gives output", || !world.manager.seen(1).items.is_empty()).await;
    agent.die().await;
    drop(link);
    let pid = std::fs::read_to_string(&oracle).unwrap();
    assert_eq!(pid.lines().count(), 1);

    let agent = world.agent().await;
    assert_eq!(agent.jobs.status().running, 0);
    let link = world.connect(&agent);
    let ending = world.manager.ending(1).await;
    assert_eq!(ended(&ending), (Outcome::Unknown, Some(true), Some(FaultCode::AgentGone)));
    assert_eq!(ending.items, 1);
    let again = link.offer(&shell(1, &format!("echo again >> {}", oracle.display()))).await;
    assert!(matches!(again, Ok(OfferAnswer::Known(SpoolState::Done | SpoolState::Absent))), "{again:?}");
    assert_eq!(std::fs::read_to_string(&oracle).unwrap(), pid);
}

#[tokio::test]
async fn what_the_disk_says_decides_after_a_crash() {
    let world = World::new();
    let oracle = world.folder.path().join("oracle");
    let opened = Spool::open(&world.spool(), OpenOptions::default(), |_failed| {}).unwrap();
    let received = |dno| Record::Received {
        offer: Box::new(shell(dno, &format!("echo {dno} >> {}", oracle.display()))),
        at: Stamp { boot: [0; 16], boot_ms: 0, wall_ms: redpoll_net::clock::wall_ms() },
        redact: None,
    };
    let gone = Record::Received {
        offer: Box::new(offer(4, "old.procedure", json!([]), json!({}))),
        at: Stamp { boot: [0; 16], boot_ms: 0, wall_ms: 0 },
        redact: None,
    };
    let records =
        vec![received(1), received(2), Record::Starting { run: run(2), redact: None }, received(3), gone];
    opened.spool.append(records).await.unwrap().wait().await.unwrap();
    opened.spool.close().await;

    world.manager.ledger().acts.insert(Dno(3), Act::Kill { grace_ms: None });
    let agent = world.agent().await;
    assert!(!oracle.exists(), "a received run waits for the manager's word");
    let _link = world.connect(&agent);
    assert_eq!(world.manager.ending(1).await.outcome, Outcome::Succeeded);
    let ending = world.manager.ending(2).await;
    assert_eq!(ended(&ending), (Outcome::Unknown, None, Some(FaultCode::AgentGone)));
    let ending = world.manager.ending(3).await;
    assert_eq!(ended(&ending), (Outcome::Cancelled, Some(false), Some(FaultCode::Cancelled)));
    let ending = world.manager.ending(4).await;
    assert_eq!(ended(&ending), (Outcome::Rejected, Some(false), Some(FaultCode::UnknownProcedure)));
    assert_eq!(std::fs::read_to_string(&oracle).unwrap(), "1\n");
    let ledger = world.manager.ledger();
    let states: Vec<SpoolState> = ledger.resumes[0].jobs.iter().map(|row| row.state).collect();
    let received = SpoolState::Received;
    assert_eq!(states, [received, SpoolState::Done, received, received]);
    assert_eq!((ledger.resumes[0].max_dno, ledger.resumes[0].spool), (Dno(4), agent.jobs.spool()));
}

#[tokio::test]
async fn a_manager_without_jobs_is_asked_once_and_the_session_goes_on() {
    let world = World::new();
    let agent = world.agent().await;
    world.manager.ledger().mood = Mood::Ignorant;
    let link = world.connect(&agent);
    eventually("it was asked", || world.manager.ledger().asked == 1).await;
    assert!(link.ask("sys.ping", redpoll_common::wire::Raw::empty_map()).await.is_ok());
    // a run from its offer to its end gives every reason to ask that there is
    assert_eq!(link.offer(&shell(1, "true")).await, Ok(OfferAnswer::Accepted));
    eventually("it ran", || agent.jobs.status().untold == 1 && agent.jobs.status().running == 0).await;
    assert!(link.ask("sys.ping", redpoll_common::wire::Raw::empty_map()).await.is_ok());
    assert_eq!(world.manager.ledger().asked, 1, "not again so soon");
    link.cut().await;

    let link = world.connect_with(&agent, Terms { protocol: 0, ..terms(1024 * 1024) });
    link.agent.ping().await.unwrap();
    assert_eq!(world.manager.ledger().asked, 1, "the oldest protocol has no jobs");
    assert!(!link.agent.is_closed());
}

#[tokio::test]
async fn a_stop_lets_runs_finish_and_takes_no_new_ones() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect(&agent);
    let gate = world.folder.path().join("gate");
    link.offer(&shell(1, &until(&gate))).await.unwrap();
    agent.jobs.drain().await;
    let fault = link.offer(&shell(2, "true")).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::ShuttingDown);
    assert_eq!(agent.jobs.status().running, 1);
    std::fs::write(&gate, "").unwrap();
    assert_eq!(world.manager.ending(1).await.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn what_still_runs_at_the_end_is_ended_recorded_and_told_in_the_next_session() {
    let world = World::new();
    let mut agent = world.agent().await;
    let link = world.connect(&agent);
    let stubborn = "trap '' TERM; echo $$; while :; do sleep 0.05; done";
    link.offer(&shell(1, stubborn)).await.unwrap();
    link.offer(&limited(shell(2, "echo $$; sleep 1000"), Limits::default())).await.unwrap();
    link.offer(&offer(3, "test.wait", json!([]), json!({}))).await.unwrap();
    eventually("they run", || {
        agent.jobs.status().running == 3 && (1..3).all(|dno| !world.manager.seen(dno).items.is_empty())
    })
    .await;
    let pids: Vec<String> = (1..3).map(|dno| world.manager.seen(dno).text()).collect();
    link.cut().await;
    agent.jobs.drain().await;
    tokio::time::timeout(PATIENCE, agent.jobs.end(Duration::from_millis(100))).await.unwrap();
    agent.jobs.close().await;
    agent.stopped().await;
    for pid in &pids {
        eventually("nothing is left", || !lives(pid)).await;
    }
    assert!((1..4).all(|dno| world.manager.seen(dno).endings.is_empty()));

    let agent = world.agent().await;
    let _link = world.connect(&agent);
    for dno in 1..4 {
        let ending = world.manager.ending(dno).await;
        assert_eq!(ended(&ending), (Outcome::Failed, Some(true), Some(FaultCode::ShuttingDown)));
        assert!(ending.duration_ms.is_some());
    }
}

#[tokio::test]
async fn a_session_that_replaces_another_begins_with_what_the_spool_holds() {
    let world = World::new();
    let agent = world.agent().await;
    let first = world.connect(&agent);
    first.offer(&offer(1, "test.wait", json!([]), json!({}))).await.unwrap();
    eventually("it runs", || agent.jobs.status().running == 1).await;
    let second = world.connect(&agent);
    eventually("it is asked", || world.manager.ledger().resumes.len() == 2).await;
    assert_eq!(world.manager.ledger().resumes[1].jobs[0].run, run(1));
    assert_eq!(second.cancel(run(1), None).await, SpoolState::Running);
    assert_eq!(world.manager.ending(1).await.outcome, Outcome::Cancelled);
    drop(first);
}
