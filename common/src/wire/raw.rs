//! MessagePack values that nobody here looks into.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::head::{self, Head};
use super::scan::{self, ScanError};
use super::write::{put_array_header, put_len, put_text};

/// Exactly one MessagePack value as bytes: scanned where it came in, or written here.
///
/// Cheap to clone and to forward. Decode it only where its content is needed, with [`Raw::decode`].
#[derive(Clone, PartialEq, Eq)]
pub struct Raw(Bytes);

/// Why a [`Raw`] cannot be read as a type.
#[derive(Debug, thiserror::Error)]
#[error("the value does not fit: {reason}")]
pub struct RawError {
    /// What serde said.
    pub reason: String,
}

impl Raw {
    /// The value `nil`.
    pub fn nil() -> Self {
        Self(Bytes::from_static(&[0xc0]))
    }

    /// The array without elements: no positional arguments.
    pub fn empty_array() -> Self {
        Self(Bytes::from_static(&[0x90]))
    }

    /// The map without entries: no named arguments.
    pub fn empty_map() -> Self {
        Self(Bytes::from_static(&[0x80]))
    }

    /// A text.
    pub fn text(text: &str) -> Self {
        let mut out = BytesMut::with_capacity(text.len() + 5);
        put_text(&mut out, text);
        Self(out.freeze())
    }

    /// A byte string.
    pub fn bin(data: &[u8]) -> Self {
        let mut out = BytesMut::with_capacity(data.len() + 5);
        put_len(&mut out, data.len(), [0xc4, 0xc5, 0xc6]);
        out.put_slice(data);
        Self(out.freeze())
    }

    /// An array of values that exist already, unchecked as a whole: whether it nests too deep or has too many values is seen when it is
    /// sent.
    pub fn array(values: &[Self]) -> Self {
        let mut out = BytesMut::with_capacity(values.iter().map(Self::len).sum::<usize>() + 5);
        put_array_header(&mut out, values.len());
        values.iter().for_each(|value| out.put_slice(value.as_bytes()));
        Self(out.freeze())
    }

    /// Takes bytes of unknown origin.
    ///
    /// # Errors
    /// [`ScanError`] when they are not exactly one acceptable value.
    pub fn parse(bytes: Bytes) -> Result<Self, ScanError> {
        scan::scan(&bytes)?;
        Ok(Self(bytes))
    }

    /// Takes bytes that were written here, of values that passed a scan one by one, and read back: see [`scan::measure_own`].
    ///
    /// # Errors
    /// [`ScanError`] when they are not exactly one such value.
    pub fn parse_own(bytes: Bytes) -> Result<Self, ScanError> {
        scan::measure_own(&bytes)?;
        Ok(Self(bytes))
    }

    /// Wraps a span of a payload that was scanned as a whole, or bytes written by this crate.
    pub(crate) fn scanned(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// Encodes a value: structs as maps, byte strings through `serde_bytes`.
    ///
    /// # Errors
    /// [`RawError`] when the value cannot be encoded or does not pass the scan (too deep, too many nodes).
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, RawError> {
        let mut out = Vec::with_capacity(64);
        let mut serializer = rmp_serde::Serializer::new(&mut out).with_struct_map().with_human_readable();
        value.serialize(&mut serializer).map_err(|error| RawError { reason: error.to_string() })?;
        Self::parse(Bytes::from(out)).map_err(|error| RawError { reason: error.to_string() })
    }

    /// Decodes the value.
    ///
    /// # Errors
    /// [`RawError`] when it does not fit the type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, RawError> {
        let mut deserializer = rmp_serde::Deserializer::from_read_ref(&self.0[..]).with_human_readable();
        deserializer.set_max_depth(super::MAX_DEPTH + 1);
        T::deserialize(&mut deserializer).map_err(|error| RawError { reason: error.to_string() })
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, shared.
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// How many bytes the value takes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never true: a value has at least one byte. Here because [`Raw::len`] is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same value in memory of its own.
    ///
    /// What came in a message shares the memory of the whole message and keeps all of it, also what nobody reads. Whoever keeps a
    /// value for longer than the message is handled, or counts what is kept, keeps this one.
    #[must_use = "the value itself goes on sharing the memory of its message"]
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// The bytes, for views that give out parts of them.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Whether the value is `nil`.
    pub fn is_nil(&self) -> bool {
        self.0.first() == Some(&0xc0)
    }

    /// Whether the value is an array.
    pub fn is_array(&self) -> bool {
        matches!(head::read(&self.0), Ok((Head::Array(_), _)))
    }

    /// Whether the value is a map.
    pub fn is_map(&self) -> bool {
        matches!(head::read(&self.0), Ok((Head::Map(_), _)))
    }

    /// The bytes of a text or a byte string, shared and not copied.
    pub fn octets(&self) -> Option<Bytes> {
        let (Head::Text(_) | Head::Bin(_), len) = head::read(&self.0).ok()? else { return None };
        // the value was checked when it came: what follows its head is what it announces
        (len <= self.0.len()).then(|| self.0.slice(len..))
    }

    /// The value, if it is a text.
    pub fn as_text(&self) -> Option<&str> {
        let (Head::Text(_), len) = head::read(&self.0).ok()? else { return None };
        std::str::from_utf8(self.0.get(len..)?).ok()
    }
}

impl fmt::Debug for Raw {
    /// Shows the length only: content may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Raw({} bytes)", self.0.len())
    }
}
