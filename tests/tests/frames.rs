//! Bytes that are not what they should be, before and after the hello: each ends its own connection, with a reason, and
//! nobody else's.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

use redpoll_common::api::AgentState;
use redpoll_common::wire::{Bye, ByeCode, HELLO_LIMIT, Message};
use redpoll_tests::SOON;
use redpoll_tests::line::{Heard, Line, frame, payload};
use redpoll_tests::operator::hello;
use redpoll_tests::world::World;

fn ping(number: u64) -> Vec<u8> {
    frame(&payload(&Message::Ping(number.into())))
}

async fn pong(line: &mut Line) -> i128 {
    match line.hear().await {
        Heard::Message(Message::Pong(number)) => number.get(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn two_frames_in_one_segment_and_one_frame_in_single_bytes_are_understood() {
    let mut world = World::start(&[]).await;
    let mut line = Line::stranger(world.address, &world.certificate("slow-1")).await;
    // byte by byte, each in a TLS record of its own
    for byte in frame(&payload(&Message::AgentHello(Box::new(hello("slow-1"))))) {
        line.send(&[byte]).await.unwrap();
    }
    assert!(matches!(line.hear().await, Heard::Message(Message::ManagerHello(_))));
    line.send(&[ping(1), ping(2)].concat()).await.unwrap();
    assert_eq!(pong(&mut line).await, 1);
    assert_eq!(pong(&mut line).await, 2);
    for byte in ping(3) {
        line.send(&[byte]).await.unwrap();
    }
    assert_eq!(pong(&mut line).await, 3);
    // the end of one frame and the beginning of the next together
    let (first, second) = (ping(4), ping(5));
    line.send(&first[..5]).await.unwrap();
    line.send(&[&first[5..], &second[..2]].concat()).await.unwrap();
    assert_eq!(pong(&mut line).await, 4);
    line.send(&second[2..]).await.unwrap();
    assert_eq!(pong(&mut line).await, 5);
    world.nobody_else_noticed().await;
}

/// What is sent, what it is called, and what must come of it.
struct Bad {
    name: &'static str,
    bytes: Vec<u8>,
    code: ByeCode,
    says: &'static str,
}

fn bad(name: &'static str, bytes: Vec<u8>, code: ByeCode, says: &'static str) -> Bad {
    Bad { name, bytes, code, says }
}

/// A ping whose field `x` is what `value` encodes.
fn ping_with(value: &[u8]) -> Vec<u8> {
    frame(&[&b"\x83\xa1t\x0c\xa4data\x07\xa1x"[..], value].concat())
}

fn bad_frames(limit: usize) -> Vec<Bad> {
    let too_long = [&u32::try_from(limit + 1).unwrap().to_be_bytes()[..], &[0; 8]].concat();
    let deep = [vec![0x91; 40], vec![0xc0]].concat();
    let deepest = [vec![0x91; 12_000], vec![0xc0]].concat();
    // an array that says it has 2^32 - 1 elements, and one that really has too many (only where they fit)
    let boast = [0xdd, 0xff, 0xff, 0xff, 0xff, 0xc0];
    let mut bads = vec![
        bad("length 0", vec![0; 4], ByeCode::Malformed, "empty"),
        bad("length 2^32-1", vec![0xff; 8], ByeCode::TooLarge, "4294967295"),
        bad("HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), ByeCode::Malformed, "HTTP"),
        bad("GET", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), ByeCode::Malformed, "HTTP"),
        bad("TLS in TLS", b"\x16\x03\x01\x02\x00\x01\x00".to_vec(), ByeCode::Malformed, "TLS"),
        bad("one over the limit", too_long, ByeCode::TooLarge, "exceeds the limit"),
        bad("a depth bomb", ping_with(&deep), ByeCode::Malformed, "deep"),
        bad("a deeper bomb", ping_with(&deepest), ByeCode::Malformed, "deep"),
        bad("a node bomb that boasts", ping_with(&boast), ByeCode::Malformed, ""),
        bad("a duplicate key", frame(b"\x83\xa1t\x0c\xa4data\x07\xa4data\x08"), ByeCode::Malformed, ""),
        bad("a duplicate kind", frame(b"\x83\xa1t\x0c\xa4data\x07\xa1t\x0d"), ByeCode::Malformed, ""),
        bad("trailing bytes", frame(b"\x82\xa1t\x0c\xa4data\x07\x00"), ByeCode::Malformed, ""),
        bad("an unfinished value", frame(b"\x82\xa1t\x0c\xa4data"), ByeCode::Malformed, ""),
        bad("no map", frame(b"\x93\x01\x02\x03"), ByeCode::Malformed, "map"),
        bad("no kind", frame(b"\x81\xa4data\x07"), ByeCode::Malformed, "`t`"),
        bad("a kind that is a text", frame(b"\x82\xa1t\xa212\xa4data\x07"), ByeCode::Malformed, "`t`"),
        bad("text that is not UTF-8", frame(b"\x82\xa1t\x0e\xa6reason\xa2\xff\xfe"), ByeCode::Malformed, ""),
        bad("a reserved byte", frame(b"\xc1"), ByeCode::Malformed, ""),
        bad("zeroes", frame(&[0; 64]), ByeCode::Malformed, ""),
    ];
    if limit > 70_000 {
        let many = [&[0xdd, 0, 1, 0x11, 0x70][..], &vec![0xc0; 70_000]].concat();
        bads.push(bad("a node bomb", ping_with(&many), ByeCode::Malformed, ""));
    }
    bads
}

async fn ends_with(mut line: Line, bad: &Bad, when: &str) -> Bye {
    let _gone = line.send(&bad.bytes).await;
    let bye = line.farewell(SOON).await;
    assert_eq!(bye.code, Some(bad.code), "{} {when}: {bye:?}", bad.name);
    assert!(bye.reason.contains(bad.says), "{} {when}: {bye:?}", bad.name);
    bye
}

#[tokio::test]
async fn bad_bytes_before_the_hello_end_their_own_connection_with_a_reason() {
    let mut world = World::start(&["admission.hello_timeout=1m"]).await;
    let own = world.certificate("rude-1");
    let before = world.operator.counter("hellos_malformed").await;
    let bads = bad_frames(HELLO_LIMIT);
    for bad in &bads {
        let line = Line::stranger(world.address, &own).await;
        ends_with(line, bad, "before the hello").await;
    }
    world.operator.counted("hellos_malformed", before + bads.len() as u64).await;
    // once per address and minute
    world.manager.logged(&["WARN", "hello refused", "a frame is empty"]).await;
    assert_eq!(world.manager.log().matches("hello refused").count(), 1);
    assert!(world.operator.agent("rude-1").await.is_none(), "who never said hello is in no roster");
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn bad_bytes_after_the_hello_end_their_own_session_with_a_reason() {
    let mut world = World::start(&[]).await;
    let own = world.certificate("rude-1");
    let before = world.operator.counter("sessions_violated").await;
    let bads = bad_frames(1024 * 1024);
    for bad in &bads {
        let line = Line::agent(world.address, &own, "rude-1").await;
        let bye = ends_with(line, bad, "after the hello").await;
        world.manager.logged(&["WARN", "session ends", "rude-1", &bye.reason]).await;
    }
    world.operator.counted("sessions_violated", before + bads.len() as u64).await;
    let away = world.operator.until("rude-1", AgentState::Away).await;
    assert!(away.reason.is_some_and(|reason| reason.contains("broke the protocol")));
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn an_end_in_the_middle_of_a_frame_or_a_record_ends_one_session_alone() {
    let mut world = World::start(&[]).await;
    let mut line = world.line("torn-1").await;
    line.send(&[0, 0, 1, 0, 0x82]).await.unwrap();
    line.close().await;
    world.manager.logged(&["session ends", "torn-1", "without a goodbye"]).await;
    world.operator.until("torn-1", AgentState::Away).await;
    let mut line = world.line("torn-1").await;
    // not even TLS any more
    line.send_below(&[0x17, 3, 3, 0x40, 0, 1, 2, 3]).await.unwrap();
    drop(line);
    world.operator.until("torn-1", AgentState::Away).await;
    let mut line = world.line("torn-1").await;
    line.send_below(b"\x17\x03\x03\x00\x20 thirty-two bytes of no record.. ").await.unwrap();
    line.end(SOON).await;
    world.manager.logged(&["session ends", "torn-1", "the connection broke", "decrypt"]).await;
    world.nobody_else_noticed().await;
}

/// A payload of exactly `len` bytes: `small`, with one more pair that nobody knows.
fn padded(small: &[u8], len: usize) -> Vec<u8> {
    let pad = len - small.len() - 7;
    let mut payload = small.to_vec();
    assert!((0x80..0x8f).contains(&payload[0]), "a map with room for one more pair in its head");
    payload[0] += 1;
    payload.extend_from_slice(b"\xa1z\xc6");
    payload.extend_from_slice(&u32::try_from(pad).unwrap().to_be_bytes());
    payload.resize(len, 0);
    payload
}

#[tokio::test]
async fn the_limit_of_a_frame_is_exact_before_and_after_the_hello() {
    const AGREED: usize = 64 * 1024;
    let mut world = World::start(&["session.frame_limit=64KiB", "admission.hello_timeout=1m"]).await;
    let own = world.certificate("large-1");
    let small = payload(&Message::AgentHello(Box::new(hello("large-1"))));
    let mut line = Line::stranger(world.address, &own).await;
    let _gone = line.send(&frame(&padded(&small, HELLO_LIMIT + 1))).await;
    assert_eq!(line.farewell(SOON).await.code, Some(ByeCode::TooLarge));

    let mut line = Line::stranger(world.address, &own).await;
    line.send(&frame(&padded(&small, HELLO_LIMIT))).await.unwrap();
    assert!(matches!(line.hear().await, Heard::Message(Message::ManagerHello(_))));
    let small = payload(&Message::Ping(7_u64.into()));
    line.send(&frame(&padded(&small, AGREED))).await.unwrap();
    assert_eq!(pong(&mut line).await, 7);
    let _gone = line.send(&frame(&padded(&small, AGREED + 1))).await;
    assert_eq!(line.farewell(SOON).await.code, Some(ByeCode::TooLarge));
    world.nobody_else_noticed().await;
}
