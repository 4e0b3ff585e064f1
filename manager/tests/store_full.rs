//! A full disk: no new work, what is under way is recorded, reading goes on, and nothing has to be restarted.

#![expect(clippy::unwrap_used, reason = "test code")]

mod store_common;

use std::fs::{self, Permissions};
use std::future::Future;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redpoll_common::job::{JobSpec, Outcome};
use redpoll_common::wire::Raw;
use redpoll_manager::store::sqlite::DATABASE;
use redpoll_manager::store::{CommitError, Options, Room, Sqlite, Store};
use redpoll_manager_core::jobs::record::Change;
use store_common::*;

const KIB: u64 = 1024;
const VERSION_1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/store_common/version1.db");
/// Tells a copy of this program the folder with the small file system.
const SMALL_DISK: &str = "REDPOLL_TEST_SMALL_DISK";
const SMALL: &str = "-t tmpfs -o size=8m,mode=700";
/// One that can set aside no space for a file, and does not tell how much it has.
const ODD: &str = "-t ramfs -o mode=700";

/// A submit that takes space.
fn large(n: u64) -> Vec<Change> {
    let args = Raw::text(&"x".repeat(20_000));
    submitted(job(n, &["a1"], JobSpec { args, ..plain_spec() }))
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool, mut step: impl AsyncFnMut()) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what} did not come true");
        step().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Fills the disk, lives on the reserve, uses that up too, gets space by `make_space`, and goes on.
async fn live_through_it<F: Future<Output = ()>>(
    store: Arc<Sqlite>,
    make_space: impl FnOnce(u64) -> F,
) -> u64 {
    let jobs = fill(&store, 0).await;
    // what is under way can be recorded, what is stored can be read
    for n in 1..=jobs.min(20) {
        store.commit(end(n, "a1", Outcome::Succeeded, NOON)).await.unwrap();
    }
    assert_eq!(store.admit(), Err(CommitError::Full));
    assert_eq!(store.counts().await.unwrap().open_jobs, jobs - jobs.min(20));

    // nobody should do this without asking first: the reserve has an end
    let mut beyond = jobs;
    loop {
        beyond += 1;
        match store.commit(large(beyond)).await {
            Ok(()) => assert!(beyond < 20_000, "the disk is never full"),
            Err(error) => break assert_eq!(error, CommitError::Full),
        }
    }
    assert_eq!(store.room(), Room::Nothing);
    assert_eq!(store.job(id(beyond)).await.unwrap(), None);
    assert!(store.runs(id(beyond), None, 1).await.unwrap().is_empty());
    assert!(store.job(id(beyond - 1)).await.unwrap().is_some());

    // what comes after a gap is refused, however small, until the state was read again
    assert_eq!(store.commit(submit(beyond + 1, "a1")).await, Err(CommitError::Full));
    store.recover().await.unwrap();
    make_space(beyond - 1).await;
    eventually("room for new work", || store.room() == Room::Plenty, async || {}).await;
    store.commit(large(beyond)).await.unwrap();
    assert!(store.job(id(beyond)).await.unwrap().is_some());
    beyond
}

/// Stores jobs behind a number until no more are taken, and gives the last one's.
async fn fill(store: &Sqlite, mut last: u64) -> u64 {
    while store.admit().is_ok() {
        last += 1;
        store.commit(large(last)).await.unwrap();
        assert!(last < 10_000, "the disk is never full");
    }
    assert_eq!(store.room(), Room::Reserve);
    last
}

#[tokio::test]
async fn a_store_at_its_size_limit_lives_on_its_margin_until_jobs_are_deleted() {
    let folder = private_folder();
    let options = Options { max_bytes: Some(1024 * KIB), reserve_bytes: 128 * KIB, ..small() };
    let store = Arc::new(Sqlite::open(folder.path(), options).unwrap());
    let deleting = store.clone();
    live_through_it(store, async |last| {
        deleting.commit((5..=last).map(|n| Change::JobDeleted(id(n))).collect()).await.unwrap();
    })
    .await;
    assert!(fs::metadata(folder.path().join("jobs.db")).unwrap().len() <= 1024 * KIB);
}

#[tokio::test]
async fn a_full_disk_is_lived_through_on_a_small_file_system() {
    if let Ok(disk) = std::env::var(SMALL_DISK) {
        return on_the_small_disk(Path::new(&disk)).await;
    }
    if passed_on_a_disk(SMALL, "a_full_disk_is_lived_through_on_a_small_file_system") {
        return;
    }
    let folder = private_folder();
    // without the right to mount: a disk that is full by the store's own limit, and the space comes from a higher one
    let limited = |max| Options { max_bytes: Some(max), reserve_bytes: 256 * KIB, ..small() };
    let store = Sqlite::open(folder.path(), limited(2048 * KIB)).unwrap();
    let jobs = fill(&store, 0).await;
    store.close().await;
    let store = Sqlite::open(folder.path(), limited(4096 * KIB)).unwrap();
    assert_eq!((store.admit(), store.counts().await.unwrap().open_jobs), (Ok(()), jobs));
}

