//! A worker of before at a start in which the processes of the machine cannot be read. A test of its own, as the limit is that of the whole process.

#![expect(clippy::unwrap_used, reason = "test code")]

#[path = "../../common/exec/tests/exec_support/mod.rs"]
mod exec_support;

use std::fs::File;
use std::process::Command;
use std::time::Duration;

use exec_support::{eventually, lives};
use redpoll_agent::leftovers::Leftovers;
use redpoll_common::ids::PeerId;
use redpoll_common::job::JobId;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;

const MARK: &str = "1.ab.1";

/// Takes all descriptors that this process may have.
fn take_all() -> Vec<File> {
    setrlimit(Resource::Nofile, Rlimit { current: Some(200), ..getrlimit(Resource::Nofile) }).unwrap();
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_could_not_be_looked_at_is_ended_once_it_can_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut worker = Command::new("/bin/sh");
    worker.args(["-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!"]).env("REDPOLL_RUN", MARK);
    let pid = String::from_utf8(worker.output().unwrap().stdout).unwrap().trim().to_owned();
    std::fs::write(folder.path().join("running"), format!("\n+ {MARK} worker p")).unwrap();
    let agent = PeerId::parse("web-1").unwrap();
    let leftovers = Leftovers::open(agent, Duration::from_secs(20), folder.path()).unwrap();

    let all = take_all();
    let mut tasks = JoinSet::new();
    let end = tasks.spawn(leftovers.clone().end_workers());
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    drop(all);
    assert!(!end.is_finished() && lives(&pid), "it may have started this agent");
    assert!(leftovers.refuse(JobId::from_bytes([1; 16]), "p").is_err(), "it may work for the attempt before");
    tasks.join_next().await.unwrap().unwrap();
    eventually("it is ended", || !lives(&pid)).await;
    assert!(leftovers.refuse(JobId::from_bytes([1; 16]), "p").is_ok());
}
