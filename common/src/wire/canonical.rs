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
    let mut entries = Vec::new();
    for _ in 0..count {
        let (mut key, mut value) = (BytesMut::new(), BytesMut::new());
        put(from, &mut key)?;
        put(from, &mut value)?;
        entries.push((key, value));
    }
    entries.sort_unstable();
    let mut header = [0; HEADROOM];
    let len = map_header(count, &mut header);
    out.put_slice(header.get(..len)?);
    for (key, value) in entries {
        out.put_slice(&key);
        out.put_slice(&value);
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
