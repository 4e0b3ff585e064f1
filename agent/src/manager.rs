//! Asking the manager: what a procedure, or the agent itself, has to say to it.

use std::sync::Arc;
use std::time::Duration;

use redpoll_common::api::events::{EmitAnswer, EmitArguments};
use redpoll_common::api::method;
use redpoll_common::api::submit::{SubmitAnswer, SubmitArguments};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_exec::{Answering, Asker, Emitter, Losses, Question, Wanted};
use redpoll_net::Peer;
use redpoll_net::peer::{Call, CallError};
use redpoll_net::service::Mask;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long the manager may take for an answer, unless said otherwise: it commits first, and may be busy.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Events of procedures that wait to be emitted; those that find no room are lost.
const EVENTS: usize = 256;

/// Why the manager gave no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// There is no session.
    #[error("there is no session with the manager; nothing was sent")]
    NoSession,
    /// It refused, or gave no answer: see the cause.
    #[error(transparent)]
    Call(#[from] CallError),
    /// What is to be sent cannot be encoded.
    #[error("what is to be sent cannot be encoded: {0}")]
    Unsendable(String),
    /// Its answer is not what it should be.
    #[error("the manager's answer to {method} cannot be read: {why}")]
    Unreadable {
        /// What was asked.
        method: String,
        /// What is wrong with it.
        why: String,
    },
}

impl AskError {
    /// The fault that tells an executable about it.
    fn into_fault(self) -> Fault {
        let text = self.to_string();
        match self {
            Self::NoSession => Fault::new(FaultCode::AgentAway, text),
            Self::Call(error @ (CallError::TimedOut(_) | CallError::Closed(_))) => {
                let mut fault = error.into_fault();
                fault
                    .message
                    .push_str("; it may be done all the same, and a submit is repeated with the same key");
                fault
            }
            Self::Call(error) => error.into_fault(),
            Self::Unsendable(_) => Fault::new(FaultCode::BadArguments, text),
            Self::Unreadable { .. } => Fault::new(FaultCode::Internal, text),
        }
    }
}

/// The manager, as far as the agent is connected with it. Cheap to clone; all clones reach the same manager.
///
/// What may be asked decides the manager's configuration (`[agents]`): a refusal is the fault `forbidden`, and names the key.
#[derive(Debug, Clone)]
pub struct Manager {
    present: Arc<watch::Sender<Option<Peer>>>,
    timeout: Duration,
    /// What nobody may see of emitted data.
    mask: Option<Mask>,
}

impl Default for Manager {
    /// One that nobody is connected with yet.
    fn default() -> Self {
        Self { present: Arc::new(watch::Sender::new(None)), timeout: ANSWER_TIMEOUT, mask: None }
    }
}

impl Manager {
    /// The same, with another time for each answer.
    pub fn within(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// The same, which masks the data of events.
    pub(crate) fn masking(&self, mask: Option<&Mask>) -> Self {
        Self { mask: mask.cloned(), ..self.clone() }
    }

    /// Whether there is a session now.
    pub fn is_connected(&self) -> bool {
        self.session().is_ok()
    }

    /// The longest frame that the present session takes, if there is one.
    pub fn frame_limit(&self) -> Option<usize> {
        self.session().ok().map(|peer| peer.terms().frame_limit())
    }

    /// Puts an event into the manager's history, as `custom.` and this type, and gives its number once it is on disk. Asked again after
    /// [`CallError::TimedOut`] it may stand there twice.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn emit<T: Serialize + ?Sized + Sync>(&self, kind: &str, data: &T) -> Result<u64, AskError> {
        let data = Raw::encode(data).map_err(|error| AskError::Unsendable(error.to_string()))?;
        self.emit_raw(kind, data).await
    }

    /// The same with data that is encoded already.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn emit_raw(&self, kind: &str, data: Raw) -> Result<u64, AskError> {
        let data = self.mask.as_ref().map(|mask| mask.apply(&data)).unwrap_or(data);
        let kind = self.mask.as_ref().map_or_else(|| kind.to_owned(), |mask| mask.text(kind));
        let kwargs = EmitArguments { kind, data }.write();
        let answer: EmitAnswer = self.asked(method::EVENTS_EMIT, kwargs).await?;
        Ok(answer.n)
    }

    /// Submits a job; the answer comes once it is on disk. Give it a key, and it may be asked again.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn submit(&self, job: &SubmitArguments) -> Result<SubmitAnswer, AskError> {
        self.asked(method::JOBS_SUBMIT, job.write()).await
    }

    /// Calls a method of the manager, or a procedure on it.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn call(&self, method: &str, kwargs: Raw) -> Result<Raw, AskError> {
        let call = Call::new(method, self.timeout).with_kwargs(kwargs);
        Ok(self.session()?.call(call).await?)
    }

    async fn asked<A: DeserializeOwned>(&self, method: &str, kwargs: Raw) -> Result<A, AskError> {
        let answer = self.call(method, kwargs).await?;
        answer
            .decode()
            .map_err(|error| AskError::Unreadable { method: method.to_owned(), why: error.to_string() })
    }

    fn session(&self) -> Result<Peer, AskError> {
        let present = self.present.borrow().clone();
        present.filter(|peer| !peer.is_closed()).ok_or(AskError::NoSession)
    }

    /// Waits until there is a session. Cancel-safe.
    pub async fn connected(&self) {
        let mut present = self.present.subscribe();
        // the sender lives as long as this handle
        let _there = present.wait_for(|peer| peer.as_ref().is_some_and(|peer| !peer.is_closed())).await;
    }

    /// Waits until another session than the present one begins. Cancel-safe.
    pub async fn reconnected(&self) {
        let mut present = self.present.subscribe();
        // the sender lives as long as this handle
        while present.changed().await.is_ok() {
            if present.borrow_and_update().is_some() {
                return;
            }
        }
    }

    /// Starts what emits without anybody waiting for it, until `stop`.
    pub fn emitter(&self, tracker: &TaskTracker, stop: &CancellationToken) -> Emitter {
        let (sender, mut events) = mpsc::channel::<(String, Raw)>(EVENTS);
        let (manager, losses) = (self.clone(), Losses::default());
        let said = losses.clone();
        let emitting = async move {
            while let Some((kind, data)) = events.recv().await {
                if let Err(error) = manager.emit_raw(&kind, data).await {
                    said.lost(&kind, &error);
                }
            }
        };
        tracker.spawn(stop.clone().run_until_cancelled_owned(emitting));
        Emitter::new(sender, losses)
    }

    /// What asks for executables. A question that nobody waits for any more is withdrawn; it may have been answered by then.
    pub fn asker(&self) -> Asker {
        let manager = self.clone();
        Asker::new(move |question| manager.within(question.timeout).answering(question))
    }

    fn answering(self, question: Question) -> Answering {
        let answering = async move {
            match question.wanted {
                Wanted::Submit(job) => {
                    let answer = self.submit(&job).await?;
                    Raw::encode(&answer).map_err(|error| AskError::Unsendable(error.to_string()))
                }
                Wanted::Call { procedure, args, kwargs } => {
                    let call = Call::new(procedure, self.timeout).with_args(args).with_kwargs(kwargs);
                    Ok(self.session()?.call(call).await?)
                }
            }
        };
        Box::pin(async move { answering.await.map_err(AskError::into_fault) })
    }

    /// A session began, or ended.
    pub(crate) fn set(&self, peer: Option<Peer>) {
        self.present.send_replace(peer);
    }
}
