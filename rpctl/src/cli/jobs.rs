//! The verbs for jobs, queues and events.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use redpoll_common::job::JobId;

use super::Since;
use crate::arguments;
use crate::settings::parse_duration;

/// Where the options stand that say how a job runs.
const HOW: &str = "The job";

/// `rpctl run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Which agents: `*`, an id, a list `a,b` or `id in (a, b)`, or `id:GLOB` with * and ?
    pub selector: String,
    /// The procedure, NAME or NAME@VERSION
    #[arg(value_name = "PROCEDURE[@V]")]
    pub procedure: String,
    /// Its arguments.
    #[command(flatten)]
    pub arguments: arguments::Typed,
    /// How it runs.
    #[command(flatten)]
    pub job: JobOptions,
    /// Print the job's id and do not follow it
    #[arg(long, short)]
    pub detach: bool,
    /// Ask the agents it would reach whether they would run it, print what each says, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Take it for success when no agent matches the selector
    #[arg(long)]
    pub allow_empty: bool,
    /// Print text and binary exactly as they come, terminal control sequences included
    #[arg(long)]
    pub raw: bool,
}

/// How a job runs.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = HOW)]
pub struct JobOptions {
    /// The queue its runs wait in: a text, or a JSON map
    #[arg(long, value_name = "NAME")]
    pub queue: Option<String>,
    /// How many runs of the queue may run at a time, if this job makes the queue [default: 1]
    #[arg(long, value_name = "N", requires = "queue", value_parser = clap::value_parser!(u32).range(1..))]
    pub concurrency: Option<u32>,
    /// What to do about agents that are away
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub offline: OfflineChoice,
    /// A run that has not begun after so long expires; no further attempt begins after it either
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    pub start_within: Option<Duration>,
    /// A run that takes longer is ended
    #[arg(long, value_name = "DUR", value_parser = parse_limit)]
    pub run_timeout: Option<Duration>,
    /// A run that gives nothing for so long is ended
    #[arg(long, value_name = "DUR", value_parser = parse_limit)]
    pub idle_timeout: Option<Duration>,
    /// What a run has between the request to end and its being killed
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    pub grace: Option<Duration>,
    /// How much output of an attempt is kept, such as 1MiB: bytes of its items, and 32 more for each item
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub output_limit: Option<u64>,
    /// What happens with output beyond the limit
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub overflow: OverflowChoice,
    /// How often a run is tried again that may be repeated, within --start-within
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=99))]
    pub retry: u16,
    /// The procedure may be repeated although it may have run, or with =false must not be, whatever it says of itself
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub idempotent: Option<bool>,
    /// The same key with the same job is the same job; one is made unless given
    #[arg(long, value_name = "IDEMPOTENCY")]
    pub key: Option<String>,
    /// Your own words about the job, shown unchanged wherever it is shown; or @FILE
    #[arg(long, value_name = "JSON")]
    pub info: Option<String>,
    /// Who is told of the end: an http(s) URL, or a procedure on the manager
    #[arg(long, value_name = "URL|PROCEDURE")]
    pub callback: Option<String>,
    /// Store it now and print its id; `rpctl jobs release` starts it
    #[arg(long)]
    pub hold: bool,
}

/// `--offline`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OfflineChoice {
    /// Wait until they return, as long as --start-within allows
    #[default]
    Wait,
    /// Leave them out: their runs expire at once
    Skip,
    /// Refuse the whole job
    Require,
}

/// `--overflow`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OverflowChoice {
    /// Drop the rest, and say so
    #[default]
    Truncate,
    /// Let the program wait until the manager has what came before
    Block,
    /// End the run
    Kill,
}

