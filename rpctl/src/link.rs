//! Connects to the manager as an operator, for one question.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use redpoll_certs::credentials::{Credentials, TlsFiles, load_identity_files};
use redpoll_certs::expect::Expect;
use redpoll_common::api::method;
use redpoll_common::identity::Role;
use redpoll_common::rounding::rounded;
use redpoll_common::session::backoff::BackoffOptions;
use redpoll_common::session::terms::MAX_WINDOW;
use redpoll_common::session::{CloseReason, Refusal};
use redpoll_common::wire::{
    AgentHello, Bye, ByeCode, Fault, FaultCode, Limits, MAX_FRAME_LIMIT, Notification, PROTOCOL,
    ProtocolRange, Raw,
};
use redpoll_config::TlsConfig;
use redpoll_net::dial::{self, DialError, connect_once};
use redpoll_net::service::Running;
use redpoll_net::tls::{self, TlsClient, TlsTransport};
use redpoll_net::transport::PeerInfo;
use redpoll_net::{Call, CallContext, CallError, DriverOptions, Peer, Service, clock, random};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use crate::Stop;
use crate::exit::Exit;
use crate::report::{Report, Target, chain};
use crate::settings::Settings;

/// How long the goodbye at the end may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// A session with the manager.
#[derive(Debug)]
pub struct Link {
    peer: Peer,
    transport: Arc<TlsTransport>,
    tracker: TaskTracker,
    /// What one request may take.
    each: Duration,
    /// When the whole command must have ended: with `--timeout` only.
    until: Option<Instant>,
    own: String,
}

impl Link {
    /// Connects, within the dial timeout and before `until`, when the whole command must have ended.
    ///
    /// # Errors
    /// [`Stop`] with exit code 2 when a local file is the reason, 4 when the manager is.
    pub async fn connect(settings: &Settings, until: Option<Instant>) -> Result<Self, Stop> {
        Self::dial(settings, until).await.map_err(NoLink::into_stop)
    }

    /// The same, and tells whether another attempt makes sense.
    ///
    /// # Errors
    /// [`NoLink`].
    pub(crate) async fn dial(settings: &Settings, until: Option<Instant>) -> Result<Self, NoLink> {
        let credentials = credentials(&settings.config.tls).map_err(NoLink::Lasting)?;
        let id = credentials.info.identity.id.to_string();
        let client = TlsClient::new(credentials).map_err(|error| {
            let help = "name an operator's certificate and key in [tls]";
            NoLink::Lasting(Report::of_error(Exit::Usage, &error, help).into())
        })?;
        let within = within(settings.config.manager.dial_timeout, until);
        let managers: Vec<Arc<str>> =
            settings.config.manager.address.iter().map(|address| address.to_string().into()).collect();
        let address = managers.join(", ");
        let options = tls::DialOptions { total: within, ..tls::DialOptions::default() };
        let transport = Arc::new(TlsTransport::new(managers, Arc::new(client), options));
        let options = dial::DialOptions {
            hello_timeout: within,
            liveness: None,
            driver: DriverOptions { seed: random::number(), ..DriverOptions::default() },
            backoff: BackoffOptions::default(),
        };
        let tracker = TaskTracker::new();
        let dialling = connect_once(&*transport, hello(id.clone()), Arc::new(Nothing), &options, &tracker);
        match timeout(within, dialling).await {
            Ok(Ok(peer)) => {
                let each = settings.config.call.timeout;
                Ok(Self { peer, transport, tracker, each, until, own: id })
            }
            Ok(Err(error)) => {
                let report = not_connected(&address, &error);
                Err(if error.needs_a_person() {
                    NoLink::Lasting(report.into())
                } else {
                    NoLink::ForNow(report, error.their_bye().cloned())
                })
            }
            Err(_elapsed) => {
                // what is left of a time limit is no round number
                let tenths = within.as_millis().saturating_add(50) / 100;
                let report = Report::new(
                    Exit::Unreachable,
                    format!("cannot reach the manager at {address}"),
                    format!("there was no session within {}.{} s", tenths / 10, tenths % 10),
                    "is the manager running, and does nothing between here and there swallow packets?",
                );
                Err(NoLink::ForNow(report, None))
            }
        }
    }

    /// The peer that is the manager.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The operator who asks.
    pub fn own(&self) -> &str {
        &self.own
    }

    /// The way to the manager, for connections beside the session.
    pub fn transport(&self) -> &Arc<TlsTransport> {
        &self.transport
    }

