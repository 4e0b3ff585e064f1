//! What a procedure of one's own must be before it is offered: the same as one that a manifest describes.

use redpoll_config::{other_case, procedure_name};
use redpoll_exec::procedures::masking;
use redpoll_net::registry::Duplicate;
use redpoll_net::{ProcedureInfo, Registry};
use redpoll_schema::{Redaction, RedactionError, Schema, SchemaError};
use serde_json::Value;

use super::{Add, Handler};

/// Why a procedure cannot be offered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// There is one of this name and version.
    #[error(transparent)]
    Taken(#[from] Duplicate),
    /// No procedure can have this name, or this version.
    #[error("{procedure}: its name or version: {why}")]
    Name {
        /// The procedure, `name@version`.
        procedure: String,
        /// What is wrong.
        why: String,
    },
    /// It could never be called: arguments are named ones, and their type is none that is read from names and values.
    #[error(
        "{procedure}: its arguments are named ones, and their type takes none: use a struct with named fields, and `struct Nothing {{}}` where \
         there are no arguments"
    )]
    Arguments {
        /// The procedure, `name@version`.
        procedure: String,
    },
    /// What nobody may see is not named by paths.
    #[error("{procedure}: redact: {error}")]
    Redact {
        /// The procedure, `name@version`.
        procedure: String,
        /// What is wrong.
        error: RedactionError,
    },
    /// The schema that follows from the type of its arguments cannot be used, for example because the type contains itself twice at one place.
    #[error("{procedure}: the type of its arguments has no schema that can be used: {error}")]
    Schema {
        /// The procedure, `name@version`.
        procedure: String,
        /// What is wrong.
        error: SchemaError,
    },
}

/// Adds a procedure, whose secrets are masked from then on.
pub(super) fn register(
    registry: Registry,
    info: ProcedureInfo,
    handler: Handler,
    add: Add,
) -> Result<Registry, RegisterError> {
    let procedure = || format!("{}@{}", info.name, info.version);
    procedure_name(&info.name).map_err(|why| RegisterError::Name { procedure: procedure(), why })?;
    if let Some(taken) = registry.in_other_case(&info.name) {
        let why = other_case(&info.name, taken, "of this program");
        return Err(RegisterError::Name { procedure: procedure(), why });
    }
    if info.version == 0 {
        let why = "versions begin with 1".to_owned();
        return Err(RegisterError::Name { procedure: procedure(), why });
    }
    if !takes_names(&info.args) {
        return Err(RegisterError::Arguments { procedure: procedure() });
    }
    Redaction::new(&info.redact).map_err(|error| RegisterError::Redact { procedure: procedure(), error })?;
    Schema::compile(&info.args).map_err(|error| RegisterError::Schema { procedure: procedure(), error })?;
    Ok(masking(add(registry, info.clone(), handler)?, &info))
}

/// Whether named arguments may fit a schema, as far as the type at its root says. What it refers to may say otherwise.
fn takes_names(schema: &Value) -> bool {
    let is_object = |kind: &Value| kind == "object";
    let by_type = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(is_object),
        Some(kind) => is_object(kind),
        None => true,
    };
    let choices = |word: &str| schema.get(word).and_then(Value::as_array);
    by_type && ["anyOf", "oneOf"].into_iter().filter_map(choices).all(|these| these.iter().any(takes_names))
}
