//! What goes over two joined legs: TLS between an operator and an agent, each with its own certificate, on a blocking socket. Files are
//! read, hashed and written by threads of their own; they spare the runtime, and the runtime spares them its wakings.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use redpoll_certs::{CertificateError, identity};
use redpoll_common::ids::PeerId;
use redpoll_common::leg::DATA_ALPN;
use redpoll_common::wire::Raw;
use rustls::{ClientConnection, ConnectionCommon, ServerConnection, StreamOwned};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::config::{DataConfig, TlsClient};
use super::dialer::server_name;
use super::error::{Stage, explain};
use crate::transport::{TransportError, Wait};

/// Why what was joined cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DataError {
    /// No TLS with the other side: it is not who it should be, or is gone.
    #[error("no encrypted connection with {with}")]
    Handshake {
        /// Who should be there.
        with: PeerId,
        /// What is wrong.
        #[source]
        source: TransportError,
    },
    /// Somebody else of the cluster is there.
    #[error("at the other end is {found}, not {wanted}")]
    WrongPeer {
        /// Who is there.
        found: PeerId,
        /// Who should be.
        wanted: PeerId,
    },
    /// It agreed to no protocol, or to another.
    #[error("{with} does not speak as over legs")]
    Protocol {
        /// Who is there.
        with: PeerId,
    },
    /// The other side means another call than this one.
    #[error("what {with} asks for is not what the manager passed on")]
    OtherCall {
        /// Who is there.
        with: PeerId,
    },
    /// The other side has heard something else than was said.
    #[error("{with} has received something else than was sent")]
    OtherBytes {
        /// Who is there.
        with: PeerId,
    },
    /// The socket does not work.
    #[error("the connection failed")]
    Io(#[source] Arc<io::Error>),
}

impl DataError {
    /// Whether the other side is not who it should be, or means something else: nothing to be tried in another way.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Handshake { source, .. } => {
                let (certificate, refused, tls) = (
                    matches!(source, TransportError::Certificate { .. }),
                    matches!(source, TransportError::Refused { .. }),
                    // who is no TLS at all, or changes what passes
                    matches!(source, TransportError::Tls { .. }),
                );
                certificate || refused || tls
            }
            Self::WrongPeer { .. }
            | Self::Protocol { .. }
            | Self::OtherCall { .. }
            | Self::OtherBytes { .. } => true,
            Self::Io(_) => false,
        }
    }

    fn io(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// One end, for a thread that may block. Dropping it ends the connection without a goodbye, which the other end takes for a break.
pub struct DataEnd {
    stream: Stream,
    peer: PeerId,
}

enum Stream {
    Operator(StreamOwned<ClientConnection, Socket>),
    Agent(StreamOwned<ServerConnection, Socket>),
}

impl TlsClient {
    /// Makes TLS over joined legs, with `with` and nobody else, within `within`; after that nothing may take longer than `idle`. An operator is
    /// the client and an agent the server.
    ///
    /// # Errors
    /// [`DataError`]
    pub async fn data(
        &self,
        stream: tokio::net::TcpStream,
        with: &PeerId,
        (within, idle): (Duration, Duration),
    ) -> Result<DataEnd, DataError> {
        let failed = |source| DataError::Handshake { with: with.clone(), source };
        let late = |_elapsed| failed(TransportError::Timeout { wait: Wait::Handshake, after: within });
        let broken = |error| failed(explain(error, Stage::Handshake));
        let stream = match &self.configs().data {
            DataConfig::Operator(config) => {
                let connector = TlsConnector::from(Arc::clone(config));
                let handshake = connector.connect(server_name(with.as_str()), stream);
                let (tcp, mut session) =
                    timeout(within, handshake).await.map_err(late)?.map_err(broken)?.into_inner();
                ready(&mut session, with)?;
                Stream::Operator(StreamOwned::new(session, Socket::new(tcp, idle).map_err(DataError::io)?))
            }
            DataConfig::Agent(config) => {
                let handshake = TlsAcceptor::from(Arc::clone(config)).accept(stream);
                let (tcp, mut session) =
                    timeout(within, handshake).await.map_err(late)?.map_err(broken)?.into_inner();
                ready(&mut session, with)?;
                Stream::Agent(StreamOwned::new(session, Socket::new(tcp, idle).map_err(DataError::io)?))
            }
        };
        Ok(DataEnd { stream, peer: with.clone() })
    }
}

/// Looks who is there, and whether it speaks what we speak; then a block is encrypted and sent whole. What is written is never more.
fn ready<D>(session: &mut ConnectionCommon<D>, wanted: &PeerId) -> Result<(), DataError> {
    let failed = |source| DataError::Handshake {
        with: wanted.clone(),
        source: TransportError::Certificate { source: Arc::new(source) },
    };
    let none = CertificateError::Unreadable { reason: "the peer sent none" };
    let first = session.peer_certificates().and_then(|chain| chain.first()).ok_or_else(|| failed(none))?;
    // role, cluster and authority are the verifier's matter
    let found = identity::read(first).map_err(failed)?.identity.id;
    if found != *wanted {
        return Err(DataError::WrongPeer { found, wanted: wanted.clone() });
    }
    if session.alpn_protocol() != Some(DATA_ALPN) {
        return Err(DataError::Protocol { with: found });
    }
    session.set_buffer_limit(None);
    Ok(())
}

/// What went over a connection, as its receiver saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// How many bytes.
    pub len: u64,
    /// Their digest.
    pub sha256: [u8; 32],
}

