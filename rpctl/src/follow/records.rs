//! A job as it goes on, for scripts: one object per thing that happens.
//!
//! | object | means |
//! |---|---|
//! | `{"job", "procedure", "runs", "existing"}` | the job that is followed; the first object |
//! | `{"agent", "attempt", "state"}` | the run is in this state now |
//! | `{"agent", "attempt", "n", "kind", "data"}` | an item; `kind` is `value`, `stdout`, `stderr` or `truncated`. Output is text if it is UTF-8, otherwise `{"$bin": …}` |
//! | `{"agent", "attempt", "missing": {"from", "until"}}` | these items are not there: an older copy of the manager's store was put back; it goes on with `until` |
//! | `{"agent", "attempt", "progress": {"completed", "total", "details"}}` | how far it is |
//! | `{"agent", "attempt", "end": {"outcome", "started", "result", "fault", "items", "duration_ms"}}` | how it ended |
//! | `{"summary": {…}}` | the job, at the end |
//! | `{"stopped": {"why", "exit"}}` | in its place: rpctl ends, and the job goes on |
//!
//! `jobs read` has items alone, and at the end `{"next"}`, the number to go on with, and `{"end"}`, or `{"stopped"}` when not
//! everything could be read.
//!
//! With `-o jsonl` each is a line. With `-o json` and `-o yaml` they stand in one document, `{"events": […], "summary": …,
//! "stopped": …}`, of which one of the last two is null. Nothing is collected: a document is written piece by piece.

use redpoll_common::api::items::{FollowEvent, Part};
use redpoll_common::job::{Item, ItemKind};
use redpoll_common::wire::Raw;
use rmpv::Value;
use serde::Serialize;

use crate::output::{Format, Output, OutputError, json, terminated, yaml};
use crate::report::Report;
use crate::value::{Shown, decode};

/// Writes objects, each at once.
#[derive(Debug)]
pub struct Records {
    format: Format,
    /// The name of their list in a document.
    list: &'static str,
    written: u64,
}

impl Records {
    /// A document that begins; `list` names the list of its objects.
    pub fn new(format: Format, list: &'static str) -> Self {
        Self { format, list, written: 0 }
    }

    /// Writes what is new of a run.
    ///
    /// # Errors
    /// [`OutputError`], as for every method here.
    pub fn event(&mut self, event: &FollowEvent, output: &mut Output) -> Result<(), OutputError> {
        let of_run = |entries: Vec<(&str, Value)>| {
            let run = [("agent", Value::from(event.agent.as_str())), ("attempt", event.attempt.into())];
            map(run.into_iter().chain(entries))
        };
        if let Some(state) = &event.state {
            self.object(&of_run(vec![("state", state.as_str().into())]), output)?;
        }
        for part in event.parts() {
            let entries = match part {
                Part::Item(item) => item_entries(item),
                Part::Missing(missing) => vec![("missing", value_of(&missing))],
            };
            self.object(&of_run(entries), output)?;
        }
        if let Some(progress) = &event.progress {
            self.object(&of_run(vec![("progress", value_of(progress))]), output)?;
        }
        if let Some(end) = &event.end {
            self.object(&of_run(vec![("end", value_of(end))]), output)?;
        }
        Ok(())
    }

    /// Writes an object.
    ///
    /// # Errors
    /// [`OutputError`]
    pub fn object(&mut self, value: &Value, output: &mut Output) -> Result<(), OutputError> {
        let first = self.written == 0;
        self.written += 1;
        let text = match self.format {
            Format::Jsonl | Format::Table => terminated(json(&Shown(value), false)?),
            Format::Json => {
                let before = if first {
                    format!("{{\n  {}: [\n    ", json(self.list, false)?)
                } else {
                    ",\n    ".to_owned()
                };
                format!("{before}{}", json(&Shown(value), false)?)
            }
            Format::Yaml => {
                let before = if first { format!("{}:\n", self.list) } else { String::new() };
                format!("{before}{}", terminated(yaml(&[Shown(value)])?))
            }
        };
        output.bytes(text.as_bytes())
    }

    /// Writes what stands after the list. In lines only what there is.
    ///
    /// # Errors
    /// [`OutputError`]
    pub fn close(
        &mut self,
        entries: &[(&str, Option<Value>)],
        output: &mut Output,
    ) -> Result<(), OutputError> {
        let list = self.list;
        match self.format {
            Format::Jsonl | Format::Table => {
                for (key, value) in entries {
                    if let Some(value) = value {
                        self.object(&map([(*key, value.clone())]), output)?;
                    }
                }
                Ok(())
            }
            Format::Json => {
                let mut text = if self.written == 0 { format!("{{\n  \"{list}\": [") } else { "\n  ".into() };
                text.push(']');
                for (key, value) in entries {
                    let value = json(&Shown(value.as_ref().unwrap_or(&Value::Nil)), true)?;
                    text.push_str(&format!(",\n  \"{key}\": {}", value.replace('\n', "\n  ")));
                }
                text.push_str("\n}\n");
                output.bytes(text.as_bytes())
            }
            Format::Yaml => {
                let mut text = if self.written == 0 { format!("{list}: []\n") } else { String::new() };
                let rest =
                    map(entries.iter().map(|(key, value)| (*key, value.clone().unwrap_or(Value::Nil))));
                text.push_str(&terminated(yaml(&Shown(&rest))?));
                output.bytes(text.as_bytes())
            }
        }
    }
}

