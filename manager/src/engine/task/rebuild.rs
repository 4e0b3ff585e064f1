//! Begins anew from the disk, in a process that lives on, after a turn that was not stored.

use std::mem;
use std::time::Duration;

use redpoll_manager_core::jobs::record::Records;
use redpoll_manager_core::jobs::{Input, Jobs};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::Task;
use crate::engine::performer::Step;
use crate::store::Store;

/// How long to wait before the store is read again that could not be.
const AGAIN: Duration = Duration::from_secs(1);

impl Task {
    /// A turn was not committed, and none after it will be: the machine in memory is ahead of the disk. Begins anew from the
    /// disk; whoever waits is told that nothing was stored, and the agents tell again what they have. `false` when it was stopped before
    /// that: the store has begun to take changes again, and there is no machine that knows what is in it. Where there can be none
    /// the process ends, and its service starts it anew.
    pub(super) async fn rebuild(&mut self) -> bool {
        warn!("the store took nothing more for want of space; beginning anew from what it has");
        self.agents.disconnect_all("the manager's disk is full");
        let nothing = Jobs::new(self.settings, self.now());
        let before = mem::replace(&mut self.jobs, nothing);
        let heritage = before.heritage();
        // before the records are read: open jobs may be gigabytes, and there need not be room for two of each
        let freed = spawn_blocking(move || drop(before)).await;
        let Some(records) = self.read().await else { return false };
        let (settings, now) = (self.settings, self.now());
        let built = spawn_blocking(move || Jobs::recover(settings, records, now).after(heritage)).await;
        let Some(jobs) = whole(freed.and(built), &*self.store) else { return false };
        self.jobs = jobs;
        // what was said of it may be among what was lost
        self.jobs.handle(Input::Clock { anchor: self.store.clock().anchor(), set_by_ms: 0 }, self.now());
        self.agents.secretive().into_iter().for_each(|agent| self.listed.note(agent));
        self.note_listed(self.now());
        self.step(Step::Anew).await;
        info!("the store takes changes again");
        self.turn().await;
        self.looked_ms = self.now();
        true
    }

    /// What the store has, whenever it can be read. `None` when it is to stop before.
    async fn read(&self) -> Option<Records> {
        loop {
            match self.store.recover().await {
                Ok(records) => return Some(records),
                Err(error) => error!(error = %redpoll_net::dial::chain(&error), "the store cannot be read"),
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                () = sleep(AGAIN) => {}
            }
        }
    }
}

/// A machine, or the end of the process: one without would answer for good that it stops.
fn whole<J>(built: Result<J, JoinError>, store: &dyn Store) -> Option<J> {
    let built = built.map_err(|error| {
        store.give_up(&format!("the jobs of the store cannot be gone on with: {error}"));
    });
    built.ok()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::store::{AbortHook, Faults, Memory};

    #[tokio::test]
    async fn a_manager_that_cannot_begin_anew_does_not_go_on_without_a_machine() {
        let words: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = words.clone();
        let abort = AbortHook::new(move |word| heard.lock().unwrap().push(word.to_owned()));
        let store = Memory::new(Faults::default(), abort);
        assert_eq!(whole(spawn_blocking(|| 7).await, &store), Some(7));
        assert_eq!(*words.lock().unwrap(), Vec::<String>::new());
        let broken = spawn_blocking(|| -> u8 { panic!("a record that nobody foresaw") }).await;
        assert_eq!(whole(broken, &store), None);
        assert!(words.lock().unwrap().join("").contains("cannot be gone on with"));
    }
}
