//! Copies of the store on disk, and putting them back: also where a log was left that would destroy them.

#![expect(clippy::unwrap_used, reason = "test code")]

mod store_common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use redpoll_common::job::Outcome;
use redpoll_manager::store::chain::Begin;
use redpoll_manager::store::sqlite::{BackupError, DATABASE, Extent, Ready, RestoreError, VERSION, backup};
use redpoll_manager::store::{OpenError, Sqlite, Store};
use redpoll_manager_core::jobs::record::Change;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use store_common::*;
use tempfile::TempDir;

const VERSION_1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/store_common/version1.db");

/// A job that has ended, and an event.
fn work(n: u64) -> Vec<Change> {
    let mut changes = submit(n, "a1");
    changes.extend(end(n, "a1", Outcome::Succeeded, NOON));
    changes.push(append(n, "a1", 0, 3, 500));
    changes.push(Change::Event(event(n)));
    changes
}

/// A store with as many jobs, open.
async fn store_of(folder: &Path, jobs: std::ops::RangeInclusive<u64>) -> Sqlite {
    let store = Sqlite::open(folder, small()).unwrap();
    for n in jobs {
        store.commit(work(n)).await.unwrap();
    }
    store
}

/// How many jobs a store has, which must be whole.
async fn jobs_in(folder: &Path) -> u64 {
    let store = Sqlite::open(folder, small()).unwrap();
    let counts = store.counts().await.unwrap();
    let history = store.verify(Begin::Oldest, None, usize::MAX).await.unwrap();
    assert_eq!((history.flaw, history.at.n), (None, counts.ended_jobs));
    for n in 1..=counts.ended_jobs {
        assert!(store.job(id(n)).await.unwrap().is_some(), "job {n}");
    }
    store.close().await;
    counts.ended_jobs
}

/// A folder as kill -9 leaves it: `jobs` in the database, and in the log changes of most of its pages.
async fn killed(jobs: u64) -> TempDir {
    let folder = private_folder();
    store_of(folder.path(), 1..=jobs).await.close().await;
    let database = folder.path().join(DATABASE);
    let connection = Connection::open(&database).unwrap();
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    connection
        .execute_batch(
            "UPDATE job SET submitted_ms = submitted_ms + 1; UPDATE run SET queued_ms = queued_ms + 1",
        )
        .unwrap();
    connection.close().unwrap();
    let hot = fs::metadata(log_of(&database)).unwrap().len();
    assert!(hot > 16_000, "the log is hot: {hot}");
    folder
}

fn log_of(database: &Path) -> PathBuf {
    PathBuf::from(format!("{}-wal", database.display()))
}

fn names(folder: &Path) -> Vec<String> {
    let all = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = all.filter(|name| name.starts_with("jobs.db")).collect();
    names.sort();
    names
}

fn image(folder: &Path) -> Vec<(String, Vec<u8>)> {
    names(folder).into_iter().map(|name| (name.clone(), fs::read(folder.join(&name)).unwrap())).collect()
}

fn put(folder: &Path, copy: &Path) -> Option<PathBuf> {
    Ready::prepare(folder, copy).unwrap().put().unwrap()
}

#[tokio::test]
async fn a_copy_is_made_while_the_store_is_written_and_has_what_was_committed() {
    let (folder, other) = (private_folder(), private_folder());
    let store = store_of(folder.path(), 1..=150).await;
    let copy = other.path().join("copy.db");
    let (from, to) = (folder.path().to_owned(), copy.clone());
    let copying = tokio::task::spawn_blocking(move || backup(&from, &to).unwrap());
    for n in 151..=200 {
        store.commit(work(n)).await.unwrap();
    }
    let Extent { bytes, version, head } = copying.await.unwrap();
    assert_eq!((bytes, version), (fs::metadata(&copy).unwrap().len(), VERSION));
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1, "nothing is beside it");
    store.close().await;

    assert_eq!(put(&other.path().join("new"), &copy), None, "there was no store");
    let jobs = jobs_in(&other.path().join("new")).await;
    assert!((150..=200).contains(&jobs) && head.unwrap().n == jobs, "{jobs} {head:?}");
    assert_eq!(jobs_in(folder.path()).await, 200);
}

