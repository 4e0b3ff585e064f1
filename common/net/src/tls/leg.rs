//! The two ends of a leg: at the manager, which joins it with another, and at whoever dialled it. See [`redpoll_common::leg`].

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redpoll_common::leg::{LegAnswer, LegHello, MAX_MESSAGE, READY};
use redpoll_common::wire::{FaultCode, Raw};
use serde::Serialize;
use serde::de::DeserializeOwned;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client, server};

use super::config::BUFFER_LIMIT;
use super::dialer::{TlsTransport, server_name};
use super::error::{Stage, explain};
use crate::socket;
use crate::stream::Metered;
use crate::transport::{PeerInfo, TransportError, Wait};

/// Why nothing comes of a leg.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LegError {
    /// No session was ever made, so it is not known where to dial.
    #[error("no manager was reached yet")]
    NoManager,
    /// The connection cannot be made, or ended, or took too long.
    #[error("the connection through the manager failed")]
    Transport(#[from] TransportError),
    /// What came is no message of a leg.
    #[error("the other side does not speak as on a leg: {0}")]
    Malformed(String),
    /// The manager says no.
    #[error("the manager refused: {message} ({code})")]
    Refused {
        /// Why, for programs.
        code: FaultCode,
        /// Why, for people.
        message: String,
    },
}

/// A leg that arrived. Dropping it closes the connection.
#[derive(Debug)]
pub struct Leg {
    stream: server::TlsStream<Metered<TcpStream>>,
    peer: PeerInfo,
}

impl Leg {
    pub(super) fn new(stream: server::TlsStream<Metered<TcpStream>>, peer: PeerInfo) -> Self {
        Self { stream, peer }
    }

    /// Who dialled it, as proved by the handshake.
    pub fn peer(&self) -> &PeerInfo {
        &self.peer
    }

    /// What it is for.
    ///
    /// # Errors
    /// [`LegError`]
    pub async fn hello(&mut self, within: Duration) -> Result<LegHello, LegError> {
        receive(&mut self.stream, within).await
    }

    /// Answers. After [`LegAnswer::Go`] comes [`Self::joined`], after a refusal nothing.
    ///
    /// # Errors
    /// [`LegError`]
    pub async fn answer(&mut self, answer: &LegAnswer, within: Duration) -> Result<(), LegError> {
        send(&mut self.stream, answer, within).await
    }

    /// Waits until the other side has gone, or has said what it should not. Cancel-safe.
    pub async fn gone(&mut self) {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        // whatever comes is not what should
        let _end = poll_fn(|cx| Pin::new(&mut self.stream).poll_read(cx, &mut buffer)).await;
    }

    /// Says that both are there, gives up TLS, and waits until the other side has done so.
    ///
    /// # Errors
    /// [`LegError`]
    pub async fn joined(mut self, within: Duration) -> Result<TcpStream, LegError> {
        self.answer(&LegAnswer::Go, within).await?;
        let mut stream = self.stream.into_inner().0.into_inner();
        bulk(&stream).map_err(TransportError::from)?;
        let ready = in_time(within, stream.read_u8()).await?;
        if ready == READY {
            return Ok(stream);
        }
        Err(LegError::Malformed("it was to say that it is ready".to_owned()))
    }
}

/// A leg that was dialled. Dropping it closes the connection.
#[derive(Debug)]
pub struct Pending {
    stream: client::TlsStream<Metered<TcpStream>>,
}

