//! What the manager is told of what is offered: the digests of the list and of the policy, and the list when it asks.

use std::sync::Arc;

use redpoll_common::api::notice;
use redpoll_common::wire::{Fault, FaultCode, Fields, Raw};
use redpoll_net::listing::{Announcement, Listing};
use redpoll_net::service::Running;
use redpoll_net::{CallContext, Peer};
use tokio::sync::watch;

use super::Offered;
use crate::gate::Gate;

/// What the manager is told of.
#[derive(Debug)]
pub(super) struct Told {
    /// What is offered.
    listing: Arc<Listing>,
    /// The digest of the policy that holds.
    policy: String,
}

impl Told {
    pub(super) fn new(listing: Arc<Listing>, gate: &Gate) -> Self {
        Self { listing, policy: gate.digest() }
    }

    fn announcement(&self) -> Announcement {
        Announcement { digest: *self.listing.digest(), policy: Some(self.policy.clone()) }
    }
}

impl Offered {
    /// Answers `rp.agent.procedures`: a page of the list.
    pub(super) fn list(&self, call: &CallContext) -> Running {
        let after = Fields::of(&call.kwargs).and_then(|fields| fields.opt_u64("after"));
        let answer = match after {
            Ok(after) => {
                let after = usize::try_from(after.unwrap_or(0)).unwrap_or(usize::MAX);
                Ok(self.told.borrow().listing.page(after, call.output.value_limit()))
            }
            Err(error) => Err(Fault::new(FaultCode::BadArguments, error.to_string())),
        };
        Running { answer: Box::pin(std::future::ready::<Result<Raw, Fault>>(answer)), graceful: false }
    }

    /// Has the manager told what holds from here on: the policy, and another list if there is one.
    pub(super) fn tell(&self, listing: Option<Arc<Listing>>) {
        let policy = self.gate.digest();
        self.told.send_if_modified(|told| {
            let listing = listing.unwrap_or_else(|| told.listing.clone());
            let differs = *listing != *told.listing || policy != told.policy;
            *told = Told { listing, policy };
            differs
        });
    }

    /// Tells each session, at its beginning and after each change, which list and which policy hold. Goes on as long as there are
    /// sessions.
    pub fn announce(
        &self,
        mut sessions: watch::Receiver<Option<Peer>>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let mut told = self.told.subscribe();
        async move {
            loop {
                let peer = sessions.borrow_and_update().clone();
                let announcement = told.borrow_and_update().announcement();
                let telling = async {
                    if let Some(peer) = peer.filter(|peer| !peer.terms().is_oldest()) {
                        // an error means that the session has ended, and the next one is told
                        let _told = peer.notify(notice::AGENT_PROCEDURES, announcement.write()).await;
                    }
                    std::future::pending().await
                };
                let gone = tokio::select! {
                    biased; // what waits for a slow manager gives way to what is newer
                    changed = sessions.changed() => changed.is_err(),
                    changed = told.changed() => changed.is_err(),
                    never = telling => never,
                };
                if gone {
                    return;
                }
            }
        }
    }
}
