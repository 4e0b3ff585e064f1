//! How items lie in a store: in chunks of consecutive numbers, so that a hundred thousand items a second are some hundred rows.
//!
//! A chunk is its items one after the other: kind (1 byte), length (4 bytes, little-endian), data. Their numbers follow
//! from the chunk's first.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use redpoll_common::job::{ITEM_OVERHEAD, Item, ItemKind};
use redpoll_common::wire::Raw;

use super::ReadError;

/// Bytes after which a chunk takes no further item. An item larger than that has a chunk to itself.
pub const CHUNK_BYTES: usize = 64 * 1024;

const HEADER: usize = 5;

/// Consecutive items as they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The number of the first.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// The items.
    pub body: Bytes,
}

/// What the items of chunks count against a limit of output, from their number and the bytes of all bodies.
pub fn cost(items: u64, body_bytes: u64) -> u64 {
    let headers = u64::try_from(HEADER).unwrap_or(0) * items;
    body_bytes.saturating_sub(headers) + ITEM_OVERHEAD * items
}

/// Packs items, the first of which has the number `from`.
pub fn pack(from: u64, items: &[Item]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut body = BytesMut::new();
    let (mut first, mut count) = (from, 0);
    for item in items {
        let data = item.data.as_bytes();
        if count > 0 && body.len() + HEADER + data.len() > CHUNK_BYTES {
            chunks.push(Chunk { first, count, body: body.split().freeze() });
            (first, count) = (first + count, 0);
        }
        body.put_u8(number(item.kind));
        // an item came in one frame, which is far smaller than what 32 bits count
        body.put_u32_le(u32::try_from(data.len()).unwrap_or(u32::MAX));
        body.put_slice(data);
        count += 1;
    }
    if count > 0 {
        chunks.push(Chunk { first, count, body: body.freeze() });
    }
    chunks
}

/// The items of a chunk from number `from` on.
///
/// # Errors
/// [`ReadError::Damaged`] when the bytes are not what [`pack`] makes.
pub fn unpack(chunk: Chunk, from: u64, take: &mut impl FnMut(Item) -> bool) -> Result<(), ReadError> {
    let Chunk { first, count, mut body } = chunk;
    for n in first..first.saturating_add(count) {
        if body.len() < HEADER {
            return Err(damaged());
        }
        let kind = kind(body.get_u8()).ok_or_else(damaged)?;
        let len = usize::try_from(body.get_u32_le()).unwrap_or(usize::MAX);
        if body.len() < len {
            return Err(damaged());
        }
        let data = body.split_to(len);
        if n >= from {
            let data = Raw::parse(data).map_err(|_not_a_value| damaged())?;
            if !take(Item { n, kind, data }) {
                break;
            }
        }
    }
    Ok(())
}

fn damaged() -> ReadError {
    ReadError::Damaged { what: "items".to_owned() }
}

fn number(kind: ItemKind) -> u8 {
    match kind {
        ItemKind::Value => 0,
        ItemKind::Stdout => 1,
        ItemKind::Stderr => 2,
        ItemKind::Truncated => 3,
    }
}

fn kind(number: u8) -> Option<ItemKind> {
    ItemKind::ALL.into_iter().find(|kind| self::number(*kind) == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(n: u64, kind: ItemKind, text: &str) -> Item {
        Item { n, kind, data: Raw::text(text) }
    }

    fn unpacked(chunks: Vec<Chunk>, from: u64) -> Vec<Item> {
        let mut out = Vec::new();
        for chunk in chunks {
            unpack(chunk, from, &mut |item| {
                out.push(item);
                true
            })
            .unwrap();
        }
        out
    }

    #[test]
    fn the_bytes_of_a_chunk_stay_as_they_are() {
        let chunks = pack(7, &[item(7, ItemKind::Stdout, "a"), item(8, ItemKind::Truncated, "")]);
        let golden = Bytes::from_static(&[1, 2, 0, 0, 0, 0xa1, b'a', 3, 1, 0, 0, 0, 0xa0]);
        assert_eq!(chunks, [Chunk { first: 7, count: 2, body: golden }]);
    }

    #[test]
    fn items_come_back_from_any_number_on_across_chunks() {
        let kinds = ItemKind::ALL.into_iter().cycle();
        let items: Vec<_> = (0..100).zip(kinds).map(|(n, kind)| item(n, kind, &"x".repeat(2000))).collect();
        let chunks = pack(0, &items);
        assert!(
            chunks.len() > 3 && chunks.iter().all(|chunk| chunk.body.len() <= CHUNK_BYTES),
            "{}",
            chunks.len()
        );
        for from in [0, 1, 31, 32, 33, 99, 100] {
            assert_eq!(
                unpacked(chunks.clone(), from),
                items.iter().filter(|item| item.n >= from).cloned().collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn an_item_larger_than_a_chunk_has_one_to_itself() {
        let items = [
            item(0, ItemKind::Value, "a"),
            item(1, ItemKind::Value, &"b".repeat(CHUNK_BYTES * 2)),
            item(2, ItemKind::Value, "c"),
        ];
        let chunks = pack(0, &items);
        assert_eq!(chunks.iter().map(|chunk| chunk.count).collect::<Vec<_>>(), [1, 1, 1]);
        assert_eq!(unpacked(chunks, 0), items);
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        for body in [&[1, 2][..], &[9, 1, 0, 0, 0, 0xc0], &[0, 9, 0, 0, 0, 0xc0], &[0, 1, 0, 0, 0, 0xc1]] {
            let chunk = Chunk { first: 0, count: 1, body: Bytes::copy_from_slice(body) };
            assert!(unpack(chunk, 0, &mut |_item| true).is_err(), "{body:?}");
        }
    }
}
