//! The files of the store on disk: who may read them, what is refused at the start and in which words, and what old ones become.

#![expect(clippy::unwrap_used, reason = "test code")]

mod store_common;

use std::error::Error;
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use futures_util::FutureExt;
use redpoll_common::job::{JobSpec, Outcome};
use redpoll_common::wire::RawMap;
use redpoll_manager::store::chain::Begin;
use redpoll_manager::store::sqlite::{CompactError, Compacted, DATABASE, VERSION, compact};
use redpoll_manager::store::{AbortHook, CommitError, Filter, OpenError, Options, ReadError, Sqlite, Store};
use redpoll_manager_core::chain::Point;
use redpoll_manager_core::jobs::Whose;
use redpoll_manager_core::jobs::record::{Change, JobRecord};
use store_common::everything::*;
use store_common::*;
use tempfile::TempDir;

const VERSION_1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/store_common/version1.db");

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A folder with a closed store in it that has some jobs.
async fn some_jobs() -> (TempDir, PathBuf) {
    let folder = private_folder();
    let store = Sqlite::open(folder.path(), small()).unwrap();
    for n in 1..=200 {
        store.commit(submit(n, "a1")).await.unwrap();
        store.commit(end(n, "a1", Outcome::Succeeded, NOON)).await.unwrap();
    }
    store.close().await;
    let database = folder.path().join(DATABASE);
    (folder, database)
}

fn refused(folder: &TempDir) -> OpenError {
    Sqlite::open(folder.path(), small()).unwrap_err()
}

#[tokio::test]
async fn the_files_are_their_owners_alone() {
    let folder = private_folder();
    let inner = folder.path().join("new");
    let store = Sqlite::open(&inner, small()).unwrap();
    store.commit(submit(1, "a1")).await.unwrap();
    assert_eq!(mode(&inner), 0o700);
    let files: Vec<_> = fs::read_dir(&inner).unwrap().map(|file| file.unwrap().path()).collect();
    // the database, its log and its index, the lock, the reserve
    assert_eq!(files.len(), 5, "{files:?}");
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
}

/// What a stopped manager leaves is one file with everything in it: no log beside it, which a copy would forget, and in which
/// what was masked could still be read.
#[tokio::test]
async fn a_closed_store_is_one_file_whoever_was_asking() {
    let folder = private_folder();
    for n in 1..=30 {
        let store = Sqlite::open(folder.path(), small()).unwrap();
        store.commit(submit(n, "a1")).await.unwrap();
        let mut asked: Vec<_> = (0..4).map(|_| store.counts()).collect();
        for question in &mut asked {
            let _answer_or_not_yet = question.now_or_never();
        }
        // under way, and given up by whoever asked
        drop(asked);
        store.close().await;
        let left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        let logs = left.iter().filter(|name| name.to_string_lossy().contains("-wal"));
        assert_eq!(logs.count(), 0, "{left:?} after {n}");
        assert!(matches!(store.job(id(n)).await, Err(ReadError::Stopped)));
    }
}

#[tokio::test]
async fn what_others_could_read_is_refused() {
    let (folder, database) = some_jobs().await;
    fs::set_permissions(&database, Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(refused(&folder), OpenError::Permissions(_)));
    fs::set_permissions(&database, Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o750)).unwrap();
    assert!(matches!(refused(&folder), OpenError::Permissions(_)));
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    Sqlite::open(folder.path(), small()).unwrap();
}

#[tokio::test]
async fn two_managers_cannot_have_the_same_store() {
    let folder = private_folder();
    let first = Sqlite::open(folder.path(), small()).unwrap();
    let error = refused(&folder);
    assert!(matches!(error, OpenError::InUse { .. }) && error.to_string().contains("help: "), "{error}");
    first.close().await;
    Sqlite::open(folder.path(), small()).unwrap();
}

#[tokio::test]
async fn a_store_of_version_1_is_brought_to_ours_with_all_it_has() {
    let folder = private_folder();
    let database = folder.path().join(DATABASE);
    fs::copy(VERSION_1, &database).unwrap();
    fs::set_permissions(&database, Permissions::from_mode(0o600)).unwrap();
    let store = Sqlite::open(folder.path(), small()).unwrap();
    assert_everything(&store).await;
    store.commit(submit(2, "a1")).await.unwrap();
    store.close().await;
    let version: i64 = open(&database).pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(usize::try_from(version).unwrap(), VERSION);
}

