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

/// Why arguments do not fit, without the value that does not: it may be the secret of somebody who mistyped a name or a type.
pub(super) fn without_value(reason: &str) -> String {
    const BEHIND: &str = ", expected ";
    let marked = ["invalid type: ", "invalid value: "].iter().find_map(|mark| reason.split_once(mark));
    let Some((before, said)) = marked else { return reason.to_owned() };
    // the value may hold the words behind it as well
    let Some((value, expected)) = said.rsplit_once(BEHIND) else { return before.to_owned() };
    let kind = value.split(['`', '"']).next().unwrap_or_default().trim_end();
    format!("{before}{kind}{BEHIND}{expected}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_named_by_its_kind_and_never_shown() {
        for (reason, wanted) in [
            (
                "env: invalid type: integer `987654321`, expected a text or binary",
                "env: integer, expected a text or binary",
            ),
            ("invalid type: string \"a, expected \\\"b\\\"\", expected a map", "string, expected a map"),
            ("cwd: invalid value: floating point `1.5`, expected u64", "cwd: floating point, expected u64"),
            ("invalid type: unit value, expected u64", "unit value, expected u64"),
            ("there is no argument \"x\"", "there is no argument \"x\""),
        ] {
            assert_eq!(without_value(reason), wanted);
        }
    }
}
