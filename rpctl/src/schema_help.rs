//! Help for a procedure, from the JSON Schema of its arguments. All of it came from another machine.

use std::collections::BTreeSet;

use redpoll_net::ProcedureInfo;
use redpoll_schema::{MAX_SCHEMA_TEXT, POSITIONAL};
use serde_json::{Map, Value};

use crate::arguments::is_exec_run;
use crate::commands::meant;
use crate::sanitize::line;
use crate::schema_example::{example, sample};
use crate::schema_types::{kinds, mentioned, values};

/// How many references and parts are followed into each other: a schema from another machine may have no end.
pub(crate) const DEEPEST: usize = 8;
/// How many of them, and of the values of examples, there may be for all arguments and types of one help. Beyond, an argument is told by
/// what it says itself.
const MOST_PARTS: usize = 500;
/// How many required names may come together from parts: each part may name the same ones.
const MOST_REQUIRED: usize = 1000;
/// The widest first column.
const MAX_NAME: usize = 24;

/// One argument as its schema describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// Whether a call must have it.
    pub required: bool,
    /// Its type, its values, its bounds.
    pub kind: String,
    /// What it is when a call does not have it.
    pub default: Option<Value>,
    /// What it is for.
    pub description: String,
    /// The values that it may have, as JSON; none when there are too many to list.
    pub values: Vec<Value>,
    /// Whether it is typed as text, `KEY=VALUE`; otherwise as JSON, `KEY:=VALUE`.
    pub is_text: bool,
    /// Whether its schema says nothing of its type: a text fits too.
    pub is_any: bool,
    /// A value that fits, where it has no default and lists none.
    pub sample: Value,
}

/// The arguments that a schema names, those that are required first.
pub fn arguments(schema: &Value) -> Vec<Argument> {
    let root = resolved(schema);
    fields(&root, &root, &mut { MOST_PARTS })
}

/// The schema with plain references. One that nobody can check is told as far as it goes; nothing is of one that is too large to be of use
/// to any agent, as what follows may repeat each part of it often.
fn resolved(schema: &Value) -> Value {
    let told = || if schema.to_string().len() > MAX_SCHEMA_TEXT { Value::Bool(true) } else { schema.clone() };
    redpoll_schema::plain(schema).unwrap_or_else(|_| told())
}

/// The properties of an object as its schema within the document describes it.
fn fields(root: &Value, schema: &Value, left: &mut usize) -> Vec<Argument> {
    let schema = &Value::Object(merged(root, schema, DEEPEST, left));
    let required: BTreeSet<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let properties = schema.get("properties").and_then(Value::as_object);
    let mut arguments: Vec<Argument> = properties
        .into_iter()
        .flatten()
        .map(|(name, property)| argument(root, name, property, required.contains(name.as_str()), left))
        .collect();
    arguments.sort_by(|a, b| (!a.required, &a.name).cmp(&(!b.required, &b.name)));
    arguments
}

/// A schema with what it refers to within the same document, and all of `allOf`. Names and required ones are those of all parts; of
/// other keywords the first counts, its own before others.
pub(crate) fn merged(root: &Value, schema: &Value, deepest: usize, left: &mut usize) -> Map<String, Value> {
    let mut all = schema.as_object().cloned().unwrap_or_default();
    let Some(deeper) = deepest.checked_sub(1) else { return all };
    let text = schema.get("$ref").and_then(Value::as_str);
    let target = text.and_then(|text| root.pointer(text.strip_prefix('#')?));
    let parts = schema.get("allOf").and_then(Value::as_array);
    for part in target.into_iter().chain(parts.into_iter().flatten()) {
        let Some(fewer) = left.checked_sub(1) else { break };
        *left = fewer;
        for (word, value) in merged(root, part, deeper, left) {
            match (all.get_mut(&word), value) {
                (None, value) => _ = all.insert(word, value),
                (Some(Value::Object(own)), Value::Object(more)) if word == "properties" => {
                    for (name, property) in more {
                        own.entry(name).or_insert(property);
                    }
                }
                (Some(Value::Array(own)), Value::Array(more)) if word == "required" => {
                    let room = MOST_REQUIRED.saturating_sub(own.len());
                    own.extend(more.into_iter().take(room));
                }
                (Some(_), _) => {}
            }
        }
    }
    all
}

