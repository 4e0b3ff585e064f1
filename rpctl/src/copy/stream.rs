//! A connection of its own for a file: a leg to the manager, joined with the agent's, and TLS with the agent itself over both. The manager
//! passes the bytes on and cannot read them. See [`redpoll_common::leg`].

use std::sync::Arc;
use std::time::Duration;

use redpoll_common::ids::PeerId;
use redpoll_common::leg::{LegHello, Ticket};
use redpoll_common::wire::{Fault, FaultCode, Raw, RawMap};
use redpoll_net::tls::{Cutter, DataEnd, DataError, LegError, Stopped, TlsTransport, call_digest};
use redpoll_net::{CallError, CallEvent, CallStream, random};
use tokio::task::JoinHandle;
use tokio::time::{timeout, timeout_at};

use super::Copy;
use super::download::TRUSTED;
use super::remote::{AGAIN, ANSWER, Failure};
use crate::cli::Via;
use crate::exit::Exit;
use crate::report::{Report, chain};

/// How long each step may take until the connection is there.
const STEP: Duration = Duration::from_secs(10);
/// A connection on which nothing moves for so long is given up.
const IDLE: Duration = Duration::from_secs(60);
/// How long the reason of a connection that failed may take: the call's answer says it better than the connection.
const REASON: Duration = Duration::from_secs(10);
/// A file, or what is left of it, goes over a connection of its own from this size on: below, making it takes longer than it saves.
const LARGE: u64 = 16 * 1024 * 1024;

/// A file's connection, and the call that it belongs to.
pub(super) struct Connected {
    /// This end of the connection.
    pub(super) end: DataEnd,
    /// Ends the connection from here.
    pub(super) cutter: Cutter,
    /// The call.
    pub(super) call: CallStream,
}

/// How the bytes of a file go.
pub(super) enum Way {
    /// Over a connection of their own.
    Stream(Box<Connected>),
    /// In calls; with what is worth knowing about it.
    Calls(Vec<String>),
}

/// Why there is no connection.
enum NoStream {
    /// Calls may do: it cannot be had, or the call fails in any case, and says why better without it.
    Unavailable(Failure),
    /// It is refused, or somebody else is at the other end.
    Refused(Failure),
}

