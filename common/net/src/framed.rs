//! Payloads over a stream of bytes: a length before each.
//!
//! An idle connection holds no buffer. Reading goes into a scratch buffer of the thread, borrowed for one poll;
//! what is kept is an unfinished frame alone, in a buffer that grows as bytes arrive and is freed when the frame is
//! whole. Writing gathers frames up to [`WRITE_MARK`] and hands them down in one piece, because below TLS a write
//! of its own per frame costs a record and a system call each.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use redpoll_common::wire::HELLO_LIMIT;
use redpoll_common::wire::frame::{self, FrameError, Splitter};
use tokio::io::ReadBuf;
use tokio::task::coop;

use crate::stream::ByteStream;
use crate::transport::{Connection, PeerInfo, TransportError, WRITE_MARK};

/// Bytes read at a time, into one buffer per thread.
const SCRATCH_LEN: usize = 64 * 1024;
/// How often one poll reads before it lets the task's other work have a turn: 512 KiB of a large frame.
const READS_PER_POLL: usize = 8;
/// The largest rest of a batch that is copied so that the batch's buffer can go, in bytes.
const SMALL_REST: usize = 4 * 1024;

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
    output: BytesMut,
    sending: Half,
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
            output: BytesMut::new(),
            sending: Half::Open,
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
        let mut scratch = take_scratch();
        let mut buffer = ReadBuf::new(&mut scratch);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
        if let Poll::Ready(result) = &read {
            match result {
                Ok(()) if buffer.filled().is_empty() => {
                    let unfinished = !self.input.is_empty();
                    self.receiving =
                        if unfinished { Half::Failed(TransportError::cut()) } else { Half::Ended };
                }
                Ok(()) => self.input.extend_from_slice(buffer.filled()),
                Err(_) => {}
            }
        }
        SCRATCH.set(Some(scratch));
        if let Err(error) = ready!(read) {
            self.receiving = Half::Failed(self.stream.explain(error, self.heard));
        }
        Poll::Ready(())
    }

    /// Hands frames down until at most `left` bytes of them are left.
    fn poll_drain(&mut self, cx: &mut Context<'_>, left: usize) -> Poll<Result<(), TransportError>> {
        if let Half::Failed(error) = &self.sending {
            return Poll::Ready(Err(error.clone()));
        }
        while self.output.len() > left {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output)) {
                Ok(0) => return self.fail_sending(cx, io::ErrorKind::WriteZero.into()),
                Ok(written) => self.output.advance(written),
                Err(error) => return self.fail_sending(cx, error),
            }
        }
        if self.output.is_empty() {
            self.output = BytesMut::new();
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
        self.output = BytesMut::new();
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
        frame::put(&mut self.output, &payload);
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        ready!(self.poll_drain(cx, 0))?;
        match ready!(Pin::new(&mut self.stream).poll_flush(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => self.fail_sending(cx, error),
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
mod tests {
    use std::future::poll_fn;

    use redpoll_common::identity::Identity;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;
    use crate::memory::peer;
    use crate::stream::Metered;
    use crate::transport::{receive, send};

    type Pipe = Framed<Metered<DuplexStream>>;

    fn framed() -> (Pipe, DuplexStream) {
        let (near, far) = tokio::io::duplex(1024 * 1024);
        let manager = Identity::parse("spiffe://home/manager/m").unwrap();
        (Framed::new(Metered::new(near), peer(manager)), far)
    }

    fn received(connection: &mut Pipe) -> Poll<Option<Result<Bytes, TransportError>>> {
        connection.poll_receive(&mut Context::from_waker(std::task::Waker::noop()))
    }

    #[tokio::test]
    async fn half_a_frame_is_a_sign_of_life_but_not_a_payload() {
        let (mut connection, mut far) = framed();
        far.write_all(&[0, 0, 0, 9, 1, 2]).await.unwrap();
        assert!(received(&mut connection).is_pending());
        assert_eq!(connection.bytes_received(), 6);
        far.write_all(&[3]).await.unwrap();
        assert!(received(&mut connection).is_pending());
        assert_eq!(connection.bytes_received(), 7);
    }

    #[tokio::test]
    async fn an_end_in_the_middle_of_a_frame_is_an_error_that_stays() {
        let (mut connection, mut far) = framed();
        far.write_all(&[0, 0, 0, 1, 7, 0, 0]).await.unwrap();
        drop(far);
        assert_eq!(*receive(&mut connection).await.unwrap().unwrap(), [7]);
        for _ in 0..2 {
            let error = receive(&mut connection).await.unwrap().unwrap_err();
            assert!(matches!(error, TransportError::Reset { .. }), "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_declared_length_reserves_no_memory() {
        let (mut connection, mut far) = framed();
        connection.set_payload_limit(16 * 1024 * 1024);
        far.write_all(&[0, 0xff, 0xff, 0xff, 1]).await.unwrap();
        assert!(received(&mut connection).is_pending());
        assert!(connection.input.capacity() <= SMALL_REST, "{} bytes", connection.input.capacity());
    }

    #[tokio::test]
    async fn an_idle_connection_holds_no_buffer() {
        let (mut connection, mut far) = framed();
        connection.set_payload_limit(1024 * 1024);
        for len in [5_u32, 100_000] {
            far.write_all(&len.to_be_bytes()).await.unwrap();
            far.write_all(&vec![1; len as usize]).await.unwrap();
            assert_eq!(receive(&mut connection).await.unwrap().unwrap().len(), len as usize);
        }
        assert!(received(&mut connection).is_pending());
        assert_eq!(connection.input.capacity(), 0);
        send(&mut connection, Bytes::from_static(&[1; 1000])).await.unwrap();
        assert_eq!(connection.output.capacity(), 0);
    }

    #[tokio::test]
    async fn a_small_rest_does_not_keep_the_buffer_of_its_batch() {
        let (mut connection, mut far) = framed();
        let mut batch = BytesMut::new();
        for _ in 0..60 {
            frame::put(&mut batch, &[1; 1000]);
        }
        batch.extend_from_slice(&[0, 0]);
        far.write_all(&batch).await.unwrap();
        for _ in 0..60 {
            receive(&mut connection).await.unwrap().unwrap();
        }
        assert!(received(&mut connection).is_pending());
        assert_eq!(*connection.input, [0, 0]);
        assert!(!connection.input.try_reclaim(SMALL_REST), "the buffer of the batch is still there");
    }

    #[tokio::test]
    async fn frames_that_are_flushed_together_are_written_together() {
        let (mut connection, mut far) = framed();
        for _ in 0..3 {
            connection.start_send(Bytes::from_static(b"abc")).unwrap();
        }
        assert_eq!(connection.bytes_sent(), 0);
        poll_fn(|cx| connection.poll_flush(cx)).await.unwrap();
        let mut buffer = [0; 64];
        assert_eq!(far.read(&mut buffer).await.unwrap(), 3 * 7);
    }

    #[tokio::test]
    async fn a_peer_that_always_has_more_lets_the_task_do_other_things() {
        let (mut connection, mut far) = framed();
        let mut flood = BytesMut::new();
        for _ in 0..1000 {
            frame::put(&mut flood, &[7]);
        }
        far.write_all(&flood).await.unwrap();
        // One turn of a task: polls until something is pending.
        let in_one_turn = poll_fn(|cx| {
            let mut count = 0;
            while connection.poll_receive(cx).is_ready() {
                count += 1;
            }
            Poll::Ready(count)
        });
        let count = in_one_turn.await;
        assert!((1..1000).contains(&count), "{count} payloads in one turn");
    }
}
