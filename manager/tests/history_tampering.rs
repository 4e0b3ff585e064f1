//! Whatever somebody does to the history in the file of a store is found, with the number of the first event that is not as it was
//! written.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod store_common;

use redpoll_common::wire::Raw;
use redpoll_manager::store::chain::{Begin, Verified};
use redpoll_manager::store::sqlite::DATABASE;
use redpoll_manager::store::{Sqlite, Store};
use redpoll_manager_core::chain::check::{Flaw, FlawKind};
use redpoll_manager_core::chain::{Hash, Point};
use redpoll_manager_core::jobs::record::{Change, CustomEvent, EventKind, EventRecord};
use rusqlite::types::Value;
use rusqlite::{Connection, params};
use store_common::{event, private_folder, small};
use tempfile::TempDir;

const COLUMNS: [&str; 11] =
    ["at_ms", "kind", "job", "agent", "queue", "attempt", "outcome", "detail", "name", "data", "hash"];

/// Chance that can be had again (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(u64::try_from(n).unwrap())).unwrap()
    }
}

/// A store with a history, and another way into its file.
struct Tampered {
    folder: TempDir,
    store: Sqlite,
    file: Connection,
    /// The points of the chain, by number.
    points: Vec<Point>,
}

/// Events of all shapes.
fn some(n: u64) -> EventRecord {
    let data = Raw::text(&format!("something {n}"));
    let custom = Some(Box::new(CustomEvent { name: "disk.full".to_owned(), data }));
    match n % 4 {
        0 => EventRecord { kind: EventKind::Custom, custom, ..event(n) },
        1 => EventRecord { job: None, queue: None, attempt: None, outcome: None, ..event(n) },
        2 => EventRecord { detail: None, agent: None, ..event(n) },
        _ => event(n),
    }
}

impl Tampered {
    async fn new(events: u64) -> Self {
        let folder = private_folder();
        let store = Sqlite::open(folder.path(), small()).unwrap();
        store.commit((1..=events).map(|n| Change::Event(some(n))).collect()).await.unwrap();
        let file = Connection::open(folder.path().join(DATABASE)).unwrap();
        file.execute_batch("PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY").unwrap();
        let mut tampered = Self { folder, store, file, points: Vec::new() };
        tampered.look();
        tampered
    }

    fn look(&mut self) {
        let mut points = self.file.prepare("SELECT n, hash FROM event ORDER BY n").unwrap();
        let point = |row: &rusqlite::Row<'_>| {
            Ok(Point { n: u64::try_from(row.get::<_, i64>(0)?).unwrap(), hash: row.get::<_, Hash>(1)? })
        };
        let points: Vec<_> = points.query_map([], point).unwrap().map(Result::unwrap).collect();
        self.points = vec![Point::default()];
        self.points.extend(points);
    }

    async fn reopen(mut self) -> Self {
        self.store.close().await;
        self.store = Sqlite::open(self.folder.path(), small()).unwrap();
        self
    }

    async fn verify(&self, begin: Begin) -> Verified {
        let mut begin = begin;
        loop {
            let found = self.store.verify(begin, None, usize::MAX).await.unwrap();
            if !found.more {
                return found;
            }
            begin = Begin::After(found.at);
        }
    }

    async fn flaw(&self, begin: Begin) -> Option<Flaw> {
        self.verify(begin).await.flaw
    }

    /// Does something to the file, looks, and takes it back. Looks from near on, and now and then at everything.
    async fn try_out(&self, first: u64, sql: &str, everything: bool) -> Option<Flaw> {
        let kept = "DROP TABLE IF EXISTS temp.kept; DROP TABLE IF EXISTS temp.kept_chain; CREATE TEMP TABLE kept_chain AS SELECT * FROM chain; \
            CREATE TEMP TABLE kept AS SELECT * FROM event";
        // a copy of all of it only where more than a row is touched
        let narrow = format!("{kept} WHERE n BETWEEN {first} AND {first} + 1");
        self.file.execute_batch(if sql.contains(">=") { kept } else { &narrow }).unwrap();
        self.file.execute_batch(sql).unwrap();
        let near = usize::try_from(first.saturating_sub(3)).unwrap();
        let near = self.flaw(Begin::After(self.points[near])).await;
        if everything {
            assert_eq!(self.flaw(Begin::Oldest).await, near, "{sql}");
        }
        let back = "INSERT OR REPLACE INTO event SELECT * FROM temp.kept; \
            DELETE FROM chain; INSERT INTO chain SELECT * FROM temp.kept_chain";
        self.file.execute_batch(&format!("BEGIN; DELETE FROM event WHERE n < 0; {back}; COMMIT")).unwrap();
        near
    }
}

fn found(n: u64, kind: FlawKind) -> Option<Flaw> {
    Some(Flaw { n, kind })
}

