//! Prints a call as it goes on: values and progress as they come, then the one final answer.
//!
//! | format | a value | progress | the end |
//! |---|---|---|---|
//! | table | text; chunks of stdout and stderr go to ours | a line on standard error | the result as text; a fault as a report |
//! | jsonl | `{"value": …}` | `{"progress": {"completed", "total", "details"}}` | `{"result": …}` or `{"fault": {…}}` |
//! | json | an element of `"values"` | a line on standard error | `"result"` or `"fault"` closes the one document `{"values": […], …}` |
//! | yaml | the same as json | – | the same |
//!
//! Nothing is collected: documents are written piece by piece, so a call may yield more than memory holds. A call that
//! ends without an answer of the far side (a lost connection, an interrupt) still gets its `fault`, so a document that
//! was begun is always whole.

use redpoll_common::wire::flight::Progress;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use rmpv::Value;
use serde::{Serialize, Serializer};

use crate::arguments::is_exec_run;
use crate::exit::Exit;
use crate::follow::ending::exit_of_program;
use crate::output::{Format, Output, OutputError, json, terminated, yaml};
use crate::report::{Report, Target};
use crate::sanitize::{self, Sanitizer};
use crate::value::{Shown, decode, field};

/// What is to be printed, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The agent called.
    pub agent: String,
    /// The procedure called.
    pub procedure: String,
    /// The program that exec.run starts, for messages.
    pub program: Option<String>,
    /// Whether text and binary are printed as they are.
    pub raw: bool,
    /// Whether a fault's trace is shown.
    pub verbose: bool,
}

/// Prints one call.
#[derive(Debug)]
pub struct Printer<'o> {
    output: &'o mut Output,
    plan: Plan,
    stdout: Sanitizer,
    stderr: Sanitizer,
    values: u64,
}

