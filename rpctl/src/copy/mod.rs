//! Copies between this machine and agents, for `rpctl cp`.
//!
//! - [`place`]: what was typed. [`pace`]: how large chunks are. Both are rules alone.
//! - [`remote`]: the calls of one agent. [`local`]: files here; [`parts`]: until they are whole; `input`: standard input. [`meter`]: the progress bar.
//! - `stream`: a connection of its own for a file; `streamed`: files over such connections.
//! - [`upload`] and [`download`]: one file; [`tree`]: a folder with all that is in it.

pub mod download;
mod input;
pub mod local;
pub mod meter;
pub mod pace;
pub mod parts;
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
    /// What was left out, or is worth knowing: the first of it.
    pub notes: Vec<String>,
    /// How much more of it there is. An agent can list names without end.
    pub untold: u64,
}

/// Notes that are kept of one copy.
const MOST_NOTES: usize = 100;

impl Done {
    fn note(&mut self, note: String) {
        if self.notes.len() < MOST_NOTES {
            self.notes.push(note);
        } else {
            self.untold = self.untold.saturating_add(1);
        }
    }

    fn add(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.resumed += other.resumed;
        self.streamed += other.streamed;
        other.notes.into_iter().for_each(|note| self.note(note));
        self.untold = self.untold.saturating_add(other.untold);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_notes_are_kept_and_the_rest_is_counted() {
        let (mut whole, left_out) =
            (Done::default(), || Done { notes: vec!["left out".to_owned()], ..Done::default() });
        for _ in 0..MOST_NOTES + 5 {
            whole.add(left_out());
        }
        let mut outer = Done { files: 1, ..left_out() };
        outer.add(whole);
        assert_eq!((outer.files, outer.notes.len(), outer.untold), (1, MOST_NOTES, 6));
    }
}
