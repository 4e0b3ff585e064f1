//! Whether the files that are open are still those that a path leads to: what is written to one that was removed is lost with the process.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::trouble::Trouble;
use super::whole::log_of;

/// The database and its log as they were when they were opened.
#[derive(Debug)]
pub(super) struct Opened(Vec<(PathBuf, (u64, u64))>);

impl Opened {
    /// Looks at them. They have to be open, so that they keep their numbers.
    pub(super) fn look(database: &Path) -> Self {
        let paths = [database.to_owned(), log_of(database)];
        let there = paths.into_iter().filter_map(|path| number(&path).ok().map(|number| (path, number)));
        Self(there.collect())
    }

    /// Refuses to go on when one of them is gone, or another has its place.
    pub(super) fn check(&self) -> Result<(), Trouble> {
        let is_gone = |(path, opened): &&(PathBuf, (u64, u64))| match number(path) {
            Ok(found) => found != *opened,
            // of another error nothing can be told
            Err(error) => matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        };
        self.0.iter().find(is_gone).map_or(Ok(()), |(path, _)| Err(Trouble::Gone(path.clone())))
    }
}

/// What is at a path, as a number that no other file has.
fn number(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}
