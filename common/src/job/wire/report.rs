//! `rp.job.report`.

use super::{MAX_WORD, RunRef, job_attempt, word, write_job_attempt};
use crate::job::ids::{Attempt, JobId};
use crate::job::item::{Item, ItemKind, dropped};
use crate::job::run::{Ending, Outcome};
use crate::job::secret::MAX_SECRET_PATHS;
use crate::wire::codec::read_fault;
use crate::wire::encode::write_fault;
use crate::wire::flight::Progress;
use crate::wire::{DecodeError, Fault, FaultCode, Fields, Raw, RawMap};

/// Runs that one report may tell about.
pub const MAX_REPORTS: usize = 256;
/// Items that one report may carry of one run.
pub const MAX_REPORT_ITEMS: usize = 4096;

/// Paths that one report may carry of one run: those of a procedure lead into positional and named arguments.
pub const MAX_REPORT_REDACT: usize = MAX_SECRET_PATHS;
/// Bytes that one such path may have.
pub const MAX_REPORT_PATH: usize = 64 * 1024;

/// The arguments of `rp.job.report`: what is new about some runs, in the order it happened.
///
/// Everything in it is on the agent's disk. The manager answers only after it has committed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Per run; the same run stands in it once.
    pub reports: Vec<RunReport>,
}

/// What is new about one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunReport {
    /// Job, attempt and dispatch number.
    pub run: RunRef,
    /// Milliseconds since it was started; the first report of a started run has it.
    pub started_ms_ago: Option<u64>,
    /// Items without gaps. Those that the manager has already are repetitions; a gap makes it ask for what is missing, with
    /// the `next_n` of its answer.
    pub items: Vec<Item>,
    /// The newest progress.
    pub progress: Option<Progress>,
    /// How it ended, after its last item.
    pub done: Option<Ending>,
    /// How it ended is a word that only a newer version has: that of `done` stands for it, and this is not written.
    pub newer_outcome: bool,
    /// With the end: paths into the run's arguments that nobody may see, each below `args.` or `kwargs.`. Those that the manager
    /// knew by itself are repetitions.
    pub redact: Vec<String>,
}

impl Report {
    /// Reads the named arguments of a request.
    ///
    /// # Errors
    /// [`DecodeError`] when a field is missing, has another type or exceeds its limit.
    pub fn read(kwargs: &Raw) -> Result<Self, DecodeError> {
        let fields = Fields::of(kwargs)?;
        Ok(Self { reports: fields.maps("reports", MAX_REPORTS, RunReport::read)? })
    }

    /// Writes them as the named arguments of a request.
    pub fn write(&self) -> Raw {
        let size =
            |report: &RunReport| report.items.iter().map(|item| item.data.len() + 32).sum::<usize>() + 256;
        let room = self.reports.iter().map(size).sum();
        let map = RawMap::with_capacity(room);
        map.maps("reports", &self.reports, |map, report| report.write(map)).finish()
    }
}

impl RunReport {
    /// A report about a run with nothing in it yet.
    pub fn about(run: RunRef) -> Self {
        let (items, redact) = (Vec::new(), Vec::new());
        Self { run, started_ms_ago: None, items, progress: None, done: None, newer_outcome: false, redact }
    }

    fn read(fields: &Fields<'_>) -> Result<Self, DecodeError> {
        let done = fields.opt_fields("done")?.map(|fields| read_told_ending(&fields)).transpose()?;
        let (done, newer_outcome) = done.map_or((None, false), |(done, is_newer)| (Some(done), is_newer));
        Ok(Self {
            run: RunRef::read(fields)?,
            started_ms_ago: fields.opt_u64("started_ms_ago")?,
            items: fields.maps("items", MAX_REPORT_ITEMS, read_told_item)?,
            progress: fields.opt_fields("progress")?.map(|fields| read_progress(&fields)).transpose()?,
            done,
            newer_outcome,
            redact: fields.texts("redact", MAX_REPORT_REDACT, MAX_REPORT_PATH)?,
        })
    }

    fn write(&self, map: RawMap) -> RawMap {
        let map = self.run.write(map).opt_uint("started_ms_ago", self.started_ms_ago);
        let map = map.opt_maps("items", &self.items, write_item);
        let map = match &self.progress {
            Some(progress) => map.map("progress", |map| write_progress(map, progress)),
            None => map,
        };
        let map = match &self.done {
            Some(ending) => map.map("done", |map| write_ending(map, ending)),
            None => map,
        };
        if self.redact.is_empty() { map } else { map.texts("redact", &self.redact) }
    }
}

/// The fields of an item, as stores keep them.
pub(crate) fn read_item(fields: &Fields<'_>) -> Result<Item, DecodeError> {
    Ok(Item {
        n: fields.u64("n")?,
        kind: word(fields, "kind", "a kind of item", ItemKind::from_wire)?,
        data: fields.raw("data")?,
    })
}

