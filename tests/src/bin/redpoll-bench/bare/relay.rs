//! A relay between one requester and one responder, on one thread: what the manager is to a call, without knowing it.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use super::Spot;
use super::frames::{Batches, split};
use super::tls;

/// The first payload of the side that asks.
pub(crate) const REQUESTER: &[u8] = b"requester";
/// The first payload of the side that answers.
pub(crate) const RESPONDER: &[u8] = b"responder";

/// Serves one pair, until one of them goes.
pub(crate) async fn run(spot: &Spot) -> anyhow::Result<()> {
    let acceptor = TlsAcceptor::from(tls::server(&spot.pki)?);
    let listener = TcpListener::bind(spot.address).await?;
    println!("listening {}", listener.local_addr()?);
    let mut sides = BTreeMap::new();
    while sides.len() < 2 {
        let (stream, _) = listener.accept().await?;
        let (side, stream) = greet(&acceptor, stream).await?;
        sides.insert(side, stream);
    }
    let requester = sides.remove(REQUESTER).context("nobody asks")?;
    let responder = sides.remove(RESPONDER).context("nobody answers")?;
    println!("ready");
    let (requests, answered) = tokio::io::split(requester);
    let (answers, requested) = tokio::io::split(responder);
    let tracker = TaskTracker::new();
    tracker.spawn(pass(requests, requested));
    tracker.spawn(pass(answers, answered));
    tracker.close();
    tracker.wait().await;
    Ok(())
}

async fn greet(acceptor: &TlsAcceptor, stream: TcpStream) -> anyhow::Result<(Vec<u8>, TlsStream<TcpStream>)> {
    stream.set_nodelay(true)?;
    let mut stream = acceptor.accept(stream).await?;
    let mut batches = Batches::default();
    let first = batches.next(&mut stream).await?.context("gone before the first frame")?;
    let Some((side, _)) = split(first) else { bail!("no frame") };
    Ok((side.to_vec(), stream))
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> anyhow::Result<()> {
    let mut batches = Batches::default();
    while let Some(frames) = batches.next(&mut from).await? {
        to.write_all(frames).await?;
        to.flush().await?;
    }
    Ok(())
}
