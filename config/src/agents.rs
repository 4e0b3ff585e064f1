//! `[agents]` of the manager: what agents may ask for beyond telling what became of their runs.

use std::time::Duration;

use redpoll_common::ids::PeerId;
use redpoll_common::wire::MAX_METHOD_LEN;
use serde::{Deserialize, Serialize};

use crate::checks::Checks;
use crate::values::{duration, list, number, size};

const MIB: u64 = 1024 * 1024;
const HOUR: Duration = Duration::from_secs(3600);
/// The most entries of one list.
const MAX_ENTRIES: usize = 256;
/// What stands for the agent that asks.
pub const ITSELF: &str = "self";
/// What stands for every agent.
pub const ANY: &str = "*";

/// `[agents]`: what agents may ask of the manager. Nothing that is not named here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentsConfig {
    /// Types of events that agents may emit: globs.
    #[serde(with = "list")]
    pub emit: Vec<String>,
    /// Procedures that agents may submit jobs of: globs.
    #[serde(with = "list")]
    pub submit: Vec<String>,
    /// Where these jobs may run: [`ITSELF`] alone, [`ANY`] alone, or names of agents.
    #[serde(with = "list")]
    pub submit_on: Vec<String>,
    /// Procedures of which agents may have runs recorded that they made by themselves: globs.
    #[serde(with = "list")]
    pub record: Vec<String>,
    /// How many runs of jobs that one agent submitted may be open at a time.
    #[serde(with = "number")]
    pub open_runs: usize,
    /// How many bytes of args, kwargs and info the jobs in the manager's memory may have together that one agent submitted.
    #[serde(with = "size")]
    pub open_size: u64,
    /// How much of this each agent may ask for per second, in the long run.
    #[serde(with = "number")]
    pub rate: u32,
    /// How much at once before `rate` holds.
    #[serde(with = "number")]
    pub burst: u32,
    /// How often each agent may have a run recorded, in the long run: each is an event of the history. Zero: as often as `rate` allows.
    #[serde(with = "duration")]
    pub record_interval: Duration,
    /// How many at once before `record_interval` holds: as many as an agent may have saved up.
    #[serde(with = "number")]
    pub record_burst: u32,
}

impl Default for AgentsConfig {
    fn default() -> Self {
        Self {
            emit: Vec::new(),
            submit: Vec::new(),
            submit_on: vec![ITSELF.to_owned()],
            record: vec![ANY.to_owned()],
            open_runs: 10_000,
            open_size: 16 * MIB,
            rate: 10,
            burst: 100,
            record_interval: Duration::from_secs(10),
            record_burst: 1_000,
        }
    }
}

impl AgentsConfig {
    pub(crate) fn check(&self, checks: &mut Checks) {
        for (key, globs) in
            [("agents.emit", &self.emit), ("agents.submit", &self.submit), ("agents.record", &self.record)]
        {
            check_globs(key, globs, checks);
        }
        self.check_submit_on(checks);
        checks.number("agents.open_runs", self.open_runs, 1..=10_000_000);
        checks.size("agents.open_size", self.open_size, MIB..=1024 * 1024 * MIB);
        checks.number("agents.rate", self.rate, 1..=10_000);
        checks.number("agents.burst", self.burst, 1..=100_000);
        checks.duration("agents.record_interval", self.record_interval, Duration::ZERO..=HOUR);
        checks.number("agents.record_burst", self.record_burst, 1..=100_000);
    }

    fn check_submit_on(&self, checks: &mut Checks) {
        const KEY: &str = "agents.submit_on";
        match self.submit_on.as_slice() {
            [one] if one == ITSELF || one == ANY => {}
            [] => checks.add(KEY, "it is empty; name agents, or \"self\" for the agent that submits"),
            many if many.len() > MAX_ENTRIES => checks.add(KEY, format!("more than {MAX_ENTRIES} entries")),
            names => {
                for name in names {
                    if name == ITSELF || name == ANY {
                        checks.add(KEY, format!("{name:?} stands alone, or not at all"));
                    } else if let Err(error) = PeerId::parse(name) {
                        checks.add(KEY, format!("{name:?} is not an agent's name: {error}"));
                    }
                }
            }
        }
    }
}

fn check_globs(key: &str, globs: &[String], checks: &mut Checks) {
    if globs.len() > MAX_ENTRIES {
        checks.add(key, format!("more than {MAX_ENTRIES} entries"));
    }
    for glob in globs {
        let good = |b: u8| b.is_ascii_alphanumeric() || b".-_@*?".contains(&b);
        if glob.is_empty() || glob.len() > MAX_METHOD_LEN || !glob.bytes().all(good) {
            let what =
                format!("{glob:?} is not a name with * and ? in it, of at most {MAX_METHOD_LEN} bytes");
            checks.add(key, what);
        }
    }
}
