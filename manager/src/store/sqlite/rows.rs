//! Rows as records. What a disk holds is not trusted: anything unexpected is [`ReadError::Damaged`], never a panic.

use std::sync::Arc;

use bytes::Bytes;
use redpoll_common::identity::Role;
use redpoll_common::ids::PeerId;
use redpoll_common::job::{
    Attempt, Callback, Dno, Ending, JobId, Outcome, QueueKey, RunKey, RunState, Submitter,
};
use redpoll_common::wire::{DecodeError, Fault, Raw};
use redpoll_manager_core::jobs::record::{
    AgentCounters, CallbackRecord, CallbackState, Cancelling, JobRecord, QueueRecord, RunRecord, Summary,
};
use redpoll_manager_core::revoked::{CertificateName, Denial, Denied};
use rusqlite::Row;
use rusqlite::types::FromSql;

use crate::store::{AttemptRecord, ReadError, spec};

/// What [`job`] reads, in its order.
pub(super) const JOB: &str = "id, submitter, key, digest, procedure, queue, idempotent, submitted_ms, \
    released_ms, ended_ms, summary, agents, rest, args, kwargs, info";

pub(super) fn job(row: &Row<'_>) -> Result<JobRecord, ReadError> {
    let agents: String = row.get(11)?;
    let rest = value(row.get(12)?)?;
    let redact = spec::redact(&rest).map_err(|error| fields("job.rest", &error))?;
    let admin = spec::admin(&rest).map_err(|error| fields("job.rest", &error))?;
    let spec = spec::spec(spec::Parts {
        procedure: row.get(4)?,
        queue: optional(row, 5, |name: Vec<u8>| Ok(QueueKey::from_stored(&name)))?,
        key: row.get(2)?,
        rest,
        args: value(row.get(13)?)?,
        kwargs: value(row.get(14)?)?,
        info: value(row.get(15)?)?,
    });
    Ok(JobRecord {
        id: JobId::from_bytes(row.get(0)?),
        submitter: submitter(&row.get::<_, String>(1)?)?,
        digest: row.get(3)?,
        spec: Arc::new(spec.map_err(|error| fields("job.rest", &error))?),
        agents: agents.split(' ').map(peer).collect::<Result<_, _>>()?,
        idempotent: row.get(6)?,
        admin: admin.into(),
        redact: redact.into(),
        submitted_ms: uint(row.get(7)?)?,
        released_ms: optional(row, 8, uint)?,
        ended_ms: optional(row, 9, uint)?,
        summary: optional(row, 10, |text: String| summary(&text))?,
    })
}

/// What [`run`] reads, in its order; the fault and the result come last, or NULL where they are not wanted.
pub(super) const RUN: &str = "job, agent, place, state, attempt, dno, queued_ms, offered_ms, accepted_ms, \
    started_ms, doubt_ms, ended_ms, not_before_ms, items, cancel, corrected, outcome, started, ending_items, \
    duration_ms, earlier, put_back";

pub(super) fn run(row: &Row<'_>) -> Result<RunRecord, ReadError> {
    let (attempt, dno) = (Attempt(row.get(4)?), Dno(uint(row.get(5)?)?));
    let state = match row.get::<_, String>(3)?.as_str() {
        "held" => RunState::Held,
        "queued" => RunState::Queued,
        "offered" => RunState::Offered(attempt, dno),
        "accepted" => RunState::Accepted(attempt, dno),
        "running" => RunState::Running(attempt, dno),
        "in_doubt" => RunState::InDoubt(attempt, dno),
        "ended" => RunState::Ended(Box::new(ending(row)?)),
        other => return Err(damaged(format!("the state {other:?}"))),
    };
    let cancel = row.get::<_, Option<i64>>(14)?;
    Ok(RunRecord {
        key: RunKey { job: JobId::from_bytes(row.get(0)?), agent: peer(&row.get::<_, String>(1)?)? },
        seq: uint(row.get(2)?)?,
        state,
        attempt,
        dno,
        queued_ms: optional(row, 6, uint)?,
        offered_ms: optional(row, 7, uint)?,
        accepted_ms: optional(row, 8, uint)?,
        started_ms: optional(row, 9, uint)?,
        doubt_ms: optional(row, 10, uint)?,
        ended_ms: optional(row, 11, uint)?,
        not_before_ms: uint(row.get(12)?)?,
        items: uint(row.get(13)?)?,
        // -1 is no grace
        cancel: cancel.map(|grace| Cancelling { grace_ms: u32::try_from(grace).ok() }),
        corrected: row.get(15)?,
        earlier: optional(row, 20, |word: String| outcome(&word))?,
        put_back: row.get(21)?,
    })
}

fn ending(row: &Row<'_>) -> Result<Ending, ReadError> {
    Ok(Ending {
        outcome: outcome(&row.get::<_, String>(16)?)?,
        started: row.get(17)?,
        items: uint(row.get(18)?)?,
        duration_ms: optional(row, 19, uint)?,
        fault: optional(row, 22, fault)?,
        result: optional(row, 23, value)?,
    })
}

/// `outcome, count`
pub(super) fn tally(row: &Row<'_>) -> Result<(Option<Outcome>, u32), ReadError> {
    Ok((optional(row, 0, |word: String| outcome(&word))?, row.get(1)?))
}

