//! Questions as SQL. Each is answered from one state of the database.

use std::collections::BTreeSet;

use redpoll_common::ids::PeerId;
use redpoll_common::job::{Attempt, Item, JobId, RunKey, Submitter};
use redpoll_manager_core::clock::Anchor;
use redpoll_manager_core::jobs::record::{CallbackRecord, JobRecord, Progress, Records, RunRecord, Summary};
use redpoll_manager_core::jobs::{EndedJob, Whose};
use redpoll_manager_core::revoked::Denial;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use tracing::error;

use super::chain;
use super::event::{self, EVENT};
use super::rows::{self, JOB, RUN, int, uint};
use crate::store::items::{self as chunks, Chunk};
use crate::store::weight::run_weight;
use crate::store::{AttemptRecord, Counts, MAX_RUN_BYTES, Oldest, ReadError, StoredEvent, spec};

/// The jobs that are not over: see [`Records::jobs`]. What has ended and was never offered is, whatever an earlier version wrote of it.
const ALIVE: &str = "(SELECT id FROM job WHERE ended_ms IS NULL UNION \
    SELECT job FROM run WHERE alive = 1 AND NOT (state = 'ended' AND dno = 0))";

const DENIED: &str =
    "SELECT role, id, certificate, at_ms, revoked_by, reason FROM denied ORDER BY role, id, certificate";

pub(super) fn recover(db: &Connection) -> Result<Records, ReadError> {
    let jobs = format!("SELECT {JOB} FROM job WHERE id IN {ALIVE} ORDER BY id");
    // what is in memory is what a run costs while the manager works, and not what its program said
    let runs = format!("SELECT {RUN}, NULL, NULL FROM run WHERE job IN {ALIVE} ORDER BY job, agent");
    let callbacks = format!("{CALLBACKS} WHERE state = 'pending' ORDER BY due_ms, job, serial");
    let counts = counts(db)?;
    let mut unreadable = BTreeSet::new();
    let mut jobs = readable(db, &jobs, [], rows::job, &mut |job| _ = unreadable.insert(job))?;
    let runs = readable(db, &runs, [], rows::run, &mut |job| _ = unreadable.insert(job))?;
    // without a run of its own it would wait for one that nobody knows of
    jobs.retain(|job| !unreadable.contains(&job.id));
    let callbacks = readable(db, &callbacks, [], rows::callback, &mut |_job| {})?;
    Ok(Records {
        jobs,
        runs,
        queues: all(db, "SELECT key, concurrency, opened_ms FROM queue ORDER BY key", [], rows::queue)?,
        agents: all(
            db,
            "SELECT agent, spool, last_dno, seen_dno FROM agent ORDER BY agent",
            [],
            rows::agent,
        )?,
        callbacks,
        denied: denials(db)?,
        // a number that was given is not given again, whatever became of its row
        last_event: counts.last_event.max(chain::last(db)?),
        first_event: first_event(db)?,
        ended_jobs: counts.ended_jobs,
        unreadable: unreadable.into_iter().collect(),
    })
}

/// Where the count of time stood, and the time of the last event: as everything that is written down has one, no later one was reached.
pub(super) fn clock(db: &Connection) -> rusqlite::Result<(Option<Anchor>, u64)> {
    let sql = "SELECT boot, base_ms, ahead_ms FROM clock WHERE id = 1";
    // a boot that is none of a kernel's is none of ours
    let kept = db.query_row(sql, [], |row| {
        let boot: Option<Vec<u8>> = row.get(0)?;
        let ahead_ms: i64 = row.get(2)?;
        Ok(Anchor {
            boot: boot.and_then(|boot| boot.try_into().ok()),
            base_ms: row.get(1)?,
            ahead_ms,
            ahead_at_boot_ms: ahead_ms,
        })
    });
    let kept = match kept.optional()? {
        Some(anchor) => {
            let ahead_at_boot_ms = ahead_at_boot(db, &anchor)?.unwrap_or(anchor.ahead_ms);
            Some(Anchor { ahead_at_boot_ms, ..anchor })
        }
        None => None,
    };
    let newest = "SELECT at_ms FROM event ORDER BY n DESC LIMIT 1";
    let newest: Option<i64> = db.query_row(newest, [], |row| row.get(0)).optional()?;
    Ok((kept, newest.and_then(|at| u64::try_from(at).ok()).unwrap_or(0)))
}

