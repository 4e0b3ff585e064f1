//! Many agents in one process: each has its own certificate, connection and source address among many, dials at once
//! when it is alone, and is told by lines on stdin what to do.
//!
//! - `grow N`: until there are N agents. Answered by `up FAILURES` when all are connected.
//! - `down`: answered by `down` when none is connected any more.
//! - `up`: answered by `up FAILURES` when all are connected: how many dials failed since it was last said.
//! - `burst BYTES`: each sends so many bytes and gets them back. Answered by `burst`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use redpoll_common::api::method;
use redpoll_common::identity::{Identity, Role};
use redpoll_common::wire::Raw;
use redpoll_net::framed::Framed;
use redpoll_net::registry::RegistryService;
use redpoll_net::stream::Metered;
use redpoll_net::tls::ALPN;
use redpoll_net::transport::PeerInfo;
use redpoll_net::{Call, DriverOptions, Peer, Registry, drive, greet, random};
use rustls::ClientConfig;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::TaskTracker;

use crate::bare::hold::WELCOME;
use crate::bare::tls::{Clients, server_name};
use crate::pki::{self, Issuer, MANAGER};
use crate::world::hello;

/// The first wait before another dial is drawn from zero to this; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(20);
/// The longest that span becomes.
const LONGEST_WAIT: Duration = Duration::from_millis(320);
/// How long a dial may take.
const DIAL: Duration = Duration::from_secs(60);
/// Agents that take part in a burst at a time.
const BURSTS: usize = 16;
/// Source addresses, so that ports suffice.
const SOURCES: usize = 200;

/// What the agents of a fleet speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// TLS, and a byte that says "you are in".
    Bare,
    /// A whole session.
    Redpoll,
}

#[derive(Debug)]
struct Fleet {
    kind: Kind,
    target: SocketAddr,
    info: PeerInfo,
    service: Arc<RegistryService>,
    tracker: TaskTracker,
    dials: Semaphore,
    connected: watch::Sender<usize>,
    failed: AtomicU64,
    /// How many bursts were asked for, and of how many bytes each.
    burst: watch::Sender<(u64, usize)>,
    bursts: Semaphore,
    burst_done: watch::Sender<usize>,
}

/// A connection of one agent.
enum Link {
    Bare(Box<TlsStream<TcpStream>>),
    Redpoll(Peer),
}

/// Runs a fleet until stdin ends.
pub(crate) async fn run(kind: Kind, folder: &Path, target: SocketAddr, at_once: usize) -> anyhow::Result<()> {
    let manager = pki::credentials(folder, Role::Manager, MANAGER)?;
    let clients = Clients::new(&manager.roots)?;
    let issuer = Issuer::open(folder)?;
    let fleet = Arc::new(Fleet::new(kind, target, manager.info.identity, at_once));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut size = 0;
    while let Some(line) = lines.next_line().await? {
        let (word, number) = line.split_once(' ').unwrap_or((&line, "0"));
        let number: usize = number.parse()?;
        match word {
            "grow" => {
                let alpn: &[&[u8]] = if kind == Kind::Bare { &[] } else { &[ALPN] };
                for index in size..number {
                    let name = format!("f{index}");
                    let config = clients.config(issuer.agent(&name)?, alpn)?;
                    let agent = live(fleet.clone(), index, name, config);
                    fleet.tracker.spawn(agent);
                    tokio::task::yield_now().await;
                }
                size = size.max(number);
                fleet.say_up(size).await?;
            }
            "up" => fleet.say_up(size).await?,
            "down" => {
                fleet.connected.subscribe().wait_for(|&count| count == 0).await?;
                println!("down");
            }
            "burst" => {
                fleet.burst_done.send_replace(0);
                fleet.burst.send_modify(|(times, bytes)| (*times, *bytes) = (*times + 1, number));
                fleet.burst_done.subscribe().wait_for(|&count| count >= size).await?;
                println!("burst");
            }
            _ => bail!("{line:?} is nothing that a fleet does"),
        }
    }
    Ok(())
}

