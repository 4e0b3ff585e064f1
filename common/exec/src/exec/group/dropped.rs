//! Ends groups that were dropped: beside everything else, and until nothing of them is left.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::runtime::Handle;

use super::super::programs::end_beside;
use super::{Group, REAP_WAIT, seen_of, signal_tree};

/// How long those are waited for that are ended one after the other at the end of this process: all of them together as long as one,
/// for what hangs in the kernel may be many. When the last wait ends, and when one of them was last waited for.
struct Last(Mutex<Option<(Instant, Instant)>>);

static LAST: Last = Last(Mutex::new(None));

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
        let until = LAST.begin();
        loop {
            self.kill_cgroup();
            let seen = seen_of(&self.lineage, self.lineage.members());
            let is_gone = seen.as_ref().is_some_and(Vec::is_empty) && !self.is_running();
            signal_tree(&self.lineage, &seen.unwrap_or_default(), Signal::KILL);
            if is_gone || Instant::now() >= until {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        LAST.end();
        self.bury();
    }
}

impl Last {
    /// Until when the next one is waited for.
    fn begin(&self) -> Instant {
        let (now, mut last) = (Instant::now(), self.last());
        let until = last.filter(|(_, ended)| now.duration_since(*ended) < REAP_WAIT);
        let until = until.map_or(now + REAP_WAIT, |(until, _)| until);
        *last = Some((until, now));
        until
    }

    fn end(&self) {
        if let Some((_, ended)) = self.last().as_mut() {
            *ended = Instant::now();
        }
    }

    fn last(&self) -> MutexGuard<'_, Option<(Instant, Instant)>> {
        // nothing panics while it holds the lock
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
