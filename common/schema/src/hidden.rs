//! The secrets of a call by value: what lies at the `redact` paths of its arguments, masked in whatever the call gives.

use bytes::Bytes;
use redpoll_common::wire::Raw;
use redpoll_common::words::Words;
use rmpv::Value;

use crate::{MASK, read};

/// A value with the words masked in its texts, its byte strings, its keys, and in numbers that are one of them. A value that cannot be
/// read is masked as a whole.
pub fn hide(words: &Words, raw: &Raw) -> Raw {
    if words.is_everything() {
        return Raw::text(MASK);
    }
    // a text stands in one piece in the bytes of a value, so that most need not be read; but where a form depends on what stands before
    // it, or on where the text begins, the bytes between the texts would be read as a part of it
    let is_plain = !raw.as_bytes().iter().any(|byte| matches!(byte, b'%' | b'\\' | b'\n' | b'\r'));
    if is_plain && !words.has_numbers() && !words.find(raw.as_bytes()) {
        return raw.clone();
    }
    let Ok(mut value) = read(raw) else { return Raw::text(MASK) };
    if !hide_in(words, &mut value) {
        return raw.clone();
    }
    let mut out = Vec::with_capacity(raw.len());
    match rmpv::encode::write_value(&mut out, &value) {
        // two keys that became the same are no map any more
        Ok(()) => Raw::parse(Bytes::from(out)).unwrap_or_else(|_| Raw::text(MASK)),
        Err(_) => Raw::text(MASK),
    }
}

/// Whether something was masked.
fn hide_in(words: &Words, value: &mut Value) -> bool {
    let masked = |bytes: &[u8]| words.find(bytes).then(|| words.mask(bytes));
    let new = match value {
        Value::String(text) => {
            masked(text.as_bytes()).map(|bytes| Value::from(String::from_utf8_lossy(&bytes).into_owned()))
        }
        Value::Binary(bytes) => masked(bytes).map(Value::Binary),
        Value::Ext(kind, bytes) => masked(bytes).map(|bytes| Value::Ext(*kind, bytes)),
        Value::Integer(_) | Value::F32(_) | Value::F64(_) => {
            words.find(value.to_string().as_bytes()).then(|| Value::from(MASK))
        }
        Value::Map(entries) => {
            return entries
                .iter_mut()
                .fold(false, |any, (key, inner)| hide_in(words, key) | hide_in(words, inner) | any);
        }
        Value::Array(items) => {
            return items.iter_mut().fold(false, |any, inner| hide_in(words, inner) | any);
        }
        Value::Nil | Value::Boolean(_) => None,
    };
    let is_new = new.is_some();
    if let Some(new) = new {
        *value = new;
    }
    is_new
}

