//! What travels: frames, payloads and the eight kinds of message.
//!
//! A *frame* is a 4-byte big-endian length and a payload; a *payload* is one MessagePack map; a *message* is its
//! meaning. Bytes of a peer pass three gates, in this order, and nothing recursive or allocating comes before them:
//! [`frame::Splitter`] (length limits), [`scan`] (depth, node count, UTF-8, duplicate keys, exactly one value) and
//! [`codec::decode`] (the fields of the kind, strictly typed). What a message carries for somebody else
//! (`args`, `kwargs`, `data`) stays [`Raw`]: bytes that passed the scan and that nobody decodes on the way.

pub mod bye;
mod canonical;
pub mod codec;
pub(crate) mod encode;
mod error;
pub mod fault;
pub mod fields;
pub mod flight;
pub mod frame;
mod head;
mod keys;
pub mod list;
pub mod message;
pub mod raw;
pub mod scan;
mod write;

pub use bye::{Bye, ByeCode};
pub use error::DecodeError;
pub use fault::{Fault, FaultCode};
pub use fields::Fields;
pub use flight::Flight;
pub use message::{
    AgentHello, Integer, Limits, ManagerHello, Message, Notification, ProtocolRange, Request, Response,
};
pub use raw::Raw;
pub use write::RawMap;

/// The newest protocol this build speaks. Protocol 0 is the oldest form, see `docs/protocol.md`.
pub const PROTOCOL: u32 = 1;

/// Bytes a payload may have before the hello is accepted.
pub const HELLO_LIMIT: usize = 16 * 1024;
/// Bytes a payload may have by default once the hello is accepted.
pub const DEFAULT_FRAME_LIMIT: usize = 1024 * 1024;
/// The largest frame limit anybody may configure or negotiate, in bytes.
pub const MAX_FRAME_LIMIT: usize = 16 * 1024 * 1024;
/// How deep arrays and maps may nest in a payload; the payload's own map is depth 1.
pub const MAX_DEPTH: usize = 32;
/// How many values (keys included) a payload may hold.
pub const MAX_NODES: usize = 65_536;
/// Bytes a method's or a notification type's name may have.
pub const MAX_METHOD_LEN: usize = 128;
