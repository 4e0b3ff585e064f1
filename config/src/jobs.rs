//! `[jobs]`: how many jobs there may be, how long they are kept, and how their ends are told.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use redpoll_common::wire::MAX_METHOD_LEN;
use serde::{Deserialize, Serialize};

use crate::checks::Checks;
use crate::exit_class::ExitClass;
use crate::hosts::HostPattern;
use crate::permissions::{PermissionError, check_private};
use crate::secret::Secret;
use crate::sections::{DEADLINE, MAX_IN_FLIGHT};
use crate::values::{commands, duration, list, number, size};

const MIB: u64 = 1024 * 1024;
const SHORT: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// The shortest key of a webhook's signature, in bytes: what SHA-256 gives.
pub const MIN_WEBHOOK_SECRET: usize = 32;
/// The longest, in bytes.
pub const MAX_WEBHOOK_SECRET: usize = 4096;
/// The most hosts that webhooks may be limited to, and the most commands that may be named.
const MAX_ENTRIES: usize = 256;
/// The most words of one command, and the bytes of each.
const MAX_ARGUMENTS: (usize, usize) = (64, 4096);

/// `[jobs]`: how many jobs there may be, and how long they are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobsConfig {
    /// How many offers to one agent may wait for their answer; further runs wait in the manager. A session that
    /// allows fewer requests at a time has the last word.
    #[serde(with = "number")]
    pub offers_per_agent: usize,
    /// How many runs one agent may have at a time, running or not; further ones wait in the manager. The agent's
    /// `limits.jobs` has the last word.
    #[serde(with = "number")]
    pub runs_per_agent: usize,
    /// How many runs may be open at a time; a submit beyond is refused.
    #[serde(with = "number")]
    pub open_runs: usize,
    /// How many bytes of args, kwargs and info the jobs in the manager's memory may have together, that is those that are open or
    /// ended as unknown; a submit beyond is refused.
    #[serde(with = "size")]
    pub open_size: u64,
    /// After how long in doubt a run ends as unknown; zero is never: the agent decides when it returns.
    #[serde(with = "duration")]
    pub unknown_after: Duration,
    /// The wait before the second attempt of a run; doubled with each further one.
    #[serde(with = "duration")]
    pub retry_first: Duration,
    /// The longest wait between attempts.
    #[serde(with = "duration")]
    pub retry_max: Duration,
    /// How long ended jobs are kept; zero is for ever.
    #[serde(with = "duration")]
    pub keep: Duration,
    /// How many ended jobs of operators are kept.
    #[serde(with = "number")]
    pub keep_jobs: u64,
    /// How many ended jobs are kept that agents submitted or had recorded: these push out none of operators.
    #[serde(with = "number")]
    pub keep_of_agents: u64,
    /// How many of these are kept of one agent.
    #[serde(with = "number")]
    pub keep_per_agent: u64,
    /// How many events are kept.
    #[serde(with = "number")]
    pub keep_events: u64,
    /// How often ended jobs are looked through for those that are too old or too many.
    #[serde(with = "duration")]
    pub prune_every: Duration,
    /// How long an agent may take to answer an offer before its connection is cut.
    #[serde(with = "duration")]
    pub offer_timeout: Duration,
    /// `[jobs.callbacks]`: how the ends of jobs are told.
    pub callbacks: CallbacksConfig,
}

/// `[jobs.callbacks]`: how the ends of jobs are told to those who asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallbacksConfig {
    /// How many may be under way at a time.
    #[serde(with = "number")]
    pub at_once: usize,
    /// How often one is tried before it is given up.
    #[serde(with = "number")]
    pub tries: u32,
    /// The wait after the first failed try; doubled with each further one.
    #[serde(with = "duration")]
    pub first: Duration,
    /// The longest wait between two tries.
    #[serde(with = "duration")]
    pub max: Duration,
    /// How long one try may take, all of it.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// The file that holds the key of the webhooks' signature, mode 0600; without one they are not signed. See
    /// [`secret`](Self::secret).
    pub secret_file: Option<PathBuf>,
    /// Certificates of authorities, PEM, that the servers of webhooks may have beside those of the system.
    pub ca: Option<PathBuf>,
    /// The hosts that webhooks may go to; empty is any. See [`allows`](Self::allows).
    #[serde(with = "list")]
    pub allow: Vec<HostPattern>,
    /// The commands on the manager that may be named as callbacks: a program with its arguments, run without a shell.
    #[serde(with = "commands")]
    pub procedures: commands::Commands,
}

