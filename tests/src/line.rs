//! One end of a connection in the hands of a test, which may say whatever it likes, byte by byte.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use redpoll_certs::testing::TestCertificate;
use redpoll_common::wire::frame::{Splitter, header};
use redpoll_common::wire::{
    Bye, MAX_FRAME_LIMIT, ManagerHello, Message, PROTOCOL, Raw, Request, Response, codec,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::credulous::Credulous;
use crate::operator::hello;
use crate::{PATIENCE, in_time, within};

/// The application protocol of today.
pub const RP1: &[&[u8]] = &[b"rp/1"];
/// What a peer of protocol 0 offers.
pub const NO_ALPN: &[&[u8]] = &[];

/// What came next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a test holds one at a time")]
pub enum Heard {
    /// A message.
    Message(Message),
    /// The other end closed in order.
    End,
    /// The connection broke.
    Broken(String),
}

/// One end.
#[derive(Debug)]
pub struct Line {
    stream: TlsStream<TcpStream>,
    splitter: Splitter,
    input: BytesMut,
}

/// The frame around a payload.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    [&header(payload.len())[..], payload].concat()
}

/// The payload of a message as a peer of today writes it.
pub fn payload(message: &Message) -> Bytes {
    codec::encode(message, PROTOCOL)
}

impl Line {
    /// Dials a manager and believes whatever it shows. Under TLS 1.3 a refused certificate shows with the first read.
    ///
    /// # Errors
    /// When there is no connection or no TLS.
    pub async fn dial(
        address: SocketAddr,
        own: Option<&TestCertificate>,
        protocols: &[&[u8]],
    ) -> io::Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        Self::begin(tcp, own, protocols).await
    }

    /// Begins TLS on a connection that is there already.
    ///
    /// # Errors
    /// When there is no TLS.
    ///
    /// # Panics
    /// When the certificate cannot be used.
    pub async fn begin(
        tcp: TcpStream,
        own: Option<&TestCertificate>,
        protocols: &[&[u8]],
    ) -> io::Result<Self> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Credulous));
        let mut config = match own {
            Some(own) => builder.with_client_auth_cert(own.chain.clone(), own.key()).expect("a certificate"),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        Ok(Self::over(TlsStream::Client(stream)))
    }

    /// The connection itself, before anything was heard.
    pub fn into_stream(self) -> TlsStream<TcpStream> {
        self.stream
    }

    fn over(stream: TlsStream<TcpStream>) -> Self {
        Self { stream, splitter: Splitter::new(MAX_FRAME_LIMIT), input: BytesMut::new() }
    }

    /// Dials with a good certificate and does not say hello.
    ///
    /// # Panics
    /// When the manager does not listen.
    pub async fn stranger(address: SocketAddr, own: &TestCertificate) -> Self {
        in_time("a stranger's TLS", Self::dial(address, Some(own), RP1)).await.expect("a stranger's TLS")
    }

    /// Dials, says hello as `id`, and waits to be let in.
    ///
    /// # Panics
    /// When the manager does not let it in.
    pub async fn agent(address: SocketAddr, own: &TestCertificate, id: &str) -> Self {
        let mut line = Self::stranger(address, own).await;
        line.say(&Message::AgentHello(Box::new(hello(id)))).await;
        match line.hear().await {
            Heard::Message(Message::ManagerHello(_)) => line,
            other @ (Heard::Message(_) | Heard::End | Heard::Broken(_)) => panic!("not let in: {other:?}"),
        }
    }

    /// The certificate that the other end has shown.
    ///
    /// # Panics
    /// When it has shown none.
    pub fn peer_certificate(&self) -> CertificateDer<'static> {
        let shown = self.stream.get_ref().1.peer_certificates();
        shown.and_then(<[_]>::first).expect("a certificate").clone().into_owned()
    }

    /// Sends bytes as they are, in one TLS record if they fit.
    ///
    /// # Errors
    /// When the other end has gone.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Sends bytes below TLS.
    ///
    /// # Errors
    /// When the other end has gone.
    pub async fn send_below(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            TlsStream::Client(stream) => stream.get_mut().0.write_all(bytes).await,
            TlsStream::Server(stream) => stream.get_mut().0.write_all(bytes).await,
        }
    }

    /// Ends TLS in order, whatever was begun.
    pub async fn close(&mut self) {
        let _gone = self.stream.shutdown().await;
    }

    /// Sends a message; that nobody is there to hear it shows with [`Line::hear`].
    pub async fn say(&mut self, message: &Message) {
        let _gone = self.send(&frame(&payload(message))).await;
    }

    /// Sends a request.
    ///
    /// # Panics
    /// When `id` is no id.
    pub async fn request(&mut self, id: &str, method: &str, kwargs: &serde_json::Value) {
        let kwargs = Raw::encode(kwargs).expect("arguments");
        self.say_request(id, method, |request| Request { kwargs, ..request }).await;
    }

    /// Sends a request that is changed first.
    ///
    /// # Panics
    /// When `id` is no id.
    pub async fn say_request(&mut self, id: &str, method: &str, change: impl FnOnce(Request) -> Request) {
        let request = Request {
            id: redpoll_common::ids::RequestId::parse(id).expect("an id"),
            method: method.to_owned(),
            args: Raw::empty_array(),
            kwargs: Raw::empty_map(),
            timeout_ms: None,
            trace: None,
            operator: None,
            roles: None,
        };
        self.say(&Message::Request(change(request))).await;
    }

    /// Waits for the next request.
    ///
    /// # Panics
    /// When the connection ends first.
    pub async fn requested(&mut self) -> Request {
        loop {
            match self.hear().await {
                Heard::Message(Message::Request(request)) => return request,
                Heard::Message(Message::Ping(number)) => self.say(&Message::Pong(number)).await,
                Heard::Message(_) => {}
                ended @ (Heard::End | Heard::Broken(_)) => panic!("no request came: {ended:?}"),
            }
        }
    }

    /// Waits for the next answer, whatever else comes before it.
    ///
    /// # Panics
    /// When the connection ends first.
    pub async fn answered(&mut self) -> Response {
        loop {
            match self.hear().await {
                Heard::Message(Message::Response(answer)) => return answer,
                Heard::Message(_) => {}
                ended @ (Heard::End | Heard::Broken(_)) => panic!("no answer came: {ended:?}"),
            }
        }
    }

    /// Answers a request.
    pub async fn answer(&mut self, request: &Request, data: Raw) {
        self.say(&Message::Response(Response { id: request.id.clone(), result: Ok(data) })).await;
    }

    /// Waits for what comes next.
    ///
    /// # Panics
    /// When nothing comes, or what is no message.
    pub async fn hear(&mut self) -> Heard {
        self.hear_within(PATIENCE).await
    }

    /// The same with a limit of one's own.
    ///
    /// # Panics
    /// When nothing comes, or what is no message.
    pub async fn hear_within(&mut self, limit: Duration) -> Heard {
        within(limit, "something to hear", async {
            loop {
                if let Some(payload) = self.splitter.split(&mut self.input).expect("frames") {
                    return Heard::Message(codec::decode(&payload).expect("a message"));
                }
                match self.stream.read_buf(&mut self.input).await {
                    Ok(0) => return Heard::End,
                    Ok(_) => {}
                    Err(error) => return Heard::Broken(error.to_string()),
                }
            }
        })
        .await
    }

    /// Waits for the goodbye, whatever comes before it, and then for the end of the connection.
    ///
    /// # Panics
    /// When there is no goodbye within `limit`, or the connection stays.
    pub async fn farewell(&mut self, limit: Duration) -> Bye {
        within(limit, "a goodbye and the end", async {
            let bye = loop {
                match self.hear().await {
                    Heard::Message(Message::Bye(bye)) => break bye,
                    Heard::Message(_) => {}
                    ended @ (Heard::End | Heard::Broken(_)) => panic!("no goodbye: {ended:?}"),
                }
            };
            match self.hear().await {
                Heard::Message(message) => panic!("after the goodbye came {message:?}"),
                Heard::End | Heard::Broken(_) => bye,
            }
        })
        .await
    }

    /// Waits for the end, whatever comes before it, and says how it came.
    ///
    /// # Panics
    /// When the connection stays longer than `limit`.
    pub async fn end(&mut self, limit: Duration) -> Heard {
        within(limit, "the end of the connection", async {
            loop {
                match self.hear().await {
                    Heard::Message(_) => {}
                    ended @ (Heard::End | Heard::Broken(_)) => return ended,
                }
            }
        })
        .await
    }
}