/// Such a file as the test above has, of the version of this build; `REDPOLL_WRITE_STORE=1` keeps it in this folder.
#[tokio::test]
async fn a_store_of_this_version_is_small_enough_to_keep() {
    let folder = private_folder();
    let store = Sqlite::open(folder.path(), small()).unwrap();
    store.commit(everything()).await.unwrap();
    store.close().await;
    let database = folder.path().join(DATABASE);
    // small pages: the file is mostly empty ones
    open(&database).execute_batch("PRAGMA journal_mode = DELETE; PRAGMA page_size = 512; VACUUM").unwrap();
    assert!(fs::metadata(&database).unwrap().len() < 64 * 1024, "a fixture is small");
    if std::env::var_os("REDPOLL_WRITE_STORE").is_some() {
        fs::copy(database, VERSION_1.replace("version1", &format!("version{VERSION}"))).unwrap();
    }
}

fn open(database: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(database).unwrap()
}

#[tokio::test]
async fn a_store_of_a_later_build_is_refused_untouched() {
    let (folder, database) = some_jobs().await;
    open(&database).pragma_update(None, "user_version", 99).unwrap();
    let error = refused(&folder);
    assert!(matches!(error, OpenError::Newer { found: 99, known: VERSION, .. }), "{error}");
    assert!(error.to_string().contains("version 99") && error.to_string().contains("help: "), "{error}");
    open(&database).pragma_update(None, "user_version", VERSION.to_string()).unwrap();
    let store = Sqlite::open(folder.path(), small()).unwrap();
    assert_eq!(store.counts().await.unwrap().ended_jobs, 200);
}

#[tokio::test]
async fn files_that_are_no_store_are_refused() {
    let folder = private_folder();
    let database = folder.path().join(DATABASE);
    let private = || fs::set_permissions(&database, Permissions::from_mode(0o600)).unwrap();
    fs::write(&database, "hello, this is a text and no database at all".repeat(100)).unwrap();
    private();
    assert!(matches!(refused(&folder), OpenError::NotAStore { .. }), "{}", refused(&folder));
    fs::remove_file(&database).unwrap();
    open(&database).execute_batch("CREATE TABLE notes (x)").unwrap();
    private();
    let error = refused(&folder);
    assert!(matches!(error, OpenError::NotAStore { .. }) && error.to_string().contains("help: "), "{error}");
}

#[tokio::test]
async fn a_damaged_store_is_refused_in_clear_words() {
    let (folder, database) = some_jobs().await;
    let file = fs::OpenOptions::new().write(true).open(&database).unwrap();
    let pages = fs::metadata(&database).unwrap().len() / 4096;
    for page in 2..pages {
        file.write_all_at(&[0xaa; 4096], page * 4096).unwrap();
    }
    let error = refused(&folder);
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(
        error.to_string().contains("is damaged\nhelp: put a copy") && error.source().is_some(),
        "{error}"
    );
}

#[tokio::test]
async fn damage_that_is_met_later_is_an_error_to_readers_and_the_end_for_the_writer() {
    let (folder, database) = some_jobs().await;
    // the last leaves of a table of jobs; the first row of each table is whole
    let sql = "SELECT pageno FROM dbstat WHERE name = 'job' AND pagetype = 'leaf' ORDER BY path DESC LIMIT 3";
    let pages: Vec<u64> = {
        let connection = open(&database);
        let mut statement = connection.prepare(sql).unwrap();
        statement
            .query_map([], |row| row.get::<_, i64>(0))
            .unwrap()
            .map(|page| page.unwrap() as u64)
            .collect()
    };
    let file = fs::OpenOptions::new().write(true).open(&database).unwrap();
    for page in pages {
        file.write_all_at(&[0xaa; 4096], (page - 1) * 4096).unwrap();
    }
    let (tell, told) = sync_channel(1);
    let abort = AbortHook::new(move |word| tell.send(word.to_owned()).unwrap());
    let store = Sqlite::open(folder.path(), Options { abort, ..small() }).unwrap();
    assert!(matches!(store.job(id(200)).await, Err(ReadError::Failed(_))));
    assert!(store.job(id(1)).await.unwrap().is_some());
    assert_eq!(store.commit(submit(201, "a1")).await, Err(CommitError::Stopped));
    let last_word = told.recv().unwrap();
    assert!(last_word.contains("malformed") && last_word.contains("help: "), "{last_word}");
}

