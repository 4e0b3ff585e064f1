//! One form per value: equal values become equal bytes, and words for people.
//!
//! Maps have their keys sorted by the keys' own canonical bytes, numbers and lengths their shortest form, floats 64 bits. An
//! integer and a float are different values, as are a text and a byte string.

use std::fmt::{self, Write};

use bytes::{BufMut, BytesMut};

use super::Raw;
use super::head::{self, Head};
use super::write::{HEADROOM, map_header, put_array_header, put_len, put_negative, put_text, put_uint};

/// Reads the values of scanned bytes one after the other. What is scanned nests at most
/// [`MAX_DEPTH`](super::MAX_DEPTH) deep, so that recursion over it is bounded.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn head(&mut self) -> Option<Head> {
        let (head, len) = head::read(self.0).ok()?;
        self.0 = self.0.get(len..)?;
        Some(head)
    }

    fn take(&mut self, len: u32) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn text(&mut self, len: u32) -> Option<&'a str> {
        std::str::from_utf8(self.take(len)?).ok()
    }
}

impl Raw {
    /// The canonical form.
    pub fn canonical(&self) -> Self {
        let mut out = BytesMut::with_capacity(self.len());
        match put(&mut Reader(self.as_bytes()), &mut out) {
            Some(()) => Self::scanned(out.freeze()),
            None => self.clone(),
        }
    }

    /// Writes the value for people, like JSON: byte strings and extensions as their length, control characters escaped.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_words(&self, out: &mut impl Write) -> fmt::Result {
        words(&mut Reader(self.as_bytes()), out)
    }
}

fn put(from: &mut Reader<'_>, out: &mut BytesMut) -> Option<()> {
    match from.head()? {
        Head::Nil => out.put_u8(0xc0),
        Head::Bool(bit) => out.put_u8(if bit { 0xc3 } else { 0xc2 }),
        Head::Unsigned(n) => put_uint(out, n),
        Head::Negative(n) => put_negative(out, n),
        Head::Float(bits) => {
            out.put_u8(0xcb);
            out.put_u64(float(bits));
        }
        Head::Text(len) => put_text(out, from.text(len)?),
        Head::Bin(len) => {
            let bytes = from.take(len)?;
            put_len(out, bytes.len(), [0xc4, 0xc5, 0xc6]);
            out.put_slice(bytes);
        }
        Head::Ext(kind, len) => {
            let bytes = from.take(len)?;
            put_len(out, bytes.len(), [0xc7, 0xc8, 0xc9]);
            out.put_i8(kind);
            out.put_slice(bytes);
        }
        Head::Array(count) => {
            put_array_header(out, usize::try_from(count).ok()?);
            (0..count).try_for_each(|_| put(from, out))?;
        }
        Head::Map(count) => put_map(from, count, out)?,
    }
    Some(())
}

/// Both zeroes are one value, and so is everything that is no number.
fn float(bits: u64) -> u64 {
    let number = f64::from_bits(bits);
    if number == 0.0 {
        0
    } else if number.is_nan() {
        f64::NAN.to_bits()
    } else {
        bits
    }
}

fn put_map(from: &mut Reader<'_>, count: u32, out: &mut BytesMut) -> Option<()> {
    let mut header = [0; HEADROOM];
    let len = map_header(count, &mut header);
    out.put_slice(header.get(..len)?);
    let begin = out.len();
    // each entry from where to where, and where its value begins
    let mut entries: Vec<(usize, usize, usize)> = Vec::new();
    let mut in_order = true;
    for _ in 0..count {
        let key = out.len();
        put(from, out)?;
        let value = out.len();
        put(from, out)?;
        if let Some((last, its_value, _)) = entries.last() {
            in_order &= out.get(*last..*its_value)? < out.get(key..value)?;
        }
        entries.push((key, value, out.len()));
    }
    if in_order {
        return Some(());
    }
    let unordered = out.split_off(begin);
    let part = |from: usize, to: usize| unordered.get(from - begin..to - begin);
    entries.sort_unstable_by_key(|(key, value, end)| (part(*key, *value), part(*value, *end)));
    for (key, _, end) in entries {
        out.put_slice(part(key, end)?);
    }
    Some(())
}

fn words(from: &mut Reader<'_>, out: &mut impl Write) -> fmt::Result {
    match from.head().ok_or(fmt::Error)? {
        Head::Nil => out.write_str("null"),
        Head::Bool(bit) => write!(out, "{bit}"),
        Head::Unsigned(n) => write!(out, "{n}"),
        Head::Negative(n) => write!(out, "{n}"),
        Head::Float(bits) => write!(out, "{:?}", f64::from_bits(bits)),
        Head::Text(len) => write!(out, "{:?}", from.text(len).ok_or(fmt::Error)?),
        Head::Bin(len) => {
            from.take(len).ok_or(fmt::Error)?;
            write!(out, "<{len} bytes>")
        }
        Head::Ext(kind, len) => {
            from.take(len).ok_or(fmt::Error)?;
            write!(out, "<extension {kind}, {len} bytes>")
        }
        Head::Array(count) => {
            out.write_char('[')?;
            for at in 0..count {
                out.write_str(if at == 0 { "" } else { ", " })?;
                words(from, out)?;
            }
            out.write_char(']')
        }
        Head::Map(count) => {
            out.write_char('{')?;
            for at in 0..count {
                out.write_str(if at == 0 { "" } else { ", " })?;
                words(from, out)?;
                out.write_str(": ")?;
                words(from, out)?;
            }
            out.write_char('}')
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn map(entries: &[&[u8]]) -> Vec<u8> {
        let count = u8::try_from(entries.len()).unwrap();
        [&[0x80 | count][..], &entries.concat()].concat()
    }

    fn canonical(bytes: &[u8]) -> Raw {
        Raw::parse(Bytes::copy_from_slice(bytes)).unwrap().canonical()
    }

    #[test]
    fn every_order_of_entries_is_one_form_in_the_order_of_their_keys() {
        let inner: [&[u8]; 2] = [&[0xa1, b'x', 1], &[0xa1, b'y', 2]];
        let (there, back) = (map(&inner), map(&[inner[1], inner[0]]));
        // a short key comes before a long one, and a number before both
        let sorted = [
            vec![7, 0xc0],
            [&[0xa1, b'b'][..], &there].concat(),
            [&[0xa1, b'c'][..], &there].concat(),
            vec![0xa2, b'a', b'a', 0xc3],
        ];
        let form = map(&sorted.each_ref().map(Vec::as_slice));
        let mut given = sorted;
        given[1] = [&[0xa1, b'b'][..], &back].concat();
        for first in 0..4 {
            for second in (0..4).filter(|n| *n != first) {
                for third in (0..4).filter(|n| ![first, second].contains(n)) {
                    let order = [first, second, third, 6 - first - second - third];
                    let bytes = map(&order.map(|n| given[n].as_slice()));
                    assert_eq!(canonical(&bytes).as_bytes(), form, "{order:?}");
                }
            }
        }
        assert_eq!(canonical(&form).as_bytes(), form, "it stays as it is");
    }

    #[test]
    fn a_map_within_an_array_does_not_touch_what_stands_before_it() {
        let unordered = map(&[&[0xa1, b'b', 1], &[0xa1, b'a', 2]]);
        let ordered = map(&[&[0xa1, b'a', 2], &[0xa1, b'b', 1]]);
        let array = |inner: &[u8]| [&[0x93, 0xa1, b'z'][..], inner, inner].concat();
        assert_eq!(canonical(&array(&unordered)).as_bytes(), array(&ordered));
    }
}
