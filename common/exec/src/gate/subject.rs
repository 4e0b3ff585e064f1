//! What of a procedure matters for whether it may run.

use std::sync::OnceLock;

use redpoll_common::wire::Raw;
use redpoll_net::ProcedureInfo;
use redpoll_schema::Schema;
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
