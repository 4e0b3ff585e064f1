//! A session that is made again when it is lost, for verbs that last: `run`, `follow`, waiting for a result.
//!
//! The first connection has one chance, as with every verb; what was connected once comes back with back-off, as long as
//! the command may take. Every future here may be dropped and asked again: what must not be lost is in [`Steady`].

use std::time::Duration;

use redpoll_common::session::Refusal;
use redpoll_common::session::backoff::{Backoff, BackoffOptions};
use redpoll_common::wire::{Bye, ByeCode, Fault, FaultCode, Raw};
use redpoll_net::{Call, CallError, Peer, random};
use tokio::time::{Instant, sleep_until};

use crate::Stop;
use crate::link::{Link, NoLink, left};
use crate::report::{Report, chain};
use crate::settings::Settings;

/// A person waits: sooner and more often than an agent.
const BACKOFF: BackoffOptions = BackoffOptions {
    initial: Duration::from_millis(500),
    max: Duration::from_secs(15),
    stable_after: Duration::from_secs(60),
};

/// A session with the manager that comes back.
#[derive(Debug)]
pub struct Steady<'s> {
    settings: &'s Settings,
    deadline: Option<Instant>,
    link: Option<Link>,
    backoff: Backoff,
    /// When the next attempt, or question, may begin.
    again_at: Option<Instant>,
    /// Why there is no session now, or was none last.
    trouble: String,
}

/// Why a question that may be repeated has no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// The manager said no; `sent` before, and that was not answered.
    Fault {
        /// What it said.
        fault: Fault,
        /// Whether it was sent before.
        sent: bool,
    },
    /// It cannot be sent, again if it was `sent` before.
    Refused {
        /// Why not.
        refusal: Refusal,
        /// Whether it was sent before.
        sent: bool,
    },
    /// There was no time left; `why` it took so long, and whether the question may have arrived.
    Late {
        /// Whether it was sent at least once.
        sent: bool,
        /// What went wrong last.
        why: String,
    },
    /// There is no session, and will not be one.
    Stop {
        /// Why not.
        stop: Stop,
        /// Whether it was sent over an earlier one.
        sent: bool,
    },
}

impl<'s> Steady<'s> {
    /// Connects for the first time; the whole may last until `deadline`.
    ///
    /// # Errors
    /// [`Stop`], as for [`Link::connect`].
    pub async fn connect(settings: &'s Settings, deadline: Option<Instant>) -> Result<Self, Stop> {
        let link = Link::connect(settings, deadline).await?;
        let mut backoff = Backoff::new(BACKOFF, random::number());
        backoff.connected(Instant::now().into_std());
        Ok(Self { settings, deadline, link: Some(link), backoff, again_at: None, trouble: String::new() })
    }

    /// When the command must have ended.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// When a question that is asked now must have its answer: with the command, or in the time of a call.
    pub fn answer_by(&self) -> Instant {
        self.deadline.unwrap_or_else(|| Instant::now() + self.settings.config.call.timeout)
    }

    /// Waits for the deadline; for ever if there is none.
    pub async fn late(deadline: Option<Instant>) {
        match deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }

