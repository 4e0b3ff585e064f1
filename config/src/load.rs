//! Loads a configuration: defaults ← file ← environment ← command line.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use figment::Figment;
use figment::error::Kind;
use figment::providers::Serialized;
use figment::value::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::effective::{Effective, rows};
use crate::environment;
use crate::error::{ConfigError, Origin, Problem};
use crate::file;
use crate::known::{Known, tree};
use crate::permissions::{refuse_loose, refuse_writable};
use crate::secret::MASK;
use crate::sections::{LogConfig, TlsConfig};
use crate::setting::{Collector, Setting};
use crate::sources::{Override, Sources};

/// What the loader has to know of a program.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// What the names of its environment variables begin with.
    pub prefix: &'static str,
    /// The file that is read, if it exists, when none is named. May begin with `~/`.
    pub default_file: &'static str,
    /// Whether it is a daemon, whose file nobody else may write.
    pub daemon: bool,
    /// Sections that may be given one plain value, with the name of the key it is for.
    pub shorthands: &'static [(&'static str, &'static str)],
}

/// The configuration of a program: its default is complete, so that every key is known.
pub trait Config: Serialize + DeserializeOwned + Default {
    /// What the loader has to know of the program.
    const PROGRAM: Program;

    /// Everything that is wrong with values that are readable but make no sense.
    fn check(&self) -> Vec<Problem>;

    /// The sections that every program has.
    fn shared(&self) -> Shared<'_>;

    /// The keys that are paths. The loader replaces `~/`, and resolves what a file names beside that file.
    fn paths(&mut self) -> Vec<(&'static str, &mut PathBuf)>;
}

/// The sections that every program has.
#[derive(Debug, Clone, Copy)]
pub struct Shared<'a> {
    /// `[tls]`.
    pub tls: &'a TlsConfig,
    /// `[log]`.
    pub log: &'a LogConfig,
}

/// A configuration that was loaded and checked.
#[derive(Debug, Clone)]
pub struct Loaded<C> {
    /// The configuration.
    pub config: C,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    /// Every key with its value and where that came from, sorted by key; see [`report`](crate::report).
    pub effective: Vec<Effective>,
}

/// Loads and checks the configuration of a program.
///
/// # Errors
/// [`ConfigError::Problems`] holds every wrong key and value of all sources, not only the first. The permissions of
/// the file are checked on the file as opened.
pub fn load<C: Config>(sources: &Sources) -> Result<Loaded<C>, ConfigError> {
    let known = Known::of(&C::default())?;
    let mut collector = Collector::new(&known, C::PROGRAM.shorthands);
    let source = read_file(sources, &C::PROGRAM)?;
    if let Some((path, source)) = &source {
        file::settings(path, &source.text, &mut collector)?;
    }
    environment::settings(C::PROGRAM.prefix, &sources.environment, &mut collector);
    for Override { key, value, flag } in &sources.overrides {
        let (value, origin) = (Value::from(value.as_str()), Origin::Flag { flag: flag.clone() });
        collector.add(Setting { key: key.clone(), value, origin });
    }
    let mut config: C = extract(&mut collector)?;
    refuse_secret_flags(&config, &mut collector)?;
    resolve_paths(&mut config, sources, &mut collector);
    let unreadable: Vec<_> = collector.problems.iter().map(|problem| problem.key.clone()).collect();
    // A key whose value could not be read has its default by now; what is wrong with that is not worth saying.
    for Problem { key, what, origin: _ } in
        config.check().into_iter().filter(|p| !unreadable.contains(&p.key))
    {
        let origin = collector.origin(&key);
        collector.problem(key, origin, what);
    }
    if !collector.problems.is_empty() {
        return Err(ConfigError::Problems { problems: collector.problems });
    }
    let effective = rows(&config, |key| collector.origin(key))?;
    if let Some((path, source)) = &source {
        // Also a secret that another source overrides: it is in the file all the same.
        let is_secret = |key: &str| effective.iter().any(|row| row.key == key && row.value == MASK);
        let in_file = |setting: &&Setting| matches!(setting.origin, Origin::File { .. });
        if collector.settings.iter().filter(in_file).any(|setting| is_secret(&setting.key)) {
            refuse_loose(path, &source.metadata, 0o600)?;
        }
    }
    Ok(Loaded { config, file: source.map(|(path, _)| path), effective })
}

