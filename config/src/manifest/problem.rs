//! What is wrong with a manifest.

use std::fmt;
use std::path::PathBuf;

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
}

impl ManifestProblem {
    /// About a file as a whole.
    pub(crate) fn whole(file: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Self { file: file.into(), line: None, field: String::new(), what: what.into() }
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
