//! What of a procedure matters for whether it may run.

use std::sync::OnceLock;

use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_net::ProcedureInfo;
use redpoll_schema::{Schema, is_named_by_texts};
use serde_json::Value;

use super::paths;
use crate::exec::account::Account;

/// What runs when a procedure does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A built-in that runs within the agent: `sys.*`, `file.*`.
    Inside,
    /// `exec.run`: whatever program the caller names.
    Program,
    /// Code of an agent of one's own, within it.
    Own,
    /// What a manifest describes; as whom it runs, if that is not the agent's own user.
    Manifest(Option<Account>),
}

/// A procedure as [`Gate::judge`](super::Gate::judge) sees it.
#[derive(Debug)]
pub struct Subject {
    pub(super) kind: Kind,
    /// Compiled when it is needed first: it takes memory, and most procedures of most agents are never called.
    schema: OnceLock<Result<Schema, String>>,
}

impl Subject {
    /// One that was not called yet.
    pub fn new(kind: Kind) -> Self {
        Self { kind, schema: OnceLock::new() }
    }

    /// Refuses keys that are no texts, at any level, of what is decoded straight into the types of a program in Rust: it takes a byte string
    /// and even a number for the name of a field, which neither the schema nor `redact` would know.
    pub(super) fn refuse_names(&self, label: &str, args: &Raw, kwargs: &Raw) -> Result<(), Fault> {
        if self.kind != Kind::Own || is_named_by_texts(args) && is_named_by_texts(kwargs) {
            return Ok(());
        }
        Err(Fault::new(
            FaultCode::BadArguments,
            format!("{label}: the keys of maps are texts, at all levels"),
        ))
    }

    /// The path of a call of `file.*` as it is walked: no rule is passed by with another form of the same.
    pub(super) fn plain_path(&self, info: &ProcedureInfo, kwargs: &Raw) -> Option<String> {
        if self.kind == Kind::Inside { paths::plain_path(&info.name, kwargs) } else { None }
    }

    /// Its schema, or why there is none.
    pub(super) fn schema(&self, text: &Value, redact: &[String]) -> Result<&Schema, &str> {
        let compile =
            || Schema::compile(text).map(|schema| schema.hiding(redact)).map_err(|error| error.to_string());
        let compiled = self.schema.get_or_init(compile);
        compiled.as_ref().map_err(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_program_in_rust_is_given_no_key_that_is_no_text_at_any_level() {
        let raw = |bytes: &'static [u8]| Raw::parse(Bytes::from_static(bytes)).unwrap();
        let none = Raw::empty_map();
        let refused = |kind, kwargs: &Raw| {
            Subject::new(kind)
                .refuse_names("a.b@1", &Raw::empty_array(), kwargs)
                .err()
                .map(|fault| fault.code)
        };
        // {"user": {bin "pin": 1}}, {"user": {0: 1}}, {"users": [{0: 1}]}
        for bytes in [
            &b"\x81\xa4user\x81\xc4\x03pin\x01"[..],
            b"\x81\xa4user\x81\x00\x01",
            b"\x81\xa5users\x91\x81\x00\x01",
        ] {
            assert_eq!(refused(Kind::Own, &raw(bytes)), Some(FaultCode::BadArguments), "{bytes:?}");
            assert_eq!(
                refused(Kind::Manifest(None), &raw(bytes)),
                None,
                "its keys become texts, or are refused"
            );
        }
        assert_eq!(refused(Kind::Own, &raw(b"\x81\xa4user\x81\xa3pin\x01")), None);
        let by_place = Subject::new(Kind::Own).refuse_names("a.b@1", &raw(b"\x91\x81\x00\x01"), &none);
        assert!(by_place.is_err_and(|fault| fault.message.contains("a.b@1: the keys of maps are texts")));
    }
}