fn read_file(sources: &Sources, program: &Program) -> Result<Option<(PathBuf, file::Source)>, ConfigError> {
    let Some((path, named)) = sources.chosen_file(program) else { return Ok(None) };
    match file::read(&path) {
        Ok(source) => {
            if program.daemon {
                refuse_writable(&path, &source.metadata)?;
            }
            Ok(Some((path, source)))
        }
        Err(ConfigError::Read { source, .. }) if !named && source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Reads the merged settings as a configuration. A value that cannot be read is noted and gives way to its default.
fn extract<C: Config>(collector: &mut Collector<'_>) -> Result<C, ConfigError> {
    let defaults = Value::from(tree(&C::default())?);
    let mut replaced = BTreeSet::new();
    let mut figment = Figment::from(Serialized::defaults(C::default()));
    for setting in &collector.settings {
        figment = figment.merge(setting.clone());
    }
    // figment stops at the first bad value: note it, put the default back, look again. Ends, because a key that
    // has its default already is a mistake of ours.
    loop {
        let error = match figment.extract::<C>() {
            Ok(config) => return Ok(config),
            Err(error) => error,
        };
        let key = key_of(&error.path, collector.known()).filter(|key| replaced.insert(key.clone()));
        let default = key.as_deref().and_then(|key| defaults.find_ref(key)).cloned();
        let (Some(key), Some(value)) = (key, default) else {
            return Err(ConfigError::Defaults(Box::new(error)));
        };
        let origin = collector.origin(&key);
        collector.problem(key.clone(), origin, describe(&error.kind));
        figment = figment.merge(Setting { key, value, origin: Origin::Default });
    }
}

/// The key that an error is about: its path may go on into a list.
fn key_of(path: &[String], known: &Known) -> Option<String> {
    let prefixes = (1..=path.len()).rev().filter_map(|len| path.get(..len));
    prefixes.map(|prefix| prefix.join(".")).find(|key| known.has_key(key))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "figment's own words are good for the other kinds")]
fn describe(kind: &Kind) -> String {
    match kind {
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
            format!("found {found}, expected {expected}")
        }
        other => other.to_string(),
    }
}

/// Notes a problem for each secret that was given on the command line, which everybody on the machine can read.
fn refuse_secret_flags<C: Config>(config: &C, collector: &mut Collector<'_>) -> Result<(), ConfigError> {
    let secrets = rows(config, |key| collector.origin(key))?.into_iter().filter(|row| row.value == MASK);
    for Effective { key, origin, .. } in secrets {
        // the command line is the last source: a flag cannot be hidden behind another one
        if let Origin::Flag { .. } = &origin {
            let variable = environment::variable(C::PROGRAM.prefix, &key);
            let file = Some(format!("{key}_file")).filter(|file| collector.known().has_key(file));
            let instead = file.map_or(String::new(), |file| format!("{file} or "));
            let what = format!(
                "a secret on the command line can be seen by every user of this machine; \
                 help: use {instead}the environment variable {variable}"
            );
            collector.problem(key, origin, what);
        }
    }
    Ok(())
}

fn resolve_paths<C: Config>(config: &mut C, sources: &Sources, collector: &mut Collector<'_>) {
    for (key, path) in config.paths() {
        let origin = collector.origin(key);
        let Some(expanded) = sources.expand(path) else {
            collector.problem(
                key.to_owned(),
                origin,
                "there is no home folder for ~/: HOME is not set".to_owned(),
            );
            continue;
        };
        *path = match &origin {
            // An empty path stays empty, so that it is noticed.
            Origin::File { path: file, .. } if !expanded.as_os_str().is_empty() => {
                file.parent().map_or_else(|| expanded.clone(), |folder| folder.join(&expanded))
            }
            Origin::File { .. } | Origin::Default | Origin::Environment { .. } | Origin::Flag { .. } => {
                expanded
            }
        };
    }
}
