//! What no call may exceed.

use std::time::Duration;

use redpoll_config::LimitsConfig;

/// What no call of a program may exceed; also what holds when a call asks for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecLimits {
    /// The most bytes of output that are delivered.
    pub output: u64,
    /// The longest run; `None`: no limit.
    pub run_timeout: Option<Duration>,
    /// The longest time between SIGTERM and SIGKILL.
    pub grace: Duration,
}

impl From<&LimitsConfig> for ExecLimits {
    fn from(config: &LimitsConfig) -> Self {
        let run_timeout = Some(config.run_timeout).filter(|limit| !limit.is_zero());
        Self { output: config.output, run_timeout, grace: config.grace }
    }
}
