//! A webhook: one HTTP POST on a connection of its own. No redirect is followed and no proxy is asked.

use std::fmt;
use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use redpoll_common::session::chain;
use redpoll_config::CallbacksConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::signature::Signer;
use super::{DelivererError, Delivery, authorities};

/// Bytes the head of an answer may have.
const MAX_HEAD: usize = 16 * 1024;
/// Bytes of an answer's body that are read before the connection is cut. Nobody looks at them.
const MAX_ANSWER: usize = 4 * 1024;
/// How long the rest of an answer may take once its head was there.
const POLITENESS: Duration = Duration::from_secs(1);
/// How many addresses of a host are tried.
const MAX_ADDRESSES: usize = 8;

/// Where a webhook goes.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    secure: bool,
    uri: Uri,
}

// Without the path and the query, which may hold a secret.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, without quoting it.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("the webhook is not a URL: {error}"))?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) | None => {
                return Err("the webhook's URL begins with neither https:// nor http://".to_owned());
            }
        };
        let authority = uri.authority().filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or_else(|| "the webhook's URL names no host".to_owned())?;
        if authority.as_str().contains('@') {
            return Err("the webhook's URL holds a user's name, which is not sent".to_owned());
        }
        let usual = if secure { 443 } else { 80 };
        let host = authority.host();
        // not `authority.port()`: to that a port out of range is none
        let port = match authority.as_str().strip_prefix(host) {
            Some("") => usual,
            rest => rest
                .and_then(|rest| rest.strip_prefix(':'))
                .filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|port| port.parse().ok())
                .filter(|port| *port != 0)
                .ok_or_else(|| "the port in the webhook's URL is none".to_owned())?,
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Ok(Self { host: bare.to_ascii_lowercase(), port, secure, uri })
    }
}

/// Sends webhooks.
#[derive(Debug)]
pub(super) struct Webhooks {
    connector: Connector,
    signer: Option<Signer>,
}

struct Connector(TlsConnector);

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl Webhooks {
    pub(super) fn new(config: &CallbacksConfig) -> Result<Self, DelivererError> {
        let signer = config.secret()?.map(|secret| Signer::new(&secret));
        let connector = Connector(authorities::connector(config.ca.as_deref())?);
        Ok(Self { connector, signer })
    }

    /// Sends the body; done when a status 2xx came.
    pub(super) async fn post(
        &self,
        target: &Target,
        delivery: Delivery,
        body: Bytes,
        deadline: Instant,
    ) -> Result<(), String> {
        let request = self.request(target, delivery, body, SystemTime::now())?;
        let tcp = connect(target, deadline).await?;
        let status = if target.secure {
            let name = ServerName::try_from(target.host.clone())
                .map_err(|_| format!("{target} is not a name that a certificate can have"))?;
            let shaken = timeout_at(deadline, self.connector.0.connect(name, tcp)).await;
            let tls = shaken.map_err(|_| format!("{target} took too long for TLS"))?;
            let tls = tls.map_err(|error| format!("TLS with {target} failed: {}", chain(&error)))?;
            Box::pin(exchange(target, tls, request, deadline)).await?
        } else {
            Box::pin(exchange(target, tcp, request, deadline)).await?
        };
        verdict(target, status)
    }

    fn request(
        &self,
        target: &Target,
        delivery: Delivery,
        body: Bytes,
        now: SystemTime,
    ) -> Result<Request<Full<Bytes>>, String> {
        let timestamp = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let path = target.uri.path_and_query().map_or("/", |path| path.as_str());
        let host = target.uri.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::post(path)
            .header(HOST, host)
            .header(CONNECTION, "close")
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("redpoll/", env!("CARGO_PKG_VERSION")))
            .header("Redpoll-Delivery", delivery.to_string())
            .header("Redpoll-Timestamp", timestamp);
        if let Some(signer) = &self.signer {
            request = request.header("Redpoll-Signature", signer.sign(timestamp, &body));
        }
        request
            .body(Full::new(body))
            .map_err(|error| format!("the webhook's URL cannot be asked for: {error}"))
    }
}

