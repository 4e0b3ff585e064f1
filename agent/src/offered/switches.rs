//! What the manager has switched off, on disk: it stays off when the agent starts again.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The file in the agent's state folder.
const FILE: &str = "switches.json";
/// The most bytes of it that are read.
const MAX_FILE: u64 = 1024 * 1024;

/// Why it cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// The disk.
    #[error("{} cannot be used", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is written, and has its name, but perhaps not on the disk.
    #[error("{} is written, but the disk did not confirm it", path.display())]
    Unconfirmed {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its content.
    #[error("{} is not what the agent writes, or of a newer version; run the agent that wrote it, or remove it to offer all procedures again", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    /// `name` or `name@version`.
    disabled: BTreeSet<String>,
}

/// What is switched off.
#[derive(Debug)]
pub struct Switches {
    folder: PathBuf,
    content: Content,
    /// The disk has not confirmed what is written.
    unconfirmed: bool,
}

impl Switches {
    /// Reads what was written down in this folder.
    ///
    /// # Errors
    /// [`SwitchError`]
    pub fn open(folder: &Path) -> Result<Self, SwitchError> {
        let path = folder.join(FILE);
        let mut text = Vec::new();
        let content = match File::open(&path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut text)) {
            Ok(_) => serde_json::from_slice(&text).map_err(|source| SwitchError::Content { path, source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Content::default(),
            Err(source) => return Err(SwitchError::Io { path, source }),
        };
        Ok(Self { folder: folder.to_owned(), content, unconfirmed: false })
    }

    /// Whether this procedure is switched off.
    pub fn is_off(&self, name: &str, version: u32) -> bool {
        let disabled = &self.content.disabled;
        !disabled.is_empty() && (disabled.contains(name) || disabled.contains(&format!("{name}@{version}")))
    }

    /// Whether all versions of it are switched off as one.
    pub(super) fn is_all_off(&self, name: &str) -> bool {
        self.content.disabled.contains(name)
    }

    /// Switches one version, or all of them as one, and writes it down. True when that changed something.
    ///
    /// # Errors
    /// [`SwitchError`]; then nothing has changed, unless it is `Unconfirmed`: then it is switched.
    pub fn switch(&mut self, name: &str, version: Option<u32>, on: bool) -> Result<bool, SwitchError> {
        let mut content = self.content.clone();
        let key = version.map_or_else(|| name.to_owned(), |version| format!("{name}@{version}"));
        match (on, version) {
            (false, _) => {
                content.disabled.insert(key);
            }
            (true, Some(_)) => {
                content.disabled.remove(&key);
            }
            (true, None) => {
                content.disabled.retain(|off| off.split('@').next() != Some(name));
            }
        }
        let is_same = content == self.content;
        if is_same && !self.unconfirmed {
            return Ok(false);
        }
        let folder = self.replace(&content)?;
        // what the next start reads holds now, whatever the disk says
        (self.content, self.unconfirmed) = (content, true);
        folder
            .sync_all()
            .map_err(|source| SwitchError::Unconfirmed { path: self.folder.join(FILE), source })?;
        self.unconfirmed = false;
        Ok(!is_same)
    }

    /// Replaces the file in one step. Gives its folder, whose names are not on disk yet.
    fn replace(&self, content: &Content) -> Result<File, SwitchError> {
        let path = self.folder.join(FILE);
        let new = self.folder.join(format!("{FILE}.new"));
        let text = serde_json::to_vec(content).map_err(io::Error::other);
        let replaced = text.and_then(|text| {
            // first: when a descriptor is wanting, nothing has changed
            let folder = File::open(&self.folder)?;
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            Ok(folder)
        });
        replaced.map_err(|source| SwitchError::Io { path, source })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_switched_off_stays_off_and_what_is_on_again_stays_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut switches = Switches::open(folder.path()).unwrap();
        assert!(switches.switch("a", Some(2), false).unwrap());
        assert!(!switches.switch("a", Some(2), false).unwrap(), "once is enough");
        assert!(switches.switch("b", None, false).unwrap());
        let mut again = Switches::open(folder.path()).unwrap();
        assert!(
            again.is_off("a", 2) && !again.is_off("a", 1) && again.is_off("b", 7) && again.is_all_off("b")
        );
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(again.switch("a", None, true).unwrap(), "a name stands for all its versions");
        assert!(!Switches::open(folder.path()).unwrap().is_off("a", 2));
    }

    #[test]
    fn a_file_that_makes_no_sense_is_no_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "{", "[]", r#"{"disabled":["a"],"more":1}"#] {
            fs::write(folder.path().join(FILE), text).unwrap();
            let said = Switches::open(folder.path()).unwrap_err().to_string();
            assert!(said.contains(FILE) && said.contains("remove it"), "{said}");
        }
    }

    #[test]
    fn what_cannot_be_written_down_has_not_happened() {
        let folder = tempfile::tempdir().unwrap();
        let mut switches = Switches::open(folder.path()).unwrap();
        fs::remove_dir(folder.path()).unwrap();
        assert!(switches.switch("a", None, false).is_err());
        assert!(!switches.is_off("a", 1));
    }
}
