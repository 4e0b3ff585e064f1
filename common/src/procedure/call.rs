//! What the agent writes to the standard input of an executable.

use bytes::Bytes;
use serde::Serialize;

use super::convert::{Spoken, Unspeakable};
use crate::wire::Raw;

/// Bytes of a line that asks for a run. A text of control characters is six times as long in JSON, and a worker that reads lines of this
/// length at most would end by one that is longer.
pub const MAX_CALL_LINE: usize = 64 * 1024 * 1024;

/// Why there is no line for a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallLineError {
    /// An argument has no form in JSON, or that of another.
    #[error(transparent)]
    Unspeakable(#[from] Unspeakable),
    /// It is too long.
    #[error(
        "the call is a line of {len} bytes as JSON, and an executable is given at most {max}; nothing ran"
    )]
    TooLong {
        /// How long it is, with its end.
        len: usize,
        /// How long it may be.
        max: usize,
    },
}

/// The line that asks for a run.
#[derive(Debug, Clone, Copy)]
pub struct CallLine<'a> {
    /// The number of the call: everything that is said about it names it.
    pub call: u64,
    /// The name of the procedure.
    pub procedure: &'a str,
    /// Its version.
    pub version: u32,
    /// Positional arguments.
    pub args: &'a Raw,
    /// Named arguments.
    pub kwargs: &'a Raw,
    /// The id of the job, if it is a run of one.
    pub job: Option<&'a str>,
    /// Which try of it.
    pub attempt: Option<u32>,
    /// The caller's own words.
    pub info: Option<&'a Raw>,
    /// Who wants it, if that is known.
    pub operator: Option<&'a str>,
    /// What that operator is, if the manager says.
    pub roles: Option<&'a [String]>,
}

#[derive(Serialize)]
struct Line<'a> {
    call: u64,
    procedure: &'a str,
    version: u32,
    args: Spoken,
    kwargs: Spoken,
    job: Option<&'a str>,
    attempt: Option<u32>,
    info: Option<Spoken>,
    operator: Option<&'a str>,
    // absent, as older agents write it
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<&'a [String]>,
}

impl CallLine<'_> {
    /// The line, with its end, in at most so many bytes.
    ///
    /// # Errors
    /// [`CallLineError`]: an argument has no form in JSON, or that of another, or it is all too long.
    pub fn write(&self, max: usize) -> Result<Bytes, CallLineError> {
        let Self { call, procedure, version, job, attempt, operator, roles, .. } = *self;
        let line = Line {
            call,
            procedure,
            version,
            args: Spoken::of_arguments(self.args)?,
            kwargs: Spoken::of_arguments(self.kwargs)?,
            job,
            attempt,
            info: self.info.map(Spoken::of).transpose()?,
            operator,
            roles,
        };
        let mut text = serde_json::to_vec(&line).map_err(|_error| Unspeakable::new("an argument"))?;
        text.push(b'\n');
        match text.len() {
            len if len > max => Err(CallLineError::TooLong { len, max }),
            _ => Ok(Bytes::from(text)),
        }
    }
}

/// The line that asks a worker to end a call, with its end.
pub fn cancel_line(call: u64) -> Bytes {
    Bytes::from(format!("{{\"cancel\":{call}}}\n"))
}

/// The line that asks a free worker whether it is well.
pub fn ping_line(ping: u64) -> Bytes {
    Bytes::from(format!("{{\"ping\":{ping}}}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::RawMap;

    #[test]
    fn a_call_is_one_line_that_says_everything() {
        let (args, kwargs) = (Raw::encode(&["a\nb"]).unwrap(), RawMap::new().bin("b", &[1]).finish());
        let line = CallLine {
            call: 7,
            procedure: "web.deploy",
            version: 2,
            args: &args,
            kwargs: &kwargs,
            job: Some("j1"),
            attempt: Some(3),
            info: Some(&Raw::text("me")),
            operator: Some("ann"),
            roles: Some(&["deploy".to_owned()]),
        };
        assert_eq!(
            line.write(MAX_CALL_LINE).unwrap(),
            concat!(
                r#"{"call":7,"procedure":"web.deploy","version":2,"args":["a\nb"],"kwargs":{"b":{"$b64":"AQ=="}},"#,
                r#""job":"j1","attempt":3,"info":"me","operator":"ann","roles":["deploy"]}"#,
                "\n"
            )
        );
        let call = CallLine { job: None, attempt: None, info: None, operator: None, roles: None, ..line };
        let text = String::from_utf8(call.write(MAX_CALL_LINE).unwrap().to_vec()).unwrap();
        assert!(text.ends_with("\"job\":null,\"attempt\":null,\"info\":null,\"operator\":null}\n"), "{text}");
        assert_eq!(cancel_line(7), "{\"cancel\":7}\n");
        assert_eq!(ping_line(7), "{\"ping\":7}\n");
    }

    #[test]
    fn a_line_that_is_too_long_is_none_and_control_characters_make_it_long() {
        let (args, kwargs) = (Raw::encode(&["\u{1}".repeat(100)]).unwrap(), Raw::empty_map());
        let line = CallLine {
            call: 7,
            procedure: "web.deploy",
            version: 2,
            args: &args,
            kwargs: &kwargs,
            job: None,
            attempt: None,
            info: None,
            operator: None,
            roles: None,
        };
        let len = line.write(1000).unwrap().len();
        assert!(len > 600, "{len}");
        assert!(line.write(len).is_ok());
        let error = line.write(len - 1).unwrap_err();
        assert_eq!(error, CallLineError::TooLong { len, max: len - 1 });
        assert!(error.to_string().contains(&format!("at most {}; nothing ran", len - 1)), "{error}");
    }
}
