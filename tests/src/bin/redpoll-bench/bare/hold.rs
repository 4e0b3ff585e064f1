//! A server that accepts, sends one byte, holds the connection, and echoes; and one client that is held.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use redpoll_common::identity::Role;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::task::TaskTracker;

use super::{Spot, tls};
use crate::pki::AGENT;

/// Connections that may wait to be accepted: as many as the manager lets wait.
const BACKLOG: u32 = 4096;
/// Bytes read at a time, into one buffer per thread.
const SCRATCH_LEN: usize = 64 * 1024;
/// The byte that says "you are in".
pub(crate) const WELCOME: u8 = 1;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_LEN]);
}

/// Serves until it is killed.
pub(crate) async fn serve(spot: &Spot) -> anyhow::Result<()> {
    let acceptor = TlsAcceptor::from(tls::server(&spot.pki)?);
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(spot.address)?;
    let listener = socket.listen(BACKLOG)?;
    println!("listening {}", listener.local_addr()?);
    let tracker = TaskTracker::new();
    // on a worker, like the manager's: the main thread's tasks wake through another queue
    let accepting = accept(listener, acceptor, tracker.clone());
    Ok(tracker.spawn(accepting).await??)
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, tracker: TaskTracker) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        tracker.spawn(hold(stream, acceptor.clone()));
    }
}

async fn hold(stream: TcpStream, acceptor: TlsAcceptor) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = acceptor.accept(stream).await?;
    stream.write_all(&[WELCOME]).await?;
    stream.flush().await?;
    loop {
        let bytes = read(&mut stream).await?;
        if bytes.is_empty() {
            return Ok(());
        }
        stream.write_all(&bytes).await?;
        stream.flush().await?;
    }
}

/// What one read brings; an idle connection holds no buffer.
async fn read<R: AsyncRead + Unpin>(stream: &mut R) -> io::Result<Vec<u8>> {
    poll_fn(|cx| {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
            Poll::Ready(Ok(buffer.filled().to_vec()))
        })
    })
    .await
}

/// Dials once and holds the connection until it is killed: the barest agent.
pub(crate) async fn dial(spot: &Spot) -> anyhow::Result<()> {
    let connector = TlsConnector::from(tls::client(&spot.pki, Role::Agent, AGENT)?);
    let stream = TcpStream::connect(spot.address).await?;
    let mut stream = connector.connect(tls::server_name(), stream).await?;
    let welcome = stream.read_u8().await?;
    anyhow::ensure!(welcome == WELCOME, "not welcome");
    println!("connected");
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
