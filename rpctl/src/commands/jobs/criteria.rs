//! `--where`: which open runs are meant, as the manager's JSON or in short.
//!
//! | short | is |
//! |---|---|
//! | `FIELD=VALUE` | `eq`; with a `*` in the value `match` |
//! | `FIELD:=JSON` | `eq` with this value and no other |
//! | `FIELD!=VALUE` | `neq` |
//! | `FIELD>VALUE`, `FIELD<VALUE`, `FIELD>=VALUE`, `FIELD<=VALUE` | `gt`, `lt`; with `=` or `eq` |
//! | `FIELD in (VALUE, VALUE)` | `in` |
//!
//! Several, with commas between them or in a `--where` each, all have to hold. In `info` a value that looks like a number, or is
//! `true` or `false`, is meant as that or as text: whoever cancels need not know how the job was written. Quotes make it text.
//! What is misspelt, or looks like a mistyped operator or a missing comma, is an error here, so that it never stands for something else.

use std::error::Error;

use redpoll_common::nearest::nearest;
use redpoll_common::wire::Raw;
use rmpv::Value;

use crate::Stop;
use crate::commands::json_argument;
use crate::report::{Report, chain};
use crate::value::{decode, encode, from_json};

/// Criteria, for whoever typed something else.
const EXAMPLE: &str = r#"'{"eq": {"agent": "web-1"}}'"#;
const HELP: &str = "write such as 'info.tenant=acme,state in (queued, held)', with quotes around what has commas or brackets in it; \
    see rpctl jobs cancel --help";
const OPERATORS: [(&str, Operator); 8] = [
    (":=", Operator::Json),
    ("!=", Operator::Unlike),
    (">=", Operator::Order("gt", true)),
    ("<=", Operator::Order("lt", true)),
    ("==", Operator::Like),
    ("=", Operator::Like),
    (">", Operator::Order("gt", false)),
    ("<", Operator::Order("lt", false)),
];
const FIELDS: [(&str, Kind); 12] = [
    ("agent", Kind::Text),
    ("attempt", Kind::Number),
    ("held", Kind::Truth),
    ("id", Kind::Text),
    ("idempotent", Kind::Truth),
    ("info", Kind::Any),
    ("key", Kind::Text),
    ("procedure", Kind::Text),
    ("queue", Kind::Text),
    ("state", Kind::Text),
    ("submitted_ms", Kind::Number),
    ("submitter", Kind::Text),
];
const STATES: [&str; 6] = ["accepted", "held", "in_doubt", "offered", "queued", "running"];

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Like,
    Unlike,
    Json,
    /// The word, and whether what is equal counts.
    Order(&'static str, bool),
    In,
}

/// What a field can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Truth,
    /// What callers said: anything.
    Any,
}

/// What cannot be read, and how much of the text follows it: so it is found in the whole.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    rest: usize,
    why: String,
}

impl Wrong {
    fn at(rest: &str, why: impl Into<String>) -> Self {
        Self { rest: rest.len(), why: why.into() }
    }

    /// The same in a text of which `after` more bytes follow.
    fn before(self, after: usize) -> Self {
        Self { rest: self.rest + after, ..self }
    }
}

