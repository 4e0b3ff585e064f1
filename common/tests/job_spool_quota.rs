//! The piece of output that crosses the limit of a run.

mod job_support;

use job_support::{Bench, OPTIONS, kept, running};
use redpoll_common::job::spool::Input;
use redpoll_common::job::{Dno, Item, ItemKind, Limits, Overflow};
use redpoll_common::wire::Raw;

#[test]
fn of_the_piece_that_crosses_the_quota_the_begin_is_kept_and_no_half_character() {
    let quota = Limits { output: Some(300), ..Limits::default() };
    let give = |bench: &mut Bench, kind, data: &[u8]| {
        bench.put(Input::Item { dno: Dno(5), kind, data: Raw::bin(data) });
    };
    // 300 are 32 and 2 around 100 bytes, and as much around 132 of the second
    for (second, begin, dropped) in [
        (b"y".repeat(200), b"y".repeat(132), 68),
        ("ä".repeat(100).into_bytes(), "ä".repeat(66).into_bytes(), 68),
        (
            [&b"z"[..], "ä".repeat(100).as_bytes()].concat(),
            [&b"z"[..], "ä".repeat(65).as_bytes()].concat(),
            70,
        ),
        (vec![0x80; 200], vec![0x80; 132], 68),
    ] {
        let mut bench = running(quota, OPTIONS);
        give(&mut bench, ItemKind::Stdout, &b"x".repeat(100));
        give(&mut bench, ItemKind::Stderr, &second);
        give(&mut bench, ItemKind::Stderr, b"!");
        bench.succeed(5);
        let items = kept(&bench);
        assert_eq!((items.len(), items[1].kind, &items[1].data), (3, ItemKind::Stderr, &Raw::bin(&begin)));
        assert!(items[..2].iter().map(Item::cost).sum::<u64>() <= 300);
        let said = items[2].data.decode::<serde_json::Value>().unwrap();
        assert_eq!(said, serde_json::json!({"stream": "stderr", "bytes": dropped + 1}));
    }
    // there is no room for a byte, and a value is whole or not there
    for (first, kind) in [(235, ItemKind::Stdout), (100, ItemKind::Value)] {
        let mut bench = running(quota, OPTIONS);
        give(&mut bench, ItemKind::Stdout, &b"x".repeat(first));
        give(&mut bench, kind, &b"y".repeat(200));
        bench.succeed(5);
        assert_eq!(kept(&bench).len(), 2);
    }
    let mut bench = running(Limits { overflow: Overflow::Kill, ..quota }, OPTIONS);
    give(&mut bench, ItemKind::Stdout, &b"x".repeat(500));
    bench.succeed(5);
    assert_eq!(kept(&bench)[0].data, Raw::bin(&b"x".repeat(265)), "also of a run that is ended by it");
}
