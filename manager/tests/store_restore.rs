//! Putting a copy in the place of the store: whom it lets in again, and what is said when it ends in the middle.

#![expect(clippy::unwrap_used, reason = "test code")]

mod store_common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use redpoll_common::identity::Role;
use redpoll_common::ids::PeerId;
use redpoll_manager::store::sqlite::{DATABASE, Finished, Forgotten, Ready, RestoreError, backup};
use redpoll_manager::store::{Sqlite, Store};
use redpoll_manager_core::jobs::record::Change;
use redpoll_manager_core::revoked::{CertificateName, Denial, Denied};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use store_common::*;
use tempfile::TempDir;

fn web(n: u32) -> Denied {
    Denied::whole(Role::Agent, PeerId::parse(&format!("web-{n}")).unwrap())
}

fn revoked(denied: Denied) -> Change {
    let by = PeerId::parse("ada").unwrap().into();
    Change::Denied(Denial { denied, at_ms: NOON, by, reason: None })
}

/// A store that shuts out these, closed.
async fn store_of(folder: &Path, all: &[Denied]) {
    let store = Sqlite::open(folder, small()).unwrap();
    store.commit(submit(1, "a1")).await.unwrap();
    for denied in all {
        store.commit(vec![revoked(denied.clone())]).await.unwrap();
    }
    store.close().await;
}

/// A copy in a folder of its own, of a store that shuts out these.
async fn copy_of(all: &[Denied]) -> (TempDir, PathBuf) {
    let folder = private_folder();
    store_of(folder.path(), all).await;
    let copy = folder.path().join("copy.db");
    backup(folder.path(), &copy).unwrap();
    (folder, copy)
}

fn beside(folder: &Path, suffix: &str) -> PathBuf {
    folder.join(format!("{DATABASE}{suffix}"))
}

/// Leaves the last change in the log, as kill -9 does.
fn make_hot(folder: &Path, sql: &str) {
    let connection = Connection::open(folder.join(DATABASE)).unwrap();
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    connection.execute_batch(sql).unwrap();
    connection.close().unwrap();
    assert!(fs::metadata(beside(folder, "-wal")).unwrap().len() > 0, "the log is hot");
}

/// Where what is there will be kept.
fn kept_by(folder: &Path, draft: &str) -> PathBuf {
    let at = fs::metadata(beside(folder, draft)).unwrap().modified().unwrap();
    beside(folder, &format!(".before-{}", at.duration_since(UNIX_EPOCH).unwrap().as_millis()))
}

#[tokio::test]
async fn whom_an_older_copy_lets_in_again_is_named() {
    let key = Denied { certificate: Some(CertificateName::parse("0a1b").unwrap()), ..web(2) };
    let (_other, copy) = copy_of(&[web(1), web(9)]).await;
    let folder = private_folder();
    let none = Ready::prepare(&folder.path().join("new"), &copy).unwrap();
    assert_eq!(*none.forgotten(), Forgotten::default(), "there was no store");
    drop(none);
    store_of(folder.path(), &[web(1), web(3), key.clone()]).await;
    // also what only the log knows, which stays where it is
    let late = "INSERT INTO denied SELECT role, 'web-4', certificate, at_ms, revoked_by, reason FROM denied WHERE id = 'web-3'";
    make_hot(folder.path(), late);
    let before = [DATABASE, "jobs.db-wal"].map(|name| fs::read(folder.path().join(name)).unwrap());
    let ready = Ready::prepare(folder.path(), &copy).unwrap();
    let expected = Forgotten { denied: vec![key, web(3), web(4)], is_unknown: false };
    let mut found = ready.forgotten().clone();
    found.denied.sort_by_key(|denied| denied.id.clone());
    assert_eq!(found, expected);
    drop(ready);
    assert!([DATABASE, "jobs.db-wal"].map(|name| fs::read(folder.path().join(name)).unwrap()) == before);

    // of an earlier one that was broken off: nobody has let in since whom the store before it shut out
    fs::copy(&copy, beside(folder.path(), ".restored")).unwrap();
    let kept = kept_by(folder.path(), ".restored");
    let mut told = None;
    let ready = Ready::after(folder.path(), &copy, |finished| told = Some(finished.clone())).unwrap();
    let Finished { kept: told, forgotten } = told.unwrap();
    assert_eq!((told, forgotten.denied.len(), forgotten.is_unknown), (Some(kept), 3, false));
    assert_eq!(ready.forgotten().denied.len(), 3);
    drop(ready);

    fs::write(folder.path().join(DATABASE), "no database").unwrap();
    let ready = Ready::after(folder.path(), &copy, |_| panic!("there was no earlier one")).unwrap();
    assert_eq!(*ready.forgotten(), Forgotten { denied: vec![], is_unknown: true });
}

#[tokio::test]
async fn a_restore_that_fails_behind_the_step_that_counts_says_that_the_next_start_goes_on() {
    let (_other, copy) = copy_of(&[]).await;
    // the name for the log is taken, and then the one for the database
    for (taken, is_touched) in [("-wal", false), ("", true)] {
        let folder = private_folder();
        store_of(folder.path(), &[web(1)]).await;
        make_hot(folder.path(), "UPDATE denied SET at_ms = 7");
        let ready = Ready::prepare(folder.path(), &copy).unwrap();
        let kept = kept_by(folder.path(), ".restore");
        let in_the_way = PathBuf::from(format!("{}{taken}", kept.display()));
        fs::write(&in_the_way, "in the way").unwrap();
        let error = ready.put().unwrap_err();
        let RestoreError::Begun { said, help, source } = &error else { panic!("{error}") };
        assert!(said.contains("next start") && source.to_string().contains("is there already"), "{error}");
        assert_eq!(help.starts_with("to prevent that, remove"), !is_touched, "{error}");
        assert_eq!(help.starts_with("leave "), is_touched, "{error}");
        let error = Ready::prepare(folder.path(), &copy).unwrap_err();
        assert!(error.to_string().starts_with("an earlier copy is to be put in place first"), "{error}");
        if is_touched {
            fs::remove_file(&in_the_way).unwrap();
            Sqlite::open(folder.path(), small()).unwrap().close().await;
            assert!(kept.exists(), "as it says");
        } else {
            fs::remove_file(beside(folder.path(), ".restored")).unwrap();
            let ready = Ready::prepare(folder.path(), &copy).unwrap();
            assert_eq!(ready.forgotten().denied, [web(1)], "nothing was lost");
        }
    }
}

#[tokio::test]
async fn what_a_restore_left_that_was_killed_is_removed_by_the_next_start() {
    let folder = private_folder();
    store_of(folder.path(), &[]).await;
    let left =
        ["", "-wal", "-shm", "-journal"].map(|suffix| beside(folder.path(), &format!(".restore{suffix}")));
    left.iter().for_each(|path| fs::write(path, "a whole copy").unwrap());
    Sqlite::open(folder.path(), small()).unwrap().close().await;
    assert!(left.iter().all(|path| !path.exists()));
}
