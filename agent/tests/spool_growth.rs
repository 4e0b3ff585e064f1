//! A spool that lives long stays small, and keeps what matters.

#![expect(clippy::unwrap_used, reason = "test code")]

mod spool_support;

use std::fs;
use std::path::Path;

use redpoll_common::job::Dno;
use redpoll_common::job::spool::{COMMIT_BYTES, Record};
use spool_support::{
    SMALL, acked, append, close, done, gone, hiding, image_of, items, journals, open, received, starting,
    temporary, wait,
};

fn size(folder: &Path) -> u64 {
    journals(folder).iter().map(|path| fs::metadata(path).unwrap().len()).sum()
}

#[test]
fn what_does_not_matter_any_more_is_deleted_and_the_rest_is_kept() {
    let temporary = temporary();
    let folder = temporary.path().join("spool");
    let opened = open(&folder).unwrap();
    let id = opened.id;
    let mut all: Vec<Vec<Record>> = Vec::new();
    let mut write = |records: Vec<Record>| {
        append(&opened.spool, records.clone()).unwrap();
        all.push(records);
    };
    // one run that stays, in all its states, among a thousand that come and go
    write(vec![received(1, "stays")]);
    write(vec![received(2, "runs")]);
    write(vec![starting(2), items(2, 0..3)]);
    write(vec![received(3, "ends"), starting(3), items(3, 0..2), done(3, 2)]);
    for dno in 10..1_010 {
        write(vec![received(dno, "x"), starting(dno), items(dno, 0..2), done(dno, 2)]);
        write(vec![acked(dno, 2), gone(dno)]);
        if dno == 500 {
            write(vec![acked(2, 2), items(2, 3..4)]);
        }
    }
    // deletion follows the next commit
    write(vec![acked(3, 1)]);
    assert!(size(&folder) < 8 * SMALL.file_bytes, "{} bytes", size(&folder));
    let stored = wait(opened.spool.load(Dno(2), 2, 1_000)).unwrap();
    assert_eq!(stored.iter().map(|item| item.n).collect::<Vec<_>>(), [2, 3], "read back after it was moved");
    close(opened.spool);
    let again = open(&folder).unwrap();
    assert_eq!(again.id, id);
    assert_eq!(again.image.max_dno(), Dno(1_009), "the heads of the files remember what was deleted");
    let (kept, expected) = (again.image.rows().clone(), image_of(&all));
    assert_eq!(kept.keys().collect::<Vec<_>>(), expected.rows().keys().collect::<Vec<_>>());
    for (dno, row) in &kept {
        let whole = &expected.rows()[dno];
        assert_eq!((row.run, &row.ending, row.acked_n), (whole.run, &whole.ending, whole.acked_n), "{dno}");
        assert_eq!(
            (row.next_n(), row.starting || row.ending.is_some()),
            (whole.next_n(), whole.starting),
            "{dno}"
        );
    }
    assert!(kept[&Dno(1)].received.is_some(), "its arguments are needed yet");
    assert!(again.image.into_rows().is_ok(), "no gaps");
}

#[test]
fn what_nobody_may_see_of_a_run_outlives_the_record_of_its_offer() {
    let temporary = temporary();
    let folder = temporary.path().join("spool");
    let opened = open(&folder).unwrap();
    let secret = || Some(vec!["args.0".to_owned()]);
    append(&opened.spool, vec![hiding(received(1, "hunter2"), secret()), hiding(starting(1), secret())])
        .unwrap();
    append(&opened.spool, vec![hiding(received(2, "hunter2"), secret()), hiding(done(2, 0), secret())])
        .unwrap();
    append(&opened.spool, vec![hiding(received(3, "waits"), secret())]).unwrap();
    for dno in 10..200 {
        append(&opened.spool, vec![received(dno, "x"), gone(dno)]).unwrap();
    }
    close(opened.spool);
    let rows = open(&folder).unwrap().image.rows().clone();
    for (dno, offer_is_there) in [(1, false), (2, false), (3, true)] {
        let row = &rows[&Dno(dno)];
        assert_eq!(row.received.is_some(), offer_is_there, "{dno}");
        assert_eq!(row.redact.clone().or_else(|| row.secret.clone()), secret(), "{dno}");
    }
}

#[test]
fn the_highest_number_outlives_everything_else() {
    let temporary = temporary();
    let folder = temporary.path().join("spool");
    let opened = open(&folder).unwrap();
    append(&opened.spool, vec![Record::Floor { dno: Dno(u64::MAX) }]).unwrap();
    for dno in 1..500 {
        append(&opened.spool, vec![received(dno, &"x".repeat(100)), gone(dno)]).unwrap();
    }
    let first = folder.join("journal-0000000000000001");
    assert!(!first.exists(), "the file with the number in it went");
    close(opened.spool);
    assert_eq!(open(&folder).unwrap().image.max_dno(), Dno(u64::MAX));
}

