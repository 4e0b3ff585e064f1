//! The bodies of `rp.job.*`: named arguments and answers of the requests between a manager and its agents.
//!
//! - [`offer`]: `rp.job.offer` and `rp.job.cancel`, from the manager.
//! - [`report`]: `rp.job.report`, items, progress and endings, from the agent.
//! - [`resume`]: `rp.job.resume`, what the agent's spool holds, first thing in each session.
//!
//! All are maps; unknown fields are ignored, known ones strictly typed. Lists have limits of their own, named beside
//! their types; a whole body is bounded by the frame.

pub mod offer;
pub mod report;
pub mod resume;

pub use offer::{Cancel, Offer, OfferAnswer, StateAnswer};
pub use report::{Ack, Report, ReportAnswer, RunReport};
pub use resume::{Act, Resume, ResumeAct, ResumeAnswer, ResumeRow};

use super::ids::{Attempt, Dno, JobId};
use crate::wire::{DecodeError, Fields, RawMap};

/// What an agent's spool holds of a run, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpoolState {
    /// On disk, not started yet.
    Received,
    /// About to be started, or just started.
    Starting,
    /// Started.
    Running,
    /// Ended, refused or cancelled: a report with the ending was or will be sent.
    Done,
    /// Nothing, and its dispatch number is used up: it never ran here and never will.
    Absent,
}

impl SpoolState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Received, Self::Starting, Self::Running, Self::Done, Self::Absent];

    /// The text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Absent => "absent",
        }
    }

    /// Reads the text.
    pub fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// Bytes a word out of a fixed list may have.
const MAX_WORD: usize = 32;

/// A word out of a fixed list.
fn word<T>(
    fields: &Fields<'_>,
    field: &'static str,
    wanted: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, DecodeError> {
    read(fields.text(field, MAX_WORD)?).ok_or(DecodeError::WrongType { field, wanted })
}

fn state(fields: &Fields<'_>) -> Result<SpoolState, DecodeError> {
    word(fields, "state", "a state of a spool", SpoolState::from_wire)
}

fn bin16(fields: &Fields<'_>, field: &'static str) -> Result<[u8; 16], DecodeError> {
    fields.opt_bin16(field)?.ok_or(DecodeError::Missing { field })
}

/// Which attempt a body is about: the job, the attempt, and the dispatch number that fences it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunRef {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: Attempt,
    /// The dispatch number.
    pub dno: Dno,
}

impl RunRef {
    pub(crate) fn read(fields: &Fields<'_>) -> Result<Self, DecodeError> {
        let (job, attempt) = job_attempt(fields)?;
        Ok(Self { job, attempt, dno: dno(fields)? })
    }

    pub(crate) fn write(self, map: RawMap) -> RawMap {
        write_job_attempt(map, self.job, self.attempt).uint("dno", self.dno.0)
    }
}

fn job_attempt(fields: &Fields<'_>) -> Result<(JobId, Attempt), DecodeError> {
    let wanted = "an integer from 1 to 65535";
    let attempt = u16::try_from(fields.u64("attempt")?).ok().filter(|attempt| *attempt > 0);
    let attempt = attempt.ok_or(DecodeError::WrongType { field: "attempt", wanted })?;
    Ok((JobId::from_bytes(bin16(fields, "job")?), Attempt(attempt)))
}

fn write_job_attempt(map: RawMap, job: JobId, attempt: Attempt) -> RawMap {
    map.bin("job", &job.to_bytes()).uint("attempt", u64::from(attempt.0))
}

/// A dispatch number that was given out: 0 is none.
fn dno(fields: &Fields<'_>) -> Result<Dno, DecodeError> {
    match fields.u64("dno")? {
        0 => Err(DecodeError::WrongType { field: "dno", wanted: "an integer from one on" }),
        dno => Ok(Dno(dno)),
    }
}
