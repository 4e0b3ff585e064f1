//! Names of queues.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::spec::{MAX_QUEUE_NAME, QueueKey};
use super::submitter::Submitter;
use crate::wire::{Raw, RawMap};

/// Why a value does not name a queue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueKeyError {
    /// It is neither a text nor a map.
    #[error("a queue is named by a text or a map")]
    NeitherTextNorMap,
    /// It is a text or a map with nothing in it.
    #[error("a queue's name must not be empty")]
    Empty,
    /// Its canonical form is longer than [`MAX_QUEUE_NAME`].
    #[error("a queue's name of {len} bytes exceeds the limit of {MAX_QUEUE_NAME}")]
    TooLong {
        /// The bytes found.
        len: usize,
    },
}

impl QueueKey {
    /// Takes a name as somebody gave it: a text, or any map.
    ///
    /// # Errors
    /// [`QueueKeyError`] says which rule it breaks.
    pub fn parse(name: &Raw) -> Result<Self, QueueKeyError> {
        let is_text = name.as_text().is_some();
        if !is_text && !name.is_map() {
            return Err(QueueKeyError::NeitherTextNorMap);
        }
        let canonical = name.canonical();
        match canonical.as_bytes() {
            [0xa0] | [0x80] => Err(QueueKeyError::Empty),
            bytes => {
                // the limit of a text counts the text alone
                let len = canonical.as_text().map_or(bytes.len(), str::len);
                if len > MAX_QUEUE_NAME {
                    Err(QueueKeyError::TooLong { len })
                } else {
                    Ok(Self(Arc::from(bytes)))
                }
            }
        }
    }

    /// The queue that this name is to whoever submits: an agent's queues are its own, so that it neither makes nor fills one of others.
    /// `deploy` of the agent web-7 is `agent:web-7/deploy`; a map becomes `{"queue": MAP, "submitter": "agent:web-7"}`.
    ///
    /// # Errors
    /// [`QueueKeyError::TooLong`], with the agent's name in front.
    pub fn of(self, submitter: &Submitter) -> Result<Self, QueueKeyError> {
        if submitter.operator_id().is_some() {
            return Ok(self);
        }
        let name = self.to_raw();
        Self::parse(&match name.as_text() {
            Some(text) => Raw::text(&format!("{submitter}/{text}")),
            None => RawMap::new().raw("queue", &name).text("submitter", submitter.as_str()).finish(),
        })
    }

    /// The name as a value.
    pub fn to_raw(&self) -> Raw {
        // bytes of a broken store are no reason to give out what nobody can read
        Raw::parse(Bytes::copy_from_slice(&self.0)).unwrap_or_else(|_| Raw::nil())
    }
}

impl fmt::Display for QueueKey {
    /// A text as it is, with control characters escaped; a map like JSON with sorted keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let raw = self.to_raw();
        match raw.as_text() {
            Some(text) => write!(f, "{}", text.escape_debug()),
            None => raw.write_words(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::RawMap;

    fn key(name: &Raw) -> QueueKey {
        QueueKey::parse(name).unwrap()
    }

    #[test]
    fn equal_names_are_equal_bytes_however_they_were_written() {
        let one = RawMap::new().uint("b", 1).map("a", |map| map.text("y", "2").bool("x", true)).finish();
        let other = RawMap::new().map("a", |map| map.bool("x", true).text("y", "2")).uint("b", 1).finish();
        assert_ne!(one, other);
        assert_eq!(key(&one), key(&other));
        // 1 as 64 bits wide, the text with a 32-bit length
        let wide = [&[0x81, 0xdb, 0, 0, 0, 1, b'n', 0xcf][..], &1_u64.to_be_bytes()].concat();
        assert_eq!(key(&Raw::parse(wide.into()).unwrap()), key(&RawMap::new().uint("n", 1).finish()));
        // -0.0 as 32 bits wide
        let zero = Raw::parse(Bytes::from_static(&[0x81, 0xa1, b'n', 0xca, 0x80, 0, 0, 0])).unwrap();
        assert_eq!(key(&zero), key(&Raw::encode(&std::collections::BTreeMap::from([("n", 0.0)])).unwrap()));
    }

    #[test]
    fn different_names_are_different_bytes() {
        let names = [
            Raw::text("1"),
            RawMap::new().uint("n", 1).finish(),
            RawMap::new().text("n", "1").finish(),
            RawMap::new().bin("n", b"1").finish(),
            Raw::encode(&std::collections::BTreeMap::from([("n", 1.0)])).unwrap(),
        ];
        let keys: std::collections::BTreeSet<_> = names.iter().map(key).collect();
        assert_eq!(keys.len(), names.len());
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let parse = |raw: Raw| QueueKey::parse(&raw).unwrap_err();
        assert_eq!(parse(Raw::nil()), QueueKeyError::NeitherTextNorMap);
        assert_eq!(parse(Raw::empty_array()), QueueKeyError::NeitherTextNorMap);
        assert_eq!(parse(Raw::text("")), QueueKeyError::Empty);
        assert_eq!(parse(Raw::empty_map()), QueueKeyError::Empty);
        assert_eq!(parse(Raw::text(&"x".repeat(1025))), QueueKeyError::TooLong { len: 1025 });
        assert_eq!(QueueKey::text(&"x".repeat(1024)).unwrap().to_string().len(), 1024);
    }

    #[test]
    fn the_same_name_is_another_queue_to_each_agent_and_one_to_all_operators() {
        let peer = |name: &str| crate::ids::PeerId::parse(name).unwrap();
        let map = RawMap::new().text("kind", "backup").finish();
        for name in [Raw::text("deploy"), map.clone()] {
            let of = |submitter: Submitter| key(&name).of(&submitter).unwrap();
            assert_eq!(of(Submitter::operator(&peer("ada"))), key(&name));
            assert_eq!(of(Submitter::operator(&peer("web-7"))), key(&name));
            let all =
                [key(&name), of(Submitter::agent(&peer("web-7"))), of(Submitter::agent(&peer("web-8")))];
            assert_eq!(std::collections::BTreeSet::from(all).len(), 3);
        }
        let web = Submitter::agent(&peer("web-7"));
        assert_eq!(key(&Raw::text("deploy")).of(&web).unwrap().to_string(), "agent:web-7/deploy");
        let shown = r#"{"queue": {"kind": "backup"}, "submitter": "agent:web-7"}"#;
        assert_eq!(key(&map).of(&web).unwrap().to_string(), shown);
        let long = key(&Raw::text(&"x".repeat(1024))).of(&web);
        assert_eq!(long, Err(QueueKeyError::TooLong { len: 1036 }));
    }

    #[test]
    fn names_read_back_from_a_store() {
        let stored = key(&RawMap::new().uint("b", 1).uint("a", 2).finish());
        assert_eq!(QueueKey::from_stored(stored.as_bytes()), stored);
        assert_eq!(QueueKey::parse(&stored.to_raw()).as_ref(), Ok(&stored));
        assert_eq!(QueueKey::from_stored(&[0xc1]).to_string(), "null", "a broken store harms nobody");
    }

    #[test]
    fn people_see_text_as_it_is_and_maps_like_json() {
        assert_eq!(QueueKey::text("db\u{1b}[2J").unwrap().to_string(), "db\\u{1b}[2J");
        let map = RawMap::new().text("site", "b\"erlin").map("at", |map| map.uint("rack", 7)).finish();
        assert_eq!(key(&map).to_string(), r#"{"at": {"rack": 7}, "site": "b\"erlin"}"#);
    }
}
