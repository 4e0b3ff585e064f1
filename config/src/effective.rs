//! What `--check-config` shows: every effective value and where it came from.

use figment::value::{Dict, Num, Value};
use serde::Serialize;

use crate::error::{ConfigError, Origin};
use crate::known::{join, tree};
use crate::secret::MASK;

/// One key with the value it has in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The dotted key.
    pub key: String,
    /// The value as TOML; `***` for a secret; `(not set)` for an optional key without a value.
    pub value: String,
    /// Where the value came from.
    pub origin: Origin,
}

/// Lays rows out as lines `key = value  # origin`, aligned, for a person and for `grep`.
pub fn report(rows: &[Effective]) -> String {
    let assignment = |row: &Effective| format!("{} = {}", row.key, row.value);
    let width = rows.iter().map(|row| assignment(row).chars().count()).max().unwrap_or(0);
    rows.iter().map(|row| format!("{:width$}  # {}\n", assignment(row), row.origin)).collect()
}

/// Reads the rows off a configuration.
pub(crate) fn rows<C: Serialize>(
    config: &C,
    origin: impl Fn(&str) -> Origin,
) -> Result<Vec<Effective>, ConfigError> {
    let mut rows = Vec::new();
    collect(&tree(config)?, "", &origin, &mut rows);
    Ok(rows)
}

fn collect(dict: &Dict, section: &str, origin: &impl Fn(&str) -> Origin, rows: &mut Vec<Effective>) {
    for (name, value) in dict {
        let key = join(section, name);
        match value.as_dict() {
            Some(inner) => collect(inner, &key, origin, rows),
            None => rows.push(Effective { value: render(value), origin: origin(&key), key }),
        }
    }
}

fn render(value: &Value) -> String {
    match value {
        Value::String(_, text) if text == MASK => MASK.to_owned(),
        Value::String(_, text) => format!("{text:?}"),
        Value::Char(_, c) => format!("{:?}", c.to_string()),
        Value::Bool(_, flag) => flag.to_string(),
        Value::Num(_, number) => render_number(*number),
        Value::Empty(..) => "(not set)".to_owned(),
        Value::Array(_, entries) => {
            let entries: Vec<_> = entries.iter().map(render).collect();
            format!("[{}]", entries.join(", "))
        }
        Value::Dict(..) => "{…}".to_owned(),
    }
}

fn render_number(number: Num) -> String {
    let unsigned = number.to_u128().map(|n| n.to_string());
    let signed = || number.to_i128().map(|n| n.to_string());
    let float = || number.to_f64().map(|n| n.to_string());
    unsigned.or_else(signed).or_else(float).unwrap_or_default()
}
