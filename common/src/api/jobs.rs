//! `rp.jobs.*`: finding jobs, what became of them, ending and deleting them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::wire::{Fault, Raw};

/// A job, named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobArguments {
    /// Its id, 32 hexadecimal digits.
    pub job: String,
}

/// The arguments of `rp.jobs.list`. What is absent lets all pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobListArguments {
    /// `open`, `ended`; `held`, `queued`, `offered`, `accepted`, `running`, `in_doubt` of a run; or an outcome.
    #[serde(default)]
    pub state: Option<String>,
    /// It has a run on this agent.
    #[serde(default)]
    pub agent: Option<String>,
    /// It stands, or stood, in the queue of this name: a text or a map.
    #[serde(default)]
    pub queue: Option<Raw>,
    /// Who submitted it.
    #[serde(default)]
    pub submitter: Option<String>,
    /// Submitted at this time or later, in UTC milliseconds.
    #[serde(default)]
    pub since_ms: Option<u64>,
    /// Submitted at most so many milliseconds ago, by the manager's clock; it counts where both are given.
    #[serde(default)]
    pub since_ms_ago: Option<u64>,
    /// Only jobs older than this one: [`JobList::next`] of the page before.
    #[serde(default)]
    pub before: Option<String>,
    /// At most so many; 1 to 1,000, 100 unless given.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// The answer of `rp.jobs.list`, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobList {
    /// The jobs.
    pub jobs: Vec<JobSummary>,
    /// Where to go on, when there may be more.
    #[serde(default)]
    pub next: Option<String>,
}

/// A job, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSummary {
    /// Its id.
    pub job: String,
    /// The procedure.
    pub procedure: String,
    /// Who submitted it.
    pub submitter: String,
    /// `held`, `open` or `ended`.
    pub state: String,
    /// How it ended: the outcome of its runs if they agree, or the worst of them. Absent while a run is open.
    #[serde(default)]
    pub outcome: Option<String>,
    /// How many runs it has.
    pub runs: u64,
    /// How many of them have not ended.
    pub open: u64,
    /// How many ended with each outcome; those that none had are left out.
    #[serde(default)]
    pub outcomes: BTreeMap<String, u64>,
    /// The name of its queue: a text or a map.
    #[serde(default)]
    pub queue: Option<Raw>,
    /// Its idempotency key.
    #[serde(default)]
    pub key: Option<String>,
    /// The caller's own words; nil when there are none.
    #[serde(default = "Raw::nil")]
    pub info: Raw,
    /// When it was submitted, in UTC milliseconds of the manager's clock, as all times here.
    pub submitted_ms: u64,
    /// When it was released, or submitted if it was never held.
    #[serde(default)]
    pub released_ms: Option<u64>,
    /// When the last of its runs ended, as known now: an outcome that was corrected ended with its correction.
    #[serde(default)]
    pub ended_ms: Option<u64>,
}

/// The arguments of `rp.jobs.show`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobShowArguments {
    /// The job.
    pub job: String,
    /// Only runs on agents after this one.
    #[serde(default)]
    pub after: Option<String>,
    /// At most so many runs; 1 to 1,000, 100 unless given.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// The answer of `rp.jobs.show`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobDetail {
    /// The job.
    pub job: JobSummary,
    /// Its positional arguments.
    pub args: Raw,
    /// Its named arguments.
    pub kwargs: Raw,
    /// What its submitter asked for beyond: limits in milliseconds, `offline`, `max_attempts`, `idempotent`, `concurrency`,
    /// `overflow`, `webhook` or `callback`; as in `rp.jobs.submit`.
    #[serde(default)]
    pub options: BTreeMap<String, Raw>,
    /// How many runs its queue lets run at a time, as the job that made the queue said; what this job asked for is in `options`.
    /// Absent when it has ended, has no queue, or the queue is not there.
    #[serde(default)]
    pub queue_concurrency: Option<u32>,
    /// Its runs by the agents' names, of this page.
    pub runs: Vec<RunSummary>,
    /// The callbacks that became due.
    #[serde(default)]
    pub callbacks: Vec<CallbackSummary>,
    /// Where to go on.
    #[serde(default)]
    pub next: Option<String>,
}

