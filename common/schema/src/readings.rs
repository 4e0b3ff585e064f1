//! Arguments as the rules of a policy see them: what a byte string is to a rule about a text.

use serde_json::Value;

/// Named arguments. A byte string that is UTF-8 is the text it is, so that nobody passes by a rule by sending bytes for a text. For one that
/// is not there is no one text: whoever gets it makes of it what he likes, and a program takes it as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Readings {
    /// With `\u{fffd}` in place of bad bytes.
    pub text: Value,
    /// The same with each text that has bad bytes in base64; `None`: there is none. It has the same places.
    pub encoded: Option<Value>,
}

impl Readings {
    /// Of arguments without bad bytes.
    pub fn of(text: Value) -> Self {
        Self { text, encoded: None }
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
