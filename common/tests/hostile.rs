//! Bytes that no honest peer sends: each is refused for its own reason, at a cost in proportion to its size.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::error::Error as _;
use std::iter::repeat_n;

use bytes::{Bytes, BytesMut};
use redpoll_common::roles::{MAX_ROLE_LEN, MAX_ROLES};
use redpoll_common::wire::codec::{self, EncodeError};
use redpoll_common::wire::frame::{FrameError, Splitter, put};
use redpoll_common::wire::scan::{Cost, ScanError, measure, scan};
use redpoll_common::wire::{
    ByeCode, DEFAULT_FRAME_LIMIT, DecodeError, FaultCode, HELLO_LIMIT, Integer, MAX_DEPTH, MAX_FRAME_LIMIT,
    MAX_NODES, Message, Notification, Raw, RawMap, Request,
};

fn split(bytes: &[u8], limit: usize) -> Result<Option<Bytes>, FrameError> {
    Splitter::new(limit).split(&mut BytesMut::from(bytes))
}

/// An array of `count` values with the widest header.
fn array(count: usize, values: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let header = u32::try_from(count).unwrap().to_be_bytes();
    [0xdd].into_iter().chain(header).chain(values).collect()
}

/// A map with the widest header whose values are all nil.
fn map(keys: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let keys: Vec<_> = keys.into_iter().collect();
    let mut bytes = vec![0xdf];
    bytes.extend(u32::try_from(keys.len()).unwrap().to_be_bytes());
    for key in keys {
        bytes.extend(key);
        bytes.push(0xc0);
    }
    bytes
}

fn text(text: &str) -> Vec<u8> {
    Raw::text(text).as_bytes().to_vec()
}

#[test]
fn lengths_are_refused_before_anything_is_reserved_for_them() {
    let refused = [
        (&[0, 0, 0, 0][..], FrameError::Empty, ByeCode::Malformed),
        (&[0xff; 4], FrameError::TooLong { len: 0xffff_ffff, max: HELLO_LIMIT }, ByeCode::TooLarge),
        (&[0, 0, 0x40, 1], FrameError::TooLong { len: HELLO_LIMIT + 1, max: HELLO_LIMIT }, ByeCode::TooLarge),
        (b"HTTP/1.1 400 Bad Request", FrameError::LooksLikeHttp, ByeCode::Malformed),
        (b"GET / HTTP/1.1\r\n", FrameError::LooksLikeHttp, ByeCode::Malformed),
        (&[0x16, 0x03, 0x01, 0x02], FrameError::LooksLikeTls, ByeCode::Malformed),
    ];
    for (bytes, error, code) in refused {
        let mut splitter = Splitter::new(HELLO_LIMIT);
        let mut input = BytesMut::from(bytes);
        let capacity = input.capacity();
        for _ in 0..2 {
            assert_eq!(splitter.split(&mut input), Err(error), "{bytes:?}");
        }
        assert_eq!((&input[..], input.capacity()), (bytes, capacity), "the input is left as it was");
        assert_eq!(error.bye_code(), code);
    }
}

#[test]
fn a_part_of_a_frame_waits_and_reserves_nothing() {
    let mut input = BytesMut::from(&[0, 0, 0x40, 0, 0xc0][..]);
    let capacity = input.capacity();
    assert_eq!(Splitter::new(HELLO_LIMIT).split(&mut input), Ok(None));
    assert_eq!(input.capacity(), capacity);
    for len in 0..4 {
        assert_eq!(split(&[0xff; 3][..len.min(3)], HELLO_LIMIT), Ok(None));
    }
}

#[test]
fn the_limit_holds_for_the_frame_after_it_was_set() {
    let mut stream = BytesMut::new();
    put(&mut stream, b"hello");
    put(&mut stream, &vec![7; HELLO_LIMIT + 1]);
    put(&mut stream, &vec![7; DEFAULT_FRAME_LIMIT + 1]);
    let mut splitter = Splitter::new(HELLO_LIMIT);
    assert_eq!(splitter.split(&mut stream), Ok(Some(Bytes::from_static(b"hello"))));
    let early = FrameError::TooLong { len: HELLO_LIMIT + 1, max: HELLO_LIMIT };
    assert_eq!(splitter.split(&mut stream), Err(early));
    splitter.set_limit(DEFAULT_FRAME_LIMIT);
    assert_eq!(splitter.split(&mut stream).unwrap().unwrap().len(), HELLO_LIMIT + 1);
    let late = FrameError::TooLong { len: DEFAULT_FRAME_LIMIT + 1, max: DEFAULT_FRAME_LIMIT };
    assert_eq!(splitter.split(&mut stream), Err(late));
    splitter.set_limit(usize::MAX);
    assert_eq!(splitter.limit(), MAX_FRAME_LIMIT);
}