impl Copy<'_> {
    /// Whether so many bytes are to go over a connection of their own, if one can be had.
    pub(super) fn wants_stream(&self, bytes: u64) -> bool {
        let wanted = match self.wishes.via {
            Via::Auto => bytes >= LARGE,
            Via::Stream => true,
            Via::Calls => false,
        };
        wanted && self.remote.transport().is_some()
    }

    /// Makes a connection for a call with these arguments, which moves `bytes`, if they are to have one.
    ///
    /// # Errors
    /// A [`Failure`]
    pub(super) async fn connect(
        &self,
        procedure: &str,
        bytes: u64,
        fill: impl FnOnce(RawMap) -> RawMap,
    ) -> Result<Way, Failure> {
        let wanted = self.wants_stream(bytes);
        let Some(transport) = self.remote.transport().filter(|_| wanted).cloned() else {
            return Ok(Way::Calls(Vec::new()));
        };
        let connecting = self.try_connect(&transport, procedure, fill);
        let connected = match self.remote.deadline() {
            None => connecting.await,
            Some(deadline) => timeout_at(deadline, connecting).await.unwrap_or_else(|_elapsed| {
                let what = format!("{}: no connection for the file in time", self.remote.agent);
                let why = "the time of --timeout is over";
                Err(NoStream::Refused(Box::new(Report::new(Exit::TimedOut, what, why, AGAIN))))
            }),
        };
        match connected {
            Ok(connected) => Ok(Way::Stream(Box::new(connected))),
            Err(NoStream::Unavailable(failure)) if self.wishes.via == Via::Auto => {
                let agent = &self.remote.agent;
                let note =
                    format!("{agent}: the file goes in calls, which the manager can read: {}", failure.why);
                Ok(Way::Calls(vec![note]))
            }
            Err(NoStream::Unavailable(failure) | NoStream::Refused(failure)) => Err(failure),
        }
    }

    async fn try_connect(
        &self,
        transport: &Arc<TlsTransport>,
        procedure: &str,
        fill: impl FnOnce(RawMap) -> RawMap,
    ) -> Result<Connected, NoStream> {
        let unavailable = |why: String| {
            let what = format!("{}: no connection for the file", self.remote.agent);
            let help = "the manager's log says more; without --via stream it goes in calls";
            NoStream::Unavailable(Box::new(Report::new(Exit::Unreachable, what, why, help)))
        };
        let agent = PeerId::parse(&self.remote.agent).map_err(|error| unavailable(error.to_string()))?;
        let ticket = Ticket::new(random::bytes16());
        let hello = LegHello { ticket, agent: Some(agent.clone()) };
        let leg = async {
            let mut leg = transport.leg(&hello, STEP).await?;
            leg.known(STEP).await.map(|()| leg)
        };
        let leg = leg.await.map_err(|error| match error {
            LegError::Refused { code, message } => {
                self.no_stream(procedure, CallError::Fault(Fault::new(code, message)))
            }
            LegError::NoManager | LegError::Transport(_) | LegError::Malformed(_) => {
                unavailable(chain(&error))
            }
        })?;
        let kwargs = fill(RawMap::new()).text("stream", &ticket.text()).finish();
        let digest = call_digest(procedure, &kwargs);
        let started = self.remote.start(procedure, kwargs).await;
        let mut call = started.map_err(|error| self.no_stream(procedure, error))?;
        let connecting = async {
            let joined = leg.joined(STEP).await.map_err(|error| unavailable(chain(&error)))?;
            let end = transport.client().data(joined, &agent, (STEP, IDLE)).await;
            end.and_then(|mut end| end.say_call(digest).map(|()| end))
                .map_err(|error| self.not_the_agent(&error))
        };
        let connected = tokio::select! {
            biased;
            ended = answer(&mut call) => return Err(self.early(procedure, ended)),
            connected = connecting => connected,
        };
        let end = match connected {
            Ok(end) => end,
            Err(refused @ NoStream::Refused(_)) => return Err(refused),
            Err(unavailable) => {
                let reason = timeout(REASON, answer(&mut call)).await;
                return Err(reason.map_or(unavailable, |ended| self.early(procedure, ended)));
            }
        };
        let cutter = end.cutter().map_err(|error| unavailable(error.to_string()))?;
        Ok(Connected { end, cutter, call })
    }

    /// The call ended before there was a connection.
    fn early(&self, procedure: &str, ended: Result<Raw, CallError>) -> NoStream {
        match ended {
            Err(error) => self.no_stream(procedure, error),
            Ok(_strange) => {
                let what = format!("{}: {procedure} gave something else than the file", self.remote.agent);
                let why = "the call ended before there was a connection";
                NoStream::Refused(Box::new(Report::new(Exit::Failed, what, why, TRUSTED)))
            }
        }
    }

    /// A refusal is one, whatever way the bytes go; everything else the calls will say, if it is more than the lack of a connection.
    fn no_stream(&self, procedure: &str, error: CallError) -> NoStream {
        let refused = matches!(&error, CallError::Fault(fault) if fault.code == FaultCode::Rejected);
        let failure = self.remote.failed(procedure, error);
        if refused { NoStream::Refused(failure) } else { NoStream::Unavailable(failure) }
    }

    fn not_the_agent(&self, error: &DataError) -> NoStream {
        let agent = &self.remote.agent;
        if error.is_refusal() {
            let what = format!("what answers is not agent {agent}");
            let help = "nothing was sent to it; somebody between here and there may not be who it should be";
            return NoStream::Refused(Box::new(Report::new(Exit::Refused, what, chain(error), help)));
        }
        let what = format!("{agent}: no connection for the file");
        NoStream::Unavailable(Box::new(Report::new(Exit::Unreachable, what, chain(error), AGAIN)))
    }

    /// Waits for the thread that moves the bytes, and for the call's answer.
    ///
    /// # Errors
    /// A [`Failure`]: that of the call, of this side, or of the connection, in this order.
    pub(super) async fn both<T>(
        &self,
        procedure: &str,
        mut call: CallStream,
        cutter: Cutter,
        mut moving: JoinHandle<Result<T, Stopped<Failure>>>,
    ) -> Result<(T, Raw), Failure> {
        let early = tokio::select! {
            biased;
            moved = &mut moving => Err(moved),
            ended = answer(&mut call) => Ok(ended),
        };
        let (moved, ended) = match early {
            Ok(ended) => {
                if ended.is_err() {
                    // it would wait for somebody who takes or gives no more
                    drop(cutter);
                }
                (moving.await, Ok(ended))
            }
            Err(moved) => {
                let failed = !matches!(moved, Ok(Ok(_)));
                // to put a file on disk takes its time
                let patience = if failed { REASON } else { ANSWER };
                // what failed here is known here
                let here = matches!(moved, Ok(Err(Stopped::Here(_))));
                let ended = if here { None } else { timeout(patience, answer(&mut call)).await.ok() };
                (moved, ended.ok_or(()))
            }
        };
        let broke = |why: String| {
            let what = format!("{}: the file's connection broke", self.remote.agent);
            Box::new(Report::new(Exit::Unreachable, what, why, AGAIN))
        };
        match (moved, ended) {
            (Ok(Err(Stopped::Here(failure))), _) => Err(failure),
            (_, Ok(Err(error))) => Err(self.remote.failed(procedure, error)),
            (Ok(Err(Stopped::Connection(error))), _) => Err(broke(error.to_string())),
            (Ok(Ok(moved)), Ok(Ok(answer))) => Ok((moved, answer)),
            (Ok(Ok(_)), Err(())) => Err(broke("the agent did not say that it was all".to_owned())),
            (Err(error), _) => Err(broke(error.to_string())),
        }
    }
}

/// Waits for the answer of a call that gives nothing else. Cancel-safe.
async fn answer(call: &mut CallStream) -> Result<Raw, CallError> {
    loop {
        match call.next().await {
            Some(CallEvent::End(result)) => return result,
            Some(CallEvent::Value(_) | CallEvent::Progress(_)) => {}
            None => return Err(CallError::Closed(redpoll_common::session::CloseReason::Ended)),
        }
    }
}
