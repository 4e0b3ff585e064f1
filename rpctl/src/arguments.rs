//! What stands after the procedure on the command line: a call's arguments.
//!
//! | written | means |
//! |---|---|
//! | `TEXT` | the next positional argument, as text |
//! | `@FILE` | the next positional argument: the content of a file, `@-` is standard input |
//! | `KEY=TEXT` | a named argument, as text |
//! | `KEY=@FILE` | a named argument: the content of a file |
//! | `KEY:=JSON` | a named argument with a type: `n:=5`, `on:=true`, `list:=[1,2]` |
//! | `KEY:=@FILE` | the same, the JSON in a file |
//! | `--args JSON`, `--kwargs JSON` | an array before the positional, a map before the named ones; `@FILE` works too |
//! | after `--` | for `exec.run` the command and its arguments; for others positional text, taken as it stands |
//!
//! A `KEY` begins with a letter or `_` and goes on with letters, digits, `_`, `.`, `-`; what has no such key before its
//! first `=` is positional, such as `http://host/?a=b`. One backslash before the leading `@` or before the first `=`
//! takes its meaning away and is removed: `\@home`, `a\=b`, `KEY=\@home`.
//!
//! A file's content is text if it is UTF-8, otherwise binary.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use redpoll_common::typed::{Token, Written};
use redpoll_common::wire::MAX_FRAME_LIMIT;
use rmpv::Value;

use crate::value;

/// The procedure whose argv follows `--`.
pub const EXEC_RUN: &str = "exec.run";

/// The arguments of a call as they were typed.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Typed {
    /// Positional arguments and KEY=VALUE, KEY:=JSON, @FILE
    #[arg(value_name = "ARG|KEY=VALUE|KEY:=JSON|@FILE", allow_negative_numbers = true)]
    pub arguments: Vec<String>,
    /// Positional arguments as a JSON array, or @FILE with one
    #[arg(long, value_name = "JSON")]
    pub args: Option<String>,
    /// Named arguments as a JSON map, or @FILE with one
    #[arg(long, value_name = "JSON")]
    pub kwargs: Option<String>,
    /// For exec.run: a file for the command's standard input, - for rpctl's own
    #[arg(long, value_name = "FILE|-")]
    pub stdin: Option<PathBuf>,
    /// For exec.run: a variable for the command's environment; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// For exec.run: the directory to run in
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// For exec.run the command and its arguments; for others positional text as it stands
    #[arg(last = true, value_name = "ARGV")]
    pub argv: Vec<OsString>,
}

/// The arguments of a call as they are sent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Arguments {
    /// Positional.
    pub args: Vec<Value>,
    /// Named, in the order they were given.
    pub kwargs: Vec<(Value, Value)>,
}

/// Why arguments are not usable.
#[derive(Debug, thiserror::Error)]
pub enum ArgumentsError {
    /// JSON is not JSON.
    #[error("{place} is not JSON")]
    Json {
        /// Which argument.
        place: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// JSON of another type than needed.
    #[error("{place} is not {needed}")]
    Shape {
        /// Which argument.
        place: String,
        /// What it should be.
        needed: &'static str,
    },
    /// A name was given twice.
    #[error("the argument {key:?} is given twice")]
    Twice {
        /// The name.
        key: String,
    },
    /// A file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is larger than any frame.
    #[error("{path} has more than {MAX_FRAME_LIMIT} bytes, which no message can carry", path = path.display())]
    FileTooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Standard input was asked for twice.
    #[error("standard input can be read only once")]
    StdinTwice,
    /// A file that must be JSON is not text.
    #[error("{place} is not text")]
    NotText {
        /// Which argument.
        place: String,
    },
    /// An option of exec.run with another procedure.
    #[error("{option} belongs to {EXEC_RUN}, not to {procedure}")]
    OnlyExec {
        /// The option.
        option: &'static str,
        /// The procedure called.
        procedure: String,
    },
    /// `--env` without `=`.
    #[error("--env {text:?} is not KEY=VALUE")]
    Env {
        /// What was given.
        text: String,
    },
}

/// Reads what was typed, and the files it names.
///
/// # Errors
/// [`ArgumentsError`] names the argument and what is wrong with it.
pub fn read(procedure: &str, typed: &Typed, stdin: &mut dyn Read) -> Result<Arguments, ArgumentsError> {
    let mut reader = Reader { stdin: Some(stdin), out: Arguments::default() };
    if let Some(text) = &typed.args {
        let Value::Array(items) = reader.json("--args", text)? else {
            return Err(ArgumentsError::Shape { place: "--args".into(), needed: "a JSON array" });
        };
        reader.out.args = items;
    }
    if let Some(text) = &typed.kwargs {
        let Value::Map(entries) = reader.json("--kwargs", text)? else {
            return Err(ArgumentsError::Shape { place: "--kwargs".into(), needed: "a JSON map" });
        };
        reader.out.kwargs = entries;
    }
    for token in &typed.arguments {
        reader.token(token)?;
    }
    if is_exec_run(procedure) {
        reader.exec(typed)?;
    } else {
        let first = [
            ("--stdin", typed.stdin.is_some()),
            ("--env", !typed.env.is_empty()),
            ("--cwd", typed.cwd.is_some()),
        ];
        if let Some((option, _)) = first.into_iter().find(|(_, given)| *given) {
            return Err(ArgumentsError::OnlyExec { option, procedure: procedure.to_owned() });
        }
        reader.out.args.extend(typed.argv.iter().map(|word| word_value(word)));
    }
    Ok(reader.out)
}

/// Whether a procedure, with or without a version, is [`EXEC_RUN`].
pub fn is_exec_run(procedure: &str) -> bool {
    procedure.split('@').next() == Some(EXEC_RUN)
}

/// Reads a JSON text, or the file that `@FILE` names.
///
/// # Errors
/// [`ArgumentsError`] when the file cannot be read or the text is not JSON.
pub fn read_json(place: &str, text: &str, stdin: &mut dyn Read) -> Result<Value, ArgumentsError> {
    Reader { stdin: Some(stdin), out: Arguments::default() }.json(place, text)
}

struct Reader<'r> {
    stdin: Option<&'r mut dyn Read>,
    out: Arguments,
}