/// The work of a job on one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The agent.
    pub agent: String,
    /// `held`, `queued`, `offered`, `accepted`, `running`, `in_doubt` or `ended`.
    pub state: String,
    /// The attempt in force or the last one; 0 before the first offer.
    pub attempt: u16,
    /// Its dispatch number; 0 before the first offer.
    pub dno: u64,
    /// When it began to wait.
    #[serde(default)]
    pub queued_ms: Option<u64>,
    /// When this attempt was offered.
    #[serde(default)]
    pub offered_ms: Option<u64>,
    /// When the agent accepted it.
    #[serde(default)]
    pub accepted_ms: Option<u64>,
    /// When the procedure began.
    #[serde(default)]
    pub started_ms: Option<u64>,
    /// Since when it is in doubt.
    #[serde(default)]
    pub doubt_ms: Option<u64>,
    /// When its end was recorded; of a corrected one, the correction.
    #[serde(default)]
    pub ended_ms: Option<u64>,
    /// When its outcome was corrected, if it was.
    #[serde(default)]
    pub corrected_ms: Option<u64>,
    /// How many items of this attempt are stored.
    pub items: u64,
    /// What these items count against `output_limit`: their bytes, and 32 for each. Absent in older managers.
    #[serde(default)]
    pub item_bytes: Option<u64>,
    /// Somebody asked for its end.
    #[serde(default)]
    pub cancelling: bool,
    /// Its outcome was `unknown` and was replaced by later evidence.
    #[serde(default)]
    pub corrected: bool,
    /// How far it is.
    #[serde(default)]
    pub progress: Option<ProgressSummary>,
    /// How it ended. The result is left out; `rp.jobs.result` has it.
    #[serde(default)]
    pub end: Option<EndSummary>,
    /// Attempts that ended and were tried again, from the first.
    #[serde(default)]
    pub earlier: Vec<AttemptSummary>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndSummary {
    /// `succeeded`, `failed`, `rejected`, `cancelled`, `timed_out`, `expired` or `unknown`.
    pub outcome: String,
    /// Whether the procedure was started; absent when nobody can tell.
    #[serde(default)]
    pub started: Option<bool>,
    /// The result, when it succeeded.
    #[serde(default)]
    pub result: Option<Raw>,
    /// Why, when it did not.
    #[serde(default)]
    pub fault: Option<Fault>,
    /// How many items the attempt has in all.
    pub items: u64,
    /// How long it ran, in milliseconds, on the agent's clock.
    #[serde(default)]
    pub duration_ms: Option<u64>,
}

/// The end of an attempt that was tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptSummary {
    /// Which one.
    pub attempt: u16,
    /// How it ended.
    pub outcome: String,
    /// Why.
    #[serde(default)]
    pub fault: Option<Fault>,
    /// When, in UTC milliseconds.
    pub ended_ms: u64,
}

/// How far a run is, by its own account; the latest replaces the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressSummary {
    /// How much is done.
    #[serde(default)]
    pub completed: Option<u64>,
    /// Of how much.
    #[serde(default)]
    pub total: Option<u64>,
    /// Anything.
    #[serde(default)]
    pub details: Option<Raw>,
}

/// The telling of a job's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallbackSummary {
    /// 1 for the end of the job, 2 and up for corrections of it.
    pub serial: u32,
    /// `pending`, `delivered` or `abandoned`.
    pub state: String,
    /// How often it was tried, the successful try included.
    pub tries: u32,
    /// Why it failed last.
    #[serde(default)]
    pub error: Option<String>,
    /// When it is tried next, in UTC milliseconds, while it is pending.
    #[serde(default)]
    pub due_ms: Option<u64>,
}

/// The arguments of `rp.jobs.result`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultArguments {
    /// The job.
    pub job: String,
    /// The run on this agent alone. Required when the job has more than one and their results do not fit one answer.
    #[serde(default)]
    pub agent: Option<String>,
    /// Wait for the end, at most so long; absent or 0 does not wait.
    #[serde(default)]
    pub wait_ms: Option<u64>,
    /// Only runs on agents after this one.
    #[serde(default)]
    pub after: Option<String>,
}

/// The answer of `rp.jobs.result`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobResult {
    /// The job, as it is now.
    pub job: JobSummary,
    /// Per agent, in the order of their names. A run that has not ended has no end.
    pub runs: Vec<RunResult>,
    /// Where to go on, when not all fit.
    #[serde(default)]
    pub next: Option<String>,
}

/// What came out of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunResult {
    /// The agent.
    pub agent: String,
    /// As in [`RunSummary::state`].
    pub state: String,
    /// The attempt.
    pub attempt: u16,
    /// How it ended, with the result; absent while it is open.
    #[serde(default)]
    pub end: Option<EndSummary>,
}

/// The arguments of `rp.jobs.cancel`: exactly one of `job`, `queue` and `where`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelArguments {
    /// All runs of a job, or the one on `agent`.
    #[serde(default)]
    pub job: Option<String>,
    /// With `job`: only this run.
    #[serde(default)]
    pub agent: Option<String>,
    /// All that waits or runs in the queue of this name. Also `rp.queues.cancel`.
    #[serde(default)]
    pub queue: Option<Raw>,
    /// All open runs that meet these criteria.
    #[serde(default, rename = "where")]
    pub criteria: Option<Raw>,
    /// Between TERM and KILL, in milliseconds, if not as the job says.
    #[serde(default)]
    pub grace_ms: Option<u32>,
    /// Only say what it would reach.
    #[serde(default)]
    pub preview: bool,
}

/// The answer of `rp.jobs.cancel` and `rp.queues.cancel`: it is on disk, and they end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelAnswer {
    /// The jobs it reached, those with an open run in scope; at most the first 10,000.
    pub jobs: Vec<String>,
    /// How many jobs it reached in all.
    pub total: u64,
    /// How many runs ended at once: they never started and never will.
    pub ended: u32,
    /// How many their agents end.
    pub asked: u32,
    /// The first of these runs, at most 100 and as many as fit, by job and agent. Absent in older managers.
    #[serde(default)]
    pub runs: Vec<ReachedRun>,
}

/// A run that a cancel reached, or would reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachedRun {
    /// The job.
    pub job: String,
    /// The agent.
    pub agent: String,
    /// Its state before, as in [`RunSummary::state`].
    pub state: String,
    /// The attempt in force or the last one; 0 before the first offer.
    pub attempt: u16,
}
