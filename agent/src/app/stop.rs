//! How an agent stops: what runs may finish, what does not is ended, and the manager hears of it. A second signal hurries all of it.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{FusedFuture as _, FutureExt as _};
use redpoll_common::api::notice;
use redpoll_common::wire::{Bye, ByeCode, Raw};
use redpoll_net::Peer;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::Serving;
use crate::exec::programs;
use crate::jobs::Status;

/// How long the session has to end after the goodbye.
const FAREWELL: Duration = Duration::from_secs(5);
/// The same, and what a run has between TERM and KILL, after a second signal.
const HURRIED: Last = Last {
    grace: Duration::from_millis(500),
    farewell: Duration::from_secs(1),
    programs: Duration::from_secs(1),
};
/// How long a worker has, beside its grace, to end because its input does.
const AFTER_INPUT: Duration = Duration::from_secs(1);

/// How much time there is when what runs is ended.
#[derive(Debug, Clone, Copy)]
struct Last {
    /// Between TERM and KILL.
    grace: Duration,
    /// For each of what follows: records, the goodbye, programs that are killed.
    farewell: Duration,
    /// For the programs of calls and workers, from TERM on.
    programs: Duration,
}

impl Last {
    /// Nobody is in a hurry: what ends has its grace.
    fn within(grace: Duration) -> Self {
        let programs = grace.saturating_add(AFTER_INPUT).saturating_add(FAREWELL);
        Self { grace, farewell: FAREWELL, programs }
    }
}

impl Serving {
    /// Stops: nothing new is run, what runs may finish until `drain_timeout` or `hurry`, then goodbye.
    pub(super) async fn drain(&self, tracker: &TaskTracker, hurry: impl Future<Output = ()>) {
        self.service.start_draining();
        self.recurring.drain();
        self.jobs.drain().await;
        let within = self.config.agent.drain_timeout;
        let (calls, runs) = (self.service.running(), self.jobs.status().running);
        info!(running = calls, runs, ?within, "stopping");
        if self.jobs.status().no_room {
            warn!(
                "the disk of the spool has no room: what is to be recorded is waited for as long as the stop may take"
            );
        }
        let peer = self.link.present();
        let bye = Bye::new(ByeCode::ShuttingDown, "the agent is stopping");
        let finished = async {
            if let Some(peer) = peer.as_ref().filter(|peer| !peer.terms().is_oldest()) {
                let _gone = peer.notify(notice::AGENT_DRAINING, Raw::nil()).await;
            }
            self.jobs.until(|status| status.running == 0 && status.settled).await;
            self.recurring.idle().await;
            let Some(peer) = &peer else { return };
            self.told(FAREWELL).await;
            self.jobs.leave().await;
            peer.finish(bye.clone());
            peer.closed().await;
        };
        let mut last = Last::within(self.config.limits.grace);
        let mut hurry = pin!(hurry.fuse());
        tokio::select! {
            biased;
            () = finished => {}
            () = &mut hurry => {
                last = HURRIED;
                warn!(running = self.service.running(), "stopping now although calls are running");
            }
            () = tokio::time::sleep(within) => {
                warn!(running = self.service.running(), "stopping although calls are running");
            }
        }
        tokio::select! {
            biased;
            () = self.end_runs(last) => {}
            () = &mut hurry, if !hurry.is_terminated() => {
                last = HURRIED;
                warn!("stopping now although runs are given time to end");
                self.end_runs(last).await;
            }
        }
        self.stop_workers.cancel();
        let goodbye = || peer.as_ref().map(|peer| (peer, bye.clone()));
        let stopped = tokio::select! {
            biased;
            stopped = self.leave(last, goodbye(), tracker) => stopped,
            () = &mut hurry, if !hurry.is_terminated() => {
                warn!("stopping now although the goodbye is not over");
                self.leave(HURRIED, goodbye(), tracker).await
            }
        };
        let _late = tokio::time::timeout(HURRIED.farewell, self.leftovers.flush()).await;
        if stopped {
            info!("stopped");
        } else {
            warn!(left = tracker.len(), "stopped with tasks or programs still running");
        }
    }

    /// Closes the spool and the session, and says whether all tasks and programs have ended then. May be dropped and begun again.
    async fn leave(&self, last: Last, goodbye: Option<(&Peer, Bye)>, tracker: &TaskTracker) -> bool {
        self.close_jobs(last.farewell).await;
        if let Some((peer, bye)) = goodbye {
            peer.close(bye);
        }
        tracker.close();
        let ended = async {
            tracker.wait().await;
            programs::settled().await;
        };
        tokio::time::timeout(last.programs, ended).await.is_ok()
    }

    /// Ends what is left of runs and of recurring procedures, at the same time, each with a record of it.
    async fn end_runs(&self, last: Last) {
        let left = self.jobs.status().running;
        if left > 0 {
            warn!(
                runs = left,
                "ending what runs for jobs; it is recorded, and told the manager now or in the next session"
            );
        }
        // what a killed process still needs to disappear, and the disk to take the record
        let patience = last.grace.saturating_add(last.farewell);
        let recurring = tokio::time::timeout(patience, self.recurring.end(last.grace));
        let jobs = tokio::time::timeout(patience, self.jobs.end(last.grace));
        let (recurring, jobs) = tokio::join!(recurring, jobs);
        if recurring.is_err() {
            warn!("recurring procedures are not recorded as ended: they will be unknown");
        }
        if jobs.is_err() {
            let Status { running: runs, no_room, .. } = self.jobs.status();
            warn!(runs, no_room, "runs are not recorded as ended: they will be unknown");
        }
    }

    /// Tells the manager how runs ended, if it listens, and closes the spool.
    async fn close_jobs(&self, farewell: Duration) {
        self.told(HURRIED.farewell).await;
        if tokio::time::timeout(farewell, self.jobs.close()).await.is_err() {
            warn!(no_room = self.jobs.status().no_room, "the spool does not close in time");
        }
    }

    /// Waits until the manager knows how all runs ended, if it takes that now.
    async fn told(&self, within: Duration) {
        let Some(peer) = self.link.present() else { return };
        tokio::select! {
            biased; // the order is of no importance
            () = self.jobs.until(|status| status.untold == 0 && status.settled) => {}
            _ended = peer.closed() => {}
            () = tokio::time::sleep(within) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_calls_and_workers_have_to_end_holds_their_grace() {
        for grace in [Duration::ZERO, Duration::from_secs(10), Duration::from_secs(600)] {
            let last = Last::within(grace);
            assert!(last.programs >= grace + AFTER_INPUT + FAREWELL, "{last:?}");
        }
        assert_eq!(HURRIED.programs, HURRIED.farewell);
    }
}