/// So many jobs that pages are split, which moves what is in them.
#[tokio::test]
async fn no_free_part_of_any_page_keeps_a_secret_of_a_job_that_has_ended() {
    let folder = private_folder();
    let store = Sqlite::open(folder.path(), small()).unwrap();
    let secret = |n: u64| format!("SECRET{n:05}{}", "x".repeat(usize::try_from(n * 37 % 400).unwrap()));
    let jobs = 600;
    for n in 1..=jobs {
        let kwargs = RawMap::new().text("pin", &secret(n)).finish();
        let spec = JobSpec { kwargs, key: None, ..full_spec() };
        let redact = ["kwargs.pin".to_owned()].into();
        store.commit(submitted(JobRecord { redact, ..job(n, &["a1"], spec) })).await.unwrap();
    }
    // in another order than they came
    for n in (1..=jobs).map(|n| n * 7 % (jobs + 1)) {
        let mut changes = end(n, "a1", Outcome::Succeeded, NOON);
        let ended = changes.iter().position(|change| matches!(change, Change::JobEnded { .. })).unwrap();
        changes.insert(ended + 1, Change::ArgumentsMasked(id(n)));
        store.commit(changes).await.unwrap();
    }
    store.close().await;
    for file in fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let kept: Vec<String> = bytes
            .windows(11)
            .filter(|window| window.starts_with(b"SECRET"))
            .map(|window| String::from_utf8_lossy(window).into_owned())
            .collect();
        assert_eq!(kept, Vec::<String>::new(), "{}", path.display());
    }
}

/// What an older build wrote has no hashes: the chain begins after it, and retention takes it away as before.
#[tokio::test]
async fn a_store_from_before_the_chain_is_chained_from_here_on() {
    let folder = private_folder();
    let database = folder.path().join(DATABASE);
    let old = open(&database);
    fs::set_permissions(&database, Permissions::from_mode(0o600)).unwrap();
    for step in [
        include_str!("../src/store/sqlite/migrations/0001.sql"),
        include_str!("../src/store/sqlite/migrations/0002.sql"),
        include_str!("../src/store/sqlite/migrations/0003.sql"),
        include_str!("../src/store/sqlite/migrations/0004.sql"),
        include_str!("../src/store/sqlite/migrations/0005.sql"),
    ] {
        old.execute_batch(step).unwrap();
    }
    old.execute_batch(
        "PRAGMA application_id = 0x52506a62; PRAGMA user_version = 5;
         WITH RECURSIVE number (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM number WHERE n < 1000)
         INSERT INTO event (n, at_ms, kind, agent) SELECT n, n, 'agent.connected', 'a1' FROM number;",
    )
    .unwrap();
    let store = Sqlite::open(folder.path(), small()).unwrap();
    let verify = async || store.verify(Begin::Oldest, None, usize::MAX).await.unwrap();
    let begun = Point { n: 1000, ..Point::default() };
    let found = verify().await;
    assert_eq!((found.from, found.at, found.begun, found.flaw, found.checked), (begun, begun, 1000, None, 0));
    assert_eq!(store.recover().await.unwrap().last_event, 1000);
    store.commit((1001..=1030).map(|n| Change::Event(event(n))).collect()).await.unwrap();
    let found = verify().await;
    assert_eq!((found.from, found.at.n, found.checked, found.flaw), (begun, 1030, 30, None));
    for (below, from) in [(500, 1000), (1001, 1000), (1011, 1010)] {
        store.commit(vec![Change::EventsPruned { below }]).await.unwrap();
        let found = verify().await;
        assert_eq!((found.from.n, found.at.n, found.checked, found.flaw), (from, 1030, 1030 - from, None));
        assert_eq!(store.events(0, 1).await.unwrap()[0].n, below);
    }
    // a row from before the chain that was not there has no hash either
    old.execute("UPDATE event SET hash = NULL WHERE n = 1020", []).unwrap();
    assert_eq!(verify().await.flaw.map(|flaw| flaw.n), Some(1020));
}

/// Leaves a copy of a word in the free parts of pages, as builds did that did not overwrite what they deleted.
fn plant(database: &Path, word: &str) {
    let old = open(database);
    old.query_row("PRAGMA secure_delete = OFF", [], |_row| Ok(())).unwrap();
    old.execute_batch("CREATE TABLE planted (word TEXT)").unwrap();
    for n in 0..2000 {
        old.execute("INSERT INTO planted VALUES (?1)", [format!("{word} {n}")]).unwrap();
    }
    old.execute_batch("DROP TABLE planted").unwrap();
    old.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_row| Ok(())).unwrap();
}

fn holds(file: &Path, word: &str) -> bool {
    fs::read(file).unwrap().windows(word.len()).any(|window| window == word.as_bytes())
}

#[tokio::test]
async fn what_an_old_build_left_of_a_secret_is_gone_once_the_store_was_compacted() {
    const WORD: &str = "hunter2-of-an-old-build";
    let (folder, database) = some_jobs().await;
    plant(&database, WORD);
    assert!(holds(&database, WORD), "it is left");
    Sqlite::open(folder.path(), small()).unwrap().close().await;
    assert!(holds(&database, WORD), "and a start does not end it");
    // what an end in the middle of an earlier try left
    fs::write(folder.path().join("jobs.db.compact"), "half").unwrap();
    let Compacted { before, after } = compact(folder.path()).unwrap();
    assert!(after < before && after == fs::metadata(&database).unwrap().len(), "{before} {after}");
    let files: Vec<PathBuf> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.iter().all(|file| !holds(file, WORD) && mode(file) == 0o600), "{files:?}");
    let store = Sqlite::open(folder.path(), small()).unwrap();
    assert_eq!(store.counts().await.unwrap().ended_jobs, 200);
    store.commit(submit(201, "a1")).await.unwrap();
    store.close().await;
    let database = open(&database);
    let read = |name| database.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!((usize::try_from(read("user_version")).unwrap(), read("auto_vacuum")), (VERSION, 2));
}

