//! What an agent and an executable say to each other, line by line: one JSON object a line, in both directions.
//!
//! - [`CallLine`], [`cancel_line`], [`answer_line`] and [`ping_line`]: what the agent writes to the standard input.
//! - [`LineMachine`]: takes the bytes of the standard output as they come, in any pieces, and gives [`Event`]s or the one
//!   [`Violation`] that ends the listening.
//!
//! MessagePack has what JSON has not. A byte string is `{"$b64": "…"}` in both directions, at any depth; an extension is
//! `{"$ext": [type, "…"]}` on its way in; a key that is an integer or a truth value becomes its text. What JSON has no form
//! for (a number that is not finite, other keys) cannot be an argument: [`Unspeakable`]. The protocol as people see it is in
//! `docs/procedures.md`.

mod ask;
mod call;
mod convert;
mod exception;
mod lines;
mod machine;
mod parse;
mod violation;

pub use ask::{Ask, MAX_ASK_ID, MAX_ASK_TIMEOUT, Want, answer_line};
pub use call::{CallLine, CallLineError, MAX_CALL_LINE, cancel_line, ping_line};
pub use convert::Unspeakable;
pub use exception::Exception;
pub use machine::{Event, LineMachine};
pub use violation::{Kind, Violation};
