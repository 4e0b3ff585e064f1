//! When the manager is told that an offer was accepted: together with the end of the run, if that is known at once.
//!
//! An accept is true as soon as the run is on disk. A run that takes microseconds has ended before the accept could leave, and its
//! end is on its way to the disk; what leaves with it costs neither side anything. No accept waits for more than one commit.

use tokio::task::yield_now;

use super::runner::{BATCH, Runner};

impl Runner {
    /// Tells what was accepted, but not before a run that is over at once could say so: its accept leaves with its end, in one
    /// write, when the commit that has begun is durable. What takes longer is told now.
    pub(super) async fn settle(&mut self) {
        if self.accepts.is_empty() {
            return;
        }
        if self.commit.is_none() {
            // the task of the run was made in this turn, and has its own in between
            yield_now().await;
            for _ in 0..BATCH {
                let Ok(input) = self.worked.try_recv() else { break };
                self.worked(input);
            }
            self.perform();
        }
        if self.commit.is_none() {
            self.tell_accepts();
        }
    }

    pub(super) fn tell_accepts(&mut self) {
        for (token, answer) in self.accepts.drain(..) {
            // whoever asked may be gone
            let _told = token.send(answer);
        }
    }
}