/// An item as a peer tells it. Of a kind that only a newer version has it is marked as dropped: it would hold up all that it comes with.
pub(crate) fn read_told_item(fields: &Fields<'_>) -> Result<Item, DecodeError> {
    let (n, word, data) = (fields.u64("n")?, fields.text("kind", MAX_WORD)?, fields.raw("data")?);
    Ok(match ItemKind::from_wire(word) {
        Some(kind) => Item { n, kind, data },
        None => {
            let bytes = u64::try_from(data.content_len()).unwrap_or(u64::MAX);
            Item { n, kind: ItemKind::Truncated, data: dropped(word, bytes) }
        }
    })
}

/// The fields of an item.
pub(crate) fn write_item(map: RawMap, item: &Item) -> RawMap {
    map.uint("n", item.n).text("kind", item.kind.as_str()).raw("data", &item.data)
}

fn read_progress(fields: &Fields<'_>) -> Result<Progress, DecodeError> {
    Ok(Progress {
        completed: fields.u64("completed")?,
        total: fields.opt_u64("total")?,
        details: fields.opt_raw("details")?.unwrap_or_else(Raw::nil),
    })
}

fn write_progress(map: RawMap, progress: &Progress) -> RawMap {
    map.uint("completed", progress.completed)
        .opt_uint("total", progress.total)
        .opt_raw("details", Some(&progress.details).filter(|details| !details.is_nil()))
}

/// An ending as an agent tells it, and whether its outcome is one that only a newer version has. Then the run has ended, and how is unknown
/// here: it would hold up its own reports, and those of others, for ever.
pub(crate) fn read_told_ending(fields: &Fields<'_>) -> Result<(Ending, bool), DecodeError> {
    let word = fields.text("outcome", MAX_WORD)?;
    if let Some(outcome) = Outcome::from_wire(word) {
        return Ok((ending(fields, outcome)?, false));
    }
    let mut done = ending(fields, Outcome::Unknown)?;
    let said = done.fault.map_or_else(String::new, |fault| format!("; its agent says: {}", fault.message));
    let text = format!("it ended as {word}, which this manager does not know{said}");
    (done.fault, done.result) = (Some(Fault::new(FaultCode::Internal, text)), None);
    // an outcome that is unknown does not say that it never began
    done.started = done.started.filter(|started| *started);
    Ok((done, true))
}

/// The fields of an ending, also as stores keep them.
///
/// # Errors
/// [`DecodeError`] when a field is missing or has another type.
pub fn read_ending(fields: &Fields<'_>) -> Result<Ending, DecodeError> {
    let outcome = word(fields, "outcome", "an outcome", Outcome::from_wire)?;
    ending(fields, outcome)
}

fn ending(fields: &Fields<'_>, outcome: Outcome) -> Result<Ending, DecodeError> {
    let succeeded_with_nil = |outcome| (outcome == Outcome::Succeeded).then(Raw::nil);
    Ok(Ending {
        outcome,
        started: fields.opt_bool("started")?,
        result: fields.opt_raw("result")?.or_else(|| succeeded_with_nil(outcome)),
        fault: fields.opt_fields("fault")?.map(|fields| read_fault(&fields)).transpose()?,
        items: fields.u64("items")?,
        duration_ms: fields.opt_u64("duration_ms")?,
    })
}

/// Writes the fields of an ending.
pub fn write_ending(map: RawMap, ending: &Ending) -> RawMap {
    let map = map.text("outcome", ending.outcome.as_str());
    let map = match ending.started {
        Some(started) => map.bool("started", started),
        None => map,
    };
    let map = map.opt_raw("result", ending.result.as_ref());
    let map = match &ending.fault {
        Some(fault) => map.map("fault", |map| write_fault(map, fault)),
        None => map,
    };
    map.uint("items", ending.items).opt_uint("duration_ms", ending.duration_ms)
}

/// The answer of `rp.job.report`, given after the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportAnswer {
    /// Per run that the report was about.
    pub acks: Vec<Ack>,
}

/// What the manager has of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: Attempt,
    /// It has every item below this number.
    pub next_n: u64,
    /// It has the ending, or does not want it any more: the agent may forget the run.
    pub done: bool,
    /// The attempt is not in force any more: the agent ends it.
    pub stop: bool,
}

impl ReportAnswer {
    /// Reads the answer.
    ///
    /// # Errors
    /// [`DecodeError`] when a field is missing, has another type or exceeds its limit.
    pub fn read(data: &Raw) -> Result<Self, DecodeError> {
        let fields = Fields::of(data)?;
        let ack = |fields: &Fields<'_>| {
            let (job, attempt) = job_attempt(fields)?;
            let stop = fields.opt_bool("stop")?.unwrap_or(false);
            Ok(Ack { job, attempt, next_n: fields.u64("next_n")?, done: fields.bool("done")?, stop })
        };
        Ok(Self { acks: fields.maps("acks", MAX_REPORTS, ack)? })
    }

    /// Writes the answer.
    pub fn write(&self) -> Raw {
        let write = |map: RawMap, ack: &Ack| {
            let map = write_job_attempt(map, ack.job, ack.attempt).uint("next_n", ack.next_n);
            let map = map.bool("done", ack.done);
            if ack.stop { map.bool("stop", true) } else { map }
        };
        RawMap::with_capacity(64 * self.acks.len() + 16).maps("acks", &self.acks, write).finish()
    }
}
