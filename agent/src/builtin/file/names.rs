//! Users and groups by name, as `/etc/passwd` and `/etc/group` have them.

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// A user or a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    /// By number.
    Number(u32),
    /// By name.
    Text(String),
}

impl Name {
    /// The number, looked up in the text of `/etc/passwd` or `/etc/group`: name, password, number, separated by colons.
    /// The highest number is nobody's: where an owner is set it means the one that is there.
    pub(super) fn number(&self, table: impl FnOnce() -> std::io::Result<String>) -> Option<u32> {
        self.found(table).filter(|number| *number != u32::MAX)
    }

    fn found(&self, table: impl FnOnce() -> std::io::Result<String>) -> Option<u32> {
        let name = match self {
            Self::Number(number) => return Some(*number),
            Self::Text(name) => name,
        };
        let known = table().ok().and_then(|table| {
            table.lines().find_map(|line| {
                let mut fields = line.split(':');
                (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
            })
        });
        known.or_else(|| name.parse().ok())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(name) => write!(f, "{name:?}"),
        }
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrNumber;
        impl Visitor<'_> for NameOrNumber {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or a number")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Name, E> {
                Ok(Name::Text(text.to_owned()))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Name, E> {
                u32::try_from(number).map(Name::Number).map_err(|_| E::custom("the number is too large"))
            }
        }
        deserializer.deserialize_any(NameOrNumber)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_and_a_number_is_taken() {
        let table = || Ok("root:x:0:0::/root:/bin/sh\nweb:x:33:33:::\nbad:x:y\n7:x:70:\n".to_owned());
        let number = |name: &str| Name::Text(name.into()).number(table);
        assert_eq!(number("web"), Some(33));
        assert_eq!(number("7"), Some(70), "a name goes first");
        assert_eq!(number("8"), Some(8));
        assert_eq!((number("we"), number("bad"), number("")), (None, None, None));
        assert_eq!(Name::Number(5).number(table), Some(5));
        // what setting an owner takes for "as it is"
        let nobody = || Ok("nobody:x:4294967295:4294967295:::\n".to_owned());
        assert_eq!(Name::Text("nobody".into()).number(nobody), None);
        assert_eq!((number("4294967295"), Name::Number(u32::MAX).number(table)), (None, None));
    }
}
