//! What runs do, taken in.

use redpoll_common::job::Dno;
use redpoll_common::job::spool as rules;
use redpoll_net::failpoint;
use tracing::debug;

use super::Input;
use super::execution::Execution;
use super::runner::Runner;
use crate::clock::now;

impl Runner {
    /// What a run did.
    pub(super) fn worked(&mut self, input: Input) {
        match &input {
            rules::Input::Spawned(dno) => {
                failpoint::reached("A4");
                self.note_start(*dno);
                self.begun(*dno);
            }
            rules::Input::Exited(dno, _) => {
                failpoint::reached("A5");
                self.over(*dno);
            }
            rules::Input::NotSpawned(dno, why) => {
                self.over(*dno);
                return self.not_begun(*dno, why.clone());
            }
            rules::Input::Item { .. }
            | rules::Input::Progress(..)
            | rules::Input::Offer { .. }
            | rules::Input::Cancel { .. }
            | rules::Input::Connected
            | rules::Input::Disconnected
            | rules::Input::Resumed(..)
            | rules::Input::Reported(..)
            | rules::Input::Loaded(..)
            | rules::Input::Full(_)
            | rules::Input::Draining => {}
        }
        self.machine.handle(input, now());
    }

    fn note_start(&self, dno: Dno) {
        if let Some(Execution { run, procedure, .. }) = self.executions.get(&dno) {
            debug!(job = %run.job, attempt = %run.attempt, %dno, ?procedure, "run started");
        }
    }

    fn over(&mut self, dno: Dno) {
        if let Some(execution) = self.executions.get_mut(&dno) {
            execution.over = true;
            self.running = self.running.saturating_sub(1);
        }
    }

    /// Does what is due. What a run did in time and nobody took in, because the disk is slow say, ends none.
    pub(super) fn time_passed(&mut self) {
        let now = now();
        for dno in self.machine.overdue(now) {
            for untaken in
                self.executions.get(&dno).into_iter().flat_map(|execution| execution.given.untaken())
            {
                self.machine.handle_untaken(dno, untaken);
            }
        }
        self.machine.handle_timeout(now);
    }
}
