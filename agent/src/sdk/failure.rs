//! How a handler says that it failed.

use std::any::type_name;
use std::error::Error;

use redpoll_common::session::chain;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use serde::Serialize;

/// A procedure's own failure, as its caller sees it: the fault `failed`, with a class, a text and whatever else helps.
///
/// ```
/// use redpoll_agent::sdk::Failure;
///
/// let failure = Failure::new("the disk of web-1 is full")
///     .class("DiskFull")
///     .args(&["web-1", "/var"])
///     .state(&[("free", 0)].into_iter().collect::<std::collections::BTreeMap<_, _>>())
///     .trace("deploy, then unpack");
/// # drop(failure);
/// ```
///
/// `?` makes one of any error: the class is the error's type, the text its whole chain of causes. Nothing else of it
/// crosses. What the procedure redacts in its arguments is masked in it; keep other secrets out of error texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(Fault);

impl Failure {
    /// A failure with a text for people.
    pub fn new(message: impl Into<String>) -> Self {
        Self(Fault::new(FaultCode::Failed, message))
    }

    /// The same with a class, by which programs tell failures apart.
    pub fn class(mut self, class: impl Into<String>) -> Self {
        self.0.class = Some(class.into());
        self
    }

    /// The same with details for programs; those that cannot be encoded are left out.
    pub fn data<T: Serialize + ?Sized>(mut self, data: &T) -> Self {
        self.0.data = Raw::encode(data).ok();
        self
    }

    /// The same with the module that the class is of.
    pub fn module(mut self, module: impl Into<String>) -> Self {
        self.0.module = Some(module.into());
        self
    }

    /// The same with where it happened, as lines for people: a backtrace, or the steps that led there.
    pub fn trace(mut self, trace: impl Into<String>) -> Self {
        self.0.trace = Some(trace.into());
        self
    }

    /// The same with the arguments that an exception of this class is made from elsewhere, a list as a rule; those that cannot be
    /// encoded are left out.
    pub fn args<T: Serialize + ?Sized>(mut self, args: &T) -> Self {
        self.0.args = Raw::encode(args).ok();
        self
    }

    /// The same with the fields of such an exception, a map as a rule; those that cannot be encoded are left out.
    pub fn state<T: Serialize + ?Sized>(mut self, state: &T) -> Self {
        self.0.state = Raw::encode(state).ok();
        self
    }

    pub(super) fn into_fault(self) -> Fault {
        self.0
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let (module, class) = split(type_name::<E>());
        let mut failure = Self::new(chain(&error)).class(class);
        failure.0.module = module.map(str::to_owned);
        failure
    }
}

/// `std::io::error::Error` is the class `Error` of the module `std::io::error`.
fn split(name: &str) -> (Option<&str>, &str) {
    // the colons in the parameters of a generic type are not its own
    let own = name.find('<').unwrap_or(name.len());
    match name.get(..own).and_then(|own| own.rfind("::")) {
        Some(at) => (name.get(..at), name.get(at + 2..).unwrap_or(name)),
        None => (None, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_becomes_a_failure_with_its_type_and_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot deploy")]
        struct Deploy(#[source] std::num::ParseIntError);
        let parse = "x".parse::<u8>().unwrap_err();
        let fault = Failure::from(Deploy(parse)).into_fault();
        assert_eq!(fault.code, FaultCode::Failed);
        assert_eq!(fault.class.as_deref(), Some("Deploy"));
        assert!(fault.message.starts_with("cannot deploy: invalid digit"), "{}", fault.message);
        assert_eq!(split("a::b<c::d>"), (Some("a"), "b<c::d>"));
        assert_eq!(split("Plain"), (None, "Plain"));
    }
}