fn argument(root: &Value, name: &str, property: &Value, required: bool, left: &mut usize) -> Argument {
    let words = &merged(root, property, DEEPEST, left);
    let kinds = kinds(root, property, words);
    let mut values = values(root, property, words);
    let listed: Vec<String> = values.iter().map(plain).collect();
    if values.is_empty() && kinds == ["boolean"] {
        values = vec![Value::Bool(true), Value::Bool(false)];
    }
    let is_text = match kinds.as_slice() {
        [] => !values.is_empty() && values.iter().all(Value::is_string),
        kinds => kinds == ["string"],
    };
    let mut kind = if kinds.is_empty() { "any".to_owned() } else { kinds.join(" or ") };
    if !listed.is_empty() {
        kind = listed.join("|");
    }
    for bound in bounds(root, words) {
        kind.push_str(", ");
        kind.push_str(&bound);
    }
    Argument {
        name: name.to_owned(),
        required,
        kind: line(&kind),
        default: words.get("default").cloned(),
        description: line(words.get("description").and_then(Value::as_str).unwrap_or_default()),
        values,
        is_text,
        is_any: kinds.is_empty() && listed.is_empty(),
        sample: sample(root, property, DEEPEST, left),
    }
}

fn bounds(root: &Value, words: &Map<String, Value>) -> Vec<String> {
    const BOUNDS: [(&str, &str); 11] = [
        ("minimum", "at least"),
        ("exclusiveMinimum", "more than"),
        ("maximum", "at most"),
        ("exclusiveMaximum", "less than"),
        ("multipleOf", "a multiple of"),
        ("minLength", "characters at least"),
        ("maxLength", "characters at most"),
        ("pattern", "like"),
        ("minItems", "elements at least"),
        ("maxItems", "elements at most"),
        ("format", "a"),
    ];
    let mut bounds: Vec<String> = BOUNDS
        .iter()
        .filter_map(|(word, said)| Some(format!("{said} {}", plain(words.get(*word)?))))
        .collect();
    let of = |items: &Value| items.as_object().map(|words| kinds(root, items, words));
    if let Some(of) = words.get("items").and_then(of).filter(|of| !of.is_empty()) {
        bounds.insert(0, format!("of {}", of.join(" or ")));
    }
    bounds
}

/// A value as one types it.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The help: what it does, its versions, its arguments, an example. `usage` is what stands before the procedure on the command
/// line.
pub fn text(infos: &[ProcedureInfo], procedure: &str, usage: &str) -> String {
    let Some(info) = meant(infos, procedure) else { return String::new() };
    let name = line(&info.name);
    let mut lines = vec![format!("{name}@{}: {}", info.version, line(&info.description))];
    let version = |info: &ProcedureInfo| {
        let note = |what: &str, why: &Option<String>| {
            why.as_deref().map(|why| format!(" ({what}: {})", line(why))).unwrap_or_default()
        };
        let off = info.disabled.as_deref().map(|why| why_disabled(why).to_owned());
        let (old, off) = (note("deprecated", &info.deprecated), note("disabled", &off));
        format!("{}{old}{off}", info.version)
    };
    let versions: Vec<String> = infos.iter().filter(|one| one.name == info.name).map(version).collect();
    lines.push(format!("Versions: {}", versions.join(", ")));
    let root = resolved(&info.args);
    let mut left = MOST_PARTS;
    let arguments = fields(&root, &root, &mut left);
    let before = positional(&info.args, &arguments);
    let program = if is_exec_run(&info.name) { " -- PROGRAM ARG…" } else { "" };
    let before = if program.is_empty() { before } else { String::new() };
    lines.extend([
        String::new(),
        format!("Usage: rpctl {usage} {}{before} [KEY=VALUE…]{program}", line(procedure)),
    ]);
    lines.push(String::new());
    let other_names = others(&root, &root, &mut left);
    if arguments.is_empty() && other_names.is_none() {
        lines.push(if is_open(&root) { "Arguments: any" } else { "Arguments: none" }.to_owned());
    } else {
        lines.push("Arguments:".to_owned());
        lines.extend(rows(&arguments).into_iter().chain(other_names));
    }
    for (name, schema) in mentioned(&root) {
        lines.extend([String::new(), format!("{name}:")]);
        lines.extend(rows(&fields(&root, schema, &mut left)));
        lines.extend(others(&root, schema, &mut left));
    }
    if !info.redact.is_empty() {
        let paths: Vec<String> = info.redact.iter().map(|path| line(path)).collect();
        lines.extend([String::new(), format!("Shown and stored as ***: {}", paths.join(", "))]);
    }
    if let Some(asks) = &info.asks {
        lines.extend([String::new(), format!("May ask the manager to: {}", line(&asks.to_string()))]);
    }
    lines.extend([String::new(), "Example:".to_owned()]);
    let words = if program.is_empty() { example(&arguments) } else { program.to_owned() };
    lines.push(format!("  rpctl {usage} {}{words}", line(procedure)));
    lines.push(String::new());
    lines.join("\n")
}

