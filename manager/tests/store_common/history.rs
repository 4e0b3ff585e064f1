//! The conformance suite: the chain of the history.

use redpoll_manager::store::chain::{Begin, Verified, sha256};
use redpoll_manager::store::{CommitError, Store};
use redpoll_manager_core::chain::{Linker, Point, columns};
use redpoll_manager_core::jobs::record::{Change, EventRecord};

use crate::store_common::everything::*;
use crate::store_common::*;

fn happened(numbers: std::ops::RangeInclusive<u64>) -> Vec<Change> {
    numbers.map(|n| Change::Event(event(n))).collect()
}

/// The hashes that these events have when nothing is before them.
fn chained(events: &[EventRecord]) -> Vec<Point> {
    let mut linker = Linker::new(sha256);
    let mut hash = [0; 32];
    let mut points = Vec::new();
    for event in events {
        hash = linker.link(&hash, &columns(event));
        points.push(Point { n: event.n, hash });
    }
    points
}

async fn whole(store: &dyn Store) -> Verified {
    let found = store.verify(Begin::Oldest, None, usize::MAX).await.unwrap();
    assert_eq!((found.flaw, found.more, found.head), (None, false, Some(found.at)));
    found
}

pub(crate) async fn every_event_is_stored_with_the_hash_of_all_before_it(mut rig: Rig) {
    let empty = whole(&*rig.store).await;
    assert_eq!((empty.from, empty.at, empty.checked), (Point::default(), Point::default(), 0));
    rig.store.commit(everything()).await.unwrap();
    let points = chained(&[event(1), bare_event()]);
    for _ in 0..2 {
        let found = whole(&*rig.store).await;
        assert_eq!((found.from, found.at, found.checked), (Point::default(), points[1], 2));
        // told again it is the same history
        rig.store.commit(everything()).await.unwrap();
        assert_eq!(whole(&*rig.store).await, found);
        rig.reopen().await;
    }
    let again: Vec<_> = (1..=30).map(event).collect();
    let points = chained(&[&[event(1), bare_event()][..], &again[2..]].concat());
    for n in 3..=30 {
        rig.store.commit(happened(n..=n)).await.unwrap();
    }
    assert_eq!(whole(&*rig.store).await.at, points[29]);
}

pub(crate) async fn the_history_is_verified_in_parts(rig: Rig) {
    rig.store.commit(happened(1..=30)).await.unwrap();
    let all = whole(&*rig.store).await;
    let (mut begin, mut checked, mut parts) = (Begin::Oldest, 0, 0);
    let last = loop {
        let part = rig.store.verify(begin, None, 7).await.unwrap();
        assert!(part.flaw.is_none() && part.checked <= 7 && part.head == all.head);
        checked += part.checked;
        parts += 1;
        begin = Begin::After(part.at);
        if !part.more {
            break part.at;
        }
    };
    assert_eq!((last, checked, parts), (all.at, 30, 5));
    let newest = rig.store.verify(Begin::Newest(4), None, 99).await.unwrap();
    assert_eq!((newest.from.n, newest.at, newest.checked, newest.flaw), (26, all.at, 4, None));
    let more_than_all = rig.store.verify(Begin::Newest(99), None, 99).await.unwrap();
    assert_eq!((more_than_all.from.n, more_than_all.at), (0, all.at));
    let until = rig.store.verify(Begin::Oldest, Some(11), 99).await.unwrap();
    assert_eq!((until.at.n, until.more, until.flaw), (11, true, None));
    assert_eq!(rig.store.verify(Begin::After(until.at), None, 99).await.unwrap().at, all.at);
    let wrong = Point { hash: [1; 32], ..until.at };
    let flaw = rig.store.verify(Begin::After(wrong), None, 99).await.unwrap().flaw.unwrap();
    assert_eq!((flaw.n, flaw.kind.word()), (12, "changed"));
}

pub(crate) async fn retention_keeps_the_hash_before_the_oldest_event(mut rig: Rig) {
    rig.store.commit(happened(1..=30)).await.unwrap();
    let all = whole(&*rig.store).await;
    let early = rig.store.verify(Begin::Oldest, Some(5), 99).await.unwrap().at;
    let point = rig.store.verify(Begin::Oldest, Some(11), 99).await.unwrap().at;
    for (below, oldest) in [(12, 11), (12, 11), (3, 11), (0, 11), (30, 29)] {
        rig.store.commit(vec![Change::EventsPruned { below }]).await.unwrap();
        let kept = whole(&*rig.store).await;
        assert_eq!((kept.from.n, kept.at, kept.checked), (oldest, all.at, 30 - oldest), "below {below}");
        if oldest == 11 {
            assert_eq!(kept.from, point);
        }
        // who was in the middle goes on with what is there
        assert_eq!(rig.store.verify(Begin::After(early), None, 99).await.unwrap(), kept);
        rig.reopen().await;
    }
    // in one call with what comes after it
    let mut changes = happened(31..=40);
    changes.push(Change::EventsPruned { below: 36 });
    changes.extend(happened(41..=42));
    rig.store.commit(changes).await.unwrap();
    let kept = whole(&*rig.store).await;
    assert_eq!((kept.from.n, kept.at.n), (35, 42));
    let never_deleted = chained(&(1..=42).map(event).collect::<Vec<_>>());
    assert_eq!(kept.at, never_deleted[41]);
}

pub(crate) async fn what_is_not_stored_is_not_chained(mut rig: Rig) {
    rig.store.commit(happened(1..=3)).await.unwrap();
    let before = whole(&*rig.store).await;
    rig.faults.set_full(true);
    assert_eq!(rig.store.commit(happened(4..=6)).await, Err(CommitError::Full));
    rig.faults.set_full(false);
    assert_eq!(rig.store.recover().await.unwrap().last_event, 3);
    assert_eq!(whole(&*rig.store).await, before);
    rig.store.commit(happened(4..=4)).await.unwrap();
    assert_eq!(whole(&*rig.store).await.at, chained(&(1..=4).map(event).collect::<Vec<_>>())[3]);
    rig.faults.break_in(1);
    assert_eq!(rig.store.commit(happened(5..=6)).await, Err(CommitError::Stopped));
    rig.reopen().await;
    assert_eq!(whole(&*rig.store).await.at.n, 4);
}
