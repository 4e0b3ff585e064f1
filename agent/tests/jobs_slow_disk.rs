//! A disk that takes its time ends no run: what a run did in time counts, also when it is taken in late.

mod jobs_support;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jobs_support::{World, ended, eventually, limited, shell};
use redpoll_agent::spool::OpenOptions;
use redpoll_common::job::{Limits, Outcome};

/// The longest silence, and the longest run.
const LIMIT: Duration = Duration::from_millis(1_500);

fn until(file: &Path) -> String {
    format!("while [ ! -e {} ]; do sleep 0.01; done", file.display())
}

#[tokio::test]
async fn neither_silence_nor_length_is_held_against_a_run_whose_output_and_end_wait_for_the_disk() {
    static HELD: AtomicBool = AtomicBool::new(false);
    static WAITS: AtomicBool = AtomicBool::new(false);
    let sync = |file: &File| {
        while HELD.load(Ordering::SeqCst) {
            WAITS.store(true, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1));
        }
        file.sync_data()
    };
    let world = World::new();
    let agent = world.agent_with(OpenOptions { sync, ..OpenOptions::default() }).await;
    let link = world.connect(&agent);
    let [flood, go, told] = ["flood", "go", "told"].map(|name| world.folder.path().join(name));
    let idle = Limits { idle_timeout: Some(LIMIT), ..Limits::default() };
    let short = Limits { run_timeout: Some(LIMIT), ..Limits::default() };

    // says something all the time, for longer than both limits
    let says = format!(
        "{}; n=0; while [ $n -lt 60 ]; do echo $n; n=$((n+1)); sleep 0.05; done; touch {}",
        until(&flood),
        told.display()
    );
    link.offer(&limited(shell(1, &says), idle)).await.unwrap();
    link.offer(&shell(2, &format!("{}; yes", until(&flood)))).await.unwrap();
    link.offer(&limited(shell(3, &until(&go)), short)).await.unwrap();
    eventually("they run", || (1..=3).all(|dno| world.manager.seen(dno).started)).await;
    HELD.store(true, Ordering::SeqCst);
    File::create(&flood).unwrap();
    eventually("the disk takes its time", || WAITS.load(Ordering::SeqCst)).await;
    File::create(&go).unwrap();
    eventually("it has said everything", || told.exists()).await;
    HELD.store(false, Ordering::SeqCst);

    assert_eq!(ended(&world.manager.ending(3).await), (Outcome::Succeeded, Some(true), None));
    assert_eq!(ended(&world.manager.ending(1).await), (Outcome::Succeeded, Some(true), None));
    let said = (0..60).map(|n| format!("{n}\n")).collect::<String>();
    assert_eq!(world.manager.seen(1).text(), said);
    link.cancel(jobs_support::run(2), Some(0)).await;
    world.manager.ending(2).await;
}
