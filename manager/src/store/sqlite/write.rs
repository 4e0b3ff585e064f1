//! Changes as SQL. Each may be applied twice with the same result.

use redpoll_common::job::{Callback, Ending, JobId, RunKey, RunState};
use redpoll_common::wire::Raw;
use redpoll_manager_core::chain::Chain;
use redpoll_manager_core::clock::Anchor;
use redpoll_manager_core::jobs::record::{
    AgentCounters, CallbackRecord, Change, EventRecord, JobRecord, QueueRecord, RunRecord,
};
use redpoll_manager_core::revoked::{Denial, Denied};
use rusqlite::{Connection, Params, params};

use super::rows::{callback_word, int, optional_int, summary_text};
use super::{chain, mask};
use crate::store::items;
use crate::store::spec;

/// Applies one change inside the transaction of its call.
pub(super) fn apply(db: &Connection, history: &mut Chain, change: &Change) -> rusqlite::Result<()> {
    match change {
        Change::JobSubmitted(job) => submitted(db, job),
        Change::JobReleased { job, at_ms } => {
            let sql = "UPDATE job SET released_ms = ?2 WHERE id = ?1";
            run(db, sql, params![job.to_bytes(), int(*at_ms)])
        }
        Change::RunChanged(record) => run_changed(db, record),
        Change::Items { key, attempt, from, items } => {
            for chunk in items::pack(*from, items) {
                let sql = "INSERT INTO item (run, attempt, first, count, body) \
                    SELECT n, ?3, ?4, ?5, ?6 FROM run WHERE job = ?1 AND agent = ?2 \
                    ON CONFLICT (run, attempt, first) DO NOTHING";
                let (job, agent) = place(key);
                let (first, count) = (int(chunk.first), int(chunk.count));
                run(db, sql, params![job, agent, attempt.0, first, count, chunk.body.as_ref()])?;
            }
            let sql = "UPDATE run SET items = ?4 WHERE job = ?1 AND agent = ?2 AND attempt = ?3";
            let (job, agent) = place(key);
            let next = from.saturating_add(u64::try_from(items.len()).unwrap_or(u64::MAX));
            run(db, sql, params![job, agent, attempt.0, int(next)])
        }
        Change::Progress { key, attempt, progress } => {
            let sql = "INSERT INTO progress (run, attempt, body) \
                SELECT n, ?3, ?4 FROM run WHERE job = ?1 AND agent = ?2 \
                ON CONFLICT (run) DO UPDATE SET attempt = excluded.attempt, body = excluded.body";
            let (job, agent) = place(key);
            run(db, sql, params![job, agent, attempt.0, spec::put_progress(progress).as_bytes()])
        }
        Change::AttemptEnded { key, attempt, outcome, fault, at_ms } => {
            let sql = "INSERT INTO attempt (run, attempt, outcome, fault, at_ms) \
                SELECT n, ?3, ?4, ?5, ?6 FROM run WHERE job = ?1 AND agent = ?2 \
                ON CONFLICT (run, attempt) DO UPDATE SET \
                outcome = excluded.outcome, fault = excluded.fault, at_ms = excluded.at_ms";
            let (job, agent) = place(key);
            let fault = fault.as_deref().map(spec::put_fault);
            run(db, sql, params![job, agent, attempt.0, outcome.as_str(), blob(fault.as_ref()), int(*at_ms)])
        }
        Change::QueueOpened(queue) => queue_opened(db, queue),
        Change::QueueClosed(key) => run(db, "DELETE FROM queue WHERE key = ?1", params![key.as_bytes()]),
        Change::AgentCounters(counters) => agent_counters(db, counters),
        Change::JobEnded { job, ended_ms, summary } => {
            let sql = "UPDATE job SET ended_ms = ?2, outcome = ?3, summary = ?4 WHERE id = ?1";
            let outcome = summary.outcome().map(|outcome| outcome.as_str());
            run(db, sql, params![job.to_bytes(), int(*ended_ms), outcome, summary_text(summary)])
        }
        Change::ArgumentsMasked(job) => mask::arguments(db, *job),
        Change::JobRedacted(job) => {
            let sql = "UPDATE job SET rest = ?2 WHERE id = ?1";
            run(
                db,
                sql,
                params![job.id.to_bytes(), spec::rest(&job.spec, &job.redact, &job.admin).as_bytes()],
            )
        }
        Change::JobDeleted(job) => deleted(db, *job),
        Change::Event(event) => happened(db, history, event),
        Change::EventsPruned { below } => chain::prune(db, *below),
        Change::CallbackChanged(callback) => callback_changed(db, callback),
        Change::Denied(denial) => denied(db, denial),
        Change::Allowed(denied) => {
            let sql = "DELETE FROM denied WHERE role = ?1 AND id = ?2 AND certificate = ?3";
            let (role, id, certificate) = key_of(denied);
            run(db, sql, params![role, id, certificate])
        }
        Change::Clock(anchor) => anchored(db, *anchor),
    }
}

