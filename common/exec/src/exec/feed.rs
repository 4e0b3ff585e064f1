//! Writes a program's standard input.

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;
use tokio::sync::{mpsc, watch};

use super::output::Phase;

/// Writes all input, then what else comes until there is no more, and closes the pipe. Ends early, without complaint, when the program does not want to read
/// it or has ended: programs may ignore their input.
pub(super) async fn feed(
    pipe: Option<ChildStdin>,
    input: Option<Bytes>,
    more: Option<mpsc::Receiver<Bytes>>,
    mut phase: watch::Receiver<Phase>,
) {
    let (Some(mut pipe), Some(input)) = (pipe, input) else { return };
    tokio::select! {
        biased; // the order is of no importance: both ways end the same
        written = write(&mut pipe, &input, more) => {
            if let Err(error) = written {
                tracing::debug!(%error, "the program did not read all of its input");
            }
        }
        _ = phase.wait_for(|phase| !matches!(phase, Phase::Running)) => {}
    }
}

async fn write(
    pipe: &mut ChildStdin,
    input: &[u8],
    more: Option<mpsc::Receiver<Bytes>>,
) -> std::io::Result<()> {
    pipe.write_all(input).await?;
    let Some(mut more) = more else { return Ok(()) };
    while let Some(input) = more.recv().await {
        pipe.write_all(&input).await?;
    }
    Ok(())
}
