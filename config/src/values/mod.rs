//! How values are written: durations, sizes, numbers, lists and choices, each from text as well as from TOML.
//!
//! The environment and the command line deliver text only, and nobody may guess a type from it: `0123` is a
//! number where a number is wanted and stays `0123` where a text is wanted. So every type here reads text.

pub(crate) mod choice;
pub(crate) mod commands;
pub(crate) mod duration;
pub(crate) mod list;
pub(crate) mod number;
pub(crate) mod roles;
pub(crate) mod size;
pub(crate) mod sockets;

/// A text is not a value of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("found {found:?}, expected {expected}")]
pub struct ValueError {
    /// The text found.
    pub found: String,
    /// What is accepted, for a person.
    pub expected: &'static str,
}

impl ValueError {
    pub(crate) fn new(found: &str, expected: &'static str) -> Self {
        Self { found: found.to_owned(), expected }
    }
}