#[test]
fn a_crash_between_copying_and_deleting_changes_nothing() {
    let temporary = temporary();
    let (folder, links) = (temporary.path().join("spool"), temporary.path().join("links"));
    let opened = open(&folder).unwrap();
    append(&opened.spool, vec![received(1, "stays"), starting(1), items(1, 0..5)]).unwrap();
    let mut present = journals(&folder);
    let mut seen = 0;
    for dno in 10..400 {
        // links keep what the spool deletes
        for path in &present {
            let link = links.join(path.file_name().unwrap());
            fs::create_dir_all(&links).unwrap();
            let _linked_before = fs::hard_link(path, link);
        }
        append(&opened.spool, vec![received(dno, &"x".repeat(100)), gone(dno)]).unwrap();
        // answered after all that the commit brought about
        wait(opened.spool.load(Dno(1), 0, 1)).unwrap();
        let now = journals(&folder);
        let deleted: Vec<_> = present.iter().filter(|path| !now.contains(path)).collect();
        for first in 0..deleted.len() {
            let crashed = temporary.path().join("crashed");
            spool_support::copy(&folder, &crashed);
            for path in &deleted[first..] {
                let name = path.file_name().unwrap();
                fs::copy(links.join(name), crashed.join(name)).unwrap();
            }
            let again = open(&crashed).unwrap();
            let row = &again.image.rows()[&Dno(1)];
            assert_eq!((row.run.is_some(), row.starting, row.next_n()), (true, true, 5));
            assert_eq!(again.image.rows().len(), 1, "what was gone stays gone");
            assert_eq!(again.image.max_dno(), Dno(dno));
            close(again.spool);
            seen += 1;
        }
        present = now;
    }
    assert!(seen > 10, "files were deleted {seen} times");
}

#[test]
fn items_are_read_back_from_where_they_are_wanted() {
    let temporary = temporary();
    let folder = temporary.path().join("spool");
    let opened = open(&folder).unwrap();
    append(&opened.spool, vec![received(1, "a"), starting(1)]).unwrap();
    for first in (0..100).step_by(10) {
        append(&opened.spool, vec![items(1, first..first + 10)]).unwrap();
    }
    let load = |from, bytes| wait(opened.spool.load(Dno(1), from, bytes)).unwrap();
    let numbers =
        |items: Vec<redpoll_common::job::Item>| items.into_iter().map(|item| item.n).collect::<Vec<_>>();
    assert_eq!(numbers(load(13, 1)), (13..20).collect::<Vec<_>>());
    assert_eq!(numbers(load(13, 1_000_000)), (13..100).collect::<Vec<_>>());
    assert_eq!(numbers(load(100, 1_000)), [0; 0]);
    append(&opened.spool, vec![acked(1, 25)]).unwrap();
    assert_eq!(numbers(load(0, 1)), [0; 0], "acknowledged items are not kept");
    assert_eq!(numbers(load(25, 1)), (25..30).collect::<Vec<_>>());
}

/// The lengths of the blocks of a file.
fn blocks(path: &Path) -> Vec<usize> {
    let bytes = fs::read(path).unwrap();
    let (mut at, mut lengths) = (52, Vec::new());
    while let Some(head) = bytes.get(at..at + 20).filter(|head| head.starts_with(b"RPB1")) {
        let len = head.get(4..).and_then(|rest| rest.first_chunk::<4>()).unwrap();
        let len = usize::try_from(u32::from_be_bytes(*len)).unwrap();
        lengths.push(len);
        at += 25 + len;
    }
    assert_eq!(at, bytes.len(), "nothing else is in it");
    lengths
}

#[test]
fn what_a_large_file_holds_is_copied_in_pieces() {
    let temporary = temporary();
    let folder = temporary.path().join("spool");
    let opened = open(&folder).unwrap();
    let large = "x".repeat(6 << 20);
    // one commit that a person may keep for long, and one beside it that nobody may
    wait(opened.spool.has_secrets(Dno(9))).unwrap();
    append(&opened.spool, vec![received(9, "secret")]).unwrap();
    append(&opened.spool, (1..4).map(|dno| received(dno, &large)).collect()).unwrap();
    append(&opened.spool, vec![gone(9)]).unwrap();
    append(&opened.spool, vec![acked(1, 0)]).unwrap();
    close(opened.spool);
    let lengths: Vec<usize> = journals(&folder).iter().flat_map(|path| blocks(path)).collect();
    let full = lengths.iter().filter(|len| **len > large.len());
    let most = usize::try_from(COMMIT_BYTES).unwrap() + 1_000;
    assert!(full.clone().count() > 1 && full.clone().all(|len| *len < most), "{lengths:?}");
    let again = open(&folder).unwrap();
    let rows = again.image.rows();
    assert!((1..4).all(|dno| rows[&Dno(dno)].received.is_some()) && !rows.contains_key(&Dno(9)));
    close(again.spool);
}
