//! Writes a program's standard input.

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;
use tokio::sync::watch;

use super::output::Phase;

/// Writes all input and closes the pipe. Ends early, without complaint, when the program does not want to read
/// it or has ended: programs may ignore their input.
pub(super) async fn feed(pipe: Option<ChildStdin>, input: Option<Bytes>, mut phase: watch::Receiver<Phase>) {
    let (Some(mut pipe), Some(input)) = (pipe, input) else { return };
    tokio::select! {
        biased; // the order is of no importance: both ways end the same
        written = pipe.write_all(&input) => {
            if let Err(error) = written {
                tracing::debug!(%error, "the program did not read all of its input");
            }
        }
        _ = phase.wait_for(|phase| !matches!(phase, Phase::Running)) => {}
    }
}