impl Fleet {
    fn new(kind: Kind, target: SocketAddr, manager: Identity, at_once: usize) -> Self {
        let address: Arc<str> = target.to_string().into();
        let ip = Some(target.ip());
        Self {
            kind,
            target,
            info: PeerInfo { identity: manager, address, ip, speaks_rp1: true, certificate: None },
            service: Arc::new(RegistryService(Arc::new(Registry::new()))),
            tracker: TaskTracker::new(),
            dials: Semaphore::new(at_once),
            connected: watch::Sender::new(0),
            failed: AtomicU64::new(0),
            burst: watch::Sender::new((0, 0)),
            bursts: Semaphore::new(BURSTS),
            burst_done: watch::Sender::new(0),
        }
    }

    async fn say_up(&self, size: usize) -> anyhow::Result<()> {
        self.connected.subscribe().wait_for(|&count| count == size).await?;
        println!("up {}", self.failed.swap(0, Ordering::Relaxed));
        Ok(())
    }

    async fn dial(&self, index: usize, name: &str, config: &Arc<ClientConfig>) -> anyhow::Result<Link> {
        let _turn = self.dials.acquire().await?;
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((source(index)?, 0)))?;
        let stream = socket.connect(self.target).await?;
        stream.set_nodelay(true)?;
        let connector = TlsConnector::from(config.clone());
        match self.kind {
            Kind::Bare => {
                let mut stream = connector.connect(server_name(), stream).await?;
                let welcome = stream.read_u8().await?;
                anyhow::ensure!(welcome == WELCOME, "not welcome");
                Ok(Link::Bare(Box::new(stream)))
            }
            Kind::Redpoll => {
                let stream = connector.connect(server_name(), Metered::new(stream)).await?;
                let connection = Box::new(Framed::new(stream, self.info.clone()));
                let (connection, terms) = greet::hello(connection, hello(name), DIAL).await?;
                let options = DriverOptions { seed: random::number(), ..DriverOptions::default() };
                let service = self.service.clone();
                let (peer, driver) = drive(connection, terms, service, options, self.tracker.clone());
                self.tracker.spawn(driver);
                Ok(Link::Redpoll(peer))
            }
        }
    }
}

/// One agent, without end.
async fn live(fleet: Arc<Fleet>, index: usize, name: String, config: Arc<ClientConfig>) {
    let mut span = FIRST_WAIT;
    loop {
        let dial = Box::pin(fleet.dial(index, &name, &config));
        match tokio::time::timeout(DIAL, dial).await {
            Ok(Ok(link)) => {
                span = FIRST_WAIT;
                fleet.connected.send_modify(|count| *count += 1);
                let _gone = Box::pin(link.hold(&fleet)).await;
                fleet.connected.send_modify(|count| *count -= 1);
            }
            Ok(Err(_)) | Err(_) => {
                fleet.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        tokio::time::sleep(Duration::from_micros(random::number() % micros)).await;
        span = (span * 2).min(LONGEST_WAIT);
    }
}

impl Link {
    /// Until the connection ends.
    async fn hold(mut self, fleet: &Fleet) -> anyhow::Result<()> {
        let mut bursts = fleet.burst.subscribe();
        loop {
            tokio::select! {
                ended = self.ended() => return ended,
                changed = bursts.changed() => changed?,
            }
            let (_times, bytes) = *bursts.borrow_and_update();
            let turn = fleet.bursts.acquire().await?;
            let sent = self.burst(bytes).await;
            drop(turn);
            // also when it failed: the others are not waited for in vain
            fleet.burst_done.send_modify(|count| *count += 1);
            sent?;
        }
    }

    async fn ended(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Bare(stream) => {
                let _end = stream.read_u8().await?;
            }
            Self::Redpoll(peer) => {
                let _reason = peer.closed().await;
            }
        }
        Ok(())
    }

    async fn burst(&mut self, bytes: usize) -> anyhow::Result<()> {
        match self {
            Self::Bare(stream) => {
                stream.write_all(&vec![7; bytes]).await?;
                stream.flush().await?;
                stream.read_exact(&mut vec![0; bytes]).await?;
            }
            Self::Redpoll(peer) => {
                let args = Raw::encode(&["x".repeat(bytes)])?;
                peer.call(Call::new(method::MANAGER_ECHO, DIAL).with_args(args)).await?;
            }
        }
        Ok(())
    }
}

fn source(index: usize) -> anyhow::Result<Ipv4Addr> {
    let last = u8::try_from(1 + index % SOURCES).context("too many sources")?;
    Ok(Ipv4Addr::new(127, 0, 1, last))
}
