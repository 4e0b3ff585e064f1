//! The arguments of `redpoll-agent policy test`, read as `rpctl` reads those of a call.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;

use redpoll_common::typed::{Token, Written};
use redpoll_common::wire::{MAX_FRAME_LIMIT, Raw, RawMap};
use serde_json::Value;

/// Positional and named arguments as they would be sent: first those before `--`, then what stands behind it, as it stands.
///
/// # Errors
/// What is wrong with which of them.
pub(crate) fn read(arguments: &[String], argv: &[OsString]) -> Result<(Raw, Raw), String> {
    let (mut args, mut named) = (Vec::new(), Vec::<(&str, Raw)>::new());
    for argument in arguments {
        let (key, value) = match Token::of(argument) {
            Token::Positional(written) => {
                args.push(text(&written)?);
                continue;
            }
            Token::Named { key, text: written } => (key, text(written)?),
            Token::Typed { key, json: written } => (key, json(key, written)?),
        };
        if named.iter().any(|(known, _)| *known == key) {
            return Err(format!("{key} is given twice"));
        }
        named.push((key, value));
    }
    args.extend(argv.iter().map(|word| as_value(word.clone().into_vec())));
    let kwargs = named.iter().fold(RawMap::new(), |map, (key, value)| map.raw(key, value));
    let checked = |raw: Raw| Raw::parse(raw.to_bytes()).map_err(|error| unsent(&error));
    Ok((checked(Raw::array(&args))?, checked(kwargs.finish())?))
}

fn unsent(error: &dyn std::fmt::Display) -> String {
    format!("the arguments cannot be sent: {error}")
}

/// Text, or the content of a file: text if it is UTF-8, otherwise binary.
fn text(written: &str) -> Result<Raw, String> {
    match Written::of(written) {
        Written::Text(text) => Ok(Raw::text(text)),
        Written::File(path) => file(path).map(as_value),
    }
}

/// JSON, or the JSON in a file after `@`.
fn json(key: &str, written: &str) -> Result<Raw, String> {
    let wrong = |error| format!("{key} is not JSON: {error}");
    let value: Value = match written.strip_prefix('@') {
        Some(path) => serde_json::from_slice(&file(path)?).map_err(wrong)?,
        None => serde_json::from_str(written).map_err(wrong)?,
    };
    Raw::encode(&value).map_err(|error| unsent(&error))
}

fn as_value(bytes: Vec<u8>) -> Raw {
    match std::str::from_utf8(&bytes) {
        Ok(text) => Raw::text(text),
        Err(_) => Raw::bin(&bytes),
    }
}

/// The content of a file, or of standard input for `-`; what no message can carry is not read.
fn file(path: &str) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| format!("cannot read {path}: {error}");
    let mut bytes = Vec::new();
    let bound = u64::try_from(MAX_FRAME_LIMIT).unwrap_or(u64::MAX).saturating_add(1);
    let read = match path {
        "-" => io::stdin().take(bound).read_to_end(&mut bytes),
        path => File::open(path).map_err(failed)?.take(bound).read_to_end(&mut bytes),
    };
    read.map_err(failed)?;
    if bytes.len() > MAX_FRAME_LIMIT {
        return Err(format!("{path} has more than {MAX_FRAME_LIMIT} bytes, which no message can carry"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(arguments: &[&str], argv: &[&str]) -> Result<(Value, Value), String> {
        let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
        read(&arguments, &argv).map(|(args, kwargs)| (args.decode().unwrap(), kwargs.decode().unwrap()))
    }

    #[test]
    fn arguments_are_read_as_rpctl_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("text"), "grüße").unwrap();
        std::fs::write(path("json"), "{\"a\": [1]}").unwrap();
        let words = ["x", "http://h/?a=b", "a=b", "n:=3", "c\\=d", "k=\\@home"];
        let named = json!({"a": "b", "n": 3, "k": "@home"});
        assert_eq!(
            of(&words, &["a=1", "@x"]),
            Ok((json!(["x", "http://h/?a=b", "c=d", "a=1", "@x"]), named))
        );
        let files =
            [format!("@{}", path("text")), format!("t=@{}", path("text")), format!("j:=@{}", path("json"))];
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        assert_eq!(of(&files, &[]), Ok((json!(["grüße"]), json!({"t": "grüße", "j": {"a": [1]}}))));
        std::fs::write(path("binary"), b"\xff").unwrap();
        let (args, _) = read(&[format!("@{}", path("binary"))], &[]).unwrap();
        assert_eq!(args, Raw::array(&[Raw::bin(b"\xff")]));
        for (word, problem) in [
            ("n:=x", "n is not JSON"),
            ("@/nowhere", "cannot read /nowhere"),
            ("j:=@/nowhere", "cannot read"),
        ] {
            assert!(of(&[word], &[]).unwrap_err().contains(problem), "{word}");
        }
        assert_eq!(of(&["a=1", "a:=2"], &[]).unwrap_err(), "a is given twice");
    }
}