/// One of the streams that a chunk belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl<'o> Printer<'o> {
    /// A printer for a call that begins.
    pub fn new(output: &'o mut Output, plan: Plan) -> Self {
        Self { output, plan, stdout: Sanitizer::default(), stderr: Sanitizer::default(), values: 0 }
    }

    /// Prints a value.
    ///
    /// # Errors
    /// [`OutputError`], as for every method here.
    pub fn value(&mut self, data: &Raw) -> Result<(), OutputError> {
        let value = decode(data);
        let first = self.values == 0;
        self.values += 1;
        match self.output.format() {
            Format::Table => match (chunk(&value), cut(&value)) {
                (Some((stream, bytes)), _) => self.chunk(stream, bytes),
                (None, Some((stream, bytes))) => {
                    let agent = &self.plan.agent;
                    self.output
                        .note(&format!("{agent}: {bytes} bytes of {stream} were cut by the output limit"));
                    Ok(())
                }
                (None, None) => self.plain(&value),
            },
            Format::Jsonl => self.line("value", &Shown(&value)),
            Format::Json => {
                let item = json(&Shown(&value), false)?;
                let before = if first { "{\n  \"values\": [\n    " } else { ",\n    " };
                self.output.bytes(format!("{before}{item}").as_bytes())
            }
            Format::Yaml => {
                let item = yaml(&[Shown(&value)])?;
                let before = if first { "values:\n" } else { "" };
                self.output.bytes(format!("{before}{}", terminated(item)).as_bytes())
            }
        }
    }

    /// Prints how far the call is.
    ///
    /// # Errors
    /// [`OutputError`]
    pub fn progress(&mut self, progress: &Progress) -> Result<(), OutputError> {
        let details = decode(&progress.details);
        match self.output.format() {
            Format::Table | Format::Json | Format::Yaml => {
                let mut text = format!("{}: {}", self.plan.agent, progress.completed);
                if let Some(total) = progress.total {
                    text.push_str(&format!(" of {total}"));
                }
                if let Some(details) = details.as_str() {
                    text.push_str(&format!(" ({details})"));
                }
                self.output.progress(&text);
                Ok(())
            }
            Format::Jsonl => {
                let shown = ShownProgress {
                    completed: progress.completed,
                    total: progress.total,
                    details: (!details.is_nil()).then_some(Shown(&details)),
                };
                self.line("progress", &shown)
            }
        }
    }

    /// Prints the answer of a call that succeeded.
    ///
    /// # Errors
    /// [`OutputError`]
    pub fn result(mut self, data: &Raw) -> Result<Exit, OutputError> {
        let value = decode(data);
        self.flush_chunks()?;
        match self.output.format() {
            Format::Table if is_exec_run(&self.plan.procedure) => self.note_of_exec(&value),
            Format::Table => self.plain(&value)?,
            Format::Jsonl => self.line("result", &Shown(&value))?,
            Format::Json | Format::Yaml => self.close("result", &Shown(&value))?,
        }
        Ok(Exit::Good)
    }

    /// Prints the fault that a call ended with. People and scripts learn of it although nobody reads standard output.
    ///
    /// # Errors
    /// [`OutputError`] of a reader that is there.
    pub fn fault(mut self, fault: &Fault) -> Result<Exit, OutputError> {
        let printed = self.close_with_fault(fault);
        let exit = Exit::of_fault(&fault.code);
        let plan = &self.plan;
        match exit_of_program(&plan.agent, &plan.procedure, plan.program.as_deref(), fault) {
            Some(sentence) => self.output.note(&sentence),
            None => {
                let target = Target::Procedure {
                    agent: self.plan.agent.clone(),
                    procedure: self.plan.procedure.clone(),
                };
                self.output.report(&Report::of_fault(fault, &target, self.plan.verbose));
            }
        }
        OutputError::unless_closed(printed).map(|()| exit)
    }

    /// Ends what was printed when the far side gave no answer: the document gets a fault with this code, people get
    /// the report, although nobody reads standard output.
    ///
    /// # Errors
    /// [`OutputError`] of a reader that is there.
    pub fn broken(mut self, code: &str, report: &Report) -> Result<Exit, OutputError> {
        let fault = Fault::new(FaultCode::from_wire(code), format!("{}: {}", report.what, report.why));
        let printed = self.close_with_fault(&fault);
        self.output.report(report);
        OutputError::unless_closed(printed).map(|()| report.exit)
    }

    fn close_with_fault(&mut self, fault: &Fault) -> Result<(), OutputError> {
        self.flush_chunks()?;
        let shown = ShownFault(fault);
        match self.output.format() {
            Format::Table => Ok(()),
            Format::Jsonl => self.line("fault", &shown),
            Format::Json | Format::Yaml => self.close("fault", &shown),
        }
    }

    fn line<T: Serialize>(&mut self, key: &str, value: &T) -> Result<(), OutputError> {
        let text = json(&One(key, value), false)?;
        self.output.bytes(terminated(text).as_bytes())
    }

    /// The end of the one document, with an empty list of values if there were none.
    fn close<T: Serialize>(&mut self, key: &str, value: &T) -> Result<(), OutputError> {
        let text = match self.output.format() {
            Format::Yaml => {
                let before = if self.values == 0 { "values: []\n" } else { "" };
                format!("{before}{}", terminated(yaml(&One(key, value))?))
            }
            Format::Table | Format::Json | Format::Jsonl => {
                let before = if self.values == 0 { "{\n  \"values\": []" } else { "\n  ]" };
                // JSON strings hold no line breaks, so indenting changes no content.
                let value = json(value, true)?.replace('\n', "\n  ");
                format!("{before},\n  \"{key}\": {value}\n}}\n")
            }
        };
        self.output.bytes(text.as_bytes())
    }

    /// A value for people.
    fn plain(&mut self, value: &Value) -> Result<(), OutputError> {
        let text = plain(value, self.plan.raw)?;
        if text.is_empty() { Ok(()) } else { self.output.bytes(&text) }
    }

    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), OutputError> {
        match (stream, self.plan.raw) {
            (Stream::Stdout, true) => self.output.bytes(bytes),
            (Stream::Stdout, false) => {
                let text = self.stdout.chunk(bytes);
                self.output.bytes(text.as_bytes())
            }
            (Stream::Stderr, true) => {
                self.output.error_bytes(bytes);
                Ok(())
            }
            (Stream::Stderr, false) => {
                let text = self.stderr.chunk(bytes);
                self.output.error_bytes(text.as_bytes());
                Ok(())
            }
        }
    }

    fn flush_chunks(&mut self) -> Result<(), OutputError> {
        let (out, err) = (self.stdout.finish(), self.stderr.finish());
        if !err.is_empty() {
            self.output.error_bytes(err.as_bytes());
        }
        if out.is_empty() { Ok(()) } else { self.output.bytes(out.as_bytes()) }
    }

    /// What a person should know of an exec.run although it succeeded.
    fn note_of_exec(&mut self, result: &Value) {
        if field(result, "pipes_held").and_then(Value::as_bool) == Some(true) {
            let agent = &self.plan.agent;
            self.output.note(&format!(
                "{agent}: something it left running still held its output when that was closed"
            ));
        }
    }
}

