//! Finds repeated keys while a payload is scanned.
//!
//! The keys of all maps that are open at a moment stand in one stack: a nested map begins and ends between two keys of the
//! map around it. The first [`INLINE`] of them need no allocation.

use std::cmp::Ordering;

/// Keys kept without an allocation.
const INLINE: u32 = 32;

/// A scalar as a key of a map: what it is, and either its value or where its bytes are. 16 bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Key {
    /// The value of a number, the span of bytes otherwise: start in the upper half, length in the lower.
    word: u64,
    offset: u32,
    class: Class,
}

/// Kinds of key that are never equal to each other. A text and a byte string with the same bytes are different keys,
/// and so are an integer and a float.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    #[default]
    Nil,
    Bool,
    Unsigned,
    Negative,
    Float,
    Text,
    Bin,
    Ext(i8),
}

impl Key {
    fn new(offset: usize, class: Class, word: u64) -> Self {
        // payloads are at most MAX_FRAME_LIMIT long, so an offset always fits
        Self { word, offset: u32::try_from(offset).unwrap_or(u32::MAX), class }
    }

    fn span(offset: usize, class: Class, end: usize, len: u32) -> Self {
        let end = u32::try_from(end).unwrap_or(u32::MAX);
        Self::new(offset, class, u64::from(end.saturating_sub(len)) << 32 | u64::from(len))
    }

    pub(super) fn nil(offset: usize) -> Self {
        Self::new(offset, Class::Nil, 0)
    }

    pub(super) fn bool(offset: usize, bit: bool) -> Self {
        Self::new(offset, Class::Bool, u64::from(bit))
    }

    pub(super) fn unsigned(offset: usize, n: u64) -> Self {
        Self::new(offset, Class::Unsigned, n)
    }

    pub(super) fn negative(offset: usize, n: i64) -> Self {
        Self::new(offset, Class::Negative, n.unsigned_abs())
    }

    /// Both zeroes are one key.
    pub(super) fn float(offset: usize, bits: u64) -> Self {
        let negative_zero = (-0.0_f64).to_bits();
        Self::new(offset, Class::Float, if bits == negative_zero { 0 } else { bits })
    }

    /// A text whose `len` bytes end before `end`.
    pub(super) fn text(offset: usize, end: usize, len: u32) -> Self {
        Self::span(offset, Class::Text, end, len)
    }

    /// A byte string whose `len` bytes end before `end`.
    pub(super) fn bin(offset: usize, end: usize, len: u32) -> Self {
        Self::span(offset, Class::Bin, end, len)
    }

    /// An extension whose `len` bytes end before `end`.
    pub(super) fn ext(offset: usize, kind: i8, end: usize, len: u32) -> Self {
        Self::span(offset, Class::Ext(kind), end, len)
    }

    /// Where the key stands in the payload.
    pub(super) fn offset(self) -> usize {
        to_usize(self.offset)
    }

    /// The bytes of a text, a byte string or an extension; nothing for the others, whose word says all.
    fn bytes(self, payload: &[u8]) -> &[u8] {
        match self.class {
            Class::Nil | Class::Bool | Class::Unsigned | Class::Negative | Class::Float => &[],
            Class::Text | Class::Bin | Class::Ext(_) => {
                let start = usize::try_from(self.word >> 32).unwrap_or(usize::MAX);
                let len = usize::try_from(self.word & 0xffff_ffff).unwrap_or(usize::MAX);
                payload.get(start..start.saturating_add(len)).unwrap_or_default()
            }
        }
    }

    /// What distinguishes keys of one class before their bytes do: the value, or the length.
    fn rank(self) -> u64 {
        match self.class {
            Class::Nil | Class::Bool | Class::Unsigned | Class::Negative | Class::Float => self.word,
            Class::Text | Class::Bin | Class::Ext(_) => self.word & 0xffff_ffff,
        }
    }
}

/// The keys of all open maps, and what comparing them took.
#[derive(Debug)]
pub(super) struct Keys<'a> {
    payload: &'a [u8],
    inline: [Key; to_usize(INLINE)],
    /// Keys in use; those beyond [`INLINE`] are in `more`, which grows as keys arrive.
    len: u32,
    more: Vec<Key>,
    comparisons: u64,
    compared_bytes: u64,
}

impl<'a> Keys<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        let inline = [Key::default(); to_usize(INLINE)];
        Self { payload, inline, len: 0, more: Vec::new(), comparisons: 0, compared_bytes: 0 }
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Comparisons made, and the bytes that they may have looked at.
    pub(super) fn cost(&self) -> (u64, u64) {
        (self.comparisons, self.compared_bytes)
    }

    #[inline]
    pub(super) fn push(&mut self, key: Key) {
        match self.inline.get_mut(to_usize(self.len)) {
            Some(place) => *place = key,
            None => self.more.push(key),
        }
        self.len += 1;
    }

    pub(super) fn truncate(&mut self, len: u32) {
        self.len = self.len.min(len);
        self.more.truncate(to_usize(self.len.saturating_sub(INLINE)));
    }

    /// Whether `key` is among the keys from number `from` on.
    #[inline]
    pub(super) fn contains(&mut self, from: u32, key: Key) -> bool {
        let bytes = key.bytes(self.payload);
        let (low, high) = halves(&self.inline, &self.more, from, self.len);
        for other in low.iter().chain(high) {
            self.comparisons += 1;
            if other.class != key.class || other.rank() != key.rank() {
                continue;
            }
            self.compared_bytes += to_u64(bytes.len());
            if other.bytes(self.payload) == bytes {
                return true;
            }
        }
        false
    }

    /// Sorts the keys from number `from` on, and gives where the earliest one stands that repeats another.
    pub(super) fn first_repeated(&mut self, from: u32) -> Option<usize> {
        let (low, high) = halves(&self.inline, &self.more, from, self.len);
        let mut keys = Vec::with_capacity(low.len() + high.len());
        keys.extend_from_slice(low);
        keys.extend_from_slice(high);
        let (mut comparisons, mut compared_bytes) = (0_u64, 0_u64);
        let mut compare = |a: &Key, b: &Key| {
            comparisons += 1;
            (a.class, a.rank()).cmp(&(b.class, b.rank())).then_with(|| {
                let bytes = a.bytes(self.payload);
                compared_bytes += to_u64(bytes.len());
                bytes.cmp(b.bytes(self.payload))
            })
        };
        keys.sort_unstable_by(|a, b| compare(a, b).then(a.offset.cmp(&b.offset)));
        let repeated = keys
            .array_windows()
            .filter(|[a, b]| compare(a, b) == Ordering::Equal)
            .map(|[_, b]| b.offset())
            .min();
        self.comparisons += comparisons;
        self.compared_bytes += compared_bytes;
        repeated
    }
}

/// The keys with numbers from `from` up to `len`: those kept inline, and the others.
fn halves<'k>(inline: &'k [Key], more: &'k [Key], from: u32, len: u32) -> (&'k [Key], &'k [Key]) {
    (
        inline.get(to_usize(from.min(INLINE))..to_usize(len.min(INLINE))).unwrap_or_default(),
        more.get(to_usize(from.saturating_sub(INLINE))..).unwrap_or_default(),
    )
}

fn to_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// Lossless wherever this runs: an address has at least 32 bits.
const fn to_usize(n: u32) -> usize {
    n as usize
}
