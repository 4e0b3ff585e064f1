//! What a handler knows of its call, and says while it runs.

use std::sync::Arc;

use redpoll_common::job::{Attempt, JobId};
use redpoll_common::wire::Raw;
use redpoll_net::CallContext;
use redpoll_net::service::{Output, RunContext, Stop};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Failure;
use crate::manager::Manager;

/// The call that a handler serves. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    procedure: Arc<str>,
    output: Output,
    stop: Stop,
    run: Option<Arc<RunContext>>,
    operator: Option<Arc<str>>,
    roles: Option<Arc<[String]>>,
    manager: Manager,
}

impl Context {
    pub(super) fn of(call: CallContext, manager: &Manager) -> Self {
        let CallContext { method, output, stop, run, operator, roles, .. } = call;
        let manager = manager.masking(output.mask());
        let (operator, roles) = (operator.map(Arc::from), roles.map(Arc::from));
        Self { procedure: method.into(), output, stop, run, operator, roles, manager }
    }

    /// The procedure as it was called, `name` or `name@version`.
    pub fn procedure(&self) -> &str {
        &self.procedure
    }

    /// Gives a value: to the caller at once, in a job as a recorded item. Waits for credit, which is the back-pressure.
    ///
    /// # Errors
    /// The value cannot be encoded or is larger than a frame, or nobody waits for it any more.
    pub async fn value<T: Serialize + ?Sized + Sync>(&self, value: &T) -> Result<(), Failure> {
        self.raw(Raw::encode(value)?).await
    }

    /// Gives a value of bytes.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    pub async fn bytes(&self, data: &[u8]) -> Result<(), Failure> {
        self.raw(Raw::bin(data)).await
    }

    async fn raw(&self, data: Raw) -> Result<(), Failure> {
        Ok(self.output.value(data).await?)
    }

    /// Says how far it is, of how many. Only the newest counts.
    pub fn progress(&self, completed: u64, total: Option<u64>) {
        self.output.progress(completed, total, Raw::nil());
    }

    /// The same with details; those that cannot be encoded are left out.
    pub fn progress_with<T: Serialize + ?Sized>(&self, completed: u64, total: Option<u64>, details: &T) {
        let details = Raw::encode(details).unwrap_or_else(|_unsendable| Raw::nil());
        self.output.progress(completed, total, details);
    }

    /// The manager: for events, jobs of the agent's own, and calls, as far as its configuration allows them. Events that are emitted
    /// by it have what the procedure [redacts](super::Procedure::redact) masked.
    pub fn manager(&self) -> &Manager {
        &self.manager
    }

    /// Waits until the call should stop: it was cancelled, its time is over, or its caller has gone.
    pub async fn cancelled(&self) {
        self.stop.stopped().await;
    }

    /// Whether the call should stop.
    pub fn is_cancelled(&self) -> bool {
        self.stop.reason().is_some()
    }

    /// The job that it runs for; `None` in a call.
    pub fn job(&self) -> Option<JobId> {
        self.run.as_ref().map(|run| run.run.job)
    }

    /// Which try of the job it is, from 1; `None` in a call.
    pub fn attempt(&self) -> Option<Attempt> {
        self.run.as_ref().map(|run| run.run.attempt)
    }

    /// For whom it runs, by the manager's word: who calls, or who submitted the job. `None` on a schedule, and where the manager does
    /// not say.
    pub fn operator(&self) -> Option<&str> {
        self.operator.as_deref()
    }

    /// What that operator is, by the manager's word: the names in its `[access.roles]`. `None` where it does not say, which is not the
    /// same as none.
    pub fn roles(&self) -> Option<&[String]> {
        self.roles.as_deref()
    }

    /// The submitter's own words about the job, if they have this form.
    pub fn info<T: DeserializeOwned>(&self) -> Option<T> {
        self.run.as_ref().and_then(|run| run.info.decode().ok())
    }
}