/// The entries of an item.
fn item_entries(item: &Item) -> Vec<(&'static str, Value)> {
    let data = match (item.kind, decode(&item.data)) {
        (ItemKind::Stdout | ItemKind::Stderr, Value::Binary(bytes)) => match String::from_utf8(bytes) {
            Ok(text) => Value::from(text),
            Err(error) => Value::Binary(error.into_bytes()),
        },
        (_, data) => data,
    };
    vec![("n", item.n.into()), ("kind", item.kind.as_str().into()), ("data", data)]
}

/// Why rpctl ends although the job goes on.
pub fn stopped(report: &Report) -> Value {
    let why = format!("{}: {}", report.what, report.why);
    map([("why", Value::from(why)), ("exit", report.exit.code().into())])
}

/// A map with these entries.
pub fn map<'k>(entries: impl IntoIterator<Item = (&'k str, Value)>) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (Value::from(key), value)).collect())
}

/// A structure of the manager's answers as a value.
pub fn value_of<T: Serialize>(structure: &T) -> Value {
    // all of them have a form on the wire
    Raw::encode(structure).map_or(Value::Nil, |raw| decode(&raw))
}

#[cfg(test)]
mod tests {
    use redpoll_common::api::items::Missing;
    use redpoll_common::api::jobs::EndSummary;

    use super::*;
    use crate::output::{Look, capture};

    fn event() -> FollowEvent {
        let item = |n, kind, json| {
            let data = crate::value::encode(&crate::value::from_json(json).unwrap()).unwrap();
            Item { n, kind, data }
        };
        FollowEvent {
            state: Some("running".into()),
            items: vec![
                item(0, ItemKind::Stdout, "{\"$bin\":\"aGkK\"}"),
                item(1, ItemKind::Stderr, "{\"$bin\":\"/w==\"}"),
                item(4, ItemKind::Value, "{\"a\":1}"),
            ],
            missing: vec![Missing { from: 2, until: 4 }],
            end: Some(EndSummary {
                outcome: "succeeded".into(),
                started: Some(true),
                result: Some(Raw::text("r")),
                fault: None,
                items: 5,
                duration_ms: Some(5),
            }),
            ..FollowEvent::of("a", 1)
        }
    }

    #[test]
    fn lines_hold_an_object_each() {
        let (mut output, out, _) = capture::output(Look { format: Format::Jsonl, ..Look::default() });
        let mut records = Records::new(Format::Jsonl, "events");
        records.event(&event(), &mut output).unwrap();
        records.close(&[("summary", Some(Value::from(1))), ("stopped", None)], &mut output).unwrap();
        let expected = concat!(
            "{\"agent\":\"a\",\"attempt\":1,\"state\":\"running\"}\n",
            "{\"agent\":\"a\",\"attempt\":1,\"n\":0,\"kind\":\"stdout\",\"data\":\"hi\\n\"}\n",
            "{\"agent\":\"a\",\"attempt\":1,\"n\":1,\"kind\":\"stderr\",\"data\":{\"$bin\":\"/w==\"}}\n",
            "{\"agent\":\"a\",\"attempt\":1,\"missing\":{\"from\":2,\"until\":4}}\n",
            "{\"agent\":\"a\",\"attempt\":1,\"n\":4,\"kind\":\"value\",\"data\":{\"a\":1}}\n",
            "{\"agent\":\"a\",\"attempt\":1,\"end\":{\"outcome\":\"succeeded\",\"started\":true,\"result\":\"r\",",
            "\"fault\":null,\"items\":5,\"duration_ms\":5}}\n",
            "{\"summary\":1}\n",
        );
        assert_eq!(out.text(), expected);
    }

    #[test]
    fn documents_are_whole_with_objects_and_without() {
        for format in [Format::Json, Format::Yaml] {
            for events in [0, 2] {
                let (mut output, out, _) = capture::output(Look { format, ..Look::default() });
                let mut records = Records::new(format, "events");
                for _ in 0..events {
                    records.event(&event(), &mut output).unwrap();
                }
                let stopped = map([("why", "x\ny".into())]);
                records.close(&[("summary", None), ("stopped", Some(stopped))], &mut output).unwrap();
                let text = out.text();
                let document: serde_json::Value = match format {
                    Format::Yaml => yaml_serde::from_str(&text).unwrap(),
                    Format::Json | Format::Jsonl | Format::Table => serde_json::from_str(&text).unwrap(),
                };
                assert_eq!(document["events"].as_array().unwrap().len(), events * 6, "{text}");
                assert_eq!(document["summary"], serde_json::Value::Null);
                assert_eq!(document["stopped"]["why"], "x\ny", "{text}");
            }
        }
    }
}
