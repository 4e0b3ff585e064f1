//! Where a configuration is looked for: file, environment, command line.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::environment::FILE_VARIABLE;
use crate::load::{Config, Program};

/// One key set on the command line, where everybody can read it: a secret is refused there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) flag: String,
}

impl Override {
    /// The value of a flag that stands for a key, such as `--manager` for `manager.address`.
    pub fn flag(flag: &str, key: &str, value: &str) -> Self {
        Self { key: key.to_owned(), value: value.to_owned(), flag: flag.to_owned() }
    }

    /// Parses the argument of `--set`: `session.ping_interval=5s`.
    ///
    /// # Errors
    /// There is no `=`, or nothing before it; the text says how to write it.
    pub fn parse_set(argument: &str) -> Result<Self, String> {
        match argument.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => Ok(Self::flag("--set", key.trim(), value)),
            Some(_) | None => Err("expected KEY=VALUE, such as session.ping_interval=5s".to_owned()),
        }
    }
}

/// Where to look for a configuration, defaults aside. Keep it to load again after SIGHUP.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file named on the command line; it has to exist.
    pub file: Option<PathBuf>,
    /// Environment variables; those of other programs are passed over.
    pub environment: Vec<(OsString, OsString)>,
    /// Keys set on the command line; the last of a key counts.
    pub overrides: Vec<Override>,
}

// By hand: the environment may hold anybody's secrets.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Sources {
    /// The sources of this process: its environment, and what its command line says.
    pub fn of_process(file: Option<PathBuf>, overrides: Vec<Override>) -> Self {
        Self { file, environment: std::env::vars_os().collect(), overrides }
    }

    fn variable(&self, name: &str) -> Option<&OsString> {
        let found = self.environment.iter().rev().find(|(variable, _)| variable == name);
        found.map(|(_, value)| value).filter(|value| !value.is_empty())
    }

    /// Replaces a leading `~/` by the home folder, or `None` if there is a `~/` and no home.
    pub(crate) fn expand(&self, path: &Path) -> Option<PathBuf> {
        match path.strip_prefix("~") {
            Ok(rest) => Some(Path::new(self.variable("HOME")?).join(rest)),
            Err(_) => Some(path.to_owned()),
        }
    }

    /// Whether there is a file to read for a program, good or not. One that cannot be looked at counts.
    pub fn has_file<C: Config>(&self) -> bool {
        let chosen = self.chosen_file(&C::PROGRAM);
        let is_missing = |file: &Path| {
            std::fs::symlink_metadata(file).is_err_and(|why| why.kind() == std::io::ErrorKind::NotFound)
        };
        chosen.is_some_and(|(file, _named)| !is_missing(&file))
    }

    /// The file to read, and whether somebody named it.
    pub(crate) fn chosen_file(&self, program: &Program) -> Option<(PathBuf, bool)> {
        if let Some(file) = &self.file {
            return Some((file.clone(), true));
        }
        if let Some(file) = self.variable(&format!("{}{FILE_VARIABLE}", program.prefix)) {
            return Some((PathBuf::from(file), true));
        }
        self.expand(Path::new(program.default_file)).map(|file| (file, false))
    }
}
