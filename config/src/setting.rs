//! One key set by one source, and the collection of all of them.

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use crate::error::{Origin, Problem};
use crate::known::Known;

/// A value for a key, and who says so.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) key: String,
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

impl Provider for Setting {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let dict = figment::util::nest(&self.key, self.value.clone()).into_dict().unwrap_or_default();
        Ok(Profile::Default.collect(dict))
    }
}

/// Gathers settings in the order of their sources, and a problem for each that does not fit.
#[derive(Debug)]
pub(crate) struct Collector<'a> {
    known: &'a Known,
    shorthands: &'a [(&'a str, &'a str)],
    pub(crate) settings: Vec<Setting>,
    pub(crate) problems: Vec<Problem>,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(known: &'a Known, shorthands: &'a [(&'a str, &'a str)]) -> Self {
        Self { known, shorthands, settings: Vec::new(), problems: Vec::new() }
    }

    pub(crate) fn known(&self) -> &'a Known {
        self.known
    }

    /// The key that a source means: itself, or what a section stands for when it is given a plain value.
    pub(crate) fn resolve(&self, key: &str) -> Option<String> {
        if self.known.has_key(key) {
            return Some(key.to_owned());
        }
        let shorthand = self.shorthands.iter().find(|(section, _)| *section == key);
        shorthand.map(|(section, name)| format!("{section}.{name}"))
    }

    /// Takes a setting, or notes why it does not fit.
    pub(crate) fn add(&mut self, setting: Setting) {
        match self.resolve(&setting.key) {
            Some(key) => self.settings.push(Setting { key, ..setting }),
            None => {
                let what = self.unknown(&setting.key);
                self.problem(setting.key, setting.origin, what);
            }
        }
    }

    /// Notes a problem.
    pub(crate) fn problem(&mut self, key: String, origin: Origin, what: String) {
        self.problems.push(Problem { key, origin, what });
    }

    /// Where the value of a key comes from: the last source that set it.
    pub(crate) fn origin(&self, key: &str) -> Origin {
        let last = self.settings.iter().rev().find(|setting| setting.key == key);
        last.map_or(Origin::Default, |setting| setting.origin.clone())
    }

    fn unknown(&self, key: &str) -> String {
        if self.known.has_section(key) {
            return format!("this is a section; set its keys, as in {key}.NAME or below [{key}]");
        }
        match self.known.nearest(key) {
            Some(nearest) => format!("unknown key; did you mean {nearest}?"),
            None => "unknown key".to_owned(),
        }
    }
}
