//! MessagePack values as JSON. JSON has fewer types; these conventions fill the gap:
//!
//! | MessagePack | JSON that is shown | JSON that a schema sees |
//! |---|---|---|
//! | binary | `{"$bin": "<base64>"}` | the base64 text |
//! | extension | `{"$ext": <type>, "$bin": "<base64>"}` | the same |
//! | a float that is not finite | `{"$float": "NaN"}`, `"inf"`, `"-inf"` | the same |
//! | a key that is not text | the key as JSON text | the same |
//!
//! Text that is not UTF-8 has its bad bytes replaced. Integers keep their value, the order of keys is kept where the
//! format keeps it.

use data_encoding::BASE64;
use redpoll_common::wire::{MAX_DEPTH, Raw};
use rmpv::ValueRef;
use serde::ser::{self, SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use crate::opaque::LARGE;
use crate::read::read_ref;

/// How binary looks in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// `{"$bin": "<base64>"}`: people and programs can tell it from text.
    Marked,
    /// Its base64 text alone: a schema describes it as a string with `contentEncoding`.
    Text,
    /// The text that it is, bad bytes replaced: what a rule about a text has to see.
    Readable,
    /// The text that it is, where it is UTF-8, and its base64 text otherwise.
    Encoded,
}

/// A value on its way into JSON, binary marked. Bytes that are no value, as only a broken store has them, are an error.
#[derive(Debug, Clone, Copy)]
pub struct Json<'r>(pub &'r Raw);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Shown(&read_ref(self.0).map_err(ser::Error::custom)?, Binary::Marked).serialize(serializer)
    }
}

/// The value as JSON; `None` of bytes that are no value.
pub fn to_json(raw: &Raw, binary: Binary) -> Option<serde_json::Value> {
    // writing into a JSON value fails on keys that are no text only, and there are none
    serde_json::to_value(Shown(&read_ref(raw).ok()?, binary)).ok()
}

/// The same of a map, but for its large binary values under names that are `opaque`, which become a text without content.
pub(crate) fn to_json_but(
    raw: &Raw,
    binary: Binary,
    opaque: impl Fn(&str) -> bool,
) -> Option<serde_json::Value> {
    if raw.len() < LARGE {
        return to_json(raw, binary);
    }
    let ValueRef::Map(entries) = read_ref(raw).ok()? else { return to_json(raw, binary) };
    let entries = entries.into_iter().map(|(key, value)| match (&key, &value) {
        (ValueRef::String(name), ValueRef::Binary(bytes))
            if bytes.len() >= LARGE && name.as_str().is_some_and(&opaque) =>
        {
            (key, ValueRef::String("".into()))
        }
        _ => (key, value),
    });
    let value = ValueRef::Map(entries.collect());
    serde_json::to_value(Shown(&value, binary)).ok()
}

/// Whether all byte strings in it are UTF-8, those under names of a map aside that are `opaque`.
pub(crate) fn is_all_text(raw: &Raw, opaque: impl Fn(&str) -> bool) -> bool {
    fn is(value: &ValueRef<'_>) -> bool {
        match value {
            ValueRef::Binary(bytes) => std::str::from_utf8(bytes).is_ok(),
            ValueRef::Map(entries) => entries.iter().all(|(_, value)| is(value)),
            ValueRef::Array(items) => items.iter().all(is),
            ValueRef::Nil
            | ValueRef::Boolean(_)
            | ValueRef::Integer(_)
            | ValueRef::F32(_)
            | ValueRef::F64(_)
            | ValueRef::String(_)
            | ValueRef::Ext(..) => true,
        }
    }
    let Ok(value) = read_ref(raw) else { return false };
    let ValueRef::Map(entries) = &value else { return is(&value) };
    let skips =
        |key: &ValueRef<'_>| matches!(key, ValueRef::String(name) if name.as_str().is_some_and(&opaque));
    entries.iter().all(|(key, value)| skips(key) || is(value))
}

/// Whether all keys of maps are texts, at all levels.
pub fn is_named_by_texts(raw: &Raw) -> bool {
    has_text_keys(raw, MAX_DEPTH)
}