#[tokio::test]
async fn each_event_that_is_edited_deleted_swapped_or_cut_off_is_found_by_its_number() {
    const EVENTS: u64 = 2000;
    let tampered = Tampered::new(EVENTS).await;
    assert_eq!(tampered.flaw(Begin::Oldest).await, None);
    for n in 1..=EVENTS {
        let all = n % 250 == 1 || n == EVENTS;
        let column = COLUMNS[usize::try_from(n).unwrap() % COLUMNS.len()];
        let other = match column {
            "at_ms" | "attempt" => format!("coalesce({column}, 0) + 1"),
            "job" | "queue" | "data" | "hash" => "randomblob(32)".to_owned(),
            _ => format!("coalesce({column}, '') || ' '"),
        };
        let edit = format!("UPDATE event SET {column} = {other} WHERE n = {n}");
        let edited = tampered.try_out(n, &edit, all).await;
        assert_eq!(edited, found(n, FlawKind::Changed), "{column} of {n}");
        let deleted = tampered.try_out(n, &format!("DELETE FROM event WHERE n = {n}"), all).await;
        let missing =
            if n == EVENTS { FlawKind::Truncated { upto: n } } else { FlawKind::Missing { upto: n } };
        assert_eq!(deleted, found(n, missing));
        if n < EVENTS {
            let next = n + 1;
            let swap = format!(
                "UPDATE event SET n = -1 WHERE n = {n}; UPDATE event SET n = {n} WHERE n = {next}; \
                 UPDATE event SET n = {next} WHERE n = -1"
            );
            let swapped = tampered.try_out(n, &swap, all).await;
            assert_eq!(swapped, found(n, FlawKind::Moved { to: next }));
        }
        if n % 20 == 0 {
            let cut = tampered.try_out(n, &format!("DELETE FROM event WHERE n >= {n}"), all).await;
            assert_eq!(cut, found(n, FlawKind::Truncated { upto: EVENTS }));
        }
    }
    assert_eq!(tampered.flaw(Begin::Oldest).await, None, "everything was taken back");
}

