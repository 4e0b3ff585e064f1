//! Looks at the end of the history when the manager starts. What is wrong with it does no harm to jobs: it is told, and the manager goes on.

use redpoll_net::dial::chain;
use tracing::{error, warn};

use crate::store::Store;
use crate::store::chain::Begin;

/// How many of the newest events are looked at: a few milliseconds of a start.
const NEWEST: u64 = 300;

/// What is wrong with the newest events, if anything is.
pub(super) async fn newest(store: &dyn Store) -> Option<String> {
    let found = match store.verify(Begin::Newest(NEWEST), None, usize::MAX).await {
        Ok(found) => found,
        Err(unreadable) => {
            warn!(error = %chain(&unreadable), "the history was not checked");
            return None;
        }
    };
    let flaw = found.flaw?.to_string();
    error!(
        flaw,
        "the history of events is not as it was written: somebody or something changed the store. \
         help: `rpctl events verify` looks at all of it; jobs are not affected"
    );
    Some(flaw)
}
