//! The chain of the history in the database: written with the events, and checked.

use redpoll_manager_core::chain::{COLUMNS, Chain, Column, Hash, Point};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::rows::int;
use crate::store::ReadError;
use crate::store::chain::{Begin, Verified, Walk, sha256};

/// How the writer goes on: from what was written last. Where nobody knows that any more, from the last row.
pub(super) fn load(db: &Connection) -> rusqlite::Result<Chain> {
    let head = match point(db, "head")? {
        Some(head) => head,
        None => newest(db, 0)?.unwrap_or_default(),
    };
    Ok(Chain::new(sha256, head))
}

/// Writes down what was written last, in the transaction that did.
pub(super) fn keep_head(db: &Connection, head: Point) -> rusqlite::Result<()> {
    let sql = "INSERT INTO chain (what, n, hash) VALUES ('head', ?1, ?2) \
        ON CONFLICT (what) DO UPDATE SET n = excluded.n, hash = excluded.hash";
    db.prepare_cached(sql)?.execute(params![int(head.n), head.hash]).map(|_rows| ())
}

/// Deletes the events below a number, and keeps the hash that the next one follows on.
pub(super) fn prune(db: &Connection, below: u64) -> rusqlite::Result<()> {
    // of the rows from before the chain there is no hash to keep
    let sql = "SELECT n, coalesce(hash, x'') FROM event \
        WHERE n < ?1 AND n > (SELECT n FROM chain WHERE what = 'anchor') ORDER BY n DESC LIMIT 1";
    let last = db
        .prepare_cached(sql)?
        .query_row(params![int(below)], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)));
    if let Some((n, hash)) = last.optional()? {
        let sql = "UPDATE chain SET n = ?1, hash = ?2 WHERE what = 'anchor'";
        db.prepare_cached(sql)?.execute(params![n, hash])?;
    }
    db.prepare_cached("DELETE FROM event WHERE n < ?1")?.execute(params![int(below)]).map(|_rows| ())
}

/// The number of the event that was written last, 0 if that is not known.
pub(super) fn last(db: &Connection) -> rusqlite::Result<u64> {
    Ok(point(db, "head")?.map_or(0, |head| head.n))
}

/// Checks a stretch, see [`Store::verify`](crate::store::Store::verify).
pub(super) fn verify(
    db: &Connection,
    begin: Begin,
    until: Option<u64>,
    limit: usize,
) -> Result<Verified, ReadError> {
    let begun = point(db, "begun")?.map_or(0, |begun| begun.n);
    let (head, anchor) = (point(db, "head")?, point(db, "anchor")?);
    // where the first hash is known by itself nobody can have changed it
    let start = Point { n: begun, ..Point::default() };
    let unsure = anchor.is_none_or(|anchor| anchor != start);
    let anchor = match anchor {
        Some(anchor) => anchor,
        None => Point { n: oldest(db, begun)?.map_or(begun, |first| first.saturating_sub(1)), ..start },
    };
    let (from, unsure) = match begin {
        Begin::After(point) if point.n >= anchor.n => (point, false),
        Begin::Oldest | Begin::After(_) => (anchor, unsure),
        Begin::Newest(count) => match newest(db, count)? {
            Some(point) if point.n > anchor.n => (point, true),
            Some(_) | None => (anchor, unsure),
        },
    };
    let mut walk = Walk::new(from, unsure, head, until, limit);
    if begin == Begin::Oldest
        && let Some(extra) = oldest(db, begun)?.filter(|first| *first <= anchor.n)
    {
        walk.stray(extra);
    }
    let sql = "SELECT n, at_ms, kind, job, agent, queue, attempt, outcome, detail, name, data, hash FROM event \
        WHERE n > ?1 ORDER BY n";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![int(from.n)])?;
    while let Some(row) = rows.next()? {
        let columns = columns(row)?;
        let n = if let Column::Integer(n) = columns[0] { u64::try_from(n).unwrap_or(0) } else { 0 };
        let hash = row.get_ref(COLUMNS)?.as_blob_or_null().unwrap_or(None);
        if !walk.take(n, &columns, hash) {
            return Ok(walk.finish(false, begun));
        }
    }
    Ok(walk.finish(true, begun))
}

/// A row as it is, whatever somebody made of it.
fn columns<'r>(row: &'r Row<'_>) -> rusqlite::Result<[Column<'r>; COLUMNS]> {
    let mut columns = [Column::Null; COLUMNS];
    for (place, column) in columns.iter_mut().enumerate() {
        *column = match row.get_ref(place)? {
            // the tables are strict: there are no such numbers
            ValueRef::Null | ValueRef::Real(_) => Column::Null,
            ValueRef::Integer(number) => Column::Integer(number),
            ValueRef::Text(text) => Column::Text(text),
            ValueRef::Blob(blob) => Column::Blob(blob),
        };
    }
    Ok(columns)
}

/// A point that is kept, if it is one.
fn point(db: &Connection, what: &str) -> rusqlite::Result<Option<Point>> {
    let sql = "SELECT n, hash FROM chain WHERE what = ?1";
    let found = db.prepare_cached(sql)?.query_row(params![what], read).optional()?;
    Ok(found.flatten())
}

/// The event that so many come after, and its hash.
fn newest(db: &Connection, before: u64) -> rusqlite::Result<Option<Point>> {
    let sql = "SELECT n, coalesce(hash, x'') FROM event ORDER BY n DESC LIMIT 1 OFFSET ?1";
    let found = db.prepare_cached(sql)?.query_row(params![int(before)], read).optional()?;
    Ok(found.flatten())
}

/// The lowest number that is not from before the chain.
fn oldest(db: &Connection, begun: u64) -> rusqlite::Result<Option<u64>> {
    let sql = "SELECT min(n) FROM event WHERE n > ?1";
    let first: Option<i64> = db.prepare_cached(sql)?.query_row(params![int(begun)], |row| row.get(0))?;
    Ok(first.and_then(|first| u64::try_from(first).ok()))
}

fn read(row: &Row<'_>) -> rusqlite::Result<Option<Point>> {
    let hash = Hash::try_from(row.get_ref(1)?.as_blob()?).ok();
    let n = u64::try_from(row.get::<_, i64>(0)?).ok();
    Ok(n.zip(hash).map(|(n, hash)| Point { n, hash }))
}
