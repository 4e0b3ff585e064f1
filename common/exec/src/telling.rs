//! How a program's streams and failures are told to a caller.

use redpoll_common::job::ItemKind;
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_net::service::Stop;
use tokio::sync::oneshot;

use crate::exec::{DRAIN, ExecError, StreamName};

/// Completes when the program has ended and a caller who stopped the call did not take its last output either.
pub async fn given_up(ended: oneshot::Receiver<()>, stop: &Stop) {
    ended.await.ok();
    stop.stopped().await;
    tokio::time::sleep(DRAIN).await;
}

/// What a piece of a stream is among the items of a job.
pub fn kind(stream: StreamName) -> ItemKind {
    match stream {
        StreamName::Stdout => ItemKind::Stdout,
        StreamName::Stderr => ItemKind::Stderr,
    }
}

/// Says of the fault of a run that was stopped how many of its processes outlived SIGKILL, if any did.
pub fn outlived(mut fault: Fault, left: usize) -> Fault {
    match left {
        0 => {}
        1 => fault.message.push_str("; a process of it has outlived SIGKILL"),
        left => fault.message.push_str(&format!("; {left} processes of it have outlived SIGKILL")),
    }
    fault
}

/// The fault of a program that could not be started.
pub fn not_started(error: &ExecError) -> Fault {
    if error.is_bad_request() {
        return Fault::new(FaultCode::BadArguments, error.to_string());
    }
    let mut text = error.to_string();
    if let Some(cause) = std::error::Error::source(error) {
        text = format!("{text}: {cause}");
    }
    let mut fault = Fault::new(FaultCode::Failed, text);
    fault.class = Some("SpawnError".to_owned());
    fault
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_how_many_processes_go_on_and_nothing_when_none_does() {
        let said = |left| outlived(Fault::new(FaultCode::Cancelled, "cancelled"), left).message;
        assert_eq!(said(0), "cancelled");
        assert_eq!(said(1), "cancelled; a process of it has outlived SIGKILL");
        assert_eq!(said(3), "cancelled; 3 processes of it have outlived SIGKILL");
    }
}
