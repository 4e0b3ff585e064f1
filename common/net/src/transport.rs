//! What moves payloads: how a peer is reached, and one established, authenticated, ordered pipe to it.
//!
//! A [`Connection`] moves whole payloads and says who is at the other end; how it marks their boundaries is its own
//! matter. [`Transport`] dials, [`Listener`] accepts. Accepting is not the same as a finished handshake:
//! [`Incoming`] is a stranger whose handshake is a future of its own, so that a silent one delays nobody.
//!
//! Every implementation passes [`crate::conformance`].

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use redpoll_common::identity::Identity;

use crate::tls::Leg;

mod error;

pub use error::{Refusal, TlsProblem, TransportError, Wait};

/// Bytes of frames a connection buffers for writing before [`Connection::poll_ready`] makes its caller wait.
///
/// One payload may go beyond the mark, so a connection holds at most this and one payload.
pub const WRITE_MARK: usize = 64 * 1024;

/// Who is at the other end of a connection, as proved by the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// The identity in its certificate.
    pub identity: Identity,
    /// Where it is, for people and logs: `192.0.2.1:4711`, or the name of something that has no address.
    pub address: Arc<str>,
    /// Its IP address, for address ranges, where it has one.
    pub ip: Option<IpAddr>,
    /// Whether `rp/1` was agreed upon below the protocol. A peer that did not offer it speaks protocol 0.
    pub speaks_rp1: bool,
    /// Its certificate. Absent where peers are told apart in another way.
    pub certificate: Option<PeerCertificate>,
}

/// What others need to know of a peer's certificate while its connection lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The serial number: lower-case hexadecimal, as deny lists have it.
    pub serial: Arc<str>,
    /// The SHA-256 of the whole certificate, in the same digits.
    pub sha256: Arc<str>,
    /// The last second in which it is valid. A connection does not outlive it.
    pub not_after: SystemTime,
}

/// One established, authenticated, ordered pipe of payloads.
///
/// Polling is cancel-safe: nothing is lost when a caller stops between two polls, so everything here may stand in a
/// `select!`. One task owns the connection; reading and writing may be polled in any mixture, and neither waits for
/// the other.
pub trait Connection: Send + Unpin + fmt::Debug {
    /// Who is at the other end.
    fn peer(&self) -> &PeerInfo;

    /// Sets how many bytes a payload may have, in both directions, from the next one on.
    ///
    /// It starts at [`redpoll_common::wire::HELLO_LIMIT`] and is raised once the hello is accepted.
    fn set_payload_limit(&mut self, limit: usize);

    /// The next payload; `None` when the peer has ended the connection cleanly, and nothing is left.
    ///
    /// After an error or the end, further calls repeat it.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, TransportError>>>;

    /// Ready when there is room for one more payload; makes room by writing.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>>;

    /// Takes a payload for writing. Call it after [`Self::poll_ready`] said so; nothing is on its way before
    /// [`Self::poll_flush`].
    ///
    /// # Errors
    /// [`TransportError::Frame`] when the payload exceeds the limit: it is not sent, and the connection goes on.
    /// [`TransportError::Closed`] after [`Self::poll_close`]. Others when writing failed earlier.
    fn start_send(&mut self, payload: Bytes) -> Result<(), TransportError>;

    /// Ready when everything taken has been handed to the operating system.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>>;

    /// Flushes, says goodbye and closes the writing half. Receiving goes on until the peer has closed its own.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>>;

    /// Bytes that came since the connection was made, a part of a frame included: a change is a sign of life.
    fn bytes_received(&self) -> u64;

    /// Bytes the operating system took since the connection was made: no change while something waits means that the
    /// peer does not read.
    fn bytes_sent(&self) -> u64;
}

/// A connection of whatever transport.
pub type BoxConnection = Box<dyn Connection>;

