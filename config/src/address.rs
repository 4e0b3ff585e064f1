//! Where a peer is reached: `host:port`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The port on which a manager listens for agents and operators unless told otherwise.
pub const DEFAULT_PORT: u16 = 7051;

/// The longest host name, in bytes, as DNS has it.
const MAX_HOST_LEN: usize = 253;

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no host.
    #[error("{text:?} has no host name; write \"manager.example:{DEFAULT_PORT}\"")]
    NoHost {
        /// The text found.
        text: String,
    },
    /// The host is neither a name nor an IP address.
    #[error("{host:?} is neither a host name nor an IP address")]
    Host {
        /// The host found.
        host: String,
    },
    /// The port is no number from 1 to 65535.
    #[error("{port:?} is not a port; write a number from 1 to 65535")]
    Port {
        /// The port found.
        port: String,
    },
    /// An IPv6 address stands without brackets.
    #[error("{text:?} looks like an IPv6 address; write it in brackets, as in \"[::1]:{DEFAULT_PORT}\"")]
    Brackets {
        /// The text found.
        text: String,
    },
}

/// A host name or IP address and a port. The name is resolved anew each time it is dialled, not here.
///
/// Written `manager.example:7051`, `192.0.2.7`, `[2001:db8::7]:7051`; the port is [`DEFAULT_PORT`] if absent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// Parses an address.
    ///
    /// # Errors
    /// [`AddressError`] says which part is wrong and how to write it.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix('[') {
            return bracketed(text, rest);
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => {
                return Err(AddressError::Brackets { text: text.to_owned() });
            }
            Some((host, port)) => (host, parse_port(port)?),
            None => (text, DEFAULT_PORT),
        };
        if host.is_empty() {
            return Err(AddressError::NoHost { text: text.to_owned() });
        }
        if !is_host(host) {
            return Err(AddressError::Host { host: host.to_owned() });
        }
        Ok(Self { host: host.to_owned(), port })
    }

    /// The host: a name or an IP address, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn bracketed(text: &str, rest: &str) -> Result<Address, AddressError> {
    let (host, after) =
        rest.split_once(']').ok_or_else(|| AddressError::Brackets { text: text.to_owned() })?;
    if host.parse::<Ipv6Addr>().is_err() {
        return Err(AddressError::Host { host: host.to_owned() });
    }
    let port = match after.strip_prefix(':') {
        Some(port) => parse_port(port)?,
        None if after.is_empty() => DEFAULT_PORT,
        None => return Err(AddressError::Port { port: after.to_owned() }),
    };
    Ok(Address { host: host.to_owned(), port })
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        Ok(_) | Err(_) => Err(AddressError::Port { port: text.to_owned() }),
    }
}

fn is_host(host: &str) -> bool {
    // 127.1 and 256.0.0.1 are no names: whatever looks like an IPv4 address has to be one.
    if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    let good_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    host.len() <= MAX_HOST_LEN && host.strip_suffix('.').unwrap_or(host).split('.').all(good_label)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_a_port() {
        for (text, host, port, written) in [
            ("manager.example", "manager.example", 7051, "manager.example:7051"),
            ("manager.example:80", "manager.example", 80, "manager.example:80"),
            ("192.0.2.7", "192.0.2.7", 7051, "192.0.2.7:7051"),
            ("[::1]", "::1", 7051, "[::1]:7051"),
            ("[2001:db8::7]:443", "2001:db8::7", 443, "[2001:db8::7]:443"),
            (" localhost ", "localhost", 7051, "localhost:7051"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.host(), address.port()), (host, port), "{text}");
            assert_eq!(address.to_string(), written);
        }
    }

    #[test]
    fn an_ipv6_address_without_brackets_is_refused_with_the_remedy() {
        let error = Address::parse("::1").unwrap_err();
        assert!(matches!(error, AddressError::Brackets { .. }));
        assert!(error.to_string().contains("[::1]:7051"), "{error}");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "",
            ":7051",
            "host:",
            "host:0",
            "host:70000",
            "host:+1",
            "a b",
            "a..b",
            "http://host",
            "256.1.1.1",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad:?}");
        }
        for bad in ["[::1", "[::1]7051", "[host]:1", "[]"] {
            assert!(Address::parse(bad).is_err(), "{bad:?}");
        }
    }
}
