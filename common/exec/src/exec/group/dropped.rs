//! Ends groups that were dropped: beside everything else, and until nothing of them is left.

use std::time::Duration;

use rustix::process::Signal;
use tokio::runtime::Handle;

use super::super::programs::end_beside;
use super::{Group, REAP_WAIT, seen_of, signal_tree};

impl Group {
    /// Ends what was dropped, for as long as it takes.
    async fn end_dropped(mut self) {
        let had_outlived = self.gave_up;
        if !had_outlived {
            self.end(Duration::ZERO).await;
        }
        self.held = None;
        self.exited().await;
        if had_outlived {
            // what hung in the kernel may have held others there
            self.end(Duration::ZERO).await;
        }
        self.bury();
        if let Some(cgroup) = &self.lineage.cgroup {
            // whoever made it could not remove it as long as somebody was in it; an error means that it is gone
            let _gone = std::fs::remove_dir(cgroup);
        }
    }

    /// The same without a runtime: this process is about to end, and leaves the zombie to the system.
    fn end_now(&mut self) {
        let until = std::time::Instant::now() + REAP_WAIT;
        loop {
            self.kill_cgroup();
            let seen = seen_of(&self.lineage, self.lineage.members());
            let is_gone = seen.as_ref().is_some_and(Vec::is_empty) && !self.is_running();
            signal_tree(&self.lineage, &seen.unwrap_or_default(), Signal::KILL);
            if is_gone || std::time::Instant::now() >= until {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.bury();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(own) = self.leader.take() else { return };
        let mut dropped = Self {
            leader: Some(own),
            lineage: self.lineage.clone(),
            held: self.held.take(),
            gave_up: self.gave_up,
            is_dropped: true,
            noted: self.noted.take(),
        };
        match Handle::try_current() {
            // a task that is dropped has no runtime any more
            Ok(runtime) if !self.is_dropped => end_beside(&runtime, dropped.end_dropped()),
            Ok(_) | Err(_) => {
                dropped.end_now();
                dropped.leader = None;
            }
        }
    }
}
