//! The configuration of `redpoll-agent`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use redpoll_common::ids::PeerId;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::checks::Checks;
use crate::error::Problem;
use crate::files::FilesConfig;
use crate::load::{Config, Program, Shared};
use crate::manifest::name::is_name;
use crate::permissions::{PermissionError, check_private};
use crate::policy::PolicyConfig;
use crate::secret::Secret;
use crate::sections::{DEADLINE, LogConfig, SessionConfig, TlsConfig};
use crate::values::choice::choice;
use crate::values::{duration, list, number, size};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const KIB: u64 = 1024;
const GIB: u64 = 1024 * 1024 * KIB;

/// The most managers that somebody can be told to try.
pub(crate) const MAX_ADDRESSES: usize = 64;

/// Everything `redpoll-agent` can be told. See `config/samples/agent.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// `[agent]`: the daemon itself.
    pub agent: AgentSection,
    /// `[manager]`: whom to dial, and how often.
    pub manager: DialConfig,
    /// `[tls]`: certificate, key and authorities.
    pub tls: TlsConfig,
    /// `[session]`: keep-alive and limits of the session.
    pub session: SessionConfig,
    /// `[procedures]`: what may be called here.
    pub procedures: ProceduresConfig,
    /// `[files]`: which folders the `file.*` procedures reach.
    pub files: FilesConfig,
    /// `[policy]`: what may run here, whatever a manager says.
    pub policy: PolicyConfig,
    /// `[limits]`: how much of it.
    pub limits: LimitsConfig,
    /// `[log]`: what is logged, and how.
    pub log: LogConfig,
}

/// `[agent]`: the daemon itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentSection {
    /// The agent's name, if it shall be checked: the certificate says it, and another name here is an error.
    pub id: Option<PeerId>,
    /// The folder of everything the agent keeps; mode 0700, see [`check_state_dir`](crate::check_state_dir).
    pub state_dir: PathBuf,
    /// How long calls in flight may go on after the order to stop.
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
}

/// `[manager]`: whom to dial, and how often. `manager = "…"` alone stands for `manager.addresses`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DialConfig {
    /// The managers, tried in this order; at least one. Names are resolved anew at each try.
    #[serde(with = "list")]
    pub addresses: Vec<Address>,
    /// How long each step of a dial may take: resolving one name, connecting to one of its addresses, one TLS handshake.
    /// All steps of a dial together may take four times as long for each of the managers named.
    #[serde(with = "duration")]
    pub dial_timeout: Duration,
    /// How long the manager may take to answer the hello.
    #[serde(with = "duration")]
    pub hello_timeout: Duration,
    /// How long the manager may take to answer what jobs report; then the same is sent again.
    #[serde(with = "duration")]
    pub answer_timeout: Duration,
    /// A second proof beside the certificate, sent in the hello. At most one of this and `credentials_file`.
    pub credentials: Option<Secret<String>>,
    /// The file that holds it, mode 0600. See [`credentials`](Self::credentials()).
    pub credentials_file: Option<PathBuf>,
    /// The upper end of the first wait after a connection failed or ended; it doubles with each failure.
    #[serde(with = "duration")]
    pub backoff_initial: Duration,
    /// The upper end of the longest wait.
    #[serde(with = "duration")]
    pub backoff_max: Duration,
    /// How long a session has to last until the waits begin anew at `backoff_initial`.
    #[serde(with = "duration")]
    pub stable_after: Duration,
}

/// `[procedures]`: what may be called here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProceduresConfig {
    /// Which built-in procedures are offered: names, or families such as `sys.*`. See [`offers`](Self::offers).
    #[serde(with = "list")]
    pub builtin: Vec<String>,
    /// The folder whose files describe executables that are offered. A folder that is not there offers none.
    pub dir: PathBuf,
    /// Which runs have a control group of their own, where the agent has control groups at all.
    pub groups: RunGroups,
}

impl Default for ProceduresConfig {
    fn default() -> Self {
        Self {
            builtin: vec!["sys.*".to_owned()],
            dir: PathBuf::from("/etc/redpoll/procedures.d"),
            groups: RunGroups::Auto,
        }
    }
}

