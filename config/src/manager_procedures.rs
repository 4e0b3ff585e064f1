//! `[procedures]` of the manager: what agents and operators may call here, and how much of it.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checks::Checks;
use crate::policy::{PolicyConfig, PolicyOwner};
use crate::values::{duration, number, size};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// `[procedures]` of the manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagerProceduresConfig {
    /// The folder whose files describe executables that are offered. A folder that is not there offers none.
    pub dir: PathBuf,
    /// The file with the rules about calls of them, as a policy of an agent has. One that is not there has none.
    pub policy: PathBuf,
    /// To whom that file and the folders above it have to belong.
    pub policy_owner: PolicyOwner,
    /// How many calls may run at a time.
    #[serde(with = "number")]
    pub calls: usize,
    /// The longest a call may take, whatever its caller allows; zero is no limit.
    #[serde(with = "duration")]
    pub run_timeout: Duration,
    /// How many bytes of output of one call are delivered.
    #[serde(with = "size")]
    pub output: u64,
    /// How long a process group has between TERM and KILL, at most.
    #[serde(with = "duration")]
    pub grace: Duration,
}

impl Default for ManagerProceduresConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("/etc/redpoll/manager-procedures.d"),
            policy: PathBuf::from("/etc/redpoll/manager-policy.toml"),
            policy_owner: PolicyOwner::Agent,
            calls: 64,
            run_timeout: HOUR,
            output: 16 * MIB,
            grace: Duration::from_secs(5),
        }
    }
}

impl ManagerProceduresConfig {
    /// Where the rules are.
    pub fn rules(&self) -> PolicyConfig {
        PolicyConfig { file: self.policy.clone(), owner: self.policy_owner }
    }

    pub(crate) fn check(&self, checks: &mut Checks) {
        checks.path("procedures.dir", &self.dir);
        checks.path("procedures.policy", &self.policy);
        checks.number("procedures.calls", self.calls, 1..=4096);
        checks.duration_or_off("procedures.run_timeout", self.run_timeout, Duration::from_secs(1)..=YEAR);
        checks.size("procedures.output", self.output, KIB..=1024 * MIB);
        checks.duration("procedures.grace", self.grace, Duration::ZERO..=HOUR);
    }
}
