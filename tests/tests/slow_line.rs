//! A slow line that is full: what one moves over it delays neither pings nor calls nor the work of others. The line itself is the clock: how
//! much passes while somebody waits says how much stood before him, however busy this machine is.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::time::Duration;

use redpoll_common::api::method;
use redpoll_common::api::submit::SubmitArguments;
use redpoll_common::wire::Raw;
use redpoll_tests::site::{Site, pattern, word};
use redpoll_tests::slow::Slow;
use redpoll_tests::world::HONEST;
use redpoll_tests::{eventually, in_time, within};
use serde_json::json;

const KIB: u64 = 1 << 10;
const MIB: usize = 1 << 20;

async fn ping(site: &Site) {
    let ping = json!({"agent": HONEST, "count": 1});
    in_time("a ping", site.world.operator.ask(method::AGENTS_PING, &ping)).await.unwrap();
}

/// What is in the middle.
fn median(mut all: Vec<u64>) -> u64 {
    all.sort_unstable();
    *all.get(all.len() / 2).unwrap()
}

/// A line of 512 KiB a second. What is with TLS and the kernel, and one piece of a file, cannot be overtaken: half a second for each answer. A
/// window of values, 1 MiB, has to be: whoever stands behind one waits for two seconds more, and that twice.
#[tokio::test]
async fn a_transfer_lets_calls_and_pings_pass() {
    const SIZE: usize = 3 * MIB;
    /// What may pass while a call and then a ping wait: a second for each.
    const BETWEEN: u64 = 1024 * KIB;
    let mut site = Site::bare(&[]).await;
    let slow = Slow::listen(site.world.address, 512 << 10);
    site.agent(HONEST, &[&slow.setting()]).await;
    let (here, there) = (site.local("here"), site.remote(HONEST, "there"));
    fs::write(&here, pattern(SIZE)).unwrap();
    for via in ["calls", "stream"] {
        let back = site.local(via);
        for words in [[word(&here), &there], [&there, word(&back)]] {
            let from = slow.passed();
            let mut child = site.world.rpctl().args(["cp", "--via", via]).args(words).spawn().unwrap();
            let under_way = async || (slow.passed() > from + 768 * KIB).then_some(());
            eventually("the transfer is under way", under_way).await;
            let mut between = Vec::new();
            // no more of them than fit into the rest of the transfer
            for _ in 0..3 {
                let before = slow.passed();
                in_time("a call", site.world.operator.echo(HONEST, "x")).await.unwrap();
                ping(&site).await;
                between.push(slow.passed() - before);
            }
            println!("{via} {words:?}: {between:?} bytes passed");
            assert!(
                median(between.clone()) < BETWEEN,
                "{via} {words:?}: {between:?} bytes of the file went before"
            );
            assert!(child.try_wait().unwrap().is_none(), "the transfer was over before they were asked");
            let ended = within(Duration::from_secs(90), "the end of the copy", child.wait()).await.unwrap();
            assert!(ended.success());
        }
        assert!(fs::read(&back).unwrap() == pattern(SIZE));
    }
}

/// A line of 2 Mbit a second, of which a run's output could fill more than one second by itself.
#[tokio::test]
async fn a_chatty_job_slows_neither_pings_nor_other_jobs_and_is_cancelled_at_once() {
    const SECOND: u64 = 250_000;
    let mut site = Site::bare(&[]).await;
    let slow = Slow::listen(site.world.address, u32::try_from(SECOND).unwrap());
    // the end of a run is told after its output: of that no more may wait than the line carries in a moment
    site.agent(HONEST, &[&slow.setting(), "limits.job_unacked=256KiB"]).await;
    let operator = &site.world.operator;
    let job = |argv: &[&str]| {
        let mut submit = SubmitArguments::new(vec![HONEST.to_owned()], "exec.run");
        submit.spec.args = Raw::encode(&argv).unwrap();
        submit
    };
    let alive = site.local("alive");
    // the program itself says when it has ended, whatever is told of it
    let script = format!("echo > {0}; trap 'kill $!; rm {0}; exit' TERM; yes & wait", word(&alive));
    let from = slow.passed();
    let chatty = operator.submit(&job(&["sh", "-c", &script])).await.unwrap();
    eventually("the line is full", async || (slow.passed() > from + 3 * SECOND).then_some(())).await;
    let mut pings = Vec::new();
    for _ in 0..15 {
        let before = slow.passed();
        ping(&site).await;
        pings.push(slow.passed() - before);
    }
    println!("pings: {pings:?} bytes passed");
    // half a second for the slowest, on a machine that does nothing else; here one may have met a machine that did
    assert!(median(pings.clone()) < SECOND / 2, "{pings:?} bytes went before pings");
    pings.sort_unstable();
    assert!(
        pings.iter().rev().nth(1).is_some_and(|second| *second < SECOND),
        "{pings:?} bytes went before pings"
    );
    let mut others = Vec::new();
    for _ in 0..3 {
        let before = slow.passed();
        let other = operator.submit(&job(&["echo", "other"])).await.unwrap();
        let end = operator.job_ended(&other).await.end.unwrap();
        assert_eq!(end.outcome.as_str(), "succeeded");
        others.push(slow.passed() - before);
    }
    println!("other jobs: {others:?} bytes passed");
    assert!(median(others.clone()) < SECOND, "{others:?} bytes went before other jobs");
    assert_eq!(operator.state_of(&chatty).await, "running", "it goes on meanwhile");
    assert!(alive.exists());
    let before = slow.passed();
    operator.cancel(&chatty).await;
    eventually("the chatty program has ended", async || (!alive.exists()).then_some(())).await;
    let after = slow.passed() - before;
    println!("cancel: {after} bytes passed until the program had ended");
    assert!(after < SECOND, "{after} bytes went before the cancel");
    let end = operator.job_ended(&chatty).await.end.unwrap();
    let known = slow.passed() - before;
    println!("and {known} until the manager knew");
    assert!(known < 8 * SECOND, "{known} bytes went before the end");
    assert_eq!(end.outcome.as_str(), "cancelled");
}