/// `attempt, outcome, fault, at_ms`
pub(super) fn attempt(row: &Row<'_>) -> Result<AttemptRecord, ReadError> {
    Ok(AttemptRecord {
        attempt: Attempt(row.get(0)?),
        outcome: outcome(&row.get::<_, String>(1)?)?,
        fault: optional(row, 2, fault)?,
        at_ms: uint(row.get(3)?)?,
    })
}

/// `key, concurrency, opened_ms`
pub(super) fn queue(row: &Row<'_>) -> Result<QueueRecord, ReadError> {
    Ok(QueueRecord {
        key: QueueKey::from_stored(&row.get::<_, Vec<u8>>(0)?),
        concurrency: row.get(1)?,
        opened_ms: uint(row.get(2)?)?,
    })
}

/// `agent, spool, last_dno, seen_dno`
pub(super) fn agent(row: &Row<'_>) -> Result<AgentCounters, ReadError> {
    Ok(AgentCounters {
        agent: peer(&row.get::<_, String>(0)?)?,
        spool: row.get(1)?,
        last_dno: Dno(uint(row.get(2)?)?),
        seen_dno: Dno(uint(row.get(3)?)?),
    })
}

/// `job, serial, kind, target, state, due_ms, tries, error`
pub(super) fn callback(row: &Row<'_>) -> Result<CallbackRecord, ReadError> {
    let (kind, target): (String, String) = (row.get(2)?, row.get(3)?);
    let state: String = row.get(4)?;
    Ok(CallbackRecord {
        job: JobId::from_bytes(row.get(0)?),
        serial: row.get(1)?,
        target: match kind.as_str() {
            "webhook" => Callback::Webhook(target),
            "procedure" => Callback::Procedure(target),
            other => return Err(damaged(format!("the callback {other:?}"))),
        },
        state: [CallbackState::Pending, CallbackState::Delivered, CallbackState::Abandoned]
            .into_iter()
            .find(|known| callback_word(*known) == state)
            .ok_or_else(|| damaged(format!("the callback's state {state:?}")))?,
        due_ms: uint(row.get(5)?)?,
        tries: row.get(6)?,
        error: row.get(7)?,
    })
}

pub(super) fn callback_word(state: CallbackState) -> &'static str {
    match state {
        CallbackState::Pending => "pending",
        CallbackState::Delivered => "delivered",
        CallbackState::Abandoned => "abandoned",
    }
}

/// The counts, `open` first, with spaces between.
pub(super) fn denial(row: &Row<'_>) -> Result<Denial, ReadError> {
    let role: String = row.get(0)?;
    let role = Role::ALL.into_iter().find(|known| known.as_str() == role);
    let certificate: String = row.get(2)?;
    let certificate = match certificate.as_str() {
        "" => None,
        name => Some(CertificateName::parse(name).map_err(|_no_name| damaged("a certificate's name"))?),
    };
    let denied = Denied {
        role: role.ok_or_else(|| damaged("a role"))?,
        id: peer(&row.get::<_, String>(1)?)?,
        certificate,
    };
    let (at_ms, by) = (uint(row.get(3)?)?, submitter(&row.get::<_, String>(4)?)?);
    Ok(Denial { denied, at_ms, by, reason: row.get(5)? })
}

pub(super) fn summary_text(summary: &Summary) -> String {
    let counts = std::iter::once(&summary.open).chain(&summary.ended);
    counts.map(u32::to_string).collect::<Vec<_>>().join(" ")
}

fn summary(text: &str) -> Result<Summary, ReadError> {
    let counts = text.split(' ').map(str::parse).collect::<Result<Vec<u32>, _>>().ok();
    let counts = counts.and_then(|counts| <[u32; 8]>::try_from(counts).ok());
    let [open, ended @ ..] = counts.ok_or_else(|| damaged("a job's summary"))?;
    Ok(Summary { open, ended })
}

/// How numbers are stored. Ours are far from the end of 63 bits.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn optional_int(number: Option<u64>) -> Option<i64> {
    number.map(int)
}

pub(super) fn uint(number: i64) -> Result<u64, ReadError> {
    u64::try_from(number).map_err(|_negative| damaged("a negative number"))
}

pub(super) fn value(bytes: Vec<u8>) -> Result<Raw, ReadError> {
    Raw::parse(Bytes::from(bytes)).map_err(|_not_one| damaged("a value"))
}

fn fault(bytes: Vec<u8>) -> Result<Fault, ReadError> {
    spec::fault(&value(bytes)?).map_err(|error| fields("a fault", &error))
}

fn outcome(word: &str) -> Result<Outcome, ReadError> {
    Outcome::from_wire(word).ok_or_else(|| damaged(format!("the outcome {word:?}")))
}

pub(super) fn peer(name: &str) -> Result<PeerId, ReadError> {
    PeerId::parse(name).map_err(|_not_a_name| damaged("a name"))
}

fn submitter(text: &str) -> Result<Submitter, ReadError> {
    Submitter::parse(text).map_err(|_not_a_name| damaged("a submitter"))
}

fn optional<T, U: FromSql>(
    row: &Row<'_>,
    column: usize,
    read: impl FnOnce(U) -> Result<T, ReadError>,
) -> Result<Option<T>, ReadError> {
    row.get::<_, Option<U>>(column)?.map(read).transpose()
}

pub(super) fn fields(what: &str, error: &DecodeError) -> ReadError {
    damaged(format!("{what} ({error})"))
}

fn damaged(what: impl Into<String>) -> ReadError {
    ReadError::Damaged { what: what.into() }
}
