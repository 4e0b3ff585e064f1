//! Connections inside one process: for tests, simulated fleets and benchmarks. No socket, no clock, no encryption.
//!
//! A [`MemoryNetwork`] has one listener and any number of diallers. Payloads move as they are, without a length
//! before them; a direction holds at most [`WRITE_MARK`] bytes and one payload, so that whoever does not read stops
//! the other side as TCP would. [`framed_pair`] is the other half of the truth: frames cut into pieces by a pipe of
//! a few bytes.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use redpoll_common::identity::Identity;
use redpoll_common::wire::frame::{FrameError, HEADER_LEN};
use redpoll_common::wire::{HELLO_LIMIT, MAX_FRAME_LIMIT};
use tokio::sync::mpsc;
use tokio::task::coop;

use crate::framed::Framed;
use crate::stream::Metered;
use crate::transport::{
    AcceptError, Accepted, BoxConnection, Connection, Incoming, Listener, PeerInfo, Transport,
    TransportError, WRITE_MARK,
};

/// Strangers that may wait to be accepted; who dials then waits until there is room.
const BACKLOG: usize = 4096;

/// A peer of `identity` that is reached without a network.
pub fn peer(identity: Identity) -> PeerInfo {
    let address = format!("memory:{identity}").into();
    PeerInfo { identity, address, ip: None, speaks_rp1: true, certificate: None }
}

/// Two ends of one connection: the first sees `second` as its peer, and the other way round.
pub fn pair(first: PeerInfo, second: PeerInfo) -> (BoxConnection, BoxConnection) {
    let (there, back) = (Direction::new(), Direction::new());
    let one = MemoryConnection::new(second, Arc::clone(&back), Arc::clone(&there));
    let other = MemoryConnection::new(first, there, back);
    (Box::new(one), Box::new(other))
}

/// Two ends of one framed connection over a pipe that holds `pipe` bytes at a time: with seven, no frame stays whole.
pub fn framed_pair(first: PeerInfo, second: PeerInfo, pipe: usize) -> (BoxConnection, BoxConnection) {
    let (one, other) = tokio::io::duplex(pipe);
    (Box::new(Framed::new(Metered::new(one), second)), Box::new(Framed::new(Metered::new(other), first)))
}

/// A place to dial within this process.
#[derive(Debug, Clone)]
pub struct MemoryNetwork {
    manager: PeerInfo,
    strangers: mpsc::Sender<Incoming>,
}

impl MemoryNetwork {
    /// A network whose one listener belongs to `manager`.
    pub fn new(manager: Identity) -> (Self, MemoryListener) {
        let (strangers, arriving) = mpsc::channel(BACKLOG);
        let manager = peer(manager);
        let listener = MemoryListener { arriving, address: manager.address.to_string() };
        (Self { manager, strangers }, listener)
    }

    /// The way of `identity` to the manager.
    pub fn transport(&self, identity: Identity) -> MemoryTransport {
        MemoryTransport { network: self.clone(), me: peer(identity) }
    }

    /// A stranger who connects and never says a word: its handshake does not end.
    ///
    /// # Errors
    /// When nobody listens any more.
    pub async fn dial_in_silence(&self) -> Result<(), TransportError> {
        let handshake = Box::pin(pending());
        self.arrive(Incoming { ip: None, address: "memory:silent".into(), handshake }).await
    }

    async fn arrive(&self, stranger: Incoming) -> Result<(), TransportError> {
        self.strangers.send(stranger).await.map_err(|_nobody| TransportError::Unreachable {
            address: Arc::clone(&self.manager.address),
            source: Arc::new(io::ErrorKind::ConnectionRefused.into()),
        })
    }
}

/// The way of one peer to the manager of a [`MemoryNetwork`].
#[derive(Debug)]
pub struct MemoryTransport {
    network: MemoryNetwork,
    me: PeerInfo,
}

impl Transport for MemoryTransport {
    fn connect(&self) -> BoxFuture<'_, Result<BoxConnection, TransportError>> {
        Box::pin(async move {
            let (mine, theirs) = pair(self.me.clone(), self.network.manager.clone());
            let handshake: BoxFuture<'static, _> = Box::pin(async move { Ok(Accepted::Session(theirs)) });
            let address = Arc::clone(&self.me.address);
            self.network.arrive(Incoming { ip: None, address, handshake }).await?;
            Ok(mine)
        })
    }

    fn describe(&self) -> String {
        self.network.manager.address.to_string()
    }
}

/// The listener of a [`MemoryNetwork`].
#[derive(Debug)]
pub struct MemoryListener {
    arriving: mpsc::Receiver<Incoming>,
    address: String,
}

