//! What the calls of `file.*` may ask for.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use redpoll_common::leg::Ticket;
use redpoll_common::wire::Fields;
use redpoll_net::CallContext;
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer};

use super::error::FileError;
use super::names::Name;
use crate::builtin::arguments::without_value;
use crate::builtin::exec_arguments::Octets;

/// What a file must still be for a read to go on; it may have grown.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    pub(super) size: u64,
    pub(super) mtime_ns: i64,
    pub(super) inode: u64,
}

/// `file.stat`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StatArguments {
    pub(super) path: Octets,
}

/// `file.list`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListArguments {
    pub(super) path: Octets,
    #[serde(default)]
    pub(super) after: Option<Octets>,
    #[serde(default)]
    pub(super) limit: Option<usize>,
}

/// `file.read` and `file.hash`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadArguments {
    pub(super) path: Octets,
    #[serde(default)]
    pub(super) offset: u64,
    #[serde(default)]
    pub(super) length: Option<u64>,
    #[serde(default)]
    pub(super) expect: Option<Expected>,
    /// Of `file.read`: the digest of the whole file too.
    #[serde(default)]
    pub(super) sha256: bool,
    /// Of `file.read`: over a connection of its own.
    #[serde(default)]
    pub(super) stream: Option<Ticket>,
}

/// `file.write`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WriteArguments {
    pub(super) path: Octets,
    #[serde(default)]
    pub(super) upload: Option<String>,
    #[serde(default)]
    pub(super) offset: Option<u64>,
    #[serde(default)]
    pub(super) data: Option<Given>,
    #[serde(default)]
    pub(super) stream: Option<Ticket>,
    #[serde(default)]
    pub(super) query: bool,
    #[serde(default)]
    pub(super) commit: bool,
    #[serde(default)]
    pub(super) abort: bool,
    #[serde(default)]
    pub(super) folder: bool,
    #[serde(default)]
    pub(super) size: Option<u64>,
    #[serde(default)]
    pub(super) sha256: Option<String>,
    #[serde(default)]
    pub(super) mode: Option<u32>,
    #[serde(default)]
    pub(super) new_mode: Option<u32>,
    #[serde(default)]
    pub(super) owner: Option<Name>,
    #[serde(default)]
    pub(super) group: Option<Name>,
}

/// That there is data, a text or binary. What it is, [`data`] gives, without a copy.
pub(super) struct Given;

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl Visitor<'_> for Given {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or binary")
    }

    fn visit_str<E: serde::de::Error>(self, _text: &str) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_bytes<E: serde::de::Error>(self, _bytes: &[u8]) -> Result<Self, E> {
        Ok(Self)
    }
}

/// The data of a `file.write`, if it has some: a part of the payload that it came in.
pub(super) fn data(call: &CallContext) -> Option<Bytes> {
    Fields::of(&call.kwargs).ok()?.opt_raw("data").ok()??.octets()
}

/// `file.remove`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RemoveArguments {
    pub(super) path: Octets,
    #[serde(default)]
    pub(super) recursive: bool,
}

/// Reads the arguments of a call.
pub(super) fn read<T: DeserializeOwned>(call: &CallContext) -> Result<T, FileError> {
    let positional = call.args.as_bytes() != [0x90];
    if positional {
        let text = format!("{} takes named arguments only, such as path=/tmp/x", call.method);
        return Err(FileError::Arguments(text));
    }
    let fit = |reason| FileError::Arguments(format!("the arguments of {} do not fit: {reason}", call.method));
    call.kwargs.decode().map_err(|error| fit(without_value(&error.reason)))
}

/// The path that was meant.
pub(super) fn path(octets: Octets) -> PathBuf {
    PathBuf::from(octets.into_os())
}
