//! What every transport must do, as checks that run against any of them.
//!
//! A transport's tests implement [`Pairs`] and call [`crate::transport_conformance`], which makes a test of each
//! check. This is test code that lies here so that every transport, in whatever crate, can use it: the checks panic
//! when they fail, and each has a deadline, so that a transport that hangs fails too.
#![expect(clippy::expect_used, clippy::panic, reason = "test code: a failed check panics")]

use std::future::{Future, poll_fn};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use redpoll_common::identity::Identity;
use redpoll_common::wire::frame::{COPY_LIMIT, FrameError, HEADER_LEN};
use redpoll_common::wire::{DEFAULT_FRAME_LIMIT, HELLO_LIMIT};
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

use crate::transport::{
    BoxConnection, Connection, Listener, Transport, TransportError, WRITE_MARK, receive, send,
};

/// Longer than any check takes on a slow machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// Without progress for so long, a writer counts as stopped.
const STOPPED: Duration = Duration::from_millis(500);
/// More than all buffers between two ends hold, those of the operating system included.
const ALL_BUFFERS: usize = 64 * 1024 * 1024;

/// Makes connections of one transport.
pub trait Pairs {
    /// More bytes than all buffers between two ends hold.
    const BULK: usize = 8 * 1024 * 1024;

    /// A fresh connection: the end of [`dialler`], and that of [`manager`].
    fn pair(&self) -> impl Future<Output = (BoxConnection, BoxConnection)>;
}

/// Who the first end of a pair belongs to.
pub fn dialler() -> Identity {
    Identity::parse("spiffe://home/agent/web-1").expect("an identity")
}

/// Who the second end of a pair belongs to.
pub fn manager() -> Identity {
    Identity::parse("spiffe://home/manager/m-1").expect("an identity")
}

/// Makes a test of every check, for the [`Pairs`] an expression gives: `transport_conformance!([#[tokio::test]]
/// Memory)`.
#[macro_export]
macro_rules! transport_conformance {
    ([$($attribute:tt)*] $pairs:expr) => {
        $crate::transport_conformance! { @each [$($attribute)*] $pairs;
            each_end_knows_the_other
            payloads_of_every_size_keep_their_boundaries
            many_small_payloads_keep_their_order
            the_sender_refuses_what_exceeds_the_limit
            the_receiver_refuses_what_exceeds_the_limit
            a_clean_end_comes_after_all_payloads
            the_other_half_lives_on_after_a_close
            an_abrupt_end_does_not_hang
            a_peer_that_does_not_read_stops_the_writer
            both_directions_at_once_do_not_deadlock
            a_cancelled_receive_loses_nothing
            bytes_are_counted_at_both_ends
        }
    };
    (@each $attributes:tt $pairs:expr; $($check:ident)*) => {
        $($crate::transport_conformance! { @one $attributes $pairs; $check })*
    };
    (@one [$($attribute:tt)*] $pairs:expr; $check:ident) => {
        $($attribute)*
        async fn $check() {
            $crate::conformance::$check(&$pairs).await;
        }
    };
}

/// Each end says who is at the other.
pub async fn each_end_knows_the_other(pairs: &impl Pairs) {
    let (one, other) = pairs.pair().await;
    assert_eq!(one.peer().identity, manager());
    assert_eq!(other.peer().identity, dialler());
    assert!(!one.peer().address.is_empty() && !other.peer().address.is_empty());
}

/// What is sent arrives in the same pieces, from one byte to the limit.
pub async fn payloads_of_every_size_keep_their_boundaries(pairs: &impl Pairs) {
    let (mut one, mut other) = raised(pairs, DEFAULT_FRAME_LIMIT).await;
    let around = [COPY_LIMIT, HELLO_LIMIT, WRITE_MARK - HEADER_LEN];
    let sizes = (1..=40).chain(around.into_iter().flat_map(|size| size - 1..=size + 1));
    let sizes: Vec<usize> = sizes.chain([DEFAULT_FRAME_LIMIT, 1]).collect();
    let sending = async {
        for &size in &sizes {
            send(&mut *one, pattern(size)).await.expect("sent");
        }
    };
    let receiving = async {
        for &size in &sizes {
            let payload = next(&mut *other).await;
            assert_eq!(payload.len(), size);
            assert!(payload == pattern(size), "a payload of {size} bytes was changed");
        }
    };
    within(async { tokio::join!(sending, receiving) }).await;
}

