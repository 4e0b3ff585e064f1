//! Writes MessagePack maps in their shortest form.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::scan::ScanError;
use super::{Integer, Raw};

/// Space for the longest header of a map, which is written last because only then its count is known.
pub(super) const HEADROOM: usize = 5;

/// Builds a map entry by entry, in the order of the calls.
///
/// Values that are [`Raw`] are copied as bytes, not decoded. The `opt_` forms write nothing for `None`.
///
/// ```
/// use redpoll_common::wire::{Raw, RawMap};
/// let kwargs = RawMap::new().text("agent", "web-1").raw("args", &Raw::empty_array()).finish();
/// assert!(kwargs.is_map());
/// ```
#[derive(Debug, Clone)]
#[must_use = "`finish` gives the map"]
pub struct RawMap {
    out: BytesMut,
    entries: u32,
}

impl Default for RawMap {
    fn default() -> Self {
        Self::new()
    }
}

impl RawMap {
    /// A map without entries yet.
    pub fn new() -> Self {
        Self::with_capacity(123)
    }

    /// A map without entries yet, with room for keys and values of `bytes` bytes in all.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut out = BytesMut::with_capacity(HEADROOM + bytes);
        out.put_bytes(0, HEADROOM);
        Self { out, entries: 0 }
    }

    /// The map, unchecked: for keys that stand in the code, each once. Whether its values nest too deep is seen when it is
    /// sent, by [`encode_within`](super::codec::encode_within).
    pub fn finish(self) -> Raw {
        Raw::scanned(self.into_bytes())
    }

    /// The map, for keys that come from somebody else.
    ///
    /// # Errors
    /// [`ScanError`] when a key was given twice, or the map nests too deep or has too many values.
    pub fn checked(self) -> Result<Raw, ScanError> {
        Raw::parse(self.into_bytes())
    }

    /// The map's bytes, unchecked: the caller knows that no key was given twice.
    pub(super) fn into_bytes(mut self) -> Bytes {
        let mut header = [0; HEADROOM];
        let len = map_header(self.entries, &mut header);
        let unused = HEADROOM - len;
        if let (Some(space), Some(header)) = (self.out.get_mut(unused..HEADROOM), header.get(..len)) {
            space.copy_from_slice(header);
        }
        self.out.advance(unused);
        self.out.freeze()
    }

    fn key(&mut self, key: &str) {
        self.entries = self.entries.saturating_add(1);
        put_text(&mut self.out, key);
    }

    /// An entry that is a text.
    pub fn text(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        put_text(&mut self.out, value);
        self
    }

    /// An entry that is a text, if there is one.
    pub fn opt_text(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(key, value),
            None => self,
        }
    }

    /// An entry that is true or false.
    pub fn bool(mut self, key: &str, value: bool) -> Self {
        self.key(key);
        self.out.put_u8(if value { 0xc3 } else { 0xc2 });
        self
    }

    /// An entry that is an integer from zero on.
    pub fn uint(mut self, key: &str, value: u64) -> Self {
        self.key(key);
        put_uint(&mut self.out, value);
        self
    }

    /// An entry that is an integer from zero on, if there is one.
    pub fn opt_uint(self, key: &str, value: Option<u64>) -> Self {
        match value {
            Some(value) => self.uint(key, value),
            None => self,
        }
    }

    /// An entry that is any integer.
    pub fn integer(mut self, key: &str, value: Integer) -> Self {
        self.key(key);
        match u64::try_from(value.get()) {
            Ok(n) => put_uint(&mut self.out, n),
            Err(_) => put_negative(&mut self.out, i64::try_from(value.get()).unwrap_or(i64::MIN)),
        }
        self
    }

    /// An entry that is a byte string.
    pub fn bin(mut self, key: &str, value: &[u8]) -> Self {
        self.key(key);
        put_len(&mut self.out, value.len(), [0xc4, 0xc5, 0xc6]);
        self.out.put_slice(value);
        self
    }

    /// An entry that is a byte string, if there is one.
    pub fn opt_bin(self, key: &str, value: Option<&[u8]>) -> Self {
        match value {
            Some(value) => self.bin(key, value),
            None => self,
        }
    }

    /// An entry that is an array of texts.
    pub fn texts(mut self, key: &str, values: &[String]) -> Self {
        self.key(key);
        put_array_header(&mut self.out, values.len());
        for value in values {
            put_text(&mut self.out, value);
        }
        self
    }

    /// An entry that is an array of texts, if there is one; an empty one is there.
    pub fn opt_texts(self, key: &str, values: Option<&[String]>) -> Self {
        match values {
            Some(values) => self.texts(key, values),
            None => self,
        }
    }

    /// An entry that is an array of integers from zero on.
    pub fn uints(mut self, key: &str, values: &[u64]) -> Self {
        self.key(key);
        put_array_header(&mut self.out, values.len());
        for value in values {
            put_uint(&mut self.out, *value);
        }
        self
    }

    /// An entry whose value exists already.
    pub fn raw(mut self, key: &str, value: &Raw) -> Self {
        self.key(key);
        self.out.put_slice(value.as_bytes());
        self
    }

    /// An entry whose value exists already, if there is one.
    pub fn opt_raw(self, key: &str, value: Option<&Raw>) -> Self {
        match value {
            Some(value) => self.raw(key, value),
            None => self,
        }
    }

    /// An entry that is an array of values that exist already.
    pub fn raws(mut self, key: &str, values: &[Raw]) -> Self {
        self.key(key);
        put_array_header(&mut self.out, values.len());
        for value in values {
            self.out.put_slice(value.as_bytes());
        }
        self
    }

    /// An entry that is a map, which `fill` writes.
    pub fn map(mut self, key: &str, fill: impl FnOnce(Self) -> Self) -> Self {
        self.key(key);
        self.nested(fill)
    }

    /// An entry that is an array of maps, one per value, each written by `fill`.
    pub fn maps<T>(mut self, key: &str, values: &[T], fill: impl Fn(Self, &T) -> Self) -> Self {
        self.key(key);
        put_array_header(&mut self.out, values.len());
        values.iter().fold(self, |map, value| map.nested(|map| fill(map, value)))
    }

    /// A map as the next value, without a key.
    fn nested(mut self, fill: impl FnOnce(Self) -> Self) -> Self {
        let at = self.out.len();
        let entries = std::mem::take(&mut self.entries);
        self.out.put_u8(0x80);
        let mut filled = fill(self);
        match (u8::try_from(filled.entries), filled.out.get_mut(at)) {
            (Ok(count @ 0..=15), Some(header)) => *header = 0x80 | count,
            // rare: the header needs more than the byte kept for it
            _ => {
                let body = filled.out.split_off(at + 1);
                filled.out.truncate(at);
                let mut header = [0; HEADROOM];
                let len = map_header(filled.entries, &mut header);
                filled.out.put_slice(header.get(..len).unwrap_or_default());
                filled.out.put_slice(&body);
            }
        }
        filled.entries = entries;
        filled
    }
}

