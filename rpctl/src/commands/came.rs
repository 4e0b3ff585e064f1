//! What came in a list: as this build reads it, and as it came. A newer manager may say more, and whoever wants JSON gets all of it.

use redpoll_common::wire::Raw;
use rmpv::Value;
use serde::{Serialize, Serializer};

use super::elements;
use crate::value::Shown;

/// An element of a list.
#[derive(Debug)]
pub(super) struct Came<T> {
    /// What this build understands of it.
    pub(super) read: T,
    value: Value,
}

impl<T> Serialize for Came<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Shown(&self.value).serialize(serializer)
    }
}

/// The list that stands under `key` in an answer, `read` from there.
pub(super) fn came<T>(read: Vec<T>, answer: &Raw, key: &str) -> impl Iterator<Item = Came<T>> {
    read.into_iter().zip(elements(answer, key)).map(|(read, value)| Came { read, value })
}
