//! A view of one scanned map: finds fields by name and reads them strictly, without decoding the rest.

use bytes::Bytes;

use super::error::DecodeError;
use super::head::{self, Head};
use super::{Integer, Raw};

/// Fields whose place is remembered; those beyond are looked for anew each time.
const REMEMBERED: usize = 24;

/// The fields of a map, by name.
///
/// Getters take a value only in the one type that they name: no text from bytes, no integer from a float. The
/// `opt_` forms take a missing field and `nil` as `None`. Keys that are not text, and fields that nobody asks for, are ignored.
/// Needs no allocation.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    payload: &'a Bytes,
    remembered: [Field; REMEMBERED],
    /// The entries after the remembered ones.
    rest: Entries<'a>,
}

/// Where a field is in its payload: key and value as begin and end, nothing for a free place.
#[derive(Debug, Clone, Copy, Default)]
struct Field {
    key: (u32, u32),
    value: (u32, u32),
}

impl<'a> Fields<'a> {
    /// The fields of a value.
    ///
    /// # Errors
    /// [`DecodeError::NotAMap`].
    pub fn of(value: &'a Raw) -> Result<Self, DecodeError> {
        Self::at(value.bytes(), 0)
    }

    /// The fields of the map that begins at byte `start` of a scanned payload.
    pub(super) fn at(payload: &'a Bytes, start: u32) -> Result<Self, DecodeError> {
        let mut rest = Entries::new(payload, start).ok_or(DecodeError::NotAMap)?;
        let mut remembered = [Field::default(); REMEMBERED];
        for place in &mut remembered {
            let Some(field) = rest.next() else { break };
            *place = field;
        }
        Ok(Self { payload, remembered, rest })
    }

