//! Runs of jobs from the offer to the last acknowledgement, as the manager sees them.

#[path = "../../common/exec/tests/exec_support/mod.rs"]
mod exec_support;
mod jobs_support;

use std::time::Duration;

use exec_support::lives;
use jobs_support::{World, ended, eventually, limited, offer, run, shell};
use redpoll_agent::clock::boot_ms;
use redpoll_agent::spool::OpenOptions;
use redpoll_common::identity::Identity;
use redpoll_common::job::wire::{OfferAnswer, SpoolState};
use redpoll_common::job::{Dno, ItemKind, Limits, Outcome};
use redpoll_common::wire::{FaultCode, Raw};
use redpoll_net::Service;
use redpoll_net::memory;
use redpoll_net::service::detached_call;
use serde_json::{Value, json};

const ACCEPTED: Result<OfferAnswer, redpoll_common::wire::Fault> = Ok(OfferAnswer::Accepted);
const MS: Duration = Duration::from_millis(1);

#[tokio::test]
async fn a_run_is_accepted_started_recorded_told_and_forgotten() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect(&agent);
    assert_eq!(link.offer(&shell(1, "echo hello; echo oops >&2")).await, ACCEPTED);
    let ending = world.manager.ending(1).await;
    assert_eq!(ended(&ending), (Outcome::Succeeded, Some(true), None));
    let summary: Value = ending.result.unwrap().decode().unwrap();
    assert_eq!(summary["exit"], 0);
    let seen = world.manager.seen(1);
    assert!(seen.started);
    assert_eq!(seen.bytes(ItemKind::Stdout), b"hello\n");
    assert_eq!(seen.bytes(ItemKind::Stderr), b"oops\n");
    eventually("the run is forgotten", || agent.jobs.status().untold == 0).await;
    assert_eq!(agent.jobs.max_dno(), Dno(1));
    assert_eq!(seen.endings.len(), 1, "the end is told once");
}

#[tokio::test]
async fn an_accept_does_not_wait_for_the_end_nor_for_what_others_say() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect(&agent);
    for dno in 1..=3 {
        assert_eq!(link.offer(&offer(dno, "test.restless", json!([]), json!({}))).await, ACCEPTED);
    }
    assert_eq!(link.offer(&offer(4, "test.wait", json!([]), json!({}))).await, ACCEPTED);
    assert_eq!(link.offer(&offer(5, "sys.echo", json!([1]), json!({}))).await, ACCEPTED);
    assert_eq!(world.manager.ending(5).await.outcome, Outcome::Succeeded);
    assert!((1..=4).all(|dno| world.manager.saw_no_end(dno)));
}

#[tokio::test]
async fn the_accept_of_a_run_that_is_over_at_once_comes_with_its_end() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect(&agent);
    for dno in 1..=20 {
        assert_eq!(link.offer(&offer(dno, "sys.echo", json!([1]), json!({}))).await, ACCEPTED);
        assert!(!world.manager.saw_no_end(dno), "{dno}: the end was read together with the accept");
    }
}

#[tokio::test]
async fn an_offer_is_executed_once_however_often_it_comes() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect(&agent);
    let oracle = world.folder.path().join("oracle");
    let once = shell(7, &format!("echo ran >> {}; sleep 0.3", oracle.display()));
    assert_eq!(link.offer(&once).await, ACCEPTED);
    let again = link.offer(&once).await.unwrap();
    assert!(matches!(again, OfferAnswer::Known(SpoolState::Starting | SpoolState::Running)), "{again:?}");
    world.manager.ending(7).await;
    eventually("the run is forgotten", || agent.jobs.status().untold == 0).await;
    assert_eq!(link.offer(&once).await, Ok(OfferAnswer::Known(SpoolState::Done)));
    assert_eq!(link.offer(&shell(6, "true")).await, Ok(OfferAnswer::Known(SpoolState::Absent)), "overtaken");
    assert_eq!(std::fs::read_to_string(&oracle).unwrap(), "ran\n");
}

#[tokio::test]
async fn what_cannot_start_in_time_never_starts() {
    let world = World::new();
    // the commit takes until the second offer's time is over, by the clock that decides it
    let sync = |_file: &std::fs::File| {
        let late = boot_ms() + 31;
        while boot_ms() < late {
            std::thread::sleep(MS);
        }
        Ok(())
    };
    let agent = world.agent_with(OpenOptions { sync, ..OpenOptions::default() }).await;
    let link = world.connect(&agent);
    let oracle = world.folder.path().join("oracle");
    for (dno, within) in [(1, Duration::ZERO), (2, 30 * MS)] {
        let late = shell(dno, &format!("touch {}", oracle.display()));
        let late = limited(late, Limits { start_within: Some(within), ..Limits::default() });
        assert_eq!(link.offer(&late).await, ACCEPTED);
        let ending = world.manager.ending(dno).await;
        assert_eq!(ended(&ending), (Outcome::Expired, Some(false), Some(FaultCode::TimedOut)));
    }
    assert!(!oracle.exists());
    assert!(!world.manager.seen(2).started);
}