/// `rpctl jobs`.
#[derive(Debug, Clone, Subcommand)]
pub enum JobsCommand {
    /// List jobs, the newest first
    #[command(after_long_help = include_str!("../help/jobs_list.txt"))]
    List(JobsListArgs),
    /// Show a job and its runs
    #[command(after_long_help = include_str!("../help/jobs_show.txt"))]
    Show {
        /// The job
        job: String,
    },
    /// Print what came out of a job
    #[command(after_long_help = include_str!("../help/jobs_result.txt"))]
    Result(JobsResultArgs),
    /// Print what its runs gave and give, until they end
    #[command(after_long_help = include_str!("../help/jobs_follow.txt"))]
    Follow(JobsFollowArgs),
    /// Print what a run has given so far
    #[command(after_long_help = include_str!("../help/jobs_read.txt"))]
    Read(JobsReadArgs),
    /// End runs: of a job, of a queue, or all that meet criteria
    #[command(after_long_help = include_str!("../help/jobs_cancel.txt"))]
    Cancel(JobsCancelArgs),
    /// Let a job start that was stored with --hold
    #[command(after_long_help = include_str!("../help/jobs_release.txt"))]
    Release {
        /// The job
        job: String,
    },
    /// Delete a job that has ended, with its results and output
    #[command(after_long_help = include_str!("../help/jobs_delete.txt"))]
    Delete {
        /// The job
        job: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// `rpctl jobs list`.
#[derive(Debug, Clone, Args)]
pub struct JobsListArgs {
    /// In this state, or ended so
    #[arg(long, value_name = "STATE", value_parser = [
        "open", "ended", "held", "queued", "offered", "accepted", "running", "in_doubt",
        "succeeded", "failed", "rejected", "cancelled", "timed_out", "expired", "unknown",
    ])]
    pub state: Option<String>,
    /// With a run on this agent
    #[arg(long, value_name = "AGENT")]
    pub agent: Option<String>,
    /// Of the queue with this name: a text, or a JSON map
    #[arg(long, value_name = "NAME")]
    pub queue: Option<String>,
    /// Submitted by this operator
    #[arg(long, value_name = "OPERATOR")]
    pub submitter: Option<String>,
    /// Submitted since: a duration before now such as 2h, or a time such as '2026-11-28 14:00'
    #[arg(long, value_name = "DUR|TIME")]
    pub since: Option<String>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

/// `rpctl jobs result`.
#[derive(Debug, Clone, Args)]
pub struct JobsResultArgs {
    /// The job
    pub job: String,
    /// The run on this agent alone
    #[arg(long, value_name = "AGENT")]
    pub agent: Option<String>,
    /// Wait for the end, at most so long if a duration is given
    #[arg(long, value_name = "DUR", num_args = 0..=1, value_parser = parse_wait)]
    pub wait: Option<Option<Duration>>,
    /// Print text and binary exactly as they come
    #[arg(long)]
    pub raw: bool,
}

/// `rpctl jobs follow`.
#[derive(Debug, Clone, Args)]
pub struct JobsFollowArgs {
    /// The job
    pub job: String,
    /// The run on this agent alone
    #[arg(long, value_name = "AGENT")]
    pub agent: Option<String>,
    /// Where to begin.
    #[command(flatten)]
    pub start: StartArgs,
    /// Print text and binary exactly as they come, terminal control sequences included
    #[arg(long)]
    pub raw: bool,
}

/// `rpctl jobs read`.
#[derive(Debug, Clone, Args)]
pub struct JobsReadArgs {
    /// The job
    pub job: String,
    /// The agent; may be left out when the job has one run
    #[arg(long, value_name = "AGENT")]
    pub agent: Option<String>,
    /// An earlier attempt, from 1; the last one unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub attempt: Option<u16>,
    /// From the item with this number on, item N included
    #[arg(long, value_name = "N", conflicts_with = "recent")]
    pub since: Option<u64>,
    /// From the last so many items on
    #[arg(long, value_name = "N")]
    pub recent: Option<u64>,
    /// Print text and binary exactly as they come, terminal control sequences included
    #[arg(long)]
    pub raw: bool,
}

/// Where following begins; from the first item unless given.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct StartArgs {
    /// From the item with this number on, item N included; of ATTEMPT, if it is given: a later attempt is shown from its
    /// first item on then
    #[arg(long, value_name = "[ATTEMPT:]N", conflicts_with = "recent", value_parser = Since::parse)]
    pub since: Option<Since>,
    /// From the last so many items on
    #[arg(long, value_name = "N")]
    pub recent: Option<u64>,
}

