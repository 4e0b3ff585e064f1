//! What the manager is told of what is offered: the digest of the list, and the list when it asks.

use std::sync::Arc;
use std::time::Duration;

use redpoll_common::api::notice;
use redpoll_common::wire::{Fault, FaultCode, Fields, Raw};
use redpoll_net::listing::{Listing, announcement};
use redpoll_net::service::Running;
use redpoll_net::{CallContext, Peer, Registry};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::error;

use super::Offered;

/// How long the manager may take to read an announcement.
const PATIENCE: Duration = Duration::from_secs(10);

/// The list of a registry; an empty one should it have no form on the wire.
pub(super) fn list(registry: &Registry) -> Arc<Listing> {
    let listing = Listing::of(registry).or_else(|error| {
        error!(%error, "the procedures cannot be listed for the manager");
        Listing::of(&Registry::new())
    });
    Arc::new(listing.unwrap_or_default())
}

impl Offered {
    /// Answers `rp.agent.procedures`: a page of the list.
    pub(super) fn list(&self, call: &CallContext) -> Running {
        let after = Fields::of(&call.kwargs).and_then(|fields| fields.opt_u64("after"));
        let answer = match after {
            Ok(after) => {
                let after = usize::try_from(after.unwrap_or(0)).unwrap_or(usize::MAX);
                Ok(self.listing.borrow().page(after, call.output.value_limit()))
            }
            Err(error) => Err(Fault::new(FaultCode::BadArguments, error.to_string())),
        };
        Running { answer: Box::pin(std::future::ready::<Result<Raw, Fault>>(answer)), graceful: false }
    }

    /// Tells each session, at its beginning and after each change, which list holds. Goes on as long as there are sessions.
    pub fn announce(
        &self,
        mut sessions: watch::Receiver<Option<Peer>>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let mut listing = self.listing.subscribe();
        async move {
            loop {
                let peer = sessions.borrow_and_update().clone();
                let digest = *listing.borrow_and_update().digest();
                if let Some(peer) = peer.filter(|peer| !peer.terms().is_oldest()) {
                    // one that is not read in time ends with its session, and the next one is told
                    let told = peer.notify(notice::AGENT_PROCEDURES, announcement(&digest));
                    let _told = timeout(PATIENCE, told).await;
                }
                let gone = tokio::select! {
                    changed = sessions.changed() => changed.is_err(),
                    changed = listing.changed() => changed.is_err(),
                };
                if gone {
                    return;
                }
            }
        }
    }
}
