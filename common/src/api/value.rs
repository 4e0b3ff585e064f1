//! Any value inside a structure of named fields: what a [`Raw`] holds is passed on to whatever format is written.
//!
//! Numbers may come out in a shorter form than they went in; the value stays the same. Where bytes must not change
//! (the arguments of a procedure), bodies are written and read by hand instead.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{self, Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::wire::{Fault, FaultCode, MAX_DEPTH, Raw};

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Tree::of(self).map_err(ser::Error::custom)?.serialize(serializer)
    }
}

/// A value that was read.
pub(crate) enum Tree {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Single(f32),
    Double(f64),
    Text(String),
    Bytes(Octets),
    Array(Vec<Self>),
    Map(Vec<(Self, Self)>),
    /// An extension of MessagePack; in other formats the pair of its type and its bytes.
    Extension(i8, Octets),
}

impl Tree {
    /// Reads what a [`Raw`] holds.
    pub(crate) fn of(raw: &Raw) -> Result<Self, rmp_serde::decode::Error> {
        let mut reader = rmp_serde::Deserializer::from_read_ref(raw.as_bytes()).with_human_readable();
        reader.set_max_depth(MAX_DEPTH + 1);
        Self::deserialize(&mut reader)
    }
}

/// A byte string.
pub(crate) struct Octets(pub(crate) Vec<u8>);

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tree = Tree::deserialize(deserializer)?;
        let Tree::Bytes(octets) = tree else { return Err(de::Error::custom("not a byte string")) };
        Ok(octets)
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nil => serializer.serialize_unit(),
            Self::Bool(bit) => serializer.serialize_bool(*bit),
            Self::Unsigned(n) => serializer.serialize_u64(*n),
            Self::Signed(n) => serializer.serialize_i64(*n),
            // as the number that it is: the shortest text of 32 bits is another one to whoever reads 64
            Self::Single(n) => serializer.serialize_f64(f64::from(*n)),
            Self::Double(n) => serializer.serialize_f64(*n),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bytes(octets) => octets.serialize(serializer),
            Self::Array(values) => {
                let mut out = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    out.serialize_element(value)?;
                }
                out.end()
            }
            Self::Map(entries) => {
                let mut out = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    out.serialize_entry(key, value)?;
                }
                out.end()
            }
            Self::Extension(kind, octets) => {
                serializer.serialize_newtype_struct(rmp_serde::MSGPACK_EXT_STRUCT_NAME, &(kind, octets))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Tree, E> {
        Ok(Tree::Nil)
    }

    fn visit_none<E: de::Error>(self) -> Result<Tree, E> {
        Ok(Tree::Nil)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_bool<E: de::Error>(self, bit: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(bit))
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Tree, E> {
        Ok(Tree::Unsigned(n))
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<Tree, E> {
        Ok(Tree::Signed(n))
    }

    fn visit_f32<E: de::Error>(self, n: f32) -> Result<Tree, E> {
        Ok(Tree::Single(n))
    }

    fn visit_f64<E: de::Error>(self, n: f64) -> Result<Tree, E> {
        Ok(Tree::Double(n))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Tree, E> {
        Ok(Tree::Bytes(Octets(bytes.to_vec())))
    }

    /// How the reader of MessagePack gives an extension.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        let (kind, octets) = Deserialize::deserialize(deserializer)?;
        Ok(Tree::Extension(kind, octets))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = access.next_element()? {
            values.push(value);
        }
        Ok(Tree::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Tree::Map(entries))
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tree = Tree::deserialize(deserializer)?;
        Self::encode(&tree).map_err(de::Error::custom)
    }
}

/// The fields of a [`Fault`], by their names on the wire.
#[derive(serde::Serialize, serde::Deserialize)]
struct FaultFields {
    code: String,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    module: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    args: Option<Raw>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<Raw>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<Raw>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { code, message, class, module, trace, args, state, data, retry_after_ms } = self.clone();
        let code = code.as_str().to_owned();
        FaultFields { code, message, class, module, trace, args, state, data, retry_after_ms }
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let FaultFields { code, message, class, module, trace, args, state, data, retry_after_ms } =
            FaultFields::deserialize(deserializer)?;
        let code = FaultCode::from_wire(&code);
        Ok(Self { code, message, class, module, trace, args, state, data, retry_after_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Integer, RawMap};

    #[test]
    fn a_value_inside_a_structure_stays_the_value_it_is() {
        let value = RawMap::new()
            .text("text", "a")
            .bin("bytes", &[0, 255])
            .uint("big", u64::MAX)
            .integer("less", Integer::from(-7_i64))
            .bool("bit", true)
            .map("nested", |map| map.uints("list", &[1, 2, 300]))
            .finish();
        let wrapped = Raw::encode(&vec![Some(value.clone()), None]).unwrap();
        let back: Vec<Option<Raw>> = wrapped.decode().unwrap();
        assert_eq!(back, [Some(value), None]);
    }

    #[test]
    fn extensions_pass_too() {
        let value = Raw::parse(bytes::Bytes::from_static(&[0x91, 0xd6, 0xff, 1, 2, 3, 4])).unwrap();
        let back: Vec<Raw> = Raw::encode(&vec![value.clone()]).unwrap().decode().unwrap();
        assert_eq!(back, [value]);
    }

    #[test]
    fn a_value_can_be_shown_as_json() {
        let value = RawMap::new().text("a", "b").uint("n", 3).finish();
        assert_eq!(serde_json::to_string(&value).unwrap(), r#"{"a":"b","n":3}"#);
        let read: Raw = serde_json::from_str(r#"{"a":"b","n":3}"#).unwrap();
        assert_eq!(read, value);
    }

    #[test]
    fn a_float_of_32_bits_is_shown_as_the_number_that_it_is() {
        let value = Raw::encode(&0.7_f32).unwrap();
        assert_eq!(serde_json::to_string(&value).unwrap(), "0.699999988079071");
        let back: Vec<Raw> = Raw::encode(&vec![value]).unwrap().decode().unwrap();
        assert_eq!(back[0].decode::<f64>().unwrap().to_bits(), f64::from(0.7_f32).to_bits());
    }

    #[test]
    fn a_fault_keeps_all_of_its_fields() {
        let mut fault = Fault::new(FaultCode::Failed, "it broke").with_data(Raw::text("more"));
        fault.class = Some("ValueError".into());
        fault.retry_after_ms = Some(5);
        let back: Fault = Raw::encode(&fault).unwrap().decode().unwrap();
        assert_eq!(back, fault);
    }
}