impl Listener for MemoryListener {
    fn accept(&mut self) -> BoxFuture<'_, Result<Incoming, AcceptError>> {
        Box::pin(async move { self.arriving.recv().await.ok_or(AcceptError::Closed) })
    }

    fn local_address(&self) -> String {
        self.address.clone()
    }
}

/// One end of a connection within this process.
#[derive(Debug)]
struct MemoryConnection {
    peer: PeerInfo,
    limit: usize,
    incoming: Arc<Direction>,
    outgoing: Arc<Direction>,
    received: u64,
    sent: u64,
}

impl MemoryConnection {
    fn new(peer: PeerInfo, incoming: Arc<Direction>, outgoing: Arc<Direction>) -> Self {
        Self { peer, limit: HELLO_LIMIT, incoming, outgoing, received: 0, sent: 0 }
    }

    /// Ready when less than [`WRITE_MARK`] bytes wait to be read; what waits below it is "with the operating system".
    fn poll_room(&self, waker: &Waker) -> Poll<Result<(), TransportError>> {
        let mut pipe = self.outgoing.lock();
        if pipe.reader_gone {
            return Poll::Ready(Err(broken()));
        }
        if pipe.held < WRITE_MARK {
            return Poll::Ready(Ok(()));
        }
        pipe.writer = Some(waker.clone());
        Poll::Pending
    }
}

impl Connection for MemoryConnection {
    fn peer(&self) -> &PeerInfo {
        &self.peer
    }

    fn set_payload_limit(&mut self, limit: usize) {
        self.limit = limit.min(MAX_FRAME_LIMIT);
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, TransportError>>> {
        let turn = ready!(coop::poll_proceed(cx));
        let mut pipe = self.incoming.lock();
        // As on a stream, nothing behind a payload that is too long can be read any more.
        if let Some(len) = pipe.payloads.front().map(Bytes::len)
            && len > self.limit
        {
            let error = FrameError::TooLong { len, max: self.limit };
            return Poll::Ready(Some(Err(TransportError::Frame(error))));
        }
        if let Some(payload) = pipe.payloads.pop_front() {
            turn.made_progress();
            pipe.held = pipe.held.saturating_sub(HEADER_LEN + payload.len());
            self.received += (HEADER_LEN + payload.len()) as u64;
            wake(&mut pipe.writer);
            return Poll::Ready(Some(Ok(payload)));
        }
        match pipe.end {
            None => {
                pipe.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(End::Clean) => Poll::Ready(None),
            Some(End::Abrupt) => Poll::Ready(Some(Err(broken()))),
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.poll_room(cx.waker())
    }

    fn start_send(&mut self, payload: Bytes) -> Result<(), TransportError> {
        let len = payload.len();
        if len == 0 {
            return Err(TransportError::Frame(FrameError::Empty));
        }
        if len > self.limit {
            return Err(TransportError::Frame(FrameError::TooLong { len, max: self.limit }));
        }
        let mut pipe = self.outgoing.lock();
        if pipe.end.is_some() {
            return Err(TransportError::Closed);
        }
        if pipe.reader_gone {
            return Err(broken());
        }
        pipe.held += HEADER_LEN + len;
        self.sent += (HEADER_LEN + len) as u64;
        pipe.payloads.push_back(payload);
        wake(&mut pipe.reader);
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.poll_room(cx.waker())
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        ready!(self.poll_flush(cx))?;
        self.outgoing.finish(End::Clean);
        Poll::Ready(Ok(()))
    }

    fn bytes_received(&self) -> u64 {
        self.received
    }

    fn bytes_sent(&self) -> u64 {
        self.sent
    }
}

impl Drop for MemoryConnection {
    fn drop(&mut self) {
        self.outgoing.finish(End::Abrupt);
        let mut pipe = self.incoming.lock();
        pipe.reader_gone = true;
        pipe.payloads.clear();
        wake(&mut pipe.writer);
    }
}

/// One direction of a connection. The lock is held for a few instructions and never across an await.
#[derive(Debug)]
struct Direction(Mutex<Pipe>);

#[derive(Debug, Default)]
struct Pipe {
    payloads: VecDeque<Bytes>,
    /// Bytes that `payloads` would have as frames.
    held: usize,
    end: Option<End>,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Clean,
    Abrupt,
}

impl Direction {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Pipe::default())))
    }

    fn lock(&self) -> MutexGuard<'_, Pipe> {
        // Nothing panics while it holds the lock, and every state in between would be a valid one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first end counts: a connection that is dropped after it was closed was closed.
    fn finish(&self, end: End) {
        let mut pipe = self.lock();
        pipe.end.get_or_insert(end);
        wake(&mut pipe.reader);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

fn broken() -> TransportError {
    TransportError::Reset { source: Arc::new(io::ErrorKind::ConnectionReset.into()) }
}
