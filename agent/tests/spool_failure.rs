//! Full disks, failing syncs, loose permissions, and a writer that is killed.

mod spool_support;

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use redpoll_agent::spool::{OpenError, OpenOptions, Spool, SpoolError};
use redpoll_common::job::Dno;
use redpoll_common::job::spool::Record;
use spool_support::tiny::Tiny;
use spool_support::{
    SMALL, append, close, done, gone, items, journals, open, open_with, received, temporary, wait,
};

#[test]
fn folder_and_files_are_for_the_agent_alone() {
    let temporary = temporary();
    let folder = temporary.path().join("spool");
    close(open(&folder).unwrap().spool);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let file = journals(&folder).remove(0);
    assert_eq!((mode(&file), mode(&folder.join("lock"))), (0o600, 0o600));
    for (path, loose, tight) in [(&folder, 0o750, 0o700), (&file, 0o604, 0o600)] {
        fs::set_permissions(path, Permissions::from_mode(loose)).unwrap();
        assert!(matches!(open(&folder), Err(OpenError::Loose { mode, .. }) if mode == loose));
        fs::set_permissions(path, Permissions::from_mode(tight)).unwrap();
    }
    close(open(&folder).unwrap().spool);
}

#[test]
fn two_agents_cannot_have_one_spool() {
    let temporary = temporary();
    let folder = temporary.path().join("spool");
    let first = open(&folder).unwrap();
    assert!(matches!(open(&folder), Err(OpenError::Locked { path }) if path == folder));
    close(first.spool);
    open(&folder).unwrap();
}

#[test]
fn a_spool_that_somebody_is_about_to_let_go_is_waited_for() {
    let temporary = temporary();
    let folder = temporary.path().join("spool");
    let first = open(&folder).unwrap();
    static WAITS: AtomicBool = AtomicBool::new(false);
    fn pause(time: Duration) {
        WAITS.store(true, Ordering::SeqCst);
        std::thread::sleep(time);
    }
    let second =
        std::thread::spawn(move || open_with(&folder, OpenOptions { pause, ..SMALL }).map(|_opened| ()));
    // it found the lock taken, and did not give up
    while !WAITS.load(Ordering::SeqCst) && !second.is_finished() {
        std::thread::yield_now();
    }
    close(first.spool);
    second.join().unwrap().unwrap();
    assert!(WAITS.load(Ordering::SeqCst));
}

#[test]
fn each_spool_has_an_id_of_its_own() {
    let temporary = temporary();
    let ids = ["a", "b"].map(|name| open(&temporary.path().join(name)).unwrap().id);
    assert_ne!(ids[0], ids[1]);
    fs::remove_dir_all(temporary.path().join("a")).unwrap();
    assert_ne!(
        open(&temporary.path().join("a")).unwrap().id,
        ids[0],
        "a spool that was wiped is another one"
    );
}

#[test]
fn after_a_failed_sync_the_hook_is_called_and_nothing_is_acknowledged_any_more() {
    static FAIL: AtomicBool = AtomicBool::new(false);
    fn sync(file: &File) -> io::Result<()> {
        if FAIL.load(Ordering::SeqCst) { Err(io::Error::other("EIO")) } else { file.sync_data() }
    }
    let temporary = temporary();
    let (told, hook) = mpsc::sync_channel(1);
    let on_failure = move |error: &SpoolError| told.send(error.to_string()).unwrap();
    let opened =
        Spool::open(&temporary.path().join("spool"), OpenOptions { sync, ..SMALL }, on_failure).unwrap();
    append(&opened.spool, vec![received(1, "a")]).unwrap();
    FAIL.store(true, Ordering::SeqCst);
    assert!(matches!(
        append(&opened.spool, vec![received(2, "b")]),
        Err(SpoolError::Failed { what: "sync", .. })
    ));
    assert_eq!(hook.recv().unwrap(), "the spool cannot sync: EIO");
    FAIL.store(false, Ordering::SeqCst);
    assert!(
        append(&opened.spool, vec![received(3, "c")]).is_err(),
        "it does not go on as if nothing had been"
    );
}