/// Why a procedure is disabled, behind that word. An agent gives a whole sentence of it: `is switched off by the manager`.
pub fn why_disabled(why: &str) -> &str {
    why.strip_prefix("is ").unwrap_or(why)
}

/// What may stand without a name. It is text; what is anything else needs its name.
fn positional(schema: &Value, arguments: &[Argument]) -> String {
    let place = |name: &str| match arguments.iter().find(|argument| argument.name == name) {
        Some(argument) if !argument.is_text && !argument.is_any => format!(" [{}:=JSON]", line(name)),
        Some(_) | None => format!(" [{}]", line(name)),
    };
    match schema.get(POSITIONAL) {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(place).collect(),
        Some(Value::String(name)) => format!(" [{}…]", line(name)),
        Some(Value::Bool(true)) => " [ARG…]".to_owned(),
        Some(Value::Bool(false) | Value::Null | Value::Number(_) | Value::Object(_)) | None => String::new(),
    }
}

/// What may have any other name, where the schema says of what type that is.
fn others(root: &Value, schema: &Value, left: &mut usize) -> Option<String> {
    let words = merged(root, schema, DEEPEST, left);
    let has_names = words.get("properties").and_then(Value::as_object).is_some_and(|names| !names.is_empty());
    let schema = match words.get("additionalProperties") {
        Some(Value::Bool(true)) if has_names => &Value::Bool(true),
        Some(schema @ Value::Object(_)) => schema,
        Some(_) | None => return None,
    };
    let Argument { kind, description, .. } = argument(root, "", schema, false, left);
    let told = if description.is_empty() { kind } else { format!("{kind}; {description}") };
    Some(format!("  any {}name: {told}", if has_names { "other " } else { "" }))
}

fn is_open(schema: &Value) -> bool {
    schema.get("additionalProperties") != Some(&Value::Bool(false))
}

fn rows(arguments: &[Argument]) -> Vec<String> {
    let width = arguments.iter().map(|argument| line(&argument.name).chars().count()).max().unwrap_or(0);
    let width = width.min(MAX_NAME);
    let row = |argument: &Argument| {
        let mut text = format!("  {:width$}  {}", line(&argument.name), argument.kind);
        if argument.required {
            text.push_str(", required");
        }
        if let Some(default) = &argument.default {
            text.push_str(&format!(", default {}", line(&plain(default))));
        }
        if !argument.description.is_empty() {
            text.push_str(&format!("; {}", argument.description));
        }
        text
    };
    arguments.iter().map(row).collect()
}

#[cfg(test)]
#[path = "schema_help_tests.rs"]
mod tests;
