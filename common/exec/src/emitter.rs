//! Events that executables emit with a line of their own, on their way to whoever knows where they go.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redpoll_common::api::events::{MAX_EMIT_DATA, MAX_EMIT_TYPE};
use redpoll_common::wire::Raw;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;
use tracing::warn;

/// How often the log says that events are lost: a program that emits in a loop must not fill a disk with that.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// Takes events of executables, and never waits. One that leads nowhere says so in the log.
#[derive(Debug, Clone, Default)]
pub struct Emitter {
    events: Option<mpsc::Sender<(String, Raw)>>,
    losses: Losses,
}

impl Emitter {
    /// Hands events to whoever receives them; what does not fit into the channel is lost, with a line in the log. `losses` are those of
    /// the receiver as well.
    pub fn new(events: mpsc::Sender<(String, Raw)>, losses: Losses) -> Self {
        Self { events: Some(events), losses }
    }

    /// Emits it soon. What cannot be is in the log.
    pub(crate) fn emit(&self, kind: String, data: Raw) {
        let Some(sender) = &self.events else { return self.losses.lost(&kind, &"procedures emit none here") };
        // the manager takes no more either; what waits here must not be large
        if kind.len() > MAX_EMIT_TYPE || data.len() > MAX_EMIT_DATA {
            let sizes = (kind.len(), data.len());
            let text =
                format!("its type and data have {sizes:?} bytes of ({MAX_EMIT_TYPE}, {MAX_EMIT_DATA})");
            return self.losses.lost(&kind, &text);
        }
        if let Err(error) = sender.try_send((kind, data)) {
            let (TrySendError::Full((kind, _)) | TrySendError::Closed((kind, _))) = error;
            self.losses.lost(&kind, &"too many wait, or the agent stops");
        }
    }
}

/// Tells of lost events: of the first at once, then once in a while, with how many there were.
#[derive(Debug, Clone, Default)]
pub struct Losses(Arc<Mutex<Untold>>);

#[derive(Debug, Default)]
struct Untold {
    lost: u64,
    told: Option<Instant>,
}

impl Losses {
    /// One is lost.
    pub fn lost(&self, kind: &str, why: &dyn std::fmt::Display) {
        if let Some(lost) = self.count(Instant::now()) {
            let kind: String = kind.chars().take(MAX_EMIT_TYPE).collect();
            warn!(r#type = ?kind, %why, lost, "an event of a procedure is lost");
        }
    }

    /// Counts one; gives how many were lost since the log said so, when it may say so again.
    fn count(&self, now: Instant) -> Option<u64> {
        // nothing panics while it holds the lock
        let mut untold = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        untold.lost = untold.lost.saturating_add(1);
        if untold.told.is_some_and(|told| now.duration_since(told) < SAY_EVERY) {
            return None;
        }
        untold.told = Some(now);
        Some(std::mem::take(&mut untold.lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tells_of_many_losses_once_in_a_while_and_of_all_of_them() {
        let (losses, begin) = (Losses::default(), Instant::now());
        assert_eq!(losses.count(begin), Some(1), "of the first at once");
        for _ in 0..1000 {
            assert_eq!(losses.count(begin + SAY_EVERY / 2), None);
        }
        assert_eq!(losses.count(begin + SAY_EVERY), Some(1001));
    }

    #[test]
    fn what_the_manager_would_not_take_does_not_wait_here() {
        let (sender, mut events) = mpsc::channel(4);
        let emitter = Emitter::new(sender, Losses::default());
        let data = |len| Raw::encode(&"x".repeat(len)).unwrap();
        emitter.emit("disk.full".to_owned(), data(MAX_EMIT_DATA));
        emitter.emit("x".repeat(MAX_EMIT_TYPE + 1), Raw::nil());
        emitter.emit("x".repeat(MAX_EMIT_TYPE), data(100));
        assert_eq!(events.try_recv().unwrap().1.len(), data(100).len());
        assert!(events.try_recv().is_err(), "one of three is left");
    }
}