/// Writes the header of a map into the front of `out`; gives its length.
pub(super) fn map_header(entries: u32, out: &mut [u8; HEADROOM]) -> usize {
    let [a, b, c, d] = entries.to_be_bytes();
    match (a, b, c, d) {
        (0, 0, 0, 0..=15) => {
            *out = [0x80 | d, 0, 0, 0, 0];
            1
        }
        (0, 0, _, _) => {
            *out = [0xde, c, d, 0, 0];
            3
        }
        _ => {
            *out = [0xdf, a, b, c, d];
            5
        }
    }
}

pub(super) fn put_array_header(out: &mut BytesMut, count: usize) {
    match (u8::try_from(count), u16::try_from(count)) {
        (Ok(count @ 0..=15), _) => out.put_u8(0x90 | count),
        (_, Ok(count)) => {
            out.put_u8(0xdc);
            out.put_u16(count);
        }
        _ => {
            out.put_u8(0xdd);
            out.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }
}

/// Writes a text.
pub(super) fn put_text(out: &mut BytesMut, text: &str) {
    match u8::try_from(text.len()) {
        Ok(len @ 0..=31) => out.put_u8(0xa0 | len),
        _ => put_len(out, text.len(), [0xd9, 0xda, 0xdb]),
    }
    out.put_slice(text.as_bytes());
}

/// Writes a length after the marker for its width.
pub(super) fn put_len(out: &mut BytesMut, len: usize, [narrow, middle, wide]: [u8; 3]) {
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len), _) => {
            out.put_u8(narrow);
            out.put_u8(len);
        }
        (_, Ok(len)) => {
            out.put_u8(middle);
            out.put_u16(len);
        }
        _ => {
            out.put_u8(wide);
            // a text of 4 GiB exceeds every frame: whoever checks the payload's length refuses it
            out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
        }
    }
}

pub(super) fn put_uint(out: &mut BytesMut, n: u64) {
    match (u8::try_from(n), u16::try_from(n), u32::try_from(n)) {
        (Ok(n @ 0..=0x7f), ..) => out.put_u8(n),
        (Ok(n), ..) => out.put_slice(&[0xcc, n]),
        (_, Ok(n), _) => {
            out.put_u8(0xcd);
            out.put_u16(n);
        }
        (.., Ok(n)) => {
            out.put_u8(0xce);
            out.put_u32(n);
        }
        _ => {
            out.put_u8(0xcf);
            out.put_u64(n);
        }
    }
}

pub(super) fn put_negative(out: &mut BytesMut, n: i64) {
    match (i8::try_from(n), i16::try_from(n), i32::try_from(n)) {
        (Ok(n @ -32..=-1), ..) => out.put_i8(n),
        (Ok(n), ..) => {
            out.put_u8(0xd0);
            out.put_i8(n);
        }
        (_, Ok(n), _) => {
            out.put_u8(0xd1);
            out.put_i16(n);
        }
        (.., Ok(n)) => {
            out.put_u8(0xd2);
            out.put_i32(n);
        }
        _ => {
            out.put_u8(0xd3);
            out.put_i64(n);
        }
    }
}
