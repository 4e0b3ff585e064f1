//! Where agents and operators arrive.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::config::{BUFFER_LIMIT, TlsServer};
use super::error::{Stage, explain};
use super::identity::peer_info;
use super::leg::Leg;
use crate::framed::Framed;
use crate::socket::{self, SocketOptions};
use crate::stream::Metered;
use crate::transport::{AcceptError, Accepted, Incoming, Listener, TransportError, Wait};

/// How long a refused stranger may take to hang up, so that our alert is not overtaken by a reset.
const FAREWELL: Duration = Duration::from_secs(1);
/// Bytes read from a refused stranger meanwhile.
const FAREWELL_BYTES: usize = 64 * 1024;

/// How strangers are received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenOptions {
    /// From the accepted connection to the end of the handshake.
    pub handshake: Duration,
    /// How many connections the operating system holds until they are accepted.
    pub backlog: i32,
    /// The sockets.
    pub socket: SocketOptions,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            backlog: socket::BACKLOG,
            socket: SocketOptions::default(),
        }
    }
}

/// Accepts TCP connections; the handshakes are left to whoever takes them.
#[derive(Debug)]
pub struct TlsListener {
    tcp: TcpListener,
    local: SocketAddr,
    server: Arc<TlsServer>,
    options: ListenOptions,
}

impl TlsListener {
    /// Listens on `address`; port 0 takes any free port, see [`Listener::local_address`].
    ///
    /// # Errors
    /// What the operating system says: the address is in use, is not ours, or needs rights.
    pub fn bind(address: SocketAddr, server: Arc<TlsServer>, options: ListenOptions) -> io::Result<Self> {
        let tcp = socket::listen(address, options.backlog)?;
        let local = tcp.local_addr()?;
        Ok(Self { tcp, local, server, options })
    }

    /// The address that was really bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl Listener for TlsListener {
    fn accept(&mut self) -> BoxFuture<'_, Result<Incoming, AcceptError>> {
        Box::pin(async move {
            let (stream, from) = socket::accept(&self.tcp, self.options.socket).await?;
            let address: Arc<str> = from.to_string().into();
            let handshake = handshake(
                stream,
                from,
                Arc::clone(&address),
                Arc::clone(&self.server),
                self.options.handshake,
            );
            Ok(Incoming { ip: Some(from.ip().to_canonical()), address, handshake: Box::pin(handshake) })
        })
    }

    fn local_address(&self) -> String {
        self.local.to_string()
    }
}

async fn handshake(
    stream: TcpStream,
    from: SocketAddr,
    address: Arc<str>,
    server: Arc<TlsServer>,
    limit: Duration,
) -> Result<Accepted, TransportError> {
    let acceptor = TlsAcceptor::from(server.config());
    let accept = acceptor
        .accept_with(Metered::new(stream), |session| session.set_buffer_limit(Some(BUFFER_LIMIT)))
        .into_fallible();
    let accepted = timeout(limit, accept)
        .await
        .map_err(|_elapsed| TransportError::Timeout { wait: Wait::Handshake, after: limit })?;
    match accepted {
        Ok(stream) => {
            let session = stream.get_ref().1;
            let is_leg = session.alpn_protocol() == Some(redpoll_common::leg::ALPN);
            let peer = peer_info(session, from, address)?;
            Ok(match is_leg {
                true => Accepted::Leg(Box::new(Leg::new(stream, peer))),
                false => Accepted::Session(Box::new(Framed::new(stream, peer))),
            })
        }
        Err((error, stream)) => {
            let reason = explain(error, Stage::Handshake);
            farewell(stream).await;
            Err(reason)
        }
    }
}

/// Lets our alert arrive: a socket that is dropped with bytes unread resets the connection, and a dialler that has
/// sent its hello already would see the reset and not the reason.
async fn farewell(mut stream: Metered<TcpStream>) {
    let drained = async {
        stream.shutdown().await?;
        let mut buffer = [0_u8; 1024];
        let mut left = FAREWELL_BYTES;
        while left > 0 {
            match stream.read(&mut buffer).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        io::Result::Ok(())
    };
    // Whatever happens, the stranger is dropped now.
    let _gone = timeout(FAREWELL, drained).await;
}
