//! Frames that wait to be written: small ones are gathered in one piece, large ones wait as they are and are not copied.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf as _, Bytes, BytesMut};
use redpoll_common::wire::frame;

/// From this many bytes on a payload is not copied: writing it from where it is costs less than moving it.
pub(crate) const LARGE: usize = 16 * 1024;
/// Pieces that are handed down at once.
pub(crate) const SLICES: usize = 16;

/// What waits, in its order.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// What goes before `last`.
    pieces: VecDeque<Bytes>,
    /// Small frames, and the length before a large payload.
    last: BytesMut,
    /// Bytes in both.
    len: usize,
}

impl Outgoing {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a payload with its length.
    pub(crate) fn put(&mut self, payload: Bytes) {
        self.len += frame::HEADER_LEN + payload.len();
        if payload.len() < LARGE {
            frame::put(&mut self.last, &payload);
            return;
        }
        self.last.extend_from_slice(&frame::header(payload.len()));
        self.pieces.push_back(self.last.split().freeze());
        self.pieces.push_back(payload);
    }

    /// The first pieces, for one write.
    pub(crate) fn slices(&self) -> ([IoSlice<'_>; SLICES], usize) {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let last = (!self.last.is_empty()).then_some(&*self.last);
        let mut count = 0;
        for (slot, piece) in slices.iter_mut().zip(self.pieces.iter().map(|piece| &**piece).chain(last)) {
            *slot = IoSlice::new(piece);
            count += 1;
        }
        (slices, count)
    }

    /// Forgets the first `written` bytes; without any left, their buffers too.
    pub(crate) fn advance(&mut self, written: usize) {
        let mut left = written.min(self.len);
        self.len -= left;
        while let Some(piece) = self.pieces.front_mut() {
            if piece.len() > left {
                piece.advance(left);
                return;
            }
            left -= piece.len();
            self.pieces.pop_front();
        }
        self.last.advance(left.min(self.last.len()));
        if self.len == 0 {
            self.clear();
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Bytes of memory that are held although nothing needs them.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.pieces.capacity() + self.last.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes everything, `step` bytes at a time.
    fn written(mut outgoing: Outgoing, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while outgoing.len() > 0 {
            let (slices, count) = outgoing.slices();
            let mut taken: Vec<u8> = slices.iter().take(count).flat_map(|slice| slice.to_vec()).collect();
            assert!(!taken.is_empty(), "{} bytes wait, and none is offered", outgoing.len());
            taken.truncate(step);
            outgoing.advance(taken.len());
            all.extend(taken);
        }
        assert_eq!(outgoing.capacity(), 0);
        all
    }

    #[test]
    fn large_and_small_payloads_leave_in_their_order_however_much_is_taken_at_a_time() {
        let sizes = [1, LARGE, 7, 8, LARGE + 1, LARGE, 3, LARGE - 1];
        let payloads: Vec<Bytes> =
            sizes.iter().zip(1..).map(|(&size, fill)| Bytes::from(vec![fill; size])).collect();
        let mut expected = BytesMut::new();
        for payload in &payloads {
            frame::put(&mut expected, payload);
        }
        for step in [1000, 5, LARGE, LARGE + 4, usize::MAX] {
            let mut outgoing = Outgoing::default();
            payloads.iter().for_each(|payload| outgoing.put(payload.clone()));
            assert_eq!(outgoing.len(), expected.len());
            assert_eq!(written(outgoing, step), expected, "{step} at a time");
        }
    }

    #[test]
    fn more_pieces_than_fit_into_one_write_all_leave() {
        let mut outgoing = Outgoing::default();
        for _ in 0..SLICES {
            outgoing.put(Bytes::from(vec![7; LARGE]));
        }
        let expected = outgoing.len();
        assert_eq!(written(outgoing, usize::MAX).len(), expected);
    }

    #[test]
    fn a_large_payload_is_not_copied() {
        let mut outgoing = Outgoing::default();
        let payload = Bytes::from(vec![7; LARGE]);
        outgoing.put(payload.clone());
        let (slices, count) = outgoing.slices();
        let places: Vec<_> = slices.iter().take(count).map(|slice| slice.as_ptr()).collect();
        assert!(places.contains(&payload.as_ptr()));
    }
}
