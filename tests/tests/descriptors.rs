//! Daemons and the limit of open files: it is raised, programs are given the one of before, and an agent that reaches it loses nothing.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::path::Path;
use std::time::Duration;

use redpoll_common::api::events::EventList;
use redpoll_common::api::method;
use redpoll_common::wire::FaultCode;
use redpoll_tests::manifests::Manifests;
use redpoll_tests::operator::Operator;
use redpoll_tests::work::{Oracle, numbers};
use redpoll_tests::world::World;
use redpoll_tests::{eventually, within};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;

/// Starts a program with these limits, the soft and the hard one.
fn limited(soft: u64, hard: u64) -> Vec<String> {
    let script = format!("ulimit -S -n {soft} && ulimit -H -n {hard} && exec \"$@\"");
    ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
}

/// Sets the soft limit of a process that runs; gives the one of before.
fn limit(pid: u32, files: u64) -> u64 {
    let pid = Pid::from_raw(pid.cast_signed());
    let of = std::fs::read_to_string(format!("/proc/{}/limits", pid.unwrap().as_raw_pid())).unwrap();
    let line = of.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
    let (soft, hard) = (numbers.next().unwrap(), numbers.next());
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(files), maximum: hard }).unwrap();
    soft
}

fn until(gate: &Path) -> String {
    format!("until [ -e {} ]; do sleep 0.02; done", gate.display())
}

async fn put_back(operator: &Operator, job: &str) {
    eventually("the run is put back", async || {
        let events = operator.ask(method::EVENTS_LIST, &json!({"type": "run.put_back"})).await.unwrap();
        let events: EventList = events.decode().unwrap();
        events.events.iter().any(|event| event.job.as_deref() == Some(job)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_agent_raises_its_limit_and_its_programs_have_the_one_of_before() {
    let mut world = World::quiet(&[]).await;
    world.agent_under(&limited(100, 1_000), "many-1", &[]).await;
    let pid = world.agent_process("many-1").pid();
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["1000", "1000"]);
    // it comes a moment after the start
    let script = "until [ $(ulimit -S -n) = 100 ]; do :; done; ulimit -H -n";
    let oracle = Oracle::new(world.directory(), "limits");
    let job = world.operator.submit(&oracle.job("many-1", script)).await.unwrap();
    oracle.succeeded_once(&world.operator, &job, "1000\n").await;
}

#[tokio::test]
async fn an_agent_with_as_many_files_as_it_may_have_puts_back_what_comes_and_keeps_what_runs() {
    let mut world = World::start(&[]).await;
    world.agent("few-1", &[]).await;
    let (oracle, operator) = (Oracle::new(world.directory(), "few"), world.operator.clone());
    let (gate, last) = (world.directory().join("gate"), world.directory().join("last"));
    // more than the journal has in a file, which is followed by another one then
    let talks = format!("{}; seq 1500000", until(&gate));
    let talks = operator.submit(&oracle.job("few-1", &talks)).await.unwrap();
    let waits = operator.submit(&oracle.job("few-1", &until(&last))).await.unwrap();
    for job in [&talks, &waits] {
        oracle.started(job).await;
    }
    let pid = world.agent_process("few-1").pid();
    let journal = world.directory().join("agent-few-1-state/spool/journal-0000000000000001");
    // what is open stays open, and nothing else can be opened
    let was = limit(pid, 3);

    let comes = operator.submit(&oracle.job("few-1", "seq 5")).await.unwrap();
    put_back(&operator, &comes).await;
    let mut call = operator.exec("few-1", &["true"]).await;
    let refused = Operator::end_of(&mut call).await.unwrap_err();
    assert_eq!(refused.code, FaultCode::Overloaded, "{refused}");
    assert!(refused.retry_after_ms.is_some() && refused.message.contains("nothing ran"), "{refused}");
    std::fs::write(&gate, "").unwrap();
    oracle.succeeded_once(&operator, &talks, &numbers(1_500_000)).await;
    assert!(journal.metadata().unwrap().len() > 9_000_000, "the present file went on");
    assert_eq!(operator.state_of(&waits).await, "running");

    limit(pid, was);
    within(Duration::from_secs(60), "the job that was put back is offered again", async {
        while oracle.starts(&comes) == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    oracle.succeeded_once(&operator, &comes, &numbers(5)).await;
    std::fs::write(&last, "").unwrap();
    oracle.succeeded_once(&operator, &waits, "").await;
    assert_eq!(world.agent_process("few-1").pid(), pid);
    assert_eq!(world.agent_process("few-1").troubles(), Vec::<String>::new());
    assert!(!journal.exists(), "a new file was begun once there was a descriptor for it");
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn a_confined_program_has_the_limit_of_before_when_it_begins() {
    let mut world = World::quiet(&[]).await;
    let manifests = Manifests::new(world.directory());
    let fields = "output = \"text\"\n[limits]\nmemory = \"1GiB\"\n";
    manifests.shell("tell.limits", fields, "echo $(ulimit -S -n) $(ulimit -H -n)");
    world.agent_under(&limited(100, 1_000), "many-1", &[&manifests.setting()]).await;
    let run = world.run_rpctl(&["call", "many-1", "tell.limits"]).await;
    assert!(String::from_utf8_lossy(&run.stdout).contains("100 1000"), "{run:?}");
}
