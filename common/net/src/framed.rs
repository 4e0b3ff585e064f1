//! Payloads over a stream of bytes: a length before each.
//!
//! An idle connection holds no buffer. Reading goes into a scratch buffer of the thread, borrowed for one poll;
//! what is kept is an unfinished frame alone, in a buffer that grows as bytes arrive and is freed when the frame is
//! whole. Once so much of a large frame is there that its sender means it, the rest is read into its place. Writing gathers
//! frames up to [`WRITE_MARK`] and hands them down together, because below TLS a write of its own per frame costs a record
//! and a system call each.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use redpoll_common::wire::HELLO_LIMIT;
use redpoll_common::wire::frame::{FrameError, Splitter};
use tokio::io::ReadBuf;
use tokio::task::coop;
use tokio_util::io::poll_read_buf;

use crate::outgoing::Outgoing;
use crate::stream::ByteStream;
use crate::transport::{Connection, PeerInfo, TransportError, WRITE_MARK};

/// Bytes read at a time, into one buffer per thread.
const SCRATCH_LEN: usize = 64 * 1024;
/// How often one poll reads before it lets the task's other work have a turn: 512 KiB of a large frame.
const READS_PER_POLL: usize = 8;
/// Bytes that a line that makes its writer wait is given before it has taken them. One payload may go beyond.
const SLOW_MARK: usize = 16 * 1024;
/// Bytes that leave at once before a line that made its writer wait is given more at a time. More than a kernel takes of a full line when it
/// has room again.
const TRUSTED: usize = 256 * 1024;
/// The largest rest of a batch that is copied so that the batch's buffer can go, in bytes.
const SMALL_REST: usize = 4 * 1024;
/// From so many missing bytes on, the rest of a frame is read into its place.
const LARGE_REST: usize = 16 * 1024;
/// Space is made for so many times what has come of a frame: who announces much and sends little gets little.
const TRUST: usize = 32;
/// Bytes for which space is made at a time at most.
const MAX_SPACE: usize = 512 * 1024;

