//! What was acknowledged is there after any crash, and nothing is there by halves.

#![expect(clippy::unwrap_used, reason = "test code")]

mod store_common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redpoll_common::job::Attempt;
use redpoll_manager::store::chain::Begin;
use redpoll_manager::store::sqlite::DATABASE;
use redpoll_manager::store::{AbortHook, Options, Sqlite, Store};
use redpoll_manager_core::jobs::record::Change;
use store_common::*;

/// Tells a copy of this program that it is the one to be killed, and in which folder and from which number on it works.
const VICTIM: &str = "REDPOLL_TEST_STORE";
/// Submitters of the victim.
const SUBMITTERS: u64 = 16;
/// How many items come with each job.
const ITEMS: u64 = 3;

/// A job with its run, items of the run, and an event, in one call.
fn work(n: u64, number: u64) -> Vec<Change> {
    let mut changes = submit(n, "a1");
    changes.push(append(n, "a1", 0, ITEMS, 100));
    changes.push(Change::Event(event(number)));
    changes
}

/// Commits without end, and names each number once its call is acknowledged.
async fn storm(folder: &Path, from: u64, abort: AbortHook) {
    let options = Options { reserve_bytes: 0, abort, ..Options::default() };
    let store = Arc::new(Sqlite::open(folder, options).unwrap());
    let next = Arc::new(AtomicU64::new(from));
    let last = Arc::new(AtomicU64::new(store.recover().await.unwrap().last_event));
    let submitters: Vec<_> = (0..SUBMITTERS)
        .map(|_| {
            let (store, next, last) = (store.clone(), next.clone(), last.clone());
            async move {
                loop {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    // nobody comes in between: all submitters are one task, and there is always a place
                    let number = last.fetch_add(1, Ordering::SeqCst) + 1;
                    if store.commit(work(n, number)).await.is_err() {
                        return;
                    }
                    // past the capture of the test's output
                    std::io::stdout().write_all(format!("acknowledged {n}\n").as_bytes()).unwrap();
                }
            }
        })
        .collect();
    futures_util::future::join_all(submitters).await;
}

/// This program again, as the victim, through a shell line that ends with `exec "$0" "$@"`.
fn victim(test: &str, shell: &str, folder: &Path, from: u64) -> Child {
    Command::new("sh")
        .args(["-c", shell])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(VICTIM, format!("{from} {}", folder.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// In the victim: its folder and its first number.
fn orders() -> Option<(String, u64)> {
    let orders = std::env::var(VICTIM).ok()?;
    let (from, folder) = orders.split_once(' ')?;
    Some((folder.to_owned(), from.parse().ok()?))
}

fn acknowledged(line: &str) -> Option<u64> {
    line.strip_prefix("acknowledged ")?.parse().ok()
}

/// Everything acknowledged is there, and whatever is there is whole.
async fn assert_whole(store: &Sqlite, acknowledged: &[u64]) {
    for n in acknowledged {
        assert!(store.job(id(*n)).await.unwrap().is_some(), "job {n} was acknowledged and is lost");
    }
    let records = store.recover().await.unwrap();
    assert_eq!(records.jobs.len(), records.runs.len());
    for run in &records.runs {
        let items = store.items(&run.key, Attempt(1), 0, 99).await.unwrap();
        assert_eq!(items.len(), usize::try_from(ITEMS).unwrap(), "{} is there by halves", run.key);
    }
    let mut begin = Begin::Oldest;
    loop {
        let history = store.verify(begin, None, usize::MAX).await.unwrap();
        assert_eq!(history.flaw, None, "the history has another end than its head says");
        if !history.more {
            assert_eq!(history.at.n, u64::try_from(records.runs.len()).unwrap());
            return;
        }
        begin = Begin::After(history.at);
    }
}

#[tokio::test]
async fn every_acknowledged_commit_survives_kill_9() {
    if let Some((folder, from)) = orders() {
        return storm(Path::new(&folder), from, AbortHook::default()).await;
    }
    let folder = private_folder();
    let mut known = Vec::new();
    for (round, kill_after) in [1, 40, 300, 5, 1000].into_iter().enumerate() {
        let from = u64::try_from(round).unwrap() * 1_000_000;
        let mut child =
            victim("every_acknowledged_commit_survives_kill_9", "exec \"$0\" \"$@\"", folder.path(), from);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        for line in lines {
            let Some(n) = acknowledged(&line.unwrap()) else { continue };
            known.push(n);
            seen += 1;
            if seen == kill_after {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= kill_after, "the victim ended by itself after {seen}");
        let store = Sqlite::open(folder.path(), small()).unwrap();
        assert_whole(&store, &known).await;
        store.close().await;
    }
}

#[tokio::test]
async fn a_copy_of_the_files_at_any_moment_has_all_that_was_acknowledged() {
    let folder = private_folder();
    let store = Sqlite::open(folder.path(), small()).unwrap();
    let mut known = Vec::new();
    for n in 0..30 {
        store.commit(work(n, n + 1)).await.unwrap();
        known.push(n);
        if n % 10 == 0 {
            let copy = private_folder();
            for name in [DATABASE.to_owned(), format!("{DATABASE}-wal")] {
                fs::copy(folder.path().join(&name), copy.path().join(&name)).unwrap();
            }
            let found = Sqlite::open(copy.path(), small()).unwrap();
            assert_whole(&found, &known).await;
        }
    }
}

/// The log may not grow beyond a limit of the process: a write error that is not a full disk.
#[tokio::test]
async fn a_write_error_aborts_with_a_last_word_and_loses_nothing() {
    if let Some((folder, from)) = orders() {
        let abort = AbortHook::new(|last_word| {
            std::io::stderr().write_all(last_word.as_bytes()).unwrap();
            std::process::abort()
        });
        return storm(Path::new(&folder), from, abort).await;
    }
    let folder = private_folder();
    // blocks of 512 bytes; the ignored signal would kill without a word
    let shell = "trap '' XFSZ; ulimit -c 0; ulimit -f 2000; exec \"$0\" \"$@\"";
    let child = victim("a_write_error_aborts_with_a_last_word_and_loses_nothing", shell, folder.path(), 0);
    let output = child.wait_with_output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(6), "{stderr}");
    assert!(stderr.contains("the store's disk failed") && stderr.contains("help: "), "{stderr}");
    let known: Vec<_> = stdout.lines().filter_map(acknowledged).collect();
    assert!(known.len() > 10, "{stdout}");
    let store = Sqlite::open(folder.path(), small()).unwrap();
    assert_whole(&store, &known).await;
}
