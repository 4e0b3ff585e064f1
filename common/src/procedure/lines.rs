//! Cuts bytes into lines.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes that came, and the lines in them.
#[derive(Debug)]
pub(super) struct Lines {
    limit: usize,
    buffer: BytesMut,
    /// So many bytes at the beginning of the buffer have no line end.
    searched: usize,
    /// Nothing comes any more.
    ended: bool,
}

/// A line has more bytes than the limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Lines {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, buffer: BytesMut::new(), searched: 0, ended: false }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// What came without a line end is a line as well.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Throws away what came.
    pub(super) fn clear(&mut self) {
        self.buffer = BytesMut::new();
        self.searched = 0;
    }

    /// The next line, without its end.
    pub(super) fn next(&mut self) -> Option<Result<Bytes, TooLong>> {
        let new = self.buffer.get(self.searched..).unwrap_or_default();
        let found = new.iter().position(|byte| *byte == b'\n').map(|at| self.searched + at);
        let len = found.unwrap_or(self.buffer.len());
        if len > self.limit {
            return Some(Err(TooLong));
        }
        if found.is_none() && (!self.ended || self.buffer.is_empty()) {
            self.searched = self.buffer.len();
            return None;
        }
        self.searched = 0;
        let line = self.buffer.split_to(len).freeze();
        if found.is_some() {
            self.buffer.advance(1);
        }
        Some(Ok(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(lines: &mut Lines) -> Vec<Result<Vec<u8>, TooLong>> {
        let mut found = Vec::new();
        while let Some(line) = lines.next() {
            let stop = line.is_err();
            found.push(line.map(|line| line.to_vec()));
            if stop {
                break;
            }
        }
        found
    }

    #[test]
    fn a_line_is_what_stands_before_a_line_end_or_the_end_of_all() {
        let mut lines = Lines::new(10);
        lines.push(b"ab");
        assert!(lines.next().is_none());
        lines.push(b"c\n\nd");
        assert_eq!(all(&mut lines), [Ok(b"abc".to_vec()), Ok(vec![])]);
        lines.end();
        assert_eq!(all(&mut lines), [Ok(b"d".to_vec())]);
        assert!(lines.next().is_none());
    }

    #[test]
    fn a_line_of_the_limit_passes_and_one_byte_more_does_not() {
        let mut lines = Lines::new(3);
        lines.push(b"abc\nabcd");
        assert_eq!(all(&mut lines), [Ok(b"abc".to_vec()), Err(TooLong)], "also before its end has come");
        let mut lines = Lines::new(3);
        lines.push(b"abcd\n");
        assert_eq!(all(&mut lines), [Err(TooLong)]);
    }
}