thread_local! {
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// A [`Connection`] over a stream of bytes.
#[derive(Debug)]
pub struct Framed<S> {
    stream: S,
    peer: PeerInfo,
    splitter: Splitter,
    /// Bytes that came and were not handed out: payloads of one batch, then an unfinished frame.
    input: BytesMut,
    /// Whether payloads were taken from `input` since it was allocated: it is too large for what is left, or shared.
    used: bool,
    /// Whether a payload has ever come.
    heard: bool,
    receiving: Half,
    /// Frames not yet handed to the stream.
    output: Outgoing,
    sending: Half,
    pace: Pace,
}

/// Whether the line takes what it is given, and how much it was given since it had taken everything.
///
/// What is written cannot be overtaken any more: on a line that is full a ping waits for all of it, here, in the TLS below and in the
/// kernel. A line that made its writer wait is therefore given little at a time, and more only when that has left.
#[derive(Debug, Default)]
struct Pace {
    /// Bytes taken since the last flush that left nothing behind.
    given: usize,
    /// Whether the stream has made us wait since then.
    waited: bool,
    /// Bytes that have to leave without a wait before the line is not slow any more.
    doubt: usize,
}

impl Pace {
    /// Notes that the stream took no more.
    fn wait(&mut self) {
        self.waited = true;
        self.doubt = TRUSTED;
    }

    /// Notes that everything has left.
    fn flushed(&mut self) {
        if !self.waited {
            self.doubt = self.doubt.saturating_sub(self.given);
        }
        self.waited = false;
        self.given = 0;
    }

    /// Whether what was given has to leave before there is more.
    fn is_over(&self) -> bool {
        self.doubt > 0 && self.given >= SLOW_MARK
    }
}

/// What one direction of a connection has come to.
#[derive(Debug, Clone)]
enum Half {
    Open,
    Ended,
    Failed(TransportError),
}

impl<S: ByteStream> Framed<S> {
    /// Payloads over `stream`, whose other end was proved to be `peer`. Nothing has been read from it before.
    pub fn new(stream: S, peer: PeerInfo) -> Self {
        Self {
            stream,
            peer,
            splitter: Splitter::new(HELLO_LIMIT),
            input: BytesMut::new(),
            used: false,
            heard: false,
            receiving: Half::Open,
            output: Outgoing::default(),
            sending: Half::Open,
            pace: Pace::default(),
        }
    }

    fn next_payload(&mut self) -> Result<Option<Bytes>, FrameError> {
        if self.input.is_empty() {
            return Ok(None);
        }
        let payload = self.splitter.split(&mut self.input)?;
        if payload.is_some() {
            self.used = true;
            self.heard = true;
        }
        if self.input.is_empty() {
            self.input = BytesMut::new();
            self.used = false;
        } else if payload.is_none() && self.used && self.input.len() <= SMALL_REST {
            self.input = BytesMut::from(self.input.as_ref());
            self.used = false;
        }
        Ok(payload)
    }

    /// Reads once; afterwards there is more input, or the end is known.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let missing = self.splitter.missing(&self.input);
        let in_place = missing >= LARGE_REST && self.input.len() > SMALL_REST;
        let read = if in_place { self.poll_rest(cx, missing) } else { self.poll_scratch(cx) };
        match ready!(read) {
            Ok(0) => {
                let unfinished = !self.input.is_empty();
                self.receiving = if unfinished { Half::Failed(TransportError::cut()) } else { Half::Ended };
            }
            Ok(_) => {}
            Err(error) => self.receiving = Half::Failed(self.stream.explain(error, self.heard)),
        }
        Poll::Ready(())
    }

    /// Reads into the thread's buffer and copies from there: one read may bring many frames.
    fn poll_scratch(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut scratch = take_scratch();
        let mut buffer = ReadBuf::new(&mut scratch);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
        if matches!(read, Poll::Ready(Ok(()))) {
            self.input.extend_from_slice(buffer.filled());
        }
        let len = buffer.filled().len();
        SCRATCH.set(Some(scratch));
        read.map_ok(|()| len)
    }

    /// Reads of the frame that has begun, and no further.
    fn poll_rest(&mut self, cx: &mut Context<'_>, missing: usize) -> Poll<io::Result<usize>> {
        if self.input.capacity() - self.input.len() < LARGE_REST {
            let trusted = self.input.len().saturating_mul(TRUST).min(MAX_SPACE);
            self.input.reserve(missing.min(trusted));
        }
        let space = (self.input.capacity() - self.input.len()).min(missing);
        poll_read_buf(Pin::new(&mut self.stream), cx, &mut (&mut self.input).limit(space))
    }

    /// Hands frames down until at most `left` bytes of them are left.
    fn poll_drain(&mut self, cx: &mut Context<'_>, left: usize) -> Poll<Result<(), TransportError>> {
        if let Half::Failed(error) = &self.sending {
            return Poll::Ready(Err(error.clone()));
        }
        while self.output.len() > left {
            let (slices, count) = self.output.slices();
            let slices = slices.get(..count).unwrap_or_default();
            let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write_vectored(cx, slices) else {
                self.pace.wait();
                return Poll::Pending;
            };
            match written {
                Ok(0) => return self.fail_sending(cx, io::ErrorKind::WriteZero.into()),
                Ok(written) => self.output.advance(written),
                Err(error) => return self.fail_sending(cx, error),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn fail_sending(&mut self, cx: &mut Context<'_>, error: io::Error) -> Poll<Result<(), TransportError>> {
        // The peer's last words say more than a broken pipe: what is there is read, and its end is the reason.
        for _ in 0..READS_PER_POLL {
            if !matches!(self.receiving, Half::Open) || self.poll_fill(cx).is_pending() {
                break;
            }
        }
        let error = match &self.receiving {
            Half::Failed(reason) => reason.clone(),
            Half::Open | Half::Ended => self.stream.explain(error, self.heard),
        };
        self.output.clear();
        self.sending = Half::Failed(error.clone());
        Poll::Ready(Err(error))
    }
}

impl<S: ByteStream> Connection for Framed<S> {
    fn peer(&self) -> &PeerInfo {
        &self.peer
    }

    fn set_payload_limit(&mut self, limit: usize) {
        self.splitter.set_limit(limit);
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, TransportError>>> {
        // A peer that always has one more payload does not keep this task from its other work.
        let turn = ready!(coop::poll_proceed(cx));
        for _ in 0..READS_PER_POLL {
            match self.next_payload() {
                Ok(Some(payload)) => {
                    turn.made_progress();
                    return Poll::Ready(Some(Ok(payload)));
                }
                Ok(None) => {}
                Err(error) => {
                    self.input = BytesMut::new();
                    self.receiving = Half::Failed(TransportError::Frame(error));
                }
            }
            match &self.receiving {
                Half::Open => ready!(self.poll_fill(cx)),
                Half::Ended => return Poll::Ready(None),
                Half::Failed(error) => return Poll::Ready(Some(Err(error.clone()))),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        if self.pace.is_over() {
            return self.poll_flush(cx);
        }
        self.poll_drain(cx, WRITE_MARK - 1)
    }

    fn start_send(&mut self, payload: Bytes) -> Result<(), TransportError> {
        match &self.sending {
            Half::Open => {}
            Half::Ended => return Err(TransportError::Closed),
            Half::Failed(error) => return Err(error.clone()),
        }
        let max = self.splitter.limit();
        match payload.len() {
            0 => return Err(TransportError::Frame(FrameError::Empty)),
            len if len > max => return Err(TransportError::Frame(FrameError::TooLong { len, max })),
            _ => {}
        }
        self.pace.given += payload.len();
        self.output.put(payload);
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        ready!(self.poll_drain(cx, 0))?;
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Pending => {
                self.pace.wait();
                Poll::Pending
            }
            Poll::Ready(Ok(())) => {
                self.pace.flushed();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => self.fail_sending(cx, error),
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        ready!(self.poll_flush(cx))?;
        self.sending = Half::Ended;
        match ready!(Pin::new(&mut self.stream).poll_shutdown(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => self.fail_sending(cx, error),
        }
    }

    fn bytes_received(&self) -> u64 {
        self.stream.bytes_received()
    }

    fn bytes_sent(&self) -> u64 {
        self.stream.bytes_sent()
    }
}

/// The thread's buffer. Taken rather than borrowed, so that a stream that reads through another `Framed` gets one
/// of its own.
fn take_scratch() -> Box<[u8]> {
    SCRATCH.take().unwrap_or_else(|| vec![0; SCRATCH_LEN].into_boxed_slice())
}

#[cfg(test)]
mod tests;
