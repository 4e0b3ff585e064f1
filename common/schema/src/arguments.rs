//! How a call's two kinds of arguments become the one object that a schema describes.

use std::collections::BTreeSet;

use redpoll_common::wire::{MAX_DEPTH, Raw};
use serde_json::{Map, Value};

use crate::value::{Binary, has_text_keys, to_json, to_json_but};
use crate::{ArgumentError, SchemaError};

/// The keyword that says what positional arguments mean: a list of names, in order; one name, of which all of them together
/// are the value, as a list; or `true`, any are taken and none is checked. Without it, positional arguments are refused, unless the schema says nothing at all (`{}` or `true`).
pub const POSITIONAL: &str = "x-positional";

/// What a procedure does with positional arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Positional {
    /// They go by these names.
    Names(Vec<String>),
    /// All of them are the value of this name, as a list.
    All(String),
    /// They are the procedure's own business.
    Any,
}

impl Positional {
    pub(crate) fn of(schema: &Value) -> Result<Self, SchemaError> {
        let wrong = || SchemaError::Wrong {
            at: format!("/{POSITIONAL}"),
            what: "it is neither a list of names without repetition, nor a name, nor true".to_owned(),
        };
        match schema {
            Value::Object(keywords) if !keywords.is_empty() => match keywords.get(POSITIONAL) {
                None | Some(Value::Bool(false)) => Ok(Self::Names(Vec::new())),
                Some(Value::Bool(true)) => Ok(Self::Any),
                Some(Value::Array(names)) => {
                    let names: Vec<String> =
                        names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
                    let distinct: BTreeSet<&String> = names.iter().collect();
                    match names.len() == distinct.len()
                        && keywords.get(POSITIONAL) == Some(&names.clone().into())
                    {
                        true => Ok(Self::Names(names)),
                        false => Err(wrong()),
                    }
                }
                Some(Value::String(name)) if !name.is_empty() => Ok(Self::All(name.clone())),
                Some(Value::Null | Value::Number(_) | Value::String(_) | Value::Object(_)) => Err(wrong()),
            },
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => Ok(Self::Any),
        }
    }

    /// All arguments by name. Large binary that was given by a name that is `opaque` becomes a text without content.
    pub(crate) fn named(
        &self,
        args: &Raw,
        kwargs: &Raw,
        binary: Binary,
        opaque: impl Fn(&str) -> bool,
    ) -> Result<Value, ArgumentError> {
        let bad = |text: String| Err(ArgumentError(text));
        // serde takes a byte string and even a number for the name of a field: what no rule would see must not be read
        let depth = match binary {
            Binary::Readable | Binary::Encoded => MAX_DEPTH,
            Binary::Marked | Binary::Text => 1,
        };
        if !has_text_keys(kwargs, depth) || depth > 1 && !has_text_keys(args, depth) {
            return bad("the names of arguments are texts".to_owned());
        }
        let Some(Value::Object(mut named)) = to_json_but(kwargs, binary, opaque) else {
            return bad("the named arguments are not a map".to_owned());
        };
        let Some(Value::Array(values)) = to_json(args, binary) else {
            return bad("the positional arguments are not an array".to_owned());
        };
        match self {
            Self::Any => {}
            Self::Names(names) if values.len() > names.len() => {
                return bad(match names.len() {
                    0 => "it takes named arguments only, KEY=VALUE".to_owned(),
                    most => format!("it takes at most {most} positional arguments: {}", names.join(", ")),
                });
            }
            Self::Names(names) => place(names, values, &mut named)?,
            Self::All(_) if values.is_empty() => {}
            Self::All(name) => {
                let list = Value::Array(values);
                place(std::slice::from_ref(name), vec![list], &mut named)?;
            }
        }
        Ok(Value::Object(named))
    }
}

fn place(names: &[String], values: Vec<Value>, named: &mut Map<String, Value>) -> Result<(), ArgumentError> {
    for (name, value) in names.iter().zip(values) {
        if named.insert(name.clone(), value).is_some() {
            return Err(ArgumentError(format!("{name} is given by name and by position")));
        }
    }
    Ok(())
}
