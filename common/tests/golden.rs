//! The bytes of every kind of message, committed: a change in `golden/messages.txt` is a change of the protocol.

#![expect(clippy::unwrap_used, reason = "test code")]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use redpoll_common::wire::{Fault, FaultCode, Flight, Message, codec};
use support::{flights, samples};

/// Lines of name and payload in hexadecimal, each followed by what the payload says, for people.
const GOLDEN: &str = include_str!("golden/messages.txt");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Bytes {
    let byte = |at| u8::from_str_radix(text.get(at..at + 2).unwrap(), 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

fn golden() -> BTreeMap<&'static str, Bytes> {
    let lines = GOLDEN.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', ' ']));
    lines.map(|line| line.split_once(' ').unwrap()).map(|(name, bytes)| (name, unhex(bytes))).collect()
}

#[test]
fn every_kind_of_message_is_written_as_the_golden_bytes() {
    let mut text = String::from(
        "# Each message's name and payload, then the payload in words. Compared by `golden.rs`.\n",
    );
    for sample in samples() {
        let payload = codec::encode(&sample.message, sample.protocol);
        let words = rmpv::decode::read_value(&mut &payload[..]).unwrap();
        write!(text, "\n{} {}\n    {words}\n", sample.name, hex(&payload)).unwrap();
    }
    assert!(text == GOLDEN, "the wire changed; if that is intended, golden/messages.txt becomes:\n{text}");
}

#[test]
fn golden_bytes_of_our_protocol_read_back_as_the_message() {
    let golden = golden();
    for sample in samples().into_iter().filter(|sample| sample.protocol > 0) {
        let read = codec::decode(&golden[sample.name]).unwrap();
        assert_eq!(read, sample.message, "{}", sample.name);
    }
}

#[test]
fn golden_bytes_of_the_oldest_form_carry_only_the_oldest_fields() {
    let fields: [(&str, &[&str]); 7] = [
        ("oldest-agent-hello", &["t", "id", "version", "credentials"]),
        ("oldest-manager-hello", &["t", "version"]),
        ("oldest-bye", &["t", "reason"]),
        ("oldest-request", &["t", "id", "method", "args", "kwargs"]),
        ("oldest-response", &["t", "id", "success", "data"]),
        ("oldest-response-failed", &["t", "id", "success", "data"]),
        ("oldest-notification", &["t", "type", "data"]),
    ];
    let golden = golden();
    for (name, expected) in fields {
        let value = rmpv::decode::read_value(&mut &golden[name][..]).unwrap();
        let keys: Vec<_> = value.as_map().unwrap().iter().map(|(key, _)| key.as_str().unwrap()).collect();
        assert_eq!(keys, expected, "{name}");
        codec::decode(&golden[name]).unwrap();
    }
}

#[test]
fn a_failure_of_an_oldest_peer_is_a_fault_with_its_text() {
    let Message::Response(response) = codec::decode(&golden()["oldest-response-failed"]).unwrap() else {
        panic!("not a response")
    };
    assert_eq!(response.result, Err(Fault::new(FaultCode::Failed, "failed: it broke")));
}

#[test]
fn notifications_of_a_request_in_flight_read_back() {
    let golden = golden();
    for (name, flight) in flights() {
        assert_eq!(flight.payload(), golden[name], "{name}: both ways of writing agree");
        let Message::Notification(notification) = codec::decode(&golden[name]).unwrap() else {
            panic!("not a notification")
        };
        assert_eq!(Flight::decode(&notification).unwrap(), Some(flight), "{name}");
    }
}

#[test]
fn other_notifications_are_none_of_a_request_in_flight() {
    let Message::Notification(notification) = codec::decode(&golden()["notification"]).unwrap() else {
        panic!("not a notification")
    };
    assert_eq!(Flight::decode(&notification).unwrap(), None);
}

#[test]
fn golden_bytes_cut_anywhere_or_with_a_byte_more_are_refused() {
    for (name, payload) in golden() {
        for len in 0..payload.len() {
            assert!(codec::decode(&payload.slice(..len)).is_err(), "{name} cut to {len} bytes");
        }
        let longer: Bytes = payload.iter().copied().chain([0xc0]).collect();
        assert!(codec::decode(&longer).is_err(), "{name} with a byte more");
    }
}
