//! Drives the machine of jobs: what happened goes in, what it decides is committed, and only then done.
//!
//! ```text
//! methods, sessions ──▶ inbox ──▶ task (owns the machine) ──▶ store ──▶ performer ──▶ agents, callers, callbacks
//!                         ▲                                                  │
//!                         └────────── answers of agents, timers ◀────────────┘
//! ```
//!
//! - [`Engine`]: the handle. `task`: the one owner of the machine, and what it asks the store to write. `performer`: does what was
//!   decided, in order, once it is on disk. `lines`: offers and cancels on their way to one agent. [`feed`]: who is told of
//!   changes. `listed`: whose lists became known. `comings`: whose sessions began and ended. `open`: questions about what is open. `asks`:
//!   what agents tell of their own accord. `shut_out`: who is revoked. `refusal`: the machine's refusals as faults. `history`: whether the
//!   history is as it was written, at the start. `deliveries`: callbacks under way. `running`: the end of it all.
//!
//! Every queue here is bounded, and a full one makes whoever fills it wait. Only the performer never waits for a
//! slow agent or caller: a line that is full is cut, and the agent's next session settles what was on its way.

mod around;
mod asks;
mod comings;
mod deliveries;
pub mod digest;
pub mod feed;
mod history;
mod lines;
mod listed;
pub(crate) mod open;
mod performer;
pub(crate) mod refusal;
mod running;
mod shut_out;
mod task;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::job::wire::{Ack, Report, ReportAnswer, Resume, ResumeAnswer};
use redpoll_common::job::{JobId, JobSpec, Submitter};
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_manager_core::jobs::record::Digest;
use redpoll_manager_core::jobs::{Answer, Cancelled, Input, Refusal, ResumePage, Scope, Settings};
use redpoll_net::random;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};

use crate::store::{ReadError, Room, Store};

pub use self::around::{Agents, Callbacks};
use self::comings::Comings;
use self::feed::Feed;
pub use self::feed::JobWatch;
pub use self::lines::LINE;
use self::listed::Listed;
pub use self::open::{QueueRunView, QueueWithRuns};
use self::refusal::wrong_answer;
pub use self::running::Running;
use self::task::Message;
pub use self::task::TURNS;

/// Messages that may wait for the machine. Beyond, whoever has one waits.
pub const INBOX: usize = 1024;
/// When an agent reports again while the store has no room, in milliseconds.
const FULL_RETRY_MS: u64 = 2_000;

/// Who waits for an answer.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// An operator, or an agent that asks for something.
    Operator(oneshot::Sender<Result<Answer, Refusal>>),
    /// An agent that reported.
    Report(oneshot::Sender<Result<Vec<Ack>, Fault>>),
    /// An agent that showed its spool.
    Resume(oneshot::Sender<Result<ResumeAnswer, Fault>>),
}

/// A job to store.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Who submits it.
    pub submitter: Submitter,
    /// What, checked and with its defaults.
    pub spec: Arc<JobSpec>,
    /// Of what was asked for, see [`digest::of`].
    pub digest: Digest,
    /// Where it runs; doubles count once.
    pub agents: Vec<PeerId>,
    /// Those of them that say of the procedure that it looks after the machine.
    pub admin: Arc<[PeerId]>,
    /// Its procedure itself says that it may be repeated although it may have run.
    pub idempotent: bool,
    /// [`JobRecord::redact`](redpoll_manager_core::jobs::record::JobRecord::redact).
    pub redact: Arc<[String]>,
}

/// A job that is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its id.
    pub job: JobId,
    /// It was there before, under the same key.
    pub existing: bool,
}

/// What an engine needs to know of its surroundings.
#[derive(Debug)]
pub struct EngineOptions {
    /// The numbers behind the rules.
    pub settings: Settings,
    /// How long an agent may take to answer an offer or a cancel before its connection is closed.
    pub offer_timeout: Duration,
}

/// A handle on the engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    inbox: mpsc::Sender<Message>,
    store: Arc<dyn Store>,
    feed: Arc<Feed>,
    listed: Arc<Listed>,
    comings: Arc<Comings>,
    last_event: watch::Receiver<u64>,
}

