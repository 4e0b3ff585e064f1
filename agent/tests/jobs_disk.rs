//! Jobs and the disk: nothing happens before it is written down, and nothing after it could not be.

#![expect(clippy::unwrap_used, reason = "test code")]

mod jobs_support;
#[path = "spool_support/tiny.rs"]
mod tiny;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use jobs_support::{Link, World, ended, eventually, limited, offer, shell};
use redpoll_agent::spool::OpenOptions;
use redpoll_common::job::wire::OfferAnswer;
use redpoll_common::job::{Limits, Outcome, Overflow};
use redpoll_common::wire::{FaultCode, Raw};
use serde_json::json;
use tiny::Tiny;

/// Lets whatever is about to be said be said: each ping passes the tasks of both sides and everything that was written before it.
async fn settled(link: &Link) {
    for _ in 0..10 {
        link.agent.ping().await.unwrap();
        link.manager.ping().await.unwrap();
    }
}

#[tokio::test]
async fn nothing_is_accepted_started_or_told_before_it_is_on_disk() {
    static HELD: AtomicBool = AtomicBool::new(false);
    static WAITS: AtomicBool = AtomicBool::new(false);
    let sync = |file: &File| {
        while HELD.load(Ordering::SeqCst) {
            WAITS.store(true, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1));
        }
        WAITS.store(false, Ordering::SeqCst);
        file.sync_data()
    };
    let waits = || WAITS.load(Ordering::SeqCst);
    let world = World::new();
    let agent = world.agent_with(OpenOptions { sync, ..OpenOptions::default() }).await;
    let link = world.connect(&agent);
    eventually("the session begins", || world.manager.ledger().asked == 1).await;
    let oracle = world.folder.path().join("oracle");
    let (one, other) =
        (shell(1, &format!("touch {}", oracle.display())), offer(2, "no.such", json!([]), json!({})));

    HELD.store(true, Ordering::SeqCst);
    let mut offered = Box::pin(async { tokio::join!(link.offer(&one), link.offer(&other)) });
    assert!((&mut offered).now_or_never().is_none());
    eventually("the disk has the offer", waits).await;
    settled(&link).await;
    assert!((&mut offered).now_or_never().is_none(), "neither an accept nor a refusal");
    assert!(!oracle.exists());
    assert_eq!(agent.jobs.max_dno().0, 0, "a hello says what is on disk");
    link.agent.ping().await;
    assert!(link.ask("sys.ping", Raw::empty_map()).await.is_ok(), "calls go on");
    HELD.store(false, Ordering::SeqCst);
    let (accepted, refused) = offered.await;
    assert_eq!(accepted, Ok(OfferAnswer::Accepted));
    assert_eq!(refused.map_err(|fault| fault.code), Err(FaultCode::UnknownProcedure));
    assert_eq!(world.manager.ending(1).await.outcome, Outcome::Succeeded);
    assert_eq!(agent.jobs.max_dno().0, 2);

    let gate = world.folder.path().join("gate");
    let third = shell(3, &format!("while [ ! -e {} ]; do sleep 0.01; done", gate.display()));
    assert_eq!(link.offer(&third).await, Ok(OfferAnswer::Accepted));
    eventually("its start is told", || world.manager.seen(3).started).await;
    HELD.store(true, Ordering::SeqCst);
    fs::write(&gate, "").ok();
    eventually("it ends", || agent.jobs.status().running == 0).await;
    eventually("the disk has the end", waits).await;
    settled(&link).await;
    assert!(world.manager.saw_no_end(3), "an end that is not on disk is not told");
    HELD.store(false, Ordering::SeqCst);
    assert_eq!(world.manager.ending(3).await.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn after_a_failure_of_the_disk_nothing_is_accepted_or_started() {
    static BROKEN: AtomicBool = AtomicBool::new(false);
    let sync = |file: &File| match BROKEN.load(Ordering::SeqCst) {
        true => Err(io::ErrorKind::Other.into()),
        false => file.sync_data(),
    };
    let world = World::new();
    let mut agent = world.agent_with(OpenOptions { sync, ..OpenOptions::default() }).await;
    let link = world.connect(&agent);
    eventually("the session begins", || world.manager.ledger().asked == 1).await;
    BROKEN.store(true, Ordering::SeqCst);
    let oracle = world.folder.path().join("oracle");
    let offer = shell(1, &format!("touch {}", oracle.display()));
    let answer = link.offer(&offer).await.map_err(|fault| fault.code);
    assert_eq!(answer, Err(FaultCode::AgentGone), "which proves nothing");
    agent.stopped().await;
    let answer = link.offer(&offer).await.map_err(|fault| fault.code);
    assert_eq!(answer, Err(FaultCode::ShuttingDown), "which proves that nothing ran");
    assert!(!oracle.exists());
    assert!(world.manager.saw_no_end(1));
}

#[tokio::test]
async fn a_full_disk_refuses_offers_holds_output_and_is_noticed_when_it_has_room_again() {
    static FULL: AtomicBool = AtomicBool::new(false);
    let allocate = |file: &File, from, len| match FULL.load(Ordering::SeqCst) {
        true => Err(io::ErrorKind::StorageFull.into()),
        false => redpoll_agent::spool::allocate(file, from, len),
    };
    let world = World::new();
    let open = OpenOptions { allocate, reserve: 64 * 1024, ..OpenOptions::default() };
    let agent = world.agent_with(open).await;
    let link = world.connect(&agent);
    FULL.store(true, Ordering::SeqCst);
    assert_eq!(link.offer(&shell(1, "head -c 1000000 /dev/zero")).await, Ok(OfferAnswer::Accepted));
    let mut dno = 10;
    let refused = loop {
        dno += 1;
        match link.offer(&shell(dno, "true")).await {
            Ok(_) if dno < 1_000 => {}
            answer => break answer,
        }
    };
    let fault = refused.map_err(|fault| (fault.code.clone(), fault.message.contains("spool_full")));
    assert_eq!(fault, Err((FaultCode::Overloaded, true)));
    FULL.store(false, Ordering::SeqCst);
    assert_eq!(world.manager.ending(1).await.outcome, Outcome::Succeeded);
    eventually("there is room", || agent.jobs.status().untold == 0).await;
    assert_eq!(link.offer(&shell(dno + 1, "true")).await, Ok(OfferAnswer::Accepted));
}

/// Offers small runs, from this number on, until one is refused because the disk is full.
async fn offer_until_full(link: &Link, first: u64) {
    let mut dno = first;
    loop {
        match link.offer(&shell(dno, "true")).await {
            Ok(_) => dno += 1,
            Err(fault) if fault.message.contains("spool_full") => return,
            // it has as many runs as it may have
            Err(_) => tokio::task::yield_now().await,
        }
        assert!(dno < 1_000, "it is never full");
    }
}

#[tokio::test]
async fn what_an_agent_holds_while_its_disk_is_full_is_recorded_when_it_stops() {
    static FULL: AtomicBool = AtomicBool::new(false);
    let allocate = |file: &File, from, len| match FULL.load(Ordering::SeqCst) {
        true => Err(io::ErrorKind::StorageFull.into()),
        false => redpoll_agent::spool::allocate(file, from, len),
    };
    let world = World::new();
    let open = OpenOptions { allocate, reserve: 64 * 1024, ..OpenOptions::default() };
    let agent = world.agent_with(open).await;
    let link = world.connect(&agent);
    let [go, told] = ["go", "told"].map(|name| world.folder.path().join(name));
    let script = format!(
        "while [ ! -e {} ]; do sleep 0.01; done; echo said; touch {}; exec sleep 1000",
        go.display(),
        told.display()
    );
    assert_eq!(link.offer(&shell(1, &script)).await, Ok(OfferAnswer::Accepted));
    eventually("its start is told", || world.manager.seen(1).started).await;
    FULL.store(true, Ordering::SeqCst);
    assert_eq!(link.offer(&shell(2, "head -c 1000000 /dev/zero")).await, Ok(OfferAnswer::Accepted));
    offer_until_full(&link, 3).await;
    fs::write(&go, "").unwrap();
    eventually("it has given output that nobody takes", || told.exists()).await;
    assert!(world.manager.saw_no_end(1));
    link.cut().await;
    agent.jobs.drain().await;
    agent.jobs.end(Duration::from_secs(10)).await;
    agent.jobs.close().await;
    drop(agent);

    let agent = world.agent().await;
    let _link = world.connect(&agent);
    let ending = world.manager.ending(1).await;
    let stopped = Some(FaultCode::ShuttingDown);
    assert_eq!(ended(&ending), (Outcome::Failed, Some(true), stopped), "{ending:?}");
    assert_eq!(world.manager.seen(1).text(), "said\n");
}

/// Takes all that a disk has.
fn fill(folder: &Path) -> PathBuf {
    let hog = folder.join("hog");
    let ended = io::copy(&mut io::repeat(1), &mut File::create(&hog).unwrap()).unwrap_err();
    assert_eq!(ended.kind(), io::ErrorKind::StorageFull);
    hog
}

#[tokio::test]
async fn what_the_reserve_has_no_room_for_takes_the_end_of_no_other_run_along_when_the_agent_stops() {
    static WAITS: AtomicBool = AtomicBool::new(false);
    let pause = |_time| {
        WAITS.store(true, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(1));
    };
    let world = World::new();
    DirBuilder::new().mode(0o700).create(world.spool()).unwrap();
    let spool = world.spool();
    let Some(_tiny) = Tiny::mount(&spool, 4 << 20) else {
        eprintln!("skipped: mounting is not permitted here");
        return;
    };
    let open = OpenOptions { pause, reserve: 256 * 1024, ..OpenOptions::default() };
    let agent = world.agent_with(open).await;
    let link = world.connect(&agent);
    let go = world.folder.path().join("go");
    // the one that is held comes first
    let large = offer(1, "test.later", json!([go, 600_000]), json!({}));
    for offer in [large, shell(2, "exec sleep 1000")] {
        assert_eq!(link.offer(&offer).await, Ok(OfferAnswer::Accepted));
    }
    eventually("both run", || (1..=2).all(|dno| world.manager.seen(dno).started)).await;
    let hog = fill(&spool);
    // more than the half by which the reserve is larger than it has to be
    let padded = offer(3, "test.values", json!([0]), json!({"pad": "x".repeat(200_000)}));
    assert_eq!(link.offer(&padded).await, Ok(OfferAnswer::Accepted));
    offer_until_full(&link, 4).await;
    eventually("the others have ended", || agent.jobs.status().running == 2).await;
    fs::write(&go, "").unwrap();
    eventually("it has ended, with a result that is held", || agent.jobs.status().running == 1).await;
    assert!(!WAITS.load(Ordering::SeqCst), "there is room for what is small");
    agent.jobs.drain().await;
    tokio::select! {
        () = agent.jobs.end(Duration::from_secs(10)) => panic!("there is room for all"),
        () = eventually("the large one waits for room", || {
            WAITS.load(Ordering::SeqCst) && agent.jobs.status().running == 0
        }) => {}
    }
    // as a stop that has no more time
    agent.die().await;
    drop(link);

    let agent = world.agent_with(open).await;
    fs::remove_file(hog).unwrap();
    let _link = world.connect(&agent);
    let ending = world.manager.ending(2).await;
    let stopped = Some(FaultCode::ShuttingDown);
    assert_eq!(ended(&ending), (Outcome::Failed, Some(true), stopped), "{ending:?}");
    assert_eq!(world.manager.ending(1).await.outcome, Outcome::Unknown);
}

#[tokio::test]
async fn programs_wait_where_the_disk_has_no_room_at_all() {
    static WAITS: AtomicBool = AtomicBool::new(false);
    let pause = |_time| {
        WAITS.store(true, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(1));
    };
    let world = World::new();
    DirBuilder::new().mode(0o700).create(world.spool()).unwrap();
    let spool = world.spool();
    let Some(_tiny) = Tiny::mount(&spool, 4 << 20) else {
        eprintln!("skipped: mounting is not permitted here");
        return;
    };
    // a file system that promises what it does not have
    let allocate = |_: &File, _, _| Ok(());
    let agent = world.agent_with(OpenOptions { pause, allocate, ..OpenOptions::default() }).await;
    let link = world.connect(&agent);
    let [go, told, stop] = ["go", "told", "stop"].map(|name| world.folder.path().join(name));
    // each line has 1,000 bytes
    let script = format!(
        "while [ ! -e {0} ]; do sleep 0.01; done; n=0; line=$(printf '%01000d' 0); \
         while [ ! -e {2} ]; do echo $line; n=$((n + 1)); echo $n > {1}; done",
        go.display(),
        told.display(),
        stop.display()
    );
    let limits = Limits { overflow: Overflow::Block, ..Limits::default() };
    assert_eq!(link.offer(&limited(shell(1, &script), limits)).await, Ok(OfferAnswer::Accepted));
    eventually("its start is told", || world.manager.seen(1).started).await;
    eventually("its start is on disk", || agent.jobs.status().settled).await;
    let hog = fill(&spool);
    fs::write(&go, "").unwrap();
    let lines = || fs::read_to_string(&told).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    eventually("its output waits for room", || WAITS.load(Ordering::SeqCst)).await;
    let (mut last, mut since) = (0, Instant::now());
    eventually("it stands still", || {
        let now = lines();
        assert!(now < 20_000, "it goes on although nothing can be recorded");
        if now != last || now == 0 {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_secs(1)
    })
    .await;
    fs::write(&stop, "").unwrap();
    fs::remove_file(hog).unwrap();
    assert_eq!(world.manager.ending(1).await.outcome, Outcome::Succeeded, "it goes on");
    assert_eq!(world.manager.seen(1).text().lines().count(), lines());
}