    /// When the whole command must have ended: with `--timeout` only.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// A call of one of the manager's methods. Each has the time of a call for itself: what people and readers take between
    /// two of them counts for `--timeout` alone.
    pub fn request(&self, method: &'static str, kwargs: Raw) -> Call {
        Call::new(method, within(self.each, self.until)).with_kwargs(kwargs)
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// [`Stop`] with a report on `target`.
    pub async fn ask(&self, call: Call, target: &Target, verbose: bool) -> Result<Raw, Stop> {
        self.peer.call(call).await.map_err(|error| no_answer(&error, target, verbose).into())
    }

    /// Asks for a change and waits for the answer: without one nobody knows whether it was made.
    ///
    /// # Errors
    /// [`Stop`] with a report on `target`.
    pub async fn change(&self, call: Call, target: &Target, verbose: bool) -> Result<Raw, Stop> {
        self.peer.call(call).await.map_err(|error| not_heard(&error, target, verbose).into())
    }

    /// Says goodbye, so that the manager does not take this end for a loss.
    pub async fn close(self) {
        self.peer.close(Bye::new(ByeCode::Idle, "done"));
        self.tracker.close();
        // A manager that does not read in time sees the connection end without a goodbye, and that is no harm.
        let _in_time = timeout(FAREWELL, self.tracker.wait()).await;
    }
}

/// Why there is no session.
#[derive(Debug)]
pub(crate) enum NoLink {
    /// It would be the same again: a file is wrong, or we are not wanted.
    Lasting(Stop),
    /// It may be otherwise in a moment; with the manager's goodbye, if there was one.
    ForNow(Report, Option<Bye>),
}

impl NoLink {
    fn into_stop(self) -> Stop {
        match self {
            Self::Lasting(stop) => stop,
            Self::ForNow(report, _) => report.into(),
        }
    }
}

/// The time until a deadline.
pub fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// The time that something may take which must have ended at `until`.
fn within(time: Duration, until: Option<Instant>) -> Duration {
    until.map_or(time, |until| left(until).min(time))
}

/// Why a question that changes nothing has no answer.
pub(crate) fn no_answer(error: &CallError, target: &Target, verbose: bool) -> Report {
    let name = target.name();
    match error {
        CallError::Fault(fault) => Report::of_fault(fault, target, verbose),
        CallError::TimedOut(after) if after.is_zero() => timed_out(&name, *after),
        CallError::TimedOut(after) => {
            let help = "nothing was changed; give it longer with --timeout DUR";
            Report { help: help.to_owned(), ..timed_out(&name, *after) }
        }
        CallError::Closed(reason) => Report::new(
            Exit::Unreachable,
            format!("{name}: the manager ended the session"),
            reason.to_string(),
            "try again; the manager's log says more",
        ),
        CallError::Refused(refusal) => refused(&name, refusal),
    }
}

/// Why a change has no answer.
fn not_heard(error: &CallError, target: &Target, verbose: bool) -> Report {
    if let CallError::TimedOut(after) = error {
        return timed_out(&target.name(), *after);
    }
    let CallError::Closed(reason) = error else { return no_answer(error, target, verbose) };
    Report::new(
        Exit::Unknown,
        format!("the manager was lost before it answered {}", target.name()),
        reason.to_string(),
        may_be_done(target),
    )
}

/// Where to look whether a change was made that was asked for and not answered.
pub(crate) fn may_be_done(target: &Target) -> String {
    let look = match target {
        Target::Agent { method: method::NOTIFY, .. } => "look at the agent's log".to_owned(),
        Target::Agent { method: method::AGENTS_REVOKE | method::AGENTS_RESTORE, .. } => {
            "look with rpctl agents list --revoked".to_owned()
        }
        Target::Agent { agent, .. } => format!("look with rpctl agents procedures {agent}"),
        Target::Procedure { agent, .. } => format!("look at {agent}"),
        Target::Manager { method: method::OPERATORS_REVOKE | method::OPERATORS_RESTORE } => {
            "look with rpctl operators list --revoked".to_owned()
        }
        Target::Manager { .. } => "look with rpctl jobs list and rpctl jobs show JOB".to_owned(),
    };
    format!("it may be done: {look} before you repeat it")
}

/// No answer came in time; what has no time at all is not sent.
pub(crate) fn timed_out(name: &str, after: Duration) -> Report {
    if after.is_zero() {
        return Report::new(
            Exit::TimedOut,
            format!("{name} was not sent"),
            "the time of --timeout was over before it",
            "run it again, and give it longer with --timeout DUR",
        );
    }
    Report::new(
        Exit::TimedOut,
        format!("{name} took too long"),
        format!("there was no answer within {}", redpoll_config::format_duration(rounded(after))),
        "it was told to stop and may have run; give it longer with --timeout DUR",
    )
}

/// Nothing was sent.
pub(crate) fn refused(name: &str, refusal: &Refusal) -> Report {
    let (exit, help) = match refusal {
        Refusal::Closed(_) => (Exit::Unreachable, "try again; the manager's log says more"),
        Refusal::TooMany { .. } => (Exit::Unreachable, "try again in a moment"),
        Refusal::TooLarge { .. } => {
            (Exit::Refused, "send less at once, or raise [session] frame_limit of the manager")
        }
        Refusal::Unacceptable(_) => (Exit::Refused, "see rpctl call --help for the forms of arguments"),
        Refusal::TextOnly => (Exit::Refused, "send text only, or use a newer manager"),
    };
    Report::new(exit, format!("{name} was not sent"), chain(refusal), help)
}

/// The session ended while a procedure may have been running.
pub(crate) fn lost(name: &str, reason: &CloseReason) -> Report {
    Report::new(
        Exit::Unknown,
        format!("the manager was lost during {name}"),
        reason.to_string(),
        "it may have run: look at the machine before you repeat it",
    )
}

fn credentials(tls: &TlsConfig) -> Result<Credentials, Stop> {
    let files = TlsFiles { ca: tls.ca.clone(), cert: tls.cert.clone(), key: tls.key.clone() };
    load_identity_files(&files, &Expect::role(Role::Operator), SystemTime::now()).map_err(|error| {
        let help = format!("{}; [tls] of the configuration says where they are", error.help());
        Report::usage("cannot use this operator's certificate", chain(&error), help).into()
    })
}

fn hello(id: String) -> AgentHello {
    AgentHello {
        id,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: Some(ProtocolRange { min: 0, max: PROTOCOL }),
        // The manager's own limits are what counts.
        limits: Some(Limits { frame: MAX_FRAME_LIMIT as u64, window: MAX_WINDOW, ..Limits::default() }),
        instance: Some(random::bytes16()),
        wall_ms: Some(clock::wall_ms()),
        ..AgentHello::default()
    }
}

fn not_connected(address: &str, error: &DialError) -> Report {
    let what = match error {
        DialError::Transport { .. } => format!("cannot reach the manager at {address}"),
        DialError::Greet { .. } => format!("the manager at {address} did not take us"),
    };
    let why = match std::error::Error::source(error) {
        Some(source) => chain(source),
        None => error.to_string(),
    };
    let help = match error.their_bye() {
        Some(bye) => help_on_refusal(bye),
        None => error.help().to_owned(),
    };
    Report::new(Exit::Unreachable, what, why, help)
}

fn help_on_refusal(bye: &Bye) -> String {
    let wait = bye.retry_after_ms.map_or_else(
        || "try again in a moment".to_owned(),
        |ms| format!("try again in {} s", ms.div_ceil(1000)),
    );
    match bye.code {
        Some(ByeCode::ShuttingDown | ByeCode::Overloaded | ByeCode::Replaced | ByeCode::Idle) => wait,
        Some(ByeCode::Unauthorized) => {
            "`rpctl certs show FILE` says whose certificate this is; ask for one of the manager's cluster"
                .to_owned()
        }
        Some(ByeCode::Revoked | ByeCode::Quarantined) => {
            "ask who revoked it; get a new certificate".to_owned()
        }
        Some(ByeCode::Version) => "use an rpctl of the manager's version".to_owned(),
        Some(
            ByeCode::Protocol | ByeCode::Malformed | ByeCode::TooLarge | ByeCode::Flow | ByeCode::Unknown,
        )
        | None => "compare the versions of rpctl and manager; the manager's log says more".to_owned(),
    }
}

/// An operator at a command line serves nobody.
#[derive(Debug)]
struct Nothing;

impl Service for Nothing {
    fn start(&self, _call: CallContext) -> Running {
        Running::refused(Fault::new(FaultCode::UnknownProcedure, "rpctl serves no procedures"))
    }

    fn notified(&self, _from: &PeerInfo, _notification: Notification) {}
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