/// A way to reach a peer, to be used again and again.
pub trait Transport: fmt::Debug + Send + Sync {
    /// Dials once. Every wait inside has a deadline of its own, so this ends.
    ///
    /// Success does not mean that the peer accepts us: under TLS 1.3 the dialler is done before its certificate is
    /// looked at. Only the peer's hello means "you are in".
    fn connect(&self) -> BoxFuture<'_, Result<BoxConnection, TransportError>>;

    /// Where it dials, for people: `manager.example:7051`.
    fn describe(&self) -> String;
}

/// Where peers arrive.
pub trait Listener: fmt::Debug + Send {
    /// The next stranger. Never waits for anybody's handshake; cancel-safe.
    ///
    /// Passing troubles (no descriptors left, a stranger who hung up in the queue) are waited out inside.
    fn accept(&mut self) -> BoxFuture<'_, Result<Incoming, AcceptError>>;

    /// Where it listens, with the port that was really bound: `127.0.0.1:7051`.
    fn local_address(&self) -> String;
}

/// A stranger who has arrived and has proved nothing yet. Dropping it closes the connection.
pub struct Incoming {
    /// Where it comes from, for limits per address; `None` where there are no addresses.
    pub ip: Option<IpAddr>,
    /// The same for people and logs, with the port.
    pub address: Arc<str>,
    /// The handshake. It has a deadline of its own and wants a task of its own.
    pub handshake: BoxFuture<'static, Result<Accepted, TransportError>>,
}

/// What a stranger turned out to be.
#[derive(Debug)]
pub enum Accepted {
    /// A peer that is going to say hello.
    Session(BoxConnection),
    /// A leg: see [`redpoll_common::leg`].
    Leg(Box<Leg>),
}

impl Accepted {
    /// The session, for those who have nothing to do with legs: one ends here.
    pub fn session(self) -> Option<BoxConnection> {
        match self {
            Self::Session(connection) => Some(connection),
            Self::Leg(_) => None,
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Why nobody can arrive any more.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AcceptError {
    /// The listener was closed.
    #[error("the listener was closed")]
    Closed,
    /// The operating system refuses to accept, for a reason that waiting does not heal.
    #[error("cannot accept connections")]
    Io {
        /// What it says.
        #[source]
        source: Arc<io::Error>,
    },
}

/// The next payload; see [`Connection::poll_receive`]. Cancel-safe.
///
/// # Errors
/// When the connection broke or the peer sent what is not a frame.
pub async fn receive(connection: &mut dyn Connection) -> Option<Result<Bytes, TransportError>> {
    poll_fn(|cx| connection.poll_receive(cx)).await
}

/// Sends one payload and waits until it is with the operating system. Not cancel-safe: the payload may be gone or
/// not.
///
/// A connection's driver polls instead, so that it can read meanwhile. The caller gives it a deadline: a peer that
/// does not read makes this wait for ever.
///
/// # Errors
/// As [`Connection::start_send`], or when the connection broke.
pub async fn send(connection: &mut dyn Connection, payload: Bytes) -> Result<(), TransportError> {
    poll_fn(|cx| connection.poll_ready(cx)).await?;
    connection.start_send(payload)?;
    poll_fn(|cx| connection.poll_flush(cx)).await
}

/// Ends a connection so that what was sent last arrives: flushes, closes the writing half, then reads and drops
/// what still comes until the peer closes too, all within `grace`.
///
/// Without the reading a socket that is dropped with bytes unread resets the connection, and the reset overtakes a
/// `Bye` on its way. Errors do not matter any more and are not reported.
pub async fn close(mut connection: BoxConnection, grace: Duration) {
    let farewell = async {
        if poll_fn(|cx| connection.poll_close(cx)).await.is_ok() {
            while let Some(Ok(_unread)) = receive(&mut *connection).await {}
        }
    };
    // A peer that does not close in time is cut by the drop that follows.
    let _in_time = tokio::time::timeout(grace, farewell).await;
}