impl Reader<'_> {
    fn token(&mut self, token: &str) -> Result<(), ArgumentsError> {
        match Token::of(token) {
            Token::Positional(text) => {
                let value = self.text(&text)?;
                self.out.args.push(value);
                Ok(())
            }
            Token::Named { key, text } => {
                let value = self.text(text)?;
                self.named(key, value)
            }
            Token::Typed { key, json } => {
                let value = self.json(key, json)?;
                self.named(key, value)
            }
        }
    }

    fn named(&mut self, key: &str, value: Value) -> Result<(), ArgumentsError> {
        if self.out.kwargs.iter().any(|(known, _)| known.as_str() == Some(key)) {
            return Err(ArgumentsError::Twice { key: key.to_owned() });
        }
        self.out.kwargs.push((Value::from(key), value));
        Ok(())
    }

    /// Text, or a file's content after `@`.
    fn text(&mut self, text: &str) -> Result<Value, ArgumentsError> {
        match Written::of(text) {
            Written::File(path) => Ok(as_value(self.file(Path::new(path))?)),
            Written::Text(text) => Ok(Value::from(text)),
        }
    }

    /// JSON, or the JSON in a file after `@`.
    fn json(&mut self, place: &str, text: &str) -> Result<Value, ArgumentsError> {
        let content;
        let json = match text.strip_prefix('@') {
            Some(path) => {
                let bytes = self.file(Path::new(path))?;
                content = String::from_utf8(bytes)
                    .map_err(|_| ArgumentsError::NotText { place: place.to_owned() })?;
                content.as_str()
            }
            None => text,
        };
        value::from_json(json).map_err(|source| ArgumentsError::Json { place: place.to_owned(), source })
    }

    fn exec(&mut self, typed: &Typed) -> Result<(), ArgumentsError> {
        if !typed.argv.is_empty() {
            let argv = typed.argv.iter().map(|word| word_value(word)).collect();
            self.named("argv", Value::Array(argv))?;
        }
        if !typed.env.is_empty() {
            let mut env: Vec<(Value, Value)> = Vec::with_capacity(typed.env.len());
            for text in &typed.env {
                let (key, value) = text
                    .split_once('=')
                    .filter(|(key, _)| !key.is_empty())
                    .ok_or_else(|| ArgumentsError::Env { text: text.clone() })?;
                if env.iter().any(|(known, _)| known.as_str() == Some(key)) {
                    return Err(ArgumentsError::Twice { key: format!("--env {key}") });
                }
                env.push((Value::from(key), Value::from(value)));
            }
            self.named("env", Value::Map(env))?;
        }
        if let Some(cwd) = &typed.cwd {
            self.named("cwd", Value::from(cwd.as_str()))?;
        }
        if let Some(path) = &typed.stdin {
            let bytes = self.file(path)?;
            self.named("stdin", Value::Binary(bytes))?;
        }
        Ok(())
    }

    /// The content of a file, or of standard input for `-`, bounded by the largest frame.
    fn file(&mut self, path: &Path) -> Result<Vec<u8>, ArgumentsError> {
        let failed = |source| ArgumentsError::File { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        let bound = u64::try_from(MAX_FRAME_LIMIT).unwrap_or(u64::MAX).saturating_add(1);
        if path == Path::new("-") {
            let stdin = self.stdin.take().ok_or(ArgumentsError::StdinTwice)?;
            stdin.take(bound).read_to_end(&mut bytes).map_err(failed)?;
        } else {
            let file = std::fs::File::open(path).map_err(failed)?;
            file.take(bound).read_to_end(&mut bytes).map_err(failed)?;
        }
        if bytes.len() > MAX_FRAME_LIMIT {
            return Err(ArgumentsError::FileTooLarge { path: path.to_owned() });
        }
        Ok(bytes)
    }
}

/// Text, or binary if it is not UTF-8, as file names may be.
fn word_value(word: &OsStr) -> Value {
    as_value(word.as_bytes().to_vec())
}

fn as_value(bytes: Vec<u8>) -> Value {
    match String::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(error) => Value::Binary(error.into_bytes()),
    }
}

#[cfg(test)]
#[path = "arguments_tests.rs"]
mod tests;
