//! Values that pass through unread: how they are made, and how they are read at the end of their way.

use std::collections::BTreeMap;
use std::net::IpAddr;

use redpoll_common::wire::scan::ScanError;
use redpoll_common::wire::{DecodeError, Fields, Integer, MAX_DEPTH, Raw, RawMap};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Address { ip: IpAddr, wide: Option<u64> },
}

#[test]
fn types_of_serde_read_back_even_where_serde_buffers_them() {
    let value = Tagged::Address { ip: IpAddr::from([10, 0, 0, 1]), wide: Some(u64::MAX) };
    let raw = Raw::encode(&value).unwrap();
    assert_eq!(raw.decode::<Tagged>().unwrap(), value);
    let ip = Fields::of(&raw).unwrap().text("ip", 64).map(str::to_owned);
    assert_eq!(ip, Ok("10.0.0.1".to_owned()), "readable for other languages");
}

#[test]
fn the_deepest_value_that_the_scan_accepts_can_be_read() {
    let raw = Raw::parse([vec![0x91; MAX_DEPTH], vec![0xc0]].concat().into()).unwrap();
    let mut value = raw.decode::<serde_json::Value>().unwrap();
    for _ in 0..MAX_DEPTH {
        value = value.get(0).unwrap().clone();
    }
    assert!(value.is_null());
}

#[test]
fn a_value_too_deep_for_the_wire_cannot_be_made() {
    let value = (0..=MAX_DEPTH).fold(serde_json::Value::Null, |value, _| vec![value].into());
    Raw::encode(&value).unwrap_err();
}

#[test]
fn a_debug_print_shows_no_content() {
    assert_eq!(format!("{:?}", Raw::text("secret")), "Raw(7 bytes)");
}

#[test]
fn every_length_and_number_is_written_in_its_shortest_form() {
    let markers = |raw: Raw| raw.as_bytes()[0];
    let lengths =
        [(0, 0xa0), (31, 0xbf), (32, 0xd9), (255, 0xd9), (256, 0xda), (65_535, 0xda), (65_536, 0xdb)];
    for (len, marker) in lengths {
        let raw = Raw::text(&"x".repeat(len));
        assert_eq!(raw.as_text().unwrap().len(), len);
        assert_eq!(Raw::parse(raw.to_bytes()).as_ref(), Ok(&raw));
        assert_eq!(markers(raw), marker, "{len}");
    }
    let numbers: [(i128, u8); 18] = [
        (0, 0),
        (127, 127),
        (128, 0xcc),
        (255, 0xcc),
        (256, 0xcd),
        (65_535, 0xcd),
        (65_536, 0xce),
        (4_294_967_295, 0xce),
        (4_294_967_296, 0xcf),
        (u64::MAX.into(), 0xcf),
        (-1, 0xff),
        (-32, 0xe0),
        (-33, 0xd0),
        (-128, 0xd0),
        (-129, 0xd1),
        (-32_769, 0xd2),
        (-2_147_483_649, 0xd3),
        (i64::MIN.into(), 0xd3),
    ];
    for (n, marker) in numbers {
        let integer =
            u64::try_from(n).map_or_else(|_| Integer::from(i64::try_from(n).unwrap()), Integer::from);
        let map = RawMap::new().integer("n", integer).checked().unwrap();
        assert_eq!(map.as_bytes()[3], marker, "{n}");
        assert_eq!(Fields::of(&map).unwrap().integer("n"), Ok(integer));
    }
}

#[test]
fn maps_of_any_size_are_written_alike_inside_and_outside() {
    for count in [0, 1, 15, 16, 30_000] {
        let fill = |map: RawMap| (0..count).fold(map, |map, n| map.uint(&n.to_string(), n));
        let outside = fill(RawMap::new()).checked().unwrap();
        let inside = RawMap::new().map("map", fill).text("after", "it").checked().unwrap();
        let fields = Fields::of(&inside).unwrap();
        assert_eq!(fields.map("map").as_ref(), Ok(&outside), "{count} entries");
        assert_eq!(fields.text("after", 2), Ok("it"));
        assert_eq!(outside.decode::<BTreeMap<String, u64>>().unwrap().len() as u64, count);
    }
}

#[test]
fn a_map_with_a_key_twice_is_noticed_where_keys_come_from_others() {
    let map = RawMap::new().uint("a", 1).uint("a", 2);
    assert_eq!(map.checked(), Err(ScanError::DuplicateKey { offset: 4 }));
}

#[test]
fn a_field_that_is_nil_counts_as_missing_where_it_is_optional() {
    let map = RawMap::new().raw("a", &Raw::nil()).checked().unwrap();
    let fields = Fields::of(&map).unwrap();
    assert_eq!(fields.opt_text("a", 9), Ok(None));
    assert_eq!(fields.opt_raw("a"), Ok(None));
    assert_eq!(fields.raw("a"), Ok(Raw::nil()));
    assert_eq!(fields.text("a", 9), Err(DecodeError::WrongType { field: "a", wanted: "text" }));
    assert_eq!(fields.text("b", 9), Err(DecodeError::Missing { field: "b" }));
}

#[test]
fn the_bytes_of_a_text_or_a_byte_string_are_shared_whatever_their_number() {
    for len in [0, 1, 31, 32, 255, 256, 65_535, 65_536, 100_000] {
        let (data, text) = (vec![7; len], "x".repeat(len));
        let value = Raw::bin(&data);
        let octets = value.octets().unwrap();
        assert_eq!(octets, data, "{len}");
        assert!(len == 0 || value.as_bytes().as_ptr_range().contains(&octets.as_ptr()), "a copy");
        assert_eq!(Raw::text(&text).octets().unwrap(), text, "{len}");
    }
    for other in [Raw::nil(), Raw::empty_array(), Raw::empty_map(), Raw::encode(&7).unwrap()] {
        assert_eq!(other.octets(), None);
    }
}
