//! What each fuzz target does with its input. Ordinary tests include this file and replay the committed corpus.
//!
//! An input that reaches a panic is a finding; what is refused with an error is fine.

use bytes::{BufMut, Bytes, BytesMut};
use redpoll_common::wire::message::kind;
use redpoll_common::wire::{Flight, MAX_DEPTH, MAX_FRAME_LIMIT, Message, PROTOCOL, codec, frame, scan};

/// A target's name, which is also its corpus folder's, and what it does.
type Target = (&'static str, fn(&[u8]));

/// Every target.
pub(crate) const TARGETS: [Target; 9] = [
    ("splitter", splitter),
    ("scan", scan),
    ("decode", decode),
    ("agent_hello", agent_hello),
    ("manager_hello", manager_hello),
    ("bye", bye),
    ("request", request),
    ("response", response),
    ("notification", notification),
];

/// A stream of frames gives the same payloads whole and in pieces, and they make the same stream again.
///
/// The first byte is the size of the pieces, the second the limit in steps of 16 bytes.
pub(crate) fn splitter(data: &[u8]) {
    let [piece, limit, stream @ ..] = data else { return };
    let (piece, limit) = (usize::from(*piece).max(1), usize::from(*limit) * 16);
    let (whole, left, end) = split(stream, stream.len().max(1), limit);
    let (pieces, _, end_in_pieces) = split(stream, piece, limit);
    assert_eq!(whole, pieces, "pieces of {piece} bytes");
    assert_eq!(end, end_in_pieces);
    let mut again = BytesMut::new();
    for payload in &whole {
        assert!((1..=limit).contains(&payload.len()));
        frame::put(&mut again, payload);
    }
    again.put_slice(&left);
    assert_eq!(&again[..], stream);
}

/// The payloads of a stream that arrives in pieces, what is left, and the error that ended it.
fn split(stream: &[u8], piece: usize, limit: usize) -> (Vec<Bytes>, Vec<u8>, Option<frame::FrameError>) {
    let mut splitter = frame::Splitter::new(limit);
    let mut input = BytesMut::new();
    let mut payloads = Vec::new();
    for piece in stream.chunks(piece) {
        input.put_slice(piece);
        loop {
            match splitter.split(&mut input) {
                Ok(Some(payload)) => payloads.push(payload),
                Ok(None) => break,
                Err(error) => return (payloads, input.to_vec(), Some(error)),
            }
        }
    }
    (payloads, input.to_vec(), None)
}

/// What the scan accepts, another implementation reads to its last byte, and it costs no more than its size.
pub(crate) fn scan(data: &[u8]) {
    let Ok(cost) = scan::measure(data) else { return };
    let mut rest = data;
    // it counts up to three for each level, and the scan bounds those
    rmpv::decode::read_value_with_max_depth(&mut rest, 4 * MAX_DEPTH).expect("the scan accepted it");
    assert!(rest.is_empty());
    assert!(cost.nodes <= data.len());
    assert!(cost.comparisons <= 64 * (data.len() as u64), "{cost:?}");
}

/// A message that can be read can be written, and reads back as itself.
pub(crate) fn decode(data: &[u8]) {
    let Ok(message) = codec::decode(&Bytes::copy_from_slice(data)) else { return };
    // a field in a fault stands one level deeper than where the oldest peers put it, so this may be refused
    if let Ok(payload) = codec::encode_within(&message, PROTOCOL, MAX_FRAME_LIMIT) {
        assert_eq!(codec::decode(&payload).expect("written by us"), message);
    }
    if let Ok(oldest) = codec::encode_within(&message, 0, MAX_FRAME_LIMIT) {
        codec::decode(&oldest).expect("written by us");
    }
    let Message::Notification(notification) = &message else { return };
    if let Ok(Some(flight)) = Flight::decode(notification) {
        let again = flight.encode();
        assert_eq!(Flight::decode(&again).expect("written by us"), Some(flight));
    }
}

/// Reads input as the fields of one kind: a map without `t`, which is put in front.
fn body(kind: u64, data: &[u8]) {
    let Some((marker @ 0x80..=0x8e, fields)) = data.split_first() else { return };
    let kind = u8::try_from(kind).expect("the kinds are small");
    let payload: Vec<u8> = [marker + 1, 0xa1, b't', kind].into_iter().chain(fields.iter().copied()).collect();
    decode(&payload);
}

/// The fields of an AgentHello.
pub(crate) fn agent_hello(data: &[u8]) {
    body(kind::AGENT_HELLO, data);
}

/// The fields of a ManagerHello.
pub(crate) fn manager_hello(data: &[u8]) {
    body(kind::MANAGER_HELLO, data);
}

/// The fields of a Bye.
pub(crate) fn bye(data: &[u8]) {
    body(kind::BYE, data);
}

/// The fields of a Request.
pub(crate) fn request(data: &[u8]) {
    body(kind::REQUEST, data);
}

/// The fields of a Response.
pub(crate) fn response(data: &[u8]) {
    body(kind::RESPONSE, data);
}

/// The fields of a Notification, those of a request in flight too.
pub(crate) fn notification(data: &[u8]) {
    body(kind::NOTIFICATION, data);
}
