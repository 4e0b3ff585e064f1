//! Events that executables emit with a line of their own, on their way to whoever knows where they go.

use redpoll_common::wire::Raw;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tracing::warn;

/// Takes events of executables, and never waits. One that leads nowhere says so in the log.
#[derive(Debug, Clone, Default)]
pub struct Emitter(Option<mpsc::Sender<(String, Raw)>>);

impl Emitter {
    /// Hands events to whoever receives them; what does not fit into the channel is lost, with a line in the log.
    pub fn new(events: mpsc::Sender<(String, Raw)>) -> Self {
        Self(Some(events))
    }

    /// Emits it soon. What cannot be is in the log.
    pub(crate) fn emit(&self, kind: String, data: Raw) {
        let Some(sender) = &self.0 else {
            return warn!(r#type = ?kind, "an event of a procedure is lost: procedures emit none here");
        };
        if let Err(error) = sender.try_send((kind, data)) {
            let (TrySendError::Full((kind, _)) | TrySendError::Closed((kind, _))) = error;
            warn!(r#type = ?kind, "an event of a procedure is lost: too many wait, or the agent stops");
        }
    }
}
