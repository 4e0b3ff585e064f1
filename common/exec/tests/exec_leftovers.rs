//! What is left of runs whose agent has died: real processes that nobody here is the parent of.

#![expect(clippy::unwrap_used, reason = "test code")]

mod exec_support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use exec_support::{LOOK_DEAD, eventually, lives};
use redpoll_common::ids::PeerId;
use redpoll_common::job::wire::RunRef;
use redpoll_common::job::{Attempt, Dno, JobId};
use redpoll_exec::exec::leftovers::{Left, Owner, end, find};

/// Runs that no other test has: the processes of all tests are seen.
fn run(number: u8, attempt: u16) -> RunRef {
    let mut job = [number; 16];
    job[..4].copy_from_slice(&std::process::id().to_be_bytes());
    RunRef { job: JobId::from_bytes(job), attempt: Attempt(attempt), dno: Dno(u64::from(number)) }
}

fn web() -> PeerId {
    PeerId::parse("web-1").unwrap()
}

/// Processes that were started for a run, and whose parent is gone.
struct Orphans {
    folder: tempfile::TempDir,
    names: Vec<&'static str>,
}

impl Orphans {
    /// `script` leaves orphans, each of which writes its number into the file `$DIR/NAME`.
    fn of(agent: &str, run: RunRef, script: &str, names: &[&'static str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).env_clear().env("PATH", "/usr/bin:/bin").env("DIR", folder.path());
        command.env("REDPOLL_AGENT", agent).env("REDPOLL_PROCEDURE", "web.deploy");
        command.env("REDPOLL_JOB", run.job.to_string()).env("REDPOLL_ATTEMPT", run.attempt.to_string());
        command.env("REDPOLL_DNO", run.dno.to_string());
        assert!(command.status().unwrap().success());
        Self { folder, names: names.to_vec() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn running(&self) -> Vec<String> {
        let mut pids = Vec::new();
        for name in &self.names {
            let file = self.file(name);
            eventually(name, || std::fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n'))).await;
            pids.push(std::fs::read_to_string(&file).unwrap().trim().to_owned());
        }
        pids
    }
}

impl Drop for Orphans {
    fn drop(&mut self) {
        for name in &self.names {
            if let Ok(pid) = std::fs::read_to_string(self.file(name)) {
                let _gone = Command::new("kill").args(["-9", pid.trim()]).output();
            }
        }
    }
}

/// One process in a session of its own.
const ONE: &str = "setsid sh -c 'echo $$ > $DIR/one; exec sleep 1000' & exit 0";

async fn until_found(run: RunRef, count: usize) -> Left {
    let mut left = Left::default();
    eventually("its processes are found", || {
        left = find(&web(), &BTreeSet::from([Owner::Run(run)]))
            .unwrap()
            .remove(&Owner::Run(run))
            .unwrap_or_default();
        left.processes.len() == count
    })
    .await;
    left
}

fn nothing_of(run: RunRef) -> bool {
    find(&web(), &BTreeSet::from([Owner::Run(run)])).unwrap().is_empty()
}

#[tokio::test]
async fn all_of_a_run_is_found_and_ended_and_nothing_of_others() {
    let mine = run(1, 2);
    // deaf to SIGTERM, with a child that has another environment, and another one in a session of its own
    let script = "trap '' TERM; setsid sh -c 'env -i sh -c \"echo \\$\\$ > $DIR/bare; exec sleep 1000\" & \
        setsid sh -c \"echo \\$\\$ > $DIR/far; exec sleep 1000\" & echo $$ > $DIR/deaf; exec sleep 1000' & exit 0";
    let orphans = Orphans::of("web-1", mine, script, &["bare", "far", "deaf"]);
    let of_another_agent = Orphans::of("web-2", mine, ONE, &["one"]);
    let of_another_attempt = Orphans::of("web-1", RunRef { attempt: Attempt(1), ..mine }, ONE, &["one"]);
    let strangers = [of_another_agent.running().await, of_another_attempt.running().await].concat();
    let mut pids = orphans.running().await;
    pids.sort();
    let left = until_found(mine, 3).await;
    let mut found: Vec<String> = left.processes.iter().map(|leftover| leftover.pid.to_string()).collect();
    found.sort();
    assert_eq!((found, left.procedure.as_str()), (pids.clone(), "web.deploy"));
    assert!(left.processes.iter().all(|leftover| leftover.lives() && leftover.age_ms < 60_000));
    eventually("they are what they run", || {
        let left =
            find(&web(), &BTreeSet::from([Owner::Run(mine)])).unwrap().remove(&Owner::Run(mine)).unwrap();
        left.processes.iter().all(|leftover| leftover.program == "sleep")
    })
    .await;

    let ended = end(&web(), &BTreeSet::from([Owner::Run(mine)]), Duration::from_millis(50)).await.unwrap();
    assert_eq!((ended.ended.len(), ended.left.len()), (3, 0), "{ended:?}");
    assert!(pids.iter().all(|pid| !lives(pid)) && left.processes.iter().all(|leftover| !leftover.lives()));
    assert!(nothing_of(mine));
    assert!(strangers.iter().all(|pid| lives(pid)), "others are not touched");
    assert_eq!(end(&web(), &BTreeSet::from([Owner::Run(mine)]), Duration::ZERO).await.unwrap().ended, []);
}

#[tokio::test]
async fn what_heeds_sigterm_has_the_grace_to_end_in_order() {
    let mine = run(2, 1);
    let script = "setsid sh -c 'trap \"echo end > $DIR/end; exit\" TERM; echo $$ > $DIR/one; sleep 1000 & wait' & exit 0";
    let orphans = Orphans::of("web-1", mine, script, &["one"]);
    orphans.running().await;
    until_found(mine, 2).await;
    let ended = end(&web(), &BTreeSet::from([Owner::Run(mine)]), Duration::from_secs(20)).await.unwrap();
    assert_eq!((ended.ended.len(), ended.left.len()), (2, 0));
    assert!(Path::new(&orphans.file("end")).exists(), "it was asked before it was killed");
}

#[tokio::test]
async fn what_looks_dead_because_its_first_thread_has_ended_is_found_and_ended() {
    let mine = run(3, 1);
    let write =
        "pid = open(os.environ[\"DIR\"] + \"/one\", \"w\"); print(os.getpid(), file=pid); pid.close()";
    let script = format!("python3 -c '{LOOK_DEAD}os.setsid(); {write}; look_dead()' & exit 0");
    let orphans = Orphans::of("web-1", mine, &script, &["one"]);
    let pids = orphans.running().await;
    let stat = || std::fs::read_to_string(format!("/proc/{}/stat", pids[0])).unwrap();
    eventually("it looks dead", || stat().contains(") Z ")).await;
    assert!(lives(&pids[0]));
    until_found(mine, 1).await;
    let ended = end(&web(), &BTreeSet::from([Owner::Run(mine)]), Duration::ZERO).await.unwrap();
    assert_eq!((ended.ended.len(), ended.left.len()), (1, 0));
    assert!(!lives(&pids[0]));
}
