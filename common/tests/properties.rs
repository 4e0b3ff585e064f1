//! What holds for all messages, all streams and all bytes. What reads the bytes of a peer runs on a stack of 256 KiB: it
//! may not need more, in debug builds too.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use redpoll_common::ids::RequestId;
use redpoll_common::wire::flight::Progress;
use redpoll_common::wire::frame::{Splitter, put};
use redpoll_common::wire::scan::{measure, scan};
use redpoll_common::wire::{
    AgentHello, Bye, ByeCode, DEFAULT_FRAME_LIMIT, Fault, FaultCode, Fields, Flight, Integer, Limits,
    MAX_DEPTH, ManagerHello, Message, Notification, ProtocolRange, Raw, Request, Response, codec,
};

/// Runs a part of a property on a small stack, and fails with it.
fn on_a_small_stack<T: Send>(part: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(256 * 1024);
        let thread = builder.spawn_scoped(scope, part).unwrap();
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// So many times the usual number of cases, which `PROPTEST_CASES` changes. A failure prints its smallest input and keeps
/// its seed in `properties.regressions`.
fn cases(times: u32) -> ProptestConfig {
    let usual = ProptestConfig::default();
    let persistence = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { cases: usual.cases * times, failure_persistence: Some(Box::new(persistence)), ..usual }
}

/// A value as a tree, with what MessagePack allows and the scan does not: any bytes as text, any key, any repetition,
/// and numbers wider than they need to be.
#[derive(Debug, Clone, PartialEq)]
enum Tree {
    Nil,
    Bool(bool),
    Integer { n: i64, wide: bool },
    Float(f32),
    Text(Vec<u8>),
    Bin(Vec<u8>),
    Ext(i8, [u8; 4]),
    Array(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

impl Tree {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Nil => rmp::encode::write_nil(out).unwrap(),
            Self::Bool(bit) => rmp::encode::write_bool(out, *bit).unwrap(),
            Self::Integer { n, wide: true } => rmp::encode::write_i64(out, *n).unwrap(),
            Self::Integer { n, wide: false } => drop(rmp::encode::write_sint(out, *n).unwrap()),
            Self::Float(n) => rmp::encode::write_f32(out, *n).unwrap(),
            Self::Text(bytes) => {
                rmp::encode::write_str_len(out, u32::try_from(bytes.len()).unwrap()).unwrap();
                out.extend(bytes);
            }
            Self::Bin(bytes) => rmp::encode::write_bin(out, bytes).unwrap(),
            Self::Ext(kind, bytes) => {
                rmp::encode::write_ext_meta(out, 4, *kind).unwrap();
                out.extend(bytes);
            }
            Self::Array(values) => {
                rmp::encode::write_array_len(out, u32::try_from(values.len()).unwrap()).unwrap();
                values.iter().for_each(|value| value.write(out));
            }
            Self::Map(entries) => {
                rmp::encode::write_map_len(out, u32::try_from(entries.len()).unwrap()).unwrap();
                entries.iter().for_each(|(key, value)| {
                    key.write(out);
                    value.write(out);
                });
            }
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// The scan's rules, written the obvious way; the rule about the number of nodes is tested elsewhere.
    fn is_acceptable(&self, depth: usize) -> bool {
        match self {
            Self::Nil
            | Self::Bool(_)
            | Self::Integer { .. }
            | Self::Float(_)
            | Self::Bin(_)
            | Self::Ext(..) => true,
            Self::Text(bytes) => std::str::from_utf8(bytes).is_ok(),
            Self::Array(values) => {
                depth < MAX_DEPTH && values.iter().all(|value| value.is_acceptable(depth + 1))
            }
            Self::Map(entries) => {
                let repeats =
                    |at: usize| entries[..at].iter().any(|(key, _)| key.is_same_key(&entries[at].0));
                let scalar = |key: &Self| !matches!(key, Self::Array(_) | Self::Map(_));
                depth < MAX_DEPTH
                    && (0..entries.len()).all(|at| !repeats(at))
                    && entries.iter().all(|(key, value)| {
                        scalar(key) && key.is_acceptable(depth + 1) && value.is_acceptable(depth + 1)
                    })
            }
        }
    }

    fn is_same_key(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Integer { n: a, .. }, Self::Integer { n: b, .. }) => a == b,
            (a, b) => a == b,
        }
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    // few different scalars, so that keys repeat often enough
    let leaf = prop_oneof![
        Just(Tree::Nil),
        any::<bool>().prop_map(Tree::Bool),
        (-3_i64..3, any::<bool>()).prop_map(|(n, wide)| Tree::Integer { n, wide }),
        (any::<i64>(), any::<bool>()).prop_map(|(n, wide)| Tree::Integer { n, wide }),
        prop_oneof![Just(0.0), Just(-0.0), Just(1.0), -9.0_f32..9.0].prop_map(Tree::Float),
        "[a-c]{0,2}".prop_map(|text| Tree::Text(text.into_bytes())),
        "[ -~äß€🦀]{0,40}".prop_map(|text| Tree::Text(text.into_bytes())),
        vec(any::<u8>(), 0..3).prop_map(Tree::Text),
        vec(b'a'..b'd', 0..3).prop_map(Tree::Bin),
        (0_i8..2, Just([0; 4])).prop_map(|(kind, bytes)| Tree::Ext(kind, bytes)),
    ];
    let inner = leaf.clone().prop_recursive(4, 32, 8, move |inner| {
        let key = prop_oneof![20 => leaf.clone(), 1 => inner.clone()];
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Tree::Array),
            vec((leaf.clone(), inner.clone()), 0..4).prop_map(Tree::Map),
            vec((key, inner), 0..24).prop_map(Tree::Map),
        ]
    });
    let wrap = |(tree, levels)| (0..levels).fold(tree, |tree, _| Tree::Array(vec![tree]));
    (inner, prop_oneof![9 => Just(0_usize), 1 => 26..34_usize]).prop_map(wrap)
}