fn verdict(target: &Target, status: StatusCode) -> Result<(), String> {
    if status.is_success() {
        return Ok(());
    }
    // the reason of the standard, not the server's
    let reason = status.canonical_reason().unwrap_or("(a status of its own)");
    let hint = if status.is_redirection() { "; redirects are not followed" } else { "" };
    Err(format!("{target} answered {} {reason}{hint}", status.as_u16()))
}

/// Connects to one of the host's addresses. Each gets its share of the time, so that a silent one does not eat it all.
async fn connect(target: &Target, deadline: Instant) -> Result<TcpStream, String> {
    let late = || format!("{target} could not be connected to in time");
    let lookup = timeout_at(deadline, lookup_host((target.host.as_str(), target.port))).await;
    let found = lookup.map_err(|_| format!("the address of {target} was not found in time"))?;
    let found = found.map_err(|error| format!("the address of {target} was not found: {error}"))?;
    let addresses: Vec<_> = found.take(MAX_ADDRESSES).collect();
    let mut reason = format!("{target} has no address");
    for (address, left) in addresses.iter().zip((1..=addresses.len()).rev()) {
        let rest = deadline.saturating_duration_since(Instant::now());
        let until = Instant::now() + rest / u32::try_from(left).unwrap_or(1);
        reason = match timeout_at(until, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => format!("{target} cannot be connected to: {error}"),
            Err(_) => late(),
        };
    }
    Err(reason)
}

/// Sends the request and waits for the head of the answer.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send>(
    target: &Target,
    stream: S,
    request: Request<Full<Bytes>>,
    deadline: Instant,
) -> Result<StatusCode, String> {
    let failed = |error: hyper::Error| format!("no answer from {target}: {}", chain(&error));
    let late = || format!("{target} did not answer in time");
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let answer = pin!(async move {
        let sent = timeout_at(deadline, sender.send_request(request)).await;
        let response = sent.map_err(|_| late())?.map_err(failed)?;
        let status = response.status();
        let _cut = timeout_at(deadline.min(Instant::now() + POLITENESS), drain(response)).await;
        Ok(status)
    });
    // Both in this task: the connection does nothing unless it is polled, and ends with this future.
    match select(answer, pin!(connection)).await {
        Either::Left((status, _connection)) => status,
        Either::Right((_ended, answer)) => answer.await,
    }
}

/// Reads a short answer to its end, because a server may take a connection that is cut for a failure.
async fn drain(response: Response<Incoming>) {
    let mut body = response.into_body();
    let mut room = MAX_ANSWER;
    while let Some(Ok(frame)) = body.frame().await {
        match frame.data_ref().map_or(Some(room), |data| room.checked_sub(data.len())) {
            Some(left) => room = left,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_with_their_usual_ports_and_shown_without_what_may_be_secret() {
        for (url, shown, secure) in [
            ("https://Hooks.example/a?token=hunter2", "hooks.example:443", true),
            ("http://hooks.example", "hooks.example:80", false),
            ("https://[2001:db8::7]:8443/", "[2001:db8::7]:8443", true),
            ("HTTP://10.0.0.1:8080/x#y", "10.0.0.1:8080", false),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.to_string().as_str(), target.secure), (shown, secure), "{url}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_webhook_is_refused_without_being_quoted() {
        for url in [
            "",
            "hooks.example",
            "/hunter2",
            "ftp://hooks.example/hunter2",
            "https://",
            "https:///hunter2",
            "https://user:hunter2@hooks.example/",
            "https://hooks.example/hunter2 b",
            "https://hooks.example:99999/hunter2",
            "https://hooks.example:0/hunter2",
            "https://hooks.example:/hunter2",
            "https://hooks.example:+80/hunter2",
        ] {
            let error = Target::parse(url).unwrap_err();
            assert!(!error.contains("hunter2"), "{url}: {error}");
        }
    }
}
