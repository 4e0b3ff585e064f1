//! `rp.job.resume`.

use super::{RunRef, SpoolState, bin16, job_attempt, state, word, write_job_attempt};
use crate::job::ids::{Attempt, Dno, JobId};
use crate::wire::{DecodeError, Fields, Raw, RawMap};

/// Runs that one page may list.
pub const MAX_RESUME_ROWS: usize = 256;

/// The arguments of `rp.job.resume`: one page of what the spool holds. Sent first thing in each session; the manager offers
/// nothing before it has answered the last page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// Which spool it is; another one than before means that the older one is lost.
    pub spool: [u8; 16],
    /// The highest dispatch number the spool has seen.
    pub max_dno: Dno,
    /// No page follows.
    pub last: bool,
    /// Runs that have not ended, or whose ending the manager has not acknowledged, by dispatch number.
    pub jobs: Vec<ResumeRow>,
}

/// One run of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResumeRow {
    /// Job, attempt and dispatch number.
    pub run: RunRef,
    /// Where it is.
    pub state: SpoolState,
    /// The number that its next item will have.
    pub next_n: u64,
    /// Items below this number were acknowledged.
    pub acked_n: u64,
}

impl Resume {
    /// Reads the named arguments of a request.
    ///
    /// # Errors
    /// [`DecodeError`] when a field is missing, has another type or exceeds its limit.
    pub fn read(kwargs: &Raw) -> Result<Self, DecodeError> {
        let fields = Fields::of(kwargs)?;
        let row = |fields: &Fields<'_>| {
            let (run, state) = (RunRef::read(fields)?, state(fields)?);
            Ok(ResumeRow { run, state, next_n: fields.u64("next_n")?, acked_n: fields.u64("acked_n")? })
        };
        Ok(Self {
            spool: bin16(&fields, "spool")?,
            max_dno: Dno(fields.u64("max_dno")?),
            last: fields.bool("last")?,
            jobs: fields.maps("jobs", MAX_RESUME_ROWS, row)?,
        })
    }

    /// Writes them as the named arguments of a request.
    pub fn write(&self) -> Raw {
        let row = |map: RawMap, row: &ResumeRow| {
            let map = row.run.write(map).text("state", row.state.as_str());
            map.uint("next_n", row.next_n).uint("acked_n", row.acked_n)
        };
        RawMap::with_capacity(96 * self.jobs.len() + 64)
            .bin("spool", &self.spool)
            .uint("max_dno", self.max_dno.0)
            .bool("last", self.last)
            .maps("jobs", &self.jobs, row)
            .finish()
    }
}

/// What the manager wants done with a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Go on: start it if it was received, report it if it is done.
    Continue,
    /// Go on, and send items from this number.
    SendFrom(u64),
    /// End it, as if cancelled.
    Kill {
        /// Milliseconds between TERM and KILL, where somebody said so.
        grace_ms: Option<u64>,
    },
    /// Forget it; end it first if it runs.
    Drop,
}

/// The wish for one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResumeAct {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: Attempt,
    /// The wish.
    pub act: Act,
}

/// The answer of `rp.job.resume`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeAnswer {
    /// Per run of the page.
    pub jobs: Vec<ResumeAct>,
    /// What the spool remembers of ended runs below this number may go.
    pub purge_below_dno: Dno,
}

impl ResumeAnswer {
    /// Reads the answer.
    ///
    /// # Errors
    /// [`DecodeError`] when a field is missing, has another type or exceeds its limit.
    pub fn read(data: &Raw) -> Result<Self, DecodeError> {
        let fields = Fields::of(data)?;
        Ok(Self {
            jobs: fields.maps("jobs", MAX_RESUME_ROWS, read_act)?,
            purge_below_dno: Dno(fields.u64("purge_below_dno")?),
        })
    }

    /// Writes the answer.
    pub fn write(&self) -> Raw {
        RawMap::with_capacity(64 * self.jobs.len() + 32)
            .maps("jobs", &self.jobs, write_act)
            .uint("purge_below_dno", self.purge_below_dno.0)
            .finish()
    }
}

fn read_act(fields: &Fields<'_>) -> Result<ResumeAct, DecodeError> {
    let (job, attempt) = job_attempt(fields)?;
    let (from, grace_ms) = (fields.opt_u64("from")?, fields.opt_u64("grace_ms")?);
    let act = word(fields, "act", "continue, send_from, kill or drop", |word| match word {
        "continue" => Some(Act::Continue),
        "send_from" => Some(Act::SendFrom(from.unwrap_or(0))),
        "kill" => Some(Act::Kill { grace_ms }),
        "drop" => Some(Act::Drop),
        _ => None,
    })?;
    match (act, from) {
        (Act::SendFrom(_), None) => Err(DecodeError::Missing { field: "from" }),
        (act, _) => Ok(ResumeAct { job, attempt, act }),
    }
}

fn write_act(map: RawMap, wish: &ResumeAct) -> RawMap {
    let map = write_job_attempt(map, wish.job, wish.attempt);
    match wish.act {
        Act::Continue => map.text("act", "continue"),
        Act::SendFrom(from) => map.text("act", "send_from").uint("from", from),
        Act::Kill { grace_ms } => map.text("act", "kill").opt_uint("grace_ms", grace_ms),
        Act::Drop => map.text("act", "drop"),
    }
}