choice! {
    /// Which runs have a control group of their own, which is what keeps their limits and finds all of their processes.
    RunGroups, "auto, all or limited", {
        /// All of them, where the daemon finds processes that got away by nothing else; else those with limits.
        Auto = "auto",
        /// All of them.
        All = "all",
        /// Those with limits.
        Limited = "limited",
    }
}

/// `[limits]`: how much may run here, and how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// How many calls may run at a time.
    #[serde(with = "number")]
    pub calls: usize,
    /// How many runs of jobs may be here at a time, those included whose end is not on its way to the manager; with those
    /// that are, twice as many.
    #[serde(with = "number")]
    pub jobs: usize,
    /// How many bytes of one run's items may be on their way to the manager.
    #[serde(with = "size")]
    pub job_window: u64,
    /// How many bytes of one run's items may wait for the manager's acknowledgement before its program has to wait.
    #[serde(with = "size")]
    pub job_unacked: u64,
    /// How many bytes of stdout and stderr together are kept of one `exec.run` before they are cut off; of a run of a
    /// job, how many bytes of items, unless the job asks for less.
    #[serde(with = "size")]
    pub output: u64,
    /// The longest a call or a run may take, whatever its caller allows; zero is no limit.
    #[serde(with = "duration")]
    pub run_timeout: Duration,
    /// How long a process group has between TERM and KILL, at most.
    #[serde(with = "duration")]
    pub grace: Duration,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            agent: AgentSection {
                id: None,
                state_dir: PathBuf::from("/var/lib/redpoll/agent"),
                drain_timeout: Duration::from_secs(30),
            },
            manager: DialConfig::default(),
            tls: TlsConfig::named("/etc/redpoll/tls", "agent"),
            session: SessionConfig::default(),
            procedures: ProceduresConfig::default(),
            files: FilesConfig::default(),
            policy: PolicyConfig::default(),
            limits: LimitsConfig::default(),
            log: LogConfig::at("info"),
        }
    }
}

impl Default for DialConfig {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            dial_timeout: Duration::from_secs(10),
            hello_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(30),
            credentials: None,
            credentials_file: None,
            backoff_initial: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
            stable_after: Duration::from_secs(60),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            calls: 64,
            jobs: 1000,
            job_window: 256 * KIB,
            job_unacked: 16 * 1024 * KIB,
            output: 16 * 1024 * KIB,
            run_timeout: HOUR,
            grace: Duration::from_secs(5),
        }
    }
}

impl Config for AgentConfig {
    const PROGRAM: Program = Program {
        prefix: "REDPOLL_AGENT_",
        default_file: "/etc/redpoll/agent.toml",
        daemon: true,
        shorthands: &[("manager", "addresses")],
    };

    fn check(&self) -> Vec<Problem> {
        let mut checks = Checks::default();
        checks.path("agent.state_dir", &self.agent.state_dir);
        checks.duration("agent.drain_timeout", self.agent.drain_timeout, Duration::ZERO..=HOUR);
        self.manager.check(&mut checks);
        self.tls.check(&mut checks);
        self.session.check(&mut checks);
        self.procedures.check(&mut checks);
        self.files.check(&mut checks);
        checks.path("policy.file", &self.policy.file);
        self.limits.check(&mut checks);
        self.log.check(&mut checks);
        checks.into_problems()
    }

    fn shared(&self) -> Shared<'_> {
        Shared { tls: &self.tls, log: &self.log }
    }

    fn paths(&mut self) -> Vec<(&'static str, &mut PathBuf)> {
        let mut paths = vec![
            ("agent.state_dir", &mut self.agent.state_dir),
            ("procedures.dir", &mut self.procedures.dir),
            ("policy.file", &mut self.policy.file),
        ];
        paths.extend(self.manager.credentials_file.as_mut().map(|path| ("manager.credentials_file", path)));
        paths.extend(self.tls.paths());
        paths
    }
}

