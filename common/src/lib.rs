//! Redpoll's rules, without I/O: this crate never opens a socket, reads a clock or draws a random number.
//!
//! - [`bucket`]: how many things may happen per second, and how many at once.
//! - [`ids`] and [`identity`]: who somebody is, parsed once at the edge and trusted afterwards.
//! - [`job`]: what a job is, the states of its runs, what travels about it, and the rules of an agent's spool.
//! - [`leg`]: what is said on a connection whose bytes a manager passes on unread.
//! - [`nearest`]: which name was probably meant.
//! - [`number`]: which of two numbers is the greater, however they are written.
//! - [`procedure`]: what an agent and an executable say to each other, line by line.
//! - [`roles`]: what an operator is beyond being one, for the policies of machines.
//! - [`schedule`]: when recurring procedures run.
//! - [`text`]: which characters act instead of being seen, and texts of peers without them.
//! - [`throttle`]: which repeated refusals are worth a line in the log.
//! - [`wire`]: payloads, frames and the eight kinds of message; what is checked before anything is decoded.
//! - [`session`]: the protocol state of one connection: handshake, keep-alive, calls both ways, credit, back-off.
//! - [`words`]: what nobody may see in a text, by value.
//! - [`api`]: the arguments and answers of the `rp.*` methods, shared by the manager and everyone who asks it.
//!
//! What moves bytes lives in `redpoll-net`; what a manager decides lives in `redpoll-manager-core`.
//! Start reading at [`session::Session`]; the same document for people is `docs/protocol.md`.

pub mod api;
pub mod bucket;
pub mod identity;
pub mod ids;
pub mod job;
pub mod leg;
pub mod nearest;
pub mod number;
pub mod procedure;
pub mod roles;
pub mod rounding;
pub mod schedule;
pub mod session;
pub mod text;
pub mod throttle;
pub mod typed;
pub mod wire;
pub mod words;
