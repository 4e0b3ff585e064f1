//! The power fails, at any moment: what was acknowledged is on the disk, and what is on the disk can be read.
//!
//! Real daemons run under a recorder. For each acknowledgement, each start of a program and each sync the disk is made again as it
//! is when the power fails there, and opened by the code that opens it after a restart.

#![expect(clippy::unwrap_used, reason = "test code")]

use redpoll_agent::spool::{OpenOptions, Spool};
use redpoll_common::api::AgentState;
use redpoll_common::job::JobId;
use redpoll_common::job::spool::Image;
use redpoll_manager::store::chain::Begin;
use redpoll_manager::store::{Options, Sqlite, Store};
use redpoll_tests::power::{Recorder, Tape, now_us};
use redpoll_tests::torture::dice::Dice;
use redpoll_tests::work::Oracle;
use redpoll_tests::world::{HONEST, World, start_agent, start_agent_under};
use rustix::process::Signal;

/// Jobs of each test.
const JOBS: usize = 16;

/// What may survive of what was not synced: nothing, all, or as the dice fall.
fn luck(kind: usize, dice: &mut Dice) -> impl FnMut() -> bool + '_ {
    move || match kind {
        0 => false,
        1 => true,
        _ => dice.percent(50),
    }
}

/// The moments to look at, and with what luck: those that are told with each, and each sync, as it begins and as it ends, with one.
fn moments(tape: &Tape, told: &[u64], dice: &mut Dice) -> Vec<(u64, usize)> {
    let told = told.iter().flat_map(|us| (0..3).map(move |kind| (*us, kind)));
    let syncs = tape.syncs().flat_map(|sync| [sync.at_us, sync.done_us]);
    // a part of them: there are hundreds
    let syncs: Vec<u64> = syncs.filter(|_| dice.percent(40)).collect();
    told.chain(syncs.into_iter().map(|us| (us, *dice.pick(&[0, 1, 2])))).collect()
}

#[tokio::test]
async fn a_manager_whose_power_fails_has_what_it_acknowledged() {
    let seed = Dice::any_seed();
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let mut world = World::quiet(&[]).await;
    world.agent(HONEST, &[]).await;
    let oracle = Oracle::new(world.directory(), "power");
    world.manager.signal(Signal::TERM);
    world.manager.ended().await;
    let recorder = Recorder::of(&world.directory().join("manager-state"));
    world.restart_manager_under(&recorder.wrapper());
    world.manager_is_back().await;
    world.operator.until(HONEST, AgentState::Connected).await;
    let mut acknowledged = Vec::new();
    for n in 0..JOBS {
        let job = world.operator.submit(&oracle.job(HONEST, "echo done")).await.unwrap();
        acknowledged.push((now_us(), JobId::parse(&job).unwrap()));
        // some are under way together, with items and ends of others
        if n % 3 == 0 {
            world.operator.job_ended(&job).await;
        }
    }
    world.manager.signal(Signal::KILL);
    world.manager.ended().await;
    let tape = recorder.tape().await;
    let told: Vec<u64> = acknowledged.iter().map(|(us, _)| *us).collect();
    let moments = moments(&tape, &told, &mut dice);
    println!("{} moments", moments.len());
    assert!(tape.calls().len() > 8 * JOBS, "only {} calls were recorded", tape.calls().len());
    for (us, kind) in moments {
        let folder = tape.folder_at(us, luck(kind, &mut dice));
        let options = Options { reserve_bytes: 0, ..Options::default() };
        let store = Sqlite::open(&folder.path().join("disk"), options);
        let store = store.unwrap_or_else(|error| panic!("at {us}, kind {kind}: {error}"));
        for (n, (_, job)) in acknowledged.iter().enumerate().filter(|(_, (told, _))| *told <= us) {
            let there = store.job(*job).await.unwrap().is_some();
            assert!(there, "job {n} was acknowledged before {us}, and is lost (kind {kind})");
        }
        let verified = store.verify(Begin::Oldest, None, usize::MAX).await.unwrap();
        assert!(verified.flaw.is_none(), "at {us}, kind {kind}: {verified:?}");
        store.close().await;
    }
}

#[tokio::test]
async fn an_agent_whose_power_fails_knows_what_it_started_and_what_it_told() {
    let seed = Dice::any_seed();
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let world = World::quiet(&[]).await;
    let (id, address, oracle) =
        ("powered-1", world.address.to_string(), Oracle::new(world.directory(), "power"));
    world.certificate(id).write(world.directory(), "agent-powered-1");
    // the first one makes the spool
    let mut agent = start_agent(world.directory(), id, &address, &[]);
    world.operator.until(id, AgentState::Connected).await;
    agent.kill().await;
    world.operator.until(id, AgentState::Away).await;
    let recorder = Recorder::of(&world.directory().join("agent-powered-1-state/spool"));
    let mut agent = start_agent_under(&recorder.wrapper(), world.directory(), id, &address, &[]);
    world.operator.until(id, AgentState::Connected).await;
    let mut ended = Vec::new();
    for _ in 0..JOBS {
        let job = world.operator.submit(&oracle.job(id, "echo done")).await.unwrap();
        world.operator.job_ended(&job).await;
        ended.push((now_us(), JobId::parse(&job).unwrap()));
    }
    agent.kill().await;
    let tape = recorder.tape().await;
    // one shell for each job, one job after the other
    let starts = tape.starts("sh");
    assert_eq!(starts.len(), JOBS, "programs of other kinds were started, or none was recorded");
    let told: Vec<u64> = starts.iter().copied().chain(ended.iter().map(|(us, _)| *us)).collect();
    for (us, kind) in moments(&tape, &told, &mut dice) {
        let folder = tape.folder_at(us, luck(kind, &mut dice));
        let opened = Spool::open(&folder.path().join("disk"), OpenOptions::default(), |_failure| {});
        let image = opened.unwrap_or_else(|error| panic!("at {us}, kind {kind}: {error}")).image;
        let begun = starts.iter().filter(|start| **start <= us).count();
        let told = ended.iter().filter(|(told, _)| *told <= us).map(|(_, job)| *job);
        agrees(&image, begun, &told.collect::<Vec<_>>(), us);
    }
}

/// What was started is known as started, and what was told as an end is one: nothing of it can run again.
fn agrees(image: &Image, begun: usize, told: &[JobId], us: u64) {
    let newest = usize::try_from(image.max_dno().0).unwrap();
    assert!(newest >= begun, "at {us}: {begun} were started, and number {newest} is the last");
    for (dno, row) in image.rows() {
        let is_begun = usize::try_from(dno.0).unwrap() <= begun;
        assert!(!is_begun || row.starting, "at {us}: number {dno} was started, and the spool does not know");
        let is_told = row.run.is_some_and(|run| told.contains(&run.job));
        assert!(
            !is_told || row.ending.is_some(),
            "at {us}: the end of number {dno} was told, and is not there"
        );
    }
}