impl DialConfig {
    /// The credentials for the hello, from the configuration or from their file, without the line end of a file.
    ///
    /// # Errors
    /// The file is open to others, is not there, or cannot be read as UTF-8.
    pub fn credentials(&self) -> Result<Option<Secret<String>>, PermissionError> {
        let Some(path) = &self.credentials_file else { return Ok(self.credentials.clone()) };
        check_private(path)?;
        let text = fs::read_to_string(path)
            .map_err(|source| PermissionError::Access { path: path.clone(), source })?;
        Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned())))
    }

    fn check(&self, checks: &mut Checks) {
        if self.addresses.is_empty() {
            checks.add("manager.addresses", "name at least one manager, such as \"manager.example:7051\"");
        }
        if self.addresses.len() > MAX_ADDRESSES {
            checks.add("manager.addresses", format!("more than {MAX_ADDRESSES} managers"));
        }
        if self.credentials.is_some() && self.credentials_file.is_some() {
            checks.add("manager.credentials_file", "manager.credentials is set as well; keep one of them");
        }
        if let Some(path) = &self.credentials_file {
            checks.path("manager.credentials_file", path);
        }
        checks.duration("manager.dial_timeout", self.dial_timeout, DEADLINE);
        checks.duration("manager.hello_timeout", self.hello_timeout, DEADLINE);
        checks.duration("manager.answer_timeout", self.answer_timeout, DEADLINE);
        checks.duration("manager.backoff_initial", self.backoff_initial, Duration::from_millis(10)..=HOUR);
        checks.duration("manager.backoff_max", self.backoff_max, Duration::from_millis(10)..=DAY);
        if self.backoff_initial > self.backoff_max {
            checks.add("manager.backoff_max", "it is shorter than manager.backoff_initial");
        }
        checks.duration("manager.stable_after", self.stable_after, Duration::ZERO..=DAY);
    }
}

impl ProceduresConfig {
    /// Whether the built-in procedure `name` is offered.
    ///
    /// An entry is a name, or a family: `sys.*` is every name that begins with `sys.`. Procedures of the family
    /// `exec` run arbitrary programs, so they are offered only when named in full.
    pub fn offers(&self, name: &str) -> bool {
        self.builtin.iter().any(|entry| match entry.strip_suffix('*') {
            Some(family) => !name.starts_with("exec.") && name.starts_with(family),
            None => entry == name,
        })
    }

    fn check(&self, checks: &mut Checks) {
        checks.path("procedures.dir", &self.dir);
        for entry in &self.builtin {
            if entry == "*" || entry.to_ascii_lowercase().starts_with("exec.*") {
                let what =
                    format!("{entry:?} does not reach what runs programs; name it in full: \"exec.run\"");
                checks.add("procedures.builtin", what);
            } else if !is_entry(entry) {
                checks.add(
                    "procedures.builtin",
                    format!("{entry:?} is neither a name nor a family such as \"sys.*\""),
                );
            } else if entry.contains(|c: char| c.is_ascii_uppercase()) {
                let small = entry.to_ascii_lowercase();
                let what = format!("{entry:?}: built-in procedures are lower-case; write {small:?}");
                checks.add("procedures.builtin", what);
            }
        }
    }
}

fn is_entry(entry: &str) -> bool {
    is_name(entry.strip_suffix(".*").unwrap_or(entry))
}

impl LimitsConfig {
    fn check(&self, checks: &mut Checks) {
        checks.number("limits.calls", self.calls, 1..=4096);
        checks.number("limits.jobs", self.jobs, 1..=100_000);
        checks.size("limits.job_window", self.job_window, 64 * KIB..=16 * 1024 * KIB);
        checks.size("limits.job_unacked", self.job_unacked, 64 * KIB..=GIB);
        if self.job_window > self.job_unacked {
            checks.add("limits.job_unacked", "it is smaller than limits.job_window");
        }
        checks.size("limits.output", self.output, KIB..=GIB);
        checks.duration_or_off("limits.run_timeout", self.run_timeout, Duration::from_secs(1)..=DAY * 365);
        checks.duration("limits.grace", self.grace, Duration::ZERO..=HOUR);
    }
}
