//! Values between MessagePack and JSON.

use std::collections::BTreeSet;

use data_encoding::BASE64;
use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use crate::api::value::{Octets, Tree};
use crate::wire::Raw;

/// The key of an object that stands for a byte string.
const BYTES: &str = "$b64";
/// The key of an object that stands for an extension of MessagePack.
const EXTENSION: &str = "$ext";

/// A value that JSON has no form for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{what} cannot be passed to an executable: JSON has no form for it", .at.as_ref().map(|at| format!("{at:?}: ")).unwrap_or_default())]
pub struct Unspeakable {
    /// What it is.
    pub what: &'static str,
    /// The argument that has it, and no more of the way there: keys within may be secret.
    pub at: Option<String>,
}

impl Unspeakable {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, at: None }
    }

    fn within(self, argument: &str) -> Self {
        Self { at: Some(argument.chars().take(MAX_SHOWN).collect()), ..self }
    }
}

/// Characters of an argument's name that are told.
const MAX_SHOWN: usize = 64;

/// A value for the standard input of an executable.
pub(super) struct Spoken(Tree);

impl Spoken {
    pub(super) fn of(raw: &Raw) -> Result<Self, Unspeakable> {
        let tree = read(raw)?;
        check(&tree)?;
        Ok(Self(tree))
    }

    /// The same of arguments, in which no map may pass for a byte string: rules and schemas were asked about a map.
    pub(super) fn of_arguments(raw: &Raw) -> Result<Self, Unspeakable> {
        let tree = read(raw)?;
        let argument = |tree: &Tree| {
            check(tree)?;
            if passes_for_bytes(tree) { Err(Unspeakable::new(LIKE_BYTES)) } else { Ok(()) }
        };
        match &tree {
            Tree::Map(entries) => {
                check_keys(entries)?;
                for (key, value) in entries {
                    argument(value).map_err(|error| error.within(&key_text(key).unwrap_or_default()))?;
                }
            }
            Tree::Array(values) => {
                for (place, value) in values.iter().enumerate() {
                    argument(value).map_err(|error| error.within(&place.to_string()))?;
                }
            }
            Tree::Nil
            | Tree::Bool(_)
            | Tree::Unsigned(_)
            | Tree::Signed(_)
            | Tree::Single(_)
            | Tree::Double(_)
            | Tree::Text(_)
            | Tree::Bytes(_)
            | Tree::Extension(..) => argument(&tree)?,
        }
        if passes_for_bytes(&tree) { Err(Unspeakable::new(LIKE_BYTES)) } else { Ok(Self(tree)) }
    }
}

fn read(raw: &Raw) -> Result<Tree, Unspeakable> {
    // it passed the scan when it came
    Tree::of(raw).map_err(|_error| Unspeakable::new("a value that cannot be read"))
}

/// What a map is that an executable would take for a byte string.
const LIKE_BYTES: &str =
    "a map whose only key is \"$b64\" (it would be taken for a byte string; send a byte string)";

fn passes_for_bytes(tree: &Tree) -> bool {
    match tree {
        Tree::Array(values) => values.iter().any(passes_for_bytes),
        Tree::Map(entries) => match entries.as_slice() {
            [(Tree::Text(key), Tree::Text(_))] if key == BYTES => true,
            entries => entries.iter().any(|(_, value)| passes_for_bytes(value)),
        },
        Tree::Nil
        | Tree::Bool(_)
        | Tree::Unsigned(_)
        | Tree::Signed(_)
        | Tree::Single(_)
        | Tree::Double(_)
        | Tree::Text(_)
        | Tree::Bytes(_)
        | Tree::Extension(..) => false,
    }
}

fn check(tree: &Tree) -> Result<(), Unspeakable> {
    let not_finite = || Err(Unspeakable::new("a number that is not finite"));
    match tree {
        Tree::Single(n) if !n.is_finite() => not_finite(),
        Tree::Double(n) if !n.is_finite() => not_finite(),
        Tree::Array(values) => values.iter().try_for_each(check),
        Tree::Map(entries) => {
            check_keys(entries)?;
            entries.iter().try_for_each(|(_, value)| check(value))
        }
        Tree::Nil
        | Tree::Bool(_)
        | Tree::Unsigned(_)
        | Tree::Signed(_)
        | Tree::Single(_)
        | Tree::Double(_)
        | Tree::Text(_)
        | Tree::Bytes(_)
        | Tree::Extension(..) => Ok(()),
    }
}