#[tokio::test]
async fn a_flipped_bit_anywhere_in_a_row_is_found() {
    let seed = std::env::var("HISTORY_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("HISTORY_SEED={seed}");
    let mut dice = Dice(seed);
    let tampered = Tampered::new(10_000).await;
    let mut flips = 0;
    while flips < 1500 {
        let n = 1 + dice.below(10_000);
        let column = COLUMNS[dice.index(COLUMNS.len())];
        let sql = format!("SELECT {column} FROM event WHERE n = ?1");
        let number = i64::try_from(n).unwrap();
        let was: Value = tampered.file.query_row(&sql, [number], |row| row.get(0)).unwrap();
        let mut flip = |mut bytes: Vec<u8>| {
            let (place, bit) = (dice.index(bytes.len()), dice.below(8));
            bytes[place] ^= 1 << bit;
            bytes
        };
        let (new, cast) = match &was {
            Value::Integer(old) => (
                Value::Integer(i64::from_be_bytes(flip(old.to_be_bytes().to_vec()).try_into().unwrap())),
                "?1",
            ),
            // no longer UTF-8, perhaps
            Value::Text(old) => (Value::Blob(flip(old.clone().into_bytes())), "CAST(?1 AS TEXT)"),
            Value::Blob(old) => (Value::Blob(flip(old.clone())), "?1"),
            Value::Null | Value::Real(_) => continue,
        };
        let set = |cast: &str| format!("UPDATE event SET {column} = {cast} WHERE n = ?2");
        tampered.file.execute(&set(cast), params![new, number]).unwrap();
        let near = tampered.points[usize::try_from(n.saturating_sub(3)).unwrap()];
        let expected = found(n, FlawKind::Changed);
        assert_eq!(tampered.flaw(Begin::After(near)).await, expected, "{column} of {n}");
        if flips % 300 == 0 {
            assert_eq!(tampered.flaw(Begin::Oldest).await, expected, "{column} of {n}, from the oldest on");
        }
        tampered.file.execute(&set("?1"), params![was, number]).unwrap();
        flips += 1;
    }
    assert_eq!(tampered.flaw(Begin::Oldest).await, None);
}

#[tokio::test]
async fn what_is_moved_is_found_where_it_stands() {
    let tampered = Tampered::new(40).await;
    // the row as it is, hash and all, under a number of which nothing is left
    let sql = "UPDATE event SET n = -1 WHERE n = 20; DELETE FROM event WHERE n = 30; \
        UPDATE event SET n = 30 WHERE n = -1";
    tampered.file.execute_batch(sql).unwrap();
    assert_eq!(tampered.flaw(Begin::Oldest).await, found(20, FlawKind::Moved { to: 30 }));
}

/// The points that are kept beside the rows are as good a place to change something.
#[tokio::test]
async fn a_changed_anchor_and_a_changed_head_are_found() {
    let tampered = Tampered::new(40).await;
    for (sql, expected) in [
        ("UPDATE chain SET hash = x'00' WHERE what = 'head'", found(40, FlawKind::NoHead)),
        ("DELETE FROM chain WHERE what = 'head'", found(40, FlawKind::NoHead)),
        ("UPDATE chain SET hash = randomblob(32) WHERE what = 'head'", found(40, FlawKind::Head)),
        ("UPDATE chain SET n = 50 WHERE what = 'head'", found(41, FlawKind::Truncated { upto: 50 })),
        ("UPDATE chain SET n = 39 WHERE what = 'head'", found(39, FlawKind::Head)),
        (
            "UPDATE chain SET (n, hash) = (SELECT n, hash FROM event WHERE n = 39) WHERE what = 'head'",
            found(40, FlawKind::Beyond),
        ),
        ("UPDATE chain SET hash = randomblob(32) WHERE what = 'anchor'", found(1, FlawKind::Anchor)),
        (
            "UPDATE chain SET (n, hash) = (SELECT n, hash FROM event WHERE n = 5) WHERE what = 'anchor'",
            found(1, FlawKind::Anchor),
        ),
    ] {
        let kept = "DROP TABLE IF EXISTS temp.kept; CREATE TEMP TABLE kept AS SELECT * FROM chain";
        tampered.file.execute_batch(kept).unwrap();
        tampered.file.execute_batch(sql).unwrap();
        assert_eq!(tampered.flaw(Begin::Oldest).await, expected, "{sql}");
        tampered.file.execute_batch("DELETE FROM chain; INSERT INTO chain SELECT * FROM kept").unwrap();
    }
    assert_eq!(tampered.flaw(Begin::Oldest).await, None);
    // once something was deleted, the hash before the oldest event is one that nobody can know
    tampered.store.commit(vec![Change::EventsPruned { below: 11 }]).await.unwrap();
    assert_eq!(tampered.flaw(Begin::Oldest).await, None);
    let anchor = "UPDATE chain SET hash = randomblob(32) WHERE what = 'anchor'";
    tampered.file.execute_batch(anchor).unwrap();
    assert_eq!(tampered.flaw(Begin::Oldest).await, found(11, FlawKind::Anchor));
    tampered.file.execute_batch("DELETE FROM chain WHERE what = 'anchor'").unwrap();
    assert_eq!(tampered.flaw(Begin::Oldest).await, found(11, FlawKind::Anchor));
}

/// However the history goes on: what was done to it stays to be seen.
#[tokio::test]
async fn what_comes_after_does_not_cover_it_up() {
    for (sql, first) in [
        ("DELETE FROM event WHERE n > 35", found(36, FlawKind::Missing { upto: 40 })),
        ("UPDATE event SET detail = 'nothing' WHERE n = 40", found(40, FlawKind::Changed)),
        (
            "INSERT INTO event (n, at_ms, kind, hash) VALUES (41, 1, 'job.ended', randomblob(32))",
            found(41, FlawKind::Changed),
        ),
        ("DELETE FROM event", found(1, FlawKind::Missing { upto: 40 })),
    ] {
        let tampered = Tampered::new(40).await;
        tampered.file.execute_batch(sql).unwrap();
        let tampered = tampered.reopen().await;
        let last = tampered.store.recover().await.unwrap().last_event;
        assert!(last >= 40, "a number is given once: {last}");
        let next = (last + 1..=last + 9).map(|n| Change::Event(some(n))).collect();
        tampered.store.commit(next).await.unwrap();
        let flaw = tampered.flaw(Begin::Oldest).await;
        assert_eq!(flaw, first, "{sql}");
        let newest = tampered.flaw(Begin::Newest(300)).await;
        assert!(newest.is_some(), "{sql}: the start of a manager sees it too");
    }
}

/// Whoever can write the file can compute all hashes anew: then only a head that is kept elsewhere tells.
#[tokio::test]
async fn a_history_that_was_computed_anew_has_another_head() {
    let (honest, other) = (Tampered::new(40).await, Tampered::new(19).await);
    let forged = |n| EventRecord { detail: Some("forged".to_owned()), ..some(n) };
    other.store.commit(vec![Change::Event(forged(20))]).await.unwrap();
    other.store.commit((21..=40).map(|n| Change::Event(some(n))).collect()).await.unwrap();
    let (honest, other) = (honest.verify(Begin::Oldest).await, other.verify(Begin::Oldest).await);
    assert_eq!((honest.flaw, other.flaw, honest.at.n, other.at.n), (None, None, 40, 40));
    assert_ne!(honest.at.hash, other.at.hash);
}
