//! A job as it goes on, printed: for people by [`screen`], for scripts by [`records`].
//!
//! [`cursor`] knows what of each run was told, so that nothing is told twice after a lost connection; [`lines`] keeps the
//! output of several runs apart. None of these asks anybody: what comes is handed to them.

pub mod cursor;
pub mod ending;
pub mod lines;
pub mod records;
pub mod screen;

use redpoll_common::api::items::FollowEvent;
use redpoll_common::api::jobs::JobSummary;

use crate::output::{Format, Output, OutputError};
use crate::report::Report;
use records::Records;
use screen::Screen;

/// What is to be printed, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The job's id.
    pub job: String,
    /// Its procedure.
    pub procedure: String,
    /// The program that exec.run starts, for messages.
    pub program: Option<String>,
    /// How many runs are shown; with more than one each line is marked with its agent.
    pub runs: u64,
    /// Whether text and binary are printed as they are.
    pub raw: bool,
    /// Whether a fault's trace is shown.
    pub verbose: bool,
}

/// How a job is printed.
#[derive(Debug)]
pub enum View {
    /// For people.
    People(Box<Screen>),
    /// For scripts.
    Scripts(Records),
}

impl View {
    /// A view in the output's format.
    pub fn new(output: &Output, plan: Plan) -> Self {
        match output.format() {
            Format::Table => Self::People(Box::new(Screen::new(plan))),
            format @ (Format::Json | Format::Jsonl | Format::Yaml) => {
                Self::Scripts(Records::new(format, "events"))
            }
        }
    }

    /// Names the job to scripts, in the first object.
    ///
    /// # Errors
    /// [`OutputError`], as for every method here.
    pub fn begin(&mut self, plan: &Plan, existing: bool, output: &mut Output) -> Result<(), OutputError> {
        let Self::Scripts(records) = self else { return Ok(()) };
        let first = records::map([
            ("job", plan.job.as_str().into()),
            ("procedure", plan.procedure.as_str().into()),
            ("runs", plan.runs.into()),
            ("existing", existing.into()),
        ]);
        records.object(&first, output)
    }

    /// Prints what is new of a run.
    ///
    /// # Errors
    /// [`OutputError`]
    pub fn event(&mut self, event: &FollowEvent, output: &mut Output) -> Result<(), OutputError> {
        match self {
            Self::People(screen) => screen.event(event, output),
            Self::Scripts(records) => records.event(event, output),
        }
    }

    /// Prints how the job ended.
    ///
    /// # Errors
    /// [`OutputError`]
    pub fn ended(&mut self, job: &JobSummary, output: &mut Output) -> Result<(), OutputError> {
        match self {
            Self::People(screen) => screen.ended(job, output),
            Self::Scripts(records) => {
                records.close(&[("summary", Some(records::value_of(job))), ("stopped", None)], output)
            }
        }
    }

    /// Ends what was printed although the job goes on: what was begun is made whole, and people are told why, although
    /// nobody reads standard output.
    ///
    /// # Errors
    /// [`OutputError`] of a reader that is there.
    pub fn stopped(&mut self, report: &Report, output: &mut Output) -> Result<(), OutputError> {
        let printed = match self {
            Self::People(screen) => screen.flush(output),
            Self::Scripts(records) => {
                let why = records::stopped(report);
                records.close(&[("summary", None), ("stopped", Some(why))], output)
            }
        };
        output.report(report);
        OutputError::unless_closed(printed)
    }
}
