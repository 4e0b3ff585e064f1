//! Looks for a word that must be nowhere.

use std::path::{Path, PathBuf};

/// The files below a folder that hold a word. One that goes while it is looked at does not.
///
/// # Panics
/// When there is no such folder: nothing would be found in it whatever there was.
pub fn holders(folder: &Path, word: &str) -> Vec<PathBuf> {
    assert!(folder.is_dir(), "{} is no folder", folder.display());
    let mut found = Vec::new();
    look(folder, word.as_bytes(), &mut found);
    found
}

fn look(folder: &Path, word: &[u8], found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            look(&path, word, found);
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(word.len()).any(|window| window == word)
        {
            found.push(path);
        }
    }
}
