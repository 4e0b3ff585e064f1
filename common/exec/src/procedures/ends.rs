//! How each end of a process is told to the caller. Five things stay distinct: the procedure failed, it was refused, the system
//! around it failed, it was stopped, and (told by others) it was lost.

use std::time::Duration;

use redpoll_common::wire::{Fault, FaultCode, Raw, RawMap};

use crate::exec::Tail;

/// Why a process is ended although nobody asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It broke the protocol; what it did.
    Protocol(String),
    /// What it said in the call holds what no message can carry; what that is.
    Unfit(String),
    /// A value that nobody can be sent.
    TooLarge(String),
    /// It said nothing for so long.
    Silent(Duration),
}

impl Trouble {
    /// For the log.
    pub(super) fn words(&self) -> &str {
        match self {
            Self::Protocol(what) | Self::Unfit(what) | Self::TooLarge(what) => what,
            Self::Silent(_) => "it was silent",
        }
    }

    /// Whether it is about what was said in a call, and not about who said it.
    pub(super) fn is_of_call(&self) -> bool {
        match self {
            Self::Unfit(_) | Self::TooLarge(_) => true,
            Self::Protocol(_) | Self::Silent(_) => false,
        }
    }

    /// The fault of the call.
    pub(super) fn fault(self, procedure: &str, tail: &Tail) -> Fault {
        match self {
            Self::Protocol(what) | Self::Unfit(what) => {
                failed("ProtocolError", format!("{procedure} broke the protocol: {what}"), tail)
            }
            Self::TooLarge(what) => Fault::new(FaultCode::TooLarge, format!("{procedure} gave {what}")),
            Self::Silent(limit) => {
                let text =
                    format!("{procedure} gave nothing for {} s, its idle_timeout", limit.as_secs_f64());
                Fault::new(FaultCode::TimedOut, text)
            }
        }
    }
}

/// How a process ended by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Died {
    pub(super) exit: Option<i32>,
    pub(super) signal: Option<i32>,
}

impl Died {
    pub(super) fn words(self) -> String {
        match (self.exit, self.signal) {
            (Some(code), _) => format!("exited with {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended in an unknown way".to_owned(),
        }
    }

    /// `{exit, signal}`
    pub(super) fn data(self) -> Raw {
        self.entries().finish()
    }

    /// The same of a worker that was given no call before its end: `{exit, signal, started}`, which is false.
    pub(super) fn data_of_unready(self) -> Raw {
        self.entries().bool("started", false).finish()
    }

    fn entries(self) -> RawMap {
        let number = |number: Option<i32>| {
            number.map_or_else(Raw::nil, |number| Raw::encode(&number).unwrap_or_else(|_never| Raw::nil()))
        };
        RawMap::new().raw("exit", &number(self.exit)).raw("signal", &number(self.signal))
    }

    /// The fault of a call whose process ended without a result.
    pub(super) fn fault(self, text: String, tail: &Tail) -> Fault {
        failed("ExitStatus", text, tail).with_data(self.data())
    }
}

/// The fault `failed`, with the end of the standard error as its trace.
pub(super) fn failed(class: &str, text: String, tail: &Tail) -> Fault {
    let mut fault = Fault::new(FaultCode::Failed, text);
    fault.class = Some(class.to_owned());
    fault.trace = tail.text();
    fault
}

/// The fault of a run that took longer than it may.
pub(super) fn too_long(procedure: &str, limit: Duration) -> Fault {
    let text = format!("{procedure} exceeded its time limit of {} s", limit.as_secs_f64());
    Fault::new(FaultCode::TimedOut, text)
}
