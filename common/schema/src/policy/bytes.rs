//! Whether a condition about an argument holds, also where there are bytes that are no text, or nobody knows what is there.

use serde_json::Value;

use super::{Constraint, Effect, Rule};
use crate::Readings;

impl Rule {
    /// Whether an argument is what this rule wants. Bytes that are no text count against the call: in a rule that allows they are not what
    /// any condition about a text wants, and one that denies holds for either reading of them. So does what may be one default or another.
    pub(super) fn holds(&self, path: &str, constraint: &Constraint, args: &Readings) -> bool {
        let text = find(&args.text, path);
        match self.effect {
            Effect::Deny => {
                args.unknown.is_at(path)
                    || constraint.fits(text)
                    || args.encoded.as_ref().is_some_and(|encoded| constraint.fits(find(encoded, path)))
            }
            Effect::Allow => {
                !args.unknown.is_at(path)
                    && constraint.fits(text)
                    && (constraint.is_of_names() || is_text(path, args))
            }
        }
    }
}

/// What a refusal says besides, where a rule that denies fits what nobody knows.
pub(super) fn unknown(rule: &Rule, args: &Readings) -> String {
    let paths = rule.args.keys().filter(|path| args.unknown.is_at(path));
    let told: Vec<String> = paths.map(|path| format!("args.{path}{}", told(path, args))).collect();
    if told.is_empty() { String::new() } else { format!(": {}", told.join(", ")) }
}

/// Whether all that lies at a path is text where it could be.
fn is_text(path: &str, args: &Readings) -> bool {
    args.encoded.as_ref().is_none_or(|encoded| find(&args.text, path) == find(encoded, path))
}

/// What is to be said of an argument that a rule does not allow.
pub(super) fn told(path: &str, args: &Readings) -> &'static str {
    if args.unknown.is_at(path) {
        " (it is left out, in whole or in part, and the schema names several defaults for it: say what it is)"
    } else if is_text(path, args) {
        ""
    } else {
        " (it has bytes that are no UTF-8, which no rule can allow as a text)"
    }
}

/// What lies at a dotted path of keys and positions.
fn find<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, word| match value {
        Value::Object(entries) => entries.get(word),
        Value::Array(items) => items.get(word.parse::<usize>().ok()?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}
