//! What stands on either side of a copy: a local path, a standard stream, or a path on agents.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::report::Report;

/// One side of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `-`: standard input or output.
    Stream,
    /// A path on this machine.
    Local(PathBuf),
    /// `AGENTS:/PATH`: which agents, as it was typed, and the absolute path there.
    Remote(String, PathBuf),
}

/// Reads a side. It is remote when there is `:/` in it with no slash before.
///
/// # Errors
/// A [`Report`] for what looks like a path on an agent and is none.
pub fn parse(word: &OsStr) -> Result<Place, Report> {
    let bytes = word.as_bytes();
    if bytes == b"-" {
        return Ok(Place::Stream);
    }
    if bytes.is_empty() {
        let help = "name a file, - or AGENT:/PATH; see rpctl cp --help";
        return Err(Report::usage("there is nothing to copy from or to", "the word is empty", help));
    }
    let slash = bytes.iter().position(|byte| *byte == b'/').unwrap_or(bytes.len());
    let before = bytes.get(..slash).unwrap_or_default();
    if let (Some((b':', agents)), true) = (before.split_last(), slash < bytes.len()) {
        let agents = String::from_utf8_lossy(agents).into_owned();
        let path = OsStr::from_bytes(bytes.get(slash..).unwrap_or_default());
        return Ok(Place::Remote(agents, path.into()));
    }
    if before.contains(&b':') {
        let why = "a path on an agent begins with /, as in web-1:/srv/x";
        let help = "if it is a local file, say so: ./a:b";
        return Err(Report::usage(format!("{word:?} is not clear"), why, help));
    }
    Ok(Place::Local(OsString::from(word).into()))
}

/// Whether a path names a folder: it ends with a slash.
pub fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}

/// Whether what an agent calls a name in a folder is one: anything else could lead out of the target.
pub fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0) && name.len() <= 255
}

/// The local folder and the name in it that a file goes to. `None`: the target has no name.
pub fn split(source: &Path, target: &Path) -> Option<(PathBuf, OsString)> {
    let is_folder = ends_with_slash(target) || std::fs::metadata(target).is_ok_and(|found| found.is_dir());
    let (folder, name) =
        if is_folder { (Some(target), source.file_name()) } else { (target.parent(), target.file_name()) };
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    Some((folder.to_owned(), name?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(word: &str) -> Option<Place> {
        parse(OsStr::new(word)).ok()
    }

    #[test]
    fn a_colon_before_the_first_slash_makes_it_remote() {
        let remote = |agents: &str, path: &str| Some(Place::Remote(agents.into(), path.into()));
        let local = |path: &str| Some(Place::Local(path.into()));
        assert_eq!(place("web-1:/etc/hosts"), remote("web-1", "/etc/hosts"));
        assert_eq!(place("*:/tmp/"), remote("*", "/tmp/"));
        assert_eq!(place("id:web-*:/tmp/a:b"), remote("id:web-*", "/tmp/a:b"));
        assert_eq!(place("id in (a, b):/x"), remote("id in (a, b)", "/x"));
        for path in ["a", "./a:b", "/x:/y", "dir/a:/b", ".", "a b"] {
            assert_eq!(place(path), local(path), "{path}");
        }
        assert_eq!(place("-"), Some(Place::Stream));
        assert_eq!(
            (place(""), place("a:b"), place("web-1:tmp/x"), place("web-1:")),
            (None, None, None, None)
        );
    }

    #[test]
    fn a_name_never_leads_elsewhere() {
        assert!(is_name(b"a") && is_name(b"..a") && is_name(b"\xff\xfe") && is_name(b"a\nb"));
        for bad in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0", &[b'x'; 256]] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
