//! Rows that cannot be read keep retention and the start from nothing, and nor does what is left in the folder or what an earlier version wrote.

#![expect(clippy::unwrap_used, reason = "test code")]

mod store_common;

use std::sync::Arc;

use redpoll_common::job::Outcome;
use redpoll_manager::store::sqlite::DATABASE;
use redpoll_manager::store::{Filter, MAX_LOOKED_AT, ReadError, Sqlite, Store, Whereabouts};
use redpoll_manager_core::jobs::Whose;
use redpoll_manager_core::jobs::record::{CallbackRecord, Change};
use store_common::everything::*;
use store_common::*;

#[tokio::test]
async fn an_end_or_a_callback_that_cannot_be_read_keeps_no_job_for_ever() {
    let folder = private_folder();
    let database = folder.path().join(DATABASE);
    let store = Sqlite::open(folder.path(), small()).unwrap();
    for n in 1..=5 {
        store.commit(submit(n, "a1")).await.unwrap();
        store.commit(end(n, "a1", Outcome::Succeeded, NOON + n)).await.unwrap();
    }
    for n in 2..=4 {
        let pending = CallbackRecord { job: id(n), ..callback(1) };
        store.commit(vec![Change::CallbackChanged(pending)]).await.unwrap();
    }
    store.close().await;
    let broken = rusqlite::Connection::open(&database).unwrap();
    broken.execute("UPDATE job SET ended_ms = -7 WHERE id = ?1", [id(5).to_bytes()]).unwrap();
    broken.execute("UPDATE callback SET due_ms = -1 WHERE job = ?1", [id(2).to_bytes()]).unwrap();
    broken.execute("UPDATE callback SET kind = 'pigeon' WHERE job = ?1", [id(3).to_bytes()]).unwrap();
    drop(broken);
    let store = Sqlite::open(folder.path(), small()).unwrap();
    let kept: Vec<_> = store.recover().await.unwrap().callbacks.iter().map(|callback| callback.job).collect();
    assert_eq!(kept, [id(4)], "what holds a job is what can be told");
    let (stored, old) = store.oldest(&Whose::Operators, 9, true).await.unwrap();
    let old: Vec<_> = old.iter().map(|job| (job.id, job.ended_ms)).collect();
    assert_eq!(old, [(id(5), 0), (id(1), NOON + 1), (id(2), NOON + 2), (id(3), NOON + 3)]);
    assert_eq!(stored, Some(5));
    store.commit(old.iter().map(|(id, _)| Change::JobDeleted(*id)).collect()).await.unwrap();
    assert_eq!(store.oldest(&Whose::Operators, 9, true).await.unwrap(), (Some(1), Vec::new()));
}

#[tokio::test]
async fn a_run_that_was_never_offered_and_has_ended_is_over_whatever_an_earlier_version_wrote_of_it() {
    let folder = private_folder();
    let store = Sqlite::open(folder.path(), small()).unwrap();
    for n in 1..=3 {
        store.commit(submit(n, "a1")).await.unwrap();
    }
    for n in 1..=2 {
        store.commit(end(n, "a1", Outcome::Unknown, NOON + n)).await.unwrap();
    }
    store.close().await;
    let before = rusqlite::Connection::open(folder.path().join(DATABASE)).unwrap();
    before.execute("UPDATE run SET alive = 1, dno = 0 WHERE job = ?1", [id(1).to_bytes()]).unwrap();
    drop(before);
    let store = Sqlite::open(folder.path(), small()).unwrap();
    let jobs: Vec<_> = store.recover().await.unwrap().jobs.iter().map(|job| job.id).collect();
    assert_eq!(jobs, [id(2), id(3)], "what was offered may be corrected, and what waits goes on");
}

/// What the start does not need it does not read: neither its size nor its state keeps anything from going on.
#[tokio::test]
async fn a_fault_that_cannot_be_read_keeps_its_open_job_from_nothing() {
    let folder = private_folder();
    let store = Sqlite::open(folder.path(), small()).unwrap();
    store.commit(submitted(job(1, &["a1", "a2"], plain_spec()))).await.unwrap();
    store.commit(vec![changed(full_run(1, "a1"))]).await.unwrap();
    store.close().await;
    let broken = rusqlite::Connection::open(folder.path().join(DATABASE)).unwrap();
    broken.execute("UPDATE run SET fault = x'c1' WHERE agent = 'a1'", []).unwrap();
    drop(broken);
    let store = Sqlite::open(folder.path(), small()).unwrap();
    let records = store.recover().await.unwrap();
    assert_eq!((records.jobs.len(), records.runs.len(), records.unreadable), (1, 2, vec![]));
    assert!(matches!(store.run(&key(1, "a1")).await, Err(ReadError::Damaged { .. })));
}

/// It has in the clear what was masked since.
#[tokio::test]
async fn a_start_removes_what_a_compact_left_that_was_ended() {
    let folder = private_folder();
    Sqlite::open(folder.path(), small()).unwrap().close().await;
    let left = ["", "-journal", "-wal", "-shm"]
        .map(|suffix| folder.path().join(format!("{DATABASE}.compact{suffix}")));
    for path in &left {
        std::fs::write(path, "half a database").unwrap();
    }
    let store = Sqlite::open(folder.path(), small()).unwrap();
    assert_eq!(left.iter().filter(|path| path.exists()).count(), 0);
    store.close().await;
}

/// However many jobs meet a condition: a list gives others their turn.
#[tokio::test]
async fn a_list_looks_at_so_many_jobs_and_says_where_to_go_on() {
    let folder = private_folder();
    let store = Sqlite::open(folder.path(), small()).unwrap();
    let newest = u64::try_from(MAX_LOOKED_AT).unwrap() + 5;
    store
        .commit((1..=newest).map(|n| Change::JobSubmitted(Arc::new(job(n, &["a1"], plain_spec())))).collect())
        .await
        .unwrap();
    store.commit(end(2, "a1", Outcome::Succeeded, NOON)).await.unwrap();
    let theirs = Filter {
        submitter: Some(peer("alice").into()),
        state: Some(Whereabouts::Ended),
        ..Filter::default()
    };
    let first = store.list(theirs.clone(), None, 9).await.unwrap();
    assert_eq!((first.jobs.len(), first.next), (0, Some(id(6))));
    let second = store.list(theirs, first.next, 9).await.unwrap();
    assert_eq!(second.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [id(2)]);
    assert_eq!(second.next, None);
}
