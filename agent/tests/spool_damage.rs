//! What a crash leaves is repaired, what it cannot have left is noticed.

#![expect(clippy::unwrap_used, reason = "test code")]

mod spool_support;

use std::fs;
use std::path::Path;

use redpoll_agent::spool::{OpenError, OpenOptions};
use redpoll_common::job::spool::Record;
use spool_support::{
    append, close, copy, gone, image_of, items, journals, life, open, open_with, received, run, said,
    temporary,
};

/// One file with the life of some runs, and its length after each commit.
fn written(folder: &Path) -> Vec<usize> {
    let opened = open_with(folder, OpenOptions::default()).unwrap();
    let file = journals(folder).remove(0);
    let len = || usize::try_from(fs::metadata(&file).unwrap().len()).unwrap();
    let mut ends = vec![len()];
    for records in life() {
        append(&opened.spool, records).unwrap();
        ends.push(len());
    }
    close(opened.spool);
    ends
}

#[test]
fn a_journal_cut_at_any_byte_says_what_was_acknowledged_before() {
    let temporary = temporary();
    let (whole, cut) = (temporary.path().join("whole"), temporary.path().join("cut"));
    let ends = written(&whole);
    let bytes = fs::read(&journals(&whole)[0]).unwrap();
    for len in 0..=bytes.len() {
        copy(&whole, &cut);
        fs::write(&journals(&cut)[0], &bytes[..len]).unwrap();
        let opened = open(&cut).unwrap();
        let commits = ends.iter().filter(|end| **end <= len).count().saturating_sub(1);
        assert_eq!(said(&opened.image), said(&image_of(&life()[..commits])), "cut to {len} bytes");
        // and it goes on from there
        append(&opened.spool, vec![received(99, "after")]).unwrap();
        close(opened.spool);
        let again = open(&cut).unwrap();
        let mut all = life()[..commits].to_vec();
        all.push(vec![received(99, "after")]);
        assert_eq!(said(&again.image), said(&image_of(&all)), "cut to {len} bytes, then written");
        close(again.spool);
    }
}

#[test]
fn a_flipped_bit_anywhere_is_noticed() {
    let temporary = temporary();
    let (whole, flipped) = (temporary.path().join("whole"), temporary.path().join("flipped"));
    written(&whole);
    let bytes = fs::read(&journals(&whole)[0]).unwrap();
    copy(&whole, &flipped);
    let file = journals(&flipped).remove(0);
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff, bytes[at]] {
            if flip == 0 {
                continue;
            }
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            fs::write(&file, &bytes).unwrap();
            let error = open(&flipped).unwrap_err();
            assert!(matches!(&error, OpenError::Corrupt { path, .. } if *path == file), "byte {at}: {error}");
            assert!(error.help().contains("move the spool folder away"));
            assert_eq!(
                fs::read(&file).unwrap(),
                bytes,
                "byte {at}: nothing is changed before somebody has looked"
            );
        }
    }
}

#[test]
fn a_tail_of_zeroes_is_what_a_crash_leaves_and_goes() {
    let temporary = temporary();
    let (whole, cut) = (temporary.path().join("whole"), temporary.path().join("cut"));
    let ends = written(&whole);
    let bytes = fs::read(&journals(&whole)[0]).unwrap();
    let [.., before, last] = ends[..] else { panic!("no commits") };
    // whole sectors of the last block were never written
    let zero_from = (before + 1).next_multiple_of(512).min(last);
    for (from, len) in
        [(before, last), (before, last + 5_000), (last, last + 1), (zero_from, last.max(zero_from + 600))]
    {
        copy(&whole, &cut);
        let mut torn = bytes.clone();
        torn.truncate(from);
        torn.resize(len, 0);
        fs::write(&journals(&cut)[0], &torn).unwrap();
        let opened = open(&cut).unwrap();
        let commits = if from >= last { life().len() } else { life().len() - 1 };
        assert_eq!(said(&opened.image), said(&image_of(&life()[..commits])), "zero from {from} to {len}");
        assert_eq!(usize::try_from(fs::metadata(&journals(&cut)[0]).unwrap().len()).unwrap(), ends[commits]);
        close(opened.spool);
    }
}

