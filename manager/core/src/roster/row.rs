//! What a listing of the roster shows of one agent.

use std::sync::Arc;
use std::time::Instant;

use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::text::tidy;

/// Bytes kept of what an agent says its version is.
pub const MAX_VERSION_LEN: usize = 64;
/// Bytes kept of the digest of an agent's policy.
pub const MAX_POLICY_LEN: usize = 64;
/// Bytes kept of an agent's address as text.
pub const MAX_ADDRESS_LEN: usize = 128;

/// What is known of an agent's connection, for people. It never changes and is shared, so that a listing is cheap; another takes its
/// place when the agent says something new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    version: String,
    protocol: u32,
    address: String,
    instance: Option<[u8; 16]>,
    policy: Option<String>,
}

impl Entry {
    /// What the hello and the transport say of an agent: its version, the protocol in use, where it dialled from.
    ///
    /// `instance` is the number of the agent's process, if it says one. Texts are shortened to their limits and
    /// freed of control characters.
    pub fn new(version: &str, protocol: u32, address: &str, instance: Option<[u8; 16]>) -> Self {
        let (version, address) = (tidy(version, MAX_VERSION_LEN), tidy(address, MAX_ADDRESS_LEN));
        Self { version, protocol, address, instance, policy: None }
    }

    /// The same with the digest of the agent's local policy, if it says one.
    pub fn with_policy(self, policy: Option<&str>) -> Self {
        Self { policy: policy.map(|digest| tidy(digest, MAX_POLICY_LEN)), ..self }
    }

    /// The digest of the agent's local policy.
    pub fn policy(&self) -> Option<&str> {
        self.policy.as_deref()
    }

    /// The agent's own version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The protocol in use.
    pub fn protocol(&self) -> u32 {
        self.protocol
    }

    /// Where the agent dialled from.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The number of the agent's process.
    pub fn instance(&self) -> Option<[u8; 16]> {
        self.instance
    }
}

/// Whether an agent is there, in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Connected since then.
    Connected {
        /// When the connection in place was entered.
        since: Instant,
    },
    /// Connected since then, and finishing what it has.
    Draining {
        /// When the connection in place was entered.
        since: Instant,
    },
    /// Not connected.
    Away {
        /// When its last connection ended.
        last_seen: Instant,
        /// Why it ended.
        reason: Arc<str>,
    },
}

impl State {
    /// The state in one word, as it stands in tables: `connected`, `draining` or `away`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Connected { .. } => "connected",
            Self::Draining { .. } => "draining",
            Self::Away { .. } => "away",
        }
    }

    /// When the connection in place began, or the last one ended.
    pub fn since(&self) -> Instant {
        match self {
            Self::Connected { since } | Self::Draining { since } | Self::Away { last_seen: since, .. } => {
                *since
            }
        }
    }
}

/// One agent in a listing. Cheap to clone: it shares its texts with the roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Who.
    pub agent: PeerId,
    /// The number of its connection in place, or of its last.
    pub connection: ConnectionId,
    /// What is known of that connection.
    pub entry: Arc<Entry>,
    /// Whether it is there.
    pub state: State,
}

/// How many agents are in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connected, those that drain included.
    pub connected: usize,
    /// Connected and draining.
    pub draining: usize,
    /// Remembered and not connected.
    pub away: usize,
}