fn run(db: &Connection, sql: &str, parameters: impl Params) -> rusqlite::Result<()> {
    db.prepare_cached(sql)?.execute(parameters).map(|_rows| ())
}

fn place(key: &RunKey) -> ([u8; 16], &str) {
    (key.job.to_bytes(), key.agent.as_str())
}

fn blob(value: Option<&Raw>) -> Option<&[u8]> {
    value.map(Raw::as_bytes)
}

fn submitted(db: &Connection, job: &JobRecord) -> rusqlite::Result<()> {
    let sql = "INSERT INTO job (id, submitter, key, digest, procedure, queue, idempotent, submitted_ms, \
        released_ms, ended_ms, outcome, summary, agents, rest, args, kwargs, info) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17) \
        ON CONFLICT (id) DO NOTHING";
    let spec = &job.spec;
    let agents: Vec<_> = job.agents.iter().map(|agent| agent.as_str()).collect();
    let rest = spec::rest(spec, &job.redact, &job.admin);
    let parameters = params![
        job.id.to_bytes(),
        job.submitter.as_str(),
        job.key(),
        job.digest,
        spec.procedure,
        spec.queue.as_ref().map(|queue| queue.name.as_bytes()),
        job.idempotent,
        int(job.submitted_ms),
        optional_int(job.released_ms),
        optional_int(job.ended_ms),
        job.summary.and_then(|summary| summary.outcome()).map(|outcome| outcome.as_str()),
        job.summary.as_ref().map(summary_text),
        // names have no spaces
        agents.join(" "),
        rest.as_bytes(),
        spec.args.as_bytes(),
        spec.kwargs.as_bytes(),
        spec.info.as_bytes(),
    ];
    run(db, sql, parameters)
}

fn run_changed(db: &Connection, record: &RunRecord) -> rusqlite::Result<()> {
    let sql = "INSERT INTO run (job, agent, alive, place, state, attempt, dno, queued_ms, offered_ms, accepted_ms, \
        started_ms, doubt_ms, ended_ms, not_before_ms, items, cancel, corrected, outcome, started, ending_items, \
        duration_ms, fault, result, earlier, put_back) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, \
        ?22, ?23, ?24, ?25) \
        ON CONFLICT (job, agent) DO UPDATE SET (alive, place, state, attempt, dno, queued_ms, offered_ms, \
        accepted_ms, started_ms, doubt_ms, ended_ms, not_before_ms, items, cancel, corrected, outcome, started, \
        ending_items, duration_ms, fault, result, earlier, put_back) = \
        (?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, \
        ?25)";
    let ending = ending(&record.state);
    let fault = ending.and_then(|ending| ending.fault.as_ref()).map(spec::put_fault);
    let (job, agent) = place(&record.key);
    let parameters = params![
        job,
        agent,
        record.is_alive(),
        int(record.seq),
        record.state.word(),
        record.attempt.0,
        int(record.dno.0),
        optional_int(record.queued_ms),
        optional_int(record.offered_ms),
        optional_int(record.accepted_ms),
        optional_int(record.started_ms),
        optional_int(record.doubt_ms),
        optional_int(record.ended_ms),
        int(record.not_before_ms),
        int(record.items),
        record.cancel.map(|cancel| cancel.grace_ms.map_or(-1, i64::from)),
        record.corrected,
        ending.map(|ending| ending.outcome.as_str()),
        ending.and_then(|ending| ending.started),
        ending.map(|ending| int(ending.items)),
        ending.and_then(|ending| optional_int(ending.duration_ms)),
        blob(fault.as_ref()),
        blob(ending.and_then(|ending| ending.result.as_ref())),
        record.earlier.map(|outcome| outcome.as_str()),
        record.put_back,
    ];
    run(db, sql, parameters)
}

fn ending(state: &RunState) -> Option<&Ending> {
    match state {
        RunState::Ended(ending) => Some(ending),
        RunState::Held
        | RunState::Queued
        | RunState::Offered(..)
        | RunState::Accepted(..)
        | RunState::Running(..)
        | RunState::InDoubt(..) => None,
    }
}

fn queue_opened(db: &Connection, queue: &QueueRecord) -> rusqlite::Result<()> {
    let sql = "INSERT INTO queue (key, concurrency, opened_ms) VALUES (?1, ?2, ?3) \
        ON CONFLICT (key) DO UPDATE SET concurrency = excluded.concurrency, opened_ms = excluded.opened_ms";
    run(db, sql, params![queue.key.as_bytes(), queue.concurrency, int(queue.opened_ms)])
}