impl Engine {
    /// Goes on from what the store has, and gives the agents that it knows.
    ///
    /// # Errors
    /// [`ReadError`] when the store cannot be read.
    pub async fn start(
        store: Arc<dyn Store>,
        agents: Arc<dyn Agents>,
        callbacks: Arc<dyn Callbacks>,
        options: EngineOptions,
    ) -> Result<(Self, Running, Vec<PeerId>), ReadError> {
        let records = store.recover().await?;
        let broken = history::newest(&*store).await;
        let known = records.agents.iter().map(|counters| counters.agent.clone()).collect();
        agents.load(&records.denied);
        let (inbox, messages) = mpsc::channel(INBOX);
        let (event_sender, last_event) = watch::channel(records.last_event);
        let (feed, listed) = (Arc::new(Feed::default()), Arc::new(Listed::default()));
        let comings = Arc::new(Comings::default());
        let engine = Self {
            inbox,
            store: store.clone(),
            feed: feed.clone(),
            listed: listed.clone(),
            comings: comings.clone(),
            last_event,
        };
        let outside = performer::Outside {
            store,
            agents,
            callbacks,
            feed,
            listed,
            comings,
            last_event: event_sender,
            inbox: engine.inbox.downgrade(),
            offer_timeout: options.offer_timeout,
        };
        let running = task::spawn(messages, records, broken, options.settings, outside);
        Ok((engine, running, known))
    }

    /// The store, for reading. What it shows is on disk.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Stores a job and lets it run. Returns when it is on disk.
    ///
    /// # Errors
    /// A fault that says why not; then nothing was stored.
    pub async fn submit(&self, job: NewJob) -> Result<Stored, Fault> {
        let NewJob { submitter, spec, digest, agents, admin, idempotent, redact } = job;
        let id = JobId::new(self.store.clock().now_ms(), u128::from_be_bytes(random::bytes16()));
        let (told, answer) = oneshot::channel();
        let submit = task::NewSubmit { told, id, submitter, spec, digest, agents, admin, idempotent, redact };
        self.send(Message::Submit(Box::new(submit))).await?;
        let Answer::Submitted { job, existing } = answered(answer).await? else {
            return Err(wrong_answer());
        };
        Ok(Stored { job, existing })
    }

    /// Lets a held job start, once.
    ///
    /// # Errors
    /// A fault that says why not.
    pub async fn release(&self, job: JobId, by: Submitter) -> Result<(), Fault> {
        let answer =
            self.operate(|token| Input::Release { token, job, away: BTreeSet::new(), by: Some(by) }).await;
        answer.map(|_released| ()).map_err(|fault| self.about(job, fault))
    }

    /// Ends runs, or says which it would reach. Returns when that is on disk.
    ///
    /// # Errors
    /// A fault that says why not.
    pub async fn cancel(
        &self,
        scope: Scope,
        grace_ms: Option<u32>,
        preview: bool,
        by: Submitter,
    ) -> Result<Cancelled, Fault> {
        let by = Some(by);
        let Answer::Cancelled(cancelled) =
            self.operate(|token| Input::Cancel { token, scope, grace_ms, preview, by }).await?
        else {
            return Err(wrong_answer());
        };
        Ok(cancelled)
    }

    /// Deletes a job that has ended.
    ///
    /// # Errors
    /// A fault that says why not.
    pub async fn delete(&self, job: JobId, by: Submitter) -> Result<(), Fault> {
        match self.store.job(job).await {
            // it is there, readable or not
            Ok(Some(_)) | Err(ReadError::Damaged { .. }) => {}
            Ok(None) => return Err(unknown_job(job)),
            Err(error) => return Err(unreadable(&error)),
        }
        self.operate(|token| Input::Delete { token, job, by: Some(by) }).await.map(|_deleted| ())
    }

    /// Wakes after each commit that touched the job. Make it **before** reading the store: then nothing is missed.
    pub fn watch(&self, job: JobId) -> JobWatch {
        self.feed.watch(job)
    }

    /// The number of the last event on disk.
    pub fn last_event(&self) -> watch::Receiver<u64> {
        self.last_event.clone()
    }

