use std::future::poll_fn;

use redpoll_common::identity::Identity;
use redpoll_common::wire::frame;
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
async fn the_rest_of_a_large_frame_gets_space_by_what_has_come() {
    let (mut connection, mut far) = framed();
    connection.set_payload_limit(16 * 1024 * 1024);
    far.write_all(&[0, 0xff, 0xff, 0xff]).await.unwrap();
    far.write_all(&[7; 2 * SMALL_REST]).await.unwrap();
    assert!(received(&mut connection).is_pending());
    let capacity = connection.input.capacity();
    assert!((2 * SMALL_REST..=MAX_SPACE).contains(&capacity), "{capacity} bytes");
    far.write_all(&vec![7; MAX_SPACE]).await.unwrap();
    for _ in 0..8 {
        assert!(received(&mut connection).is_pending());
    }
    assert_eq!(connection.input.len(), 4 + 2 * SMALL_REST + MAX_SPACE);
    let capacity = connection.input.capacity();
    assert!(capacity < 4 * MAX_SPACE, "{capacity} bytes");
}

#[tokio::test]
async fn nothing_of_the_next_frame_is_read_into_the_place_of_a_large_one() {
    let (mut connection, mut far) = framed();
    connection.set_payload_limit(1024 * 1024);
    let payload: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let mut both = BytesMut::new();
    frame::put(&mut both, &payload);
    frame::put(&mut both, b"next");
    far.write_all(&both).await.unwrap();
    // room for both
    connection.input.reserve(1024 * 1024);
    assert_eq!(receive(&mut connection).await.unwrap().unwrap(), payload);
    assert_eq!(connection.input.len(), 0);
    assert_eq!(*receive(&mut connection).await.unwrap().unwrap(), *b"next");
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

/// Gives payloads of 4 KiB until the connection makes its caller wait, and says how many bytes it took.
fn given(connection: &mut Pipe) -> usize {
    const LEN: usize = 4 * 1024;
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut taken = 0;
    while taken < 4 * WRITE_MARK && connection.poll_ready(&mut cx).is_ready() {
        connection.start_send(vec![7; LEN].into()).unwrap();
        taken += LEN;
    }
    let _flushed = connection.poll_flush(&mut cx);
    taken
}

/// Lets so many bytes pass, writing what there is.
async fn pass(connection: &mut Pipe, far: &mut DuplexStream, mut count: usize) {
    let mut scratch = [0; 1024];
    while count > 0 {
        // or the runtime lets nothing more happen in this turn
        tokio::task::yield_now().await;
        let _flushed = connection.poll_flush(&mut Context::from_waker(std::task::Waker::noop()));
        let len = scratch.len().min(count);
        count -= far.read(&mut scratch[..len]).await.unwrap();
    }
}

/// What is given to a line that is full stands before each ping: so it is little, until the line takes what it gets.
#[tokio::test]
async fn a_line_that_is_slow_is_given_little_at_a_time() {
    let (near, mut far) = tokio::io::duplex(1024);
    let manager = Identity::parse("spiffe://home/manager/m").unwrap();
    let mut connection = Framed::new(Metered::new(near), peer(manager));
    connection.set_payload_limit(1024 * 1024);
    let wire = |bytes: usize| bytes + bytes / 4096 * 4;
    let first = given(&mut connection);
    assert!(first >= WRITE_MARK, "{first} bytes: nothing was known of the line yet");
    let mut left = wire(first);
    for _ in 0..3 {
        pass(&mut connection, &mut far, left / 2).await;
        assert_eq!(given(&mut connection), 0, "half of it is still here");
        pass(&mut connection, &mut far, left - left / 2).await;
        // once more, as a driver does that has nothing else to write
        assert!(connection.poll_flush(&mut Context::from_waker(std::task::Waker::noop())).is_ready());
        let next = given(&mut connection);
        assert_eq!(next, SLOW_MARK);
        left = wire(next);
    }
    pass(&mut connection, &mut far, left).await;
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(connection.poll_flush(&mut cx).is_ready(), "all of it has left");
    for round in 0..TRUSTED / 512 {
        assert_eq!(connection.pace.doubt, TRUSTED - round * 512);
        connection.start_send(vec![7; 512].into()).unwrap();
        assert!(connection.poll_flush(&mut cx).is_ready(), "this one leaves at once");
        pass(&mut connection, &mut far, 4 + 512).await;
    }
    assert!(given(&mut connection) >= WRITE_MARK, "it takes what it gets again");
}