/// Each key has a text, and no other key the same: which of the two a program takes is its own affair, and a rule saw but one.
fn check_keys(entries: &[(Tree, Tree)]) -> Result<(), Unspeakable> {
    // texts alone were found to differ when they came
    let all_texts = entries.iter().all(|(key, _)| matches!(key, Tree::Text(_)));
    if all_texts {
        return Ok(());
    }
    let mut texts = BTreeSet::new();
    for (key, _) in entries {
        let no_text = "a key that is no text, integer or truth value";
        let text = key_text(key).ok_or_else(|| Unspeakable::new(no_text))?;
        if !texts.insert(text) {
            return Err(Unspeakable::new("a map with two keys that are one text (such as 1 and \"1\")"));
        }
    }
    Ok(())
}

fn key_text(key: &Tree) -> Option<String> {
    match key {
        Tree::Text(text) => Some(text.clone()),
        Tree::Unsigned(n) => Some(n.to_string()),
        Tree::Signed(n) => Some(n.to_string()),
        Tree::Bool(bit) => Some(bit.to_string()),
        Tree::Nil
        | Tree::Single(_)
        | Tree::Double(_)
        | Tree::Bytes(_)
        | Tree::Array(_)
        | Tree::Map(_)
        | Tree::Extension(..) => None,
    }
}

impl Serialize for Spoken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Json(&self.0).serialize(serializer)
    }
}

struct Json<'a>(&'a Tree);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Tree::Bytes(Octets(bytes)) => one(serializer, BYTES, &BASE64.encode(bytes)),
            Tree::Extension(kind, Octets(bytes)) => one(serializer, EXTENSION, &(kind, BASE64.encode(bytes))),
            Tree::Array(values) => {
                let mut out = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    out.serialize_element(&Json(value))?;
                }
                out.end()
            }
            Tree::Map(entries) => {
                let mut out = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    let key = key_text(key).ok_or_else(|| S::Error::custom("a key has no form"))?;
                    out.serialize_entry(&key, &Json(value))?;
                }
                out.end()
            }
            plain @ (Tree::Nil
            | Tree::Bool(_)
            | Tree::Unsigned(_)
            | Tree::Signed(_)
            | Tree::Single(_)
            | Tree::Double(_)
            | Tree::Text(_)) => plain.serialize(serializer),
        }
    }
}

fn one<S: Serializer, T: Serialize>(serializer: S, key: &str, value: &T) -> Result<S::Ok, S::Error> {
    let mut out = serializer.serialize_map(Some(1))?;
    out.serialize_entry(key, value)?;
    out.end()
}

/// Why a value that an executable gave is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// What should be base64 is not.
    Base64,
    /// It nests too deep, has too many values, or a key twice.
    Scan(String),
}

/// The value of a JSON value: objects whose only key is `$b64` become byte strings.
pub(super) fn heard(tree: Tree) -> Result<Raw, Unfit> {
    let tree = fold(tree)?;
    Raw::encode(&tree).map_err(|error| Unfit::Scan(error.reason))
}

/// The byte string that a text in base64 stands for.
pub(super) fn heard_bytes(text: &str) -> Result<Raw, Unfit> {
    decode(text).map(|bytes| Raw::bin(&bytes))
}

fn decode(text: &str) -> Result<Vec<u8>, Unfit> {
    BASE64.decode(text.as_bytes()).map_err(|_error| Unfit::Base64)
}