impl Receipt {
    /// Of these bytes, which the digest has taken in.
    pub fn of(len: u64, hash: &Context) -> Self {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(hash.clone().finish().as_ref());
        Self { len, sha256 }
    }

    fn bytes(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        let (len, sha256) = bytes.split_at_mut(8);
        len.copy_from_slice(&self.len.to_be_bytes());
        sha256.copy_from_slice(&self.sha256);
        bytes
    }
}

/// What a call says, in 32 bytes: the manager passes the call on, and both ends compare what it said.
pub fn call_digest(procedure: &str, kwargs: &Raw) -> [u8; 32] {
    let mut whole = Context::new(&SHA256);
    whole.update(procedure.as_bytes());
    whole.update(&[0]);
    whole.update(kwargs.as_bytes());
    let mut digest = [0; 32];
    digest.copy_from_slice(whole.finish().as_ref());
    digest
}

impl DataEnd {
    /// Says which call this is for; the operator's first word.
    ///
    /// # Errors
    /// [`DataError::Io`]
    pub fn say_call(&mut self, digest: [u8; 32]) -> Result<(), DataError> {
        self.write_all(&digest).and_then(|()| self.flush()).map_err(DataError::io)
    }

    /// Hears which call this is for, and that it is this one.
    ///
    /// # Errors
    /// [`DataError::OtherCall`], [`DataError::Io`]
    pub fn hear_call(&mut self, digest: [u8; 32]) -> Result<(), DataError> {
        let mut said = [0; 32];
        self.read_exact(&mut said).map_err(DataError::io)?;
        if said == digest { Ok(()) } else { Err(DataError::OtherCall { with: self.peer.clone() }) }
    }

    /// Says what came over the connection, once that was all; the last word of whoever received.
    ///
    /// # Errors
    /// [`DataError::Io`]
    pub fn say_receipt(&mut self, receipt: Receipt) -> Result<(), DataError> {
        self.write_all(&receipt.bytes()).and_then(|()| self.finish()).map_err(DataError::io)
    }

    /// Hears what came at the other end, and that it is this.
    ///
    /// # Errors
    /// [`DataError::OtherBytes`], [`DataError::Io`]
    pub fn hear_receipt(&mut self, receipt: Receipt) -> Result<(), DataError> {
        let mut said = [0; 40];
        self.read_exact(&mut said).map_err(DataError::io)?;
        if said == receipt.bytes() { Ok(()) } else { Err(DataError::OtherBytes { with: self.peer.clone() }) }
    }

    /// Says that this was all. Without that the other end takes the end for a break.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn finish(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Operator(stream) => stream.conn.send_close_notify(),
            Stream::Agent(stream) => stream.conn.send_close_notify(),
        }
        self.flush()?;
        self.socket().shutdown(Shutdown::Write)
    }

    /// What ends the connection from another thread.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn cutter(&self) -> io::Result<Cutter> {
        self.socket().try_clone().map(|socket| Cutter(Some(socket)))
    }

    fn socket(&self) -> &TcpStream {
        match &self.stream {
            Stream::Operator(stream) => &stream.sock.0,
            Stream::Agent(stream) => &stream.sock.0,
        }
    }
}

impl fmt::Debug for DataEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataEnd").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Read for DataEnd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Operator(stream) => stream.read(buffer),
            Stream::Agent(stream) => stream.read(buffer),
        }
    }
}

impl Write for DataEnd {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Operator(stream) => stream.write(bytes),
            Stream::Agent(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Operator(stream) => stream.flush(),
            Stream::Agent(stream) => stream.flush(),
        }
    }
}

/// Ends a connection when it is dropped, whoever reads or writes it.
#[derive(Debug)]
pub struct Cutter(Option<TcpStream>);

impl Cutter {
    /// Lets the connection live.
    pub fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        // it may be over already
        let _over = self.0.take().map(|socket| socket.shutdown(Shutdown::Both));
    }
}

/// A blocking socket.
struct Socket(TcpStream);

impl Socket {
    fn new(stream: tokio::net::TcpStream, idle: Duration) -> io::Result<Self> {
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(idle))?;
        stream.set_write_timeout(Some(idle))?;
        Ok(Self(stream))
    }
}

/// A limit of time that was hit is "try again" to the operating system.
fn clearer(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        return io::Error::new(io::ErrorKind::TimedOut, "the other side moved nothing for too long");
    }
    error
}

/// With a limit of time a signal ends a write that has moved nothing, and TLS takes that for a failure.
fn uninterrupted(mut write: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match write() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            written => return written.map_err(clearer),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(clearer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        uninterrupted(|| self.0.write(bytes))
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        uninterrupted(|| self.0.write_vectored(slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
