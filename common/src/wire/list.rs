//! Walks the elements of an array.

use bytes::Bytes;

use super::error::DecodeError;
use super::fields::Fields;
use super::head::{self, Head};
use super::{Raw, RawMap};

/// The elements of an array, each sharing the array's memory.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    payload: &'a Bytes,
    at: usize,
    left: u32,
}

impl Elements<'_> {
    /// How many elements are left.
    pub fn left(&self) -> usize {
        usize::try_from(self.left).unwrap_or(usize::MAX)
    }
}

impl Iterator for Elements<'_> {
    type Item = Raw;

    fn next(&mut self) -> Option<Raw> {
        self.left = self.left.checked_sub(1)?;
        let end = self.at.checked_add(head::value_len(self.payload.get(self.at..)?)?)?;
        let element = Raw::scanned(self.payload.slice(self.at..end));
        self.at = end;
        Some(element)
    }
}

impl Raw {
    /// How many bytes a text or a byte string has, without the bytes that say so; of other values, all of them.
    pub fn content_len(&self) -> usize {
        match head::read(self.bytes()) {
            Ok((Head::Text(len) | Head::Bin(len), _)) => usize::try_from(len).unwrap_or(usize::MAX),
            _ => self.len(),
        }
    }

    /// The elements, if the value is an array.
    pub fn elements(&self) -> Option<Elements<'_>> {
        let (Head::Array(left), at) = head::read(self.bytes()).ok()? else { return None };
        Some(Elements { payload: self.bytes(), at, left })
    }
}

impl Fields<'_> {
    /// An array of at most `max` maps, each read by `read`; nothing when it is missing.
    ///
    /// # Errors
    /// [`DecodeError`] when it is something else, has more elements, or one of them cannot be read.
    pub fn maps<T>(
        &self,
        field: &'static str,
        max: usize,
        read: impl Fn(&Fields<'_>) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let Some(array) = self.opt_array(field)? else { return Ok(Vec::new()) };
        let wanted = "an array of maps";
        let elements = array.elements().ok_or(DecodeError::WrongType { field, wanted })?;
        if elements.left() > max {
            return Err(DecodeError::TooMany { field, count: elements.left(), max });
        }
        let one = |element: Raw| match Fields::of(&element) {
            Ok(fields) => read(&fields),
            Err(_) => Err(DecodeError::WrongType { field, wanted }),
        };
        elements.map(one).collect()
    }
}

impl RawMap {
    /// An entry that is an array of maps, one per value, nothing when there are none.
    pub fn opt_maps<T>(self, key: &str, values: &[T], fill: impl Fn(Self, &T) -> Self) -> Self {
        if values.is_empty() { self } else { self.maps(key, values, fill) }
    }
}
