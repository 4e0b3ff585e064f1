//! What executables ask the manager for, on its way to whoever is connected with it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use redpoll_common::api::submit::SubmitArguments;
use redpoll_common::wire::{Fault, FaultCode, Raw};

/// What an executable wants of the manager, and its manifest allows.
#[derive(Debug)]
pub struct Question {
    /// What it wants.
    pub wanted: Wanted,
    /// How long it waits for an answer.
    pub timeout: Duration,
}

/// What is wanted.
#[derive(Debug)]
pub enum Wanted {
    /// A job; answered with what `rp.jobs.submit` answers.
    Submit(Box<SubmitArguments>),
    /// The result of a procedure that the manager offers.
    Call {
        /// `name` or `name@version`.
        procedure: String,
        /// Positional arguments.
        args: Raw,
        /// Named arguments.
        kwargs: Raw,
    },
}

/// An answer that comes later. Who drops it does not want it any more.
pub type Answering = Pin<Box<dyn Future<Output = Result<Raw, Fault>> + Send>>;

type Ask = dyn Fn(Question) -> Answering + Send + Sync;

/// Asks the manager for executables. By default nobody does, and they are told so.
#[derive(Clone, Default)]
pub struct Asker(Option<Arc<Ask>>);

impl Asker {
    /// Hands questions to whoever answers them.
    pub fn new(ask: impl Fn(Question) -> Answering + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(ask)))
    }

    /// Whether there is somebody who answers.
    pub(crate) fn answers(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn ask(&self, question: Question) -> Answering {
        match &self.0 {
            Some(ask) => ask(question),
            None => Box::pin(std::future::ready(Err(nobody_answers()))),
        }
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Asker").field(&self.answers()).finish()
    }
}

/// What those are told whose asks lead nowhere.
pub(crate) fn nobody_answers() -> Fault {
    Fault::new(FaultCode::Forbidden, "only procedures of agents can ask the manager for something")
}
