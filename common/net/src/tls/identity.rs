//! Who is at the other end of a finished handshake, and what its stream of bytes is to a [`crate::framed::Framed`].

use std::fmt::{self, Write as _};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use redpoll_certs::{CertificateError, identity};
use rustls::CommonState;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{client, server};

use super::config::ALPN;
use super::error::{Stage, explain};
use crate::stream::{ByteStream, Metered};
use crate::transport::{PeerCertificate, PeerInfo, TransportError};

/// Reads who the peer is from the certificate that the verifier has let pass.
pub(super) fn peer_info(
    session: &CommonState,
    from: SocketAddr,
    address: Arc<str>,
) -> Result<PeerInfo, TransportError> {
    let refused = |error| TransportError::Certificate { source: Arc::new(error) };
    let first = session.peer_certificates().and_then(|chain| chain.first());
    let first =
        first.ok_or_else(|| refused(CertificateError::Unreadable { reason: "the peer sent none" }))?;
    let info = identity::read(first).map_err(refused)?;
    let certificate = PeerCertificate {
        serial: info.serial.into(),
        sha256: hexadecimal(digest(&SHA256, first).as_ref()).into(),
        not_after: info.not_after,
    };
    Ok(PeerInfo {
        identity: info.identity,
        address,
        // An IPv4 peer of a socket that serves both families is an IPv4 peer to address ranges.
        ip: Some(from.ip().to_canonical()),
        speaks_rp1: session.alpn_protocol() == Some(ALPN),
        certificate: Some(certificate),
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

impl<S> ByteStream for server::TlsStream<Metered<S>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug,
{
    fn bytes_received(&self) -> u64 {
        self.get_ref().0.bytes_received()
    }

    fn bytes_sent(&self) -> u64 {
        self.get_ref().0.bytes_sent()
    }

    fn explain(&self, error: io::Error, _heard: bool) -> TransportError {
        explain(error, Stage::Established)
    }
}

impl<S> ByteStream for client::TlsStream<Metered<S>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug,
{
    fn bytes_received(&self) -> u64 {
        self.get_ref().0.bytes_received()
    }

    fn bytes_sent(&self) -> u64 {
        self.get_ref().0.bytes_sent()
    }

    fn explain(&self, error: io::Error, heard: bool) -> TransportError {
        explain(error, if heard { Stage::Established } else { Stage::Unheard })
    }
}