/// Payloads that are flushed together arrive one by one, in order.
pub async fn many_small_payloads_keep_their_order(pairs: &impl Pairs) {
    const COUNT: u32 = 5_000;
    let (mut one, mut other) = pairs.pair().await;
    let sending = async {
        for n in 0..COUNT {
            poll_fn(|cx| one.poll_ready(cx)).await.expect("room");
            one.start_send(Bytes::copy_from_slice(&n.to_be_bytes())).expect("taken");
        }
        poll_fn(|cx| one.poll_flush(cx)).await.expect("flushed");
    };
    let receiving = async {
        for n in 0..COUNT {
            assert_eq!(*next(&mut *other).await, n.to_be_bytes());
        }
    };
    within(async { tokio::join!(sending, receiving) }).await;
}

/// A payload that is too long, or empty, is refused before it is sent, and does no harm.
pub async fn the_sender_refuses_what_exceeds_the_limit(pairs: &impl Pairs) {
    let (mut one, mut other) = pairs.pair().await;
    let refused = one.start_send(pattern(HELLO_LIMIT + 1)).expect_err("refused");
    let wanted = FrameError::TooLong { len: HELLO_LIMIT + 1, max: HELLO_LIMIT };
    assert!(matches!(refused, TransportError::Frame(found) if found == wanted), "{refused:?}");
    let refused = one.start_send(Bytes::new()).expect_err("refused");
    assert!(matches!(refused, TransportError::Frame(FrameError::Empty)), "{refused:?}");
    let received = within(async {
        let (sent, received) = tokio::join!(send(&mut *one, pattern(HELLO_LIMIT)), next(&mut *other));
        sent.expect("sent");
        received
    });
    assert_eq!(received.await.len(), HELLO_LIMIT);
}

/// A payload beyond the receiver's limit is an error there, and stays one; what came before it is given out.
pub async fn the_receiver_refuses_what_exceeds_the_limit(pairs: &impl Pairs) {
    let (mut one, mut other) = pairs.pair().await;
    one.set_payload_limit(DEFAULT_FRAME_LIMIT);
    let sending = async {
        send(&mut *one, pattern(HELLO_LIMIT)).await.expect("sent");
        // This one may be cut off by the receiver's end of the connection.
        let _cut = send(&mut *one, pattern(HELLO_LIMIT + 1)).await;
    };
    let receiving = async {
        assert_eq!(next(&mut *other).await.len(), HELLO_LIMIT);
        for _ in 0..2 {
            let error = receive(&mut *other).await.expect("not the end").expect_err("refused");
            let wanted = FrameError::TooLong { len: HELLO_LIMIT + 1, max: HELLO_LIMIT };
            assert!(matches!(error, TransportError::Frame(found) if found == wanted), "{error:?}");
        }
        drop(other);
    };
    within(async { tokio::join!(sending, receiving) }).await;
}

/// After a close the peer gets all payloads, then the end, again and again.
pub async fn a_clean_end_comes_after_all_payloads(pairs: &impl Pairs) {
    let (mut one, mut other) = pairs.pair().await;
    let closing = async {
        for size in 1..=100 {
            poll_fn(|cx| one.poll_ready(cx)).await.expect("room");
            one.start_send(pattern(size)).expect("taken");
        }
        poll_fn(|cx| one.poll_close(cx)).await.expect("closed");
        let refused = one.start_send(pattern(1)).expect_err("closed");
        assert!(matches!(refused, TransportError::Closed), "{refused:?}");
    };
    let receiving = async {
        for size in 1..=100 {
            assert_eq!(next(&mut *other).await, pattern(size));
        }
        for _ in 0..2 {
            assert!(receive(&mut *other).await.is_none(), "something came after the end");
        }
    };
    within(async { tokio::join!(closing, receiving) }).await;
}

