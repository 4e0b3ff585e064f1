//! A procedure that is an executable, as a file of `procedures.d/` describes it.
//!
//! [`load_folder`] reads the folder. A [`Manifest`] is checked already: names are names, durations are within their limits, the schema is a JSON Schema.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::values::choice::choice;

mod callers;
pub(crate) mod files;
mod folder;
mod manager;
pub(crate) mod name;
mod problem;
mod read;
pub(crate) mod table;

pub use callers::Callers;
pub use files::is_passing;
pub use folder::{MAX_MANIFESTS, Procedures, Side, load_folder, load_folder_of};
pub use manager::ManagerRights;
pub use name::{other_case, procedure_name};
pub use problem::ManifestProblem;

choice! {
    /// How long a process of a procedure lives.
    ProcedureMode, "\"once\" or \"worker\"", {
        /// A fresh process for each run.
        Once = "once",
        /// Long-lived processes, each of which takes one run after the other.
        Worker = "worker",
    }
}

choice! {
    /// What a process of a procedure writes to its standard output.
    ProcedureOutput, "\"json\" or \"text\"", {
        /// One JSON object a line: values, progress and the one end.
        Json = "json",
        /// Anything: it is recorded as it comes.
        Text = "text",
    }
}

/// One procedure that an executable provides.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The file that describes it.
    pub file: PathBuf,
    /// Its name, such as `web.deploy`.
    pub name: String,
    /// Its version, from 1.
    pub version: u32,
    /// What it does, in a sentence.
    pub description: String,
    /// Why nobody should use this version any more, and what to use.
    pub deprecated: Option<String>,
    /// The program and its arguments; never a shell's text. The program is an absolute path, or a
    /// name that is looked up in `PATH`.
    pub command: Vec<String>,
    /// How long a process of it lives.
    pub mode: ProcedureMode,
    /// What it writes.
    pub output: ProcedureOutput,
    /// The JSON Schema of its named arguments (draft 2020-12).
    pub args: serde_json::Value,
    /// The user it runs as; `None`: the agent's own. That of `demote` where the agent is root.
    pub user: Option<String>,
    /// The group it runs as; `None`: the user's own.
    pub group: Option<String>,
    /// The working directory; `None`: `/`.
    pub cwd: Option<PathBuf>,
    /// Variables beside `PATH`, `LANG`, `TZ`, `HOME` and the `REDPOLL_…` ones.
    pub env: BTreeMap<String, String>,
    /// The longest a run may take; `None`: what the agent and the caller allow.
    pub run_timeout: Option<Duration>,
    /// The longest gap between two lines of output; `None`: no limit.
    pub idle_timeout: Option<Duration>,
    /// How long the tree has between TERM and KILL; `None`: what the agent allows.
    pub grace: Option<Duration>,
    /// How many runs may go on at a time; of a worker, how many processes. `None`: what the agent allows; of a worker, 1.
    pub concurrency: Option<u32>,
    /// Running it twice does no more than running it once: a run whose end is unknown may be tried again.
    pub idempotent: bool,
    /// What a run may use.
    pub limits: ProcedureLimits,
    /// Paths in arguments, values and results that nobody may see in a log, a store or on a screen: `password`, `user.pin`, `keys.*`.
    pub redact: Vec<String>,
    /// Whether it is offered.
    pub enabled: bool,
    /// It serves those who administer the machine: it has a place even when all others are taken.
    pub admin: bool,
    /// Who may call it, where the manager offers it; on an agent the machine's policy says that.
    pub callers: Callers,
    /// Whether a job may name it as its callback, where the manager offers it.
    pub callback: bool,
    /// What it may ask the manager for; `None`: nothing, and its input ends after the call.
    pub manager: Option<ManagerRights>,
    /// Runs by itself.
    pub schedule: Option<ProcedureSchedule>,
    /// How long a worker may take to say that it is ready.
    pub ready_timeout: Duration,
    /// How long a worker without work is kept; zero: for ever.
    pub idle_shutdown: Duration,
    /// How often a worker without work is asked whether it is well; `None`: never.
    pub health_interval: Option<Duration>,
    /// Whether a process of one call reads the line that cancels it: its input stays open until its run ends.
    pub cancel_line: bool,
}

/// What a run of a procedure may use. `None`: no limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcedureLimits {
    /// Bytes of memory of the whole tree.
    pub memory: Option<u64>,
    /// Processor time in hundredths of one processor: 150 is one and a half.
    pub cpu: Option<u32>,
    /// Processes and threads of the whole tree.
    pub processes: Option<u32>,
    /// Bytes of output that are delivered or recorded.
    pub output: Option<u64>,
    /// Bytes of one line; 1 MiB when the file does not say.
    pub line: Option<u64>,
}

/// When a procedure runs by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcedureSchedule {
    /// From the start of one run to the start of the next; a run that takes longer skips those it overlaps.
    pub every: Duration,
    /// Up to how much later each run starts, drawn anew each time, so that a fleet does not run in step.
    pub jitter: Duration,
    /// Whether the first run is at the start of the agent, rather than one interval after it.
    pub at_start: bool,
    /// The named arguments.
    pub kwargs: serde_json::Map<String, serde_json::Value>,
}

impl Manifest {
    /// Whether a process of one call may be told something after its call, so that its input stays open until its run ends.
    pub fn is_told_more(&self) -> bool {
        self.manager.is_some() || self.cancel_line
    }
}

impl ProcedureSchedule {
    /// At this interval, beginning one interval after the start, without jitter or arguments.
    pub fn every(every: Duration) -> Self {
        Self { every, jitter: Duration::ZERO, at_start: false, kwargs: serde_json::Map::new() }
    }
}
