//! How a program's streams and failures are told to a caller.

use redpoll_common::job::ItemKind;
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_net::service::Stop;
use tokio::sync::oneshot;

use crate::exec::{DRAIN, ExecError, StreamName};

/// How soon what found no room may be tried again.
const RETRY_MS: u64 = 5_000;

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

/// The fault of what gave a result, after it was ended at a time limit.
pub fn given_late(fault: Fault) -> Fault {
    Fault {
        message: format!("{}; it gave a result after that, which does not count", fault.message),
        ..fault
    }
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
    if error.is_passing() {
        return no_room(format!("{text}; nothing ran"));
    }
    let mut fault = Fault::new(FaultCode::Failed, text);
    fault.class = Some("SpawnError".to_owned());
    fault
}

/// The fault of what there is no room for now: a job is put back, a caller may try again.
pub fn no_room(text: String) -> Fault {
    Fault { retry_after_ms: Some(RETRY_MS), ..Fault::new(FaultCode::Overloaded, text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_has_no_room_for_may_be_tried_again_and_what_cannot_be_started_not() {
        use rustix::io::Errno;
        let of = |source: std::io::Error| not_started(&ExecError::System { program: "p".to_owned(), source });
        for errno in [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM] {
            let fault = of(errno.into());
            assert_eq!((fault.code.clone(), fault.retry_after_ms), (FaultCode::Overloaded, Some(RETRY_MS)));
            assert!(fault.message.ends_with("; nothing ran"), "{fault}");
        }
        assert_eq!(of(Errno::IO.into()).code, FaultCode::Failed);
        assert_eq!(of(std::io::Error::other("EMFILE")).code, FaultCode::Failed);
    }

    #[test]
    fn a_fault_says_how_many_processes_go_on_and_nothing_when_none_does() {
        let said = |left| outlived(Fault::new(FaultCode::Cancelled, "cancelled"), left).message;
        assert_eq!(said(0), "cancelled");
        assert_eq!(said(1), "cancelled; a process of it has outlived SIGKILL");
        assert_eq!(said(3), "cancelled; 3 processes of it have outlived SIGKILL");
    }
}
