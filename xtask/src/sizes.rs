//! Keeps files readable: a Rust file has at most [`MAX_LINES`] lines. (Functions are clippy's: `too_many_lines`.)

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::report::Outcome;

/// The most lines of a Rust file, tests and comments included.
pub(crate) const MAX_LINES: usize = 400;

/// Files that may be longer, each with the reason.
const EXCEPTIONS: [(&str, &str); 0] = [];

/// Checks every Rust file under `root`, and that every exception is still needed.
///
/// # Errors
/// The files that are too long; a folder or file that cannot be read.
pub(crate) fn check(root: &Path) -> anyhow::Result<Outcome> {
    let mut lengths = Vec::new();
    for path in rust_files(root)? {
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        lengths.push((name, text.lines().count()));
    }
    let total: usize = lengths.iter().map(|(_, lines)| lines).sum();
    let longest = lengths.iter().max_by_key(|(_, lines)| *lines);
    let longest =
        longest.map(|(name, lines)| format!(", the longest is {name} with {lines}")).unwrap_or_default();
    let note = format!("{} files, {total} lines{longest}", lengths.len());
    Outcome::without(&problems(&lengths, &EXCEPTIONS), note)
}

fn problems(lengths: &[(String, usize)], exceptions: &[(&str, &str)]) -> Vec<String> {
    let excepted = |name: &str| exceptions.iter().any(|(exception, _)| *exception == name);
    let mut problems: Vec<String> = lengths
        .iter()
        .filter(|(name, lines)| *lines > MAX_LINES && !excepted(name))
        .map(|(name, lines)| {
            format!(
                "{name} has {lines} lines, more than {MAX_LINES}: which second idea in it deserves a file?"
            )
        })
        .collect();
    for (name, reason) in exceptions {
        if !lengths.iter().any(|(known, lines)| known == name && *lines > MAX_LINES) {
            problems.push(format!("{name} needs no exception any more (it had one because {reason})"));
        }
    }
    problems
}

/// Every Rust file under `folder` in a fixed order; hidden folders and build output are left out.
///
/// # Errors
/// When a folder cannot be read.
pub(crate) fn rust_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
            let kind =
                entry.file_type().with_context(|| format!("cannot read {}", entry.path().display()))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if kind.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(entry.path());
            } else if kind.is_file() && name.ends_with(".rs") {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_over_the_limit_fails_unless_it_is_an_exception() {
        let lengths = [("a.rs".to_owned(), MAX_LINES), ("b.rs".to_owned(), MAX_LINES + 1)];
        let found = problems(&lengths, &[]);
        assert!(found.len() == 1 && found[0].starts_with("b.rs"), "{found:?}");
        assert_eq!(problems(&lengths, &[("b.rs", "a table")]), Vec::<String>::new());
    }

    #[test]
    fn an_exception_that_is_not_needed_fails() {
        let lengths = [("a.rs".to_owned(), 3)];
        assert_eq!(problems(&lengths, &[("a.rs", "a table")]).len(), 1);
        assert_eq!(problems(&lengths, &[("gone.rs", "a table")]).len(), 1);
    }

    #[test]
    fn build_output_and_hidden_folders_are_not_read() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["src/deep", "target", ".git"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
            std::fs::write(root.path().join(folder).join("a.rs"), "").unwrap();
        }
        assert_eq!(rust_files(root.path()).unwrap(), [root.path().join("src/deep/a.rs")]);
        assert!(rust_files(&root.path().join("missing")).is_err());
    }
}