/// Reads what was typed behind each `--where`.
///
/// # Errors
/// [`Stop`] with exit code 2, and the place of what is wrong.
pub(super) fn read(given: &[String]) -> Result<Option<Raw>, Stop> {
    let mut all = Vec::new();
    for text in given {
        if text.starts_with('@') || text.trim_start().starts_with(['{', '[']) {
            let criteria = json_argument("--where", text, EXAMPLE)?;
            if !criteria.is_map() {
                let help = format!("give such as {EXAMPLE}; see rpctl jobs cancel --help");
                return Err(Report::usage("--where cannot be used", "criteria are a JSON map", help).into());
            }
            all.push(decode(&criteria));
        } else {
            all.extend(short(text).map_err(|wrong| {
                let begun = text.len().saturating_sub(wrong.rest);
                let place = text.get(..begun).unwrap_or_default().chars().count() + 1;
                let what = format!("--where {text:?} cannot be used");
                Report::usage(what, format!("at character {place}: {}", wrong.why), HELP)
            })?);
        }
    }
    let whole = match all.len() {
        0 => return Ok(None),
        1 => all.remove(0),
        _ => joined("and", all),
    };
    let wrong = |error: &(dyn Error + 'static)| Report::usage("--where cannot be sent", chain(error), HELP);
    encode(&whole).map(Some).map_err(|error| wrong(&error).into())
}

/// What can follow on a command line; `None` where it is the name of an agent, which is given as it was begun.
pub(crate) fn candidates(current: &str) -> Option<Vec<String>> {
    let (before, last) = current.rsplit_once(',').map_or(("", current), |(before, last)| (before, last));
    let before = if before.is_empty() { String::new() } else { format!("{before},") };
    let values = |field: &str, values: &[&str]| {
        Some(values.iter().map(|value| format!("{before}{field}={value}")).collect())
    };
    match last.split_once('=').map(|(field, _)| field) {
        Some("agent") => None,
        Some("state") => values("state", &STATES),
        Some(field @ ("held" | "idempotent")) => values(field, &["false", "true"]),
        Some(_) => Some(Vec::new()),
        None => {
            let word = |name: &str| if name == "info" { "info.".to_owned() } else { format!("{name}=") };
            Some(FIELDS.iter().map(|(name, _)| format!("{before}{}", word(name))).collect())
        }
    }
}

fn short(text: &str) -> Result<Vec<Value>, Wrong> {
    parts(text)?.into_iter().map(|(part, after)| term(part).map_err(|wrong| wrong.before(after))).collect()
}

/// The parts between commas that stand in no quotes and brackets, and how much follows each.
fn parts(text: &str) -> Result<Vec<(&str, usize)>, Wrong> {
    let (mut parts, mut begin) = (Vec::new(), 0);
    let (mut open, mut quoted) = (Vec::new(), None);
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match (c, quoted) {
            ('\\', Some(_)) => drop(characters.next()),
            ('"', Some(_)) => quoted = None,
            (_, Some(_)) => {}
            ('"', None) => quoted = Some(at),
            ('(' | '[' | '{', None) => open.push(at),
            (')' | ']' | '}', None) => drop(open.pop()),
            (',', None) if open.is_empty() => {
                parts.push((text.get(begin..at).unwrap_or_default(), text.len() - at));
                begin = at + 1;
            }
            (_, None) => {}
        }
    }
    if let Some(at) = quoted.or_else(|| open.pop()) {
        return Err(Wrong { rest: text.len() - at, why: "this is not closed".to_owned() });
    }
    parts.push((text.get(begin..).unwrap_or_default(), 0));
    Ok(parts)
}