/// Who has closed its own half still receives.
pub async fn the_other_half_lives_on_after_a_close(pairs: &impl Pairs) {
    let (mut one, mut other) = pairs.pair().await;
    within(async {
        poll_fn(|cx| one.poll_close(cx)).await.expect("closed");
        assert!(receive(&mut *other).await.is_none());
        let ((), received) = tokio::join!(
            async {
                send(&mut *other, pattern(9)).await.expect("sent");
                poll_fn(|cx| other.poll_close(cx)).await.expect("closed");
            },
            next(&mut *one)
        );
        assert_eq!(received, pattern(9));
        assert!(receive(&mut *one).await.is_none());
    })
    .await;
}

/// When a peer vanishes, receiving ends, and so does sending.
pub async fn an_abrupt_end_does_not_hang(pairs: &impl Pairs) {
    let (mut one, mut other) = pairs.pair().await;
    within(async {
        let (sent, received) = tokio::join!(send(&mut *one, pattern(3)), next(&mut *other));
        sent.expect("sent");
        assert_eq!(received, pattern(3));
        drop(one);
        if let Some(Ok(payload)) = receive(&mut *other).await {
            panic!("{} bytes came from nobody", payload.len());
        }
        // The first writes may still find room in a buffer.
        while send(&mut *other, pattern(HELLO_LIMIT)).await.is_ok() {
            yield_now().await;
        }
    })
    .await;
}

/// A writer whose peer does not read is stopped, and goes on when the peer does.
pub async fn a_peer_that_does_not_read_stops_the_writer(pairs: &impl Pairs) {
    let (mut one, mut other) = pairs.pair().await;
    let mut taken = 0_usize;
    while let Ok(room) = timeout(STOPPED, poll_fn(|cx| one.poll_ready(cx))).await {
        room.expect("room");
        one.start_send(pattern(HELLO_LIMIT)).expect("taken");
        taken += 1;
        assert!(taken * HELLO_LIMIT < ALL_BUFFERS, "nothing stops a writer");
    }
    let flush = timeout(STOPPED, poll_fn(|cx| one.poll_flush(cx))).await;
    assert!(flush.is_err(), "what nobody reads is flushed all the same");
    let flushing = async { poll_fn(|cx| one.poll_flush(cx)).await.expect("flushed") };
    let receiving = async {
        for _ in 0..taken {
            assert_eq!(next(&mut *other).await.len(), HELLO_LIMIT);
        }
    };
    within(async { tokio::join!(flushing, receiving) }).await;
}

/// Two ends that send more than all buffers hold, and read meanwhile, get through.
pub async fn both_directions_at_once_do_not_deadlock(pairs: &impl Pairs) {
    let count = bulk(pairs) / HELLO_LIMIT;
    let (mut one, mut other) = pairs.pair().await;
    within(async { tokio::join!(exchange(&mut *one, count), exchange(&mut *other, count)) }).await;
}

/// A receive that is given up, in a `select!` for instance, loses nothing.
pub async fn a_cancelled_receive_loses_nothing(pairs: &impl Pairs) {
    const COUNT: usize = 50;
    let (mut one, mut other) = pairs.pair().await;
    let sending = async {
        for n in 1..=COUNT {
            send(&mut *one, pattern(n * 100)).await.expect("sent");
        }
    };
    let receiving = async {
        let mut came = 0;
        while came < COUNT {
            tokio::select! {
                biased;
                payload = next(&mut *other) => {
                    came += 1;
                    assert_eq!(payload, pattern(came * 100));
                }
                () = yield_now() => {}
            }
        }
    };
    within(async { tokio::join!(sending, receiving) }).await;
}

