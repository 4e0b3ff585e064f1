//! A file as one TLS stream, with a digest at both ends, into nothing or a file; also through one in the middle who passes it on.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use aws_lc_rs::digest::{Context, SHA256};
use redpoll_common::identity::Role;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{Spot, tls};
use crate::pki::OPERATOR;

/// Bytes that are moved at once.
const BLOCK: usize = 256 * 1024;

/// Takes one stream after the other; each replaces the file `into`, if one is named, when it is whole.
pub(crate) async fn sink(spot: &Spot, into: Option<&Path>) -> anyhow::Result<()> {
    let temporary = into.map(|path| path.with_extension("part"));
    let acceptor = TlsAcceptor::from(tls::server(&spot.pki)?);
    let listener = TcpListener::bind(spot.address).await?;
    println!("listening {}", listener.local_addr()?);
    let mut block = vec![0; BLOCK];
    loop {
        let (stream, _) = listener.accept().await?;
        let mut stream = acceptor.accept(stream).await?;
        let mut hash = Context::new(&SHA256);
        let mut file = temporary.as_ref().map(File::create).transpose()?;
        loop {
            let len = stream.read(&mut block).await?;
            let Some(read) = block.get(..len).filter(|read| !read.is_empty()) else { break };
            hash.update(read);
            if let Some(file) = &mut file {
                file.write_all(read)?;
            }
        }
        if let (Some(part), Some(whole)) = (&temporary, into) {
            std::fs::rename(part, whole)?;
        }
        stream.write_all(hash.finish().as_ref()).await?;
        stream.shutdown().await?;
    }
}

/// Passes one stream after the other on.
pub(crate) async fn pipe(spot: &Spot, sink: SocketAddr) -> anyhow::Result<()> {
    let acceptor = TlsAcceptor::from(tls::server(&spot.pki)?);
    let listener = TcpListener::bind(spot.address).await?;
    println!("listening {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let mut from = acceptor.accept(stream).await?;
        let connector = TlsConnector::from(tls::client(&spot.pki, Role::Operator, OPERATOR)?);
        let mut to = connector.connect(tls::server_name(), TcpStream::connect(sink).await?).await?;
        tokio::io::copy_bidirectional_with_sizes(&mut from, &mut to, BLOCK, BLOCK).await?;
    }
}

/// Sends a file, from the start of the connection until the digest is back, and says how long that took.
pub(crate) async fn source(spot: &Spot, file: &Path) -> anyhow::Result<()> {
    let connector = TlsConnector::from(tls::client(&spot.pki, Role::Operator, OPERATOR)?);
    let begun = Instant::now();
    let mut stream = connector.connect(tls::server_name(), TcpStream::connect(spot.address).await?).await?;
    let (mut file, mut block) = (File::open(file)?, vec![0; BLOCK]);
    let mut hash = Context::new(&SHA256);
    loop {
        let len = file.read(&mut block)?;
        let Some(read) = block.get(..len).filter(|read| !read.is_empty()) else { break };
        hash.update(read);
        stream.write_all(read).await?;
    }
    stream.shutdown().await?;
    let mut theirs = Vec::new();
    stream.read_to_end(&mut theirs).await?;
    if theirs != hash.finish().as_ref() {
        bail!("the digests differ");
    }
    println!("took {}", begun.elapsed().as_nanos());
    Ok(())
}