#[test]
fn nothing_is_acknowledged_before_it_is_synced() {
    static SYNCS: AtomicU64 = AtomicU64::new(0);
    fn sync(file: &File) -> io::Result<()> {
        file.sync_data()?;
        SYNCS.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    let temporary = temporary();
    let opened = open_with(&temporary.path().join("spool"), OpenOptions { sync, ..SMALL }).unwrap();
    for dno in 1..20 {
        let before = SYNCS.load(Ordering::SeqCst);
        append(&opened.spool, vec![received(dno, "a")]).unwrap();
        assert!(SYNCS.load(Ordering::SeqCst) > before);
    }
    // many at once share a sync
    let before = SYNCS.load(Ordering::SeqCst);
    wait(async {
        let mut all = Vec::new();
        for dno in 100..300 {
            all.push(opened.spool.append(vec![Record::Floor { dno: Dno(dno) }]).await.unwrap());
        }
        for durable in all {
            durable.wait().await.unwrap();
        }
    });
    assert!(SYNCS.load(Ordering::SeqCst) - before < 150, "grouped");
}

#[test]
fn a_full_disk_is_told_before_the_reserve_is_used_and_passes_when_there_is_room() {
    static FULL: AtomicBool = AtomicBool::new(false);
    fn allocate(file: &File, from: u64, len: u64) -> io::Result<()> {
        if FULL.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        redpoll_agent::spool::allocate(file, from, len)
    }
    let temporary = temporary();
    let opened = open_with(&temporary.path().join("spool"), OpenOptions { allocate, ..SMALL }).unwrap();
    let mut full = opened.spool.full();
    append(&opened.spool, vec![received(1, "a")]).unwrap();
    assert!(!*full.borrow_and_update());
    FULL.store(true, Ordering::SeqCst);
    let mut dno = 2;
    while !full.has_changed().unwrap() {
        append(&opened.spool, vec![received(dno, &"x".repeat(200))]).unwrap();
        dno += 1;
        assert!(dno < 200, "it never says that it is full");
    }
    assert!(*full.borrow_and_update());
    append(&opened.spool, vec![done(1, 0)]).unwrap();
    FULL.store(false, Ordering::SeqCst);
    wait(opened.spool.check_space()).unwrap();
    wait(full.changed()).unwrap();
    assert!(!*full.borrow());
}

#[test]
fn on_a_really_full_disk_all_runs_that_were_taken_can_be_ended() {
    let temporary = temporary();
    let Some(_tiny) = Tiny::mount(temporary.path(), 512 * 1024) else {
        eprintln!("skipped: mounting is not permitted here");
        return;
    };
    let folder = temporary.path().join("spool");
    let options = OpenOptions { file_bytes: 64 * 1024, reserve: 64 * 1024, ..OpenOptions::default() };
    let opened = open_with(&folder, options).unwrap();
    let full = opened.spool.full();
    let mut taken = Vec::new();
    for dno in 1..10_000 {
        if *full.borrow() {
            break;
        }
        append(&opened.spool, vec![received(dno, &"x".repeat(1_000)), items(dno, 0..10)]).unwrap();
        taken.push(dno);
        wait(opened.spool.load(Dno(dno), 0, 1)).unwrap();
    }
    assert!(*full.borrow() && taken.len() > 5, "{} runs", taken.len());
    // somebody else takes what is left
    let hog = folder.parent().unwrap().join("hog");
    let ended = io::copy(&mut io::repeat(1), &mut File::create(&hog).unwrap()).unwrap_err();
    assert_eq!(ended.kind(), io::ErrorKind::StorageFull);
    for dno in &taken {
        append(&opened.spool, vec![done(*dno, 10)]).unwrap();
    }
    close(opened.spool);
    let again = open_with(&folder, options).unwrap();
    assert!(again.image.rows().values().all(|row| row.ending.is_some()));
    assert!(*again.spool.full().borrow(), "still full");
    for dno in &taken {
        append(&again.spool, vec![gone(*dno)]).unwrap();
    }
    fs::remove_file(&hog).unwrap();
    wait(again.spool.check_space()).unwrap();
    wait(again.spool.load(Dno(1), 0, 1)).unwrap();
    assert!(!*again.spool.full().borrow(), "recovered without a restart");
}

#[test]
fn on_a_disk_without_any_room_what_is_to_be_written_waits_and_nothing_fails() {
    static WAITS: AtomicU64 = AtomicU64::new(0);
    fn pause(_time: Duration) {
        WAITS.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(1));
    }
    // a file system that promises what it does not have
    let options = OpenOptions { allocate: |_, _, _| Ok(()), pause, ..SMALL };
    let temporary = temporary();
    let Some(_tiny) = Tiny::mount(temporary.path(), 512 * 1024) else {
        eprintln!("skipped: mounting is not permitted here");
        return;
    };
    let folder = temporary.path().join("spool");
    // a failure of the disk would be a panic of the thread that writes
    let opened = open_with(&folder, options).unwrap();
    let mut full = opened.spool.full();
    append(&opened.spool, vec![received(1, "a")]).unwrap();
    let hog = temporary.path().join("hog");
    io::copy(&mut io::repeat(1), &mut File::create(&hog).unwrap()).unwrap_err();

    let large = vec![done(1, 0), received(2, &"x".repeat(9_000))];
    let mut durable = Box::pin(wait(opened.spool.append(large)).unwrap().wait());
    wait(full.changed()).unwrap();
    assert!(*full.borrow_and_update(), "it says so");
    let looked = WAITS.load(Ordering::SeqCst);
    while WAITS.load(Ordering::SeqCst) < looked + 3 {
        std::thread::yield_now();
    }
    assert!(futures_util::FutureExt::now_or_never(&mut durable).is_none(), "it is not on disk");
    fs::remove_file(&hog).unwrap();
    wait(durable).unwrap();
    wait(full.changed()).unwrap();
    assert!(!*full.borrow(), "and goes on");
    append(&opened.spool, vec![gone(1)]).unwrap();

    // again, and nobody is left who could wait: the thread ends, and what was not on disk is not there
    io::copy(&mut io::repeat(1), &mut File::create(&hog).unwrap()).unwrap_err();
    let lost = wait(opened.spool.append(vec![received(3, &"x".repeat(9_000))])).unwrap();
    wait(full.changed()).unwrap();
    drop(opened.spool);
    assert!(wait(lost.wait()).is_err());
    fs::remove_file(&hog).unwrap();
    // the thread that has the lock is about to end
    let again = loop {
        match open(&folder) {
            Err(OpenError::Locked { .. }) => {}
            opened => break opened.unwrap(),
        }
    };
    assert_eq!(again.image.rows().keys().collect::<Vec<_>>(), [&Dno(2)]);
    assert_eq!(again.image.max_dno(), Dno(2));
}