/// Runs a test of this program again, with a file system of its own. `false` without the right to mount one.
fn passed_on_a_disk(kind: &str, test: &str) -> bool {
    let folder = private_folder();
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-ec"])
        .arg(format!("mount {kind} none \"${SMALL_DISK}\"; echo mounted; exec \"$0\" \"$@\""))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(SMALL_DISK, folder.path())
        .output();
    let Some(output) = output.ok().filter(|output| output.stdout.starts_with(b"mounted")) else {
        return false;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}

async fn on_the_small_disk(disk: &Path) {
    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![1; 3 * 1024 * 1024]).unwrap();
    let folder = disk.join("store");
    let options = Options { reserve_bytes: 1792 * KIB, ..small() };
    let store = Arc::new(Sqlite::open(&folder, options.clone()).unwrap());
    let last = live_through_it(store.clone(), async |_last| fs::remove_file(&ballast).unwrap()).await;
    store.close().await;
    let store = Sqlite::open(&folder, options).unwrap();
    for n in 1..=last {
        assert!(store.job(id(n)).await.unwrap().is_some(), "job {n}");
    }
}

/// What lies on the disk beside the store stays: the room is that of the jobs.
#[tokio::test]
async fn jobs_that_are_deleted_give_a_full_disk_its_room_back() {
    let test = "jobs_that_are_deleted_give_a_full_disk_its_room_back";
    match std::env::var(SMALL_DISK) {
        Ok(disk) => deleting_on_the_small_disk(Path::new(&disk)).await,
        Err(_) if passed_on_a_disk(SMALL, test) => {}
        Err(_) => println!("nothing is shown: there is no right to mount a file system"),
    }
}

async fn deleting_on_the_small_disk(disk: &Path) {
    fs::write(disk.join("ballast"), vec![1; 1024 * 1024]).unwrap();
    let options = Options { reserve_bytes: 1536 * KIB, log_bytes: 1024 * KIB, ..small() };
    let store = Sqlite::open(&disk.join("store"), options).unwrap();
    let mut last = 0;
    for _ in 0..2 {
        let first = last + 1;
        last = fill(&store, last).await;
        for n in first..=last {
            store.commit(vec![Change::JobDeleted(id(n))]).await.unwrap();
        }
        eventually("room for new work", || store.room() == Room::Plenty, async || {}).await;
    }
}

#[tokio::test]
async fn the_margin_below_the_size_limit_is_there_each_time() {
    let folder = private_folder();
    let options = Options { max_bytes: Some(2048 * KIB), reserve_bytes: 256 * KIB, ..small() };
    let store = Sqlite::open(folder.path(), options).unwrap();
    let mut last = 0;
    for _ in 0..3 {
        let first = last + 1;
        last = fill(&store, last).await;
        // all of it
        let mut used = 0;
        while store.commit(large(last + 1)).await.is_ok() {
            (last, used) = (last + 1, used + 1);
        }
        assert!(used > 5, "{used} jobs found room in it");
        store.recover().await.unwrap();
        store.commit((first..=last).map(|n| Change::JobDeleted(id(n))).collect()).await.unwrap();
        eventually("room for new work", || store.room() == Room::Plenty, async || {}).await;
    }
}

#[tokio::test]
async fn a_store_that_is_larger_than_its_limit_does_not_grow_and_says_so() {
    let folder = private_folder();
    let store = Sqlite::open(folder.path(), small()).unwrap();
    for n in 1..=50 {
        store.commit(large(n)).await.unwrap();
    }
    store.close().await;
    let size = || fs::metadata(folder.path().join(DATABASE)).unwrap().len();
    let before = size();
    let log = log::keep();
    let limited = Options { max_bytes: Some(before / 2), ..small() };
    let store = Sqlite::open(folder.path(), limited).unwrap();
    assert_eq!(store.room(), Room::Reserve);
    let lines = log.lines(tracing::Level::ERROR);
    assert!(lines.iter().any(|line| line.contains("no new jobs are taken")), "{lines:?}");
    drop(log);
    let refused = async |n| store.commit(large(n)).await.is_err();
    assert!(refused(51).await || refused(52).await, "what its pages still have room for, and no more");
    store.close().await;
    assert!(size() <= before);
}

