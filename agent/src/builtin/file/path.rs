//! Which paths may be reached: configured roots, and names beneath them. Looks at texts alone, never at a disk.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

/// The longest path, in bytes.
pub(super) const MAX_PATH: usize = 4096;
/// The longest name in a path, in bytes.
pub(super) const MAX_NAME: usize = 255;

/// What is to be done with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Its content, or the names in it.
    Read,
    /// Change it.
    Write,
    /// Look at what it is.
    Look,
}

/// A path that lies beneath a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The root, as it is configured.
    pub(super) root: PathBuf,
    /// The names from the root to it; none is the root itself.
    pub(super) names: Vec<OsString>,
}

impl Place {
    /// The whole path, without what changes nothing in it.
    pub(super) fn path(&self) -> PathBuf {
        let mut path = self.root.clone();
        path.extend(&self.names);
        path
    }
}

/// Why a path cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PathError {
    /// It is no path at all.
    #[error("{0:?} is not an absolute path without \"..\"")]
    Malformed(PathBuf),
    /// It is too long for any file system.
    #[error(
        "the path, or a name in it, is too long: {MAX_PATH} bytes, and {MAX_NAME} of a name, are the most"
    )]
    TooLong,
    /// No root holds it.
    #[error("{path:?} is beneath no folder of files.{key} in the agent's configuration")]
    Outside {
        /// The path.
        path: PathBuf,
        /// The key that would have to name a folder.
        key: &'static str,
    },
}

/// The folders that are configured.
#[derive(Debug, Clone, Default)]
pub(super) struct Roots {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
}

impl Roots {
    pub(super) fn new(read: &[String], write: &[String]) -> Self {
        let paths = |roots: &[String]| roots.iter().map(PathBuf::from).collect();
        Self { read: paths(read), write: paths(write) }
    }

    /// Whether anything can be reached.
    pub(super) fn allow(&self, need: Need) -> bool {
        match need {
            Need::Read => !self.read.is_empty(),
            Need::Write => !self.write.is_empty(),
            Need::Look => !self.read.is_empty() || !self.write.is_empty(),
        }
    }

    /// Finds the root of a path; of several the nearest.
    ///
    /// # Errors
    /// [`PathError`]
    pub(super) fn place(&self, path: &Path, need: Need) -> Result<Place, PathError> {
        let malformed = || PathError::Malformed(path.to_owned());
        let bytes = path.as_os_str().as_bytes();
        if bytes.len() > MAX_PATH {
            return Err(PathError::TooLong);
        }
        if !path.is_absolute() || bytes.contains(&0) {
            return Err(malformed());
        }
        for part in path.components() {
            match part {
                Component::RootDir | Component::CurDir => {}
                Component::Normal(name) if name.len() <= MAX_NAME => {}
                Component::Normal(_) => return Err(PathError::TooLong),
                Component::ParentDir | Component::Prefix(_) => return Err(malformed()),
            }
        }
        let (first, second, key): (&[PathBuf], &[PathBuf], _) = match need {
            Need::Read => (&self.read, &[], "read"),
            Need::Write => (&self.write, &[], "write"),
            Need::Look => (&self.read, &self.write, "read"),
        };
        let roots = first.iter().chain(second).filter(|root| path.starts_with(root));
        let root = roots.max_by_key(|root| root.components().count());
        let root = root.ok_or_else(|| PathError::Outside { path: path.to_owned(), key })?;
        let beneath = path.strip_prefix(root).map_err(|_| malformed())?;
        let names = beneath.iter().map(OsString::from).collect();
        Ok(Place { root: root.clone(), names })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots() -> Roots {
        let texts = |roots: &[&str]| roots.iter().map(|&root| root.to_owned()).collect::<Vec<_>>();
        Roots::new(&texts(&["/var/log/", "/data"]), &texts(&["/data/in"]))
    }

    fn names(path: &str, need: Need) -> Option<Vec<OsString>> {
        roots().place(Path::new(path), need).ok().map(|place| place.names)
    }

    #[test]
    fn a_path_is_split_at_its_nearest_root() {
        assert_eq!(names("/var/log", Need::Read), Some(vec![]));
        assert_eq!(names("/var//log/./a/b/", Need::Read), Some(vec!["a".into(), "b".into()]));
        let place = roots().place(Path::new("/data/in/x"), Need::Look).unwrap();
        assert_eq!((place.root, place.names.len()), ("/data/in".into(), 1));
        assert_eq!(names("/data/in/x", Need::Write), Some(vec!["x".into()]));
    }

    #[test]
    fn whatever_form_a_path_has_it_is_walked_as_it_is_judged() {
        for path in ["/data/in/x", "//data/in/x", "/data//in/x/", "/data/./in/x/.", "/./data/in//./x"] {
            let place = roots().place(Path::new(path), Need::Write).unwrap();
            assert_eq!(place.path(), Path::new("/data/in/x"), "{path}");
        }
    }

    #[test]
    fn what_is_beneath_no_root_is_refused() {
        for path in ["/var/logs", "/var", "/", "/etc/passwd", "/datax", "/data/in/../../etc", "/data/.."] {
            assert_eq!(names(path, Need::Read), None, "{path}");
        }
        assert_eq!(names("/data/x", Need::Write), None);
        assert_eq!(names("/var/log/x", Need::Write), None);
        for path in ["", "data", "./data", "/data/a\0b"] {
            assert_eq!(names(path, Need::Read), None, "{path:?}");
        }
        let long = format!("/data/{}", "x".repeat(MAX_NAME + 1));
        assert_eq!(roots().place(Path::new(&long), Need::Read), Err(PathError::TooLong));
    }
}
