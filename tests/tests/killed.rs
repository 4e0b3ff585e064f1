//! An agent that is killed with SIGKILL in the middle of a call: whoever waits is told at once, and truthfully.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use redpoll_common::api::AgentState;
use redpoll_common::wire::FaultCode;
use redpoll_tests::operator::Operator;
use redpoll_tests::process::{Sleeper, lives};
use redpoll_tests::world::{World, start_agent};
use redpoll_tests::{SOON, eventually, in_time, within};
use rustix::fs::{FlockOperation, flock};

/// The default liveness: were it the keep-alive that noticed, it would take forty seconds.
#[tokio::test]
async fn an_agent_killed_in_the_middle_of_a_call_is_gone_for_its_callers_at_once() {
    let mut world = World::start(&[]).await;
    world.agent("victim-1", &[]).await;
    let (first, argv) = Sleeper::new(world.directory(), "first");
    let mut call = world.operator.exec("victim-1", &argv).await;
    let (second, argv) = Sleeper::new(world.directory(), "second");
    let rpctl = world.rpctl().args(["call", "victim-1", "exec.run", "--"]).args(&argv).output();
    let rpctl = async { in_time("the end of rpctl", rpctl).await.unwrap() };
    let kill = async {
        first.running().await;
        second.running().await;
        world.manager.logged(&["session begins", "victim-1"]).await;
    };
    // rpctl is polled, and so started, together with the wait for its program
    tokio::pin!(rpctl);
    tokio::select! {
        () = kill => {}
        output = &mut rpctl => unreachable!("rpctl ended early: {output:?}"),
    }
    let killed = Instant::now();
    drop(world.take_agent("victim-1"));
    let fault = within(SOON, "the answer", Operator::end_of(&mut call)).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::AgentGone, "{fault}");
    let output = rpctl.await;
    assert!(killed.elapsed() < SOON);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(8), "{said}");
    assert!(said.contains("victim-1 was lost during exec.run") && said.contains("help: "), "{said}");
    let away = world.operator.until("victim-1", AgentState::Away).await;
    assert!(away.reason.is_some());

    // what a killed agent had started is not ended with it: SIGKILL leaves it no moment for that
    for orphan in [first, second] {
        assert!(lives(orphan.running().await), "the orphans of a killed agent live on");
        orphan.kill().await;
    }
    world.nobody_else_noticed().await;
}

/// Locks a file as something does that a killed daemon was just starting.
fn hold(path: &Path) -> File {
    let file = File::options().write(true).open(path).unwrap();
    flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    file
}

#[tokio::test]
async fn an_agent_waits_for_the_lock_that_outlives_the_one_before_it_for_a_moment() {
    let mut world = World::quiet(&[]).await;
    world.agent("heir-1", &[]).await;
    world.agent_process("heir-1").kill().await;
    world.operator.until("heir-1", AgentState::Away).await;
    let path = world.directory().join("agent-heir-1-state/spool/lock");
    let held = hold(&path);
    let heir = start_agent(world.directory(), "heir-1", &world.address.to_string(), &[]);
    let files = format!("/proc/{}/fd", heir.pid());
    eventually("the agent has opened the lock", async || {
        let links = std::fs::read_dir(&files).ok()?.flatten();
        let mut opened = links.filter_map(|link| std::fs::read_link(link.path()).ok());
        opened.any(|to| to == path).then_some(())
    })
    .await;
    drop(held);
    world.operator.until("heir-1", AgentState::Connected).await;
}

#[tokio::test]
async fn a_manager_waits_for_the_lock_that_outlives_the_one_before_it_for_a_moment() {
    let mut world = World::quiet(&[]).await;
    world.manager.kill().await;
    let path = world.directory().join("manager-state/jobs.lock");
    let held = hold(&path);
    let log = world.directory().join("manager.log");
    let release = async {
        eventually("the manager waits", async || {
            std::fs::read_to_string(&log).ok()?.contains("is locked; waiting").then_some(())
        })
        .await;
        drop(held);
    };
    tokio::join!(world.restart_manager(), release);
    world.operator.status().await;
}
