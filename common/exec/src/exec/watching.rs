//! Waits until a program has ended, or is to be ended.

use std::pin::Pin;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::group::Group;
use super::output::Phase;
use super::{DRAIN, EndedBy, StopReason};

/// What may end the waiting of [`watch_over`].
pub(super) struct Stop<F> {
    pub(super) stop: F,
    pub(super) all_delivered: oneshot::Receiver<()>,
}

/// Waits for the program's end, or brings it about, and tells the streams how long they may still take.
pub(super) async fn watch_over<F: Future<Output = StopReason> + Send>(
    group: &mut Group,
    phase: &watch::Sender<Phase>,
    grace: Duration,
    deadline: Option<Instant>,
    waiting: Stop<F>,
) -> (EndedBy, usize) {
    let Stop { stop, all_delivered } = waiting;
    let mut stop = std::pin::pin!(stop);
    match stopped(group, stop.as_mut(), deadline).await {
        Some(reason) if group.is_running() => {
            let left_behind = group.end(grace).await;
            phase.send_replace(Phase::Abandoned { until: Instant::now() + DRAIN });
            (EndedBy::Stopped(reason), left_behind)
        }
        // it had ended, and we had not heard of it yet
        Some(_) => {
            phase.send_replace(Phase::Abandoned { until: Instant::now() + DRAIN });
            (EndedBy::Itself, 0)
        }
        None => {
            phase.send_replace(Phase::Ended { until: Instant::now() + DRAIN });
            tokio::select! {
                biased; // what is delivered already needs no stop any more
                _ = all_delivered => {}
                _ = stop => {
                    phase.send_replace(Phase::Abandoned { until: Instant::now() + DRAIN });
                }
            }
            (EndedBy::Itself, 0)
        }
    }
}

/// Waits until the program should be stopped; `None` when it has ended before.
async fn stopped<F: Future<Output = StopReason>>(
    group: &mut Group,
    stop: Pin<&mut F>,
    deadline: Option<Instant>,
) -> Option<StopReason> {
    let time_is_over = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased; // a program that has ended is not reported as stopped
        () = group.exited() => None,
        reason = stop => Some(reason),
        () = time_is_over => Some(StopReason::TimedOut),
    }
}
