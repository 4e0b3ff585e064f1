//! The two ends of a relay: one asks, with a window of frames in flight, the other sends back what comes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use redpoll_common::identity::Role;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Spot;
use super::frames::{Batches, put, split};
use super::relay::{REQUESTER, RESPONDER};
use super::tls;
use crate::pki::{AGENT, OPERATOR};
use crate::stats::nanos;

/// Bytes of a frame, its length not counted.
pub(crate) const FRAME_LEN: usize = 64;

/// The side that asks.
#[derive(Debug)]
pub(crate) struct Requester {
    stream: TlsStream<TcpStream>,
    batches: Batches,
}

impl Requester {
    pub(crate) async fn connect(pki: &Path, relay: SocketAddr) -> anyhow::Result<Self> {
        let stream = dial(pki, relay, (Role::Operator, OPERATOR), REQUESTER).await?;
        Ok(Self { stream, batches: Batches::default() })
    }

    /// Keeps `window` frames in flight for a while, and gives the round trip of each in nanoseconds. Answers come in
    /// the order of the requests.
    pub(crate) async fn ask(&mut self, window: usize, during: Duration) -> anyhow::Result<Vec<u64>> {
        let begun = Instant::now();
        let mut sent = VecDeque::with_capacity(window);
        let mut latencies = Vec::new();
        let mut out = Vec::new();
        let mut missing = window;
        loop {
            let now = Instant::now();
            if now - begun < during {
                for _ in 0..missing {
                    put(&mut out, &[7; FRAME_LEN])?;
                    sent.push_back(now);
                }
                self.stream.write_all(&out).await?;
                self.stream.flush().await?;
                out.clear();
            }
            if sent.is_empty() {
                return Ok(latencies);
            }
            let mut rest = self.batches.next(&mut self.stream).await?.context("the relay is gone")?;
            let now = Instant::now();
            missing = 0;
            while let Some((_, more)) = split(rest) {
                rest = more;
                let at = sent.pop_front().context("more answers than requests")?;
                latencies.push(nanos(now - at));
                missing += 1;
            }
        }
    }
}

/// Sends back what comes, until the relay goes.
pub(crate) async fn respond(spot: &Spot) -> anyhow::Result<()> {
    let mut stream = dial(&spot.pki, spot.address, (Role::Agent, AGENT), RESPONDER).await?;
    let mut batches = Batches::default();
    loop {
        let Some(frames) = batches.next(&mut stream).await? else { return Ok(()) };
        stream.write_all(frames).await?;
        stream.flush().await?;
    }
}

pub(super) async fn dial(
    pki: &Path,
    relay: SocketAddr,
    (role, name): (Role, &str),
    side: &[u8],
) -> anyhow::Result<TlsStream<TcpStream>> {
    let connector = TlsConnector::from(tls::client(pki, role, name)?);
    let stream = TcpStream::connect(relay).await?;
    stream.set_nodelay(true)?;
    let mut stream = connector.connect(tls::server_name(), stream).await?;
    let mut first = Vec::new();
    put(&mut first, side)?;
    stream.write_all(&first).await?;
    stream.flush().await?;
    Ok(stream)
}
