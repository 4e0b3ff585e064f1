//! Ends of TLS connections with right and wrong certificates.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redpoll_certs::credentials::Credentials;
use redpoll_certs::identity;
use redpoll_certs::testing::{TestAuthority, TestCertificate};
use redpoll_net::tls::{DialOptions, ListenOptions, TlsClient, TlsListener, TlsServer, TlsTransport};
use redpoll_net::transport::{BoxConnection, Listener as _, Transport as _, TransportError, receive, send};
use rustls_pki_types::CertificateDer;

/// Longer than any step takes on a slow machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// What one end with a good certificate needs.
pub(crate) fn credentials(own: &TestCertificate) -> Credentials {
    forged(own, own, own.root.clone())
}

/// Credentials that pass as those of `good` when they are loaded, and show `shown` in the handshake.
pub(crate) fn forged(
    shown: &TestCertificate,
    good: &TestCertificate,
    root: CertificateDer<'static>,
) -> Credentials {
    Credentials {
        chain: shown.chain.clone(),
        key: shown.key(),
        roots: vec![root],
        info: identity::read(&good.chain[0]).unwrap(),
    }
}

/// A listener on a free port.
pub(crate) fn listen(credentials: Credentials) -> (TlsListener, Arc<TlsServer>) {
    listen_with(credentials, ListenOptions::default())
}

/// A listener on a free port, with options.
pub(crate) fn listen_with(credentials: Credentials, options: ListenOptions) -> (TlsListener, Arc<TlsServer>) {
    let server = Arc::new(TlsServer::new(credentials).unwrap());
    let listener = TlsListener::bind(([127, 0, 0, 1], 0).into(), Arc::clone(&server), options).unwrap();
    (listener, server)
}

/// The way to a listener.
pub(crate) fn transport_to(listener: &TlsListener, credentials: Credentials) -> TlsTransport {
    dial_to(listener, &Arc::new(TlsClient::new(credentials).unwrap()))
}

/// The way to a listener with a client that is shared.
pub(crate) fn dial_to(listener: &TlsListener, client: &Arc<TlsClient>) -> TlsTransport {
    let address = listener.local_address().into();
    TlsTransport::new(vec![address], Arc::clone(client), DialOptions::default())
}

/// Good ends: a manager's listener and an agent's way to it.
pub(crate) fn good_ends() -> (TlsListener, TlsTransport) {
    let authority = TestAuthority::new("home");
    let (listener, _server) = listen(credentials(&authority.manager("m-1")));
    let transport = transport_to(&listener, credentials(&authority.agent("web-1")));
    (listener, transport)
}

/// The next stranger's handshake.
pub(crate) async fn admit(listener: &mut TlsListener) -> Result<BoxConnection, TransportError> {
    let incoming = tokio::time::timeout(DEADLINE, listener.accept()).await.expect("nobody came").unwrap();
    let accepted = tokio::time::timeout(DEADLINE, incoming.handshake).await.expect("the handshake hangs")?;
    Ok(accepted.session().expect("a leg"))
}

/// One connection, from both ends.
pub(crate) async fn connected(
    listener: &mut TlsListener,
    transport: &TlsTransport,
) -> (BoxConnection, BoxConnection) {
    let (dialled, admitted) = tokio::join!(transport.connect(), admit(listener));
    (dialled.unwrap(), admitted.unwrap())
}

/// A handshake that fails: why, at the dialler and at the manager. The dialler may learn of it at its first read.
pub(crate) async fn refused(
    listener: &mut TlsListener,
    transport: &TlsTransport,
) -> (TransportError, TransportError) {
    let dialling = async {
        let mut connection = transport.connect().await?;
        // As an agent does: under TLS 1.3 the hello is on its way before the manager has seen the certificate.
        send(&mut *connection, Bytes::from_static(&[0; 9000])).await?;
        match receive(&mut *connection).await {
            Some(Err(error)) => Err(error),
            Some(Ok(_)) | None => Ok(connection),
        }
    };
    let (dialled, admitted) = tokio::join!(dialling, admit(listener));
    (dialled.expect_err("the dialler got in"), admitted.expect_err("the manager let it in"))
}

/// An error with all its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
