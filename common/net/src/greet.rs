//! The handshake on a connection: hello, answer, and the goodbyes when it fails.
//!
//! The rules are [`redpoll_common::session::handshake`]; this file sends and receives, each wait with a deadline.

use std::time::Duration;

use redpoll_common::session::handshake::{Accepting, Admission, Dialling, HandshakeError};
use redpoll_common::session::terms::Offer;
use redpoll_common::session::{Terms, chain};
use redpoll_common::wire::{AgentHello, Bye, ByeCode, DecodeError, Message, codec};
use tokio::time::timeout;

use crate::transport::{BoxConnection, Connection, TransportError, close, receive, send};

/// How long a goodbye during the handshake may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why a handshake on a connection failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GreetError {
    /// The connection failed.
    #[error("the connection failed before the hello was done")]
    Transport(#[source] TransportError),
    /// The peer closed the connection instead of saying hello.
    #[error("the peer closed the connection before its hello")]
    Ended,
    /// The peer said nothing in time.
    #[error("no hello within {0:?}")]
    Silent(Duration),
    /// What the peer sent is no message.
    #[error("the peer's first message cannot be read")]
    Malformed(#[source] DecodeError),
    /// The rules of the handshake were not kept, or the peer refused.
    #[error(transparent)]
    Handshake(HandshakeError),
}

impl GreetError {
    /// The peer's goodbye, if it refused with one.
    pub fn their_bye(&self) -> Option<&Bye> {
        match self {
            Self::Handshake(HandshakeError::Refused(bye)) => Some(bye),
            Self::Handshake(
                HandshakeError::WrongKind { .. }
                | HandshakeError::WrongId { .. }
                | HandshakeError::NoCommonProtocol { .. },
            )
            | Self::Transport(_)
            | Self::Ended
            | Self::Silent(_)
            | Self::Malformed(_) => None,
        }
    }

    fn bye(&self) -> Option<Bye> {
        match self {
            Self::Handshake(error) => error.bye(),
            Self::Malformed(error) => Some(Bye::new(ByeCode::Malformed, chain(error))),
            Self::Transport(TransportError::Frame(error)) => {
                Some(Bye::new(error.bye_code(), error.to_string()))
            }
            Self::Silent(after) => Some(Bye::new(ByeCode::Protocol, format!("no hello within {after:?}"))),
            Self::Transport(_) | Self::Ended => None,
        }
    }
}

/// Says hello as the side that dialled, and waits for the acceptance. On an error the peer is told and the
/// connection is closed.
///
/// # Errors
/// [`GreetError`].
pub async fn hello(
    mut connection: BoxConnection,
    hello: AgentHello,
    within: Duration,
) -> Result<(BoxConnection, Terms), GreetError> {
    let (dialling, message) = Dialling::start(hello, connection.peer().speaks_rp1);
    let exchange = async {
        send(&mut *connection, codec::encode(&message, redpoll_common::wire::PROTOCOL))
            .await
            .map_err(GreetError::Transport)?;
        first_message(&mut *connection).await
    };
    let answer = timeout(within, exchange).await.unwrap_or(Err(GreetError::Silent(within)));
    match answer.and_then(|message| dialling.finish(message).map_err(GreetError::Handshake)) {
        Ok(terms) => Ok((connection, terms)),
        Err(error) => {
            farewell(connection, error.bye()).await;
            Err(error)
        }
    }
}

/// Waits for the hello of a peer that dialled us. The [`Admission`] must be answered with [`accept`] or [`refuse`].
/// On an error the peer is told and the connection is closed.
///
/// # Errors
/// [`GreetError`].
pub async fn expect_hello(
    mut connection: BoxConnection,
    within: Duration,
) -> Result<(BoxConnection, Admission), GreetError> {
    let peer = connection.peer();
    let accepting = Accepting::new(peer.identity.clone(), peer.speaks_rp1);
    let first =
        timeout(within, first_message(&mut *connection)).await.unwrap_or(Err(GreetError::Silent(within)));
    match first.and_then(|message| accepting.receive(message).map_err(GreetError::Handshake)) {
        Ok(admission) => Ok((connection, admission)),
        Err(error) => {
            farewell(connection, error.bye()).await;
            Err(error)
        }
    }
}

/// Lets a peer in: the acceptance is on its way when this returns.
///
/// # Errors
/// [`GreetError`] when it cannot be sent in time.
pub async fn accept(
    mut connection: BoxConnection,
    admission: Admission,
    offer: &Offer,
    within: Duration,
) -> Result<(BoxConnection, Terms), GreetError> {
    let (terms, message) = admission.accept(offer);
    let payload = codec::encode(&message, terms.protocol);
    match timeout(within, send(&mut *connection, payload)).await {
        Ok(Ok(())) => Ok((connection, terms)),
        Ok(Err(error)) => Err(GreetError::Transport(error)),
        Err(_elapsed) => Err(GreetError::Silent(within)),
    }
}

/// Turns a peer away, and tells it why.
pub async fn refuse(connection: BoxConnection, admission: Admission, why: Bye) {
    let _bye: Message = admission.refuse(why.clone());
    farewell(connection, Some(why)).await;
}

async fn first_message(connection: &mut dyn Connection) -> Result<Message, GreetError> {
    let payload = match receive(connection).await {
        Some(Ok(payload)) => payload,
        Some(Err(error)) => return Err(GreetError::Transport(error)),
        None => return Err(GreetError::Ended),
    };
    codec::decode(&payload).map_err(GreetError::Malformed)
}

async fn farewell(mut connection: BoxConnection, bye: Option<Bye>) {
    if let Some(bye) = bye {
        // no terms are agreed yet: who did not offer our protocol below gets what the oldest peers know
        let protocol = if connection.peer().speaks_rp1 { redpoll_common::wire::PROTOCOL } else { 0 };
        let payload = codec::encode(&Message::Bye(bye), protocol);
        let _in_time = timeout(FAREWELL, send(&mut *connection, payload)).await;
    }
    close(connection, FAREWELL).await;
}