/// How far the wall clock was ahead at the boot of an anchor, unless the build does not know of it that wrote the anchor down.
fn ahead_at_boot(db: &Connection, anchor: &Anchor) -> rusqlite::Result<Option<i64>> {
    let table = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'clock_boot'";
    let tables: i64 = db.query_row(table, [], |row| row.get(0))?;
    if tables == 0 {
        return Ok(None);
    }
    let sql = "SELECT ahead_ms FROM clock_boot WHERE id = 1 AND boot = ?1";
    db.query_row(sql, params![anchor.boot], |row| row.get(0)).optional()
}

pub(super) fn job(db: &Connection, id: JobId) -> Result<Option<JobRecord>, ReadError> {
    one(db, &format!("SELECT {JOB} FROM job WHERE id = ?1"), params![id.to_bytes()], rows::job)
}

pub(super) fn by_key(
    db: &Connection,
    submitter: &Submitter,
    key: &str,
) -> Result<Option<JobRecord>, ReadError> {
    let sql = format!("SELECT {JOB} FROM job WHERE submitter = ?1 AND key = ?2");
    one(db, &sql, params![submitter.as_str(), key], rows::job)
}

pub(super) fn runs(
    db: &Connection,
    job: JobId,
    after: Option<&PeerId>,
    limit: usize,
) -> Result<Vec<RunRecord>, ReadError> {
    let sql =
        format!("SELECT {RUN}, fault, NULL FROM run WHERE job = ?1 AND agent > ?2 ORDER BY agent LIMIT ?3");
    let after = after.map_or("", |peer| peer.as_str());
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params![job.to_bytes(), after, count(limit)])?;
    let (mut runs, mut bytes) = (Vec::new(), 0);
    while bytes < MAX_RUN_BYTES
        && let Some(row) = rows.next()?
    {
        let run = rows::run(row)?;
        bytes += run_weight(&run);
        runs.push(run);
    }
    Ok(runs)
}

pub(super) fn run(db: &Connection, key: &RunKey) -> Result<Option<RunRecord>, ReadError> {
    let sql = format!("SELECT {RUN}, fault, result FROM run WHERE job = ?1 AND agent = ?2");
    one(db, &sql, params![key.job.to_bytes(), key.agent.as_str()], rows::run)
}

pub(super) fn tally(db: &Connection, job: JobId) -> Result<Summary, ReadError> {
    let sql = "SELECT outcome, count(*) FROM run WHERE job = ?1 GROUP BY outcome";
    let mut summary = Summary::default();
    for (outcome, runs) in all(db, sql, params![job.to_bytes()], rows::tally)? {
        summary.count_in(outcome, runs);
    }
    Ok(summary)
}

pub(super) fn attempts(db: &Connection, key: &RunKey) -> Result<Vec<AttemptRecord>, ReadError> {
    let sql = "SELECT attempt, outcome, fault, at_ms FROM attempt \
        WHERE run = (SELECT n FROM run WHERE job = ?1 AND agent = ?2) ORDER BY attempt";
    all(db, sql, params![key.job.to_bytes(), key.agent.as_str()], rows::attempt)
}

