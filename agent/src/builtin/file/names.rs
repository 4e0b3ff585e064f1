//! Users and groups by name, as `/etc/passwd` and `/etc/group` have them.

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use std::{fmt, io};

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
    ///
    /// # Errors
    /// That of the table, where nobody can tell without it. One that is not there has no names.
    pub(super) fn number(&self, table: impl FnOnce() -> io::Result<String>) -> io::Result<Option<u32>> {
        Ok(self.found(table)?.filter(|number| *number != u32::MAX))
    }

    fn found(&self, table: impl FnOnce() -> io::Result<String>) -> io::Result<Option<u32>> {
        let name = match self {
            Self::Number(number) => return Ok(Some(*number)),
            Self::Text(name) => name,
        };
        let table = match table() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            table => table?,
        };
        let known = table.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
        });
        Ok(known.or_else(|| name.parse().ok()))
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
        let number = |name: &str| Name::Text(name.into()).number(table).unwrap();
        assert_eq!(number("web"), Some(33));
        assert_eq!(number("7"), Some(70), "a name goes first");
        assert_eq!(number("8"), Some(8));
        assert_eq!((number("we"), number("bad"), number("")), (None, None, None));
        assert_eq!(Name::Number(5).number(table).unwrap(), Some(5));
        // what setting an owner takes for "as it is"
        let nobody = || Ok("nobody:x:4294967295:4294967295:::\n".to_owned());
        assert_eq!(Name::Text("nobody".into()).number(nobody).unwrap(), None);
        assert_eq!((number("4294967295"), Name::Number(u32::MAX).number(table).unwrap()), (None, None));
    }

    #[test]
    fn a_table_that_cannot_be_read_is_none_without_the_name() {
        let unread = |kind: io::ErrorKind| move || Err(io::Error::from(kind));
        let (web, seven) = (Name::Text("web".into()), Name::Text("7".into()));
        for name in [&web, &seven] {
            assert!(name.number(unread(io::ErrorKind::Other)).is_err());
        }
        assert_eq!(web.number(unread(io::ErrorKind::NotFound)).unwrap(), None);
        assert_eq!(seven.number(unread(io::ErrorKind::NotFound)).unwrap(), Some(7));
        assert_eq!(Name::Number(5).number(unread(io::ErrorKind::Other)).unwrap(), Some(5));
    }
}