/// The same down to so many levels.
pub(crate) fn has_text_keys(raw: &Raw, depth: usize) -> bool {
    fn has(value: &ValueRef<'_>, depth: usize) -> bool {
        let Some(below) = depth.checked_sub(1) else { return true };
        match value {
            ValueRef::Map(entries) => entries.iter().all(|(key, value)| {
                matches!(key, ValueRef::String(text) if text.as_str().is_some()) && has(value, below)
            }),
            ValueRef::Array(items) => items.iter().all(|item| has(item, below)),
            ValueRef::Nil
            | ValueRef::Boolean(_)
            | ValueRef::Integer(_)
            | ValueRef::F32(_)
            | ValueRef::F64(_)
            | ValueRef::String(_)
            | ValueRef::Binary(_)
            | ValueRef::Ext(..) => true,
        }
    }
    read_ref(raw).is_ok_and(|value| has(&value, depth))
}

/// A value that was read already, on its way into JSON or YAML.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'v>(pub &'v ValueRef<'v>, pub Binary);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(value, binary) = *self;
        match value {
            ValueRef::Nil => serializer.serialize_unit(),
            ValueRef::Boolean(bit) => serializer.serialize_bool(*bit),
            ValueRef::Integer(n) => match (n.as_u64(), n.as_i64()) {
                (Some(n), _) => serializer.serialize_u64(n),
                (None, Some(n)) => serializer.serialize_i64(n),
                (None, None) => serializer.serialize_unit(),
            },
            ValueRef::F32(float) if float.is_finite() => {
                // the shortest text of 32 bits is another number to whoever reads 64
                serializer.serialize_f64(f64::from(*float))
            }
            ValueRef::F64(float) if float.is_finite() => serializer.serialize_f64(*float),
            ValueRef::F32(float) => one(serializer, "$float", &float.to_string()),
            ValueRef::F64(float) => one(serializer, "$float", &float.to_string()),
            ValueRef::String(text) => serializer.serialize_str(&String::from_utf8_lossy(text.as_bytes())),
            ValueRef::Binary(bytes) => match binary {
                Binary::Marked => one(serializer, "$bin", &BASE64.encode(bytes)),
                Binary::Text => serializer.serialize_str(&BASE64.encode(bytes)),
                Binary::Readable => serializer.serialize_str(&String::from_utf8_lossy(bytes)),
                Binary::Encoded => match std::str::from_utf8(bytes) {
                    Ok(text) => serializer.serialize_str(text),
                    Err(_) => serializer.serialize_str(&BASE64.encode(bytes)),
                },
            },
            ValueRef::Ext(kind, bytes) => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("$ext", kind)?;
                map.serialize_entry("$bin", &BASE64.encode(bytes))?;
                map.end()
            }
            ValueRef::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Shown(item, binary))?;
                }
                list.end()
            }
            ValueRef::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(&key_text(key), &Shown(value, binary))?;
                }
                map.end()
            }
        }
    }
}

fn one<S: Serializer>(serializer: S, key: &str, text: &str) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(key, text)?;
    map.end()
}

fn key_text(key: &ValueRef<'_>) -> String {
    match key {
        ValueRef::String(text) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
        ValueRef::Nil
        | ValueRef::Boolean(_)
        | ValueRef::Integer(_)
        | ValueRef::F32(_)
        | ValueRef::F64(_)
        | ValueRef::Binary(_)
        | ValueRef::Array(_)
        | ValueRef::Map(_)
        | ValueRef::Ext(..) => serde_json::to_string(&Shown(key, Binary::Marked)).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn json(bytes: &'static [u8]) -> String {
        serde_json::to_string(&Json(&Raw::parse(Bytes::from_static(bytes)).unwrap())).unwrap()
    }

    #[test]
    fn every_kind_of_value_has_its_form_in_json() {
        for (bytes, expected) in [
            (&b"\xc0"[..], "null"),
            (b"\xc3", "true"),
            (b"\x07", "7"),
            (b"\xff", "-1"),
            (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
            (b"\xca\x3f\xc0\x00\x00", "1.5"),
            (b"\xca\x3f\x33\x33\x33", "0.699999988079071"),
            (b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", r#"{"$float":"NaN"}"#),
            (b"\xca\xff\x80\x00\x00", r#"{"$float":"-inf"}"#),
            (b"\xa2\"\n", r#""\"\n""#),
            (b"\xc4\x02\x00\xff", r#"{"$bin":"AP8="}"#),
            (b"\xd4\x05\x00", r#"{"$ext":5,"$bin":"AA=="}"#),
            (b"\x92\x01\x90", "[1,[]]"),
            (b"\x82\x01\xc0\xa1a\x80", r#"{"1":null,"a":{}}"#),
            (b"\x81\xc4\x01\xff\x01", r#"{"{\"$bin\":\"/w==\"}":1}"#),
        ] {
            assert_eq!(json(bytes), expected, "{bytes:?}");
        }
    }
}