    /// What holds for this run.
    pub fn settings(&self) -> &'s Settings {
        self.settings
    }

    /// Why there was no session last.
    pub fn trouble(&self) -> &str {
        &self.trouble
    }

    /// The manager, over a session that is made again if it was lost. Waits as long as it takes. Cancel-safe.
    ///
    /// # Errors
    /// [`Stop`] when another attempt makes no sense.
    pub async fn peer(&mut self) -> Result<Peer, Stop> {
        loop {
            if self.link.as_ref().is_some_and(|link| link.peer().is_closed()) {
                self.lost("the session ended", None);
            }
            if let Some(at) = self.again_at {
                sleep_until(at).await;
                self.again_at = None;
                continue;
            }
            if self.link.is_none() {
                match Link::dial(self.settings, self.deadline).await {
                    Ok(link) => {
                        self.backoff.connected(Instant::now().into_std());
                        self.link = Some(link);
                    }
                    Err(NoLink::Lasting(stop)) => return Err(stop),
                    Err(NoLink::ForNow(report, bye)) => {
                        self.lost(&format!("{}: {}", report.what, report.why), bye.as_ref());
                        continue;
                    }
                }
            }
            if let Some(link) = &self.link {
                return Ok(link.peer().clone());
            }
        }
    }

    /// The session is of no use any more: the next one is made after a while.
    pub fn lost(&mut self, why: &str, bye: Option<&Bye>) {
        self.trouble = why.to_owned();
        if let Some(link) = self.link.take() {
            // the driver writes it if it can; nobody waits for that
            link.peer().close(Bye::new(ByeCode::Idle, "starting again"));
        }
        self.wait(bye);
    }

    /// The manager has no time for us now: the session stays, and the next question waits.
    pub fn put_off(&mut self, fault: &Fault) {
        self.trouble = fault.to_string();
        let mut bye = Bye::new(ByeCode::Overloaded, fault.message.clone());
        bye.retry_after_ms = fault.retry_after_ms;
        self.wait(Some(&bye));
    }

    fn wait(&mut self, bye: Option<&Bye>) {
        let now = Instant::now();
        self.again_at = Some(now + self.backoff.ended(bye, now.into_std()));
    }

    /// Asks what may be asked twice, until there is an answer: over as many sessions as it takes, until `until` at the
    /// latest. One try has `each`.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn ask(
        &mut self,
        method: &'static str,
        kwargs: &Raw,
        each: Duration,
        until: Option<Instant>,
    ) -> Result<Raw, NoAnswer> {
        let mut sent = false;
        loop {
            let until = earlier(until, self.deadline);
            let peer = tokio::select! {
                biased;
                peer = self.peer() => peer.map_err(|stop| NoAnswer::Stop { stop, sent })?,
                () = Self::late(until) => return Err(self.too_late(sent)),
            };
            let time = until.map_or(each, |until| left(until).min(each));
            if time.is_zero() {
                return Err(self.too_late(sent));
            }
            let call = Call::new(method, time).with_kwargs(kwargs.clone());
            match peer.call(call).await {
                Ok(answer) => return Ok(answer),
                Err(CallError::Fault(fault)) if is_passing(&fault) => self.put_off(&fault),
                Err(CallError::Fault(fault)) => return Err(NoAnswer::Fault { fault, sent }),
                Err(CallError::Refused(Refusal::Closed(reason))) => self.lost(&reason.to_string(), None),
                Err(CallError::Refused(refusal)) => return Err(NoAnswer::Refused { refusal, sent }),
                Err(CallError::Closed(reason)) => {
                    sent = true;
                    self.lost(&reason.to_string(), None);
                }
                Err(CallError::TimedOut(_)) => {
                    sent = true;
                    "there was no answer in time".clone_into(&mut self.trouble);
                }
            }
        }
    }

    /// Asks over the session that there is now, once; `None` when there is none, or no good answer in this time.
    pub async fn ask_once(&self, method: &'static str, kwargs: Raw, time: Duration) -> Option<Raw> {
        let peer = self.link.as_ref()?.peer();
        peer.call(Call::new(method, time).with_kwargs(kwargs)).await.ok()
    }

    fn too_late(&self, sent: bool) -> NoAnswer {
        let why = match self.trouble.as_str() {
            "" => "the time was over before it was sent",
            trouble => trouble,
        };
        NoAnswer::Late { sent, why: why.to_owned() }
    }

    /// Says goodbye if there is somebody to say it to.
    pub async fn close(self) {
        if let Some(link) = self.link {
            link.close().await;
        }
    }
}

impl NoAnswer {
    /// Why it is not known whether what was asked for is done, if so: it was sent, and nobody can say what became of it.
    pub fn doubt(&self) -> Option<String> {
        match self {
            // what is refused now may have been taken before, and a manager that failed did not look
            Self::Fault { fault, sent: true }
                if matches!(fault.code, FaultCode::Forbidden | FaultCode::Internal) =>
            {
                Some(format!("its answer was lost, and then: {fault}"))
            }
            Self::Fault { .. } => None,
            Self::Refused { refusal, sent: true } => {
                Some(format!("its answer was lost, and then: {}", chain(refusal)))
            }
            Self::Late { why, sent: true } => Some(why.clone()),
            Self::Stop { stop: Stop::Failed(report), sent: true } => {
                Some(format!("its answer was lost, and then: {}: {}", report.what, report.why))
            }
            Self::Stop { stop: Stop::Output(_), sent: true } => Some("its answer was lost".to_owned()),
            Self::Refused { sent: false, .. }
            | Self::Late { sent: false, .. }
            | Self::Stop { sent: false, .. } => None,
        }
    }

    /// In three lines.
    pub fn report(self, target: &crate::report::Target, verbose: bool) -> Stop {
        let report = match self {
            Self::Stop { stop, .. } => return stop,
            Self::Fault { fault, .. } => Report::of_fault(&fault, target, verbose),
            Self::Refused { refusal, .. } => crate::link::refused(&target.name(), &refusal),
            Self::Late { why, .. } => Report::new(
                crate::exit::Exit::TimedOut,
                format!("{} took too long", target.name()),
                why,
                "ask again, or give it longer with --timeout DUR",
            ),
        };
        report.into()
    }
}

/// Whether a fault says that it is a matter of time.
pub fn is_passing(fault: &Fault) -> bool {
    matches!(fault.code, FaultCode::ShuttingDown | FaultCode::Overloaded)
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