pub(super) fn items(
    db: &Connection,
    key: &RunKey,
    attempt: Attempt,
    from: u64,
    (limit, most): (usize, usize),
) -> Result<Vec<Item>, ReadError> {
    let mut items = Vec::new();
    let Some(run) = run_number(db, key)? else { return Ok(items) };
    // from the chunk in which the first one lies
    let sql = "SELECT first, count, body FROM item WHERE run = ?1 AND attempt = ?2 AND first >= \
        (SELECT coalesce(max(first), 0) FROM item WHERE run = ?1 AND attempt = ?2 AND first <= ?3) ORDER BY first";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![run, attempt.0, int(from)])?;
    let (mut bytes, mut full) = (0_usize, limit == 0);
    while !full && let Some(row) = rows.next()? {
        let body: Vec<u8> = row.get(2)?;
        let chunk = Chunk { first: uint(row.get(0)?)?, count: uint(row.get(1)?)?, body: body.into() };
        chunks::unpack(chunk, from, &mut |item| {
            bytes = bytes.saturating_add(item.data.len());
            full = !items.is_empty() && bytes > most;
            if !full {
                items.push(item);
                full = items.len() >= limit || bytes >= most;
            }
            !full
        })?;
    }
    Ok(items)
}

pub(super) fn next_item(db: &Connection, key: &RunKey, attempt: Attempt) -> Result<u64, ReadError> {
    let Some(run) = run_number(db, key)? else { return Ok(0) };
    let sql = "SELECT first + count FROM item WHERE run = ?1 AND attempt = ?2 ORDER BY first DESC LIMIT 1";
    let next = one(db, sql, params![run, attempt.0], |row| uint(row.get(0)?))?;
    Ok(next.unwrap_or(0))
}

/// Reads no body: their lengths are in the rows' heads.
pub(super) fn item_bytes(db: &Connection, key: &RunKey, attempt: Attempt) -> Result<u64, ReadError> {
    let Some(run) = run_number(db, key)? else { return Ok(0) };
    let sql = "SELECT coalesce(sum(count), 0), coalesce(sum(length(body)), 0) FROM item WHERE run = ?1 AND attempt = ?2";
    let cost = |row: &Row<'_>| Ok(chunks::cost(uint(row.get(0)?)?, uint(row.get(1)?)?));
    Ok(one(db, sql, params![run, attempt.0], cost)?.unwrap_or(0))
}

fn run_number(db: &Connection, key: &RunKey) -> Result<Option<i64>, ReadError> {
    let sql = "SELECT n FROM run WHERE job = ?1 AND agent = ?2";
    one(db, sql, params![key.job.to_bytes(), key.agent.as_str()], |row| Ok(row.get(0)?))
}

pub(super) fn progress(db: &Connection, key: &RunKey) -> Result<Option<(Attempt, Progress)>, ReadError> {
    let sql =
        "SELECT attempt, body FROM progress WHERE run = (SELECT n FROM run WHERE job = ?1 AND agent = ?2)";
    one(db, sql, params![key.job.to_bytes(), key.agent.as_str()], |row| {
        let body = rows::value(row.get(1)?)?;
        let progress = spec::progress(&body).map_err(|error| rows::fields("progress", &error))?;
        Ok((Attempt(row.get(0)?), progress))
    })
}

const CALLBACKS: &str = "SELECT job, serial, kind, target, state, due_ms, tries, error FROM callback";

pub(super) fn callbacks(db: &Connection, job: JobId) -> Result<Vec<CallbackRecord>, ReadError> {
    let sql = format!("{CALLBACKS} WHERE job = ?1 ORDER BY serial");
    all(db, &sql, params![job.to_bytes()], rows::callback)
}

pub(super) fn events(db: &Connection, since: u64, limit: usize) -> Result<Vec<StoredEvent>, ReadError> {
    let sql = format!("SELECT {EVENT} FROM event WHERE n > ?1 ORDER BY n LIMIT ?2");
    all(db, &sql, params![int(since), count(limit)], event::event)
}

fn first_event(db: &Connection) -> Result<u64, ReadError> {
    let sql = "SELECT coalesce(min(n), 0) FROM event";
    uint(db.query_row(sql, [], |row| row.get::<_, i64>(0))?)
}

pub(super) fn counts(db: &Connection) -> Result<Counts, ReadError> {
    let number = |sql| db.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
    Ok(Counts {
        open_jobs: uint(number("SELECT count(*) FROM job WHERE ended_ms IS NULL")?)?,
        ended_jobs: uint(number("SELECT count(*) FROM job WHERE ended_ms IS NOT NULL")?)?,
        last_event: uint(number("SELECT coalesce(max(n), 0) FROM event")?)?,
    })
}

