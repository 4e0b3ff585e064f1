//! What [`crate::framed`] needs of a stream of bytes besides reading and writing: how much went through it, and
//! what its errors mean.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::TransportError;

/// An ordered stream of bytes to one peer.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug {
    /// Bytes that came, encryption included.
    fn bytes_received(&self) -> u64;

    /// Bytes that were handed on, encryption included.
    fn bytes_sent(&self) -> u64;

    /// What an error of this stream means. `heard` says whether a payload has ever come from the peer.
    fn explain(&self, error: io::Error, heard: bool) -> TransportError;
}

/// Counts the bytes of a stream, below encryption: half a record is a sign of life too.
#[derive(Debug)]
pub struct Metered<S> {
    inner: S,
    received: u64,
    sent: u64,
}

impl<S> Metered<S> {
    /// Counts from zero.
    pub fn new(inner: S) -> Self {
        Self { inner, received: 0, sent: 0 }
    }

    /// The stream itself, which is not counted any more.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug> ByteStream for Metered<S> {
    fn bytes_received(&self) -> u64 {
        self.received
    }

    fn bytes_sent(&self) -> u64 {
        self.sent
    }

    fn explain(&self, error: io::Error, _heard: bool) -> TransportError {
        error.into()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        self.received += buffer.filled().len().saturating_sub(before) as u64;
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = written {
            self.sent += count as u64;
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        if let Poll::Ready(Ok(count)) = written {
            self.sent += count as u64;
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
