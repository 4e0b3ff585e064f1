//! What all built-in procedures do with their arguments and answers.

use redpoll_common::wire::raw::RawError;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_net::CallContext;
use serde::Serialize;

/// What is wrong with a call's arguments, for its caller.
#[derive(Debug)]
pub(super) struct BadArguments(pub(super) String);

impl From<BadArguments> for Fault {
    fn from(BadArguments(message): BadArguments) -> Self {
        Self::new(FaultCode::BadArguments, message)
    }
}

/// Refuses a call that brings arguments to a procedure that takes none.
pub(super) fn no_arguments(call: &CallContext) -> Result<(), BadArguments> {
    let none = call.args == Raw::empty_array() && call.kwargs == Raw::empty_map();
    if none { Ok(()) } else { Err(BadArguments(format!("{} takes no arguments", call.method))) }
}

/// An answer that has no form on the wire.
#[derive(Debug)]
pub(super) struct BadAnswer(RawError);

impl From<BadAnswer> for Fault {
    fn from(BadAnswer(error): BadAnswer) -> Self {
        Self::new(FaultCode::Internal, format!("the answer cannot be sent: {error}"))
    }
}

/// Encodes an answer.
pub(super) fn answer<T: Serialize + ?Sized>(value: &T) -> Result<Raw, BadAnswer> {
    Raw::encode(value).map_err(BadAnswer)
}
