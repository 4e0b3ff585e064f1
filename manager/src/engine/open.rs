//! Questions about what is open, which is in memory alone. Each is answered between two turns, so none is for more than a page of it.

use std::time::Duration;

use redpoll_common::ids::PeerId;
use redpoll_common::job::{JobId, QueueKey};
use redpoll_common::wire::Fault;
use redpoll_manager_core::jobs::Jobs;
use redpoll_manager_core::jobs::record::Summary;
use redpoll_manager_core::jobs::view::{QueueView, RunView};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::task::Message;
use super::{Engine, Waiter, stopped};

/// How long a question waits whose answer can be done without: while the disk is full the machine may stand for as long as the store
/// has patience, and reading goes on.
pub(crate) const EXTRA_PATIENCE: Duration = Duration::from_secs(1);

/// A run in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRunView {
    /// The job.
    pub job: JobId,
    /// The agent.
    pub agent: PeerId,
    /// Its state in one word.
    pub state: &'static str,
}

/// A queue with runs of it.
pub type QueueWithRuns = (QueueView, Vec<QueueRunView>);

/// A question.
#[derive(Debug)]
pub(super) enum Ask {
    Queues { after: Option<QueueKey>, limit: usize, told: oneshot::Sender<Vec<QueueView>> },
    Queue { key: QueueKey, told: oneshot::Sender<Option<QueueView>> },
    Runs { key: QueueKey, slots: usize, waiting: usize, told: oneshot::Sender<Option<QueueWithRuns>> },
    Summaries { jobs: Vec<JobId>, told: oneshot::Sender<Vec<Option<Summary>>> },
}

impl Ask {
    /// Whoever asked may be gone.
    pub(super) fn answer(self, jobs: &Jobs<Waiter>) {
        match self {
            Self::Queues { after, limit, told } => {
                let _gone = told.send(jobs.queues_after(after.as_ref()).take(limit).collect());
            }
            Self::Queue { key, told } => {
                let _gone = told.send(jobs.queue(&key));
            }
            Self::Runs { key, slots, waiting, told } => {
                let run = |(job, run): (JobId, RunView<'_>)| {
                    let (agent, state) = (run.agent.clone(), run.state);
                    QueueRunView { job, agent, state }
                };
                let runs = || jobs.queue_runs(&key, slots, waiting).map(run).collect();
                let _gone = told.send(jobs.queue(&key).map(|queue| (queue, runs())));
            }
            Self::Summaries { jobs: ids, told } => {
                let summary = |id| jobs.job(id).map(|job| job.summary);
                let _gone = told.send(ids.into_iter().map(summary).collect());
            }
        }
    }
}

impl Engine {
    /// The first `limit` queues after this one, by name.
    ///
    /// # Errors
    /// `shutting_down`.
    pub async fn queues(&self, after: Option<QueueKey>, limit: usize) -> Result<Vec<QueueView>, Fault> {
        self.ask(|told| Ask::Queues { after, limit, told }).await
    }

    /// One queue. `None` if it is not there.
    ///
    /// # Errors
    /// `shutting_down`.
    pub async fn queue(&self, key: QueueKey) -> Result<Option<QueueView>, Fault> {
        self.ask(|told| Ask::Queue { key, told }).await
    }

    /// The same with its runs: the first `slots` that hold its slots, then the first `waiting` that wait.
    ///
    /// # Errors
    /// `shutting_down`.
    pub async fn queue_runs(
        &self,
        key: QueueKey,
        slots: usize,
        waiting: usize,
    ) -> Result<Option<QueueWithRuns>, Fault> {
        self.ask(|told| Ask::Runs { key, slots, waiting, told }).await
    }

    /// A queue for an answer that is as good without, unless that takes longer than [`EXTRA_PATIENCE`].
    pub(crate) async fn queue_if_quick(&self, key: QueueKey) -> Option<QueueView> {
        let asked = self.ask(|told| Ask::Queue { key, told });
        timeout(EXTRA_PATIENCE, asked).await.ok()?.ok()?
    }

    /// The runs of open jobs by their ends, as many as these; `None` for all when that takes longer than [`EXTRA_PATIENCE`].
    pub(crate) async fn summaries_if_quick(&self, jobs: Vec<JobId>) -> Option<Vec<Option<Summary>>> {
        let asked = self.ask(|told| Ask::Summaries { jobs, told });
        timeout(EXTRA_PATIENCE, asked).await.ok()?.ok()
    }

    async fn ask<A>(&self, ask: impl FnOnce(oneshot::Sender<A>) -> Ask) -> Result<A, Fault> {
        let (told, answer) = oneshot::channel();
        self.send(Message::Ask(ask(told))).await?;
        answer.await.map_err(|_gone| stopped())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::{mpsc, watch};

    use super::*;
    use crate::store::{AbortHook, Faults, Memory};

    #[tokio::test(start_paused = true)]
    async fn what_can_be_done_without_is_not_waited_for_while_the_machine_stands() {
        let (inbox, _nobody_reads) = mpsc::channel(1);
        let (_none, last_event) = watch::channel(0);
        let store = Arc::new(Memory::new(Faults::default(), AbortHook::default()));
        let (feed, listed, comings) = (Arc::default(), Arc::default(), Arc::default());
        let engine = Engine { inbox, store, feed, listed, comings, last_event };
        assert_eq!(engine.queue_if_quick(QueueKey::text("q").unwrap()).await, None);
        // also when it finds no place in the inbox
        assert_eq!(engine.summaries_if_quick(vec![JobId::new(1, 1)]).await, None);
    }
}
