//! Where a chunk of an upload stands among those before it. Chunks may overtake each other on their way; on the disk
//! there is always one piece without gaps, so that its length says what is there.

/// What to do with a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It is the next, but for so many bytes at its beginning, which are there: a copy that was given up had sent them in other chunks,
    /// and they came after its successor had asked how much there is.
    Write(u64),
    /// It was written before: its answer was lost.
    Have,
    /// Those before it are still on their way.
    Wait,
}

/// Decides about a chunk of `len` bytes for `offset` when there are `written` bytes.
pub(super) fn step(written: u64, offset: u64, len: u64) -> Step {
    let end = offset.saturating_add(len);
    match written.checked_sub(offset) {
        None => Step::Wait,
        Some(0) => Step::Write(0),
        Some(_) if end <= written => Step::Have,
        Some(there) => Step::Write(there),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_chunk_is_written_what_comes_next() {
        assert_eq!(step(0, 0, 10), Step::Write(0));
        assert_eq!(step(10, 10, 0), Step::Write(0));
        assert_eq!(step(10, 20, 5), Step::Wait);
        assert_eq!(step(10, 0, 10), Step::Have);
        assert_eq!(step(10, 3, 0), Step::Have);
        assert_eq!(step(10, 5, 10), Step::Write(5), "the rest of it");
        assert_eq!(step(10, u64::MAX, u64::MAX), Step::Wait);
    }
}
