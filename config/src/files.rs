//! `[files]`: which folders the `file.*` procedures reach.

use std::path::{Component, Path};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checks::Checks;
use crate::values::{duration, list, number};

const DAY: Duration = Duration::from_secs(86_400);
/// The most roots of one kind.
const MAX_ROOTS: usize = 64;

/// `[files]`: which folders the `file.*` procedures reach, and what unfinished uploads may hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesConfig {
    /// Folders that may be read: absolute paths, everything beneath them included.
    #[serde(with = "list")]
    pub read: Vec<String>,
    /// Folders that may be written to: absolute paths, everything beneath them included.
    #[serde(with = "list")]
    pub write: Vec<String>,
    /// How many unfinished uploads may be here at a time.
    #[serde(with = "number")]
    pub uploads: usize,
    /// How long an unfinished upload that nothing is added to is kept.
    #[serde(with = "duration")]
    pub upload_age: Duration,
    /// How many files may come and go over connections of their own at a time; 0: none, they all go in calls.
    #[serde(with = "number")]
    pub streams: usize,
}

impl Default for FilesConfig {
    fn default() -> Self {
        Self { read: Vec::new(), write: Vec::new(), uploads: 16, upload_age: DAY, streams: 8 }
    }
}

impl FilesConfig {
    pub(crate) fn check(&self, checks: &mut Checks) {
        for (key, roots) in [("files.read", &self.read), ("files.write", &self.write)] {
            if roots.len() > MAX_ROOTS {
                checks.add(key, format!("more than {MAX_ROOTS} folders"));
            }
            for root in roots.iter().filter(|root| !is_root(root)) {
                let what = format!("{root:?} is no absolute path without \"..\", such as \"/var/log\"");
                checks.add(key, what);
            }
        }
        checks.number("files.uploads", self.uploads, 1..=1024);
        checks.number("files.streams", self.streams, 0..=256);
        checks.duration("files.upload_age", self.upload_age, Duration::from_secs(60)..=DAY * 365);
    }
}

fn is_root(root: &str) -> bool {
    let path = Path::new(root);
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    path.is_absolute() && path.components().all(plain) && !root.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_an_absolute_path_without_steps_upwards() {
        for good in ["/", "/var/log", "/var/log/", "/a b"] {
            assert!(is_root(good), "{good}");
        }
        for bad in ["", "var", "./a", "/a/../b", "~/a", "/a\0"] {
            assert!(!is_root(bad), "{bad:?}");
        }
    }
}
