//! What an executable asks the manager for, and what it is answered.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::convert::{Spoken, Unspeakable};
use super::parse::Reader;
use super::violation::Violation;
use crate::api::value::Tree;
use crate::wire::{Fault, FaultCode, MAX_METHOD_LEN, Raw};

/// Bytes of the id of an ask.
pub const MAX_ASK_ID: usize = 64;
/// The longest that somebody may want to wait for an answer.
pub const MAX_ASK_TIMEOUT: Duration = Duration::from_secs(86_400);

/// What an executable asks the manager for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Its own name for it, of 1 to [`MAX_ASK_ID`] bytes, by which it knows the answer.
    pub id: String,
    /// What it wants.
    pub want: Want,
    /// How long it waits, if it says so; never more than [`MAX_ASK_TIMEOUT`].
    pub timeout: Option<Duration>,
}

/// What is wanted of the manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// A job; a map in the words of people, which nobody has looked at.
    Submit(Raw),
    /// A procedure that the manager offers.
    Call {
        /// `name` or `name@version`.
        procedure: String,
        /// Positional arguments.
        args: Raw,
        /// Named arguments.
        kwargs: Raw,
    },
}

/// Reads what stands behind `"ask"`.
pub(super) fn ask(reader: Reader, value: Tree) -> Result<Ask, Violation> {
    const ID: &str = "\"id\" of \"ask\" is a text of 1 to 64 bytes";
    const NAME: &str = "\"procedure\" of \"ask\" is a text of 1 to 128 bytes";
    let Tree::Map(entries) = value else { return Err(reader.shape("\"ask\" is an object")) };
    let (mut id, mut submit, mut procedure, mut timeout) = (None, None, None, None);
    let (mut args, mut kwargs) = (None, None);
    for (key, value) in entries {
        let Tree::Text(key) = key else { return Err(reader.shape("a key is no text")) };
        let seen = match key.as_str() {
            "id" => id.replace(text(reader, value, MAX_ASK_ID, ID)?).is_some(),
            "submit" => {
                submit.replace(reader.some_map(value, "\"submit\" of \"ask\" is an object")?).is_some()
            }
            "procedure" => procedure.replace(text(reader, value, MAX_METHOD_LEN, NAME)?).is_some(),
            "args" => {
                let list = reader.any(value)?;
                if !list.is_array() {
                    return Err(reader.shape("\"args\" of \"ask\" is a list"));
                }
                args.replace(list).is_some()
            }
            "kwargs" => {
                kwargs.replace(reader.some_map(value, "\"kwargs\" of \"ask\" is an object")?).is_some()
            }
            "timeout" => timeout.replace(seconds(reader, &value)?).is_some(),
            _ => {
                return Err(reader
                    .shape("a key of \"ask\" is none of id, submit, procedure, args, kwargs and timeout"));
            }
        };
        if seen {
            return Err(reader.shape("a key of \"ask\" stands in it twice"));
        }
    }
    let id = id.ok_or_else(|| reader.shape("\"ask\" has no \"id\""))?;
    let want = match (submit, procedure) {
        (Some(job), None) if args.is_none() && kwargs.is_none() => Want::Submit(job),
        (Some(_), None) => {
            return Err(reader.shape("the arguments of a job stand within \"submit\", not beside it"));
        }
        (None, Some(procedure)) => {
            let (args, kwargs) =
                (args.unwrap_or_else(Raw::empty_array), kwargs.unwrap_or_else(Raw::empty_map));
            Want::Call { procedure, args, kwargs }
        }
        (Some(_), Some(_)) | (None, None) => {
            return Err(reader.shape("\"ask\" has one of \"submit\" and \"procedure\""));
        }
    };
    Ok(Ask { id, want, timeout: timeout.flatten() })
}

fn text(reader: Reader, value: Tree, max: usize, otherwise: &'static str) -> Result<String, Violation> {
    let Tree::Text(text) = value else { return Err(reader.shape(otherwise)) };
    if (1..=max).contains(&text.len()) { Ok(text) } else { Err(reader.shape(otherwise)) }
}

/// A number of seconds above 0, or null.
fn seconds(reader: Reader, value: &Tree) -> Result<Option<Duration>, Violation> {
    if matches!(value, Tree::Nil) {
        return Ok(None);
    }
    let seconds = if let Tree::Unsigned(whole) = value {
        Some(Duration::from_secs(*whole))
    } else if let Tree::Double(seconds) = value
        && *seconds > 0.0
    {
        // what no duration can hold is far beyond the most
        Some(Duration::try_from_secs_f64(*seconds).unwrap_or(MAX_ASK_TIMEOUT))
    } else {
        None
    };
    let wrong = || reader.shape("\"timeout\" of \"ask\" is a number of seconds above 0");
    let seconds = seconds.filter(|seconds| !seconds.is_zero()).ok_or_else(wrong)?;
    Ok(Some(seconds.min(MAX_ASK_TIMEOUT)))
}

