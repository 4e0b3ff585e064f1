//! A process that has as many files open as it may: what it cannot see it does not take for ended. A test of its own, as the
//! limit is that of the whole process.

#![expect(clippy::unwrap_used, reason = "test code")]

mod exec_support;

use std::collections::BTreeSet;
use std::fs::File;
use std::process::Command;
use std::time::Duration;

use exec_support::{eventually, lives, next_text, shell};
use redpoll_common::ids::PeerId;
use redpoll_common::job::wire::RunRef;
use redpoll_common::job::{Attempt, Dno, JobId};
use redpoll_exec::exec::leftovers::{Left, Leftover, Owner, end, find};
use redpoll_exec::exec::{ProcessSpec, StopReason, is_no_room, run};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Takes all descriptors that this process may have, but for so many.
fn leave(free: usize) -> Vec<File> {
    setrlimit(Resource::Nofile, Rlimit { current: Some(200), ..getrlimit(Resource::Nofile) }).unwrap();
    let mut held: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    held.truncate(held.len() - free);
    held
}

#[tokio::test]
async fn what_cannot_be_seen_for_want_of_descriptors_has_not_ended() {
    leftovers_are_left().await;
    a_stopped_run_goes_on().await;
}

async fn leftovers_are_left() {
    let agent = PeerId::parse("web-1").unwrap();
    let job = JobId::from_bytes([std::process::id().to_be_bytes(); 4].concat().try_into().unwrap());
    let mine = RunRef { job, attempt: Attempt(1), dno: Dno(1) };
    let (owner, owners) = (Owner::Run(mine), BTreeSet::from([Owner::Run(mine)]));
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "setsid sleep 1000 & exit 0"]).env("REDPOLL_AGENT", agent.to_string());
    command.env("REDPOLL_JOB", mine.job.to_string()).env("REDPOLL_ATTEMPT", mine.attempt.to_string());
    assert!(command.env("REDPOLL_DNO", mine.dno.to_string()).status().unwrap().success());
    let mut known = Left::default();
    eventually("it is left", || {
        known = find(&agent, &owners).unwrap().remove(&owner).unwrap_or_default();
        known.processes.len() == 1
    })
    .await;
    for free in [1, 0] {
        let held = leave(free);
        let (found, ended) = (find(&agent, &owners), end(&agent, &owners, Duration::ZERO).await);
        let lives = known.processes.iter().all(Leftover::lives);
        drop(held);
        let (found, ended) = (found.unwrap_err(), ended.unwrap_err());
        assert!(is_no_room(&found) && is_no_room(&ended), "{free} free: {found}, {ended}");
        assert!(lives, "{free} free");
    }
    let ended = end(&agent, &owners, Duration::ZERO).await.unwrap();
    assert_eq!((ended.ended.len(), ended.left.len()), (1, 0));
}

async fn a_stopped_run_goes_on() {
    // the child is not in the group, so that it has to be seen to be ended
    let script = shell("setsid sh -c 'echo $$; exec sleep 1000' & wait");
    let spec = ProcessSpec { grace: Duration::ZERO, ..script };
    let ((sender, mut chunks), (cancel, cancelled)) = (mpsc::channel(8), oneshot::channel::<()>());
    let mut running = JoinSet::new();
    running.spawn(run(spec, sender, async {
        cancelled.await.ok();
        StopReason::Cancelled
    }));
    let child = next_text(&mut chunks).await;
    let held = leave(1);
    drop(cancel);
    // long enough for whoever takes what it does not see for ended, and nowhere near what a killed process may take
    let early = tokio::time::timeout(Duration::from_millis(300), running.join_next()).await;
    drop(held);
    assert!(early.is_err(), "{early:?}");
    assert!(lives(&child), "it could not be seen");
    let exit = running.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!((exit.signal, exit.left_behind), (Some(9), 0));
    assert!(!lives(&child));
}