/// Why the key of the webhooks' signature cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WebhookSecretError {
    /// The file is open to others or cannot be read.
    #[error(transparent)]
    Permissions(#[from] PermissionError),
    /// It holds too little or too much.
    #[error(
        "{} holds a key of {len} bytes, it must have {MIN_WEBHOOK_SECRET} to {MAX_WEBHOOK_SECRET}",
        path.display()
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// The length found, line ends at the end left out; not counted further than one beyond the longest.
        len: usize,
    },
}

impl WebhookSecretError {
    /// Which exit code a daemon ends with.
    pub fn exit_class(&self) -> ExitClass {
        match self {
            Self::Permissions(error) => error.exit_class(),
            Self::Length { .. } => ExitClass::Configuration,
        }
    }
}

impl Default for JobsConfig {
    fn default() -> Self {
        Self {
            offers_per_agent: 16,
            runs_per_agent: 500,
            open_runs: 1_000_000,
            open_size: 1024 * MIB,
            unknown_after: Duration::ZERO,
            retry_first: SECOND,
            retry_max: Duration::from_secs(300),
            keep: 30 * DAY,
            keep_jobs: 1_000_000,
            keep_of_agents: 1_000_000,
            keep_per_agent: 10_000,
            keep_events: 1_000_000,
            prune_every: Duration::from_secs(60),
            offer_timeout: Duration::from_secs(30),
            callbacks: CallbacksConfig::default(),
        }
    }
}

impl Default for CallbacksConfig {
    fn default() -> Self {
        Self {
            at_once: 64,
            tries: 20,
            first: SECOND,
            max: HOUR,
            timeout: Duration::from_secs(10),
            secret_file: None,
            ca: None,
            allow: Vec::new(),
            procedures: commands::Commands::new(),
        }
    }
}

impl JobsConfig {
    /// After how long in doubt a run ends as unknown, if ever.
    pub fn unknown_after(&self) -> Option<Duration> {
        (!self.unknown_after.is_zero()).then_some(self.unknown_after)
    }

    /// How long ended jobs are kept, if not for ever.
    pub fn keep(&self) -> Option<Duration> {
        (!self.keep.is_zero()).then_some(self.keep)
    }

    pub(crate) fn check(&self, checks: &mut Checks) {
        checks.number("jobs.offers_per_agent", self.offers_per_agent, 1..=MAX_IN_FLIGHT - 1);
        checks.number("jobs.runs_per_agent", self.runs_per_agent, 1..=100_000);
        checks.number("jobs.open_runs", self.open_runs, 1..=10_000_000);
        checks.size("jobs.open_size", self.open_size, 16 * MIB..=1024 * 1024 * MIB);
        checks.duration_or_off("jobs.unknown_after", self.unknown_after, SECOND..=365 * DAY);
        checks.duration("jobs.retry_first", self.retry_first, SHORT..=HOUR);
        checks.duration("jobs.retry_max", self.retry_max, SHORT..=DAY);
        if self.retry_first > self.retry_max {
            checks.add("jobs.retry_max", "it is shorter than jobs.retry_first");
        }
        checks.duration_or_off("jobs.keep", self.keep, SECOND..=1825 * DAY);
        checks.number("jobs.keep_jobs", self.keep_jobs, 1..=100_000_000);
        checks.number("jobs.keep_of_agents", self.keep_of_agents, 1..=100_000_000);
        checks.number("jobs.keep_per_agent", self.keep_per_agent, 1..=100_000_000);
        checks.number("jobs.keep_events", self.keep_events, 1..=100_000_000);
        checks.duration("jobs.prune_every", self.prune_every, Duration::from_millis(100)..=DAY);
        checks.duration("jobs.offer_timeout", self.offer_timeout, DEADLINE);
        self.callbacks.check(checks);
    }

