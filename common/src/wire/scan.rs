//! Checks that bytes are exactly one acceptable MessagePack value, before anything is decoded.
//!
//! The scan walks the value once, with a stack of a few dozen entries instead of recursion, and looks
//! at lengths before it believes them. A hostile payload costs time linear in its bytes (times a logarithm for
//! large maps) and at most 64 bytes of memory per key of a large map; an ordinary one costs no allocation at all.
//!
//! Refused: nesting deeper than [`MAX_DEPTH`], more than [`MAX_NODES`] values, text that is
//! not UTF-8, a key twice in one map, a key that is an array or a map, the reserved marker, bytes missing,
//! bytes left over. Extension types pass unread.
//!
//! What this system wrote down for itself puts such values together and others around them: [`measure_own`] bounds it by its bytes.

use super::head::{self, Head, NoHead};
use super::keys::{Key, Keys};
use super::{MAX_DEPTH, MAX_FRAME_LIMIT, MAX_NODES};

/// Why bytes are not one acceptable value. Offsets count bytes from the start of the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// There are more bytes than any frame may have.
    #[error("{len} bytes exceed the limit of {max}")]
    TooLong {
        /// The bytes given.
        len: usize,
        /// The bytes allowed.
        max: usize,
    },
    /// The value is not all there: the bytes end, or a length or count promises more than follows.
    #[error("the value at byte {offset} is cut off")]
    Truncated {
        /// Where the incomplete value begins.
        offset: usize,
    },
    /// Bytes follow the value.
    #[error("{len} bytes follow the value, which ends at byte {offset}")]
    Trailing {
        /// Where the value ends.
        offset: usize,
        /// The bytes that follow it.
        len: usize,
    },
    /// The marker 0xc1.
    #[error("the marker 0xc1 at byte {offset} is reserved")]
    Reserved {
        /// Where it stands.
        offset: usize,
    },
    /// Arrays and maps nest too deep.
    #[error("the value at byte {offset} nests deeper than {limit}")]
    TooDeep {
        /// Where the first array or map beyond the limit begins.
        offset: usize,
        /// The levels allowed.
        limit: usize,
    },
    /// There are too many values.
    #[error("the array or map at byte {offset} brings the payload to more than {limit} values")]
    TooManyNodes {
        /// Where the array or map begins that exceeds the limit.
        offset: usize,
        /// The values allowed.
        limit: usize,
    },
    /// A text is not UTF-8.
    #[error("the text at byte {offset} is not UTF-8")]
    NotUtf8 {
        /// Where the text begins.
        offset: usize,
    },
    /// A key stands twice in one map. Integers are compared as numbers, whatever their width.
    #[error("the key at byte {offset} repeats an earlier key of its map")]
    DuplicateKey {
        /// Where the repeated key stands.
        offset: usize,
    },
    /// A key is an array or a map.
    #[error("the key at byte {offset} is an array or a map")]
    KeyNotScalar {
        /// Where the key begins.
        offset: usize,
    },
}

/// What a scan took, in numbers that do not depend on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Values in the payload, keys included.
    pub nodes: usize,
    /// Deepest nesting of arrays and maps.
    pub depth: usize,
    /// Comparisons of two keys.
    pub comparisons: u64,
    /// Bytes of keys that these comparisons may have looked at.
    pub compared_bytes: u64,
}

/// Checks bytes of unknown origin.
///
/// # Errors
/// [`ScanError`] for the first rule that they break.
pub fn scan(bytes: &[u8]) -> Result<(), ScanError> {
    measure(bytes).map(drop)
}

/// Checks bytes of unknown origin and tells what that took.
///
/// # Errors
/// As [`scan`].
pub fn measure(bytes: &[u8]) -> Result<Cost, ScanError> {
    measure_within(bytes, PAYLOAD)
}

/// Checks bytes that were written here, of values that passed a scan one by one. What they are together has no bound but their
/// bytes, so that nothing that was once written down is refused when it is read back.
///
/// # Errors
/// As [`scan`].
pub fn measure_own(bytes: &[u8]) -> Result<Cost, ScanError> {
    measure_within(bytes, OWN)
}

/// What a scan lets pass.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    len: usize,
    nodes: usize,
    depth: usize,
}

const PAYLOAD: Bounds = Bounds { len: MAX_FRAME_LIMIT, nodes: MAX_NODES, depth: MAX_DEPTH };
/// Places of bytes have 32 bits.
const OWN: Bounds = Bounds { len: i32::MAX as usize, nodes: usize::MAX, depth: DEEPEST };
/// Arrays and maps that are open at a time at most: those of a value, and some around it.
pub const DEEPEST: usize = MAX_DEPTH + 8;

fn measure_within(bytes: &[u8], bounds: Bounds) -> Result<Cost, ScanError> {
    if bytes.len() > bounds.len {
        return Err(ScanError::TooLong { len: bytes.len(), max: bounds.len });
    }
    let mut scanner = Scanner { bytes, at: 0, nodes: 1, keys: Keys::new(bytes), bounds };
    let depth = scanner.walk()?;
    let len = bytes.len() - scanner.at;
    if len > 0 {
        return Err(ScanError::Trailing { offset: scanner.at, len });
    }
    let (comparisons, compared_bytes) = scanner.keys.cost();
    Ok(Cost { nodes: scanner.nodes, depth, comparisons, compared_bytes })
}