#[test]
fn values_that_break_a_rule_are_refused_by_name_and_place() {
    let refused = [
        (vec![], ScanError::Truncated { offset: 0 }),
        (vec![0xc1], ScanError::Reserved { offset: 0 }),
        (vec![0x91, 0xc1], ScanError::Reserved { offset: 1 }),
        (vec![0xc0, 0xc0], ScanError::Trailing { offset: 1, len: 1 }),
        (vec![0xa2, 0xff, 0xfe], ScanError::NotUtf8 { offset: 0 }),
        (vec![0xa1, 0xc3], ScanError::NotUtf8 { offset: 0 }),
        (vec![0xdb, 0xff, 0xff, 0xff, 0xff], ScanError::Truncated { offset: 0 }),
        (vec![0xc6, 0xff, 0xff, 0xff, 0xff], ScanError::Truncated { offset: 0 }),
        (vec![0xc9, 0xff, 0xff, 0xff, 0xff, 1], ScanError::Truncated { offset: 0 }),
        (vec![0xdd, 0xff, 0xff, 0xff, 0xff], ScanError::Truncated { offset: 0 }),
        (vec![0xdf, 0xff, 0xff, 0xff, 0xff], ScanError::Truncated { offset: 0 }),
        (vec![0xdf, 0x80, 0, 0, 0, 0xc0, 0xc0], ScanError::Truncated { offset: 0 }),
        // {"a": 1, "a": 2}, and with the second "a" in a wider form, and within an array within a map
        (vec![0x82, 0xa1, b'a', 1, 0xa1, b'a', 2], ScanError::DuplicateKey { offset: 4 }),
        (vec![0x82, 0xa1, b'a', 1, 0xd9, 1, b'a', 2], ScanError::DuplicateKey { offset: 4 }),
        (vec![0x81, 0, 0x91, 0x82, 0xc0, 1, 0xc0, 2], ScanError::DuplicateKey { offset: 6 }),
        // one number in two widths, signed and unsigned; one float in two widths; both zeroes
        (vec![0x82, 5, 0xc0, 0xcd, 0, 5, 0xc0], ScanError::DuplicateKey { offset: 3 }),
        (vec![0x82, 5, 0xc0, 0xd0, 5, 0xc0], ScanError::DuplicateKey { offset: 3 }),
        (vec![0x82, 0xff, 0xc0, 0xd1, 0xff, 0xff, 0xc0], ScanError::DuplicateKey { offset: 3 }),
        (
            vec![0x82, 0xca, 0x3f, 0x80, 0, 0, 0xc0, 0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0xc0],
            ScanError::DuplicateKey { offset: 7 },
        ),
        (
            vec![0x82, 0xca, 0x80, 0, 0, 0, 0xc0, 0xca, 0, 0, 0, 0, 0xc0],
            ScanError::DuplicateKey { offset: 7 },
        ),
        (vec![0x81, 0x90, 0xc0], ScanError::KeyNotScalar { offset: 1 }),
        (vec![0x81, 0x80, 0xc0], ScanError::KeyNotScalar { offset: 1 }),
    ];
    for (bytes, error) in refused {
        assert_eq!(scan(&bytes), Err(error), "{bytes:02x?}");
    }
    let len = MAX_FRAME_LIMIT + 1;
    assert_eq!(scan(&vec![0; len]), Err(ScanError::TooLong { len, max: MAX_FRAME_LIMIT }));
}

#[test]
fn values_that_only_look_alike_are_accepted() {
    let accepted = [
        // {"a": 1, bin "a": 2}, {1: _, 1.0: _}, {nil: _, false: _, 0: _, "": _}, the same key in two maps
        vec![0x82, 0xa1, b'a', 1, 0xc4, 1, b'a', 2],
        vec![0x82, 1, 0xc0, 0xca, 0x3f, 0x80, 0, 0, 0xc0],
        vec![0x84, 0xc0, 0xc0, 0xc2, 0xc0, 0, 0xc0, 0xa0, 0xc0],
        vec![0x82, 0, 0x81, 0, 0xc0, 1, 0x81, 0, 0xc0],
        // {1: _, -1: _}, two extensions of different type as keys, an extension as value
        vec![0x82, 1, 0xc0, 0xff, 0xc0],
        vec![0x82, 0xd4, 1, 0, 0xc0, 0xd4, 2, 0, 0xc0],
        vec![0xc7, 3, 0xff, 0xc1, 0xc1, 0xc1],
    ];
    for bytes in accepted {
        assert_eq!(scan(&bytes), Ok(()), "{bytes:02x?}");
    }
}

