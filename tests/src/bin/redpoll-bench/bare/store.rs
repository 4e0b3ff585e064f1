//! A store behind a TLS connection and nothing else: each frame is a submit, and is answered when it is on disk.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use redpoll_common::identity::Role;
use redpoll_manager::store::{Sqlite, Store as _};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::client::TlsStream;
use tokio_util::task::TaskTracker;

use super::echo::{FRAME_LEN, dial};
use super::frames::{Batches, put, split};
use super::{Spot, tls};
use crate::jobs::fill::{self, Machine};
use crate::pki::OPERATOR;

/// What a connection begins with.
const HELLO: &[u8] = b"submitter";

/// One connection to it.
#[derive(Debug)]
pub(crate) struct Submitter {
    stream: TlsStream<TcpStream>,
    batches: Batches,
    frame: Vec<u8>,
}

impl Submitter {
    /// Each of its submits has so many bytes.
    pub(crate) async fn connect(pki: &Path, store: SocketAddr, len: usize) -> anyhow::Result<Self> {
        let stream = dial(pki, store, (Role::Operator, OPERATOR), HELLO).await?;
        let mut frame = Vec::new();
        put(&mut frame, &vec![7; len])?;
        Ok(Self { stream, batches: Batches::default(), frame })
    }

    /// Returns when it is on disk.
    pub(crate) async fn submit(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(&self.frame).await?;
        self.stream.flush().await?;
        self.batches.next(&mut self.stream).await?.context("the store is gone")?;
        Ok(())
    }
}

/// Serves until it is killed.
pub(crate) async fn serve(spot: &Spot, folder: &Path) -> anyhow::Result<()> {
    let store = Arc::new(fill::open(folder)?);
    let machine = Arc::new(Mutex::new(Machine::new(store.recover().await?)?));
    let acceptor = TlsAcceptor::from(tls::server(&spot.pki)?);
    let listener = TcpListener::bind(spot.address).await?;
    println!("listening {}", listener.local_addr()?);
    let tracker = TaskTracker::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (acceptor, store, machine) = (acceptor.clone(), store.clone(), machine.clone());
        tracker.spawn(async move { answer(&acceptor, stream, &store, &machine).await });
    }
}

async fn answer(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    store: &Sqlite,
    machine: &Mutex<Machine>,
) -> anyhow::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut batches = Batches::default();
    let mut is_hello = true;
    loop {
        let Some(mut rest) = batches.next(&mut stream).await? else { return Ok(()) };
        let mut out = Vec::new();
        while let Some((_, more)) = split(rest) {
            rest = more;
            if std::mem::take(&mut is_hello) {
                continue;
            }
            // handed over in the order in which they were decided, as the manager's one task does
            let mut machine = machine.lock().await;
            let durable = store.enqueue(machine.submit()?).await;
            drop(machine);
            durable.await?;
            put(&mut out, &[7; FRAME_LEN])?;
        }
        stream.write_all(&out).await?;
        stream.flush().await?;
    }
}
