//! A spool in a process that has as many files open as it may. A test of its own, as the limit is that of the whole process.

#![expect(clippy::unwrap_used, reason = "test code")]

mod spool_support;

use std::path::Path;

use redpoll_agent::spool::OpenOptions;
use redpoll_common::job::Dno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use spool_support::{
    SMALL, acked, append, close, done, gone, items, journals, open, open_with, received, starting, temporary,
    wait,
};

fn limit(files: Option<u64>) {
    setrlimit(Resource::Nofile, Rlimit { current: files, ..getrlimit(Resource::Nofile) }).unwrap();
}

fn holds(folder: &Path, words: &str) -> bool {
    let held = |path: &std::path::PathBuf| {
        std::fs::read(path).unwrap().windows(words.len()).any(|window| window == words.as_bytes())
    };
    journals(folder).iter().any(held)
}

#[test]
fn a_spool_without_descriptors_goes_on_in_the_present_file_and_reads_older_ones_later() {
    let temporary = temporary();
    let folder = temporary.path().join("spool");
    let opened = open(&folder).unwrap();
    let (spool, number) =
        (opened.spool.clone(), |path: &std::path::PathBuf| path.file_name().unwrap().to_owned());
    append(&spool, vec![received(1, "stays"), starting(1), items(1, 0..5)]).unwrap();
    let mut dno = 10;
    let mut more = |text: &str| {
        append(&spool, vec![received(dno, text), starting(dno)]).unwrap();
        dno += 1;
        dno - 1
    };
    while journals(&folder).len() < 2 {
        more(&"x".repeat(100));
    }
    let before = journals(&folder);

    // what is open stays open, and nothing else can be opened
    let was = getrlimit(Resource::Nofile).current;
    limit(Some(3));
    assert!(std::fs::File::open("/dev/null").is_err(), "the limit holds");
    let failed = wait(spool.load(Dno(1), 0, 1_000)).unwrap_err();
    assert!(failed.passes(), "{failed}");
    for _ in 0..50 {
        let dno = more(&"y".repeat(100));
        append(&spool, vec![done(dno, 0), gone(dno)]).unwrap();
    }
    limit(was);
    let during = journals(&folder);
    assert_eq!(during, before, "no file was begun");
    let len = during.last().unwrap().metadata().unwrap().len();
    assert!(len > 4 * SMALL.file_bytes, "the present file went on: {len}");

    let stored = wait(spool.load(Dno(1), 0, 1_000)).unwrap();
    assert_eq!(stored.iter().map(|item| item.n).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    for _ in 0..3 {
        append(&spool, vec![acked(1, 1)]).unwrap();
        wait(spool.load(Dno(1), 4, 1)).unwrap();
    }
    assert!(journals(&folder).iter().map(number).max() > before.iter().map(number).max(), "a file was begun");
    drop(spool);
    close(opened.spool);
    let again = open(&folder).unwrap();
    assert_eq!(again.image.max_dno(), Dno(dno - 1));
    assert_eq!(again.image.rows()[&Dno(1)].next_n(), 5);
    close(again.spool);
    secrets_go_once_a_file_can_be_begun(&temporary.path().join("secrets"));
}

fn secrets_go_once_a_file_can_be_begun(folder: &Path) {
    // one file, which is not long enough for another by itself
    let spool = open_with(folder, OpenOptions { file_bytes: 1 << 20, ..SMALL }).unwrap().spool;
    let was = getrlimit(Resource::Nofile).current;
    limit(Some(3));
    wait(spool.has_secrets(Dno(1))).unwrap();
    append(&spool, vec![received(1, "hunter2"), gone(1)]).unwrap();
    append(&spool, vec![received(2, "x")]).unwrap();
    limit(was);
    assert!(holds(folder, "hunter2"), "nothing could be begun in its place");
    for n in 0..3 {
        append(&spool, vec![acked(2, n)]).unwrap();
        wait(spool.load(Dno(2), 0, 1)).unwrap();
    }
    assert!(!holds(folder, "hunter2"), "what a run that is gone hid is gone too");
    close(spool);
}