/// A value as people read it, in whole lines unless `raw`.
pub(crate) fn plain(value: &Value, raw: bool) -> Result<Vec<u8>, OutputError> {
    let text = |bytes: &[u8]| {
        if raw { bytes.to_vec() } else { terminated(sanitize::text(bytes)).into_bytes() }
    };
    Ok(match value {
        Value::Nil => Vec::new(),
        Value::String(content) => text(content.as_bytes()),
        Value::Binary(bytes) if raw || std::str::from_utf8(bytes).is_ok() => text(bytes),
        Value::Binary(bytes) => {
            format!("({} bytes of binary data; --raw prints them as they are)\n", bytes.len()).into_bytes()
        }
        Value::Boolean(_) | Value::Integer(_) | Value::F32(_) | Value::F64(_) => {
            terminated(json(&Shown(value), false)?).into_bytes()
        }
        Value::Array(_) | Value::Map(_) | Value::Ext(..) => terminated(yaml(&Shown(value))?).into_bytes(),
    })
}

/// A mark that output was cut, and nothing else: `{"stream": …, "truncated": true, "dropped": BYTES}`.
fn cut(value: &Value) -> Option<(&str, u64)> {
    let stream = stream_of(value, 3)?.1;
    field(value, "truncated")?.as_bool().filter(|truncated| *truncated)?;
    Some((stream, field(value, "dropped")?.as_u64()?))
}

/// A value that is a piece of a program's output, and nothing else: `{"stream": "stdout"|"stderr", "data": BYTES}`. Text is a
/// procedure's own.
fn chunk(value: &Value) -> Option<(Stream, &[u8])> {
    let stream = stream_of(value, 2)?.0;
    let Value::Binary(bytes) = field(value, "data")? else { return None };
    Some((stream, bytes))
}

/// The stream that a map of so many entries names.
fn stream_of(value: &Value, entries: usize) -> Option<(Stream, &str)> {
    value.as_map().filter(|map| map.len() == entries)?;
    match field(value, "stream")?.as_str()? {
        name @ "stdout" => Some((Stream::Stdout, name)),
        name @ "stderr" => Some((Stream::Stderr, name)),
        _ => None,
    }
}

/// A map with one entry.
struct One<'a, T>(&'a str, &'a T);

impl<T: Serialize> Serialize for One<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(self.0, self.1)])
    }
}

#[derive(Serialize)]
struct ShownProgress<'a> {
    completed: u64,
    total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Shown<'a>>,
}

/// A fault as JSON: its code and message, and what else it carries.
struct ShownFault<'a>(&'a Fault);

impl Serialize for ShownFault<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fault = self.0;
        let text = |text: &String| Value::from(text.as_str());
        let entries = [
            ("code", Some(Value::from(fault.code.as_str()))),
            ("message", Some(text(&fault.message))),
            ("class", fault.class.as_ref().map(text)),
            ("module", fault.module.as_ref().map(text)),
            ("trace", fault.trace.as_ref().map(text)),
            ("args", fault.args.as_ref().map(decode)),
            ("state", fault.state.as_ref().map(decode)),
            ("data", fault.data.as_ref().map(decode)),
            ("retry_after_ms", fault.retry_after_ms.map(Value::from)),
        ];
        let map = entries.into_iter().filter_map(|(key, value)| Some((Value::from(key), value?))).collect();
        Shown(&Value::Map(map)).serialize(serializer)
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
