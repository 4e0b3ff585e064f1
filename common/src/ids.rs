//! Names and numbers that identify something, one type each.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest name of a peer or a cluster, in bytes.
pub const MAX_NAME_LEN: usize = 128;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("a name must not be empty")]
    Empty,
    /// The text is longer than [`MAX_NAME_LEN`].
    #[error("a name of {len} bytes exceeds the limit of {MAX_NAME_LEN}")]
    TooLong {
        /// The length found, in bytes.
        len: usize,
    },
    /// The text starts with something else than a letter or a digit.
    #[error("a name starts with a letter or a digit, not with {found:?}")]
    Start {
        /// The character found.
        found: char,
    },
    /// The text has a character that names do not have.
    #[error("a name has letters, digits, '.', '_' and '-', not {found:?}")]
    Character {
        /// The character found.
        found: char,
    },
}

fn check_name(text: &str) -> Result<(), NameError> {
    let first = text.chars().next().ok_or(NameError::Empty)?;
    if text.len() > MAX_NAME_LEN {
        return Err(NameError::TooLong { len: text.len() });
    }
    if !first.is_ascii_alphanumeric() {
        return Err(NameError::Start { found: first });
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        Some(found) => Err(NameError::Character { found }),
        None => Ok(()),
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 1 to 128 bytes of ASCII letters, digits, `.`, `_` and `-`, starting with a letter or a digit.
        /// Compared as bytes: no case folding. Cheap to clone.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses a name.
            ///
            /// # Errors
            /// [`NameError`] says which rule the text breaks.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                check_name(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name_type! {
    /// The name of an agent, an operator or a manager within its cluster.
    PeerId
}
name_type! {
    /// The name of a cluster: one certificate authority, one fleet.
    ClusterName
}

/// The longest id of a request that is accepted from a peer, in bytes.
pub const MAX_REQUEST_ID_LEN: usize = 128;

/// The id of a request, made by its sender and unique among the sender's requests of one connection.
///
/// Opaque text: ours are 32 hexadecimal digits, other peers may use anything of 1 to 128 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// Takes a peer's id, or `None` if it is empty or longer than [`MAX_REQUEST_ID_LEN`].
    pub fn parse(text: &str) -> Option<Self> {
        (!text.is_empty() && text.len() <= MAX_REQUEST_ID_LEN).then(|| Self(Arc::from(text)))
    }

    /// The id with number `n` of a connection whose ids begin with `prefix`.
    ///
    /// 32 hexadecimal digits, because the oldest peers accept nothing else.
    pub fn numbered(prefix: u64, n: u64) -> Self {
        Self(Arc::from(format!("{prefix:016x}{n:016x}").as_str()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// The number of a connection within one process: what tells a new connection of an agent from its older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_bytes() {
        for good in ["web-1", "a", "A.b_c-9", &"x".repeat(128)] {
            assert_eq!(PeerId::parse(good).unwrap().as_str(), good);
        }
        assert_eq!(PeerId::parse(""), Err(NameError::Empty));
        assert_eq!(PeerId::parse(&"x".repeat(129)), Err(NameError::TooLong { len: 129 }));
        assert_eq!(PeerId::parse("-a"), Err(NameError::Start { found: '-' }));
        assert_eq!(PeerId::parse("a/b"), Err(NameError::Character { found: '/' }));
        assert_eq!(PeerId::parse("a%2Fb"), Err(NameError::Character { found: '%' }));
        assert_eq!(PeerId::parse("ä"), Err(NameError::Start { found: 'ä' }));
        assert_ne!(PeerId::parse("Web").unwrap(), PeerId::parse("web").unwrap());
    }

    #[test]
    fn request_ids_of_ours_have_32_hexadecimal_digits() {
        let id = RequestId::numbered(u64::MAX, 7);
        assert_eq!(id.as_str(), "ffffffffffffffff0000000000000007");
        assert!(RequestId::parse("").is_none());
        assert!(RequestId::parse(&"x".repeat(129)).is_none());
    }
}
