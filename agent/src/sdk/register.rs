//! What a procedure of one's own must be before it is offered: the same as one that a manifest describes.

use redpoll_exec::procedures::masking;
use redpoll_net::registry::Duplicate;
use redpoll_net::{ProcedureInfo, Registry};
use redpoll_schema::{Redaction, RedactionError, Schema, SchemaError};

use super::{Add, Handler};

/// Why a procedure cannot be offered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// There is one of this name and version.
    #[error(transparent)]
    Taken(#[from] Duplicate),
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
    Redaction::new(&info.redact).map_err(|error| RegisterError::Redact { procedure: procedure(), error })?;
    Schema::compile(&info.args).map_err(|error| RegisterError::Schema { procedure: procedure(), error })?;
    Ok(masking(add(registry, info.clone(), handler)?, &info))
}
