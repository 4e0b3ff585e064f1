//! What the owner of the machine describes, as it was read from the files.

use std::path::{Path, PathBuf};

use redpoll_config::{Manifest, Procedures, load_folder};

/// Reads what the owner of the machine describes.
pub type Source = Box<dyn Fn() -> Described + Send + Sync>;

/// What was read, and what was not.
#[derive(Debug, Clone, Default)]
pub struct Described {
    /// What can be used.
    pub manifests: Vec<Manifest>,
    /// What is wrong, each in a line.
    pub problems: Vec<String>,
    /// Files, or folders with all that is in them, that could not be read at this moment. What they said before may hold as well.
    pub unread: Vec<PathBuf>,
}

impl Described {
    /// Reads the files of a folder.
    pub fn by(folder: &Path) -> Self {
        let Procedures { manifests, problems } = load_folder(folder);
        let unread = problems.iter().filter(|problem| problem.passes).map(|problem| problem.file.clone());
        Self {
            manifests,
            unread: unread.collect(),
            problems: problems.iter().map(ToString::to_string).collect(),
        }
    }

    /// Whether what a file says could not be read.
    pub(super) fn is_unread(&self, file: &Path) -> bool {
        self.unread.iter().any(|path| file.starts_with(path))
    }
}
