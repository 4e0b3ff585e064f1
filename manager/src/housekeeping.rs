//! What is done once a minute: lines that were left out of the log are counted there, so that the end of a burst
//! shows too.

use std::sync::Arc;
use std::time::Instant;

use redpoll_manager_core::throttle::LOG_WINDOW;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::state::Manager;

/// Runs until told to stop.
pub async fn housekeeping(manager: Arc<Manager>, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOG_WINDOW) => {}
        }
        while let Some(((ip, what), left_out)) = manager.poll_left_out(Instant::now()) {
            let address = ip.map(|ip| ip.to_string()).unwrap_or_default();
            warn!(%address, what, left_out, "more of the same since the last line");
        }
    }
}