impl TlsTransport {
    /// Dials a leg to the manager that was reached last, and says what it is for.
    ///
    /// # Errors
    /// [`LegError`]
    pub async fn leg(&self, hello: &LegHello, within: Duration) -> Result<Pending, LegError> {
        let last = self.last.load_full().ok_or(LegError::NoManager)?;
        let (manager, address) = (&last.0, last.1);
        let dialling = async {
            let stream = socket::connect(address, self.options.socket, within).await?;
            let connector = TlsConnector::from(Arc::clone(&self.client.configs().leg));
            let limit = |session: &mut rustls::ClientConnection| session.set_buffer_limit(Some(BUFFER_LIMIT));
            connector
                .connect_with(server_name(manager), Metered::new(stream), limit)
                .await
                .map_err(|error| explain(error, Stage::Handshake))
        };
        let dialled = timeout(within, dialling).await;
        let mut stream =
            dialled.map_err(|_elapsed| TransportError::Timeout { wait: Wait::Dial, after: within })??;
        if stream.get_ref().1.alpn_protocol() != Some(redpoll_common::leg::ALPN) {
            // it would take what follows for a hello
            return Err(LegError::Malformed("it agreed to no protocol".to_owned()));
        }
        send(&mut stream, hello, within).await?;
        Ok(Pending { stream })
    }
}

impl Pending {
    /// Waits until the manager knows an operator's leg.
    ///
    /// # Errors
    /// [`LegError`]
    pub async fn known(&mut self, within: Duration) -> Result<(), LegError> {
        match receive(&mut self.stream, within).await? {
            LegAnswer::Waiting => Ok(()),
            LegAnswer::Refused { code, message } => Err(LegError::Refused { code, message }),
            LegAnswer::Go => Err(LegError::Malformed("it goes before anybody came".to_owned())),
        }
    }

    /// Waits until the other leg is there, gives up TLS and says so.
    ///
    /// # Errors
    /// [`LegError`]
    pub async fn joined(mut self, within: Duration) -> Result<TcpStream, LegError> {
        match receive(&mut self.stream, within).await? {
            LegAnswer::Go => {}
            LegAnswer::Refused { code, message } => return Err(LegError::Refused { code, message }),
            LegAnswer::Waiting => return Err(LegError::Malformed("it waits once more".to_owned())),
        }
        // the manager sends nothing more before it has heard this: nothing of it is left in here
        let mut stream = self.stream.into_inner().0.into_inner();
        bulk(&stream).map_err(TransportError::from)?;
        in_time(within, stream.write_all(&[READY])).await?;
        Ok(stream)
    }
}

/// No ping waits behind what goes over a leg: the operating system may hold as much as it likes. And somebody at the other end whose disk
/// is slow is not dead: who moves nothing for too long is given up by those who move the bytes, and who is gone by keep-alive.
fn bulk(stream: &TcpStream) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let socket = SockRef::from(stream);
        socket.set_tcp_notsent_lowat(0)?;
        socket.set_tcp_user_timeout(None)?;
    }
    Ok(())
}

async fn in_time<T>(within: Duration, work: impl Future<Output = io::Result<T>>) -> Result<T, LegError> {
    let done = timeout(within, work).await;
    let done = done.map_err(|_elapsed| TransportError::Timeout { wait: Wait::Leg, after: within })?;
    done.map_err(|error| explain(error, Stage::Established).into())
}

async fn send<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &T,
    within: Duration,
) -> Result<(), LegError> {
    let payload = Raw::encode(message).map_err(|error| LegError::Malformed(error.to_string()))?;
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let frame = [&len.to_be_bytes(), payload.as_bytes()].concat();
    let sending = async {
        stream.write_all(&frame).await?;
        stream.flush().await
    };
    in_time(within, sending).await
}

async fn receive<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
    within: Duration,
) -> Result<T, LegError> {
    let receiving = async {
        let len = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
        if len > MAX_MESSAGE {
            return Ok(None);
        }
        let mut payload = vec![0; len];
        stream.read_exact(&mut payload).await?;
        Ok(Some(payload))
    };
    let payload = in_time(within, receiving).await?;
    let payload =
        payload.ok_or_else(|| LegError::Malformed(format!("a message has more than {MAX_MESSAGE} bytes")))?;
    let raw = Raw::parse(Bytes::from(payload)).map_err(|error| LegError::Malformed(error.to_string()))?;
    raw.decode().map_err(|error| LegError::Malformed(error.to_string()))
}