#[derive(Serialize)]
struct Line<'a> {
    answer: Answer<'a>,
}

#[derive(Serialize)]
struct Answer<'a> {
    id: &'a str,
    call: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Spoken>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<Told<'a>>,
}

/// A fault as executables are told of it.
#[derive(Serialize)]
struct Told<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Spoken>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

/// The line that answers an ask of a call, with its end, in at most `limit` bytes: an answer that does not fit, or that JSON has no
/// form for, is the fault that says so.
pub fn answer_line(call: u64, id: &str, answer: &Result<Raw, Fault>, limit: usize) -> Bytes {
    let fault = match answer {
        Ok(result) => match write(call, id, Ok(result)) {
            Ok(line) if line.len() <= limit => return line,
            Ok(line) => {
                let len = line.len();
                let text = format!(
                    "the answer is a line of {len} bytes, and limits.line of the procedure is {limit}; it was done all the same"
                );
                Fault::new(FaultCode::TooLarge, text)
            }
            Err(error) => Fault::new(FaultCode::TooLarge, format!("the answer: {error}")),
        },
        Err(fault) => fault.clone(),
    };
    match write(call, id, Err(&fault)) {
        Ok(line) if line.len() <= limit => line,
        // its code says what is to be done
        Ok(_) | Err(_) => {
            let bare = Fault::new(fault.code, "the message of the fault does not fit limits.line");
            write(call, id, Err(&bare)).unwrap_or_default()
        }
    }
}

fn write(call: u64, id: &str, answer: Result<&Raw, &Fault>) -> Result<Bytes, Unspeakable> {
    let answer = match answer {
        Ok(result) => Answer { id, call, result: Some(Spoken::of(result)?), fault: None },
        Err(fault) => {
            let told = Told {
                code: fault.code.as_str(),
                message: &fault.message,
                class: fault.class.as_deref(),
                data: fault.data.as_ref().map(Spoken::of).transpose()?,
                retry_after_ms: fault.retry_after_ms,
            };
            Answer { id, call, result: None, fault: Some(told) }
        }
    };
    let mut text = serde_json::to_vec(&Line { answer }).map_err(|_error| Unspeakable::new("an answer"))?;
    text.push(b'\n');
    Ok(Bytes::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::RawMap;

    fn line(answer: Result<Raw, Fault>, limit: usize) -> String {
        String::from_utf8(answer_line(7, "a\"1", &answer, limit).to_vec()).unwrap()
    }

    #[test]
    fn an_answer_is_one_line_that_names_the_ask_and_the_call() {
        let result = RawMap::new().text("job", "j\n1").bin("b", &[1]).finish();
        assert_eq!(
            line(Ok(result), 1000),
            concat!(r#"{"answer":{"id":"a\"1","call":7,"result":{"job":"j\n1","b":{"$b64":"AQ=="}}}}"#, "\n")
        );
        assert_eq!(
            line(Ok(Raw::nil()), 1000),
            concat!(r#"{"answer":{"id":"a\"1","call":7,"result":null}}"#, "\n")
        );
        let mut fault = Fault::new(FaultCode::Failed, "no").with_data(Raw::text("d"));
        fault.class = Some("E".to_owned());
        fault.retry_after_ms = Some(5);
        assert_eq!(
            line(Err(fault), 1000),
            concat!(
                r#"{"answer":{"id":"a\"1","call":7,"fault":{"code":"failed","message":"no","class":"E","data":"d","retry_after_ms":5}}}"#,
                "\n"
            )
        );
    }

    #[test]
    fn an_answer_that_cannot_be_a_line_is_a_fault() {
        let large = line(Ok(Raw::text(&"x".repeat(300))), 300);
        assert!(large.contains(r#""code":"too_large""#) && large.len() <= 300, "{large}");
        let nan = line(Ok(Raw::encode(&f64::NAN).unwrap()), 1000);
        assert!(nan.contains("too_large") && nan.contains("not finite"), "{nan}");
        let long = line(Err(Fault::new(FaultCode::Forbidden, "y".repeat(300))), 200);
        assert!(long.contains("forbidden") && long.len() <= 200, "{long}");
        let data = Fault::new(FaultCode::Failed, "m").with_data(Raw::encode(&f64::NAN).unwrap());
        assert!(line(Err(data), 1000).contains(r#""code":"failed""#));
        let exact = line(Ok(Raw::text("fits")), 1000).len();
        assert!(line(Ok(Raw::text("fits")), exact).contains("fits"));
        assert!(line(Ok(Raw::text("fits")), exact - 1).contains("too_large"));
    }
}