    /// Takes what an agent reports; the future answers when it is on disk. It stands in line before this returns: items
    /// have to come in their order, and the tasks of requests run in any.
    ///
    /// # Errors
    /// `store_full` when it could not be stored: the agent comes again. While the disk is full items are not taken, which their
    /// acknowledgement says. `wrong_state` when a newer connection of it is in place, or it is shut out: nothing of it counts.
    pub fn report(
        &self,
        agent: &PeerId,
        connection: ConnectionId,
        mut report: Report,
    ) -> impl Future<Output = Result<ReportAnswer, Fault>> + Send + use<> {
        let (told, answer) = oneshot::channel();
        if self.store.room() != Room::Plenty {
            // what is left of the disk is for ends: a run whose items are left out keeps them, and its end with them, and those beside
            // it in the report end
            report.reports.iter_mut().for_each(|run| run.items.clear());
        }
        let (token, agent) = (Waiter::Report(told), agent.clone());
        let input = Input::Report { token, agent, connection, reports: report.reports };
        let lined_up = self.inbox.try_send(Message::Input(Box::new(input)));
        let inbox = self.inbox.clone();
        async move {
            match lined_up {
                Ok(()) => {}
                // when the line is full the order may be lost, and the agent is asked for what is missing
                Err(TrySendError::Full(message)) => inbox.send(message).await.map_err(|_closed| stopped())?,
                Err(TrySendError::Closed(_)) => return Err(stopped()),
            }
            let acks = answer.await.unwrap_or_else(|_lost| Err(not_stored()))?;
            Ok(ReportAnswer { acks })
        }
    }

    /// Takes a page of what an agent's spool holds, and answers when what follows from it is on disk.
    ///
    /// # Errors
    /// `internal` or `shutting_down`: the agent asks again. `bad_arguments` when its numbers cannot be.
    pub async fn resume(
        &self,
        agent: &PeerId,
        connection: ConnectionId,
        resume: Resume,
    ) -> Result<ResumeAnswer, Fault> {
        let (told, answer) = oneshot::channel();
        let Resume { spool, max_dno, last, jobs } = resume;
        let (token, agent) = (Waiter::Resume(told), agent.clone());
        let page = ResumePage { token, agent, connection, spool, max_dno, last, rows: jobs };
        self.send(Message::Input(Box::new(Input::Resume(page)))).await?;
        answer.await.unwrap_or_else(|_lost| Err(not_stored()))
    }

    /// New numbers behind the rules.
    pub async fn reload(&self, settings: Settings) {
        let _stopped = self.send(Message::Input(Box::new(Input::Settings(settings)))).await;
    }

    async fn operate(&self, input: impl FnOnce(Waiter) -> Input<Waiter>) -> Result<Answer, Fault> {
        let (told, answer) = oneshot::channel();
        self.send(Message::Input(Box::new(input(Waiter::Operator(told))))).await?;
        answered(answer).await
    }

    async fn send(&self, message: Message) -> Result<(), Fault> {
        self.inbox.send(message).await.map_err(|_closed| stopped())
    }

    fn about(&self, job: JobId, mut fault: Fault) -> Fault {
        if fault.code == FaultCode::WrongState {
            fault.message = format!("job {job}: {}", fault.message);
        }
        fault
    }
}

async fn answered(answer: oneshot::Receiver<Result<Answer, Refusal>>) -> Result<Answer, Fault> {
    match answer.await {
        Ok(answer) => answer.map_err(|refusal| refusal::fault(&refusal)),
        Err(_lost) => Err(not_stored()),
    }
}

/// The fault for a job that nobody knows.
pub fn unknown_job(job: JobId) -> Fault {
    Fault::new(FaultCode::UnknownJob, format!("there is no job {job}; it may have been deleted"))
}

/// The fault for a store that cannot be read.
pub fn unreadable(error: &ReadError) -> Fault {
    tracing::error!(error = %redpoll_net::dial::chain(error), "the store cannot be read");
    Fault::new(FaultCode::Internal, "the store cannot be read; the manager's log says why")
}

fn stopped() -> Fault {
    Fault::new(FaultCode::ShuttingDown, "the manager is stopping; nothing was changed")
}

fn not_stored() -> Fault {
    let mut fault = Fault::new(FaultCode::StoreFull, "it could not be stored; nothing was changed");
    fault.retry_after_ms = Some(FULL_RETRY_MS);
    fault
}
