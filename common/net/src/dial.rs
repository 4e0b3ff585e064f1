//! Connecting as the side that dials: once, or again and again with back-off.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redpoll_common::session::CloseReason;
use redpoll_common::session::backoff::{Backoff, BackoffOptions};
pub use redpoll_common::session::chain;
use redpoll_common::session::terms::Liveness;
use redpoll_common::wire::bye::Reaction;
use redpoll_common::wire::{AgentHello, Bye};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, error, info, info_span, warn};

use crate::driver::{DriverOptions, drive};
use crate::expiry;
use crate::greet::{self, GreetError};
use crate::peer::Peer;
use crate::service::Service;
use crate::transport::{Transport, TransportError};

/// One in so many failures in a row is logged, after the first.
const LOG_EVERY: u32 = 10;

/// Why a dial did not lead to a session.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DialError {
    /// There is no connection.
    #[error("no connection to {address}")]
    Transport {
        /// What was dialled.
        address: String,
        /// Why.
        #[source]
        source: TransportError,
    },
    /// There was a connection, and no session on it.
    #[error("no session with {address}")]
    Greet {
        /// What was dialled.
        address: String,
        /// Why.
        #[source]
        source: GreetError,
    },
}

impl DialError {
    /// The peer's goodbye, if it refused with one.
    pub fn their_bye(&self) -> Option<&Bye> {
        match self {
            Self::Transport { .. } => None,
            Self::Greet { source, .. } => source.their_bye(),
        }
    }

    /// Whether trying again soon is useless, because a person has to change something first.
    pub fn needs_a_person(&self) -> bool {
        match self {
            Self::Transport { source, .. } | Self::Greet { source: GreetError::Transport(source), .. } => {
                source.needs_a_person()
            }
            Self::Greet { source, .. } => needs_a_person(source.their_bye()),
        }
    }

    /// What a person could look at next: a sentence for a `help:` line.
    pub fn help(&self) -> &'static str {
        const LOG: &str = "the manager's log says more";
        match self {
            Self::Transport { source, .. } => source.help().unwrap_or(LOG),
            Self::Greet { source, .. } => match source {
                // under TLS 1.3 a refused certificate shows only here
                GreetError::Ended => {
                    "the manager closed the connection before its hello; is this certificate signed by its CA?"
                }
                GreetError::Transport(source) => source.help().unwrap_or(LOG),
                GreetError::Silent(_) => "does a Redpoll manager listen at this address?",
                GreetError::Malformed(_) => {
                    "does a Redpoll manager of a known version listen at this address?"
                }
                GreetError::Handshake(_) => LOG,
            },
        }
    }
}

/// How to say hello, and what to do with the session.
#[derive(Debug, Clone)]
pub struct DialOptions {
    /// How long the manager may take for its hello.
    pub hello_timeout: Duration,
    /// When we ping and give up, if sooner than the manager says; `None`: as it says.
    pub liveness: Option<Liveness>,
    /// For the driver of each session; its seed is mixed with a number per session.
    pub driver: DriverOptions,
    /// When to dial again.
    pub backoff: BackoffOptions,
}

/// Dials once: the handle of the session. Its driver runs on `tracker`, and closes it when the peer's certificate ends.
///
/// # Errors
/// [`DialError`]; the transport and the hello have deadlines of their own.
pub async fn connect_once(
    transport: &dyn Transport,
    hello: AgentHello,
    service: Arc<dyn Service>,
    options: &DialOptions,
    tracker: &TaskTracker,
) -> Result<Peer, DialError> {
    let address = || transport.describe();
    let connection =
        transport.connect().await.map_err(|source| DialError::Transport { address: address(), source })?;
    let (connection, mut terms) = greet::hello(connection, hello, options.hello_timeout)
        .await
        .map_err(|source| DialError::Greet { address: address(), source })?;
    if let Some(own) = options.liveness {
        terms.liveness = terms.liveness.meet(own);
    }
    let (peer, driver) = drive(connection, terms, service, options.driver, tracker.clone());
    let session = peer.clone();
    let life = async move { expiry::close_when_expired(&session, driver).await };
    tracker.spawn(life.in_current_span());
    Ok(peer)
}

/// Who hears of the sessions that [`keep_connected`] makes and loses.
pub trait Link: Send + Sync + fmt::Debug {
    /// The hello for the next attempt.
    fn hello(&self) -> AgentHello;
    /// A session began.
    fn connected(&self, peer: &Peer);
    /// It ended.
    fn disconnected(&self, reason: &CloseReason);
}

/// Keeps one session with the manager until told to stop: dials, serves, backs off, without end.
///
/// The first failure in a row and every tenth are logged at WARN, or at ERROR when a person must act; the others at
/// DEBUG. A stop during a session leaves the session to whoever holds its [`Peer`].
pub async fn keep_connected(
    transport: &dyn Transport,
    link: &dyn Link,
    service: Arc<dyn Service>,
    mut options: DialOptions,
    tracker: &TaskTracker,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::new(options.backoff, options.driver.seed);
    let mut connection = 0u64;
    let mut failures = 0u32;
    while !stop.is_cancelled() {
        connection += 1;
        options.driver.seed = options.driver.seed.wrapping_add(1);
        let hello = link.hello();
        let span = info_span!("session", agent = %hello.id, connection);
        let attempt = connect_once(transport, hello, service.clone(), &options, tracker);
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            outcome = attempt.instrument(span.clone()) => outcome,
        };
        let (bye, failed) = match outcome {
            Ok(peer) => {
                backoff.connected(Instant::now().into_std());
                failures = 0;
                span.in_scope(|| greeted(&peer));
                link.connected(&peer);
                let reason = tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    reason = peer.closed() => reason,
                };
                let bye = reason.their_bye().cloned();
                if needs_a_person(bye.as_ref()) {
                    error!(parent: &span, %reason, "disconnected; a person must act");
                } else {
                    info!(parent: &span, %reason, "disconnected");
                }
                link.disconnected(&reason);
                (bye, None)
            }
            Err(error) => (error.their_bye().cloned(), Some(error)),
        };
        let delay = backoff.ended(bye.as_ref(), Instant::now().into_std());
        if let Some(error) = failed {
            span.in_scope(|| log_failure(&error, failures, delay));
            failures = failures.saturating_add(1);
        }
        debug!(parent: &span, ?delay, attempt = backoff.attempt(), "dialling again");
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = sleep(delay) => {}
        }
    }
}

fn needs_a_person(bye: Option<&Bye>) -> bool {
    let code = bye.and_then(|bye| bye.code);
    code.is_some_and(|code| code.reaction() == Reaction::ComeBackSlowly)
}

fn greeted(peer: &Peer) {
    let (info, terms) = (peer.info(), peer.terms());
    let (manager, address) = (&info.identity.id, &info.address);
    info!(%manager, %address, version = %terms.peer_version, protocol = terms.protocol, "connected");
    if let Some(not_after) = expiry::of(peer) {
        expiry::warn_if_soon("manager", not_after);
    }
}

fn log_failure(error: &DialError, failures: u32, delay: Duration) {
    let (why, help) = (chain(error), error.help());
    if !failures.is_multiple_of(LOG_EVERY) {
        debug!(error = %why, failures, ?delay, "cannot connect");
    } else if error.needs_a_person() {
        error!(error = %why, help, failures, ?delay, "cannot connect, a person must act; will try again");
    } else {
        warn!(error = %why, help, failures, ?delay, "cannot connect, will try again");
    }
}
