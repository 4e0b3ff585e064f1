//! TLS over TCP: the conformance of all transports, and what only TLS can get wrong.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod certificates;
mod leg_words;
mod legs;
mod strangers;
mod support;

use std::sync::Arc;
use std::time::Duration;

use crate::support::{
    DEADLINE, admit, chain, connected, credentials, dial_to, good_ends, listen, listen_with, transport_to,
};
use bytes::Bytes;
use redpoll_certs::testing::TestAuthority;
use redpoll_net::conformance::{Pairs, silent_strangers_delay_nobody};
use redpoll_net::tls::{DialOptions, ListenOptions, TlsClient, TlsServer, TlsSetupError, TlsTransport};
use redpoll_net::transport::{
    BoxConnection, Listener as _, TlsProblem, Transport as _, TransportError, Wait, close, receive, send,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

struct Tls;

impl Pairs for Tls {
    async fn pair(&self) -> (BoxConnection, BoxConnection) {
        let (mut listener, transport) = good_ends();
        connected(&mut listener, &transport).await
    }
}

redpoll_net::transport_conformance!([#[tokio::test]] Tls);

#[tokio::test]
async fn silent_strangers_do_not_delay_an_honest_peer() {
    let (mut listener, transport) = good_ends();
    let address = listener.local_addr();
    let silence = async || TcpStream::connect(address).await.unwrap();
    silent_strangers_delay_nobody(&mut listener, &transport, silence).await;
}

#[tokio::test]
async fn a_peer_is_known_by_certificate_and_address() {
    let authority = TestAuthority::new("home");
    let (mut listener, _server) = listen(credentials(&authority.manager("m-1")));
    let ada = credentials(&authority.operator("ada"));
    let info = ada.info.clone();
    let transport = transport_to(&listener, ada);
    let (dialled, admitted) = connected(&mut listener, &transport).await;
    assert_eq!(admitted.peer().identity.to_string(), "spiffe://home/operator/ada");
    assert_eq!(admitted.peer().ip.unwrap().to_string(), "127.0.0.1");
    let certificate = admitted.peer().certificate.as_ref().unwrap();
    assert_eq!((&*certificate.serial, certificate.not_after), (info.serial.as_str(), info.not_after));
    assert!(dialled.peer().speaks_rp1 && admitted.peer().speaks_rp1);
    assert_eq!(dialled.peer().address.to_string(), listener.local_address());
}

#[tokio::test]
async fn a_goodbye_arrives_although_its_reader_has_sent_more() {
    let (mut listener, transport) = good_ends();
    let (mut dialled, mut admitted) = connected(&mut listener, &transport).await;
    send(&mut *dialled, Bytes::from_static(b"unread")).await.unwrap();
    send(&mut *admitted, Bytes::from_static(b"bye")).await.unwrap();
    let reading = async {
        assert_eq!(*receive(&mut *dialled).await.unwrap().unwrap(), *b"bye");
        assert!(receive(&mut *dialled).await.is_none());
        drop(dialled);
    };
    let ((), ()) = tokio::join!(close(admitted, DEADLINE), reading);
}

#[tokio::test]
async fn plain_http_is_named_in_the_log() {
    let (mut listener, _transport) = good_ends();
    let mut http = TcpStream::connect(listener.local_addr()).await.unwrap();
    http.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let asking = async {
        let mut answer = Vec::new();
        http.read_to_end(&mut answer).await.unwrap();
        drop(http);
    };
    let ((), admitted) = tokio::join!(asking, admit(&mut listener));
    let error = admitted.unwrap_err();
    assert!(matches!(error, TransportError::Tls { problem: TlsProblem::NotTls, .. }), "{error:?}");
    assert!(error.to_string().contains("what it sends is not TLS"), "{error}");
    assert!(error.help().unwrap().contains("7051"));
}

#[tokio::test]
async fn a_client_of_tls_1_2_is_refused() {
    let (mut listener, _transport) = good_ends();
    let mut old = TcpStream::connect(listener.local_addr()).await.unwrap();
    old.write_all(&hello_of_tls_1_2()).await.unwrap();
    let asking = async {
        let mut answer = Vec::new();
        old.read_to_end(&mut answer).await.unwrap();
        drop(old);
        answer
    };
    let (answer, admitted) = tokio::join!(asking, admit(&mut listener));
    let error = admitted.unwrap_err();
    assert!(matches!(error, TransportError::Tls { problem: TlsProblem::Version, .. }), "{error:?}");
    assert!(error.to_string().contains("does not speak TLS 1.3"), "{error}");
    // Alert, fatal, protocol_version.
    assert_eq!(answer.get(5..7), Some([2, 70].as_slice()));
}

#[tokio::test]
async fn a_server_that_is_not_tls_is_named() {
    let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let agent = credentials(&TestAuthority::new("home").agent("web-1"));
    let address = http.local_addr().unwrap().to_string().into();
    let client = Arc::new(TlsClient::new(agent).unwrap());
    let transport = TlsTransport::new(vec![address], client, DialOptions::default());
    let answering = async {
        let (mut stream, _from) = http.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    };
    let (dialled, _stream) = tokio::join!(transport.connect(), answering);
    let error = dialled.unwrap_err();
    assert!(matches!(error, TransportError::Tls { problem: TlsProblem::NotTls, .. }), "{error:?}");
}

#[tokio::test]
async fn silence_has_a_deadline_at_both_ends() {
    let short = Duration::from_millis(50);
    let authority = TestAuthority::new("home");
    let options = ListenOptions { handshake: short, ..ListenOptions::default() };
    let (mut listener, _server) = listen_with(credentials(&authority.manager("m-1")), options);
    let _silent = TcpStream::connect(listener.local_addr()).await.unwrap();
    let error = admit(&mut listener).await.unwrap_err();
    assert!(matches!(error, TransportError::Timeout { wait: Wait::Handshake, .. }), "{error:?}");

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Arc::new(TlsClient::new(credentials(&authority.agent("web-1"))).unwrap());
    let address = silent.local_addr().unwrap().to_string().into();
    let options = DialOptions { handshake: short, ..DialOptions::default() };
    let error = TlsTransport::new(vec![address], client, options).connect().await.unwrap_err();
    assert_eq!(error.to_string(), "the TLS handshake took longer than 50ms");
}

#[tokio::test]
async fn managers_are_tried_one_after_the_other_and_by_name() {
    let authority = TestAuthority::new("home");
    let (mut listener, _server) = listen(credentials(&authority.manager("m-1")));
    let nobody = {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        closed.local_addr().unwrap().to_string()
    };
    let named = format!("localhost:{}", listener.local_addr().port());
    let client = Arc::new(TlsClient::new(credentials(&authority.agent("web-1"))).unwrap());
    let managers = vec![nobody.clone().into(), named.into()];
    let transport = TlsTransport::new(managers, Arc::clone(&client), DialOptions::default());
    let (dialled, _admitted) = connected(&mut listener, &transport).await;
    assert!(dialled.peer().address.starts_with("localhost:"), "{}", dialled.peer().address);

    let none = TlsTransport::new(vec![nobody.into()], client, DialOptions::default());
    let error = none.connect().await.unwrap_err();
    assert!(matches!(error, TransportError::Unreachable { .. }), "{error:?}");
    assert!(!error.needs_a_person());
}

#[tokio::test]
async fn a_name_without_an_address_is_named() {
    let client = Arc::new(TlsClient::new(credentials(&TestAuthority::new("home").agent("web-1"))).unwrap());
    let managers = vec!["no-port-here".into()];
    let error = TlsTransport::new(managers, client, DialOptions::default()).connect().await.unwrap_err();
    assert_eq!(error.to_string(), "cannot find the address of no-port-here");
}

#[tokio::test]
async fn a_reload_is_for_the_next_handshake_and_leaves_connections_alone() {
    let authority = TestAuthority::new("home");
    let (mut listener, server) = listen(credentials(&authority.manager("m-1")));
    let client = Arc::new(TlsClient::new(credentials(&authority.agent("web-1"))).unwrap());
    let transport = dial_to(&listener, &client);
    let (mut before, mut admitted) = connected(&mut listener, &transport).await;

    server.reload(credentials(&authority.manager("m-2"))).unwrap();
    client.reload(credentials(&authority.agent("web-2"))).unwrap();
    let (dialled, after) = connected(&mut listener, &transport).await;
    assert_eq!(dialled.peer().identity.id.as_str(), "m-2");
    assert_eq!(after.peer().identity.id.as_str(), "web-2");

    send(&mut *before, Bytes::from_static(b"still here")).await.unwrap();
    assert_eq!(*receive(&mut *admitted).await.unwrap().unwrap(), *b"still here");
}

#[tokio::test]
async fn a_reload_with_another_role_or_cluster_is_refused_and_changes_nothing() {
    let (home, away) = (TestAuthority::new("home"), TestAuthority::new("away"));
    let (mut listener, server) = listen(credentials(&home.manager("m-1")));
    let transport = transport_to(&listener, credentials(&home.agent("web-1")));
    let error = server.reload(credentials(&home.agent("web-1"))).unwrap_err();
    assert!(
        chain(&error).contains("the certificate is for an agent, but a manager is wanted here"),
        "{error:?}"
    );
    let error = server.reload(credentials(&away.manager("m-1"))).unwrap_err();
    assert!(matches!(error, TlsSetupError::ClusterChanged { .. }), "{error:?}");
    connected(&mut listener, &transport).await;
}

#[tokio::test]
async fn neither_end_takes_a_certificate_of_the_other() {
    let authority = TestAuthority::new("home");
    let error = TlsClient::new(credentials(&authority.manager("m-1"))).unwrap_err();
    assert!(chain(&error).contains("for a manager, but an agent or an operator is wanted"), "{error:?}");
    let error = TlsServer::new(credentials(&authority.operator("ada"))).unwrap_err();
    assert!(chain(&error).contains("for an operator, but a manager is wanted"), "{error:?}");
}

#[tokio::test]
async fn neither_end_prints_its_key() {
    let authority = TestAuthority::new("home");
    let server = TlsServer::new(credentials(&authority.manager("m-1"))).unwrap();
    let client = TlsClient::new(credentials(&authority.agent("web-1"))).unwrap();
    for shown in [format!("{server:?}"), format!("{client:?}")] {
        assert!(shown.len() < 300 && shown.contains("home"), "{shown}");
    }
}

/// A record with a ClientHello that offers TLS 1.2 and nothing newer.
fn hello_of_tls_1_2() -> Vec<u8> {
    let signatures = [0, 13, 0, 6, 0, 4, 0x04, 0x03, 0x08, 0x04];
    let groups = [0, 10, 0, 4, 0, 2, 0, 23];
    let extensions = [signatures.as_slice(), groups.as_slice()].concat();
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0]);
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let len = u16::try_from(body.len()).unwrap();
    let mut record = vec![0x16, 3, 1];
    record.extend((len + 4).to_be_bytes());
    record.extend([1, 0]);
    record.extend(len.to_be_bytes());
    record.extend(body);
    record
}
