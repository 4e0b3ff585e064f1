//! Reads the first bytes of one MessagePack value: its type and, by type, its value or length.
//!
//! The only place that knows MessagePack's markers for reading; [`super::write`] is the one for writing.

/// What a value begins with. Lengths and counts are as declared, not yet compared with what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    Nil,
    Bool(bool),
    Unsigned(u64),
    /// Below zero; integers from zero on are [`Head::Unsigned`] whatever their width.
    Negative(i64),
    /// The bits of the number as a 64-bit float.
    Float(u64),
    /// Bytes that follow.
    Text(u32),
    /// Bytes that follow.
    Bin(u32),
    /// The extension's type, and the bytes that follow it.
    Ext(i8, u32),
    /// Values that follow.
    Array(u32),
    /// Pairs of values that follow.
    Map(u32),
}

/// Why there is no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoHead {
    /// The bytes end within it.
    Cut,
    /// The marker 0xc1, which MessagePack reserves.
    Reserved,
}

/// Reads a head; gives it and how many bytes it took.
#[inline]
pub(super) fn read(bytes: &[u8]) -> Result<(Head, usize), NoHead> {
    let (&marker, rest) = bytes.split_first().ok_or(NoHead::Cut)?;
    Ok(match marker {
        0x00..=0x7f => (Head::Unsigned(u64::from(marker)), 1),
        0x80..=0x8f => (Head::Map(u32::from(marker & 0x0f)), 1),
        0x90..=0x9f => (Head::Array(u32::from(marker & 0x0f)), 1),
        0xa0..=0xbf => (Head::Text(u32::from(marker & 0x1f)), 1),
        0xc0 => (Head::Nil, 1),
        0xc1 => return Err(NoHead::Reserved),
        0xc2 => (Head::Bool(false), 1),
        0xc3 => (Head::Bool(true), 1),
        0xe0..=0xff => (Head::Negative(i64::from(i8::from_be_bytes([marker]))), 1),
        0xc4..=0xdf => wide(marker, rest)?,
    })
}

/// The markers that are followed by a number.
fn wide(marker: u8, rest: &[u8]) -> Result<(Head, usize), NoHead> {
    Ok(match marker {
        0xc4 => (Head::Bin(u32::from(u8::from_be_bytes(take(rest)?))), 2),
        0xc5 => (Head::Bin(u32::from(u16::from_be_bytes(take(rest)?))), 3),
        0xc6 => (Head::Bin(u32::from_be_bytes(take(rest)?)), 5),
        0xc7 => {
            let [len, kind] = take(rest)?;
            (Head::Ext(i8::from_be_bytes([kind]), u32::from(len)), 3)
        }
        0xc8 => {
            let [a, b, kind] = take(rest)?;
            (Head::Ext(i8::from_be_bytes([kind]), u32::from(u16::from_be_bytes([a, b]))), 4)
        }
        0xc9 => {
            let [a, b, c, d, kind] = take(rest)?;
            (Head::Ext(i8::from_be_bytes([kind]), u32::from_be_bytes([a, b, c, d])), 6)
        }
        0xca => (Head::Float(f64::from(f32::from_be_bytes(take(rest)?)).to_bits()), 5),
        0xcb => (Head::Float(u64::from_be_bytes(take(rest)?)), 9),
        0xcc => (Head::Unsigned(u64::from(u8::from_be_bytes(take(rest)?))), 2),
        0xcd => (Head::Unsigned(u64::from(u16::from_be_bytes(take(rest)?))), 3),
        0xce => (Head::Unsigned(u64::from(u32::from_be_bytes(take(rest)?))), 5),
        0xcf => (Head::Unsigned(u64::from_be_bytes(take(rest)?)), 9),
        0xd0 => (signed(i64::from(i8::from_be_bytes(take(rest)?))), 2),
        0xd1 => (signed(i64::from(i16::from_be_bytes(take(rest)?))), 3),
        0xd2 => (signed(i64::from(i32::from_be_bytes(take(rest)?))), 5),
        0xd3 => (signed(i64::from_be_bytes(take(rest)?)), 9),
        0xd4..=0xd8 => {
            let [kind] = take(rest)?;
            (Head::Ext(i8::from_be_bytes([kind]), 1 << (marker - 0xd4)), 2)
        }
        0xd9 => (Head::Text(u32::from(u8::from_be_bytes(take(rest)?))), 2),
        0xda => (Head::Text(u32::from(u16::from_be_bytes(take(rest)?))), 3),
        0xdb => (Head::Text(u32::from_be_bytes(take(rest)?)), 5),
        0xdc => (Head::Array(u32::from(u16::from_be_bytes(take(rest)?))), 3),
        0xdd => (Head::Array(u32::from_be_bytes(take(rest)?)), 5),
        0xde => (Head::Map(u32::from(u16::from_be_bytes(take(rest)?))), 3),
        0xdf => (Head::Map(u32::from_be_bytes(take(rest)?)), 5),
        // the markers of one byte were read before
        0x00..=0xc3 | 0xe0..=0xff => return Err(NoHead::Reserved),
    })
}

#[inline]
fn take<const N: usize>(rest: &[u8]) -> Result<[u8; N], NoHead> {
    rest.first_chunk().copied().ok_or(NoHead::Cut)
}

fn signed(n: i64) -> Head {
    u64::try_from(n).map_or(Head::Negative(n), Head::Unsigned)
}

/// The length of the first value in `bytes`, or `None` if it is not all there.
///
/// Constant stack and no allocation; takes time linear in the value's nodes.
pub(super) fn value_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0_usize;
    let mut left = 1_u64;
    while left > 0 {
        let (head, len) = read(bytes.get(at..)?).ok()?;
        at += len;
        left -= 1;
        match head {
            Head::Nil | Head::Bool(_) | Head::Unsigned(_) | Head::Negative(_) | Head::Float(_) => {}
            Head::Text(len) | Head::Bin(len) | Head::Ext(_, len) => {
                at = at.checked_add(usize::try_from(len).ok()?)?;
            }
            Head::Array(count) => left += u64::from(count),
            Head::Map(pairs) => left += 2 * u64::from(pairs),
        }
    }
    (at <= bytes.len()).then_some(at)
}
