//! Changes of what is offered, one at a time: each takes a thread, and one that hangs on a network file system must not take more
//! along. Who has to wait does so without a thread, and not without an end.

use std::sync::Arc;
use std::time::Duration;

use redpoll_common::api::ReloadAnswer;
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_exec::telling::no_room;
use tokio::time::timeout;

use super::Offered;

/// How long a change waits for those before it.
const TURN_WAIT: Duration = Duration::from_secs(30);

impl Offered {
    /// The same as [`reload`](Self::reload), on a thread for such, after what else changes the procedures.
    ///
    /// # Errors
    /// `overloaded`: something before it takes too long.
    pub async fn reload_in_turn(self: &Arc<Self>) -> Result<ReloadAnswer, Fault> {
        let asked = self.reloads_begun();
        self.in_turn(move |offered| offered.reload_asked(asked)).await
    }

    /// Changes something, in its turn. Who does not wait for the end has begun it all the same, and nobody else begins before that.
    pub(super) async fn in_turn<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let turn = match &self.changing {
            Some(changing) => Some(timeout(TURN_WAIT, changing.turn.clone().acquire_owned()).await),
            None => None,
        };
        if let Some(Err(_late)) = &turn {
            return Err(no_room(format!(
                "another change of the procedures has gone on for {} s, and nothing changed; does a network file system hang?",
                TURN_WAIT.as_secs()
            )));
        }
        let offered = self.clone();
        let changing = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            change(&offered)
        });
        changing.await.map_err(|_panic| Fault::new(FaultCode::Internal, "it ended unexpectedly"))
    }
}
