//! Judges what a procedure is called with: the JSON Schema of its arguments, and what of them nobody may see.
//!
//! - [`Schema`]: a JSON Schema (draft 2020-12) within limits, and the check of a call's arguments.
//! - [`Redaction`]: the `redact` paths of a procedure, as a mask over MessagePack and JSON.
//! - [`hide`]: what lies at those paths, masked by value in whatever a call gives.
//! - [`policy`]: the rules of a machine's owner.
//! - [`Json`] and [`to_json`]: MessagePack as JSON, the one conversion of all programs; [`read()`]: as values of rmpv.
//!
//! No I/O: nothing is fetched, no file is read, no time is asked for. Start reading at [`Schema`] in `schema.rs`.

mod applied;
mod argument_redaction;
mod arguments;
mod cost;
mod defaults;
mod fit;
mod graph;
mod hidden;
mod keywords;
mod limits;
mod opaque;
mod plain;
pub mod policy;
mod read;
mod readings;
mod redact;
mod references;
mod same;
mod schema;
mod value;

pub use argument_redaction::{ArgumentRedaction, rooted};
pub use arguments::POSITIONAL;
pub use defaults::{MAX_FILLED_BYTES, MAX_FILLED_VALUES};
pub use graph::{MAX_SCHEMA_CHAIN, MAX_SCHEMA_STEPS};
pub use hidden::hide;
pub use limits::{
    MAX_SCHEMA_COPIED, MAX_SCHEMA_DEPTH, MAX_SCHEMA_DYNAMIC, MAX_SCHEMA_EMBEDDED, MAX_SCHEMA_NODES,
    MAX_SCHEMA_PATTERN, MAX_SCHEMA_PATTERNS, MAX_SCHEMA_PLACES, MAX_SCHEMA_TEXT,
};
pub use read::read;
pub use readings::{Readings, Unknown};
pub use redact::{MASK, MAX_REDACT_PATHS, MAX_REDACT_WORDS, Redaction, RedactionError};
pub use schema::{ArgumentError, MAX_REGEX_SIZE, MAX_REGEXES_SIZE, MAX_SHOWN, Schema, SchemaError, plain};
pub use value::{Binary, Json, Shown, is_named_by_texts, to_json};