/// A value that the scan accepts, not `nil`, shallow enough to stand anywhere in a message.
fn raw() -> impl Strategy<Value = Raw> {
    tree().prop_map(|tree| {
        let bytes = Tree::Array(vec![tree]).bytes();
        match measure(&bytes) {
            Ok(cost) if cost.depth <= MAX_DEPTH - 2 => Raw::parse(bytes.into()).unwrap(),
            _ => Raw::empty_array(),
        }
    })
}

fn kwargs() -> impl Strategy<Value = Raw> {
    vec(("[a-z]{1,9}", any::<i64>()), 0..30).prop_map(|entries| {
        let map: std::collections::BTreeMap<_, _> = entries.into_iter().collect();
        Raw::encode(&map).unwrap()
    })
}

fn words() -> impl Strategy<Value = String> {
    "[ -~äß€🦀]{0,40}"
}

fn request_id() -> impl Strategy<Value = RequestId> {
    "[ -~]{1,128}".prop_map(|text| RequestId::parse(&text).unwrap())
}

fn integer() -> impl Strategy<Value = Integer> {
    prop_oneof![any::<i64>().prop_map(Integer::from), any::<u64>().prop_map(Integer::from)]
}

/// Numbers of every width.
fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64_u32).prop_map(|(n, shift)| n >> shift)
}

fn limits() -> impl Strategy<Value = Limits> {
    (number(), number(), number()).prop_map(|(frame, in_flight, window)| Limits { frame, in_flight, window })
}

fn caps() -> impl Strategy<Value = Vec<String>> {
    vec("[a-z.]{0,64}", 0..20)
}

fn agent_hello() -> impl Strategy<Value = AgentHello> {
    let protocol = option::of(any::<(u32, u32)>().prop_map(|(min, max)| ProtocolRange { min, max }));
    let nonces = any::<(Option<[u8; 16]>, Option<[u8; 16]>, Option<[u8; 16]>)>();
    let numbers = (option::of(number()), option::of(number()), option::of(number()));
    let texts = (words(), words(), words(), option::of(words()), option::of(words()));
    (texts, protocol, caps(), option::of(limits()), nonces, numbers).prop_map(
        |((id, version, credentials, boot, policy), protocol, caps, limits, nonces, numbers)| {
            let ((instance, spool, turn), (epoch, max_dno, wall_ms)) = (nonces, numbers);
            let hello =
                AgentHello { id, version, credentials, protocol, caps, limits, ..AgentHello::default() };
            AgentHello { instance, boot, spool, epoch, turn, max_dno, policy, wall_ms, ..hello }
        },
    )
}

