//! Lists of IP addresses with ports.

use std::net::SocketAddr;
use std::str::FromStr;

use serde::Deserializer;

use super::{ValueError, list};

pub(crate) use list::serialize;

/// One of them, whose error says what is wanted.
struct Socket(SocketAddr);

impl FromStr for Socket {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wanted = "an IP address with a port, such as \"0.0.0.0:7051\" or \"[::]:7051\"";
        text.parse().map(Self).map_err(|_no_address| ValueError::new(text, wanted))
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    let sockets: Vec<Socket> = list::deserialize(deserializer)?;
    Ok(sockets.into_iter().map(|Socket(address)| address).collect())
}
