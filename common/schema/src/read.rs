//! Reads MessagePack as the values of rmpv, however deep what passed a scan may be.

use redpoll_common::wire::Raw;
use redpoll_common::wire::scan::DEEPEST;
use rmpv::decode::{Error, read_value_ref_with_max_depth, read_value_with_max_depth};
use rmpv::{Value, ValueRef};

/// What rmpv counts as depth: two for each array or map, and three for a text or an extension in the innermost.
const DEPTH: usize = 2 * DEEPEST + 3;

/// Reads a value.
///
/// # Errors
/// Where it is none, as only bytes of a broken store are.
pub fn read(raw: &Raw) -> Result<Value, Error> {
    read_value_with_max_depth(&mut raw.as_bytes(), DEPTH)
}

/// The same, without copies of its texts and byte strings.
pub(crate) fn read_ref(raw: &Raw) -> Result<ValueRef<'_>, Error> {
    read_value_ref_with_max_depth(&mut raw.as_bytes(), DEPTH)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use redpoll_common::wire::MAX_DEPTH;
    use redpoll_common::words::Words;
    use serde_json::json;

    use super::*;
    use crate::{ArgumentRedaction, Binary, Json, Schema, hide, to_json};

    /// So many levels of lists or maps with a value in the innermost.
    fn nested(levels: usize, as_map: bool, innermost: Value) -> Value {
        (0..levels).fold(innermost, |inner, _| match as_map {
            true => Value::Map(vec![(Value::from("k"), inner)]),
            false => Value::Array(vec![inner]),
        })
    }

    fn raw(value: &Value) -> Raw {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, value).unwrap();
        Raw::parse(Bytes::from(bytes)).unwrap()
    }

    /// At both depths, lists and maps, with each kind of innermost value.
    fn each(check: impl Fn(usize, bool, Value)) {
        let leaves =
            [Value::from("secret"), Value::Binary(b"secret".to_vec()), Value::Ext(5, b"secret".to_vec())];
        for (levels, as_map) in [(24, false), (24, true), (MAX_DEPTH, false), (MAX_DEPTH, true)] {
            leaves.iter().for_each(|leaf| check(levels, as_map, leaf.clone()));
        }
    }

    #[test]
    fn all_levels_that_the_wire_lets_through_are_read_and_shown() {
        each(|levels, as_map, leaf| {
            let value = nested(levels, as_map, leaf.clone());
            let raw = raw(&value);
            assert_eq!(read(&raw).unwrap(), value);
            assert_eq!(read_ref(&raw).unwrap().to_owned(), value);
            let inner = serde_json::to_string(&crate::Shown(&leaf.as_ref(), Binary::Marked)).unwrap();
            let (before, after) = if as_map { ("{\"k\":", "}") } else { ("[", "]") };
            let expected = format!("{}{inner}{}", before.repeat(levels), after.repeat(levels));
            assert_eq!(serde_json::to_string(&Json(&raw)).unwrap(), expected);
            let parsed: serde_json::Value = serde_json::from_str(&expected).unwrap();
            assert_eq!(to_json(&raw, Binary::Marked).unwrap(), parsed);
        });
    }

    #[test]
    fn secrets_are_masked_at_all_levels_and_what_is_around_them_stays() {
        let mut words = Words::default();
        words.add(b"secret");
        each(|levels, as_map, leaf| {
            let bytes = b"***".to_vec();
            let masked = if matches!(leaf, Value::Binary(_)) {
                Value::Binary(bytes)
            } else if let Value::Ext(kind, _) = leaf {
                Value::Ext(kind, bytes)
            } else {
                Value::from("***")
            };
            let hidden = hide(&words, &raw(&nested(levels, as_map, leaf)));
            assert_eq!(read(&hidden).unwrap(), nested(levels, as_map, masked));
        });
    }

    #[test]
    fn paths_lead_into_arguments_of_all_levels() {
        let redaction = ArgumentRedaction::new(&["kwargs.password"]);
        each(|levels, as_map, leaf| {
            let kwargs = |password: &str| {
                let deep = nested(levels - 1, as_map, leaf.clone());
                raw(&Value::Map(vec![("deep".into(), deep), ("password".into(), password.into())]))
            };
            let (_, masked) = redaction.mask(&Raw::empty_array(), &kwargs("hunter2"));
            assert_eq!(masked, kwargs("***"));
            let words = redaction.words(&Raw::empty_array(), &kwargs("hunter2"));
            assert!(!words.is_everything());
            assert_eq!(words.text("hunter2"), "***");
        });
    }

    #[test]
    fn arguments_of_all_levels_are_checked_by_what_they_are() {
        let schema =
            Schema::compile(&json!({"type": "object", "x-positional": ["deep"], "required": ["deep"]}));
        let schema = schema.unwrap();
        each(|levels, as_map, leaf| {
            let deep = nested(levels - 1, as_map, leaf);
            let by_name = raw(&Value::Map(vec![("deep".into(), deep.clone())]));
            assert!(schema.check(&Raw::empty_array(), &by_name).is_ok(), "{levels}");
            let by_place = raw(&Value::Array(vec![deep]));
            assert!(schema.check(&by_place, &Raw::empty_map()).is_ok(), "{levels}");
        });
    }
}