#[tokio::test]
async fn a_cancel_that_overtakes_its_offer_keeps_it_from_starting() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect(&agent);
    let oracle = world.folder.path().join("oracle");
    assert_eq!(link.cancel(run(3), None).await, SpoolState::Absent);
    let offer = shell(3, &format!("touch {}", oracle.display()));
    assert_eq!(link.offer(&offer).await, Ok(OfferAnswer::Known(SpoolState::Done)));
    let ending = world.manager.ending(3).await;
    assert_eq!(ended(&ending), (Outcome::Cancelled, Some(false), Some(FaultCode::Cancelled)));
    assert!(!oracle.exists());
}

#[tokio::test]
async fn a_cancel_ends_the_whole_tree_and_what_ignores_it_is_killed() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect(&agent);
    let stubborn = "trap '' TERM; sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' & wait; wait";
    for (dno, script, grace) in [(1, "echo $$; sleep 1000", None), (2, stubborn, Some(50))] {
        assert_eq!(link.offer(&shell(dno, script)).await, ACCEPTED);
        eventually("it tells its number", || !world.manager.seen(dno).items.is_empty()).await;
        let pid = world.manager.seen(dno).text();
        assert!(lives(&pid));
        assert_eq!(link.cancel(run(dno), grace).await, SpoolState::Running);
        let ending = world.manager.ending(dno).await;
        assert_eq!(ended(&ending), (Outcome::Cancelled, Some(true), Some(FaultCode::Cancelled)));
        assert!(!lives(&pid), "nothing is left");
    }
}

#[tokio::test]
async fn time_limits_end_runs() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect(&agent);
    let long = Limits { run_timeout: Some(150 * MS), ..Limits::default() };
    let chatty = "while :; do echo x; sleep 0.02; done";
    assert_eq!(link.offer(&limited(shell(1, chatty), long)).await, ACCEPTED);
    let idle = Limits { idle_timeout: Some(150 * MS), ..Limits::default() };
    assert_eq!(link.offer(&limited(shell(2, "echo once; sleep 1000"), idle)).await, ACCEPTED);
    for (dno, limit) in [(1, "150ms: the run_timeout"), (2, "150ms, its idle_timeout")] {
        let ending = world.manager.ending(dno).await;
        assert_eq!(ended(&ending), (Outcome::TimedOut, Some(true), Some(FaultCode::TimedOut)));
        assert!(ending.fault.unwrap().message.contains(limit));
        assert!(ending.duration_ms.unwrap() >= 150);
        assert!(!world.manager.seen(dno).items.is_empty());
    }
}

#[tokio::test]
async fn the_limits_of_the_agent_hold_whatever_the_offer_says() {
    let mut world = World::new();
    world.options.limits.run_timeout = Some(100 * MS);
    world.options.limits.output = 5_000;
    let agent = world.agent().await;
    let link = world.connect(&agent);
    let wide = Limits { run_timeout: Some(100_000 * MS), output: Some(1 << 30), ..Limits::default() };
    assert_eq!(link.offer(&limited(shell(1, "sleep 1000"), wide)).await, ACCEPTED);
    assert_eq!(link.offer(&limited(shell(2, "head -c 50000 /dev/zero"), wide)).await, ACCEPTED);
    let ending = world.manager.ending(1).await;
    assert_eq!(ending.outcome, Outcome::TimedOut);
    let message = ending.fault.unwrap().message;
    assert!(message.contains("longer than 100ms") && message.contains("limits.run_timeout"), "{message}");
    world.manager.ending(2).await;
    let kinds: Vec<ItemKind> = world.manager.seen(2).items.iter().map(|item| item.kind).collect();
    assert_eq!(kinds.last(), Some(&ItemKind::Truncated));
}

