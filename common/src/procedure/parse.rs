//! What one line says.

use super::ask;
use super::convert::{Unfit, heard, heard_bytes};
use super::exception::Exception;
use super::machine::Event;
use super::violation::{Kind, Violation};
use crate::api::value::Tree;
use crate::wire::Raw;
use crate::wire::flight::Progress;

/// A line of the protocol.
pub(super) struct Said {
    pub(super) call: Option<u64>,
    pub(super) kind: Kind,
    pub(super) event: Event,
}

/// Reads line number `line`. `None`: there is nothing in it.
pub(super) fn parse(text: &[u8], line: u64) -> Result<Option<Said>, Violation> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let tree = serde_json::from_slice(text)
        .map_err(|error| Violation::NotJson { line, byte: error.column().max(1) })?;
    let shape = |what| Violation::Shape { line, what };
    let Tree::Map(entries) = tree else { return Err(shape("it is JSON, but no object")) };
    let (mut call, mut content) = (None, None);
    for (key, value) in entries {
        let Tree::Text(key) = key else { return Err(shape("a key is no text")) };
        if key == "call" {
            let Tree::Unsigned(number) = value else {
                return Err(shape("\"call\" is no number of a call"));
            };
            if call.replace(number).is_some() {
                return Err(shape("\"call\" stands in it twice"));
            }
            continue;
        }
        let said = match content_of(&key, value, line) {
            Err(violation) => {
                let kind = violation.of_content().filter(|&kind| kind != Kind::Ask);
                let Some(kind) = kind else { return Err(violation) };
                (kind, Event::Unfit(violation))
            }
            Ok(said) => said,
        };
        if content.replace(said).is_some() {
            return Err(shape("it says more than one thing: a value, progress, result or exception a line"));
        }
    }
    let (kind, event) =
        content.ok_or_else(|| shape("it has neither value, progress, result nor exception"))?;
    Ok(Some(Said { call, kind, event }))
}

fn content_of(key: &str, value: Tree, line: u64) -> Result<(Kind, Event), Violation> {
    let kind = match key {
        "value" | "value_b64" => Kind::Value,
        "progress" => Kind::Progress,
        "result" | "result_b64" => Kind::Result,
        "exception" => Kind::Exception,
        "ready" => Kind::Ready,
        "emit" => Kind::Emit,
        "ask" => Kind::Ask,
        "pong" => Kind::Pong,
        _ => return Err(Violation::Shape { line, what: "a key of it is unknown" }),
    };
    let reader = Reader { line, kind };
    let event = match key {
        "value" => Event::Value(reader.any(value)?),
        "value_b64" => Event::Value(reader.bytes(value)?),
        "result" => Event::Result(reader.any(value)?),
        "result_b64" => Event::Result(reader.bytes(value)?),
        "progress" => Event::Progress(reader.progress(value)?),
        "emit" => reader.emit(value)?,
        "ask" => Event::Ask(Box::new(ask::ask(reader, value)?)),
        "exception" => Event::Exception(Box::new(reader.exception(value)?)),
        "pong" => {
            let Tree::Unsigned(ping) = value else {
                return Err(reader.shape("\"pong\" is no number of a ping"));
            };
            Event::Pong(ping)
        }
        _ if matches!(value, Tree::Bool(true)) => Event::Ready,
        _ => return Err(reader.shape("\"ready\" can only be true")),
    };
    Ok((kind, event))
}

/// Reads the content of a line.
#[derive(Clone, Copy)]
pub(super) struct Reader {
    line: u64,
    kind: Kind,
}

impl Reader {
    pub(super) fn shape(self, what: &'static str) -> Violation {
        Violation::Shape { line: self.line, what }
    }

    fn unfit(self, why: Unfit) -> Violation {
        let Self { line, kind } = self;
        match why {
            Unfit::Base64 => Violation::Base64 { line, kind },
            Unfit::Scan(reason) => Violation::Unfit { line, kind, reason },
        }
    }

    pub(super) fn any(self, value: Tree) -> Result<Raw, Violation> {
        heard(value).map_err(|why| self.unfit(why))
    }