#[tokio::test]
async fn nothing_is_overwritten_by_a_copy() {
    let (folder, other) = (killed(50).await, private_folder());
    let before = image(folder.path());
    let copy = other.path().join("copy.db");
    let part = other.path().join("copy.db.part");
    fs::write(&part, "half").unwrap();
    assert!(matches!(backup(folder.path(), &copy).unwrap_err(), BackupError::Unfinished { .. }));
    assert_eq!(fs::read(&part).unwrap(), b"half");
    fs::remove_file(&part).unwrap();
    fs::write(&copy, "other").unwrap();
    assert!(matches!(backup(folder.path(), &copy).unwrap_err(), BackupError::Exists { .. }));
    assert_eq!(fs::read(&copy).unwrap(), b"other");
    for own in ["jobs.db-journal", "jobs.db.restored"] {
        assert!(matches!(
            backup(folder.path(), &folder.path().join(own)).unwrap_err(),
            BackupError::OwnName { .. }
        ));
    }
    assert!(matches!(backup(other.path(), &copy).unwrap_err(), BackupError::Missing { .. }));
    // a store of a manager that was killed stays as it is
    backup(folder.path(), &other.path().join("good.db")).unwrap();
    assert!(
        image(folder.path())
            .iter()
            .filter(|(name, _)| name != "jobs.db-shm")
            .eq(before.iter().filter(|(name, _)| name != "jobs.db-shm"))
    );
}

#[tokio::test]
async fn what_root_copies_belongs_to_the_user_of_the_store() {
    use std::os::unix::fs::MetadataExt;
    let (folder, other) = (private_folder(), private_folder());
    store_of(folder.path(), 1..=1).await.close().await;
    let (user, group) = (rustix::fs::Uid::from_raw(54_321), rustix::fs::Gid::from_raw(54_322));
    // only root can give a file away, and is what this is about
    if rustix::fs::chown(folder.path().join(DATABASE), Some(user), Some(group)).is_ok() {
        let copy = other.path().join("copy.db");
        backup(folder.path(), &copy).unwrap();
        let made = fs::metadata(&copy).unwrap();
        assert_eq!((made.uid(), made.gid(), made.mode() & 0o777), (54_321, 54_322, 0o600));
    }
}

