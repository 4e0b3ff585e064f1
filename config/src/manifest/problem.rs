//! What is wrong with a manifest.

use std::fmt;
use std::path::{Path, PathBuf};

use super::files::{self, MAX_MANIFEST_FILE, Unread};
use super::table::Notes;
use crate::file::lines_of;

/// One thing that is wrong with a file of `procedures.d/`, or with the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestProblem {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1, where it is known.
    pub line: Option<usize>,
    /// The dotted field, such as `limits.memory`; empty when it is the file as a whole.
    pub field: String,
    /// What is wrong and what to do, in one line.
    pub what: String,
    /// It is about who may change the file, or about reading it, not about what it says.
    pub access: bool,
    /// It could not be read at this moment, and nothing may be wrong with it, see [`is_passing`](crate::is_passing).
    pub passes: bool,
}

impl ManifestProblem {
    /// About fields of a manifest that is good as such, with what is wrong with each: whoever looks closer finds more, for example that
    /// a program is not there. The lines are looked up in the file. As many as are told of any file.
    pub fn of_fields(file: &Path, found: impl IntoIterator<Item = (String, String)>) -> Vec<Self> {
        let mut found = found.into_iter().peekable();
        if found.peek().is_none() {
            return Vec::new();
        }
        // a file that has gone since has no lines, which are a courtesy
        let lines = files::read(file, MAX_MANIFEST_FILE).map(|text| lines_of(&text)).unwrap_or_default();
        let mut notes = Notes::new(file.to_owned(), lines);
        found.for_each(|(field, what)| notes.add(&field, what));
        notes.problems
    }

    /// About a file as a whole.
    pub(crate) fn whole(file: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        let (file, what) = (file.into(), what.into());
        Self { file, line: None, field: String::new(), what, access: false, passes: false }
    }

    /// About a file, or a folder, that was not read.
    pub(crate) fn unread(file: impl Into<PathBuf>, Unread { what, passes }: Unread) -> Self {
        Self { passes, ..Self::whole(file, what) }
    }
}

impl fmt::Display for ManifestProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.what)
    }
}
