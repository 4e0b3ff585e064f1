//! What is said on a leg before it is joined.

use redpoll_certs::testing::TestCertificate;
use redpoll_common::leg::{LegAnswer, LegHello, MAX_MESSAGE};
use redpoll_common::wire::FaultCode;
use redpoll_net::tls::LegError;

use super::*;
use crate::legs::{id, known, leg, ticket};
use crate::strangers::stranger;

#[tokio::test]
async fn what_is_said_on_a_leg_is_bounded_and_checked() {
    let authority = TestAuthority::new("home");
    let (mut listener, _server) = listen(credentials(&authority.manager("m-1")));
    let ada = known(&mut listener, &authority.operator("ada")).await;
    let hello = LegHello { ticket: ticket(), agent: Some(id("web-1")) };
    // what the manager answers, and what becomes of it
    let refused = LegAnswer::Refused { code: FaultCode::Overloaded, message: "full".to_owned() };
    for (answer, said) in [(refused, "full"), (LegAnswer::Go, "before anybody came")] {
        let manager = async {
            let mut leg = leg(&mut listener).await;
            leg.hello(DEADLINE).await.unwrap();
            leg.answer(&answer, DEADLINE).await.unwrap();
            leg
        };
        let operator = async { ada.leg(&hello, DEADLINE).await.unwrap().known(DEADLINE).await };
        let (_leg, known) = tokio::join!(manager, operator);
        let error = chain(&known.unwrap_err());
        assert!(error.contains(said), "{error}");
    }
    // and what it hears: the session's client with a leg's protocol, and words of the test's own
    let too_long = [&u32::try_from(MAX_MESSAGE + 1).unwrap().to_be_bytes()[..], &[0; 64]].concat();
    for words in
        [too_long, vec![0, 0, 0, 1, 0xc1], vec![0, 0, 0, 1, 0x80], vec![0, 0, 0, 0], vec![0, 0, 0, 9, 1]]
    {
        let own = authority.operator("ada");
        let (heard, ()) = tokio::join!(
            async { leg(&mut listener).await.hello(Duration::from_secs(5)).await },
            raw_leg(listener_address(&ada), &own, &words)
        );
        let error = heard.unwrap_err();
        assert!(matches!(error, LegError::Malformed(_) | LegError::Transport(_)), "{words:?}: {error:?}");
    }
    // nobody knows where to dial before there was a session
    let stranger = transport_to(&listener, credentials(&authority.operator("eve")));
    assert!(matches!(stranger.leg(&hello, DEADLINE).await, Err(LegError::NoManager)));
}

fn listener_address(transport: &TlsTransport) -> std::net::SocketAddr {
    redpoll_net::transport::Transport::describe(transport).parse().unwrap()
}

/// Says these bytes on a leg, and goes.
async fn raw_leg(address: std::net::SocketAddr, own: &TestCertificate, words: &[u8]) {
    let (config, _asked) = stranger(Some(own), &[redpoll_common::leg::ALPN]);
    let stream = TcpStream::connect(address).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("manager.example").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    stream.write_all(words).await.unwrap();
    let _gone = stream.shutdown().await;
}
