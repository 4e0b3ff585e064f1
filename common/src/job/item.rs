//! Values and output of a run: numbered from 0 without gaps per attempt, recorded, never changed.

use crate::wire::{Raw, RawMap};

/// What an item counts against limits of output beyond its content, in bytes: its place in spool and store, so that many
/// small ones fill no disk.
pub const ITEM_OVERHEAD: u64 = 32;

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemKind {
    /// A value of the procedure.
    Value,
    /// Bytes of stdout.
    Stdout,
    /// Bytes of stderr.
    Stderr,
    /// From here on output was dropped: `{stream, bytes}`. Part of the record, so that nobody takes it for the whole.
    Truncated,
}

impl ItemKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Value, Self::Stdout, Self::Stderr, Self::Truncated];

    /// The text on the wire and in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Truncated => "truncated",
        }
    }

    /// The content of a [`Truncated`](Self::Truncated) item, where so many bytes of this kind were dropped.
    pub fn dropped(self, bytes: u64) -> Raw {
        dropped(self.as_str(), bytes)
    }

    /// Reads the text.
    pub fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// One item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its number within the attempt, from 0.
    pub n: u64,
    /// What it is.
    pub kind: ItemKind,
    /// Its content: a value, or a byte string for output.
    pub data: Raw,
}

impl Item {
    /// What it counts against limits of output, in bytes.
    pub fn cost(&self) -> u64 {
        data_cost(&self.data)
    }
}

/// The content of a mark: so many bytes of this kind, which may be one that only newer versions know, were dropped.
pub(super) fn dropped(kind: &str, bytes: u64) -> Raw {
    RawMap::new().text("stream", kind).uint("bytes", bytes).finish()
}

/// What an item with this content counts.
pub(super) fn data_cost(data: &Raw) -> u64 {
    ITEM_OVERHEAD + u64::try_from(data.len()).unwrap_or(u64::MAX / 2)
}