/// What one end sent and the other received is counted, and at least the payload.
pub async fn bytes_are_counted_at_both_ends(pairs: &impl Pairs) {
    let (mut one, mut other) = pairs.pair().await;
    let before = (one.bytes_sent(), other.bytes_received());
    within(async {
        let (sent, _received) = tokio::join!(send(&mut *one, pattern(1000)), next(&mut *other));
        sent.expect("sent");
    })
    .await;
    assert!(one.bytes_sent() >= before.0 + 1000);
    assert!(other.bytes_received() >= before.1 + 1000);
}

/// Twenty strangers who say nothing do not keep an honest peer waiting. `silence` makes one of them, who stays.
pub async fn silent_strangers_delay_nobody<Stranger>(
    listener: &mut dyn Listener,
    honest: &dyn Transport,
    silence: impl AsyncFn() -> Stranger,
) {
    let mut strangers = Vec::new();
    for _ in 0..20 {
        strangers.push(silence().await);
    }
    let mut handshakes = JoinSet::new();
    let arriving = async {
        loop {
            tokio::select! {
                incoming = listener.accept() => {
                    handshakes.spawn(incoming.expect("a stranger").handshake);
                }
                Some(done) = handshakes.join_next() => {
                    let accepted = done.expect("no panic").expect("an honest peer");
                    return accepted.session().expect("a session");
                }
            }
        }
    };
    // Far below the deadline of a handshake: nobody waits for the silent ones to be given up.
    let both = timeout(Duration::from_secs(5), async { tokio::join!(honest.connect(), arriving) });
    let (dialled, arrived) = both.await.expect("an honest peer had to wait for silent ones");
    assert_eq!(dialled.expect("connected").peer().identity, manager());
    assert_eq!(arrived.peer().identity, dialler());
}

/// Sends and receives `count` payloads at the same time, as the driver of a connection does.
async fn exchange(connection: &mut dyn Connection, count: usize) {
    let (mut to_send, mut to_receive) = (count, count);
    poll_fn(|cx| {
        let sent = poll_send(connection, cx, &mut to_send);
        let received = poll_take(connection, cx, &mut to_receive);
        if sent.is_ready() && received.is_ready() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn poll_send(connection: &mut dyn Connection, cx: &mut Context<'_>, left: &mut usize) -> Poll<()> {
    while *left > 0 {
        match connection.poll_ready(cx) {
            Poll::Ready(room) => room.expect("room"),
            Poll::Pending => return Poll::Pending,
        }
        connection.start_send(pattern(HELLO_LIMIT)).expect("taken");
        *left -= 1;
    }
    connection.poll_flush(cx).map(|flushed| flushed.expect("flushed"))
}

fn poll_take(connection: &mut dyn Connection, cx: &mut Context<'_>, left: &mut usize) -> Poll<()> {
    while *left > 0 {
        match connection.poll_receive(cx) {
            Poll::Ready(payload) => {
                let payload = payload.expect("not the end").expect("a payload");
                assert_eq!(payload.len(), HELLO_LIMIT);
                *left -= 1;
            }
            Poll::Pending => return Poll::Pending,
        }
    }
    Poll::Ready(())
}

fn bulk<P: Pairs>(_pairs: &P) -> usize {
    P::BULK
}

async fn raised(pairs: &impl Pairs, limit: usize) -> (BoxConnection, BoxConnection) {
    let (mut one, mut other) = pairs.pair().await;
    one.set_payload_limit(limit);
    other.set_payload_limit(limit);
    (one, other)
}

async fn next(connection: &mut dyn Connection) -> Bytes {
    receive(connection).await.expect("not the end").expect("a payload")
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(DEADLINE, work).await.expect("the transport hangs")
}

/// Bytes that differ from place to place and from size to size.
fn pattern(len: usize) -> Bytes {
    (0..len).map(|at| u8::try_from((at * 31 + len) % 251).unwrap_or(0)).collect()
}