#[tokio::test]
async fn a_store_is_not_compacted_that_is_open_or_none_or_of_a_later_build() {
    let (folder, database) = some_jobs().await;
    let store = Sqlite::open(folder.path(), small()).unwrap();
    let error = compact(folder.path()).unwrap_err();
    assert!(matches!(error, CompactError::Open(OpenError::InUse { .. })), "{error}");
    store.close().await;
    open(&database).pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(&database).unwrap();
    let error = compact(folder.path()).unwrap_err();
    assert!(matches!(error, CompactError::Open(OpenError::Newer { found: 99, .. })), "{error}");
    assert!(fs::read(&database).unwrap() == before, "it is as it was");
    assert!(!folder.path().join("jobs.db.compact").exists(), "nothing is left of the try");
    open(&database).pragma_update(None, "application_id", 0).unwrap();
    assert!(matches!(compact(folder.path()).unwrap_err(), CompactError::Open(OpenError::NotAStore { .. })));
    fs::remove_file(&database).unwrap();
    assert!(matches!(compact(folder.path()).unwrap_err(), CompactError::Missing { .. }));
}

/// Whatever wrote them: an older build, or somebody with an editor.
#[tokio::test]
async fn rows_that_cannot_be_read_keep_nothing_else_from_being_read() {
    let folder = private_folder();
    let database = folder.path().join(DATABASE);
    let store = Sqlite::open(folder.path(), small()).unwrap();
    for n in 1..=8 {
        store.commit(submit(n, "a1")).await.unwrap();
    }
    for n in [1, 2] {
        store.commit(end(n, "a1", Outcome::Succeeded, NOON + n)).await.unwrap();
    }
    store.close().await;
    let broken = open(&database);
    let nodes: Vec<u8> = [&[0xdd, 0, 1, 0x86, 0xa0][..], &[0xc0; 100_000]].concat();
    // an ended one, an open one, the newest; and a run of an open one
    for (n, rest) in [(1, &nodes[..]), (3, &nodes), (8, &[0xc1])] {
        broken.execute("UPDATE job SET rest = ?2 WHERE id = ?1", (id(n).to_bytes(), rest)).unwrap();
    }
    broken.execute("UPDATE run SET dno = -1 WHERE job = ?1", [id(5).to_bytes()]).unwrap();
    drop(broken);
    let store = Sqlite::open(folder.path(), small()).unwrap();
    let records = store.recover().await.unwrap();
    let ids = |jobs: &[JobRecord]| jobs.iter().map(|job| job.id).collect::<Vec<_>>();
    assert_eq!(
        (ids(&records.jobs), records.unreadable),
        (vec![id(4), id(6), id(7)], vec![id(3), id(5), id(8)])
    );
    for limit in 1..=9 {
        let (mut listed, mut before) = (Vec::new(), None);
        loop {
            let page = store.list(Filter::default(), before, limit).await.unwrap();
            (before, listed) = (page.next, [listed, ids(&page.jobs)].concat());
            if before.is_none() {
                break;
            }
        }
        assert_eq!(listed, [7, 6, 5, 4, 2].map(id), "{limit} at a time");
    }
    assert!(matches!(store.job(id(1)).await, Err(ReadError::Damaged { .. })));
    let (_, old) = store.oldest(&Whose::Operators, 9, true).await.unwrap();
    assert_eq!(
        old.iter().map(|job| (job.id, job.ended_ms)).collect::<Vec<_>>(),
        [(id(1), NOON + 1), (id(2), NOON + 2)]
    );
    // nobody knows what is secret of it
    store.commit(vec![Change::ArgumentsMasked(id(1))]).await.unwrap();
    let row = "SELECT args, kwargs FROM job WHERE id = ?1";
    let masked: (Vec<u8>, Vec<u8>) =
        open(&database).query_row(row, [id(1).to_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(masked, (b"\x91\xa3***".to_vec(), vec![0x80]));
    for n in [1, 2, 3, 5, 8] {
        store.commit(vec![Change::JobDeleted(id(n))]).await.unwrap();
    }
    assert_eq!(store.recover().await.unwrap().unreadable, []);
}
