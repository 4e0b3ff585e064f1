//! Sections that several programs share.

use std::path::PathBuf;
use std::time::Duration;

use redpoll_common::session::terms::{DEFAULT_DEAD, DEFAULT_PING, DEFAULT_WINDOW, Liveness};
use redpoll_common::wire::{DEFAULT_FRAME_LIMIT, Limits};
use serde::{Deserialize, Serialize};

use crate::checks::Checks;
use crate::values::choice::choice;
use crate::values::{duration, number, size};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// The shortest deadline that is accepted anywhere.
const SHORTEST: Duration = Duration::from_millis(100);

/// The limits of a deadline for another party: 100 ms to 5 minutes.
pub(crate) const DEADLINE: std::ops::RangeInclusive<Duration> = SHORTEST..=Duration::from_secs(300);

/// The largest frame limit that may be configured, in bytes.
pub const MAX_FRAME_LIMIT: u64 = 16 * MIB;
/// The most requests in flight per side of a session that may be configured.
pub const MAX_IN_FLIGHT: usize = 4096;
/// The largest window that may be configured, in bytes.
pub const MAX_WINDOW: u64 = 16 * MIB;

/// `[tls]`: the certificate this program shows, its key, and whom it believes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate, PEM, with intermediates after it if there are any.
    pub cert: PathBuf,
    /// The private key of the certificate, PEM. Mode 0600 or stricter, which is checked when it is read.
    pub key: PathBuf,
    /// The certificates of the authorities that peers may be signed by, PEM.
    pub ca: PathBuf,
}

impl TlsConfig {
    pub(crate) fn named(folder: &str, name: &str) -> Self {
        let file = |name: String| PathBuf::from(format!("{folder}/{name}"));
        Self {
            cert: file(format!("{name}.crt")),
            key: file(format!("{name}.key")),
            ca: file("ca.crt".to_owned()),
        }
    }

    pub(crate) fn check(&self, checks: &mut Checks) {
        checks.path("tls.cert", &self.cert);
        checks.path("tls.key", &self.key);
        checks.path("tls.ca", &self.ca);
    }

    pub(crate) fn paths(&mut self) -> [(&'static str, &mut PathBuf); 3] {
        [("tls.cert", &mut self.cert), ("tls.key", &mut self.key), ("tls.ca", &mut self.ca)]
    }
}

/// `[session]`: keep-alive and limits of one session. Both sides have one; the smaller limit holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionConfig {
    /// How often a ping is sent, give or take a tenth; zero turns pings and the check for silence off.
    #[serde(with = "duration")]
    pub ping_interval: Duration,
    /// How long a peer may be silent before the connection is closed.
    #[serde(with = "duration")]
    pub dead_after: Duration,
    /// The longest frame that is sent or accepted, in bytes; at most [`MAX_FRAME_LIMIT`].
    #[serde(with = "size")]
    pub frame_limit: u64,
    /// How many requests of the peer may be unanswered at a time; at most [`MAX_IN_FLIGHT`].
    #[serde(with = "number")]
    pub in_flight: usize,
    /// How many bytes of values a sender may have outstanding per call; at most [`MAX_WINDOW`].
    #[serde(with = "size")]
    pub window: u64,
    /// How long a peer may take to read anything before it is cut.
    #[serde(with = "duration")]
    pub write_timeout: Duration,
    /// How many bytes may be queued for one connection, all classes together.
    #[serde(with = "size")]
    pub queue_limit: u64,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            ping_interval: DEFAULT_PING,
            dead_after: DEFAULT_DEAD,
            frame_limit: DEFAULT_FRAME_LIMIT as u64,
            in_flight: 256,
            window: DEFAULT_WINDOW,
            write_timeout: Duration::from_secs(10),
            queue_limit: 4 * MIB,
        }
    }
}

impl SessionConfig {
    /// The limits as they travel in the hello.
    pub fn limits(&self) -> Limits {
        Limits { frame: self.frame_limit, in_flight: self.in_flight as u64, window: self.window }
    }

    /// When to ping and when to give up; an interval of zero turns both off.
    pub fn liveness(&self) -> Liveness {
        let on = !self.ping_interval.is_zero();
        Liveness { ping: on.then_some(self.ping_interval), dead: on.then_some(self.dead_after) }
    }

    pub(crate) fn check(&self, checks: &mut Checks) {
        checks.duration_or_off("session.ping_interval", self.ping_interval, Duration::from_millis(50)..=HOUR);
        checks.duration("session.dead_after", self.dead_after, SHORTEST..=DAY);
        if self.dead_after < self.ping_interval * 2 {
            let least = duration::format_duration(self.ping_interval * 2);
            let what =
                format!("a lost ping would close the session; make it at least twice ping_interval: {least}");
            checks.add("session.dead_after", what);
        }
        checks.size("session.frame_limit", self.frame_limit, 16 * KIB..=MAX_FRAME_LIMIT);
        checks.number("session.in_flight", self.in_flight, 1..=MAX_IN_FLIGHT);
        checks.size("session.window", self.window, 16 * KIB..=MAX_WINDOW);
        checks.duration("session.write_timeout", self.write_timeout, DEADLINE);
        checks.size("session.queue_limit", self.queue_limit, 64 * KIB..=1024 * MIB);
        if self.queue_limit < self.frame_limit {
            checks
                .add("session.queue_limit", "the longest frame would not fit; make it at least frame_limit");
        }
    }
}

/// `[log]`: what is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// A level or a filter such as `info,redpoll_net=debug`. Whoever sets up logging parses it.
    pub level: String,
    /// The form of a line.
    pub format: LogFormat,
}

impl LogConfig {
    pub(crate) fn at(level: &str) -> Self {
        Self { level: level.to_owned(), format: LogFormat::Text }
    }

    pub(crate) fn check(&self, checks: &mut Checks) {
        if self.level.trim().is_empty() {
            checks.add("log.level", "the filter is empty; write a level such as \"info\", or \"off\"");
        }
    }
}

choice! {
    /// The form of a line in the log.
    LogFormat, "text or json", {
        /// For people.
        Text = "text",
        /// One JSON object a line, for programs.
        Json = "json",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_that_the_protocol_is_described_with() {
        let session = SessionConfig::default();
        assert_eq!(session.limits(), Limits::default());
        assert_eq!(session.liveness(), Liveness::default());
    }
}
