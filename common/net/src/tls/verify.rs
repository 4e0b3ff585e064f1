//! Whether to believe a peer's certificate: the chain first, then identity, role, cluster, usages.
//!
//! The chain goes first, so that an identity is believed only where our authority signed it. What is refused keeps
//! its readable reason on this side; the other side gets a TLS alert, which has few words.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redpoll_certs::CertificateError;
use redpoll_certs::expect::{Expect, check};
use redpoll_certs::identity;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError as TlsCertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::config::{Provider, TlsSetupError};

/// Certificates a peer may send: its own and two between it and the authority.
pub const MAX_CHAIN_LEN: usize = 3;
/// Bytes of certificates a peer may send.
pub const MAX_CHAIN_BYTES: usize = 16 * 1024;

/// The view of those who are dialled: the manager's of agents and operators, an agent's of an operator on a leg.
pub(super) struct DiallersVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    want: Expect,
}

impl DiallersVerifier {
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        provider: &Provider,
        want: Expect,
    ) -> Result<Self, TlsSetupError> {
        let chain = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider))
            // Diallers have one certificate; nobody else needs to know the authority's name.
            .clear_root_hint_subjects()
            .build()
            .map_err(|error| TlsSetupError::Unusable(Error::General(error.to_string())))?;
        Ok(Self { chain, want })
    }
}

impl fmt::Debug for DiallersVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiallersVerifier").field("want", &self.want).finish_non_exhaustive()
    }
}

impl ClientCertVerifier for DiallersVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        within_limits(end_entity, intermediates)?;
        self.chain
            .verify_client_cert(end_entity, intermediates, now)
            .map_err(|error| clearer(error, end_entity, &self.want, now))?;
        check_identity(end_entity, &self.want, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// A dialler's view of managers. The name that was dialled plays no part.
#[derive(Debug)]
pub(super) struct ManagersVerifier {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    want: Expect,
}

impl ManagersVerifier {
    pub(super) fn new(roots: Arc<RootCertStore>, provider: &Provider, want: Expect) -> Self {
        Self { roots, algorithms: provider.signature_verification_algorithms, want }
    }
}

impl ServerCertVerifier for ManagersVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        within_limits(end_entity, intermediates)?;
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )
        .map_err(|error| clearer(error, end_entity, &self.want, now))?;
        check_identity(end_entity, &self.want, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// An operator's view of an agent at the other end of a leg, where the agent is the server. Its certificate is one of those who dial, as it
/// is for the manager: one for servers, which could pose as a manager, no agent has.
#[derive(Debug)]
pub(super) struct AgentsVerifier(DiallersVerifier);

impl AgentsVerifier {
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        provider: &Provider,
        want: Expect,
    ) -> Result<Self, TlsSetupError> {
        DiallersVerifier::new(roots, provider, want).map(Self)
    }
}

impl ServerCertVerifier for AgentsVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.verify_client_cert(end_entity, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Verifying a chain costs signatures, so it is bounded before it begins.
fn within_limits(first: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Result<(), Error> {
    let bytes = rest.iter().map(|certificate| certificate.len()).sum::<usize>() + first.len();
    if rest.len() < MAX_CHAIN_LEN && bytes <= MAX_CHAIN_BYTES {
        return Ok(());
    }
    Err(refuse(CertificateError::Unreadable { reason: "its chain is too long" }))
}

fn check_identity(end_entity: &CertificateDer<'_>, want: &Expect, now: UnixTime) -> Result<(), Error> {
    let info = identity::read(end_entity).map_err(refuse)?;
    check(&info, want, system_time(now)).map_err(refuse)
}

/// Where the library has no clear word for what is wrong with a certificate, reading it mostly finds one: a wrong
/// usage, for instance, is mostly that of another role. The certificate stays refused, whatever is found.
fn clearer(error: Error, end_entity: &CertificateDer<'_>, want: &Expect, now: UnixTime) -> Error {
    let unclear = matches!(&error, Error::InvalidCertificate(why) if reason(why).is_none());
    let found = if unclear { check_identity(end_entity, want, now).err() } else { None };
    found.unwrap_or(error)
}

fn refuse(error: CertificateError) -> Error {
    Error::InvalidCertificate(TlsCertificateError::Other(OtherError(Arc::new(error))))
}

fn no_tls12() -> Error {
    Error::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig)
}

/// The reason behind an error of the TLS library, in our words; `None` when we have none for it.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library's errors are many, and open to additions")]
pub(super) fn reason(error: &TlsCertificateError) -> Option<CertificateError> {
    Some(match error {
        TlsCertificateError::ExpiredContext { not_after, .. } => {
            CertificateError::Expired { at: system_time(*not_after) }
        }
        TlsCertificateError::NotValidYetContext { not_before, .. } => {
            CertificateError::NotYetValid { from: system_time(*not_before) }
        }
        TlsCertificateError::UnknownIssuer | TlsCertificateError::BadSignature => {
            CertificateError::OtherAuthority
        }
        TlsCertificateError::BadEncoding => CertificateError::Unreadable { reason: "its encoding is wrong" },
        TlsCertificateError::Other(OtherError(inner)) => inner.downcast_ref::<CertificateError>()?.clone(),
        _ => return None,
    })
}

fn system_time(time: UnixTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(time.as_secs())
}