#[tokio::test]
async fn a_file_system_that_sets_no_space_aside_has_a_reserve_that_is_written() {
    let test = "a_file_system_that_sets_no_space_aside_has_a_reserve_that_is_written";
    let Ok(disk) = std::env::var(SMALL_DISK) else {
        if !passed_on_a_disk(ODD, test) {
            println!("nothing is shown: there is no right to mount a file system");
        }
        return;
    };
    let folder = Path::new(&disk).join("store");
    let store = Sqlite::open(&folder, Options { reserve_bytes: 1024 * KIB, ..small() }).unwrap();
    assert_eq!((store.room(), store.admit()), (Room::Plenty, Ok(())));
    assert_eq!(fs::metadata(folder.join("jobs.reserve")).unwrap().len(), 1024 * KIB);
}

#[tokio::test]
async fn a_reserve_that_cannot_be_made_is_told_once_and_keeps_no_job_out() {
    let folder = private_folder();
    fs::create_dir(folder.path().join("jobs.reserve")).unwrap();
    let log = log::keep();
    let store = Sqlite::open(folder.path(), small()).unwrap();
    let lines = log.lines(tracing::Level::WARN);
    assert!(
        lines.len() == 1 && lines[0].contains("no reserve") && lines[0].contains("jobs.reserve"),
        "{lines:?}"
    );
    assert_eq!((store.room(), store.admit()), (Room::Plenty, Ok(())));
    store.commit(large(1)).await.unwrap();
}

/// To SQLite that is an error of the disk; the system alone says which. Here it says so a while, in the middle of the work.
#[tokio::test]
async fn a_quota_that_is_used_up_is_a_full_disk() {
    let test = "a_quota_that_is_used_up_is_a_full_disk";
    if let Ok(folder) = std::env::var(SMALL_DISK) {
        let options = Options { full_patience: Duration::from_secs(20), ..small() };
        let store = Sqlite::open(Path::new(&folder), options).unwrap();
        for n in 1..=100 {
            store.commit(large(n)).await.unwrap();
        }
        eventually("room for new work", || store.room() == Room::Plenty, async || {}).await;
        return;
    }
    let folder = private_folder();
    let (trace, database) = (folder.path().join("trace"), folder.path().join(DATABASE));
    let output = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=pwrite64", "-e", "inject=pwrite64:error=EDQUOT:when=200..230", "-o"])
        .arg(&trace)
        .arg("-P")
        .arg(&database)
        .arg("-P")
        .arg(folder.path().join(format!("{DATABASE}-wal")))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(SMALL_DISK, folder.path())
        .output();
    let (Ok(output), Ok(trace)) = (output, fs::read_to_string(&trace)) else {
        println!("nothing is shown: there is no strace, or no right to trace");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(trace.contains("EDQUOT"), "it never came to that");
}

#[tokio::test]
async fn an_upgrade_on_a_full_disk_is_made_in_the_reserve() {
    let test = "an_upgrade_on_a_full_disk_is_made_in_the_reserve";
    match std::env::var(SMALL_DISK) {
        Ok(disk) => upgrade_on_a_full_disk(Path::new(&disk)).await,
        Err(_) if passed_on_a_disk(SMALL, test) => {}
        Err(_) => println!("nothing is shown: there is no right to mount a file system"),
    }
}

/// However much is left: for the opening, or for some of the steps.
async fn upgrade_on_a_full_disk(disk: &Path) {
    for left in (0..160).step_by(4) {
        let folder = disk.join("store");
        fs::DirBuilder::new().mode(0o700).create(&folder).unwrap();
        let private = |name: &str, content: &[u8]| {
            fs::write(folder.join(name), content).unwrap();
            fs::set_permissions(folder.join(name), Permissions::from_mode(0o600)).unwrap();
        };
        private(DATABASE, &fs::read(VERSION_1).unwrap());
        private("jobs.lock", b"");
        private("jobs.reserve", &vec![0; 1024 * 1024]);
        let (ballast, spare) = (disk.join("ballast"), disk.join("spare"));
        fs::write(&spare, vec![1; left * 1024]).unwrap();
        let mut file = fs::File::create(&ballast).unwrap();
        while file.write(&[1; 4096]).is_ok_and(|written| written > 0) {}
        fs::remove_file(&spare).unwrap();
        let options = Options { reserve_bytes: 1024 * KIB, ..small() };
        let store = Sqlite::open(&folder, options);
        assert!(store.is_ok(), "with {left} KiB left: {store:?}");
        let store = store.unwrap();
        assert!(store.counts().await.is_ok());
        store.close().await;
        fs::remove_file(&ballast).unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }
}