    pub(crate) fn paths(&mut self) -> impl Iterator<Item = (&'static str, &mut PathBuf)> {
        self.callbacks.paths()
    }
}

impl CallbacksConfig {
    /// The key of the webhooks' signature, if one is configured: what the file holds, without line ends at its end.
    ///
    /// # Errors
    /// The file is open to others, is not there or cannot be read, or its key is too short or too long.
    pub fn secret(&self) -> Result<Option<Secret<Vec<u8>>>, WebhookSecretError> {
        let Some(path) = &self.secret_file else { return Ok(None) };
        check_private(path)?;
        let access = |source| PermissionError::Access { path: path.clone(), source };
        let mut key = Vec::new();
        // room for the line ends that are left out
        let most = u64::try_from(MAX_WEBHOOK_SECRET).unwrap_or(u64::MAX).saturating_add(3);
        File::open(path).map_err(access)?.take(most).read_to_end(&mut key).map_err(access)?;
        while key.pop_if(|byte| matches!(byte, b'\r' | b'\n')).is_some() {}
        let len = key.len();
        if !(MIN_WEBHOOK_SECRET..=MAX_WEBHOOK_SECRET).contains(&len) {
            return Err(WebhookSecretError::Length { path: path.clone(), len });
        }
        Ok(Some(Secret::new(key)))
    }

    /// Whether a webhook may go to this host and port. An IPv6 address has no brackets here.
    pub fn allows(&self, host: &str, port: u16) -> bool {
        self.allow.is_empty() || self.allow.iter().any(|pattern| pattern.matches(host, port))
    }

    fn check(&self, checks: &mut Checks) {
        checks.number("jobs.callbacks.at_once", self.at_once, 1..=4096);
        checks.number("jobs.callbacks.tries", self.tries, 1..=1000);
        checks.duration("jobs.callbacks.first", self.first, SHORT..=HOUR);
        checks.duration("jobs.callbacks.max", self.max, SHORT..=7 * DAY);
        if self.first > self.max {
            checks.add("jobs.callbacks.max", "it is shorter than jobs.callbacks.first");
        }
        checks.duration("jobs.callbacks.timeout", self.timeout, DEADLINE);
        if let Some(path) = &self.secret_file {
            checks.path("jobs.callbacks.secret_file", path);
        }
        if let Some(path) = &self.ca {
            checks.path("jobs.callbacks.ca", path);
        }
        if self.allow.len() > MAX_ENTRIES {
            checks.add("jobs.callbacks.allow", format!("more than {MAX_ENTRIES} entries"));
        }
        if self.procedures.len() > MAX_ENTRIES {
            checks.add("jobs.callbacks.procedures", format!("more than {MAX_ENTRIES} commands"));
        }
        for (name, argv) in &self.procedures {
            if let Err(what) = check_command(name, argv) {
                checks.add("jobs.callbacks.procedures", what);
            }
        }
    }

    fn paths(&mut self) -> impl Iterator<Item = (&'static str, &mut PathBuf)> {
        let secret = self.secret_file.as_mut().map(|path| ("jobs.callbacks.secret_file", path));
        let ca = self.ca.as_mut().map(|path| ("jobs.callbacks.ca", path));
        secret.into_iter().chain(ca)
    }
}

fn check_command(name: &str, argv: &[String]) -> Result<(), String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > MAX_METHOD_LEN || !name.bytes().all(good) {
        return Err(format!(
            "{name:?} is not a name of 1 to {MAX_METHOD_LEN} letters, digits, '.', '_', '-'"
        ));
    }
    // A search along PATH would let whoever can write to one of its folders decide what runs.
    if argv.first().is_none_or(|program| !program.starts_with('/')) {
        return Err(format!("{name}: name the program by its whole path, such as [\"/usr/bin/notify\"]"));
    }
    let (most, longest) = MAX_ARGUMENTS;
    if argv.len() > most || argv.iter().any(|word| word.len() > longest || word.contains('\0')) {
        return Err(format!(
            "{name}: more than {most} words, or one with more than {longest} bytes or a NUL"
        ));
    }
    Ok(())
}
