//! MessagePack values as people and scripts see them: JSON and YAML in both directions, plain text in one.
//!
//! JSON has fewer types than MessagePack. These conventions fill the gap, in what is printed and in what is read:
//!
//! | MessagePack | JSON |
//! |---|---|
//! | binary | `{"$bin": "<base64>"}` |
//! | extension | `{"$ext": <type>, "$bin": "<base64>"}`, printed only |
//! | a float that is not finite | `{"$float": "NaN"}`, `"inf"`, `"-inf"`, printed only |
//! | a key that is not text | the key as JSON text, printed only |
//!
//! A procedure's own map `{"$bin": "…"}` looks the same as binary. Integers from −2⁶³ to 2⁶⁴−1 stay integers; JSON
//! integers beyond that become floats. The order of keys is kept; a key that stands twice is an error.

use std::fmt;

use bytes::Bytes;
use data_encoding::BASE64;
use redpoll_common::wire::Raw;
use redpoll_common::wire::scan::ScanError;
use redpoll_schema::Binary;
use rmpv::Value;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The key that marks binary in JSON.
const BIN: &str = "$bin";

/// Why a value cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// It breaks a limit of the wire.
    #[error("the value breaks a limit of the protocol")]
    Scan(#[source] ScanError),
    /// It could not be written as MessagePack.
    #[error("the value cannot be written as MessagePack: {0}")]
    Write(String),
}

/// Reads a value that came over the wire. It passed the scan, so this does not fail; a text that says why if it ever did.
pub fn decode(raw: &Raw) -> Value {
    redpoll_schema::read(raw)
        .unwrap_or_else(|error| Value::from(format!("(a value that cannot be read: {error})")))
}

/// Writes a value for the wire.
///
/// # Errors
/// [`EncodeError`] when the value is deeper or has more parts than the protocol allows, or a key twice.
pub fn encode(value: &Value) -> Result<Raw, EncodeError> {
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, value).map_err(|error| EncodeError::Write(error.to_string()))?;
    Raw::parse(Bytes::from(out)).map_err(EncodeError::Scan)
}

/// Reads JSON as a MessagePack value.
///
/// # Errors
/// What serde_json says, with line and column.
pub fn from_json(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str::<FromJson>(text).map(|value| value.0)
}

/// The entry of a map.
pub fn field<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    value.as_map()?.iter().find(|(k, _)| k.as_str() == Some(key)).map(|(_, v)| v)
}

/// A value on its way into JSON or YAML.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'v>(pub &'v Value);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        redpoll_schema::Shown(&self.0.as_ref(), Binary::Marked).serialize(serializer)
    }
}

/// A value on its way out of JSON.
struct FromJson(Value);

impl<'de> Deserialize<'de> for FromJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor).map(Self)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_bool<E: de::Error>(self, b: bool) -> Result<Value, E> {
        Ok(Value::Boolean(b))
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Value, E> {
        Ok(Value::from(n))
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<Value, E> {
        Ok(Value::from(n))
    }

    fn visit_f64<E: de::Error>(self, f: f64) -> Result<Value, E> {
        Ok(Value::F64(f))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(FromJson(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut seen = std::collections::HashSet::new();
        let mut entries = Vec::new();
        while let Some((key, FromJson(value))) = map.next_entry::<String, FromJson>()? {
            if !seen.insert(key.clone()) {
                return Err(de::Error::custom(format!("the key {key:?} stands twice")));
            }
            entries.push((Value::from(key), value));
        }
        match entries.as_slice() {
            [(key, Value::String(text))] if key.as_str() == Some(BIN) => {
                let bytes = BASE64.decode(text.as_bytes()).map_err(|_| {
                    de::Error::custom(format!("{BIN:?} holds base64 with padding, and this is not"))
                })?;
                Ok(Value::Binary(bytes))
            }
            _ => Ok(Value::Map(entries)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(value: &Value) -> String {
        serde_json::to_string(&Shown(value)).unwrap()
    }

    #[test]
    fn json_becomes_messagepack_with_its_types() {
        for (text, value) in [
            ("null", Value::Nil),
            ("true", Value::Boolean(true)),
            ("5", Value::from(5_u64)),
            ("-5", Value::from(-5_i64)),
            ("18446744073709551615", Value::from(u64::MAX)),
            ("-9223372036854775808", Value::from(i64::MIN)),
            ("1.5", Value::F64(1.5)),
            ("1.0", Value::F64(1.0)),
            ("1e3", Value::F64(1000.0)),
            ("934890924.5613089", Value::F64(934_890_924.561_308_9)),
            ("\"x\"", Value::from("x")),
            ("[1,[]]", Value::Array(vec![Value::from(1), Value::Array(vec![])])),
            ("{\"b\":1,\"a\":2}", Value::Map(vec![("b".into(), 1.into()), ("a".into(), 2.into())])),
            ("{\"$bin\":\"AP8=\"}", Value::Binary(vec![0, 255])),
        ] {
            assert_eq!(from_json(text).unwrap(), value, "{text}");
            assert_eq!(decode(&encode(&value).unwrap()), value, "{text}");
        }
    }

    #[test]
    fn json_that_is_wrong_says_where() {
        for text in ["", "{", "{\"a\":1,\"a\":2}", "[1,]", "nul", "1 2", "{\"$bin\":\"?\"}", "1e999"] {
            assert!(from_json(text).is_err(), "{text:?} was accepted");
        }
        assert!(from_json("{\"a\":1,\"a\":2}").unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn what_json_lacks_follows_the_conventions() {
        assert_eq!(json(&Value::Binary(b"hi".to_vec())), r#"{"$bin":"aGk="}"#);
        assert_eq!(json(&Value::Ext(5, b"hi".to_vec())), r#"{"$ext":5,"$bin":"aGk="}"#);
        assert_eq!(json(&Value::F64(f64::NAN)), r#"{"$float":"NaN"}"#);
        assert_eq!(json(&Value::F32(f32::NEG_INFINITY)), r#"{"$float":"-inf"}"#);
        assert_eq!(json(&Value::Map(vec![(1.into(), Value::Nil)])), r#"{"1":null}"#);
    }

    #[test]
    fn a_value_too_deep_for_the_wire_is_refused() {
        let deep = format!("{}1{}", "[".repeat(60), "]".repeat(60));
        let value = from_json(&deep).unwrap();
        assert!(matches!(encode(&value), Err(EncodeError::Scan(_))));
    }

    #[test]
    fn a_value_as_deep_as_the_wire_lets_it_be_is_read_and_printed() {
        for (levels, before, after) in
            [(24, "[", "]"), (24, "{\"k\":", "}"), (32, "[", "]"), (32, "{\"k\":", "}")]
        {
            for inner in ["1", "\"text\"", "{\"$bin\":\"AP8=\"}"] {
                let text = format!("{}{inner}{}", before.repeat(levels), after.repeat(levels));
                let value = from_json(&text).unwrap();
                let read = decode(&encode(&value).unwrap());
                assert_eq!((json(&read), read), (text, value));
            }
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<bool>().prop_map(Value::Boolean),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9..1e9_f64).prop_map(Value::F64),
            "\\PC{0,8}".prop_map(Value::from),
            prop::collection::vec(any::<u8>(), 0..8).prop_map(Value::Binary),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map("[a-z]{1,4}", inner, 0..4).prop_map(|map| {
                    Value::Map(map.into_iter().map(|(k, v)| (Value::from(k), v)).collect())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_as_json_reads_back(value in any_value()) {
            prop_assert_eq!(from_json(&json(&value)).unwrap(), value);
        }
    }
}