/// Adds everything in a value: its texts, byte strings and numbers. Not its keys, which say what something is.
pub(crate) fn add_all(words: &mut Words, value: &Value) {
    match value {
        Value::String(text) => words.add(text.as_bytes()),
        Value::Binary(bytes) | Value::Ext(_, bytes) => words.add(bytes),
        Value::Integer(_) | Value::F32(_) | Value::F64(_) => words.add_number(&value.to_string()),
        Value::Map(entries) => entries.iter().for_each(|(_, inner)| add_all(words, inner)),
        Value::Array(items) => items.iter().for_each(|inner| add_all(words, inner)),
        Value::Nil | Value::Boolean(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ArgumentRedaction, rooted};
    use serde_json::{Value as Json, json};

    fn words_of(redact: &[&str], schema: &Json, args: &Json, kwargs: &Json) -> Words {
        let redact: Vec<String> = redact.iter().map(|&path| path.to_owned()).collect();
        let redaction = ArgumentRedaction::new(&rooted(&redact, schema));
        redaction.words(&Raw::encode(args).unwrap(), &Raw::encode(kwargs).unwrap())
    }

    fn hidden(words: &Words, value: &Json) -> Json {
        hide(words, &Raw::encode(value).unwrap()).decode().unwrap()
    }

    #[test]
    fn what_lies_at_a_path_is_masked_by_value_in_texts_keys_and_numbers() {
        let kwargs = json!({"password": "hunter2", "keys": {"a": "first-key", "b": [987_654, true]}, "open": "visible"});
        let words = words_of(&["password", "keys.*"], &json!({}), &json!([]), &kwargs);
        let given = json!({
            "text": "bad password 'hunter2'", "list": ["first-key", 987_654, 1_987_654, 98_765], "hunter2": 1,
            "open": "visible", "true": true
        });
        let wanted = json!({
            "text": "bad password '***'", "list": ["***", "***", "***", 98_765], "***": 1, "open": "visible", "true": true
        });
        assert_eq!(hidden(&words, &given), wanted);
        assert_eq!(hidden(&words, &json!("hunter2")), json!("***"));
        assert_eq!(
            hidden(&words, &json!({"hunter2": 1, "first-key": 2})),
            json!("***"),
            "keys became the same"
        );
    }

    #[test]
    fn a_secret_by_position_and_one_of_bytes_are_words_too() {
        let schema = json!({"type": "object", "x-positional": ["user", "password"]});
        let words = words_of(&["password"], &schema, &json!(["ann-the-admin", "hunter2"]), &json!({}));
        assert_eq!(words.text("ann-the-admin hunter2"), "ann-the-admin ***");
        let kwargs = Value::Map(vec![(Value::from("pin"), Value::Binary(vec![0xff, 1, 2, 3]))]);
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &kwargs).unwrap();
        let redaction = ArgumentRedaction::new(&["kwargs.pin"]);
        let words = redaction.words(&Raw::empty_array(), &Raw::parse(bytes.into()).unwrap());
        assert_eq!(hide(&words, &Raw::bin(&[7, 0xff, 1, 2, 3, 8])), Raw::bin(b"\x07***\x08"));
    }

    #[test]
    fn a_secret_in_base64_is_masked_as_what_it_stands_for_too() {
        let kwargs =
            json!({"password": "aHVudGVyMg==", "key": {"$b64": "c2Vzc2FtZQ=="}, "open": "dmlzaWJsZQ=="});
        let words = words_of(&["password", "key"], &json!({}), &json!([]), &kwargs);
        for (said, shown) in [
            ("bad password b'hunter2'", "bad password b'***'"),
            ("hunter2 aHVudGVyMg== sessame", "*** *** ***"),
            ("visible", "visible"),
        ] {
            assert_eq!(hidden(&words, &json!(said)), json!(shown));
        }
        let raw = words_of(&["key"], &json!({}), &json!([]), &json!({"key": "/wECAw=="}));
        assert_eq!(hide(&raw, &Raw::bin(&[7, 0xff, 1, 2, 3, 8])), Raw::bin(b"\x07***\x08"));
        // tokens that only look like it take no room from others
        let tokens: Vec<String> = (0..60).map(|n| format!("f00dfeedbeefcafe{n:04}")).collect();
        let words = words_of(&["keys.*"], &json!({}), &json!([]), &json!({"keys": tokens}));
        assert!(!words.is_everything());
        assert_eq!(hidden(&words, &json!("f00dfeedbeefcafe0059 and more")), json!("*** and more"));
    }

    #[test]
    fn what_stands_between_the_texts_of_a_value_is_no_part_of_them() {
        let mut words = Words::default();
        ["ab/cd", "n\"vw", "hunter"].iter().for_each(|word| words.add(word.as_bytes()));
        // the length of a text, just before it, is a percent sign, a backslash
        for (text, len) in [("ab%2Fcd", 37), ("n\\\"vw", 92)] {
            let text = format!("{text}{}", ".".repeat(len - text.len()));
            let value = Raw::encode(&json!([text])).unwrap();
            assert!(!words.find(value.as_bytes()), "these bytes as such do not show it");
            assert_eq!(
                hidden(&words, &json!([text])),
                json!([format!("***{}", text.trim_start_matches(|c| c != '.'))])
            );
        }
        // in short lines base64 is only at the begin of a text
        assert_eq!(hidden(&words, &json!({"said": "aHVu\ndGVy"})), json!({"said": "***"}));
        assert_eq!(hidden(&words, &json!({"said": "aHVu\rdGVy"})), json!({"said": "***"}));
    }

    #[test]
    fn without_paths_nothing_is_hidden_and_where_nobody_knows_them_everything_is() {
        let kwargs = json!({"password": "hunter2"});
        assert!(words_of(&[], &json!({}), &json!([]), &kwargs).is_empty());
        assert!(words_of(&["pin"], &json!({}), &json!([]), &kwargs).is_empty());
        let words = words_of(&["a..b"], &json!({}), &json!([]), &kwargs);
        assert_eq!(hidden(&words, &json!({"any": 1})), json!("***"));
    }
}