fn term(text: &str) -> Result<Value, Wrong> {
    let text = text.trim_start();
    let end = text.find(|c: char| c.is_whitespace() || "=!<>:".contains(c)).unwrap_or(text.len());
    let (field, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    if field.is_empty() {
        return Err(Wrong::at(text, "a field is missing"));
    }
    let kind = kind(field).map_err(|why| Wrong::at(text, why))?;
    let rest = rest.trim_start();
    let symbol = OPERATORS.iter().find_map(|(word, operator)| Some((*operator, rest.strip_prefix(word)?)));
    let word = || {
        let values = rest.strip_prefix("in")?;
        values.starts_with(|c: char| c.is_whitespace() || c == '(').then_some((Operator::In, values))
    };
    let Some((operator, value)) = symbol.or_else(word) else {
        let why = format!(
            "behind {field:?} stands none of = := != < > <= >= in; for one of several write state in (queued, held)"
        );
        return Err(Wrong::at(rest, why));
    };
    let value = value.trim();
    // counted from the end of the text, where what was trimmed stands
    let place = |why: String| Wrong { rest: value.len() + text.len() - text.trim_end().len(), why };
    if value.is_empty() {
        return Err(place(format!("a value for {field} is missing; \"\" is the empty text")));
    }
    compared(field, kind, operator, value).map_err(place)
}

fn kind(field: &str) -> Result<Kind, String> {
    if field.starts_with("info.") || field.starts_with("info/") {
        return Ok(Kind::Any);
    }
    if let Some((_, kind)) = FIELDS.iter().find(|(name, _)| *name == field) {
        return Ok(*kind);
    }
    Err(match nearest(field, FIELDS.iter().map(|(name, _)| *name)) {
        Some(near) => format!("there is no field {field:?}; is {near:?} meant?"),
        None => format!("there is no field {field:?}; what callers gave is info.NAME"),
    })
}

fn compared(field: &str, kind: Kind, operator: Operator, value: &str) -> Result<Value, String> {
    // with = what is mistyped matches nothing; in info it may be a text like any other
    let is_free = kind == Kind::Any && matches!(operator, Operator::Like | Operator::In);
    let is_map = is_map(field, value);
    if !is_free && !is_map && !matches!(operator, Operator::Json | Operator::In) {
        refuse_mistyped(value)?;
    }
    let is_pattern = !is_map && !value.starts_with('"') && value.contains('*');
    match operator {
        Operator::Json => {
            let value = from_json(value).map_err(|error| format!("{value:?} is not JSON: {error}"))?;
            Ok(comparison("eq", field, value))
        }
        Operator::Like if is_pattern && matches!(kind, Kind::Text | Kind::Any) => {
            Ok(comparison("match", field, value.into()))
        }
        Operator::Like => Ok(equal(field, values(field, kind, value)?)),
        Operator::Unlike if is_pattern => Err("!= takes no *; with quotes it is one".to_owned()),
        Operator::Unlike => {
            let all = values(field, kind, value)?;
            Ok(all_of(all.into_iter().map(|value| comparison("neq", field, value)).collect()))
        }
        Operator::Order(..) if kind == Kind::Truth => {
            Err(format!("{field} is true or false, and has no order"))
        }
        Operator::Order(..) if is_map => Err("a queue that is named by a map has no order".to_owned()),
        Operator::Order(word, or_equal) => {
            // as a number, if it can be one
            let value = values(field, kind, value)?.swap_remove(0);
            let more = comparison(word, field, value.clone());
            Ok(if or_equal { joined("or", vec![more, comparison("eq", field, value)]) } else { more })
        }
        Operator::In => {
            let list = value.strip_prefix('(').and_then(|list| list.strip_suffix(')'));
            let list = list.ok_or_else(|| format!("in needs a list: {field} in (a, b)"))?;
            let mut all = Vec::new();
            for (value, _) in parts(list).map_err(|wrong| wrong.why)? {
                let value = value.trim();
                if value.is_empty() {
                    return Err("a value of the list is missing".to_owned());
                }
                let is_map = self::is_map(field, value);
                if !is_free && !is_map {
                    refuse_mistyped(value)?;
                }
                if !is_map && !value.starts_with('"') && value.contains('*') {
                    return Err("in takes no *; with quotes it is one".to_owned());
                }
                all.extend(values(field, kind, value)?);
            }
            Ok(comparison("in", field, Value::Array(all)))
        }
    }
}

/// Whether it names a queue by a map, as everywhere.
fn is_map(field: &str, value: &str) -> bool {
    field == "queue" && value.starts_with('{')
}

/// Refuses what is rather a mistyped operator or two comparisons without a comma: with `!=` it would be unlike everything.
fn refuse_mistyped(value: &str) -> Result<(), String> {
    if value.starts_with('"') {
        return Ok(());
    }
    if let Some(first) = value.chars().next().filter(|c| "=!<>:~".contains(*c)) {
        return Err(format!(
            "is the operator mistyped? A value begins with {first} only in quotes, which make it text"
        ));
    }
    if value.contains(char::is_whitespace) {
        return Err(
            "is a comma missing? A value has white space only in quotes, which make it text".to_owned()
        );
    }
    Ok(())
}

/// What a value can be meant as: one, or a number and its text.
fn values(field: &str, kind: Kind, text: &str) -> Result<Vec<Value>, String> {
    if is_map(field, text) {
        return match from_json(text) {
            Ok(map) => Ok(vec![map]),
            Err(error) => Err(format!("{text} is not a JSON map: {error}; a text has quotes")),
        };
    }
    let quoted = if text.starts_with('"') {
        let read = from_json(text).ok().filter(Value::is_str);
        Some(read.ok_or_else(|| format!("{text} is not one text in quotes"))?)
    } else {
        None
    };
    let plain = from_json(text).ok();
    let number = plain.clone().filter(Value::is_number);
    let truth = plain.filter(Value::is_bool);
    match (kind, quoted) {
        (Kind::Text | Kind::Any, Some(text)) => Ok(vec![text]),
        (Kind::Text, None) => Ok(vec![text.into()]),
        (Kind::Number, _) => {
            number.map(|n| vec![n]).ok_or_else(|| format!("{field} is a number, not {text}"))
        }
        (Kind::Truth, _) => {
            truth.map(|t| vec![t]).ok_or_else(|| format!("{field} is true or false, not {text}"))
        }
        (Kind::Any, None) => Ok(number.or(truth).into_iter().chain([text.into()]).collect()),
    }
}

fn equal(field: &str, mut values: Vec<Value>) -> Value {
    if values.len() == 1 {
        comparison("eq", field, values.remove(0))
    } else {
        comparison("in", field, Value::Array(values))
    }
}

fn all_of(mut all: Vec<Value>) -> Value {
    if all.len() == 1 { all.remove(0) } else { joined("and", all) }
}

fn joined(word: &str, all: Vec<Value>) -> Value {
    Value::Map(vec![(word.into(), Value::Array(all))])
}

fn comparison(word: &str, field: &str, value: Value) -> Value {
    Value::Map(vec![(word.into(), Value::Map(vec![(field.into(), value)]))])
}

#[cfg(test)]
#[path = "criteria_tests.rs"]
mod tests;
