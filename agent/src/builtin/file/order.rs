//! Where a chunk of an upload stands among those before it. Chunks may overtake each other on their way; on the disk
//! there is always one piece without gaps, so that its length says what is there.

/// What to do with a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It is the next.
    Write,
    /// It was written before: its answer was lost.
    Have,
    /// Those before it are still on their way.
    Wait,
    /// It begins within what is there and ends beyond it.
    Overlap,
}

/// Decides about a chunk of `len` bytes for `offset` when there are `written` bytes.
pub(super) fn step(written: u64, offset: u64, len: u64) -> Step {
    let end = offset.saturating_add(len);
    if offset == written {
        Step::Write
    } else if offset > written {
        Step::Wait
    } else if end <= written {
        Step::Have
    } else {
        Step::Overlap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_written_when_it_is_the_next() {
        assert_eq!(step(0, 0, 10), Step::Write);
        assert_eq!(step(10, 10, 0), Step::Write);
        assert_eq!(step(10, 20, 5), Step::Wait);
        assert_eq!(step(10, 0, 10), Step::Have);
        assert_eq!(step(10, 3, 0), Step::Have);
        assert_eq!(step(10, 5, 10), Step::Overlap);
        assert_eq!(step(10, u64::MAX, u64::MAX), Step::Wait);
    }
}
