//! `[relay]`: connections of which the manager passes on the bytes, unread.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checks::Checks;
use crate::values::{duration, number};

/// `[relay]`: files that go between operators and agents encrypted from end to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayConfig {
    /// How many files may be on their way at a time; 0: none, they all go as calls.
    #[serde(with = "number")]
    pub files: usize,
    /// How long an operator waits for the agent to dial.
    #[serde(with = "duration")]
    pub wait: Duration,
    /// A file of which nothing moves for so long is given up.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self { files: 64, wait: Duration::from_secs(10), idle_timeout: Duration::from_secs(60) }
    }
}

impl RelayConfig {
    pub(crate) fn check(&self, checks: &mut Checks) {
        checks.number("relay.files", self.files, 0..=4096);
        // no longer than the ends wait by themselves
        checks.duration("relay.wait", self.wait, Duration::from_millis(100)..=Duration::from_secs(10));
        checks.duration(
            "relay.idle_timeout",
            self.idle_timeout,
            Duration::from_secs(1)..=Duration::from_secs(60),
        );
    }
}