/// How many ended jobs there are of some, and which of them retention may delete first. A callback that [`rows::callback`] cannot read is
/// told to nobody, and keeps nothing.
pub(super) fn oldest(
    db: &Connection,
    whose: &Whose,
    limit: usize,
    counted: bool,
) -> Result<Oldest, ReadError> {
    // as in the index `job_ended_by`
    let (theirs, of): (_, Value) = match whose {
        Whose::Operators => ("(substr(submitter, 1, 6) = 'agent:') = ?1", 0.into()),
        Whose::Agents => ("(substr(submitter, 1, 6) = 'agent:') = ?1", 1.into()),
        Whose::Agent(agent) => ("submitter = ?1", agent.as_str().to_owned().into()),
    };
    let number = if counted {
        let sql = format!("SELECT count(*) FROM job WHERE {theirs} AND ended_ms IS NOT NULL");
        Some(uint(db.prepare_cached(&sql)?.query_row([&of], |row| row.get::<_, i64>(0))?)?)
    } else {
        None
    };
    let sql = format!(
        "SELECT id, ended_ms, length(agents) - length(replace(agents, ' ', '')) + 1 FROM job WHERE {theirs} AND \
        ended_ms IS NOT NULL AND NOT EXISTS \
        (SELECT 1 FROM callback WHERE callback.job = job.id AND callback.state = 'pending' \
        AND kind IN ('webhook', 'procedure') AND due_ms >= 0 AND tries BETWEEN 0 AND 4294967295 AND serial BETWEEN 0 AND 4294967295) \
        ORDER BY ended_ms, id LIMIT ?2"
    );
    Ok((number, all(db, &sql, params![of, count(limit)], ended_job)?))
}

fn ended_job(row: &Row<'_>) -> Result<EndedJob, ReadError> {
    let runs = usize::try_from(row.get::<_, i64>(2)?).unwrap_or_default();
    // a time that cannot be read keeps nothing, and no other job
    let ended_ms = row.get(1).ok().and_then(|ms: i64| u64::try_from(ms).ok()).unwrap_or(0);
    Ok(EndedJob { id: JobId::from_bytes(row.get(0)?), ended_ms, runs })
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Everybody who is shut out.
pub(super) fn denials(db: &Connection) -> Result<Vec<Denial>, ReadError> {
    all(db, DENIED, [], rows::denial)
}

fn all<T>(
    db: &Connection,
    sql: &str,
    parameters: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T, ReadError>,
) -> Result<Vec<T>, ReadError> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// What of the rows can be read, each of which begins with the id of a job. What cannot is told, and logged.
fn readable<T>(
    db: &Connection,
    sql: &str,
    parameters: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T, ReadError>,
    damaged: &mut impl FnMut(JobId),
) -> Result<Vec<T>, ReadError> {
    let rows = all(db, sql, parameters, |row| match read(row) {
        Ok(row) => Ok(Some(row)),
        Err(ReadError::Damaged { what }) => {
            let job = JobId::from_bytes(row.get(0)?);
            left_out(job, &what);
            damaged(job);
            Ok(None)
        }
        Err(error @ (ReadError::Failed(_) | ReadError::Stopped)) => Err(error),
    })?;
    Ok(rows.into_iter().flatten().collect())
}

/// Says of a row that cannot be read what becomes of it.
pub(super) fn left_out(job: JobId, what: &str) {
    error!(%job, what, "a row of the store cannot be read; it is left out. help: `rpctl jobs delete` deletes the job");
}

fn one<T>(
    db: &Connection,
    sql: &str,
    parameters: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T, ReadError>,
) -> Result<Option<T>, ReadError> {
    let mut statement = db.prepare_cached(sql)?;
    let found = statement.query_row(parameters, |row| Ok(read(row))).optional()?;
    found.transpose()
}
