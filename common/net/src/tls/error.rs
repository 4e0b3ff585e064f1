//! What the errors of TLS mean for somebody who has to do something about them.

use std::io;
use std::sync::Arc;

use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible};

use super::verify::reason;
use crate::transport::{Refusal, TlsProblem, TransportError};

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// In the handshake.
    Handshake,
    /// A dialler's handshake is over, and the manager has not spoken: it may be looking at our certificate still.
    Unheard,
    /// Later.
    Established,
}

/// Finds the error of the TLS library in an error of input or output, and its meaning.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library's errors are many, and open to additions")]
pub(super) fn explain(error: io::Error, stage: Stage) -> TransportError {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).cloned() else {
        let plain = TransportError::from(error);
        if stage == Stage::Unheard
            && let TransportError::Reset { source } = plain
        {
            return TransportError::Refused { why: Refusal::Silent, source };
        }
        return plain;
    };
    let source = Arc::new(error);
    let problem = match &tls {
        Error::InvalidCertificate(why) => match reason(why) {
            Some(why) => return TransportError::Certificate { source: Arc::new(why) },
            None => TlsProblem::Other,
        },
        Error::AlertReceived(alert) => match refusal(*alert) {
            Some(why) => return TransportError::Refused { why, source },
            None => told(*alert),
        },
        _ => found(&tls, stage),
    };
    TransportError::Tls { problem, source }
}

/// The alerts that speak of a certificate.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other alerts speak of something else")]
fn refusal(alert: AlertDescription) -> Option<Refusal> {
    Some(match alert {
        AlertDescription::CertificateExpired => Refusal::Expired,
        AlertDescription::UnknownCA => Refusal::OtherAuthority,
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => Refusal::Missing,
        AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied => Refusal::Unfit,
        AlertDescription::CertificateRevoked => Refusal::Revoked,
        AlertDescription::BadCertificate => Refusal::Unsaid,
        _ => return None,
    })
}

/// What the peer found wrong with the handshake.
#[expect(clippy::wildcard_enum_match_arm, reason = "nobody can do anything about the other alerts")]
fn told(alert: AlertDescription) -> TlsProblem {
    match alert {
        AlertDescription::ProtocolVersion => TlsProblem::Version,
        AlertDescription::NoApplicationProtocol => TlsProblem::Protocol,
        _ => TlsProblem::Other,
    }
}

/// What we found wrong.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library's errors are many, and open to additions")]
fn found(error: &Error, stage: Stage) -> TlsProblem {
    match error {
        Error::NoCertificatesPresented => TlsProblem::NoCertificate,
        Error::NoApplicationProtocol => TlsProblem::Protocol,
        Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic,
        ) => TlsProblem::Version,
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::InvalidEmptyPayload,
        ) if stage == Stage::Handshake => TlsProblem::NotTls,
        _ => TlsProblem::Other,
    }
}
