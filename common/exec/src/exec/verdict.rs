//! What a helper says of the start it is there for: the first thing on the program's standard output, before the program is there.
//!
//! Nobody else writes there until the helper has become the program, so what is read first is always the helper's.

use std::io;

use rustix::io::Errno;
use tokio::io::AsyncReadExt as _;
use tokio::process::ChildStdout;

use super::{ExecError, ProcessSpec};

/// The longest reason that is read.
const MAX_REASON: u64 = 4096;

/// Everything is as it was ordered, and the helper becomes the program.
const GOES_ON: u8 = 0;
const NO_FOLDER: u8 = b'd';
const NOT_FOUND: u8 = b'n';
const NO_INTERPRETER: u8 = b'i';
const DENIED: u8 = b'p';
const NO_FORMAT: u8 = b'f';
/// With the number of what the operating system said, which tells whether it passes.
const FAILED_WITH: u8 = b'e';
/// With the reason.
const FAILED: u8 = b's';

/// Writes that the helper becomes the program now.
pub(super) fn goes_on(mut to: impl io::Write) -> io::Result<()> {
    to.write_all(&[GOES_ON])?;
    to.flush()
}

/// Writes that it does not, and why.
pub(super) fn refuses(mut to: impl io::Write, why: &ExecError) -> io::Result<()> {
    let (kind, reason) = match why {
        ExecError::Directory { source, .. } => {
            (NO_FOLDER, source.raw_os_error().unwrap_or_default().to_string())
        }
        ExecError::NotFound { .. } => (NOT_FOUND, String::new()),
        ExecError::Interpreter { .. } => (NO_INTERPRETER, String::new()),
        ExecError::Denied { .. } => (DENIED, String::new()),
        ExecError::Format { .. } => (NO_FORMAT, String::new()),
        ExecError::System { source, .. } => match Errno::from_io_error(source) {
            Some(errno) => (FAILED_WITH, errno.raw_os_error().to_string()),
            None => (FAILED, source.to_string()),
        },
        // found out before there was a helper
        ExecError::Late
        | ExecError::NoProgram
        | ExecError::Nul { .. }
        | ExecError::Variable { .. }
        | ExecError::TooLarge
        | ExecError::Slow { .. }
        | ExecError::Hang { .. }
        | ExecError::Unwatched { .. } => (FAILED, why.to_string()),
    };
    to.write_all(&[&[kind], reason.as_bytes()].concat())?;
    to.flush()
}

/// Waits for what the helper says.
pub(super) async fn hear(stdout: &mut Option<ChildStdout>, spec: &ProcessSpec) -> Result<(), ExecError> {
    let program = spec.argv.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
    let failed = |source| ExecError::System { program: program.clone(), source };
    let Some(stdout) = stdout else { return Ok(()) };
    let kind = match stdout.read_u8().await {
        Ok(GOES_ON) => return Ok(()),
        Ok(kind) => kind,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(failed(io::Error::other("the process that was to become it ended before that")));
        }
        Err(error) => return Err(failed(error)),
    };
    let mut reason = Vec::new();
    stdout.take(MAX_REASON).read_to_end(&mut reason).await.map_err(failed)?;
    let reason = String::from_utf8_lossy(&reason).into_owned();
    let numbered = |reason: String| match reason.parse() {
        Ok(number) => io::Error::from_raw_os_error(number),
        Err(_) => io::Error::other(reason),
    };
    Err(match kind {
        NO_FOLDER => {
            ExecError::Directory { cwd: spec.cwd.clone().unwrap_or_default(), source: numbered(reason) }
        }
        FAILED_WITH => failed(numbered(reason)),
        NOT_FOUND => ExecError::NotFound { program },
        NO_INTERPRETER => ExecError::Interpreter { program },
        DENIED => ExecError::Denied { program },
        NO_FORMAT => ExecError::Format { program },
        _ => failed(io::Error::other(reason)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_operating_system_said_is_told_by_its_number_and_anything_else_by_its_words() {
        let said = |source| {
            let mut to = Vec::new();
            refuses(&mut to, &ExecError::System { program: "p".into(), source }).unwrap();
            String::from_utf8(to).unwrap()
        };
        assert_eq!(said(Errno::NFILE.into()), "e23");
        assert_eq!(said(io::Error::other("its order")), "sits order");
    }
}