    /// Each field's name and its value's bytes, in the map's order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let payload = self.payload;
        let used = self.remembered.into_iter().take_while(|field| field.key.1 > 0);
        used.chain(self.rest.clone()).filter_map(move |field| {
            let name = std::str::from_utf8(span(payload, field.key)?).ok()?;
            Some((name, span(payload, field.value)?))
        })
    }

    fn find(&self, name: &str) -> Option<Field> {
        let wanted = |field: &Field| span(self.payload, field.key) == Some(name.as_bytes());
        let near = self.remembered.iter().take_while(|field| field.key.1 > 0).copied().find(wanted);
        near.or_else(|| self.rest.clone().find(wanted))
    }

    fn value(&self, name: &str) -> Option<&'a [u8]> {
        span(self.payload, self.find(name)?.value)
    }

    /// A field that must be there, read by `read`.
    fn required<T>(
        &self,
        field: &'static str,
        wanted: &'static str,
        read: impl FnOnce(Head, &'a [u8]) -> Option<T>,
    ) -> Result<T, DecodeError> {
        let value = self.value(field).ok_or(DecodeError::Missing { field })?;
        let (head, len) = head::read(value).map_err(|_| DecodeError::WrongType { field, wanted })?;
        let body = value.get(len..).unwrap_or_default();
        read(head, body).ok_or(DecodeError::WrongType { field, wanted })
    }

    /// Whether a field is there and not `nil`.
    fn is_there(&self, field: &str) -> bool {
        self.value(field).is_some_and(|value| value != [0xc0])
    }

    fn when_there<T>(
        &self,
        field: &'static str,
        read: impl FnOnce(&Self, &'static str) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.is_there(field) { read(self, field).map(Some) } else { Ok(None) }
    }

    /// A text of at most `max` bytes.
    ///
    /// # Errors
    /// [`DecodeError`] when it is missing, no text, or longer.
    pub fn text(&self, field: &'static str, max: usize) -> Result<&'a str, DecodeError> {
        let text = self.required(field, "text", text_of)?;
        if text.len() > max {
            return Err(DecodeError::TooLong { field, len: text.len(), max });
        }
        Ok(text)
    }

    /// A text of at most `max` bytes, if it is there.
    ///
    /// # Errors
    /// [`DecodeError`] when it is no text, or longer.
    pub fn opt_text(&self, field: &'static str, max: usize) -> Result<Option<&'a str>, DecodeError> {
        self.when_there(field, |fields, field| fields.text(field, max))
    }

    /// True or false.
    ///
    /// # Errors
    /// [`DecodeError`] when it is missing or neither.
    pub fn bool(&self, field: &'static str) -> Result<bool, DecodeError> {
        self.required(field, "true or false", |head, _| {
            let Head::Bool(bit) = head else { return None };
            Some(bit)
        })
    }

    /// True or false, if it is there.
    ///
    /// # Errors
    /// [`DecodeError`] when it is neither.
    pub fn opt_bool(&self, field: &'static str) -> Result<Option<bool>, DecodeError> {
        self.when_there(field, Self::bool)
    }

    /// Any integer.
    ///
    /// # Errors
    /// [`DecodeError`] when it is missing or no integer.
    pub fn integer(&self, field: &'static str) -> Result<Integer, DecodeError> {
        self.required(field, "an integer", |head, _| {
            if let Head::Negative(n) = head {
                Some(Integer::from(n))
            } else {
                unsigned(head).map(Integer::from)
            }
        })
    }

    /// An integer from 0 to 2⁶⁴−1.
    ///
    /// # Errors
    /// [`DecodeError`] when it is missing or something else.
    pub fn u64(&self, field: &'static str) -> Result<u64, DecodeError> {
        self.required(field, "an integer from zero on", |head, _| unsigned(head))
    }

    /// An integer from 0 to 2⁶⁴−1, if it is there.
    ///
    /// # Errors
    /// [`DecodeError`] when it is something else.
    pub fn opt_u64(&self, field: &'static str) -> Result<Option<u64>, DecodeError> {
        self.when_there(field, Self::u64)
    }

    /// An integer from 0 to 2³²−1, if it is there.
    ///
    /// # Errors
    /// [`DecodeError`] when it is something else.
    pub fn opt_u32(&self, field: &'static str) -> Result<Option<u32>, DecodeError> {
        let wanted = "an integer from 0 to 4294967295";
        self.when_there(field, |fields, field| {
            fields.required(field, wanted, |head, _| u32::try_from(unsigned(head)?).ok())
        })
    }

    /// Two integers from 0 to 2³²−1 in an array, if it is there.
    pub(super) fn opt_u32_pair(&self, field: &'static str) -> Result<Option<(u32, u32)>, DecodeError> {
        self.when_there(field, |fields, field| {
            fields.required(field, "an array of two integers from 0 to 4294967295", |head, body| {
                let Head::Array(2) = head else { return None };
                let (first, len) = head::read(body).ok()?;
                let (second, _) = head::read(body.get(len..)?).ok()?;
                Some((u32::try_from(unsigned(first)?).ok()?, u32::try_from(unsigned(second)?).ok()?))
            })
        })
    }

    /// A byte string of 16 bytes, if it is there.
    ///
    /// # Errors
    /// [`DecodeError`] when it is something else.
    pub fn opt_bin16(&self, field: &'static str) -> Result<Option<[u8; 16]>, DecodeError> {
        self.when_there(field, |fields, field| {
            fields.required(field, "a byte string of 16 bytes", |head, body| {
                if let Head::Bin(16) = head { body.first_chunk().copied() } else { None }
            })
        })
    }

    /// Any value, `nil` too, sharing the payload's memory.
    ///
    /// # Errors
    /// [`DecodeError::Missing`].
    pub fn raw(&self, field: &'static str) -> Result<Raw, DecodeError> {
        let value = self.value(field).ok_or(DecodeError::Missing { field })?;
        Ok(Raw::scanned(self.payload.slice_ref(value)))
    }

    /// Any value but `nil`, if it is there, sharing the payload's memory.
    ///
    /// # Errors
    /// None today; like its siblings, so that callers read all fields alike.
    pub fn opt_raw(&self, field: &'static str) -> Result<Option<Raw>, DecodeError> {
        self.when_there(field, Self::raw)
    }

    /// An array, unread, sharing the payload's memory.
    ///
    /// # Errors
    /// [`DecodeError`] when it is missing or something else.
    pub fn array(&self, field: &'static str) -> Result<Raw, DecodeError> {
        self.required(field, "an array", |head, _| matches!(head, Head::Array(_)).then_some(()))?;
        self.raw(field)
    }

    /// An array, unread, if it is there.
    ///
    /// # Errors
    /// [`DecodeError`] when it is something else.
    pub fn opt_array(&self, field: &'static str) -> Result<Option<Raw>, DecodeError> {
        self.when_there(field, Self::array)
    }

    /// A map, unread, sharing the payload's memory.
    ///
    /// # Errors
    /// [`DecodeError`] when it is missing or something else.
    pub fn map(&self, field: &'static str) -> Result<Raw, DecodeError> {
        self.required(field, "a map", |head, _| matches!(head, Head::Map(_)).then_some(()))?;
        self.raw(field)
    }

    /// A map, unread, if it is there.
    ///
    /// # Errors
    /// [`DecodeError`] when it is something else.
    pub fn opt_map(&self, field: &'static str) -> Result<Option<Raw>, DecodeError> {
        self.when_there(field, Self::map)
    }

    /// The fields of a map within this one, if it is there.
    ///
    /// # Errors
    /// [`DecodeError`] when it is something else.
    pub fn opt_fields(&self, field: &'static str) -> Result<Option<Self>, DecodeError> {
        if !self.is_there(field) {
            return Ok(None);
        }
        let found = self.find(field).ok_or(DecodeError::Missing { field })?;
        let fields = Self::at(self.payload, found.value.0);
        fields.map(Some).map_err(|_| DecodeError::WrongType { field, wanted: "a map" })
    }

    /// The same as [`texts`](Self::texts); `None` when it is missing.
    ///
    /// # Errors
    /// [`DecodeError`] when it is something else.
    pub fn opt_texts(
        &self,
        field: &'static str,
        max_count: usize,
        max_len: usize,
    ) -> Result<Option<Vec<String>>, DecodeError> {
        self.is_there(field).then(|| self.texts(field, max_count, max_len)).transpose()
    }

    /// An array of at most `max_count` texts of at most `max_len` bytes each; nothing when it is missing.
    ///
    /// # Errors
    /// [`DecodeError`] when it is something else.
    pub fn texts(
        &self,
        field: &'static str,
        max_count: usize,
        max_len: usize,
    ) -> Result<Vec<String>, DecodeError> {
        let wanted = "an array of texts";
        if !self.is_there(field) {
            return Ok(Vec::new());
        }
        let (count, mut rest) = self.required(field, wanted, |head, body| {
            let Head::Array(count) = head else { return None };
            Some((usize::try_from(count).ok()?, body))
        })?;
        if count > max_count {
            return Err(DecodeError::TooMany { field, count, max: max_count });
        }
        let mut texts = Vec::with_capacity(count);
        for _ in 0..count {
            let text = head::read(rest).ok().and_then(|(head, len)| text_of(head, rest.get(len..)?));
            let text = text.ok_or(DecodeError::WrongType { field, wanted })?;
            if text.len() > max_len {
                return Err(DecodeError::TooLong { field, len: text.len(), max: max_len });
            }
            texts.push(text.to_owned());
            rest = head::value_len(rest).and_then(|len| rest.get(len..)).unwrap_or_default();
        }
        Ok(texts)
    }
}

fn unsigned(head: Head) -> Option<u64> {
    let Head::Unsigned(n) = head else { return None };
    Some(n)
}

fn text_of(head: Head, body: &[u8]) -> Option<&str> {
    let Head::Text(len) = head else { return None };
    std::str::from_utf8(body.get(..usize::try_from(len).ok()?)?).ok()
}

fn span(payload: &Bytes, (start, end): (u32, u32)) -> Option<&[u8]> {
    payload.get(to_usize(start)..to_usize(end))
}

/// Lossless wherever this runs: an address has at least 32 bits.
const fn to_usize(n: u32) -> usize {
    n as usize
}

/// Walks the entries of a map that have text as key.
#[derive(Debug, Clone)]
struct Entries<'a> {
    payload: &'a [u8],
    /// Payloads have at most `MAX_FRAME_LIMIT` bytes, so that 32 bits suffice for every place in them.
    at: u32,
    left: u32,
}

impl<'a> Entries<'a> {
    fn new(payload: &'a [u8], start: u32) -> Option<Self> {
        let (Head::Map(left), len) = head::read(payload.get(to_usize(start)..)?).ok()? else { return None };
        Some(Self { payload, at: start.checked_add(u32::try_from(len).ok()?)?, left })
    }

    /// Steps over one value; gives where it begins and ends.
    fn step(&mut self) -> Option<(u32, u32)> {
        let start = self.at;
        let len = head::value_len(self.payload.get(to_usize(start)..)?)?;
        self.at = start.checked_add(u32::try_from(len).ok()?)?;
        Some((start, self.at))
    }
}

impl Iterator for Entries<'_> {
    type Item = Field;

    fn next(&mut self) -> Option<Field> {
        while self.left > 0 {
            self.left -= 1;
            let (key, _) = head::read(self.payload.get(to_usize(self.at)..)?).ok()?;
            let (_, end) = self.step()?;
            let value = self.step()?;
            if let Head::Text(len) = key {
                return Some(Field { key: (end - len, end), value });
            }
        }
        None
    }
}
