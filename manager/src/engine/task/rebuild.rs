//! Begins anew from the disk, in a process that lives on, after a turn that was not stored.

use std::mem;
use std::time::Duration;

use redpoll_manager_core::jobs::record::Records;
use redpoll_manager_core::jobs::{Input, Jobs};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::Task;
use crate::engine::performer::Step;

/// How long to wait before the store is read again that could not be.
const AGAIN: Duration = Duration::from_secs(1);

impl Task {
    /// A turn was not committed, and none after it will be: the machine in memory is ahead of the disk. Begins anew from the
    /// disk; whoever waits is told that nothing was stored, and the agents tell again what they have. `false` when it was stopped before
    /// that: the store has begun to take changes again, and there is no machine that knows what is in it.
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
        match freed.and(built) {
            Ok(jobs) => self.jobs = jobs,
            Err(error) => {
                error!(%error, "the jobs of the store cannot be gone on with");
                return false;
            }
        }
        // what was said of it may be among what was lost
        self.jobs.handle(Input::Clock { anchor: self.store.clock().anchor(), set_by_ms: 0 }, self.now());
        self.agents.secretive().into_iter().for_each(|agent| self.listed.note(agent));
        self.note_listed(self.now());
        self.step(Step::Anew).await;
        info!("the store takes changes again");
        self.turn().await;
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