    pub(super) fn some_map(self, value: Tree, otherwise: &'static str) -> Result<Raw, Violation> {
        let map = self.any(value)?;
        if map.is_map() { Ok(map) } else { Err(self.shape(otherwise)) }
    }

    fn bytes(self, value: Tree) -> Result<Raw, Violation> {
        let Tree::Text(text) = value else { return Err(self.shape("what ends in _b64 is a text")) };
        heard_bytes(&text).map_err(|why| self.unfit(why))
    }

    fn progress(self, value: Tree) -> Result<Progress, Violation> {
        const NUMBERS: &str = "\"completed\" and \"total\" of \"progress\" are numbers from 0 on";
        let Tree::Map(entries) = value else { return Err(self.shape("\"progress\" is an object")) };
        let (mut completed, mut total, mut details) = (None, None, Raw::nil());
        for (key, value) in entries {
            let Tree::Text(key) = key else { return Err(self.shape("a key is no text")) };
            match (key.as_str(), value) {
                ("total", Tree::Nil) => {}
                ("completed", n) => completed = Some(whole(&n).ok_or_else(|| self.shape(NUMBERS))?),
                ("total", n) => total = Some(whole(&n).ok_or_else(|| self.shape(NUMBERS))?),
                ("details", value) => details = self.any(value)?,
                (_, _) => {
                    return Err(self.shape("a key of \"progress\" is none of completed, total and details"));
                }
            }
        }
        let completed = completed.ok_or_else(|| self.shape("\"progress\" has no \"completed\""))?;
        Ok(Progress { completed, total, details })
    }

    fn emit(self, value: Tree) -> Result<Event, Violation> {
        let Tree::Map(entries) = value else { return Err(self.shape("\"emit\" is an object")) };
        let (mut kind, mut data) = (None, Raw::nil());
        for (key, value) in entries {
            let Tree::Text(key) = key else { return Err(self.shape("a key is no text")) };
            match key.as_str() {
                "type" => kind = self.text(value)?,
                "data" => data = self.any(value)?,
                _ => return Err(self.shape("a key of \"emit\" is neither type nor data")),
            }
        }
        let kind = kind.ok_or_else(|| self.shape("\"emit\" has no \"type\""))?;
        Ok(Event::Emit { kind, data })
    }

    fn exception(self, value: Tree) -> Result<Exception, Violation> {
        let Tree::Map(entries) = value else { return Err(self.shape("\"exception\" is an object")) };
        let mut exception = Exception::default();
        for (key, value) in entries {
            let Tree::Text(key) = key else { return Err(self.shape("a key is no text")) };
            match key.as_str() {
                "class" => exception.class = self.text(value)?,
                "module" => exception.module = self.text(value)?,
                "message" => exception.message = self.text(value)?,
                "trace" => exception.trace = self.text(value)?,
                "args" => exception.args = self.some(value)?,
                "state" => exception.state = self.some(value)?,
                "data" => exception.data = self.some(value)?,
                _ => return Err(self.shape("a key of \"exception\" is unknown")),
            }
        }
        Ok(exception)
    }

    fn text(self, value: Tree) -> Result<Option<String>, Violation> {
        if matches!(value, Tree::Nil) {
            return Ok(None);
        }
        let Tree::Text(text) = value else {
            return Err(self
                .shape("type of \"emit\" and class, module, message and trace of \"exception\" are texts"));
        };
        Ok(Some(text))
    }

    fn some(self, value: Tree) -> Result<Option<Raw>, Violation> {
        let raw = self.any(value)?;
        Ok(Some(raw).filter(|raw| !raw.is_nil()))
    }
}

/// A number from 0 on, without its fraction: many languages count in floating point.
fn whole(value: &Tree) -> Option<u64> {
    match value {
        Tree::Unsigned(n) => Some(*n),
        // written out it has no exponent; what is below 0 or beyond 64 bits does not read back, but -0.0 is 0
        Tree::Double(n) => (n.floor() + 0.0).to_string().parse().ok(),
        Tree::Nil
        | Tree::Bool(_)
        | Tree::Signed(_)
        | Tree::Single(_)
        | Tree::Text(_)
        | Tree::Bytes(_)
        | Tree::Array(_)
        | Tree::Map(_)
        | Tree::Extension(..) => None,
    }
}