#[test]
fn damage_in_the_middle_is_no_torn_tail_even_before_zeroes() {
    let temporary = temporary();
    let folder = temporary.path().join("spool");
    let ends = written(&folder);
    let file = journals(&folder).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes[ends[2] + 30] ^= 1;
    bytes.resize(bytes.len() + 4_096, 0);
    fs::write(&file, &bytes).unwrap();
    let error = open(&folder).unwrap_err();
    assert!(
        matches!(error, OpenError::Corrupt { offset, .. } if offset == u64::try_from(ends[2]).unwrap()),
        "{error}"
    );
}

/// Some files of runs that are all still open.
fn several_files(folder: &Path) {
    let opened = open(folder).unwrap();
    for dno in 1..=60 {
        append(&opened.spool, vec![received(dno, &"x".repeat(100))]).unwrap();
    }
    close(opened.spool);
    assert!(journals(folder).len() >= 4);
}

#[test]
fn an_older_file_that_is_short_missing_or_renamed_is_noticed() {
    let temporary = temporary();
    let (whole, broken) = (temporary.path().join("whole"), temporary.path().join("broken"));
    several_files(&whole);
    let second = |folder: &Path| journals(folder).remove(1);
    let len = fs::metadata(second(&whole)).unwrap().len();
    let bytes = fs::read(second(&whole)).unwrap();
    let mut block_ends = 0;
    for keep in 0..len {
        copy(&whole, &broken);
        fs::write(second(&broken), &bytes[..usize::try_from(keep).unwrap()]).unwrap();
        let error = open(&broken).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{keep}: {error}");
        block_ends += u64::from(error.to_string().contains("the end of the file before it is missing"));
    }
    assert!(block_ends > 3, "cut between two blocks, only the next file tells");
    copy(&whole, &broken);
    fs::remove_file(second(&broken)).unwrap();
    assert!(
        matches!(open(&broken), Err(OpenError::Missing { path }) if path == broken.join(second(&whole).file_name().unwrap()))
    );
    copy(&whole, &broken);
    fs::copy(second(&broken), &journals(&broken)[2]).unwrap();
    assert!(open(&broken).unwrap_err().to_string().contains("renamed"));
}

#[test]
fn a_record_that_hides_more_than_any_may_is_no_record() {
    let temporary = temporary();
    let folder = temporary.path().join("spool");
    let opened = open(&folder).unwrap();
    let redact = Some(vec!["kwargs.pin".to_owned(); 1_001]);
    append(&opened.spool, vec![received(1, "x"), Record::Starting { run: run(1), redact }]).unwrap();
    close(opened.spool);
    let error = open(&folder).unwrap_err();
    assert!(matches!(&error, OpenError::Record { path, .. } if *path == journals(&folder)[0]), "{error}");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("redact"), "{error:?}");
    assert!(error.help().contains("move the spool folder away"));
}

#[test]
fn a_file_that_was_begun_and_never_used_goes() {
    let temporary = temporary();
    let (whole, begun) = (temporary.path().join("whole"), temporary.path().join("begun"));
    several_files(&whole);
    let before = said(&open(&whole).unwrap().image);
    for len in [0, 1, 51] {
        copy(&whole, &begun);
        let newest = journals(&begun).pop().unwrap();
        let number = u64::from_str_radix(
            newest.file_name().unwrap().to_str().unwrap().trim_start_matches("journal-"),
            16,
        )
        .unwrap();
        let next = begun.join(format!("journal-{:016x}", number + 1));
        fs::write(&next, vec![0; len]).unwrap();
        fs::set_permissions(&next, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let opened = open(&begun).unwrap();
        assert_eq!(said(&opened.image), before);
        for dno in 100..120 {
            append(&opened.spool, vec![received(dno, &"x".repeat(100))]).unwrap();
        }
        close(opened.spool);
        assert_eq!(open(&begun).unwrap().image.rows().len(), 80);
    }
}

#[test]
fn records_that_do_not_fit_together_are_refused_by_the_rules() {
    let temporary = temporary();
    let folder = temporary.path().join("spool");
    let opened = open(&folder).unwrap();
    append(&opened.spool, vec![received(1, "a"), items(1, 3..5), gone(9)]).unwrap();
    close(opened.spool);
    let error = open(&folder).unwrap().image.into_rows().unwrap_err();
    assert_eq!(error.to_string(), "dispatch number 1 lacks its item 0");
}
