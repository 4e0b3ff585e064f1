//! What the failure of a connection means for its session.

use redpoll_common::session::{CloseReason, chain};

use crate::transport::TransportError;

pub(super) fn lost(error: &TransportError) -> CloseReason {
    match error {
        // a process that was killed: its kernel ends the connection for it
        TransportError::Reset { source } if source.kind() == std::io::ErrorKind::UnexpectedEof => {
            CloseReason::Ended
        }
        TransportError::Reset { source } => CloseReason::Lost(source.to_string()),
        other @ (TransportError::Unreachable { .. }
        | TransportError::Resolve { .. }
        | TransportError::Timeout { .. }
        | TransportError::Certificate { .. }
        | TransportError::Refused { .. }
        | TransportError::Tls { .. }
        | TransportError::Frame(_)
        | TransportError::Closed
        | TransportError::Io { .. }) => CloseReason::Lost(chain(other)),
    }
}
