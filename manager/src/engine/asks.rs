//! What agents tell of their own accord.

use redpoll_common::ids::PeerId;
use redpoll_common::job::JobId;
use redpoll_common::wire::{Fault, Raw};
use redpoll_manager_core::jobs::{Answer, Ended, Input, Submit};
use redpoll_net::random;

use super::refusal::wrong_answer;
use super::{Engine, NewJob, Stored};

impl Engine {
    /// Stores a run that an agent made by itself, as a job that has ended. Returns when it is on disk.
    ///
    /// # Errors
    /// A fault that says why not; then nothing was stored.
    pub async fn record(&self, job: NewJob, ended: Ended) -> Result<Stored, Fault> {
        let NewJob { submitter, spec, digest, agents, admin, idempotent, redact } = job;
        let id = JobId::new(self.store.clock().now_ms(), u128::from_be_bytes(random::bytes16()));
        let agents = agents.into_iter().map(|agent| (agent, true)).collect();
        let record = |token| {
            let submit = Submit { token, id, submitter, spec, digest, agents, admin, idempotent, redact };
            Input::Record(Box::new(submit), Box::new(ended))
        };
        let Answer::Submitted { job, existing } = self.operate(record).await? else {
            return Err(wrong_answer());
        };
        Ok(Stored { job, existing })
    }

    /// Puts into the history who had an agent offer a procedure again, or no more. Returns when it is on disk.
    ///
    /// # Errors
    /// A fault that says why not; then nothing was stored.
    pub async fn switched(
        &self,
        agent: PeerId,
        procedure: String,
        on: bool,
        operator: String,
    ) -> Result<(), Fault> {
        let Answer::Emitted { .. } =
            self.operate(|token| Input::Switched { token, agent, procedure, on, operator }).await?
        else {
            return Err(wrong_answer());
        };
        Ok(())
    }

    /// Puts an event of an agent into the history. Gives its number when it is on disk.
    ///
    /// # Errors
    /// A fault that says why not; then nothing was stored.
    pub async fn emit(&self, agent: PeerId, name: String, data: Raw) -> Result<u64, Fault> {
        let Answer::Emitted { n } = self.operate(|token| Input::Emit { token, agent, name, data }).await?
        else {
            return Err(wrong_answer());
        };
        Ok(n)
    }
}