fn fold(tree: Tree) -> Result<Tree, Unfit> {
    Ok(match tree {
        Tree::Array(values) => Tree::Array(values.into_iter().map(fold).collect::<Result<_, _>>()?),
        Tree::Map(entries) => {
            if let [(Tree::Text(key), Tree::Text(text))] = entries.as_slice()
                && key == BYTES
            {
                return Ok(Tree::Bytes(Octets(decode(text)?)));
            }
            let folded = entries.into_iter().map(|(key, value)| Ok((key, fold(value)?)));
            Tree::Map(folded.collect::<Result<_, Unfit>>()?)
        }
        plain @ (Tree::Nil
        | Tree::Bool(_)
        | Tree::Unsigned(_)
        | Tree::Signed(_)
        | Tree::Single(_)
        | Tree::Double(_)
        | Tree::Text(_)
        | Tree::Bytes(_)
        | Tree::Extension(..)) => plain,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::RawMap;

    fn spoken(raw: &Raw) -> String {
        serde_json::to_string(&Spoken::of(raw).unwrap()).unwrap()
    }

    fn said(json: &str) -> Result<Raw, Unfit> {
        heard(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn bytes_are_the_same_in_both_directions_at_any_depth() {
        let value = RawMap::new()
            .bin("b", &[0, 255, 7])
            .map("deep", |map| map.bin("b", b""))
            .uint("n", u64::MAX)
            .text("t", "ä\n")
            .finish();
        let json = spoken(&value);
        assert_eq!(
            json,
            r#"{"b":{"$b64":"AP8H"},"deep":{"b":{"$b64":""}},"n":18446744073709551615,"t":"ä\n"}"#
        );
        assert_eq!(said(&json).unwrap(), value);
    }

    #[test]
    fn what_json_has_no_form_for_is_refused() {
        let nan = Raw::encode(&[f64::NAN]).unwrap();
        assert!(Spoken::of(&nan).is_err_and(|error| error.what.contains("finite")));
        // {nil: 1}
        let key = Raw::parse(bytes::Bytes::from_static(&[0x81, 0xc0, 1])).unwrap();
        assert!(Spoken::of(&key).is_err_and(|error| error.what.contains("key")));
    }

    #[test]
    fn no_map_among_arguments_passes_for_a_byte_string() {
        let refused = |value: &serde_json::Value| Spoken::of_arguments(&Raw::encode(value).unwrap()).err();
        for map in [
            serde_json::json!({"$b64": "bGl2ZQ=="}),
            serde_json::json!({"stage": {"$b64": "bGl2ZQ=="}}),
            serde_json::json!([1, [{"$b64": "no base64, but who knows what reads it"}]]),
        ] {
            assert!(refused(&map).is_some_and(|error| error.what.contains("send a byte string")), "{map}");
        }
        for other in [serde_json::json!({"$b64": 7}), serde_json::json!({"$b64": "bGl2ZQ==", "x": 1})] {
            assert_eq!(refused(&other), None, "{other}");
        }
        assert!(Spoken::of_arguments(&RawMap::new().bin("b", b"live").finish()).is_ok());
    }

    #[test]
    fn a_map_with_two_keys_of_one_text_is_refused_and_the_argument_named() {
        // {"m": [{1: "evil", "1": "good"}]}, and the same with true
        for bytes in [
            &b"\x81\xa1m\x91\x82\x01\xa4evil\xa11\xa4good"[..],
            b"\x81\xa1m\x91\x82\xc3\xa4evil\xa4true\xa4good",
        ] {
            let raw = Raw::parse(bytes::Bytes::copy_from_slice(bytes)).unwrap();
            let said = Spoken::of_arguments(&raw).err().unwrap().to_string();
            assert!(said.starts_with("\"m\": a map with two keys that are one text"), "{said}");
            assert!(Spoken::of(&raw).is_err());
        }
        let raw = Raw::parse(bytes::Bytes::from_static(b"\x82\x01\xa1a\xa11\xa1b")).unwrap();
        assert!(Spoken::of_arguments(&raw).is_err(), "also at the top");
    }

    #[test]
    fn a_float_of_32_bits_is_written_as_the_number_that_was_judged() {
        let written = spoken(&Raw::encode(&[0.7_f32]).unwrap());
        let read: Vec<f64> = serde_json::from_str(&written).unwrap();
        assert_eq!(read[0].to_bits(), f64::from(0.7_f32).to_bits(), "{written}");
    }

    #[test]
    fn other_keys_become_texts_and_extensions_are_shown() {
        // {7: true, false: [ext 5 of 1 byte]}
        let raw = bytes::Bytes::from_static(&[0x82, 7, 0xc3, 0xc2, 0x91, 0xd4, 5, 9]);
        assert_eq!(spoken(&Raw::parse(raw).unwrap()), r#"{"7":true,"false":[{"$ext":[5,"CQ=="]}]}"#);
    }

    #[test]
    fn an_object_is_a_byte_string_only_when_it_has_nothing_else() {
        assert!(said(r#"{"$b64":"AA==","x":1}"#).unwrap().is_map());
        assert!(said(r#"{"$b64":5}"#).unwrap().is_map());
        assert_eq!(said(r#"[{"$b64":"not base64"}]"#), Err(Unfit::Base64));
    }

    #[test]
    fn what_would_not_fit_a_message_is_refused() {
        let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
        assert!(matches!(said(&deep), Err(Unfit::Scan(reason)) if reason.contains("deeper")));
        assert!(matches!(said(r#"{"a":1,"a":2}"#), Err(Unfit::Scan(reason)) if reason.contains("repeats")));
    }
}
