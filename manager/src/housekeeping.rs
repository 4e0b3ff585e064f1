//! What is done once a minute: lines that were left out of the log are counted there, so that the end of a burst
//! shows too. Once a day the log is told if the manager's own certificate ends soon.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redpoll_common::throttle::LOG_WINDOW;
use redpoll_net::expiry;
use redpoll_net::tls::TlsServer;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::state::Manager;

/// How often the manager's own certificate is looked at.
const LOOK_AT_CERTIFICATE: Duration = Duration::from_secs(86_400);

/// Runs until told to stop.
pub async fn housekeeping(manager: Arc<Manager>, server: Arc<TlsServer>, stop: CancellationToken) {
    let mut looked: Option<Instant> = None;
    loop {
        if looked.is_none_or(|at| at.elapsed() >= LOOK_AT_CERTIFICATE) {
            looked = Some(Instant::now());
            expiry::warn_if_soon("this manager", server.own_not_after());
        }
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
