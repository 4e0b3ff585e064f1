//! A stream of the manager that goes on after the session was lost: `rp.jobs.follow`, `rp.events.follow`.
//!
//! The caller says at each opening from where; what has come before is its own to remember.

use redpoll_common::session::{MAX_TIMEOUT, Refusal};
use redpoll_common::wire::{Fault, Raw};
use redpoll_net::{Call, CallError, CallEvent, CallStream};

use crate::Stop;
use crate::steady::{NoAnswer, Steady, is_passing};

/// What came.
#[derive(Debug)]
pub enum Step {
    /// The stream was opened; `again` if it had been open before.
    Opened {
        /// It had been open before.
        again: bool,
    },
    /// A value.
    Value(Raw),
    /// The answer: there is nothing more.
    Answer(Raw),
    /// The manager refused, for good.
    Fault(Fault),
    /// It cannot be sent.
    Refused(Refusal),
    /// The session was lost; the next step makes another one.
    Lost(String),
    /// The errand is done, or was refused.
    Errand(Result<Raw, Fault>),
}

/// A stream of the manager.
#[derive(Debug)]
pub struct Feed<'s> {
    /// The session.
    pub steady: Steady<'s>,
    stream: Option<CallStream>,
    opened: bool,
    errand: Option<(&'static str, Raw)>,
}

impl<'s> Feed<'s> {
    /// A stream that is opened by the first step.
    pub fn new(steady: Steady<'s>) -> Self {
        Self { steady, stream: None, opened: false, errand: None }
    }

    /// Asks something before the stream goes on, until it is answered. It must be harmless twice.
    pub fn send(&mut self, method: &'static str, kwargs: Raw) {
        self.errand = Some((method, kwargs));
    }

    /// The next thing that happens. Cancel-safe: what was begun is begun again.
    ///
    /// # Errors
    /// [`Stop`] when there will be no session any more.
    pub async fn step(
        &mut self,
        method: &'static str,
        kwargs: impl Fn() -> Result<Raw, Stop>,
    ) -> Result<Step, Stop> {
        if let Some((errand, kwargs)) = self.errand.clone() {
            let each = self.steady.settings().config.call.timeout;
            let done = match self.steady.ask(errand, &kwargs, each, None).await {
                Ok(answer) => Ok(answer),
                Err(NoAnswer::Fault { fault, .. }) => Err(fault),
                Err(NoAnswer::Refused { refusal, .. }) => return Ok(Step::Refused(refusal)),
                Err(NoAnswer::Stop { stop, .. }) => return Err(stop),
                // the caller watches the deadline too, and says it better
                Err(NoAnswer::Late { .. }) => return std::future::pending().await,
            };
            self.errand = None;
            return Ok(Step::Errand(done));
        }
        let Some(stream) = &mut self.stream else { return self.open(method, kwargs).await };
        match stream.next().await {
            Some(CallEvent::Value(value)) => Ok(Step::Value(value)),
            Some(CallEvent::Progress(_)) => Ok(Step::Value(Raw::nil())),
            Some(CallEvent::End(Ok(answer))) => {
                self.stream = None;
                Ok(Step::Answer(answer))
            }
            Some(CallEvent::End(Err(error))) => Ok(self.ended(error)),
            None => Ok(self.ended(CallError::Closed(redpoll_common::session::CloseReason::Ended))),
        }
    }

    async fn open(
        &mut self,
        method: &'static str,
        kwargs: impl Fn() -> Result<Raw, Stop>,
    ) -> Result<Step, Stop> {
        let peer = self.steady.peer().await?;
        match peer.start(Call::new(method, MAX_TIMEOUT).with_kwargs(kwargs()?)).await {
            Ok(stream) => {
                self.stream = Some(stream);
                Ok(Step::Opened { again: std::mem::replace(&mut self.opened, true) })
            }
            Err(error) => Ok(self.ended(error)),
        }
    }

    fn ended(&mut self, error: CallError) -> Step {
        self.stream = None;
        let why = match error {
            CallError::Fault(fault) if is_passing(&fault) => {
                self.steady.put_off(&fault);
                return Step::Lost(fault.to_string());
            }
            CallError::Fault(fault) => return Step::Fault(fault),
            CallError::Refused(Refusal::Closed(reason)) | CallError::Closed(reason) => reason.to_string(),
            CallError::Refused(refusal) => return Step::Refused(refusal),
            // a year has passed, or the driver does not answer: a new session helps in both cases
            CallError::TimedOut(_) => "there was no sign of life".to_owned(),
        };
        self.steady.lost(&why, None);
        Step::Lost(why)
    }
}
