//! The eight kinds of message as types. How they look as bytes is in [`super::codec`].

use std::fmt;

use super::{Bye, Fault, Raw};
use crate::ids::RequestId;

/// The numbers of the kinds: key `t` of every payload. There are no others.
pub mod kind {
    /// [`super::AgentHello`]
    pub const AGENT_HELLO: u64 = 10;
    /// [`super::ManagerHello`]
    pub const MANAGER_HELLO: u64 = 11;
    /// [`super::Message::Ping`]
    pub const PING: u64 = 12;
    /// [`super::Message::Pong`]
    pub const PONG: u64 = 13;
    /// [`super::Bye`]
    pub const BYE: u64 = 14;
    /// [`super::Request`]
    pub const REQUEST: u64 = 20;
    /// [`super::Response`]
    pub const RESPONSE: u64 = 21;
    /// [`super::Notification`]
    pub const NOTIFICATION: u64 = 22;
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// What a dialler says first.
    AgentHello(Box<AgentHello>),
    /// The manager's answer: "you are in".
    ManagerHello(Box<ManagerHello>),
    /// Asks for a pong with the same number.
    Ping(Integer),
    /// Answers a ping.
    Pong(Integer),
    /// Ends the connection.
    Bye(Bye),
    /// A call.
    Request(Request),
    /// Its single answer.
    Response(Response),
    /// A one-way message.
    Notification(Notification),
    /// A kind that this build does not know, by its number. Counted, never fatal.
    Unknown(u64),
}

/// The protocol versions a peer speaks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProtocolRange {
    /// The oldest.
    pub min: u32,
    /// The newest.
    pub max: u32,
}

/// What one side can take. Each side says its own; the smaller number holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes a payload may have (`frame`).
    pub frame: u64,
    /// Requests that may be in flight in one direction (`in_flight`).
    pub in_flight: u64,
    /// Bytes of values that one request may have on the way before credit is needed (`window`).
    pub window: u64,
}

/// The first message of every connection, from the side that dialled, agent or operator.
///
/// `id`, `version` and `credentials` are the oldest form; everything else is optional.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct AgentHello {
    /// The peer's name; must equal the id in its certificate.
    pub id: String,
    /// The peer's own version, for people.
    pub version: String,
    /// An optional second factor. Never shown.
    pub credentials: String,
    /// The protocols spoken; `None` means protocol 0.
    pub protocol: Option<ProtocolRange>,
    /// Names of optional abilities.
    pub caps: Vec<String>,
    /// What the peer can take.
    pub limits: Option<Limits>,
    /// A random number per process start.
    pub instance: Option<[u8; 16]>,
    /// The machine's boot, as its kernel names it.
    pub boot: Option<String>,
    /// The agent's spool of jobs.
    pub spool: Option<[u8; 16]>,
    /// The newest session epoch the agent has seen.
    pub epoch: Option<u64>,
    /// The newest turn nonce the agent has stored.
    pub turn: Option<[u8; 16]>,
    /// The highest dispatch number in the spool.
    pub max_dno: Option<u64>,
    /// A digest of the agent's local policy, for people who compare machines.
    pub policy: Option<String>,
    /// The peer's wall clock in UTC milliseconds, to show skew, never to decide.
    pub wall_ms: Option<u64>,
}

impl fmt::Debug for AgentHello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentHello")
            .field("id", &self.id)
            .field("version", &self.version)
            .field("credentials", &"***")
            .field("protocol", &self.protocol)
            .field("caps", &self.caps)
            .field("limits", &self.limits)
            .field("instance", &self.instance)
            .field("boot", &self.boot)
            .finish_non_exhaustive()
    }
}

/// The manager's acceptance. Only `version` is the oldest form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ManagerHello {
    /// The manager's own version, for people.
    pub version: String,
    /// The protocol chosen; `None` means protocol 0.
    pub protocol: Option<u32>,
    /// Names of optional abilities.
    pub caps: Vec<String>,
    /// The manager's name.
    pub manager: Option<String>,
    /// The cluster's name.
    pub cluster: Option<String>,
    /// The session epoch.
    pub epoch: Option<u64>,
    /// The next turn nonce.
    pub turn: Option<[u8; 16]>,
    /// What the manager can take.
    pub limits: Option<Limits>,
    /// How often both sides ping, in milliseconds; 0 = never.
    pub ping_ms: Option<u64>,
    /// After this long without a byte a side gives up, in milliseconds; 0 = never.
    pub dead_ms: Option<u64>,
    /// The manager's wall clock in UTC milliseconds, to show skew, never to decide.
    pub wall_ms: Option<u64>,
}

/// A call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Made by the sender, unique among its requests of this connection.
    pub id: RequestId,
    /// An `rp.` method or a procedure, `name` or `name@version`.
    pub method: String,
    /// Positional arguments: an array.
    pub args: Raw,
    /// Named arguments: a map.
    pub kwargs: Raw,
    /// How long the sender will wait, from now, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Identifies the call across programs in logs and traces.
    pub trace: Option<String>,
    /// For which operator the manager asks. It says nothing about the sender, which its certificate names.
    pub operator: Option<String>,
    /// What that operator is, by the manager's configuration; `None`: it does not say. From anybody else it means nothing.
    pub roles: Option<Vec<String>>,
}

/// The single answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The request's id.
    pub id: RequestId,
    /// What came out.
    pub result: Result<Raw, Fault>,
}

/// A one-way message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// What it is about (`type` on the wire).
    pub kind: String,
    /// Its content.
    pub data: Raw,
}

/// Any integer MessagePack can carry: −2⁶³ to 2⁶⁴−1. A pong echoes a ping's number whatever the peer chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Integer(i128);

impl Integer {
    /// The number.
    pub fn get(self) -> i128 {
        self.0
    }
}

impl From<u64> for Integer {
    fn from(n: u64) -> Self {
        Self(i128::from(n))
    }
}

impl From<i64> for Integer {
    fn from(n: i64) -> Self {
        Self(i128::from(n))
    }
}
