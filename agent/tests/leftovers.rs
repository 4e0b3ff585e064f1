//! What is left of a run whose agent has died, across the lives of the agent: a process that nobody here is the parent of.

#![expect(clippy::unwrap_used, reason = "test code")]

mod jobs_support;

use std::path::Path;
use std::process::Command;

use jobs_support::{World, ended, eventually, offer, run};
use redpoll_agent::spool::{OpenOptions, Spool};
use redpoll_common::job::spool::{Record, Stamp};
use redpoll_common::job::wire::{Offer, OfferAnswer, RunRef};
use redpoll_common::job::{Attempt, Dno, Outcome};
use redpoll_common::wire::FaultCode;
use serde_json::json;

/// A process with the marks of a run, and without a parent.
struct Orphan(String);

impl Orphan {
    async fn of(run: RunRef, folder: &Path) -> Self {
        let file = folder.join("orphan");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "setsid sh -c 'echo $$ > $FILE; exec sleep 1000' & exit 0"]);
        command.env("FILE", &file).env("REDPOLL_AGENT", "web-1").env("REDPOLL_PROCEDURE", "exec.run");
        command.env("REDPOLL_JOB", run.job.to_string()).env("REDPOLL_ATTEMPT", run.attempt.to_string());
        command.env("REDPOLL_DNO", run.dno.to_string());
        assert!(command.status().unwrap().success());
        let read = || std::fs::read_to_string(&file).unwrap_or_default();
        eventually("the orphan runs", || read().ends_with('\n')).await;
        let pid = read().trim().to_owned();
        // only then it is what it will be, and without a parent
        let comm = format!("/proc/{pid}/comm");
        eventually("it sleeps", || std::fs::read_to_string(&comm).is_ok_and(|name| name == "sleep\n")).await;
        Self(pid)
    }

    fn lives(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, tail)| !tail.trim_start().starts_with(['Z', 'X']))
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        let _gone = Command::new("kill").args(["-9", &self.0]).output();
    }
}

/// Another attempt of the job of run 1.
fn attempt(number: u16, dno: u64) -> Offer {
    let run = RunRef { attempt: Attempt(number), dno: Dno(dno), ..run(1) };
    Offer { run, ..offer(1, "exec.run", json!(["true"]), json!({})) }
}

fn received(offer: Offer) -> Record {
    let at = Stamp { boot: [0; 16], boot_ms: 0, wall_ms: redpoll_net::clock::wall_ms() };
    Record::Received { offer: Box::new(offer), at, redact: None }
}

#[tokio::test]
async fn what_is_left_of_a_run_is_told_and_keeps_other_attempts_away_until_it_is_ended() {
    let world = World::new();
    let notes = world.folder.path().join("leftovers.json");
    let orphan = Orphan::of(run(1), world.folder.path()).await;
    // the agent died while the first attempt ran, and had accepted a second one
    let opened = Spool::open(&world.spool(), OpenOptions::default(), |_failed| {}).unwrap();
    let starting = Record::Starting { run: run(1), redact: None };
    let records = vec![received(attempt(1, 1)), starting, received(attempt(2, 2))];
    opened.spool.append(records).await.unwrap().wait().await.unwrap();
    opened.spool.close().await;

    let agent = world.agent().await;
    let link = world.connect(&agent);
    let first = world.manager.ending(1).await;
    assert_eq!(ended(&first), (Outcome::Unknown, None, Some(FaultCode::AgentGone)));
    let said = first.fault.unwrap().message;
    assert!(said.contains(&format!("1 of its processes still runs (pid {})", orphan.0)), "{said}");
    assert!(said.contains("sys.leftovers.stop ends them"), "{said}");
    let second = world.manager.ending(2).await;
    assert_eq!(ended(&second), (Outcome::Rejected, Some(false), Some(FaultCode::Overloaded)));
    let refused = link.offer(&attempt(3, 3)).await.unwrap_err();
    assert_eq!(refused.code, FaultCode::Overloaded);
    assert!(refused.retry_after_ms.is_some() && refused.message.contains(&orphan.0), "{refused:?}");
    link.offer(&offer(4, "exec.run", json!(["true"]), json!({}))).await.unwrap();
    assert_eq!(world.manager.ending(4).await.outcome, Outcome::Succeeded, "other jobs are not kept away");

    // the manager has the end; the next life knows of it all the same, and nobody has ended anything
    agent.die().await;
    assert!(notes.exists());
    let agent = world.agent().await;
    let link = world.connect(&agent);
    let left = agent.leftovers.list();
    assert_eq!((left.len(), left[0].run, left[0].procedure.as_str()), (1, run(1), "exec.run"));
    let pids: Vec<String> = left[0].processes.iter().map(|one| one.pid.to_string()).collect();
    assert_eq!(pids, std::slice::from_ref(&orphan.0));
    assert_eq!(link.offer(&attempt(5, 5)).await.unwrap_err().code, FaultCode::Overloaded);
    assert!(orphan.lives());
    let nothing = agent.leftovers.stop(run(4).job).await.unwrap();
    assert!(nothing.ended.is_empty() && orphan.lives(), "another job");

    let ended = agent.leftovers.stop(run(1).job).await.unwrap();
    assert_eq!((ended.ended.len(), ended.left.len()), (1, 0));
    assert!(!orphan.lives() && agent.leftovers.list().is_empty() && !notes.exists());
    assert_eq!(link.offer(&attempt(6, 6)).await.unwrap(), OfferAnswer::Accepted);
    assert_eq!(world.manager.ending(6).await.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn what_ends_by_itself_is_forgotten_and_keeps_nobody_away() {
    let world = World::new();
    let orphan = Orphan::of(run(1), world.folder.path()).await;
    let opened = Spool::open(&world.spool(), OpenOptions::default(), |_failed| {}).unwrap();
    let records = vec![received(attempt(1, 1)), Record::Starting { run: run(1), redact: None }];
    opened.spool.append(records).await.unwrap().wait().await.unwrap();
    opened.spool.close().await;
    let agent = world.agent().await;
    agent.leftovers.notice();
    assert!(agent.leftovers.refuse(run(1).job, "exec.run").is_err());
    drop(orphan);
    eventually("nothing keeps other attempts away", || {
        agent.leftovers.notice();
        agent.leftovers.refuse(run(1).job, "exec.run").is_ok()
    })
    .await;
    assert!(agent.leftovers.list().is_empty());
}

#[tokio::test]
async fn a_run_of_which_nothing_is_left_ends_as_before() {
    let world = World::new();
    let opened = Spool::open(&world.spool(), OpenOptions::default(), |_failed| {}).unwrap();
    let records = vec![received(attempt(1, 1)), Record::Starting { run: run(1), redact: None }];
    opened.spool.append(records).await.unwrap().wait().await.unwrap();
    opened.spool.close().await;
    let agent = world.agent().await;
    let link = world.connect(&agent);
    let said = world.manager.ending(1).await.fault.unwrap().message;
    assert_eq!(said, "the agent stopped while it was being started; it may have run");
    assert_eq!(link.offer(&attempt(2, 2)).await.unwrap(), OfferAnswer::Accepted);
    assert!(!world.folder.path().join("leftovers.json").exists());
}
