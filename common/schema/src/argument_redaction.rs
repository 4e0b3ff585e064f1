//! The `redact` paths of a procedure as they apply to a call's arguments, which are positional and named.

use std::collections::BTreeMap;

use redpoll_common::wire::Raw;
use redpoll_common::words::Words;
use serde_json::Value;

use crate::arguments::Positional;
use crate::{MASK, Redaction};

/// The root of paths into positional arguments.
const ARGS: &str = "args.";
/// The root of paths into named arguments.
const KWARGS: &str = "kwargs.";

/// The paths into a call's arguments, each with its root: `kwargs.password`, and `args.1` when the schema says that the second
/// positional argument is `password`. `*` and numbers lead into both.
pub fn rooted(redact: &[String], schema: &Value) -> Vec<String> {
    let (names, whole) = match Positional::of(schema) {
        Ok(Positional::Names(names)) => (names, None),
        Ok(Positional::All(name)) => (Vec::new(), Some(name)),
        Ok(Positional::Any) | Err(_) => (Vec::new(), None),
    };
    if redact.is_empty() {
        return Vec::new();
    }
    // both lists may come from elsewhere, and be long
    let places: BTreeMap<&str, usize> =
        (0..).zip(&names).map(|(place, name)| (name.as_str(), place)).collect();
    let mut paths = Vec::new();
    for path in redact {
        paths.push(format!("{KWARGS}{path}"));
        let (first, rest) = match path.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (path.as_str(), None),
        };
        // a number may be a place and a name
        if first == "*" || first.parse::<usize>().is_ok() {
            paths.push(format!("{ARGS}{path}"));
        }
        if whole.as_deref() == Some(first) {
            // all positional arguments together are the value of this name
            paths.push(format!("{ARGS}{}", rest.unwrap_or("*")));
        } else if let Some(place) = places.get(first) {
            paths.push(match rest {
                Some(rest) => format!("{ARGS}{place}.{rest}"),
                None => format!("{ARGS}{place}"),
            });
        }
    }
    paths
}

/// Masks the arguments of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArgumentRedaction {
    args: Redaction,
    kwargs: Redaction,
    /// The paths could not be read: everything is masked.
    everything: bool,
}

impl ArgumentRedaction {
    /// Takes paths with their roots. Should one of them be no path, or should there be too many, everything is masked.
    pub fn new<S: AsRef<str>>(rooted: &[S]) -> Self {
        let below = |root: &str| {
            let paths: Vec<&str> =
                rooted.iter().filter_map(|path| path.as_ref().strip_prefix(root)).collect();
            Redaction::new(&paths)
        };
        match (below(ARGS), below(KWARGS)) {
            (Ok(args), Ok(kwargs)) => Self { args, kwargs, everything: false },
            (Err(_), _) | (_, Err(_)) => Self::everything(),
        }
    }

    /// Masks all arguments: nobody can say which of them are secret.
    pub fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// Whether nothing is masked.
    pub fn is_empty(&self) -> bool {
        !self.everything && self.args.is_empty() && self.kwargs.is_empty()
    }

    /// Positional and named arguments with their secrets masked; an array and a map again.
    pub fn mask(&self, args: &Raw, kwargs: &Raw) -> (Raw, Raw) {
        if self.everything {
            let masked = Raw::encode(&[MASK]).unwrap_or_else(|_| Raw::empty_array());
            return (masked, Raw::empty_map());
        }
        (self.args.mask(args), self.kwargs.mask(kwargs))
    }

    /// What is masked of these arguments, by value.
    pub fn words(&self, args: &Raw, kwargs: &Raw) -> Words {
        if self.everything {
            return Words::everything();
        }
        let mut words = Words::default();
        self.args.words(args, &mut words);
        self.kwargs.words(kwargs, &mut words);
        words.add_decoded();
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn masked(redact: &[&str], schema: &Value, args: Value, kwargs: Value) -> (Value, Value) {
        let redact: Vec<String> = redact.iter().map(|&path| path.to_owned()).collect();
        let redaction = ArgumentRedaction::new(&rooted(&redact, schema));
        let (args, kwargs) = (Raw::encode(&args).unwrap(), Raw::encode(&kwargs).unwrap());
        let (args, kwargs) = redaction.mask(&args, &kwargs);
        (args.decode().unwrap(), kwargs.decode().unwrap())
    }

    #[test]
    fn a_named_argument_is_masked_also_when_it_is_given_by_position() {
        let schema = json!({"type": "object", "x-positional": ["user", "password"]});
        let masked = masked(
            &["password", "keys.*", "user.pin"],
            &schema,
            json!([{"pin": 1, "name": "ann"}, "hunter2", "x"]),
            json!({"password": "hunter2", "keys": ["a", "b"], "open": 1}),
        );
        assert_eq!(masked.0, json!([{"pin": "***", "name": "ann"}, "***", "x"]));
        assert_eq!(masked.1, json!({"password": "***", "keys": ["***", "***"], "open": 1}));
    }

    #[test]
    fn arguments_of_a_constructor_are_masked_by_name_and_by_place() {
        // the paths as manifests of the Python SDK have them
        let schema = json!({"x-positional": ["times"]});
        let masked = |init: Value| {
            let paths = ["init.password", "init.1"];
            masked(&paths, &schema, json!([3]), json!({"init": init})).1["init"].clone()
        };
        assert_eq!(masked(json!(["ann", "hunter2", 1])), json!(["ann", "***", 1]));
        let (given, wanted) = (json!({"user": "ann", "password": "hunter2"}), "***");
        assert_eq!(masked(given), json!({"user": "ann", "password": wanted}));
    }

    #[test]
    fn a_star_and_a_number_lead_into_positional_arguments_of_any_schema() {
        let (args, kwargs) = masked(&["0"], &json!(true), json!(["a", "b"]), json!({"0": "x", "1": "y"}));
        assert_eq!((args, kwargs), (json!(["***", "b"]), json!({"0": "***", "1": "y"})));
        assert_eq!(
            masked(&["*"], &json!({}), json!([1]), json!({"a": 2})),
            (json!(["***"]), json!({"a": "***"}))
        );
    }

    #[test]
    fn a_name_that_is_a_number_is_masked_by_its_place_too() {
        let schema = json!({"x-positional": ["host", "1", "0"]});
        let given = || masked(&["0", "1.pin"], &schema, json!(["a", {"pin": 1}, "c"]), json!({}));
        assert_eq!(given().0, json!(["***", {"pin": "***"}, "***"]));
        let all = masked(&["7"], &json!({"x-positional": "7"}), json!(["a", "b"]), json!({}));
        assert_eq!(all.0, json!(["***", "***"]));
    }

    #[test]
    fn what_is_no_path_masks_everything_and_no_paths_mask_nothing() {
        let redaction = ArgumentRedaction::new(&["kwargs.a..b"]);
        let (args, kwargs) = (Raw::encode(&[1]).unwrap(), Raw::encode(&json!({"a": "secret"})).unwrap());
        let (masked_args, masked_kwargs) = redaction.mask(&args, &kwargs);
        assert_eq!(masked_args.decode::<Value>().unwrap(), json!([MASK]));
        assert_eq!(masked_kwargs, Raw::empty_map());
        assert!(!redaction.is_empty());
        let nothing = ArgumentRedaction::new::<&str>(&[]);
        assert!(nothing.is_empty());
        assert_eq!(nothing.mask(&args, &kwargs), (args, kwargs));
    }
}
