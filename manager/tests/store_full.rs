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
    let mut jobs = 0;
    while store.admit().is_ok() {
        jobs += 1;
        store.commit(large(jobs)).await.unwrap();
        assert!(jobs < 10_000, "the disk is never full");
    }
    assert_eq!(store.room(), Room::Reserve);
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
    if passed_on_a_small_disk("a_full_disk_is_lived_through_on_a_small_file_system") {
        return;
    }
    let folder = private_folder();
    // without the right to mount: a disk that is full by the store's own limit, and the space comes from a higher one
    let limited = |max| Options { max_bytes: Some(max), reserve_bytes: 256 * KIB, ..small() };
    let store = Sqlite::open(folder.path(), limited(2048 * KIB)).unwrap();
    let mut jobs = 0;
    while store.admit().is_ok() {
        jobs += 1;
        store.commit(large(jobs)).await.unwrap();
    }
    store.close().await;
    let store = Sqlite::open(folder.path(), limited(4096 * KIB)).unwrap();
    assert_eq!((store.admit(), store.counts().await.unwrap().open_jobs), (Ok(()), jobs));
}

/// Runs a test of this program again, with a small file system of its own. `false` without the right to mount one.
fn passed_on_a_small_disk(test: &str) -> bool {
    let folder = private_folder();
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-ec"])
        .arg("mount -t tmpfs -o size=8m,mode=700 tmpfs \"$REDPOLL_TEST_SMALL_DISK\"; echo mounted; exec \"$0\" \"$@\"")
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

#[tokio::test]
async fn an_upgrade_on_a_full_disk_is_made_in_the_reserve() {
    let test = "an_upgrade_on_a_full_disk_is_made_in_the_reserve";
    match std::env::var(SMALL_DISK) {
        Ok(disk) => upgrade_on_a_full_disk(Path::new(&disk)).await,
        Err(_) if passed_on_a_small_disk(test) => {}
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