#[test]
fn nesting_is_refused_one_level_beyond_the_limit() {
    let nested = |marker: &[u8], levels: usize| [marker.repeat(levels), vec![0xc0]].concat();
    for marker in [&[0x91][..], &[0x81, 0][..]] {
        assert_eq!(measure(&nested(marker, MAX_DEPTH)).unwrap().depth, MAX_DEPTH);
        let offset = marker.len() * MAX_DEPTH;
        let error = ScanError::TooDeep { offset, limit: MAX_DEPTH };
        assert_eq!(scan(&nested(marker, MAX_DEPTH + 1)), Err(error));
        assert_eq!(scan(&nested(marker, 1_000_000)), Err(error));
    }
}

#[test]
fn a_node_bomb_is_refused_at_its_header() {
    let nils = |count| array(count, repeat_n(0xc0, count));
    assert_eq!(measure(&nils(MAX_NODES - 1)).unwrap().nodes, MAX_NODES);
    assert_eq!(scan(&nils(65_537)), Err(ScanError::TooManyNodes { offset: 0, limit: MAX_NODES }));
    // each array is small, together they are not
    let arrays = array(40_000, repeat_n([0x91, 0xc0], 40_000).flatten());
    assert_eq!(scan(&arrays), Err(ScanError::TooManyNodes { offset: 51_075, limit: MAX_NODES }));
}

#[test]
fn a_key_repeated_in_a_large_map_is_found_where_it_stands() {
    for count in [16, 17, 32, 33, 1_000, 30_000] {
        let distinct: Vec<_> = (0..count).map(|n| text(&format!("{n:05}"))).collect();
        assert_eq!(scan(&map(distinct.clone())), Ok(()));
        let end = map(distinct.clone()).len();
        let repeated = map(distinct.into_iter().chain([text("00003")]));
        assert_eq!(scan(&repeated), Err(ScanError::DuplicateKey { offset: end }), "{count} keys");
        let nested = [vec![0x82, 0, 0xc0, 1], repeated].concat();
        assert_eq!(scan(&nested), Err(ScanError::DuplicateKey { offset: end + 4 }), "{count} keys in a map");
    }
}