/// Writes until it is killed, and says what is on disk: the child of the test below, which names the folder. Run without
/// one it does nothing.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os("SPOOL_FOLDER") else { return };
    let opened = open(Path::new(&folder)).unwrap();
    let first = opened.image.max_dno().0 + 1;
    wait(async {
        for round in 0.. {
            let mut group = Vec::new();
            for n in 0..5 {
                let dno = first + round * 5 + n;
                let mut records = vec![received(dno, "x"), items(dno, 0..2)];
                records.extend(dno.checked_sub(40).filter(|old| *old > 0).map(gone));
                group.push((dno, opened.spool.append(records).await.unwrap()));
            }
            for (dno, durable) in group {
                durable.wait().await.unwrap();
                println!("\nacknowledged {dno}");
            }
        }
    });
}

#[test]
fn whatever_was_acknowledged_is_there_after_a_kill() {
    let temporary = temporary();
    let folder = temporary.path().join("spool");
    let mut last = 0;
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_writes_until_it_is_killed", "--nocapture"])
            .env("SPOOL_FOLDER", &folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut count = 0;
        for line in lines {
            if let Some(dno) = line.unwrap().strip_prefix("acknowledged ") {
                last = dno.parse().unwrap();
                count += 1;
            }
            if count == 7 * round + 3 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(count >= 7 * round + 3, "the child ended by itself");
        let opened = open(&folder).unwrap();
        assert!(opened.image.max_dno() >= Dno(last), "round {round}: {last} was acknowledged");
        let rows = opened.image.rows();
        for dno in last.saturating_sub(30).max(1)..=last {
            assert_eq!(rows[&Dno(dno)].next_n(), 2, "round {round}: {dno} was acknowledged");
        }
        close(opened.spool);
    }
}
