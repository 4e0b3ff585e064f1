//! What can be wrong with a payload.

use super::scan::ScanError;

/// Why a payload is not the message it says it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not one acceptable value.
    #[error("the payload is not acceptable MessagePack")]
    Scan(#[from] ScanError),
    /// Fields were looked for in something else than a map.
    #[error("the value is not a map")]
    NotAMap,
    /// A field is missing that must be there.
    #[error("field `{field}` is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A field has another type than it must have.
    #[error("field `{field}` is not {wanted}")]
    WrongType {
        /// The field.
        field: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// A text is longer than allowed.
    #[error("field `{field}` has {len} bytes, the limit is {max}")]
    TooLong {
        /// The field.
        field: &'static str,
        /// The bytes found.
        len: usize,
        /// The bytes allowed.
        max: usize,
    },
    /// An array has more elements than allowed.
    #[error("field `{field}` has {count} elements, the limit is {max}")]
    TooMany {
        /// The field.
        field: &'static str,
        /// The elements found.
        count: usize,
        /// The elements allowed.
        max: usize,
    },
    /// One of the above in a message of a known kind or a notification of a known type.
    #[error("{kind} is malformed")]
    Message {
        /// The kind or type.
        kind: &'static str,
        /// What is wrong with it.
        #[source]
        source: Box<Self>,
    },
}

impl DecodeError {
    /// Adds in what kind of message it happened.
    pub(super) fn within(self, kind: &'static str) -> Self {
        Self::Message { kind, source: Box::new(self) }
    }
}
