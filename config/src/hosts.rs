//! Patterns of hosts with ports: where webhooks may go.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::values::ValueError;

const EXPECTED: &str = "a host with an optional port, such as \"hooks.example\", \"*.example:443\" or \"[2001:db8::7]:8443\"; \
     * stands for any characters";

/// A host, `*` in it for any characters (dots as well), and a port if only that one is meant.
///
/// The name is compared as it is written in a URL, in small letters: nobody resolves it here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    host: String,
    port: Option<u16>,
}

impl HostPattern {
    /// Whether this host with this port is meant. An IPv6 address has no brackets here.
    pub fn matches(&self, host: &str, port: u16) -> bool {
        self.port.is_none_or(|wanted| wanted == port) && glob(&self.host, &host.to_ascii_lowercase())
    }
}

impl FromStr for HostPattern {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let bad = || ValueError::new(text, EXPECTED);
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or_else(bad)?;
                let address: std::net::Ipv6Addr = host.parse().map_err(|_| bad())?;
                let port =
                    if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or_else(bad)?) };
                (address.to_string(), port)
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host.to_ascii_lowercase(), Some(port)),
                None => (text.to_ascii_lowercase(), None),
            },
        };
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'*' | b':');
        if host.is_empty() || host.len() > 253 || !host.bytes().all(good) {
            return Err(bad());
        }
        let port = port.map(|port| read_port(port).ok_or_else(bad)).transpose()?;
        Ok(Self { host, port })
    }
}

/// Digits alone, unlike what `u16` accepts.
fn read_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') { write!(f, "[{}]", self.host) } else { f.write_str(&self.host) }?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl Serialize for HostPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn glob(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    // What stands between two stars is taken at its first place: that leaves the most for what follows.
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        let Some((_, after)) = text.split_once(part) else { return false };
        text = after;
    }
    text.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_what_it_says_and_nothing_else() {
        for (pattern, host, port, expected) in [
            ("hooks.example", "hooks.example", 443, true),
            ("Hooks.Example", "hooks.EXAMPLE", 1, true),
            ("hooks.example", "hooks.example.org", 443, false),
            ("hooks.example", "my.hooks.example", 443, false),
            ("hooks.example:443", "hooks.example", 443, true),
            ("hooks.example:443", "hooks.example", 80, false),
            ("*.example", "a.b.example", 80, true),
            ("*.example", "example", 80, false),
            ("*.example", "example.org", 80, false),
            ("a*b*c", "abc", 80, true),
            ("a*b*c", "axxbyyc", 80, true),
            ("a*b*c", "acb", 80, false),
            ("aa*aa", "aaa", 80, false),
            ("*", "anything", 80, true),
            ("10.0.*:8080", "10.0.7.1", 8080, true),
            ("[2001:DB8::7]:8443", "2001:db8::7", 8443, true),
            ("[::1]", "::1", 80, true),
            ("[::1]:80", "::1", 81, false),
        ] {
            let parsed: HostPattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(host, port), expected, "{pattern} {host}:{port}");
            assert_eq!(parsed.to_string().parse::<HostPattern>().unwrap(), parsed);
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in [
            "", ":80", "a b", "http://a", "a/b", "a:0", "a:", "a:+80", "a:65536", "a:x", "::1", "[::1",
            "[x]", "[::1]80",
        ] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad}");
        }
    }
}