fn agent_counters(db: &Connection, counters: &AgentCounters) -> rusqlite::Result<()> {
    let sql = "INSERT INTO agent (agent, spool, last_dno, seen_dno) VALUES (?1, ?2, ?3, ?4) \
        ON CONFLICT (agent) DO UPDATE SET \
        spool = excluded.spool, last_dno = excluded.last_dno, seen_dno = excluded.seen_dno";
    let (last, seen) = (int(counters.last_dno.0), int(counters.seen_dno.0));
    run(db, sql, params![counters.agent.as_str(), counters.spool, last, seen])
}

fn deleted(db: &Connection, job: JobId) -> rusqlite::Result<()> {
    for sql in [
        "DELETE FROM item WHERE run IN (SELECT n FROM run WHERE job = ?1)",
        "DELETE FROM progress WHERE run IN (SELECT n FROM run WHERE job = ?1)",
        "DELETE FROM attempt WHERE run IN (SELECT n FROM run WHERE job = ?1)",
        "DELETE FROM run WHERE job = ?1",
        "DELETE FROM callback WHERE job = ?1",
        "DELETE FROM job WHERE id = ?1",
    ] {
        run(db, sql, params![job.to_bytes()])?;
    }
    Ok(())
}

fn happened(db: &Connection, history: &mut Chain, event: &EventRecord) -> rusqlite::Result<()> {
    let sql = "INSERT INTO event (n, at_ms, kind, job, agent, queue, attempt, outcome, detail, name, data, hash) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT (n) DO NOTHING";
    let Some(hash) = history.add(event) else { return Ok(()) };
    let parameters = params![
        int(event.n),
        int(event.at_ms),
        event.kind.as_str(),
        event.job.map(JobId::to_bytes),
        event.agent.as_ref().map(|agent| agent.as_str()),
        event.queue.as_ref().map(|queue| queue.as_bytes()),
        event.attempt.map(|attempt| attempt.0),
        event.outcome.map(|outcome| outcome.as_str()),
        event.detail,
        event.custom.as_ref().map(|custom| custom.name.as_str()),
        event.custom.as_ref().map(|custom| custom.data.as_bytes()),
        hash,
    ];
    run(db, sql, parameters)
}

fn callback_changed(db: &Connection, callback: &CallbackRecord) -> rusqlite::Result<()> {
    let sql = "INSERT INTO callback (job, serial, kind, target, state, due_ms, tries, error) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
        ON CONFLICT (job, serial) DO UPDATE SET kind = excluded.kind, target = excluded.target, \
        state = excluded.state, due_ms = excluded.due_ms, tries = excluded.tries, error = excluded.error";
    let (kind, target) = match &callback.target {
        Callback::Webhook(url) => ("webhook", url),
        Callback::Procedure(name) => ("procedure", name),
    };
    let parameters = params![
        callback.job.to_bytes(),
        callback.serial,
        kind,
        target,
        callback_word(callback.state),
        int(callback.due_ms),
        callback.tries,
        callback.error,
    ];
    run(db, sql, parameters)
}

fn denied(db: &Connection, denial: &Denial) -> rusqlite::Result<()> {
    let sql = "INSERT INTO denied (role, id, certificate, at_ms, revoked_by, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
        ON CONFLICT (role, id, certificate) DO UPDATE SET \
        at_ms = excluded.at_ms, revoked_by = excluded.revoked_by, reason = excluded.reason";
    let (role, id, certificate) = key_of(&denial.denied);
    let parameters =
        params![role, id, certificate, int(denial.at_ms), denial.by.as_str(), denial.reason.as_deref()];
    run(db, sql, parameters)
}

fn key_of(denied: &Denied) -> (&'static str, &str, &str) {
    let certificate = denied.certificate.as_ref().map_or("", |name| name.as_str());
    (denied.role.as_str(), denied.id.as_str(), certificate)
}

fn anchored(db: &Connection, anchor: Anchor) -> rusqlite::Result<()> {
    let sql = "INSERT INTO clock (id, boot, base_ms, ahead_ms) VALUES (1, ?1, ?2, ?3) \
        ON CONFLICT (id) DO UPDATE SET boot = excluded.boot, base_ms = excluded.base_ms, ahead_ms = excluded.ahead_ms";
    run(db, sql, params![anchor.boot, anchor.base_ms, anchor.ahead_ms])?;
    run(db, CLOCK_BOOT, [])?;
    let sql = "INSERT INTO clock_boot (id, boot, ahead_ms) VALUES (1, ?1, ?2) \
        ON CONFLICT (id) DO UPDATE SET boot = excluded.boot, ahead_ms = excluded.ahead_ms";
    run(db, sql, params![anchor.boot, anchor.ahead_at_boot_ms])
}

/// How far the wall clock was ahead at a boot. It is no step of the migrations: a build that does not know of it uses the database as
/// well, and what it leaves here is told from ours by the name of the boot.
const CLOCK_BOOT: &str = "CREATE TABLE IF NOT EXISTS clock_boot \
    (id INTEGER PRIMARY KEY CHECK (id = 1), boot BLOB, ahead_ms INTEGER NOT NULL) STRICT";
