//! What is kept on disk of procedures that run by themselves, until the manager has it.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::os::unix::fs::PermissionsExt as _;

use redpoll_agent::schedule::outbox::{Outbox, OutboxOptions};
use redpoll_agent::schedule::record::{Began, Kept};
use redpoll_common::api::record::RecordArguments;
use redpoll_common::job::{Ending, Item, ItemKind, Outcome};
use redpoll_common::wire::{Raw, RawMap};
use tempfile::TempDir;

fn kept(key: &str, bytes: usize) -> Kept {
    let run = RecordArguments {
        key: key.into(),
        schedule: "s".into(),
        procedure: "p".into(),
        kwargs: RawMap::new().text("x", &"x".repeat(bytes)).finish(),
        started_ms_ago: None,
        ending: Ending {
            outcome: Outcome::Succeeded,
            started: Some(true),
            result: Some(Raw::nil()),
            fault: None,
            items: 0,
            duration_ms: Some(1),
        },
        items: Vec::new(),
        dropped: 0,
    };
    Kept { run, began: Began { boot: Some([1; 16]), boot_ms: 1, wall_ms: 2 } }
}

fn open(folder: &TempDir, max_records: usize, max_bytes: u64) -> Outbox {
    Outbox::open(&folder.path().join("schedule"), OutboxOptions { max_records, max_bytes }).unwrap()
}

fn keys(outbox: &mut Outbox) -> Vec<String> {
    let mut keys = Vec::new();
    while let Some((number, kept, _)) = outbox.oldest().unwrap() {
        keys.push(kept.run.key);
        outbox.told(number, 0);
    }
    keys
}

#[test]
fn what_is_kept_is_there_after_a_restart_in_its_order_and_for_its_owner_alone() {
    let folder = TempDir::new().unwrap();
    let mut outbox = open(&folder, 10, 1 << 20);
    for key in ["a", "b"] {
        let number = outbox.begin(&kept(key, 1)).unwrap();
        outbox.finish(Some(number), &kept(key, 1));
    }
    outbox.finish(None, &kept("c", 1));
    drop(outbox);
    for entry in std::fs::read_dir(folder.path().join("schedule")).unwrap().flatten() {
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
    let mut again = open(&folder, 10, 1 << 20);
    let (_, first, dropped) = again.oldest().unwrap().unwrap();
    assert_eq!((first, dropped), (kept("a", 1), 0));
    assert_eq!(keys(&mut again), ["a", "b", "c"]);
    assert!(open(&folder, 10, 1 << 20).is_empty(), "what was told is gone from the disk");
}

#[test]
fn a_note_without_an_end_is_told_after_a_restart_and_half_a_file_is_not() {
    let folder = TempDir::new().unwrap();
    let mut outbox = open(&folder, 10, 1 << 20);
    outbox.begin(&kept("ran", 1)).unwrap();
    let number = outbox.begin(&kept("note", 1)).unwrap();
    outbox.finish(Some(number), &kept("ended", 1));
    assert_eq!(keys(&mut outbox), ["ended"], "what runs is not told");
    outbox.finish(None, &kept("later", 1));
    let part = folder.path().join("schedule/00000000000000000009.part");
    std::fs::write(&part, "half").unwrap();
    let mut again = open(&folder, 10, 1 << 20);
    assert_eq!(keys(&mut again), ["ran", "later"]);
    assert!(!part.exists());
}

#[test]
fn when_it_is_full_the_oldest_go_and_are_counted_until_the_manager_knows() {
    let folder = TempDir::new().unwrap();
    let mut outbox = open(&folder, 3, 1 << 20);
    for key in ["a", "b", "c", "d", "e"] {
        outbox.finish(None, &kept(key, 1));
    }
    drop(outbox);
    let mut outbox = open(&folder, 3, 1 << 20);
    let (number, first, dropped) = outbox.oldest().unwrap().unwrap();
    assert_eq!((first.run.key.as_str(), dropped), ("c", 2));
    assert_eq!(first.told(&Began::now(), dropped).dropped, 2);
    // one more is lost while the manager is told: it hears of that with the next
    outbox.finish(None, &kept("f", 1));
    outbox.told(number, 2);
    let (_, next, dropped) = outbox.oldest().unwrap().unwrap();
    assert_eq!((next.run.key.as_str(), dropped), ("e", 1), "d went, not the one on its way");
    drop(outbox);
    assert_eq!(open(&folder, 3, 1 << 20).oldest().unwrap().unwrap().2, 1);
}

#[test]
fn bytes_are_bounded_as_well_and_what_cannot_be_read_is_counted() {
    let folder = TempDir::new().unwrap();
    let mut outbox = open(&folder, 100, 3_000);
    for key in ["a", "b", "c", "d"] {
        outbox.finish(None, &kept(key, 1_000));
    }
    assert_eq!(outbox.len(), 2);
    let first = folder.path().join("schedule/00000000000000000003.end");
    std::fs::write(first, "nonsense").unwrap();
    let (_, left, dropped) = outbox.oldest().unwrap().unwrap();
    assert_eq!((left.run.key.as_str(), dropped), ("d", 3));
}

#[test]
fn what_cannot_be_read_for_want_of_a_descriptor_is_read_later_and_a_bad_file_holds_up_no_other() {
    let folder = TempDir::new().unwrap();
    let mut outbox = open(&folder, 10, 1 << 20);
    for key in ["a", "b", "c"] {
        outbox.finish(None, &kept(key, 1));
    }
    // each test has a process of its own only there, and the limit is that of the whole process
    if std::env::var_os("NEXTEST").is_some() {
        let held: Vec<std::fs::File> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
        let refused = outbox.oldest();
        drop(held);
        assert_eq!((refused.unwrap_err().raw_os_error(), outbox.len()), (Some(24), 3));
    }
    // stands in for a file that the disk does not give
    let first = folder.path().join("schedule/00000000000000000001.end");
    std::fs::rename(&first, folder.path().join("first")).unwrap();
    std::fs::create_dir(&first).unwrap();
    for key in ["b", "c"] {
        let (number, next, dropped) = outbox.oldest().unwrap().unwrap();
        assert_eq!((next.run.key.as_str(), dropped), (key, 0));
        outbox.told(number, 0);
    }
    outbox.oldest().unwrap_err();
    std::fs::remove_dir(&first).unwrap();
    std::fs::rename(folder.path().join("first"), &first).unwrap();
    assert_eq!(keys(&mut outbox), ["a"]);
}

#[test]
fn a_run_with_more_values_than_a_frame_may_have_is_read() {
    // older agents wrote such
    let list = [vec![0xdc, 0x9c, 0x40], vec![0xc0; 40_000]].concat();
    let list = Raw::parse(list.into()).unwrap();
    let mut large = kept("a", 1);
    large.run.items = vec![Item { n: 0, kind: ItemKind::Value, data: list.clone() }];
    large.run.ending.result = Some(list);
    let folder = TempDir::new().unwrap();
    let mut outbox = open(&folder, 10, 1 << 20);
    outbox.finish(None, &large);
    let (_number, read, dropped) = outbox.oldest().unwrap().unwrap();
    assert_eq!((read, dropped), (large, 0));
}
