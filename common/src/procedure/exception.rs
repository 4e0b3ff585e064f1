//! An exception of a procedure, on its way to whoever called.

use std::fmt;

use crate::wire::{Fault, FaultCode, Raw};

/// Bytes of a message that are passed on.
const MAX_MESSAGE: usize = 8 * 1024;
/// Bytes of a trace that are passed on: its end, where the cause stands in most languages.
const MAX_TRACE: usize = 64 * 1024;

/// What a procedure says of its own failure. All of it is optional.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Exception {
    /// The class.
    pub class: Option<String>,
    /// The module of the class.
    pub module: Option<String>,
    /// The text.
    pub message: Option<String>,
    /// The stack trace, as text.
    pub trace: Option<String>,
    /// The arguments of the exception.
    pub args: Option<Raw>,
    /// Its attributes.
    pub state: Option<Raw>,
    /// Anything else.
    pub data: Option<Raw>,
}

impl fmt::Debug for Exception {
    /// Shows the class only: the rest may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exception").field("class", &self.class).finish_non_exhaustive()
    }
}

impl Exception {
    /// The fault `failed` that it is. Message and trace are cut to what a message takes; `args`, `state` and `data` are left
    /// out when they are larger than `room` bytes together, and the trace says so.
    pub fn into_fault(self, room: usize) -> Fault {
        let Self { class, module, message, trace, args, state, data } = self;
        let text = message.filter(|message| !message.is_empty()).or_else(|| class.clone());
        let text = text.unwrap_or_else(|| "the procedure failed and did not say why".to_owned());
        let mut fault = Fault::new(FaultCode::Failed, head(text, MAX_MESSAGE));
        fault.class = class.map(|class| head(class, MAX_MESSAGE));
        fault.module = module.map(|module| head(module, MAX_MESSAGE));
        fault.trace = trace.map(|trace| tail(trace, MAX_TRACE));
        let size: usize = [&args, &state, &data].into_iter().flatten().map(Raw::len).sum();
        if size > room {
            let note =
                format!("(args, state and data of {size} bytes were left out: no more than {room} fit)");
            fault.trace = Some(fault.trace.map_or_else(|| note.clone(), |trace| format!("{trace}\n{note}")));
        } else {
            (fault.args, fault.state, fault.data) = (args, state, data);
        }
        fault
    }
}

fn head(mut text: String, max: usize) -> String {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
        text.push('…');
    }
    text
}

fn tail(text: String, max: usize) -> String {
    if text.len() <= max {
        return text;
    }
    let from = text.ceil_char_boundary(text.len() - max);
    format!("…{}", text.get(from..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_an_exception_reaches_the_fault() {
        let exception = Exception {
            class: Some("ValueError".into()),
            module: Some("shop".into()),
            message: Some("no such dog".into()),
            trace: Some("line 1".into()),
            args: Some(Raw::text("a")),
            state: Some(Raw::text("b")),
            data: Some(Raw::text("c")),
        };
        let fault = exception.clone().into_fault(100);
        assert_eq!((fault.code, fault.message.as_str()), (FaultCode::Failed, "no such dog"));
        assert_eq!((fault.class, fault.module), (Some("ValueError".into()), Some("shop".into())));
        assert_eq!((fault.args, fault.state), (Some(Raw::text("a")), Some(Raw::text("b"))));
        assert_eq!((fault.data, fault.trace), (Some(Raw::text("c")), Some("line 1".into())));
        let small = exception.into_fault(3);
        assert!(small.args.is_none() && small.trace.is_some_and(|trace| trace.contains("6 bytes")));
    }

    #[test]
    fn a_fault_has_a_message_whatever_the_exception_says() {
        let class =
            Exception { class: Some("E".into()), message: Some(String::new()), ..Exception::default() };
        assert_eq!(class.into_fault(0).message, "E");
        assert!(!Exception::default().into_fault(0).message.is_empty());
        let long = Exception {
            message: Some("ä".repeat(9000)),
            trace: Some("ü".repeat(90_000)),
            ..Exception::default()
        };
        let fault = long.into_fault(0);
        assert!(
            fault.message.len() <= MAX_MESSAGE + 3 && fault.trace.is_some_and(|t| t.len() <= MAX_TRACE + 3)
        );
    }
}
