//! What a call of `exec.run` may ask for.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt as _;

use bytes::Bytes;
use redpoll_common::nearest::nearest;
use redpoll_common::wire::Raw;
use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::arguments::{BadArguments, without_value};

const NAMES: [&str; 7] = ["argv", "env", "cwd", "stdin", "output_limit", "grace_ms", "run_timeout_ms"];

/// The arguments as they came, each of the right type.
#[derive(Default)]
pub(super) struct ExecArguments {
    pub(super) argv: Option<Vec<Octets>>,
    pub(super) env: Option<BTreeMap<Octets, Octets>>,
    pub(super) cwd: Option<Octets>,
    pub(super) stdin: Option<Octets>,
    pub(super) output_limit: Option<u64>,
    pub(super) grace_ms: Option<u64>,
    pub(super) run_timeout_ms: Option<u64>,
}

impl ExecArguments {
    /// Reads named arguments, or positional ones as the argument list.
    pub(super) fn read(args: &Raw, kwargs: &Raw) -> Result<Self, BadArguments> {
        let positional: Vec<Octets> = decode(args, "the positional arguments")?;
        let mut named: Self = decode(kwargs, "the named arguments")?;
        if !positional.is_empty() {
            if named.argv.is_some() {
                let text = "argv is given twice: as positional arguments and by name";
                return Err(BadArguments(text.to_owned()));
            }
            named.argv = Some(positional);
        }
        if named.argv.as_ref().is_none_or(Vec::is_empty) {
            let text = "argv is missing: name a program and its arguments, such as [\"uname\", \"-a\"]";
            return Err(BadArguments(text.to_owned()));
        }
        Ok(named)
    }
}

fn decode<T: DeserializeOwned>(raw: &Raw, what: &str) -> Result<T, BadArguments> {
    raw.decode().map_err(|error| BadArguments(format!("{what} do not fit: {}", without_value(&error.reason))))
}

impl<'de> Deserialize<'de> for ExecArguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NamedArguments)
    }
}

struct NamedArguments;

impl<'de> Visitor<'de> for NamedArguments {
    type Value = ExecArguments;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ExecArguments, A::Error> {
        let mut read = ExecArguments::default();
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "argv" => read.argv = value(&mut map, &name)?,
                "env" => read.env = value(&mut map, &name)?,
                "cwd" => read.cwd = value(&mut map, &name)?,
                "stdin" => read.stdin = value(&mut map, &name)?,
                "output_limit" => read.output_limit = value(&mut map, &name)?,
                "grace_ms" => read.grace_ms = value(&mut map, &name)?,
                "run_timeout_ms" => read.run_timeout_ms = value(&mut map, &name)?,
                _ => return Err(A::Error::custom(unknown(&name))),
            }
        }
        Ok(read)
    }
}

/// Reads a value, and says which one does not fit.
fn value<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut A,
    name: &str,
) -> Result<Option<T>, A::Error> {
    map.next_value::<Option<T>>().map_err(|error| A::Error::custom(format!("{name}: {error}")))
}

fn unknown(name: &str) -> String {
    let shown: String = name.chars().take(64).collect();
    match nearest(name, NAMES) {
        Some(meant) => format!("there is no argument {shown:?}; is {meant:?} meant?"),
        None => format!("there is no argument {shown:?}, only {}", NAMES.join(", ")),
    }
}

/// What the operating system takes: a text or binary.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Octets(Vec<u8>);

impl Octets {
    pub(super) fn into_os(self) -> OsString {
        OsString::from_vec(self.0)
    }

    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from(self.0)
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrBinary)
    }
}

struct TextOrBinary;

impl Visitor<'_> for TextOrBinary {
    type Value = Octets;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or binary")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Octets, E> {
        Ok(Octets(text.as_bytes().to_vec()))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Octets, E> {
        Ok(Octets(text.into_bytes()))
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Octets, E> {
        Ok(Octets(bytes.to_vec()))
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Octets, E> {
        Ok(Octets(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(args: Value, kwargs: Value) -> Result<ExecArguments, String> {
        ExecArguments::read(&Raw::encode(&args).unwrap(), &Raw::encode(&kwargs).unwrap()).map_err(|bad| bad.0)
    }

    fn refusal(args: Value, kwargs: Value) -> String {
        read(args, kwargs).err().unwrap()
    }

    #[test]
    fn the_program_may_be_given_by_name_or_by_position() {
        let named = read(json!([]), json!({"argv": ["a", "b"], "env": {"X": "1"}, "grace_ms": 5})).unwrap();
        assert!(named.argv.unwrap() == [Octets(b"a".to_vec()), Octets(b"b".to_vec())]);
        assert_eq!(named.grace_ms, Some(5));
        assert!(read(json!(["a"]), json!({"cwd": "/"})).unwrap().argv.is_some());
        assert!(read(json!(["a"]), json!({"cwd": null})).unwrap().cwd.is_none(), "nil is absent");
        let twice = refusal(json!(["a"]), json!({"argv": ["b"]}));
        assert_eq!(twice, "argv is given twice: as positional arguments and by name");
    }

    #[test]
    fn refusals_say_which_argument_and_what_instead() {
        assert!(refusal(json!([]), json!({})).starts_with("argv is missing"));
        assert!(refusal(json!([]), json!({"argv": []})).starts_with("argv is missing"));
        let unknown = refusal(json!(["a"]), json!({"grace": 1}));
        assert!(unknown.contains("there is no argument \"grace\""), "{unknown}");
        let slip = refusal(json!(["a"]), json!({"evn": {}}));
        assert!(slip.ends_with("there is no argument \"evn\"; is \"env\" meant?"), "{slip}");
        for (name, wrong) in [
            ("argv", json!("ls -l")),
            ("argv", json!([1])),
            ("env", json!(["A=1"])),
            ("env", json!({"A": 1})),
            ("cwd", json!(7)),
            ("stdin", json!([1, 2])),
            ("output_limit", json!(-1)),
            ("grace_ms", json!("1s")),
            ("run_timeout_ms", json!(1.5)),
        ] {
            let said = refusal(json!([]), json!({ name: wrong }));
            assert!(said.contains(&format!("{name}: ")), "{said}");
        }
        assert!(refusal(json!([1]), json!({})).contains("a text or binary"));
    }
}
