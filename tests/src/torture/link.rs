//! A client that keeps its session through everything: what is asked is asked again until there is an answer.

use std::net::SocketAddr;
use std::time::Duration;

use redpoll_certs::testing::TestCertificate;
use redpoll_common::session::CloseReason;
use redpoll_common::session::backoff::BackoffOptions;
use redpoll_common::wire::{AgentHello, Fault, FaultCode, Raw};
use redpoll_net::dial::{self, DialOptions, keep_connected};
use redpoll_net::{Call, CallError, CallStream, DriverOptions, Peer, random};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::operator::{Nothing, credentials, hello, transport};

/// How long one try may take. The manager may be killed at any time, and TCP tells at once.
const TRY: Duration = Duration::from_secs(10);
/// How long something may go without an answer. Nothing is dead for that long.
pub const STUBBORN: Duration = Duration::from_secs(45);

/// The client.
#[derive(Debug, Clone)]
pub struct Link {
    sessions: watch::Receiver<Option<Peer>>,
}

/// Why there is no answer.
#[derive(Debug, Clone)]
pub enum Lost {
    /// It may have arrived or not.
    Maybe(String),
    /// The manager said no.
    Refused(Box<Fault>),
}

#[derive(Debug)]
struct Keeper {
    id: String,
    sessions: watch::Sender<Option<Peer>>,
}

impl dial::Link for Keeper {
    fn hello(&self) -> AgentHello {
        hello(&self.id)
    }

    fn connected(&self, peer: &Peer) {
        self.sessions.send_replace(Some(peer.clone()));
    }

    fn disconnected(&self, _reason: &CloseReason) {
        self.sessions.send_replace(None);
    }
}

impl Link {
    /// Keeps a session with the manager at `address` until `stop`.
    pub fn start(
        address: SocketAddr,
        own: &TestCertificate,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (sessions, receiver) = watch::channel(None);
        let keeper = Keeper { id: credentials(own).info.identity.id.to_string(), sessions };
        let ms = Duration::from_millis;
        let options = DialOptions {
            hello_timeout: TRY,
            liveness: None,
            driver: DriverOptions { seed: random::number(), ..DriverOptions::default() },
            backoff: BackoffOptions { initial: ms(20), max: ms(60), stable_after: ms(10) },
        };
        let (transport, sessions) = (transport(address, own), tracker.clone());
        tracker.spawn(async move {
            keep_connected(&transport, &keeper, Nothing::new(), options, &sessions, stop).await;
        });
        Self { sessions: receiver }
    }

    /// The session, once there is one.
    pub async fn peer(&self) -> Option<Peer> {
        let mut sessions = self.sessions.clone();
        let there = |peer: &Option<Peer>| peer.as_ref().is_some_and(|peer| !peer.is_closed());
        timeout_at(Instant::now() + TRY, sessions.wait_for(there)).await.ok()?.ok()?.clone()
    }

    /// Asks once.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn once(&self, method: &str, kwargs: &Raw) -> Result<Raw, Lost> {
        let Some(peer) = self.peer().await else { return Err(Lost::Maybe("no session".to_owned())) };
        let call = Call::new(method, TRY).with_kwargs(kwargs.clone());
        peer.call(call).await.map_err(lost)
    }

    /// Begins a call that gives values.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn stream(&self, method: &str, kwargs: &Raw) -> Result<CallStream, Lost> {
        let Some(peer) = self.peer().await else { return Err(Lost::Maybe("no session".to_owned())) };
        let call = Call::new(method, STUBBORN).with_kwargs(kwargs.clone());
        peer.start(call).await.map_err(lost)
    }

    /// Asks until there is an answer, and reads it.
    ///
    /// # Errors
    /// The manager's refusal, or a text that says what did not work for [`STUBBORN`].
    pub async fn sure<A: Serialize, T: DeserializeOwned>(
        &self,
        method: &str,
        arguments: &A,
    ) -> Result<T, Lost> {
        let kwargs = Raw::encode(arguments).map_err(|error| Lost::Maybe(error.to_string()))?;
        let answer = self.surely(method, &kwargs).await?;
        answer
            .decode()
            .map_err(|error| Lost::Maybe(format!("{method} answered what cannot be read: {error}")))
    }

    /// The same with arguments and answer as they travel.
    ///
    /// # Errors
    /// As [`Link::sure`].
    pub async fn surely(&self, method: &str, kwargs: &Raw) -> Result<Raw, Lost> {
        let deadline = Instant::now() + STUBBORN;
        loop {
            match self.once(method, kwargs).await {
                Ok(answer) => return Ok(answer),
                Err(Lost::Refused(fault)) if fault.code != FaultCode::Overloaded => {
                    return Err(Lost::Refused(fault));
                }
                Err(why) if Instant::now() > deadline => {
                    return Err(Lost::Maybe(format!("{method} has had no answer for {STUBBORN:?}: {why:?}")));
                }
                Err(Lost::Maybe(_) | Lost::Refused(_)) => sleep(Duration::from_millis(10)).await,
            }
        }
    }
}

/// What a failed call says about itself.
pub fn lost(error: CallError) -> Lost {
    match error {
        CallError::Fault(fault) if fault.code == FaultCode::ShuttingDown => Lost::Maybe(fault.message),
        CallError::Fault(fault) => Lost::Refused(Box::new(fault)),
        CallError::TimedOut(_) | CallError::Closed(_) | CallError::Refused(_) => {
            Lost::Maybe(error.to_string())
        }
    }
}
