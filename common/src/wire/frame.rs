//! Splits a stream of bytes into payloads, and puts payloads into a stream.
//!
//! A frame is `u32` big-endian length, then that many bytes of payload. The length is checked before it is believed, and
//! nothing here reserves memory for it: the reader's buffer grows as bytes arrive.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{ByeCode, MAX_FRAME_LIMIT};

/// Bytes of the length before each payload.
pub const HEADER_LEN: usize = 4;

/// Payloads up to this many bytes are copied out of the reader's buffer, so that a small message that somebody keeps
/// does not keep the whole buffer alive, and the buffer is used again. Larger ones share it.
pub const COPY_LIMIT: usize = 4 * 1024;

/// Why a stream is not one of frames. The stream cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame without payload.
    #[error("a frame is empty")]
    Empty,
    /// A frame exceeds the limit.
    #[error("a frame of {len} bytes exceeds the limit of {max}")]
    TooLong {
        /// The length announced, in bytes.
        len: usize,
        /// The limit in force, in bytes.
        max: usize,
    },
    /// The other side speaks HTTP.
    #[error("the other side speaks HTTP, not frames")]
    LooksLikeHttp,
    /// The other side speaks TLS where TLS is over or was never begun.
    #[error("the other side begins TLS where frames are expected")]
    LooksLikeTls,
}

impl FrameError {
    /// The code of the goodbye that tells the sender.
    pub fn bye_code(self) -> ByeCode {
        match self {
            Self::TooLong { .. } => ByeCode::TooLarge,
            Self::Empty | Self::LooksLikeHttp | Self::LooksLikeTls => ByeCode::Malformed,
        }
    }
}

/// Takes payloads off the front of a buffer.
///
/// Ask again until it says `None`: one read may bring many frames, or a part of one.
#[derive(Debug, Clone)]
pub struct Splitter {
    limit: usize,
}

impl Splitter {
    /// A splitter that accepts payloads up to `limit` bytes, and never more than [`MAX_FRAME_LIMIT`].
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.min(MAX_FRAME_LIMIT) }
    }

    /// Changes the limit, for frames that were not given out yet: see [`Splitter::new`].
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.min(MAX_FRAME_LIMIT);
    }

    /// Bytes a payload may have.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Takes the next payload, or says `None` until more bytes are there.
    ///
    /// # Errors
    /// [`FrameError`] as soon as the four bytes of a length are there that cannot be one. `input` is left as it
    /// was, and every further call says the same.
    pub fn split(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let Some(header) = input.first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let len = self.check(*header)?;
        if input.len() - HEADER_LEN < len {
            return Ok(None);
        }
        input.advance(HEADER_LEN);
        if len > COPY_LIMIT {
            return Ok(Some(input.split_to(len).freeze()));
        }
        let payload = Bytes::copy_from_slice(input.get(..len).unwrap_or_default());
        input.advance(len);
        Ok(Some(payload))
    }

    /// How many bytes are missing of the payload that has begun; 0 when none has, or it cannot be one.
    pub fn missing(&self, input: &[u8]) -> usize {
        let Some(header) = input.first_chunk::<HEADER_LEN>() else { return 0 };
        let have = input.len() - HEADER_LEN;
        self.check(*header).map_or(0, |len| len.saturating_sub(have))
    }

    fn check(&self, header: [u8; HEADER_LEN]) -> Result<usize, FrameError> {
        let len = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
        if len == 0 {
            return Err(FrameError::Empty);
        }
        if len <= self.limit {
            return Ok(len);
        }
        // as lengths these are beyond every limit, so they never hide a frame
        Err(match &header {
            b"HTTP" | b"GET " | b"POST" | b"HEAD" | b"PUT " | b"OPTI" | b"CONN" | b"PRI " => {
                FrameError::LooksLikeHttp
            }
            [0x16, 0x03, _, _] => FrameError::LooksLikeTls,
            _ => FrameError::TooLong { len, max: self.limit },
        })
    }
}

/// The length that goes before a payload of `len` bytes.
///
/// No payload comes near 4 GiB; one that did would get a length that every receiver refuses.
pub fn header(len: usize) -> [u8; HEADER_LEN] {
    u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes()
}

/// Appends a payload with its length. The caller has compared it with the receiver's limit.
pub fn put(out: &mut BytesMut, payload: &[u8]) {
    out.reserve(HEADER_LEN + payload.len());
    out.put_slice(&header(payload.len()));
    out.put_slice(payload);
}
