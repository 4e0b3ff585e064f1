//! Copies between this machine and agents, for `rpctl cp`.
//!
//! - [`place`]: what was typed. [`pace`]: how large chunks are. Both are rules alone.
//! - [`remote`]: the calls of one agent. [`local`]: files here; `input`: standard input. [`meter`]: the progress bar.
//! - `stream`: a connection of its own for a file; `streamed`: files over such connections.
//! - [`upload`] and [`download`]: one file; [`tree`]: a folder with all that is in it.

pub mod download;
mod input;
pub mod local;
pub mod meter;
pub mod pace;
pub mod place;
pub mod remote;
mod stream;
mod streamed;
pub mod tree;
pub mod upload;

use crate::cli::Via;
use crate::copy::meter::Meter;

/// What is wished for, beside what and where.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// The permission bits of the copy.
    pub mode: Option<u32>,
    /// Its owner on an agent.
    pub owner: Option<String>,
    /// Its group there.
    pub group: Option<String>,
    /// Go on where an earlier copy broke off.
    pub resume: bool,
    /// Read the copy once more.
    pub verify: bool,
    /// How the bytes go.
    pub via: Via,
}

/// One copy to or from one agent.
#[derive(Debug)]
pub struct Copy<'c> {
    /// The agent.
    pub remote: &'c remote::Remote,
    /// What is wished for.
    pub wishes: &'c Wishes,
    /// Shows how far it is.
    pub meter: Meter,
}

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// Files that are whole in their place.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Those of them that were there from an earlier copy.
    pub resumed: u64,
    /// Those of them that went encrypted from end to end.
    pub streamed: u64,
    /// What was left out, or is worth knowing.
    pub notes: Vec<String>,
}

impl Done {
    fn add(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.resumed += other.resumed;
        self.streamed += other.streamed;
        self.notes.extend(other.notes);
    }
}
