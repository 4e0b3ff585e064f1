//! A log whose database is missing, files that are taken away from a store that is open, and paths that are not what they seem.

#![expect(clippy::unwrap_used, reason = "test code")]

mod store_common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use redpoll_manager::store::sqlite::{
    BackupError, CompactError, DATABASE, Ready, RestoreError, backup, compact, look,
};
use redpoll_manager::store::{AbortHook, CommitError, OpenError, Options, Room, Sqlite, Store};
use store_common::*;
use tempfile::TempDir;

fn log_of(folder: &Path) -> PathBuf {
    folder.join(format!("{DATABASE}-wal"))
}

async fn jobs_in(store: &Sqlite) -> u64 {
    store.counts().await.unwrap().open_jobs
}

/// A folder as kill -9 leaves it, with a log in which one job is.
async fn killed() -> TempDir {
    let folder = private_folder();
    let store = Sqlite::open(folder.path(), small()).unwrap();
    store.commit(submit(1, "a1")).await.unwrap();
    let left =
        [folder.path().join(DATABASE), log_of(folder.path())].map(|path| (fs::read(&path).unwrap(), path));
    store.close().await;
    for (bytes, path) in left {
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    folder
}

#[tokio::test]
async fn a_log_whose_database_is_missing_or_empty_is_refused_and_stays() {
    for is_empty in [false, true] {
        let (folder, other) = (killed().await, private_folder());
        let (database, log) = (folder.path().join(DATABASE), log_of(folder.path()));
        let (good, commits) = (fs::read(&database).unwrap(), fs::read(&log).unwrap());
        fs::remove_file(&database).unwrap();
        if is_empty {
            fs::write(&database, "").unwrap();
            fs::set_permissions(&database, fs::Permissions::from_mode(0o600)).unwrap();
        }
        for _ in 0..2 {
            let error = look(folder.path()).unwrap_err();
            assert!(matches!(error, OpenError::LogAlone { .. }), "{error}");
            let error = Sqlite::open(folder.path(), small()).unwrap_err();
            assert!(matches!(error, OpenError::LogAlone { .. }), "{error}");
            assert!(error.to_string().contains("help: put the database back"), "{error}");
        }
        let backed_up = backup(folder.path(), &other.path().join("copy.db")).unwrap_err();
        let compacted = compact(folder.path()).unwrap_err();
        match is_empty {
            true => {
                let refused =
                    BackupError::Open(OpenError::LogAlone { path: database.clone(), log: log.clone() });
                assert_eq!(backed_up.to_string(), refused.to_string());
                assert!(matches!(compacted, CompactError::Open(OpenError::LogAlone { .. })), "{compacted}");
            }
            false => {
                assert!(matches!(backed_up, BackupError::Missing { .. }), "{backed_up}");
                assert!(matches!(compacted, CompactError::Missing { .. }), "{compacted}");
            }
        }
        assert!(fs::read(&log).unwrap() == commits, "the log is as it was");
        assert_eq!(database.exists(), is_empty, "nothing is made beside it");
        fs::write(&database, good).unwrap();
        fs::set_permissions(&database, fs::Permissions::from_mode(0o600)).unwrap();
        let store = Sqlite::open(folder.path(), small()).unwrap();
        assert_eq!(jobs_in(&store).await, 1, "nothing is lost");
        store.close().await;
    }
}

/// What the error says can be done, and nobody can say whom the lost database shut out.
#[tokio::test]
async fn a_copy_takes_the_place_of_a_database_that_is_missing_and_keeps_its_log() {
    let (folder, other) = (killed().await, private_folder());
    let copy = other.path().join("copy.db");
    backup(folder.path(), &copy).unwrap();
    fs::remove_file(folder.path().join(DATABASE)).unwrap();
    let ready = Ready::prepare(folder.path(), &copy).unwrap();
    assert!(ready.forgotten().is_unknown);
    let kept = ready.put().unwrap().unwrap();
    assert!(fs::metadata(format!("{}-wal", kept.display())).unwrap().len() > 0);
    let store = Sqlite::open(folder.path(), small()).unwrap();
    assert_eq!(jobs_in(&store).await, 1);
}

#[tokio::test]
async fn a_store_whose_files_are_taken_away_or_replaced_acknowledges_nothing_more() {
    type Step = fn(&Path);
    let steps: [(&str, Step); 4] = [
        ("jobs.db", |folder| fs::remove_file(folder.join(DATABASE)).unwrap()),
        ("jobs.db-wal", |folder| fs::remove_file(log_of(folder)).unwrap()),
        ("jobs.db", |folder| fs::rename(folder, folder.with_extension("old")).unwrap()),
        ("jobs.db", |folder| {
            let database = folder.join(DATABASE);
            fs::copy(&database, folder.join("copy")).unwrap();
            fs::rename(folder.join("copy"), database).unwrap();
        }),
    ];
    for (said, step) in steps {
        let folder = private_folder();
        let inner = folder.path().join("store");
        let (tell, told) = sync_channel(1);
        let abort = AbortHook::new(move |word| tell.send(word.to_owned()).unwrap());
        let store = Sqlite::open(&inner, Options { abort, ..small() }).unwrap();
        store.commit(submit(1, "a1")).await.unwrap();
        step(&inner);
        assert_eq!(store.commit(submit(2, "a1")).await, Err(CommitError::Stopped));
        let last_word = told.recv().unwrap();
        assert!(last_word.contains(&format!("{said} was removed")), "{last_word}");
        assert!(last_word.contains("help: put it back"), "{last_word}");
    }
}

/// To SQLite what begins so is a URI: the store would be another, and the copy lie elsewhere, for everybody to read.
#[tokio::test]
async fn a_path_that_looks_like_a_uri_is_a_path() {
    let folder = private_folder();
    std::env::set_current_dir(folder.path()).unwrap();
    let (inner, copy) = (Path::new("file:store"), Path::new("file:monday.db"));
    let store = Sqlite::open(inner, small()).unwrap();
    store.commit(submit(1, "a1")).await.unwrap();
    backup(inner, copy).unwrap();
    store.close().await;
    compact(inner).unwrap();
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["file:monday.db", "file:store"]);
    assert_eq!(fs::metadata(copy).unwrap().permissions().mode() & 0o777, 0o600);
    let kept = Ready::prepare(inner, copy).unwrap().put().unwrap();
    assert!(kept.is_some());
    let store = Sqlite::open(inner, small()).unwrap();
    assert_eq!(jobs_in(&store).await, 1);
    store.close().await;
}

