//! Orders for agents that go on when nobody waits for them any more: what an agent has done by then has to be noted.

use std::sync::Arc;

use redpoll_common::wire::{Fault, FaultCode};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// Orders that may be under way. Beyond, they are refused: somebody may give them and not wait.
const PLACES: usize = 512;

/// The orders that are under way.
#[derive(Debug)]
pub struct Orders {
    tasks: TaskTracker,
    places: Arc<Semaphore>,
}

impl Default for Orders {
    fn default() -> Self {
        Self::new(PLACES)
    }
}

impl Orders {
    fn new(places: usize) -> Self {
        Self { tasks: TaskTracker::new(), places: Arc::new(Semaphore::new(places)) }
    }

    /// Carries an order out, in a task of its own.
    ///
    /// # Errors
    /// `overloaded`, when too many are under way.
    pub fn carry_out<T: Send + 'static>(
        &self,
        order: impl Future<Output = T> + Send + 'static,
    ) -> Result<JoinHandle<T>, Fault> {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let text = "too many orders for agents are under way; nothing was sent";
            return Err(Fault::new(FaultCode::Overloaded, text));
        };
        let order = async move {
            let _place = place;
            order.await
        };
        Ok(self.tasks.spawn(order.in_current_span()))
    }

    /// Waits until all have ended, when no more are given.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn so_many_are_under_way_whether_somebody_waits_for_them_or_not() {
        let (orders, end, begun) = (Orders::new(2), CancellationToken::new(), Arc::new(Semaphore::new(0)));
        let order = || {
            let (end, begun) = (end.clone(), begun.clone());
            orders.carry_out(async move {
                begun.add_permits(1);
                end.cancelled().await;
            })
        };
        let first = order().unwrap();
        drop(order().unwrap());
        let _both = begun.acquire_many(2).await.unwrap();
        assert_eq!(order().unwrap_err().code, FaultCode::Overloaded);
        end.cancel();
        first.await.unwrap();
        orders.ended().await;
        order().unwrap().await.unwrap();
    }
}
