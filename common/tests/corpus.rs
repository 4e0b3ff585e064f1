//! Replays the committed corpus of the fuzz targets, so that what fuzzing found once stays found.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]
#![expect(clippy::disallowed_methods, reason = "the corpus is files")]

mod support;
#[expect(clippy::expect_used, reason = "an input that breaks a rule is a finding")]
#[path = "../../fuzz/targets.rs"]
mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use bytes::BytesMut;
use redpoll_common::wire::{codec, frame};
use support::samples;
use targets::TARGETS;

fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

/// The seeds that every corpus begins with, by target and name: each sample, and what no honest peer sends.
fn seeds() -> BTreeMap<(&'static str, String), Vec<u8>> {
    let mut seeds = BTreeMap::new();
    let mut stream = BytesMut::from(&[3_u8, 0xff][..]);
    for sample in samples() {
        let payload = codec::encode(&sample.message, sample.protocol);
        let mut framed = BytesMut::from(&[1_u8, 0xff][..]);
        for out in [&mut stream, &mut framed] {
            frame::put(out, &payload);
        }
        let name = format!("seed-{}", sample.name);
        let body = match payload[3] {
            10 => "agent_hello",
            11 => "manager_hello",
            14 => "bye",
            20 => "request",
            21 => "response",
            22 => "notification",
            _ => "decode",
        };
        if body != "decode" {
            // the fields alone: the target puts `t` in front again
            seeds.insert((body, name.clone()), [&[payload[0] - 1], &payload[4..]].concat());
        }
        seeds.insert(("splitter", name.clone()), framed.to_vec());
        seeds.insert(("scan", name.clone()), payload.to_vec());
        seeds.insert(("decode", name), payload.to_vec());
    }
    seeds.insert(("splitter", "seed-stream".into()), stream.to_vec());
    for (name, bytes) in hostile_streams() {
        seeds.insert(("splitter", format!("seed-{name}")), [&[1, 2], &bytes[..]].concat());
    }
    for (name, bytes) in hostile_values() {
        seeds.insert(("scan", format!("seed-{name}")), bytes.clone());
        seeds.insert(("decode", format!("seed-{name}")), bytes);
    }
    seeds
}

fn hostile_streams() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("length-zero", vec![0; 4]),
        ("length-largest", vec![0xff; 4]),
        ("length-at-the-limit", [&[0, 0, 0, 32][..], &[0xc0; 32]].concat()),
        ("length-beyond-the-limit", [&[0, 0, 0, 33][..], &[0xc0; 33]].concat()),
        ("http", b"HTTP/1.1 400 Bad Request\r\n".to_vec()),
        ("tls", vec![0x16, 0x03, 0x01, 0x02, 0x00]),
    ]
}

fn hostile_values() -> Vec<(&'static str, Vec<u8>)> {
    let keys = |count: u8| (0..count).flat_map(|n| [0xa1, b'A' + n, 0xc0]).collect::<Vec<_>>();
    vec![
        ("depth-32", [vec![0x91; 32], vec![0xc0]].concat()),
        ("depth-33", [vec![0x91; 33], vec![0xc0]].concat()),
        ("nodes-promised", vec![0xdd, 0, 1, 0, 1, 0xc0]),
        ("length-promised", vec![0xdb, 0xff, 0xff, 0xff, 0xff, b'a']),
        ("key-twice", vec![0x82, 0xa1, b'a', 1, 0xa1, b'a', 2]),
        ("key-twice-inside", vec![0x81, 0, 0x82, 5, 0xc0, 0xcd, 0, 5, 0xc0]),
        ("key-twice-in-a-large-map", [vec![0xde, 0, 41], keys(40), vec![0xa1, b'C', 0xc0]].concat()),
        ("large-map", [vec![0xde, 0, 40], keys(40)].concat()),
        ("key-is-an-array", vec![0x81, 0x90, 0xc0]),
        ("trailing", vec![0x80, 0xc0]),
        ("two-values", vec![0xc0, 0xc0]),
        ("reserved", vec![0xc1]),
        ("not-utf8", vec![0xa2, 0xff, 0xfe]),
        (
            "bytes-for-text",
            vec![0x82, 0xa1, b't', 14, 0xa6, b'r', b'e', b'a', b's', b'o', b'n', 0xc4, 1, b'x'],
        ),
        ("array-for-map", vec![0x92, 12, 7]),
        ("extension", vec![0xc7, 3, 0xff, 1, 2, 3]),
        ("floats", vec![0x92, 0xca, 0x3f, 0x80, 0, 0, 0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]),
    ]
}

#[test]
fn every_target_survives_its_corpus() {
    for (target, run) in TARGETS {
        let mut files: Vec<_> = fs::read_dir(folder(target))
            .unwrap_or_else(|error| panic!("the target {target} has no corpus: {error}"))
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "the target {target} has an empty corpus");
        for file in files {
            // the name shows in the output of a failing test
            println!("{}", file.display());
            run(&fs::read(&file).unwrap());
        }
    }
}

#[test]
fn every_sample_and_hostile_value_is_in_the_corpus() {
    for ((target, name), bytes) in seeds() {
        let file = folder(target).join(&name);
        if std::env::var_os("REDPOLL_WRITE_SEEDS").is_some() {
            fs::create_dir_all(folder(target)).unwrap();
            fs::write(&file, &bytes).unwrap();
        }
        let found = fs::read(&file).unwrap_or_default();
        assert!(
            found == bytes,
            "{} is missing or old; `REDPOLL_WRITE_SEEDS=1 cargo test -p redpoll-common --test corpus` writes it",
            file.display()
        );
    }
}
