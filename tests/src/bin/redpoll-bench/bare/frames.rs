//! Length-prefixed frames in batches: as many as one read brought, in one write.

use anyhow::{Context as _, bail};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Bytes read at a time.
const READ_LEN: usize = 64 * 1024;
/// Bytes of the length.
const HEADER_LEN: usize = 4;

/// Whole frames out of a stream.
#[derive(Debug)]
pub(crate) struct Batches {
    buffer: Vec<u8>,
    filled: usize,
    /// Bytes of whole frames that were given out by the last [`Self::next`].
    given: usize,
}

impl Default for Batches {
    fn default() -> Self {
        Self { buffer: vec![0; READ_LEN], filled: 0, given: 0 }
    }
}

impl Batches {
    /// The whole frames that one read brought, lengths included; `None` at the end.
    pub(crate) async fn next<R: AsyncRead + Unpin>(
        &mut self,
        stream: &mut R,
    ) -> anyhow::Result<Option<&[u8]>> {
        self.buffer.copy_within(self.given..self.filled, 0);
        self.filled -= self.given;
        self.given = 0;
        while self.given == 0 {
            let free = self.buffer.get_mut(self.filled..).unwrap_or_default();
            if free.is_empty() {
                bail!("a frame that does not fit the buffer");
            }
            match stream.read(free).await? {
                0 => return Ok(None),
                count => self.filled += count,
            }
            let whole = self.buffer.get(..self.filled).map_or(0, whole_len);
            self.given = whole;
        }
        Ok(self.buffer.get(..self.given))
    }
}

/// Bytes of the whole frames at the beginning of `bytes`.
fn whole_len(bytes: &[u8]) -> usize {
    let mut whole = 0;
    while let Some((_, rest)) = bytes.get(whole..).and_then(split) {
        whole = bytes.len() - rest.len();
    }
    whole
}

/// The first frame's payload, and what follows it.
pub(crate) fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
    rest.split_at_checked(u32::from_be_bytes(*header) as usize)
}

/// Appends a frame.
pub(crate) fn put(out: &mut Vec<u8>, payload: &[u8]) -> anyhow::Result<()> {
    let len = u32::try_from(payload.len()).context("a frame of 4 GiB")?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(payload);
    Ok(())
}