fn manager_hello() -> impl Strategy<Value = ManagerHello> {
    let numbers = (option::of(number()), option::of(number()), option::of(number()), option::of(number()));
    let texts = (words(), option::of(words()), option::of(words()));
    (texts, any::<Option<u32>>(), caps(), option::of(limits()), any::<Option<[u8; 16]>>(), numbers).prop_map(
        |((version, manager, cluster), protocol, caps, limits, turn, (epoch, ping_ms, dead_ms, wall_ms))| {
            let hello = ManagerHello { version, manager, cluster, protocol, caps, ..ManagerHello::default() };
            ManagerHello { limits, turn, epoch, ping_ms, dead_ms, wall_ms, ..hello }
        },
    )
}

fn bye() -> impl Strategy<Value = Bye> {
    let code = option::of(proptest::sample::select(ByeCode::ALL));
    (words(), code, option::of(number())).prop_map(|(reason, code, retry_after_ms)| Bye {
        reason,
        code,
        retry_after_ms,
    })
}

fn fault() -> impl Strategy<Value = Fault> {
    let code =
        prop_oneof![proptest::sample::select(FaultCode::ALL), "[0-9]{1,128}".prop_map(FaultCode::Other)];
    let texts = (option::of(words()), option::of(words()), option::of(words()));
    let values = (option::of(raw()), option::of(raw()), option::of(raw()));
    (code, "[ -~äß€🦀]{1,40}", texts, values, option::of(number())).prop_map(
        |(code, message, texts, values, wait)| {
            let ((class, module, trace), (args, state, data)) = (texts, values);
            Fault { code, message, class, module, trace, args, state, data, retry_after_ms: wait }
        },
    )
}

