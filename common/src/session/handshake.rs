//! From the first message to agreed terms, as types: each step consumes the one before it.
//!
//! The dialler: [`Dialling::start`] gives the hello to send, [`Dialling::finish`] takes the answer.
//! The manager: [`Accepting::new`] with the identity that the certificate proved, [`Accepting::receive`] takes the
//! first message, and the [`Admission`] it gives must be answered. Nothing is served before that, on either side.

use super::terms::{Offer, Terms};
use crate::identity::Identity;
use crate::wire::{AgentHello, Bye, ByeCode, ManagerHello, Message, PROTOCOL, ProtocolRange};

/// Why a handshake did not lead to a session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Another kind of message came where a hello was due.
    #[error("expected {expected}, got {found}")]
    WrongKind {
        /// What was due.
        expected: &'static str,
        /// What came.
        found: String,
    },
    /// The hello names somebody else than the certificate.
    #[error("the hello says {hello:?}, the certificate says {certificate:?}")]
    WrongId {
        /// The id in the hello, shortened.
        hello: String,
        /// The id in the certificate.
        certificate: String,
    },
    /// There is no protocol that both speak.
    #[error("no common protocol: ours are {} to {}, theirs {} to {}", ours.min, ours.max, theirs.min, theirs.max)]
    NoCommonProtocol {
        /// What this build speaks.
        ours: ProtocolRange,
        /// What the peer speaks.
        theirs: ProtocolRange,
    },
    /// The other side said goodbye instead of hello.
    #[error("refused: {0}")]
    Refused(Bye),
}

impl HandshakeError {
    /// What to tell the peer before closing, if anything.
    pub fn bye(&self) -> Option<Bye> {
        let code = match self {
            Self::WrongKind { .. } => ByeCode::Protocol,
            Self::WrongId { .. } => ByeCode::Unauthorized,
            Self::NoCommonProtocol { .. } => ByeCode::Version,
            Self::Refused(_) => return None,
        };
        Some(Bye::new(code, self.to_string()))
    }
}

/// The protocols this build speaks.
pub const SPOKEN: ProtocolRange = ProtocolRange { min: 0, max: PROTOCOL };

fn name_of(message: &Message) -> String {
    match message {
        Message::AgentHello(_) => "AgentHello".into(),
        Message::ManagerHello(_) => "ManagerHello".into(),
        Message::Ping(_) => "Ping".into(),
        Message::Pong(_) => "Pong".into(),
        Message::Bye(_) => "Bye".into(),
        Message::Request(_) => "Request".into(),
        Message::Response(_) => "Response".into(),
        Message::Notification(_) => "Notification".into(),
        Message::Unknown(number) => format!("a message of kind {number}"),
    }
}

/// The dialler's side while it waits for the manager's answer.
#[derive(Debug)]
#[must_use = "the manager's answer must be given to `finish`"]
pub struct Dialling {
    hello: AgentHello,
    encrypted_offer: bool,
}

impl Dialling {
    /// Begins a handshake: send the message, then give the answer to [`Dialling::finish`].
    ///
    /// `offers_protocol` is whether the transport agreed on our protocol name; without it the session is protocol 0.
    pub fn start(hello: AgentHello, offers_protocol: bool) -> (Self, Message) {
        let message = Message::AgentHello(Box::new(hello.clone()));
        (Self { hello, encrypted_offer: offers_protocol }, message)
    }

    /// Takes the manager's first message.
    ///
    /// # Errors
    /// [`HandshakeError::Refused`] with the manager's goodbye, or what else came instead of a hello.
    pub fn finish(self, answer: Message) -> Result<Terms, HandshakeError> {
        let answer: ManagerHello = match answer {
            Message::ManagerHello(answer) => *answer,
            Message::Bye(bye) => return Err(HandshakeError::Refused(bye)),
            other @ (Message::AgentHello(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Request(_)
            | Message::Response(_)
            | Message::Notification(_)
            | Message::Unknown(_)) => {
                return Err(HandshakeError::WrongKind { expected: "ManagerHello", found: name_of(&other) });
            }
        };
        let offered = self.hello.protocol.unwrap_or(ProtocolRange { min: 0, max: 0 });
        let chosen = answer.protocol.unwrap_or(0);
        if chosen < offered.min || chosen > offered.max || (chosen > 0 && !self.encrypted_offer) {
            let theirs = ProtocolRange { min: chosen, max: chosen };
            return Err(HandshakeError::NoCommonProtocol { ours: offered, theirs });
        }
        Ok(Terms::of_answer(&self.hello, answer))
    }
}

/// The manager's side while it waits for the first message.
#[derive(Debug)]
#[must_use = "the first message must be given to `receive`"]
pub struct Accepting {
    proved: Identity,
    offers_protocol: bool,
}

impl Accepting {
    /// Expects the hello of the peer whose certificate proved `proved`.
    ///
    /// `offers_protocol` is whether the peer offered our protocol name to the transport; without it the session is
    /// protocol 0 whatever the hello says.
    pub fn new(proved: Identity, offers_protocol: bool) -> Self {
        Self { proved, offers_protocol }
    }

    /// Takes the first message.
    ///
    /// # Errors
    /// [`HandshakeError`]; tell the peer [`HandshakeError::bye`] and close.
    pub fn receive(self, first: Message) -> Result<Admission, HandshakeError> {
        let hello = match first {
            Message::AgentHello(hello) => hello,
            Message::Bye(bye) => return Err(HandshakeError::Refused(bye)),
            other @ (Message::ManagerHello(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Request(_)
            | Message::Response(_)
            | Message::Notification(_)
            | Message::Unknown(_)) => {
                return Err(HandshakeError::WrongKind { expected: "AgentHello", found: name_of(&other) });
            }
        };
        // The certificate is the only identity; the hello may only repeat it.
        if hello.id.as_bytes() != self.proved.id.as_str().as_bytes() {
            return Err(HandshakeError::WrongId {
                hello: hello.id.chars().take(128).collect(),
                certificate: self.proved.id.to_string(),
            });
        }
        let protocol = match hello.protocol {
            Some(theirs) if self.offers_protocol => choose(theirs)?,
            Some(_) | None => 0,
        };
        Ok(Admission { hello, proved: self.proved, protocol })
    }
}

fn choose(theirs: ProtocolRange) -> Result<u32, HandshakeError> {
    let chosen = SPOKEN.max.min(theirs.max);
    // ours begin with the oldest, so that end needs no comparison
    if theirs.min > theirs.max || chosen < theirs.min {
        return Err(HandshakeError::NoCommonProtocol { ours: SPOKEN, theirs });
    }
    Ok(chosen)
}

/// A peer that proved who it is and waits to be let in.
#[derive(Debug)]
#[must_use = "the peer waits until `accept` or `refuse` is called"]
pub struct Admission {
    hello: Box<AgentHello>,
    proved: Identity,
    protocol: u32,
}

impl Admission {
    /// What the peer said.
    pub fn hello(&self) -> &AgentHello {
        &self.hello
    }

    /// Who its certificate says it is.
    pub fn proved(&self) -> &Identity {
        &self.proved
    }

    /// The protocol that the session will speak.
    pub fn protocol(&self) -> u32 {
        self.protocol
    }

    /// Lets the peer in: send the message, then serve under the terms.
    pub fn accept(self, offer: &Offer) -> (Terms, Message) {
        let (terms, answer) = offer.accept(&self.hello, self.protocol);
        (terms, Message::ManagerHello(Box::new(answer)))
    }

    /// Turns the peer away: send the message, then close.
    pub fn refuse(self, why: Bye) -> Message {
        Message::Bye(why)
    }
}