/// Bounds a scan's work by its input: comparisons by n log n of the nodes, bytes compared by the payload's logarithm.
fn assert_cheap(name: &str, bytes: &[u8]) -> Cost {
    let cost = measure(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    let logarithm = 2 * u64::from(MAX_NODES.ilog2());
    assert!(cost.comparisons <= logarithm * cost.nodes as u64, "{name}: {cost:?}");
    assert!(cost.compared_bytes <= logarithm * bytes.len() as u64, "{name}: {cost:?}");
    cost
}

#[test]
fn the_worst_payloads_cost_little_more_than_their_size() {
    let most = MAX_NODES / 2 - 1;
    let alike = |n: usize, width: usize| text(&format!("{n:0width$}"));
    assert_cheap("rising keys", &map((0..most).map(|n| alike(n, 20))));
    assert_cheap("falling keys", &map((0..most).rev().map(|n| alike(n, 20))));
    let scattered = |n: usize| (n * 7_919) % most;
    assert_cheap("scattered keys", &map((0..most).map(|n| alike(scattered(n), 20))));
    assert_cheap(
        "integers",
        &map((0..most).map(|n| {
            let n = u32::try_from(scattered(n)).unwrap().to_be_bytes();
            [0xce].into_iter().chain(n).collect()
        })),
    );
    assert_cheap("few long keys that end differently", &map((0..256).map(|n| alike(n, 4_000))));
    assert_cheap("as many as are compared in pairs", &map((0..16).map(|n| alike(n, 60_000))));
    let small: Vec<u8> = map((0..16).map(|n| alike(n, 3)));
    let count = (MAX_NODES - 1) / 33;
    assert_cheap("many small maps", &array(count, repeat_n(small, count).flatten()));
    let nested: Vec<u8> = (0..MAX_DEPTH)
        .flat_map(|_| {
            let keys: Vec<_> = (0..1_000).map(|n| alike(n, 20)).collect();
            // the last value is the next level instead of nil
            let mut level = map(keys);
            level.pop();
            level
        })
        .chain([0xc0])
        .collect();
    assert_eq!(assert_cheap("large maps in large maps", &nested).depth, MAX_DEPTH);
}

fn decode(bytes: &[u8]) -> DecodeError {
    codec::decode(&Bytes::copy_from_slice(bytes)).unwrap_err()
}

#[test]
fn payloads_that_are_no_message_are_refused() {
    assert_eq!(decode(&[0x92, 12, 7]), DecodeError::NotAMap);
    assert_eq!(decode(&[0xc0]), DecodeError::NotAMap);
    assert_eq!(decode(&[0x80]), DecodeError::Missing { field: "t" });
    assert_eq!(
        decode(&[0x81, 0xa1, b't', 0xff]),
        DecodeError::WrongType { field: "t", wanted: "an integer from zero on" }
    );
    assert_eq!(decode(&[0xc1]), DecodeError::Scan(ScanError::Reserved { offset: 0 }));
    assert!(decode(&[0xc1]).source().is_some());
}

#[test]
fn bytes_are_no_text_and_floats_are_no_integers() {
    let bye = RawMap::new().uint("t", 14).bin("reason", b"stop").finish();
    let error = decode(bye.as_bytes());
    assert_eq!(error.to_string(), "Bye is malformed");
    assert_eq!(error.source().unwrap().to_string(), "field `reason` is not text");
    let ping = RawMap::new().uint("t", 12).raw("data", &Raw::encode(&7.0).unwrap()).finish();
    assert_eq!(decode(ping.as_bytes()).source().unwrap().to_string(), "field `data` is not an integer");
}

#[test]
fn integers_are_the_same_number_in_every_width() {
    let forms: [&[u8]; 9] = [
        &[7],
        &[0xcc, 7],
        &[0xcd, 0, 7],
        &[0xce, 0, 0, 0, 7],
        &[0xcf, 0, 0, 0, 0, 0, 0, 0, 7],
        &[0xd0, 7],
        &[0xd1, 0, 7],
        &[0xd2, 0, 0, 0, 7],
        &[0xd3, 0, 0, 0, 0, 0, 0, 0, 7],
    ];
    for form in forms {
        let ping = [&[0x82, 0xa4][..], b"data", form, &[0xa1, b't', 12]].concat();
        assert_eq!(codec::decode(&ping.into()), Ok(Message::Ping(Integer::from(7_u64))), "{form:02x?}");
        if let [_, _, ..] = form {
            let keys = [&[0x82, 7, 0xc0][..], form, &[0xc0]].concat();
            assert_eq!(scan(&keys), Err(ScanError::DuplicateKey { offset: 3 }), "{form:02x?}");
        }
    }
}

#[test]
fn a_failed_response_always_has_a_message() {
    let failed =
        |data: &Raw| RawMap::new().uint("t", 21).text("id", "a").bool("success", false).raw("data", data);
    let silent = |map: RawMap| map.text("code", "timed_out").text("message", "");
    let table = [
        (failed(&Raw::text("no room")), FaultCode::Failed, "no room"),
        (failed(&Raw::text("")), FaultCode::Failed, "the call failed"),
        (failed(&Raw::nil()), FaultCode::Failed, "the call failed"),
        (failed(&Raw::empty_map()), FaultCode::Failed, "the call failed"),
        (failed(&Raw::nil()).map("fault", silent), FaultCode::TimedOut, "timed_out"),
    ];
    for (payload, code, message) in table {
        let Ok(Message::Response(response)) = codec::decode(&payload.finish().to_bytes()) else {
            panic!("not a response")
        };
        let fault = response.result.unwrap_err();
        assert_eq!((fault.code, fault.message.as_str()), (code, message));
    }
}

#[test]
fn fields_beyond_their_limits_are_refused() {
    let request = |id: &str, method: &str| {
        let map = RawMap::new().uint("t", 20).text("id", id).text("method", method);
        map.raw("args", &Raw::empty_array()).raw("kwargs", &Raw::empty_map()).finish()
    };
    codec::decode(&request(&"i".repeat(128), &"m".repeat(128)).to_bytes()).unwrap();
    for (id, method) in [(0, 1), (129, 1), (1, 129)] {
        decode(request(&"i".repeat(id), &"m".repeat(method)).as_bytes());
    }
    let roles = |roles: &[String]| {
        let map = RawMap::new().uint("t", 20).text("id", "i").text("method", "m").texts("roles", roles);
        map.raw("args", &Raw::empty_array()).raw("kwargs", &Raw::empty_map()).finish()
    };
    codec::decode(&roles(&vec!["r".repeat(MAX_ROLE_LEN); MAX_ROLES]).to_bytes()).unwrap();
    for (count, len) in [(MAX_ROLES + 1, 1), (1, MAX_ROLE_LEN + 1)] {
        let error = decode(roles(&vec!["r".repeat(len); count]).as_bytes());
        assert!(error.source().unwrap().to_string().contains("`roles`"), "{error:?}");
    }
    let hello = |count: usize, len: usize| {
        RawMap::new().uint("t", 11).text("version", "").texts("caps", &vec!["c".repeat(len); count]).finish()
    };
    codec::decode(&hello(64, 64).to_bytes()).unwrap();
    decode(hello(65, 1).as_bytes());
    decode(hello(1, 65).as_bytes());
}

fn least_request() -> Raw {
    let map = RawMap::new().uint("t", 20).text("id", "i").text("method", "m");
    map.raw("args", &Raw::empty_array()).raw("kwargs", &Raw::empty_map()).finish()
}

#[test]
fn roles_of_another_type_are_refused_and_nil_is_as_nothing() {
    let base = least_request();
    let fields = |value: &Raw| {
        let map = RawMap::new().uint("t", 20).text("id", "i").text("method", "m").raw("roles", value);
        map.raw("args", &Raw::empty_array()).raw("kwargs", &Raw::empty_map()).finish()
    };
    let wrong = [
        Raw::text("admin"),
        RawMap::new().text("admin", "yes").finish(),
        Raw::encode(&[1]).unwrap(),
        Raw::encode(&["a", "b"].map(|role| [role])).unwrap(),
        Raw::encode(&true).unwrap(),
    ];
    for value in wrong {
        let error = decode(fields(&value).as_bytes());
        assert!(error.source().unwrap().to_string().contains("`roles`"), "{error:?}");
    }
    let said = codec::decode(&fields(&Raw::nil()).to_bytes()).unwrap();
    assert_eq!(said, codec::decode(&base.to_bytes()).unwrap());
}

#[test]
fn values_fit_alone_and_not_in_a_message_are_not_sent() {
    let deepest = Raw::parse([vec![0x91; MAX_DEPTH - 1], vec![0xc0]].concat().into()).unwrap();
    let too_deep = Raw::parse([vec![0x91; MAX_DEPTH], vec![0xc0]].concat().into()).unwrap();
    let notification = |data| Message::Notification(Notification { kind: "app.x".into(), data });
    codec::encode_within(&notification(deepest), 1, HELLO_LIMIT).unwrap();
    let refused = codec::encode_within(&notification(too_deep), 1, HELLO_LIMIT).unwrap_err();
    assert!(matches!(refused, EncodeError::Scan(ScanError::TooDeep { .. })), "{refused:?}");
    let long = notification(Raw::text(&"x".repeat(HELLO_LIMIT)));
    assert!(matches!(codec::encode_within(&long, 1, HELLO_LIMIT), Err(EncodeError::TooLarge { .. })));
    let request = |roles: Vec<String>| {
        let Message::Request(request) = codec::decode(&least_request().to_bytes()).unwrap() else {
            panic!("no request")
        };
        Message::Request(Request { roles: Some(roles), ..request })
    };
    codec::encode_within(&request(vec!["r".repeat(MAX_ROLE_LEN); MAX_ROLES]), 1, HELLO_LIMIT).unwrap();
    for roles in [vec!["r".repeat(MAX_ROLE_LEN + 1)], vec!["r".to_owned(); MAX_ROLES + 1]] {
        let refused = codec::encode_within(&request(roles), 1, HELLO_LIMIT);
        assert!(matches!(refused, Err(EncodeError::Field(_))), "{refused:?}");
    }
    let name = Message::Notification(Notification { kind: "x".repeat(129), data: Raw::nil() });
    assert!(matches!(codec::encode_within(&name, 1, HELLO_LIMIT), Err(EncodeError::Field(_))));
}
