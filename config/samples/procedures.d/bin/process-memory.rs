//! process.memory: the processes that take the most memory, as one call on the line protocol.
//!
//! One file and no crates, so that `rustc` alone builds it: what it needs of JSON is below. With cargo, use serde_json.

use std::io::{BufRead as _, Write as _};
use std::{fs, io};

fn main() {
    let mut line = String::new();
    let answer = match io::stdin().lock().read_line(&mut line) {
        Ok(_) => answer(&line),
        Err(error) => Err(("Input", error.to_string())),
    };
    let said = match answer {
        Ok(result) => format!("{{\"result\":{result}}}\n"),
        Err((class, message)) => format!(
            "{{\"exception\":{{\"class\":\"{class}\",\"module\":\"process_memory\",\"message\":{}}}}}\n",
            quoted(&message)
        ),
    };
    // an agent that is gone does not need the answer
    let _ = io::stdout().write_all(said.as_bytes());
}

/// What the call asks for, as JSON; or the class and the text of an exception.
fn answer(line: &str) -> Result<String, (&'static str, String)> {
    let call = Json::parse(line).ok_or_else(|| ("Input", "the call is not JSON".to_owned()))?;
    let argument = |name: &str| call.get("kwargs").and_then(|kwargs| kwargs.get(name));
    let top = match argument("top") {
        None => 10,
        Some(Json::Number(text)) => {
            text.parse().map_err(|_| ("Argument", "`top` is an integer from 1".to_owned()))?
        }
        Some(_) => return Err(("Argument", "`top` is an integer from 1".to_owned())),
    };
    let name = match argument("name") {
        None => "",
        Some(Json::Text(text)) => text,
        Some(_) => return Err(("Argument", "`name` is a text".to_owned())),
    };
    let mut found = processes().map_err(|error| ("Proc", format!("cannot read /proc: {error}")))?;
    found.retain(|process| process.name.contains(name));
    found.sort_by_key(|process| std::cmp::Reverse(process.kib));
    found.truncate(top);
    let rows: Vec<String> = found.iter().map(Process::json).collect();
    Ok(format!("[{}]", rows.join(",")))
}

struct Process {
    id: u32,
    name: String,
    kib: u64,
}

impl Process {
    fn json(&self) -> String {
        format!("{{\"pid\":{},\"name\":{},\"kib\":{}}}", self.id, quoted(&self.name), self.kib)
    }
}

fn processes() -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // one that has ended in the meantime is no error
        let Ok(status) = fs::read(entry.path().join("status")) else { continue };
        let status = String::from_utf8_lossy(&status);
        let field = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let kib = field("VmRSS:").and_then(|text| text.split(' ').next()).and_then(|text| text.parse().ok());
        found.push(Process { id, name: field("Name:").unwrap_or("?").to_owned(), kib: kib.unwrap_or(0) });
    }
    Ok(found)
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A JSON value; numbers stay text.
enum Json {
    Null,
    Bool,
    Number(String),
    Text(String),
    List,
    Object(Vec<(String, Json)>),
}

impl Json {
    /// How deep values may be within each other.
    const DEPTH: usize = 64;

    fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let value = value(&mut rest, Self::DEPTH)?;
        rest.trim().is_empty().then_some(value)
    }

    fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            Self::Null | Self::Bool | Self::Number(_) | Self::Text(_) | Self::List => None,
        }
    }
}

fn value(rest: &mut &str, depth: usize) -> Option<Json> {
    let depth = depth.checked_sub(1)?;
    *rest = rest.trim_start();
    if take(rest, "{") {
        let mut fields = Vec::new();
        while !take(rest, "}") {
            if !fields.is_empty() && !take(rest, ",") {
                return None;
            }
            let name = text(rest)?;
            if !take(rest, ":") {
                return None;
            }
            fields.push((name, value(rest, depth)?));
        }
        return Some(Json::Object(fields));
    }
    if take(rest, "[") {
        let mut first = true;
        while !take(rest, "]") {
            if !std::mem::take(&mut first) && !take(rest, ",") {
                return None;
            }
            value(rest, depth)?;
        }
        return Some(Json::List);
    }
    if rest.starts_with('"') {
        return text(rest).map(Json::Text);
    }
    for (word, json) in [("null", Json::Null), ("true", Json::Bool), ("false", Json::Bool)] {
        if take(rest, word) {
            return Some(json);
        }
    }
    let end =
        rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E')).unwrap_or(rest.len());
    let (number, after) = rest.split_at_checked(end)?;
    *rest = after;
    (!number.is_empty()).then(|| Json::Number(number.to_owned()))
}

/// Takes a word off the front, with the space before it.
fn take(rest: &mut &str, word: &str) -> bool {
    let after = rest.trim_start().strip_prefix(word);
    if let Some(after) = after {
        *rest = after;
    }
    after.is_some()
}

fn text(rest: &mut &str) -> Option<String> {
    if !take(rest, "\"") {
        return None;
    }
    let mut units: Vec<u16> = Vec::new();
    let mut chars = rest.chars();
    let mut buffer = [0; 2];
    loop {
        let plain = match chars.next()? {
            '"' => break,
            '\\' => match chars.next()? {
                'u' => {
                    let digits = chars.as_str().get(..4)?;
                    units.push(u16::from_str_radix(digits, 16).ok()?);
                    chars = chars.as_str().get(4..)?.chars();
                    continue;
                }
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'b' => '\u{8}',
                'f' => '\u{c}',
                other => other,
            },
            other => other,
        };
        units.extend_from_slice(plain.encode_utf16(&mut buffer));
    }
    *rest = chars.as_str();
    String::from_utf16(&units).ok()
}
