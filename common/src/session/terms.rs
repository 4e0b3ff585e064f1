//! What two sides agreed on in the handshake.

use std::time::Duration;

use crate::text::tidy;
use crate::wire::{self, AgentHello, Limits, ManagerHello};

/// Requests in flight in one direction unless configured otherwise.
pub const DEFAULT_IN_FLIGHT: u64 = 256;
/// The most requests in flight that anybody may configure.
pub const MAX_IN_FLIGHT: u64 = 4096;
/// Bytes of values one request may have on the way before credit is needed, unless configured otherwise.
pub const DEFAULT_WINDOW: u64 = 1024 * 1024;
/// The smallest window that works: one value of the usual piece.
pub const MIN_WINDOW: u64 = 16 * 1024;
/// The largest window anybody may configure, in bytes.
pub const MAX_WINDOW: u64 = 16 * 1024 * 1024;
/// The smallest frame limit that works once the hello is accepted, in bytes.
pub const MIN_FRAME_LIMIT: u64 = 16 * 1024;
/// Bytes kept of what a peer says its version is.
const MAX_VERSION_LEN: usize = 64;
/// The default interval between pings.
pub const DEFAULT_PING: Duration = Duration::from_secs(15);
/// The default time without a byte after which a peer is given up.
pub const DEFAULT_DEAD: Duration = Duration::from_secs(40);

impl Default for Limits {
    fn default() -> Self {
        Self { frame: wire::DEFAULT_FRAME_LIMIT as u64, in_flight: DEFAULT_IN_FLIGHT, window: DEFAULT_WINDOW }
    }
}

impl Limits {
    /// The smaller of each number, within what this build can take.
    pub fn meet(self, other: Self) -> Self {
        Self {
            frame: self.frame.min(other.frame).clamp(MIN_FRAME_LIMIT, wire::MAX_FRAME_LIMIT as u64),
            in_flight: self.in_flight.min(other.in_flight).clamp(1, MAX_IN_FLIGHT),
            window: self.window.min(other.window).clamp(MIN_WINDOW, MAX_WINDOW),
        }
    }
}

/// When to ping and when to give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Liveness {
    /// Between two pings; `None` = never.
    pub ping: Option<Duration>,
    /// Without a byte for this long the peer is dead; `None` = never.
    pub dead: Option<Duration>,
}

impl Liveness {
    /// The smaller of each duration: whoever wants to know sooner, does. Never is more than any duration.
    pub fn meet(self, other: Self) -> Self {
        let smaller = |a: Option<Duration>, b: Option<Duration>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self { ping: smaller(self.ping, other.ping), dead: smaller(self.dead, other.dead) }
    }
}

impl Default for Liveness {
    fn default() -> Self {
        Self { ping: Some(DEFAULT_PING), dead: Some(DEFAULT_DEAD) }
    }
}

/// What holds for an established session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The protocol both speak; 0 is the oldest form.
    pub protocol: u32,
    /// The limits of both sides together.
    pub limits: Limits,
    /// When to ping and when to give up.
    pub liveness: Liveness,
    /// The peer's own version, for people.
    pub peer_version: String,
    /// The abilities the peer named.
    pub peer_caps: Vec<String>,
}

impl Terms {
    /// Bytes a payload may have.
    pub fn frame_limit(&self) -> usize {
        usize::try_from(self.limits.frame).unwrap_or(wire::MAX_FRAME_LIMIT)
    }

    /// Whether the peer knows only the oldest form.
    pub fn is_oldest(&self) -> bool {
        self.protocol == 0
    }
}

/// What the manager says of itself when it accepts a hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The manager's own version.
    pub version: String,
    /// Its name.
    pub manager: String,
    /// Its cluster.
    pub cluster: String,
    /// What it can take.
    pub limits: Limits,
    /// When both sides ping and give up.
    pub liveness: Liveness,
    /// The wall clock in UTC milliseconds.
    pub wall_ms: u64,
}

fn millis(duration: Option<Duration>) -> u64 {
    duration.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

fn from_millis(ms: u64) -> Option<Duration> {
    (ms > 0).then(|| Duration::from_millis(ms))
}

impl Offer {
    /// The acceptance of `hello` in protocol `protocol`, as terms for us and as a message for the peer.
    pub(super) fn accept(&self, hello: &AgentHello, protocol: u32) -> (Terms, ManagerHello) {
        let limits = self.limits.meet(hello.limits.unwrap_or(self.limits));
        let terms = Terms {
            protocol,
            limits,
            liveness: self.liveness,
            peer_version: tidy(&hello.version, MAX_VERSION_LEN),
            peer_caps: hello.caps.clone(),
        };
        let answer = ManagerHello {
            version: self.version.clone(),
            protocol: (protocol > 0).then_some(protocol),
            caps: Vec::new(),
            manager: Some(self.manager.clone()),
            cluster: Some(self.cluster.clone()),
            epoch: None,
            turn: None,
            limits: Some(limits),
            ping_ms: Some(millis(self.liveness.ping)),
            dead_ms: Some(millis(self.liveness.dead)),
            wall_ms: Some(self.wall_ms),
        };
        (terms, answer)
    }
}

impl Terms {
    /// The dialler's view of an acceptance.
    pub(super) fn of_answer(own: &AgentHello, answer: ManagerHello) -> Self {
        let own_limits = own.limits.unwrap_or_default();
        let liveness = Liveness {
            ping: answer.ping_ms.map_or(Some(DEFAULT_PING), from_millis),
            dead: answer.dead_ms.map_or(Some(DEFAULT_DEAD), from_millis),
        };
        Self {
            protocol: answer.protocol.unwrap_or(0),
            limits: own_limits.meet(answer.limits.unwrap_or(own_limits)),
            liveness,
            peer_version: tidy(&answer.version, MAX_VERSION_LEN),
            peer_caps: answer.caps,
        }
    }
}
