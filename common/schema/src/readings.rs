//! Arguments as the rules of a policy see them: what a byte string is to a rule about a text, and what nobody can say of what is left out.

use std::collections::BTreeMap;

use serde_json::Value;

/// Named arguments. A byte string that is UTF-8 is the text it is, so that nobody passes by a rule by sending bytes for a text. For one that
/// is not there is no one text: whoever gets it makes of it what he likes, and a program takes it as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Readings {
    /// With `\u{fffd}` in place of bad bytes.
    pub text: Value,
    /// The same with each text that has bad bytes in base64; `None`: there is none. It has the same places.
    pub encoded: Option<Value>,
    /// What is left out, and may be one thing or another by the schema.
    pub unknown: Unknown,
}

impl Readings {
    /// Of arguments without bad bytes.
    pub fn of(text: Value) -> Self {
        Self { text, encoded: None, unknown: Unknown::default() }
    }

    /// Puts a text in the place of an argument, in both of them.
    pub fn set(&mut self, name: &str, text: &str) {
        for reading in [Some(&mut self.text), self.encoded.as_mut()].into_iter().flatten() {
            if let Some(named) = reading.as_object_mut() {
                named.insert(name.to_owned(), Value::String(text.to_owned()));
            }
        }
    }
}

/// Places among arguments of which nobody can say what is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unknown {
    /// All of it.
    whole: bool,
    within: BTreeMap<String, Self>,
}

impl Unknown {
    /// The whole of a place.
    pub(crate) fn whole() -> Self {
        Self { whole: true, within: BTreeMap::new() }
    }

    /// Adds what is not known of a place within.
    pub(crate) fn add(&mut self, word: &str, unknown: Self) {
        if unknown != Self::default() {
            self.within.insert(word.to_owned(), unknown);
        }
    }

    /// Whether anything at a dotted path, beneath it or around it is not known.
    pub fn is_at(&self, path: &str) -> bool {
        let mut place = self;
        for word in path.split('.') {
            if place.whole {
                return true;
            }
            let Some(inner) = place.within.get(word) else { return false };
            place = inner;
        }
        *place != Self::default()
    }
}