#[tokio::test]
async fn what_cannot_run_at_all_is_refused_and_did_not_start() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect(&agent);
    let fault = link.offer(&offer(1, "no.such", json!([]), json!({}))).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::UnknownProcedure);
    let fault = link.offer(&offer(2, "sys.ping@9", json!([]), json!({}))).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::UnknownProcedure);
    // an offer that is refused as `internal` proves nothing, and the manager would cut the session of all runs for it
    let fault = link.offer(&offer(6, "test.broken", json!([]), json!({}))).await.unwrap_err();
    assert!(fault.code == FaultCode::Rejected && fault.message.contains("schema"), "{fault}");
    let again = link.offer(&offer(6, "test.broken", json!([]), json!({}))).await;
    assert_eq!(again, Ok(OfferAnswer::Known(SpoolState::Done)), "it is used up");
    let bad = Raw::encode(&json!({"job": 1})).unwrap();
    assert_eq!(link.ask("rp.job.offer", bad).await.unwrap_err().code, FaultCode::BadArguments);
    for (dno, argv, expected) in
        [(7, json!(["/no/such/program"]), FaultCode::Failed), (8, json!([1, 2]), FaultCode::BadArguments)]
    {
        assert_eq!(link.offer(&offer(dno, "exec.run", argv, json!({}))).await, ACCEPTED);
        let ending = world.manager.ending(dno).await;
        assert_eq!(ended(&ending), (Outcome::Rejected, Some(false), Some(expected)));
    }
    assert_eq!(link.offer(&offer(9, "sys.echo@1", json!([1]), json!({}))).await, ACCEPTED);
    assert_eq!(world.manager.ending(9).await.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn a_fault_of_the_procedure_and_a_panic_are_failures_that_ran() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect(&agent);
    assert_eq!(link.offer(&shell(1, "echo sorry >&2; exit 3")).await, ACCEPTED);
    assert_eq!(link.offer(&offer(2, "test.panic", json!([]), json!({}))).await, ACCEPTED);
    let ending = world.manager.ending(1).await;
    assert_eq!(ended(&ending), (Outcome::Failed, Some(true), Some(FaultCode::Failed)));
    let fault = ending.fault.unwrap();
    assert_eq!(fault.trace.unwrap(), "sorry\n");
    assert_eq!(fault.data.unwrap().decode::<Value>().unwrap()["exit"], 3);
    let ending = world.manager.ending(2).await;
    assert_eq!(ended(&ending), (Outcome::Failed, Some(true), Some(FaultCode::Internal)));
}

#[tokio::test]
async fn values_are_numbered_without_gaps_and_the_newest_progress_is_told() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect(&agent);
    assert_eq!(link.offer(&offer(1, "test.values", json!([500]), json!({}))).await, ACCEPTED);
    let ending = world.manager.ending(1).await;
    assert_eq!((ending.outcome, ending.items), (Outcome::Succeeded, 500));
    assert_eq!(ending.result, Some(Raw::text("done")));
    let seen = world.manager.seen(1);
    let values: Vec<u64> = seen.items.iter().map(|item| item.data.decode().unwrap()).collect();
    assert_eq!(values, (0..500).collect::<Vec<u64>>());
    assert!(seen.items.iter().all(|item| item.kind == ItemKind::Value));
}

#[tokio::test]
async fn a_program_knows_which_run_it_is() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect(&agent);
    let mut offer = shell(9, "env | grep ^REDPOLL_ | sort");
    offer.kwargs = Raw::encode(&json!({"env": {"REDPOLL_JOB": "forged"}})).unwrap();
    assert_eq!(link.offer(&offer).await, ACCEPTED);
    world.manager.ending(9).await;
    let text = world.manager.seen(9).text();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("REDPOLL_RUN=")).collect();
    let job = format!("REDPOLL_JOB={}", run(9).job);
    let expected =
        ["REDPOLL_AGENT=web-1", "REDPOLL_ATTEMPT=1", "REDPOLL_DNO=9", &job, "REDPOLL_PROCEDURE=exec.run"];
    assert_eq!(lines, expected);
    assert!(text.contains("REDPOLL_RUN="));
}

#[tokio::test]
async fn only_managers_offer_and_cancel() {
    let world = World::new();
    let agent = world.agent().await;
    for (method, kwargs) in [
        ("rp.job.offer", shell(1, "true").write()),
        ("rp.job.cancel", redpoll_common::job::wire::Cancel { run: run(1), grace_ms: None }.write()),
    ] {
        let stranger = memory::peer(Identity::parse("spiffe://home/operator/eve").unwrap());
        let (call, _output, _stop) = detached_call(stranger, method, Raw::empty_array(), kwargs);
        let fault = agent.service.start(call).answer.await.unwrap_err();
        assert_eq!(fault.code, FaultCode::Forbidden);
    }
    assert_eq!(agent.jobs.max_dno(), Dno(0));
}

#[tokio::test]
async fn jobs_do_not_use_up_the_places_of_calls() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect(&agent);
    for dno in 1..=20 {
        assert_eq!(link.offer(&offer(dno, "test.wait", json!([]), json!({}))).await, ACCEPTED);
    }
    eventually("all run", || agent.jobs.status().running == 20).await;
    assert!(link.ask("sys.ping", Raw::empty_map()).await.is_ok());
}
