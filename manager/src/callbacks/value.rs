//! MessagePack values as JSON, by the conventions that `rpctl` prints by:
//!
//! | MessagePack | JSON |
//! |---|---|
//! | binary | `{"$bin": "<base64>"}` |
//! | extension | `{"$ext": <type>, "$bin": "<base64>"}` |
//! | a float that is not finite | `{"$float": "NaN"}`, `"inf"`, `"-inf"` |
//! | a key that is not text | the key as JSON text |

pub(super) use redpoll_schema::Json;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use redpoll_common::wire::Raw;

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