/// `rpctl jobs cancel`.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["job", "queue", "criteria"]))]
pub struct JobsCancelArgs {
    /// The job
    pub job: Option<String>,
    /// Of the job, the run on this agent alone
    #[arg(long, value_name = "AGENT", conflicts_with_all = ["queue", "criteria"])]
    pub agent: Option<String>,
    /// All that waits or runs in the queue with this name: a text, or a JSON map
    #[arg(long, value_name = "NAME")]
    pub queue: Option<String>,
    /// All open runs that meet these criteria over fields of their jobs and of their own, such as 'agent=web-1,state=queued';
    /// JSON, or @FILE with it. Several all have to be met
    #[arg(long = "where", value_name = "CRITERIA")]
    pub criteria: Vec<String>,
    /// How.
    #[command(flatten)]
    pub how: CancelHow,
}

/// How runs are cancelled.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct CancelHow {
    /// What they have between the request to end and their being killed, if not as the job says
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    pub grace: Option<Duration>,
    /// Only show what it would reach
    #[arg(long)]
    pub preview: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

/// `rpctl queues`.
#[derive(Debug, Clone, Subcommand)]
pub enum QueuesCommand {
    /// List the queues in which something waits or runs
    #[command(after_long_help = include_str!("../help/queues_list.txt"))]
    List,
    /// Show a queue and what stands in it
    #[command(after_long_help = include_str!("../help/queues_show.txt"))]
    Show {
        /// Its name: a text, or a JSON map
        name: String,
        /// How many of those that wait
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// End all that waits or runs in a queue
    #[command(after_long_help = include_str!("../help/queues_cancel.txt"))]
    Cancel {
        /// Its name: a text, or a JSON map
        name: String,
        /// How.
        #[command(flatten)]
        how: CancelHow,
    },
}

/// `rpctl events`.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct EventsArgs {
    /// Something else than listing them.
    #[command(subcommand)]
    pub verb: Option<EventsVerb>,
    /// Only events after this number, without the event N itself; 0 begins with the oldest that is kept
    #[arg(long, value_name = "N")]
    pub since: Option<u64>,
    /// The newest so many [default without --since: 500]
    #[arg(long, value_name = "N", conflicts_with_all = ["since", "follow"], value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub recent: Option<u32>,
    /// Go on with those that come; without --since from now on
    #[arg(long, short)]
    pub follow: bool,
    /// Only types that match, such as 'run.*'
    #[arg(long = "type", value_name = "GLOB")]
    pub kind: Option<String>,
    /// How many at most [default: 500, and with --follow no limit]; without --since and --follow up to 1000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
}

/// What else there is to do with the history.
#[derive(Debug, Clone, Subcommand)]
pub enum EventsVerb {
    /// Check that the history is as it was written
    #[command(after_long_help = include_str!("../help/events_verify.txt"))]
    Verify {
        /// What an earlier check printed as the head; the history has to contain it. May be given several times
        #[arg(long = "head", value_name = "N:HASH", value_parser = parse_head)]
        heads: Vec<Head>,
    },
}

/// A place in the history that somebody has written down.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Head {
    /// The number of the event.
    pub n: u64,
    /// Its hash, 64 lower-case hexadecimal digits.
    pub hash: String,
}

fn parse_head(text: &str) -> Result<Head, String> {
    let head = text.split_once(':').and_then(|(n, hash)| {
        let is_hash = hash.len() == 64 && hash.bytes().all(|digit| digit.is_ascii_hexdigit());
        let n = n.parse().ok().filter(|n| *n > 0)?;
        is_hash.then(|| Head { n, hash: hash.to_ascii_lowercase() })
    });
    head.ok_or_else(|| "expected the number of an event, a colon and 64 hexadecimal digits".to_owned())
}

/// A duration that ends something: none is said by leaving it out.
fn parse_limit(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => {
            Err("0 would end it at once; leave it out for the limit of the procedure or the agent".to_owned())
        }
        limit => Ok(limit),
    }
}

fn parse_size(text: &str) -> Result<u64, String> {
    redpoll_config::parse_size(text).map_err(|error| format!("expected {}", error.expected))
}

/// The duration of `--wait`, which takes the word behind it for one.
fn parse_wait(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| match JobId::parse(text) {
        Ok(job) => format!("{error}; a job stands before it: rpctl jobs result {job} --wait"),
        Err(_) => error,
    })
}