fn flight() -> impl Strategy<Value = Flight> {
    let progress = (number(), option::of(number()), raw()).prop_map(|(completed, total, details)| Progress {
        completed,
        total,
        details,
    });
    prop_oneof![
        (request_id(), number(), raw()).prop_map(|(request, n, data)| Flight::Value { request, n, data }),
        (request_id(), progress).prop_map(|(request, progress)| Flight::Progress { request, progress }),
        request_id().prop_map(|request| Flight::Cancel { request }),
        (request_id(), number()).prop_map(|(request, bytes)| Flight::Credit { request, bytes }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let request = (request_id(), "[ -~]{0,128}", raw(), kwargs(), option::of(number()), option::of(words()));
    let roles = option::of(vec("[a-z.-]{0,64}", 0..=64));
    let request = (request, option::of("[a-z]{0,128}"), roles).prop_map(
        |((id, method, args, kwargs, timeout_ms, trace), operator, roles)| Request {
            id,
            method,
            args,
            kwargs,
            timeout_ms,
            trace,
            operator,
            roles,
        },
    );
    prop_oneof![
        agent_hello().prop_map(|hello| Message::AgentHello(Box::new(hello))),
        manager_hello().prop_map(|hello| Message::ManagerHello(Box::new(hello))),
        integer().prop_map(Message::Ping),
        integer().prop_map(Message::Pong),
        bye().prop_map(Message::Bye),
        request.prop_map(Message::Request),
        (request_id(), raw()).prop_map(|(id, data)| Message::Response(Response { id, result: Ok(data) })),
        (request_id(), fault())
            .prop_map(|(id, fault)| Message::Response(Response { id, result: Err(fault) })),
        ("[a-z.]{0,128}", raw()).prop_map(|(kind, data)| Message::Notification(Notification { kind, data })),
        flight().prop_map(|flight| Message::Notification(flight.encode())),
        (23..u64::MAX).prop_map(Message::Unknown),
    ]
}

#[test]
fn every_message_reads_back_as_it_was_written() {
    proptest!(cases(2), |(message in message())| {
        let payload = codec::encode_within(&message, 1, DEFAULT_FRAME_LIMIT).unwrap();
        let oldest = codec::encode(&message, 0);
        let (read, _) = on_a_small_stack(|| (codec::decode(&payload).unwrap(), codec::decode(&oldest).unwrap()));
        prop_assert_eq!(read, message);
    });
}

#[test]
fn every_notification_of_a_request_in_flight_reads_back_as_it_was_written() {
    proptest!(cases(1), |(flight in flight())| {
        let message = Message::Notification(flight.encode());
        prop_assert_eq!(codec::encode(&message, 1), flight.payload());
        prop_assert_eq!(Flight::decode(&flight.encode()).unwrap(), Some(flight));
    });
}

#[test]
fn any_split_of_a_stream_gives_the_same_messages() {
    proptest!(cases(1), |(messages in vec(message(), 1..4), pieces in vec(1..400_usize, 1..50))| {
        let mut stream = BytesMut::new();
        for message in &messages {
            put(&mut stream, &codec::encode(message, 1));
        }
        let (mut splitter, mut input, mut read) = (Splitter::new(DEFAULT_FRAME_LIMIT), BytesMut::new(), Vec::new());
        let mut pieces = pieces.into_iter().cycle();
        while !stream.is_empty() {
            let piece = pieces.next().unwrap().min(stream.len());
            input.extend_from_slice(&stream.split_to(piece));
            while let Some(payload) = splitter.split(&mut input).unwrap() {
                read.push(codec::decode(&payload).unwrap());
            }
        }
        prop_assert_eq!(read, messages);
    });
}

#[test]
fn the_scan_accepts_what_the_rules_accept_and_nothing_else() {
    proptest!(cases(4), |(tree in tree())| {
        let bytes = tree.bytes();
        let verdict = on_a_small_stack(|| scan(&bytes));
        prop_assert_eq!(verdict.is_ok(), tree.is_acceptable(0), "{:?}", verdict);
    });
}

/// Whether another implementation reads `bytes` as one value to the end.
fn is_read_by_rmpv(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    // it counts up to three for each level, and the scan bounds those
    rmpv::decode::read_value_with_max_depth(&mut rest, 4 * MAX_DEPTH).is_ok() && rest.is_empty()
}

/// Everything that is done with the bytes of a peer.
fn read_all(bytes: &[u8]) {
    on_a_small_stack(|| read_all_here(bytes));
}

fn read_all_here(bytes: &[u8]) {
    let payload = Bytes::copy_from_slice(bytes);
    if let Ok(Message::Notification(notification)) = codec::decode(&payload) {
        let _ = Flight::decode(&notification);
    }
    if let Ok(raw) = Raw::parse(payload) {
        assert!(is_read_by_rmpv(bytes), "the scan accepts it: {bytes:02x?}");
        if let Ok(fields) = Fields::of(&raw) {
            assert!(fields.iter().all(|(_, value)| scan(value).is_ok()));
        }
    }
}

#[test]
fn random_bytes_never_panic_and_what_is_accepted_is_messagepack() {
    proptest!(cases(8), |(bytes in vec(any::<u8>(), 0..200), limit in 0..300_usize)| {
        read_all(&bytes);
        let mut input = BytesMut::from(&bytes[..]);
        let mut splitter = Splitter::new(limit);
        while let Ok(Some(payload)) = splitter.split(&mut input) {
            read_all(&payload);
        }
    });
}

#[test]
fn messages_with_bytes_changed_never_panic() {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    proptest!(cases(2), |(message in message(), changes in vec(change, 1..6))| {
        let mut bytes = codec::encode(&message, 1).to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        read_all(&bytes);
    });
}

#[test]
fn fields_are_found_by_name_however_many_there_are() {
    proptest!(cases(1), |(kwargs in kwargs())| {
        let map: std::collections::BTreeMap<String, i64> = kwargs.decode().unwrap();
        let fields = Fields::of(&kwargs).unwrap();
        prop_assert_eq!(fields.iter().count(), map.len());
        for (name, n) in map {
            let name: &'static str = Box::leak(name.into_boxed_str());
            prop_assert_eq!(fields.integer(name).unwrap(), Integer::from(n));
        }
    });
}
