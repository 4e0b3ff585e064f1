//! Ends that are not ours: without a certificate, with other application protocols, and eager to resume sessions.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{admit, credentials, listen};
use redpoll_certs::testing::{TestAuthority, TestCertificate};
use redpoll_net::tls::{ALPN, DialOptions, TlsClient, TlsListener, TlsTransport};
use redpoll_net::transport::{BoxConnection, Refusal, TlsProblem, Transport as _, TransportError, receive};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, DigitallySignedStruct, HandshakeKind, RootCertStore, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

/// Believes everybody, and counts how often it was asked.
#[derive(Debug, Default)]
pub(crate) struct Credulous {
    asked: AtomicUsize,
}

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A client with the library's defaults, which resumes sessions where it can.
pub(crate) fn stranger(
    certificate: Option<&TestCertificate>,
    protocols: &[&[u8]],
) -> (ClientConfig, Arc<Credulous>) {
    let verifier = Arc::new(Credulous::default());
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::<Credulous>::clone(&verifier));
    let mut config = match certificate {
        Some(own) => builder.with_client_auth_cert(own.chain.clone(), own.key()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    (config, verifier)
}

type Stream = client::TlsStream<TcpStream>;

/// One connection of a stranger, who learns by its first read whether it was refused: what it and the manager make
/// of it.
async fn visit(
    listener: &mut TlsListener,
    config: &Arc<ClientConfig>,
) -> (io::Result<Stream>, Result<BoxConnection, TransportError>) {
    let address = listener.local_addr();
    let (let_in, mut verdict) = tokio::sync::oneshot::channel();
    let dialling = async {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await?;
        let mut buffer = [0];
        tokio::select! {
            read = stream.read(&mut buffer) => read.map(|_count| stream),
            Ok(()) = &mut verdict => Ok(stream),
        }
    };
    let admitting = async {
        let admitted = admit(listener).await;
        // Of a refusal the stranger is told by an alert; of success by nothing at all.
        if admitted.is_ok() {
            let_in.send(()).unwrap();
        }
        admitted
    };
    tokio::join!(dialling, admitting)
}

fn home() -> (TestAuthority, TlsListener) {
    let authority = TestAuthority::new("home");
    let (listener, _server) = listen(credentials(&authority.manager("m-1")));
    (authority, listener)
}

fn problem(refused: &Result<BoxConnection, TransportError>) -> TlsProblem {
    match refused {
        Err(TransportError::Tls { problem, .. }) => *problem,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn without_a_certificate_nobody_gets_in() {
    let (_authority, mut listener) = home();
    let (config, _asked) = stranger(None, &[ALPN]);
    let (dialled, admitted) = visit(&mut listener, &Arc::new(config)).await;
    assert_eq!(problem(&admitted), TlsProblem::NoCertificate);
    assert_eq!(admitted.unwrap_err().to_string(), "no TLS with the peer: it sent no certificate");
    assert!(dialled.unwrap_err().to_string().contains("CertificateRequired"));
}

#[tokio::test]
async fn another_application_protocol_is_refused() {
    let (authority, mut listener) = home();
    let (config, _asked) = stranger(Some(&authority.agent("web-1")), &[b"h2", b"http/1.1"]);
    let (dialled, admitted) = visit(&mut listener, &Arc::new(config)).await;
    assert_eq!(problem(&admitted), TlsProblem::Protocol);
    assert!(admitted.unwrap_err().to_string().contains("does not speak the application protocol rp/1"));
    assert!(dialled.unwrap_err().to_string().contains("NoApplicationProtocol"));
}

#[tokio::test]
async fn no_application_protocol_at_all_is_protocol_0() {
    let (authority, mut listener) = home();
    let (config, _asked) = stranger(Some(&authority.agent("old-1")), &[]);
    let (dialled, admitted) = visit(&mut listener, &Arc::new(config)).await;
    let admitted = admitted.unwrap();
    assert!(!admitted.peer().speaks_rp1);
    assert_eq!(admitted.peer().identity.id.as_str(), "old-1");
    assert_eq!(dialled.unwrap().get_ref().1.alpn_protocol(), None);
}

#[tokio::test]
async fn a_client_that_resumes_sessions_finds_nothing_to_resume() {
    let (authority, mut listener) = home();
    let (config, verifier) = stranger(Some(&authority.agent("web-1")), &[ALPN]);
    let config = Arc::new(config);
    for round in 1..=3 {
        let (dialled, admitted) = visit(&mut listener, &config).await;
        admitted.unwrap();
        let session = dialled.unwrap();
        assert_ne!(session.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
        assert_eq!(session.get_ref().1.tls13_tickets_received(), 0);
        assert_eq!(verifier.asked.load(Ordering::Relaxed), round);
    }
}

#[tokio::test]
async fn a_server_that_hands_out_tickets_gets_none_back() {
    let authority = TestAuthority::new("home");
    let (address, tcp, acceptor) = generous_server(&authority).await;
    let client = Arc::new(TlsClient::new(credentials(&authority.agent("web-1"))).unwrap());
    let transport = TlsTransport::new(vec![address.into()], client, DialOptions::default());
    for _ in 0..3 {
        let accepting = async {
            let (stream, _from) = tcp.accept().await.unwrap();
            let mut accepted = acceptor.accept(stream).await.unwrap();
            accepted.write_all(&[0, 0, 0, 1, 7]).await.unwrap();
            accepted.flush().await.unwrap();
            accepted
        };
        // The tickets come before the payload, so whoever has read this has them.
        let dialling = async {
            let mut connection = transport.connect().await.unwrap();
            assert_eq!(*receive(&mut *connection).await.unwrap().unwrap(), [7]);
            connection
        };
        let (dialled, accepted) = tokio::join!(dialling, accepting);
        assert!(!dialled.peer().speaks_rp1);
        assert_ne!(accepted.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
    }
}

/// A manager's server with the library's defaults: tickets, and sessions that it would resume.
async fn generous_server(authority: &TestAuthority) -> (String, TcpListener, TlsAcceptor) {
    let own = authority.manager("m-1");
    let provider = Arc::new(default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.root()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(own.chain.clone(), own.key())
        .unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (tcp.local_addr().unwrap().to_string(), tcp, TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn an_end_without_a_word_makes_the_dialler_think_of_its_certificate() {
    let authority = TestAuthority::new("home");
    let (address, tcp, acceptor) = generous_server(&authority).await;
    let client = Arc::new(TlsClient::new(credentials(&authority.agent("web-1"))).unwrap());
    let transport = TlsTransport::new(vec![address.into()], client, DialOptions::default());
    let accepting = async {
        let (stream, _from) = tcp.accept().await.unwrap();
        drop(acceptor.accept(stream).await.unwrap());
    };
    let dialling = async {
        let mut connection = transport.connect().await.unwrap();
        receive(&mut *connection).await.unwrap().unwrap_err()
    };
    let (error, ()) = tokio::join!(dialling, accepting);
    assert!(matches!(error, TransportError::Refused { why: Refusal::Silent, .. }), "{error:?}");
    assert!(error.help().unwrap().contains("is this certificate signed by the manager's authority"));
    assert!(!error.needs_a_person(), "it may be a restart as well");
}
