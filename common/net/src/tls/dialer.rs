//! Dialling a manager: names, addresses, one after the other, each with a deadline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::future::BoxFuture;
use rustls_pki_types::{DnsName, ServerName};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tracing::debug;

use super::config::{BUFFER_LIMIT, TlsClient};
use super::error::{Stage, explain};
use super::identity::peer_info;
use crate::framed::Framed;
use crate::socket::{self, SocketOptions};
use crate::stream::Metered;
use crate::transport::{BoxConnection, Transport, TransportError, Wait};

/// The name that is sent when a manager is dialled by address. Nobody compares it; TLS wants one.
const NAMELESS: &str = "manager.redpoll.invalid";

/// How long a dialler waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialOptions {
    /// For the addresses of one name.
    pub resolve: Duration,
    /// For one address to answer.
    pub connect: Duration,
    /// For the handshake with one address.
    pub handshake: Duration,
    /// For everything together.
    pub total: Duration,
    /// The socket.
    pub socket: SocketOptions,
}

impl Default for DialOptions {
    fn default() -> Self {
        Self {
            resolve: Duration::from_secs(5),
            connect: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            total: Duration::from_secs(30),
            socket: SocketOptions::default(),
        }
    }
}

/// Reaches one of several managers by TLS over TCP.
///
/// Names are resolved anew each time. The managers are tried in the order given, and all addresses of a name before
/// the next; the first that finishes the handshake wins.
#[derive(Debug)]
pub struct TlsTransport {
    managers: Vec<Arc<str>>,
    pub(super) client: Arc<TlsClient>,
    pub(super) options: DialOptions,
    /// The manager that was reached last, and where.
    pub(super) last: ArcSwapOption<(Arc<str>, SocketAddr)>,
}

impl TlsTransport {
    /// Dials `managers`, each `host:port`, `192.0.2.1:port` or `[2001:db8::1]:port`; at least one.
    pub fn new(managers: Vec<Arc<str>>, client: Arc<TlsClient>, options: DialOptions) -> Self {
        Self { managers, client, options, last: ArcSwapOption::empty() }
    }

    /// Who dials.
    pub fn client(&self) -> &TlsClient {
        &self.client
    }

    async fn dial(&self) -> Result<BoxConnection, TransportError> {
        let deadline = Instant::now() + self.options.total;
        let mut attempt = Attempt { deadline, total: self.options.total, worst: None };
        for manager in &self.managers {
            let limit = attempt.at_most(self.options.resolve)?;
            let addresses = match socket::resolve(manager, limit).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    attempt.failed(manager, error);
                    continue;
                }
            };
            for address in addresses {
                let connect = attempt.at_most(self.options.connect)?;
                match self.dial_one(manager, address, connect, deadline).await {
                    Ok(connection) => {
                        self.last.store(Some(Arc::new((Arc::clone(manager), address))));
                        return Ok(connection);
                    }
                    Err(error) => attempt.failed(manager, error),
                }
            }
        }
        Err(attempt.verdict())
    }

    async fn dial_one(
        &self,
        manager: &Arc<str>,
        address: SocketAddr,
        connect: Duration,
        deadline: Instant,
    ) -> Result<BoxConnection, TransportError> {
        let stream = socket::connect(address, self.options.socket, connect).await?;
        let limit = self.options.handshake.min(deadline.saturating_duration_since(Instant::now()));
        let connector = TlsConnector::from(Arc::clone(&self.client.configs().session));
        let handshake = connector.connect_with(server_name(manager), Metered::new(stream), |session| {
            session.set_buffer_limit(Some(BUFFER_LIMIT));
        });
        let stream = timeout(limit, handshake)
            .await
            .map_err(|_elapsed| TransportError::Timeout { wait: Wait::Handshake, after: limit })?
            .map_err(|error| explain(error, Stage::Handshake))?;
        let shown = if **manager == *address.to_string() {
            Arc::clone(manager)
        } else {
            format!("{manager} ({address})").into()
        };
        let peer = peer_info(stream.get_ref().1, address, shown)?;
        Ok(Box::new(Framed::new(stream, peer)))
    }
}

impl Transport for TlsTransport {
    fn connect(&self) -> BoxFuture<'_, Result<BoxConnection, TransportError>> {
        Box::pin(self.dial())
    }

    fn describe(&self) -> String {
        self.managers.join(", ")
    }
}

/// One round through all managers and addresses.
struct Attempt {
    deadline: Instant,
    total: Duration,
    worst: Option<TransportError>,
}

impl Attempt {
    /// The time for the next step, or the round's verdict when there is none left.
    fn at_most(&mut self, step: Duration) -> Result<Duration, TransportError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(self.verdict()) } else { Ok(step.min(left)) }
    }

    /// Of all failures the one is reported that a person has to do something about, else the last.
    fn failed(&mut self, manager: &Arc<str>, error: TransportError) {
        debug!(%manager, %error, "this address did not work out");
        if !self.worst.as_ref().is_some_and(TransportError::needs_a_person) {
            self.worst = Some(error);
        }
    }

    fn verdict(&mut self) -> TransportError {
        self.worst.take().unwrap_or(TransportError::Timeout { wait: Wait::Dial, after: self.total })
    }
}

pub(super) fn server_name(manager: &str) -> ServerName<'static> {
    let host = manager.rsplit_once(':').map_or(manager, |(host, _port)| host);
    // An address has no name; sending none would leave the choice of certificate to chance behind a TLS router.
    let name = DnsName::try_from(host.to_owned())
        .or_else(|_not_a_name| DnsName::try_from_str(NAMELESS).map(|name| name.to_owned()));
    match name {
        Ok(name) => ServerName::DnsName(name),
        Err(_) => ServerName::IpAddress(std::net::IpAddr::from([0, 0, 0, 0]).into()),
    }
}