/// An array or a map whose values are being read.
#[derive(Debug, Clone, Copy, Default)]
struct Open {
    /// Values still to come: twice the pairs in a map, so an even number there means that a key comes next.
    left: u32,
    /// Where the keys of a map begin among all keys.
    keys: u32,
    shape: Shape,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Shape {
    #[default]
    Array,
    /// Each key is compared with those before it when it comes.
    SmallMap,
    /// All keys are compared at the map's end.
    LargeMap,
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: usize,
    keys: Keys<'a>,
    bounds: Bounds,
}

/// Maps up to this many pairs compare each new key with all before it; larger ones sort their keys at the end.
const SMALL_MAP: u32 = 16;

impl Scanner<'_> {
    /// Reads one value; gives the deepest nesting.
    fn walk(&mut self) -> Result<usize, ScanError> {
        let mut parents = [Open::default(); DEEPEST];
        let mut depth = 0;
        let mut deepest = 0;
        // the payload counts as the one value of an outermost array
        let mut here = Open { left: 1, keys: 0, shape: Shape::Array };
        loop {
            while here.left == 0 {
                self.close(here)?;
                if depth == 0 {
                    return Ok(deepest);
                }
                depth -= 1;
                here = parents.get(depth).copied().unwrap_or_default();
            }
            let is_key = here.shape != Shape::Array && here.left.is_multiple_of(2);
            here.left -= 1;
            let offset = self.at;
            let opened = match self.value()? {
                Value::Scalar(key) => {
                    if is_key {
                        self.add_key(key, here)?;
                    }
                    continue;
                }
                Value::Array(_) | Value::Map(_) if is_key => return Err(ScanError::KeyNotScalar { offset }),
                Value::Array(count) => self.open(offset, count, false)?,
                Value::Map(pairs) => self.open(offset, pairs, true)?,
            };
            let limit = self.bounds.depth;
            let parent = parents
                .get_mut(depth)
                .filter(|_| depth < limit)
                .ok_or(ScanError::TooDeep { offset, limit })?;
            *parent = here;
            here = opened;
            depth += 1;
            deepest = deepest.max(depth);
        }
    }

    /// Begins an array or a map. Each value takes at least one byte and counts as one node, so that a
    /// count without substance ends here.
    fn open(&mut self, offset: usize, count: u32, map: bool) -> Result<Open, ScanError> {
        let left = if map { count.saturating_mul(2) } else { count };
        let values = usize::try_from(left).unwrap_or(usize::MAX);
        if values > self.bytes.len() - self.at {
            return Err(ScanError::Truncated { offset });
        }
        self.nodes = self.nodes.saturating_add(values);
        if self.nodes > self.bounds.nodes {
            return Err(ScanError::TooManyNodes { offset, limit: self.bounds.nodes });
        }
        let shape = match (map, count) {
            (false, _) => Shape::Array,
            (true, 0..=SMALL_MAP) => Shape::SmallMap,
            (true, _) => Shape::LargeMap,
        };
        Ok(Open { left, keys: self.keys.len(), shape })
    }

    /// Reads one scalar whole, or the head of an array or a map.
    #[inline]
    fn value(&mut self) -> Result<Value, ScanError> {
        let offset = self.at;
        let rest = self.bytes.get(offset..).unwrap_or_default();
        let (head, len) = head::read(rest).map_err(|reason| match reason {
            NoHead::Cut => ScanError::Truncated { offset },
            NoHead::Reserved => ScanError::Reserved { offset },
        })?;
        self.at += len;
        Ok(Value::Scalar(match head {
            Head::Nil => Key::nil(offset),
            Head::Bool(bit) => Key::bool(offset, bit),
            Head::Unsigned(n) => Key::unsigned(offset, n),
            Head::Negative(n) => Key::negative(offset, n),
            Head::Float(bits) => Key::float(offset, bits),
            Head::Text(len) => {
                let body = self.body(offset, len)?;
                if !body.is_ascii() && std::str::from_utf8(body).is_err() {
                    return Err(ScanError::NotUtf8 { offset });
                }
                Key::text(offset, self.at, len)
            }
            Head::Bin(len) => {
                self.body(offset, len)?;
                Key::bin(offset, self.at, len)
            }
            Head::Ext(kind, len) => {
                self.body(offset, len)?;
                Key::ext(offset, kind, self.at, len)
            }
            Head::Array(count) => return Ok(Value::Array(count)),
            Head::Map(pairs) => return Ok(Value::Map(pairs)),
        }))
    }

    /// Steps over the `len` bytes that the value at `offset` promised.
    #[inline]
    fn body(&mut self, offset: usize, len: u32) -> Result<&[u8], ScanError> {
        let end = self.at.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
        let body = self.bytes.get(self.at..end).ok_or(ScanError::Truncated { offset })?;
        self.at = end;
        Ok(body)
    }

    #[inline]
    fn add_key(&mut self, key: Key, map: Open) -> Result<(), ScanError> {
        if map.shape == Shape::SmallMap && self.keys.contains(map.keys, key) {
            return Err(ScanError::DuplicateKey { offset: key.offset() });
        }
        self.keys.push(key);
        Ok(())
    }

    #[inline]
    fn close(&mut self, ended: Open) -> Result<(), ScanError> {
        if ended.shape == Shape::LargeMap
            && let Some(offset) = self.keys.first_repeated(ended.keys)
        {
            return Err(ScanError::DuplicateKey { offset });
        }
        if ended.shape != Shape::Array {
            self.keys.truncate(ended.keys);
        }
        Ok(())
    }
}

enum Value {
    Scalar(Key),
    Array(u32),
    Map(u32),
}