/// A manager in the hands of a test.
#[derive(Debug)]
pub struct FakeManager {
    tcp: TcpListener,
    config: Arc<ServerConfig>,
}

impl FakeManager {
    /// Listens on a free port and shows `own`, whatever that is a certificate of. Diallers must have one of its authority.
    ///
    /// # Panics
    /// When the certificate cannot be used at all.
    pub async fn listen(own: &TestCertificate) -> Self {
        let provider = Arc::new(default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(own.root.clone()).expect("an authority");
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS 1.3")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(own.chain.clone(), own.key())
            .expect("a certificate");
        config.alpn_protocols = RP1.iter().map(|protocol| protocol.to_vec()).collect();
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self { tcp, config: Arc::new(config) }
    }

    /// Where it listens.
    ///
    /// # Panics
    /// Never for a socket that listens.
    pub fn address(&self) -> SocketAddr {
        self.tcp.local_addr().expect("an address")
    }

    /// The next peer that dials and finishes TLS.
    ///
    /// # Errors
    /// When TLS fails, for instance because the peer refuses our certificate.
    pub async fn accept(&self) -> io::Result<Line> {
        in_time("TLS", self.secure(in_time("somebody who dials", self.dialled()).await?)).await
    }

    /// The next one who dials, however long that takes.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn dialled(&self) -> io::Result<TcpStream> {
        let (tcp, _from) = self.tcp.accept().await?;
        tcp.set_nodelay(true)?;
        Ok(tcp)
    }

    /// TLS with one who dialled.
    ///
    /// # Errors
    /// When TLS fails.
    pub async fn secure(&self, tcp: TcpStream) -> io::Result<Line> {
        let stream = TlsAcceptor::from(self.config.clone()).accept(tcp).await?;
        Ok(Line::over(TlsStream::Server(stream)))
    }

    /// The next agent's hello on a line that waits for our answer.
    ///
    /// # Panics
    /// When something else comes.
    pub async fn greeted(&self) -> (Line, redpoll_common::wire::AgentHello) {
        let mut line = self.accept().await.expect("an agent");
        match line.hear().await {
            Heard::Message(Message::AgentHello(hello)) => (line, *hello),
            other @ (Heard::Message(_) | Heard::End | Heard::Broken(_)) => panic!("no hello: {other:?}"),
        }
    }
}

/// The acceptance of a manager of today, which pings rarely.
pub fn acceptance() -> Message {
    Message::ManagerHello(Box::new(ManagerHello {
        version: "9.9.9-test".to_owned(),
        protocol: Some(PROTOCOL),
        manager: Some("m-1".to_owned()),
        cluster: Some("home".to_owned()),
        limits: Some(redpoll_common::wire::Limits::default()),
        ping_ms: Some(60_000),
        dead_ms: Some(180_000),
        ..ManagerHello::default()
    }))
}
