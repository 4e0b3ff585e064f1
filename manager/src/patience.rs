//! How long the steps of a stop may take. A second signal is heard during all of them, and cuts each short.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::{Fuse, FusedFuture as _, FutureExt as _};
use tokio::time::{sleep, timeout};

/// What a step has once a second signal has come.
const HURRIED: Duration = Duration::from_secs(1);

/// The time for one step after the other.
#[derive(Debug)]
pub(crate) struct Patience<H> {
    hurry: Pin<Box<Fuse<H>>>,
}

impl<H: Future<Output = ()>> Patience<H> {
    /// Patience until `hurry` ends.
    pub(crate) fn until(hurry: H) -> Self {
        Self { hurry: Box::pin(hurry.fuse()) }
    }

    /// Waits for what may go on until a second signal, but no longer than `within`. `None`: it is left as it is.
    pub(crate) async fn first<T>(&mut self, within: Duration, step: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = step => Some(done),
            () = Self::heard(&mut self.hurry) => None,
            () = sleep(within) => None,
        }
    }

    /// Waits for what has to be done before the end, `within` at most, and a second at most from a second signal on. `None`: it is left
    /// as it is.
    pub(crate) async fn step<T>(&mut self, within: Duration, step: impl Future<Output = T>) -> Option<T> {
        let mut step = std::pin::pin!(step);
        if !self.hurry.is_terminated() {
            tokio::select! {
                biased;
                done = &mut step => return Some(done),
                () = Self::heard(&mut self.hurry) => {}
                () = sleep(within) => return None,
            }
        }
        timeout(HURRIED, step).await.ok()
    }

    async fn heard(hurry: &mut Pin<Box<Fuse<H>>>) {
        if hurry.is_terminated() {
            pending::<()>().await;
        }
        hurry.as_mut().await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use tokio::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn without_a_second_signal_each_step_has_its_time() {
        let mut patience = Patience::until(pending());
        let began = Instant::now();
        assert_eq!(patience.first(LONG, ready(7)).await, Some(7));
        assert_eq!(patience.first(LONG, pending::<()>()).await, None);
        assert_eq!(patience.step(LONG, pending::<()>()).await, None);
        assert_eq!(patience.step(LONG, ready(8)).await, Some(8));
        assert_eq!(began.elapsed(), 2 * LONG);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_is_heard_in_every_step_and_cuts_those_after_it_short() {
        let mut patience = Patience::until(sleep(Duration::from_secs(7)));
        let began = Instant::now();
        assert_eq!(patience.first(LONG, pending::<()>()).await, None);
        assert_eq!(patience.step(LONG, pending::<()>()).await, None);
        assert_eq!(began.elapsed(), Duration::from_secs(8), "2 s of the step, and one");
        for _ in 0..3 {
            assert_eq!(patience.step(LONG, pending::<()>()).await, None);
        }
        assert_eq!(began.elapsed(), Duration::from_secs(11));
        assert_eq!(patience.step(LONG, sleep(Duration::from_millis(10))).await, Some(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_go_on_until_a_second_signal_ends_with_it() {
        let mut patience = Patience::until(sleep(Duration::from_secs(2)));
        let began = Instant::now();
        assert_eq!(patience.first(LONG, pending::<()>()).await, None);
        assert_eq!(began.elapsed(), Duration::from_secs(2));
    }
}
