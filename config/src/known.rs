//! Which keys exist, and which of them somebody probably meant.
//!
//! The list is read off the default configuration, which has every key, so it cannot fall behind the types.

use std::collections::BTreeSet;

use figment::value::{Dict, Value};
use redpoll_common::nearest::{edit_distance, nearest};
use serde::Serialize;

use crate::error::ConfigError;

/// The keys and sections of one program's configuration, dotted and sorted.
#[derive(Debug)]
pub(crate) struct Known {
    keys: BTreeSet<String>,
    sections: BTreeSet<String>,
}

impl Known {
    /// Reads the keys off a configuration.
    pub(crate) fn of<C: Serialize>(config: &C) -> Result<Self, ConfigError> {
        let mut known = Self { keys: BTreeSet::new(), sections: BTreeSet::new() };
        known.add(&tree(config)?, "");
        Ok(known)
    }

    fn add(&mut self, dict: &Dict, prefix: &str) {
        for (name, value) in dict {
            let key = join(prefix, name);
            if let Some(inner) = value.as_dict() {
                self.add(inner, &key);
                self.sections.insert(key);
            } else {
                self.keys.insert(key);
            }
        }
    }

    /// Every key, sorted.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(String::as_str)
    }

    /// Whether there is such a key.
    pub(crate) fn has_key(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    /// Whether there is such a section.
    pub(crate) fn has_section(&self, section: &str) -> bool {
        self.sections.contains(section)
    }

    /// The existing key or section that is nearest to an unknown one.
    pub(crate) fn nearest(&self, unknown: &str) -> Option<&str> {
        // The right name in the wrong section is the commonest mistake that edit distance does not see.
        let name =
            |key: &str| key.rsplit_once('.').map_or_else(|| key.to_owned(), |(_, name)| name.to_owned());
        let wanted = name(unknown);
        let moved =
            self.keys().filter(|key| name(key) == wanted).min_by_key(|key| edit_distance(key, unknown));
        let candidates = self.keys().chain(self.sections.iter().map(String::as_str));
        moved.or_else(|| nearest(unknown, candidates))
    }
}

/// A configuration as a tree of values.
pub(crate) fn tree<C: Serialize>(config: &C) -> Result<Dict, ConfigError> {
    let value = Value::serialize(config).map_err(|error| ConfigError::Defaults(Box::new(error)))?;
    Ok(value.into_dict().unwrap_or_default())
}

/// Puts a name below a section; the empty section is the top.
pub(crate) fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_suggested_when_nothing_is_near() {
        let known = ["session.ping_interval", "tls.cert"];
        assert_eq!(nearest("session.ping_intervall", known.into_iter()), Some("session.ping_interval"));
        assert_eq!(nearest("tsl.cert", known.into_iter()), Some("tls.cert"));
        assert_eq!(nearest("frobnicate.all", known.into_iter()), None);
    }
}
