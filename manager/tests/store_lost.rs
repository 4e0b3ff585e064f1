//! What was handed over before a loss is not stored after it, whenever there is space again.

#![expect(clippy::unwrap_used, reason = "test code")]

mod store_common;

use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use redpoll_manager::store::chain::Begin;
use redpoll_manager::store::sqlite::DATABASE;
use redpoll_manager::store::{AbortHook, CommitError, Options, Room, Sqlite, Store};
use redpoll_manager_core::jobs::record::Change;
use store_common::*;

/// Longer than the writer takes to look after the space again, which it does at the end of the call that it gives up.
const PATIENCE: Duration = Duration::from_millis(1200);
/// More than any disk has: so the writer, when it looks after the space, has to wait for the readers of the log.
const NO_RESERVE: u64 = 1 << 60;

fn work(n: u64) -> Vec<Change> {
    let mut changes = submit(n, "a1");
    changes.push(Change::Event(event(n)));
    changes
}

async fn until_nothing_is_left(store: &Sqlite) {
    let begin = Instant::now();
    while store.room() != Room::Nothing {
        assert!(begin.elapsed() < Duration::from_secs(20), "the disk is never full");
        tokio::task::yield_now().await;
    }
}

/// The writer is held up between the call that it gives up and the one behind it, while somebody recovers.
#[tokio::test]
async fn a_call_that_waited_behind_a_lost_one_is_lost_too_whenever_somebody_recovers() {
    let folder = private_folder();
    let options = Options { full_patience: PATIENCE, reserve_bytes: NO_RESERVE, ..small() };
    let faults = options.faults.clone();
    let store = Sqlite::open(folder.path(), options).unwrap();
    store.commit(work(1)).await.unwrap();
    let reader = rusqlite::Connection::open(folder.path().join(DATABASE)).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let _seen: i64 = reader.query_row("SELECT count(*) FROM job", [], |row| row.get(0)).unwrap();

    faults.set_full(true);
    let lost = store.enqueue(work(2)).await;
    until_nothing_is_left(&store).await;
    let behind = store.enqueue(work(3)).await;
    assert_eq!(lost.await, Err(CommitError::Full));
    faults.set_full(false);
    // made by whoever does not know yet, and waits for its place
    let late = store.enqueue(work(4));
    let mut recovering = store.recover();
    let at_once = (&mut recovering).now_or_never();
    reader.execute_batch("COMMIT").unwrap();
    let records = match at_once {
        Some(records) => records.unwrap(),
        None => recovering.await.unwrap(),
    };
    assert_eq!(behind.await, Err(CommitError::Full), "it builds on what is lost");
    assert_eq!((records.last_event, records.jobs.len()), (1, 1), "nothing of them is there");

    assert_eq!(late.await.await, Err(CommitError::Full), "it builds on what is lost");
    store.commit(work(2)).await.unwrap();
    store.commit(work(3)).await.unwrap();
    let history = store.verify(Begin::Oldest, None, usize::MAX).await.unwrap();
    assert_eq!((history.flaw, history.at.n), (None, 3));
}

/// Whoever numbers the events believes in one that was lost. A hole could never be told from one that somebody made.
#[tokio::test]
async fn an_event_that_does_not_follow_on_the_last_one_is_not_written() {
    let folder = private_folder();
    let (tell, last_word) = sync_channel(1);
    let abort = AbortHook::new(move |word| tell.send(word.to_owned()).unwrap());
    let store = Sqlite::open(folder.path(), Options { abort, ..small() }).unwrap();
    store.commit(work(1)).await.unwrap();
    store.commit(work(2)).await.unwrap();
    assert_eq!(store.commit(work(4)).await, Err(CommitError::Stopped));
    let word = last_word.recv().unwrap();
    assert!(word.contains("event 4 does not follow on 2") && word.contains("help: "), "{word}");
    store.close().await;
    let store = Sqlite::open(folder.path(), small()).unwrap();
    assert!(store.job(id(4)).await.unwrap().is_none(), "nothing of the call is there");
    let history = store.verify(Begin::Oldest, None, usize::MAX).await.unwrap();
    assert_eq!((history.flaw, history.at.n), (None, 2));
}

/// The hook ends the process. Until it has, an error would tell callers of a change that the next start may find.
#[tokio::test]
async fn nobody_is_answered_before_the_last_word() {
    let folder = private_folder();
    let (tell, last_word) = sync_channel(1);
    let (go_on, going) = sync_channel::<()>(0);
    let going = std::sync::Mutex::new(going);
    let abort = AbortHook::new(move |word| {
        tell.send(word.to_owned()).unwrap();
        let _end = going.lock().unwrap().recv();
    });
    let options = Options { abort, ..small() };
    let faults = options.faults.clone();
    let store = Sqlite::open(folder.path(), options).unwrap();
    store.commit(work(1)).await.unwrap();
    faults.break_in(1);
    let mut unanswered = store.enqueue(work(2)).await;
    let word = last_word.recv().unwrap();
    assert!(word.contains("the store's disk failed"), "{word}");
    let mut behind = store.enqueue(work(3)).await;
    assert_eq!((&mut unanswered).now_or_never(), None, "the process has not ended yet");
    assert_eq!((&mut behind).now_or_never(), None, "the process has not ended yet");
    drop(go_on);
    assert_eq!(unanswered.await, Err(CommitError::Stopped));
    assert_eq!(behind.await, Err(CommitError::Stopped));
}
