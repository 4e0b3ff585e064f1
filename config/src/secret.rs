//! Values that never appear in logs, errors or reports.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How a secret is shown, everywhere.
pub(crate) const MASK: &str = "***";

/// A value that shows itself as `***`: in `Debug`, in `Display`, when it is serialised, and in every error about it.
///
/// Only [`expose`](Self::expose) gives it away, so a search for that word finds every use.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Pass it on to whoever needs it; do not log it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl<T> Serialize for Secret<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The cause is dropped on purpose: serde's errors quote what they found.
        let masked =
            |_| serde::de::Error::custom("found something else, expected a text (not shown: it is a secret)");
        T::deserialize(deserializer).map(Self).map_err(masked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_itself_nowhere() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?} {secret} {:?}", Some(&secret)), "*** *** Some(***)");
        let value = figment::value::Value::serialize(&secret).unwrap();
        assert_eq!(value.as_str(), Some("***"));
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn an_error_about_a_secret_does_not_quote_it() {
        let found = figment::value::Value::from(1_234_567);
        let error = found.deserialize::<Secret<String>>().unwrap_err().to_string();
        assert!(!error.contains("1234567"), "{error}");
        assert!(error.contains("expected a text"), "{error}");
    }
}