#[tokio::test]
async fn a_copy_takes_the_place_of_a_store_with_a_hot_log_and_can_be_undone() {
    let (folder, other) = (killed(120).await, private_folder());
    store_of(other.path(), 1..=10).await.close().await;
    let copy = other.path().join("copy.db");
    backup(other.path(), &copy).unwrap();
    let good = fs::read(&copy).unwrap();

    let kept = put(folder.path(), &copy).unwrap();
    assert!(log_of(&kept).exists(), "with its log: nothing is lost");
    assert_eq!(fs::metadata(folder.path().join(DATABASE)).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(jobs_in(folder.path()).await, 10);
    assert!(fs::read(&copy).unwrap() == good, "the copy is as it was");

    let undone = put(folder.path(), &kept).unwrap();
    assert_eq!(jobs_in(folder.path()).await, 120);
    assert!(undone.exists() && kept.exists() && undone != kept);
    assert!(!names(folder.path()).iter().any(|name| name.contains("restore")), "{:?}", names(folder.path()));
}

#[tokio::test]
async fn a_copy_put_by_hand_beside_a_hot_log_is_refused_and_then_restored() {
    let (folder, other) = (killed(120).await, private_folder());
    store_of(other.path(), 1..=10).await.close().await;
    let copy = other.path().join("copy.db");
    backup(other.path(), &copy).unwrap();
    fs::copy(&copy, folder.path().join(DATABASE)).unwrap();
    let before = image(folder.path());
    for _ in 0..2 {
        let error = Sqlite::open(folder.path(), small()).unwrap_err();
        assert!(
            matches!(&error, OpenError::ForeignLog { .. }) && error.to_string().contains("store restore"),
            "{error}"
        );
    }
    let error = backup(folder.path(), &other.path().join("of-that.db")).unwrap_err();
    assert!(matches!(error, BackupError::Open(OpenError::ForeignLog { .. })), "{error}");
    assert!(image(folder.path()) == before, "it is as it was");
    // what the error says
    put(folder.path(), &folder.path().join(DATABASE)).unwrap();
    assert_eq!(jobs_in(folder.path()).await, 10);
}

#[tokio::test]
async fn a_copy_put_by_hand_where_no_log_is_becomes_a_store() {
    let (folder, other) = (private_folder(), private_folder());
    store_of(other.path(), 1..=10).await.close().await;
    backup(other.path(), &folder.path().join(DATABASE)).unwrap();
    for round in 0..2 {
        let mut store = Sqlite::open(folder.path(), small()).unwrap();
        store.commit(work(11 + round)).await.unwrap();
        // as if it were killed now, with a log of its own
        let image = image(folder.path());
        store.close().await;
        image.iter().for_each(|(name, bytes)| fs::write(folder.path().join(name), bytes).unwrap());
        store = Sqlite::open(folder.path(), small()).unwrap();
        store.close().await;
    }
    assert_eq!(jobs_in(folder.path()).await, 12);
}

#[tokio::test]
async fn a_restore_that_was_broken_off_after_any_step_is_finished_by_the_next_start() {
    let other = private_folder();
    store_of(other.path(), 1..=10).await.close().await;
    let copy = other.path().join("copy.db");
    backup(other.path(), &copy).unwrap();
    for moved in 0..=3 {
        let folder = killed(60).await;
        let (old, before) = (folder.path().join(DATABASE), image(folder.path()));
        let ready = folder.path().join("jobs.db.restored");
        fs::copy(&copy, &ready).unwrap();
        let at = fs::metadata(&ready).unwrap().modified().unwrap().duration_since(UNIX_EPOCH).unwrap();
        let kept = folder.path().join(format!("jobs.db.before-{}", at.as_millis()));
        let steps: [&dyn Fn(); 3] = [
            &|| fs::rename(log_of(&old), log_of(&kept)).unwrap(),
            &|| fs::rename(&old, &kept).unwrap(),
            &|| drop(fs::remove_file(folder.path().join("jobs.db-shm"))),
        ];
        steps.iter().take(moved).for_each(|step| step());
        let error = backup(folder.path(), &other.path().join("none.db")).unwrap_err();
        assert!(matches!(error, BackupError::Restoring { .. }), "{error}");
        assert_eq!(jobs_in(folder.path()).await, 10, "after {moved} steps");
        for (name, bytes) in before.iter().filter(|(name, _)| name != "jobs.db-shm") {
            let kept = kept.display().to_string() + name.strip_prefix(DATABASE).unwrap();
            assert!(fs::read(&kept).unwrap() == *bytes, "{kept} after {moved} steps");
        }
    }
}

#[tokio::test]
async fn what_is_no_good_copy_is_refused_and_the_store_stays_as_it_is() {
    let (folder, other) = (killed(60).await, private_folder());
    let before = image(folder.path());
    store_of(other.path(), 1..=100).await.close().await;
    let good = other.path().join("good.db");
    backup(other.path(), &good).unwrap();
    let copy = other.path().join("copy.db");
    let refused = |what: &str| {
        let error = Ready::prepare(folder.path(), &copy).unwrap_err();
        assert!(image(folder.path()) == before, "{what}: the store is as it was");
        error
    };
    assert!(matches!(refused("none"), RestoreError::Unreadable { .. }));
    fs::write(&copy, "").unwrap();
    assert!(matches!(refused("empty"), RestoreError::NotAStore { .. }));
    fs::write(&copy, "no database at all, and longer than its header would be".repeat(9)).unwrap();
    assert!(matches!(refused("text"), RestoreError::NotAStore { .. }));
    let mut torn = fs::read(&good).unwrap();
    torn.truncate(torn.len() / 2 / 4096 * 4096);
    fs::write(&copy, &torn).unwrap();
    assert!(matches!(refused("torn"), RestoreError::Damaged { .. }));
    let mut holed = fs::read(&good).unwrap();
    let middle = holed.len() / 2 / 4096 * 4096;
    holed[middle..middle + 4096].fill(0xaa);
    fs::write(&copy, &holed).unwrap();
    assert!(matches!(refused("holed"), RestoreError::Damaged { .. }));
    fs::copy(&good, &copy).unwrap();
    Connection::open(&copy).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(refused("newer"), RestoreError::Newer { found: 99, .. }));
    Connection::open(&copy).unwrap().pragma_update(None, "application_id", 7).unwrap();
    assert!(matches!(refused("another program's"), RestoreError::NotAStore { .. }));
    // a good one that nobody confirms
    drop(Ready::prepare(folder.path(), &good).unwrap());
    // reading whom the store shuts out makes the index of its log anew
    let lasting = |image: &[(String, Vec<u8>)]| {
        image.iter().filter(|(name, _)| name != "jobs.db-shm").cloned().collect::<Vec<_>>()
    };
    assert!(lasting(&image(folder.path())) == lasting(&before), "nobody confirmed");

    let open = Sqlite::open(folder.path(), small()).unwrap();
    let error = Ready::prepare(folder.path(), &good).unwrap_err();
    assert!(matches!(error, RestoreError::Open(OpenError::InUse { .. })), "{error}");
    open.close().await;
    assert_eq!(jobs_in(folder.path()).await, 60);
}

#[tokio::test]
async fn a_copy_of_an_older_version_stays_so_until_the_first_start_with_it() {
    let (folder, other) = (private_folder(), private_folder());
    fs::copy(VERSION_1, folder.path().join(DATABASE)).unwrap();
    let copy = other.path().join("copy.db");
    let made = backup(folder.path(), &copy).unwrap();
    assert_eq!((made.version, made.head), (1, None));
    let ready = Ready::prepare(&other.path().join("new"), &copy).unwrap();
    assert_eq!((ready.extent().version, ready.extent().head), (1, None));
    ready.put().unwrap();
    let store = Sqlite::open(&other.path().join("new"), small()).unwrap();
    assert!(store.recover().await.unwrap().last_event > 0);
    store.close().await;
}