#[tokio::test]
async fn a_restore_of_a_pipe_is_refused_and_waits_for_nobody() {
    let folder = private_folder();
    let pipe = folder.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let (tell, told) = sync_channel(1);
    let inner = folder.path().join("store");
    std::thread::spawn(move || tell.send(Ready::prepare(&inner, &pipe).map(drop)));
    let refused = told.recv_timeout(Duration::from_secs(20)).unwrap().unwrap_err();
    assert!(matches!(refused, RestoreError::NotAStore { .. }), "{refused}");
}

/// As a copy of a folder makes it that leaves holes out.
#[tokio::test]
async fn a_reserve_that_holds_nothing_of_the_disk_is_taken_anew() {
    const BYTES: u64 = 1024 * 1024;
    let folder = private_folder();
    let reserve = folder.path().join("jobs.reserve");
    fs::File::create(&reserve).unwrap().set_len(BYTES).unwrap();
    assert!(fs::metadata(&reserve).unwrap().blocks() * 512 < BYTES, "it is a hole");
    let store = Sqlite::open(folder.path(), Options { reserve_bytes: BYTES, ..small() }).unwrap();
    assert_eq!(store.room(), Room::Plenty);
    let held = fs::metadata(&reserve).unwrap();
    assert!(held.len() == BYTES && held.blocks() * 512 >= BYTES, "{} blocks", held.blocks());
}
