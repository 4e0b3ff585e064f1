//! The bytes of a journal file: a head, then blocks.
//!
//! ```text
//! file  = head block*
//! head  = "RPSPOOL1" spool(16) number(8) max_dno(8) sequence(8) crc(4)
//! block = "RPB1" len(4) sequence(8) crc(4)  body(len)  crc(4) 0xA5
//! body  = (len(4) crc(4) record)*
//! ```
//! Numbers are big-endian; each crc covers what stands before it in its part. One block is one commit: it is written and
//! synced before the next one begins. So only the last block of the newest file can be incomplete, and it shows: the file
//! ends within it, or ends in zeroes from a sector's begin on. Everything else that does not fit is corruption. The last
//! byte of a block is never zero, so that no single flipped bit makes a whole block look incomplete.

use std::ops::Range;

use super::crc::crc32c;

/// Bytes of a file's head.
pub(super) const FILE_HEAD: usize = 52;
/// Bytes before the body of a block.
const BLOCK_HEAD: usize = 20;
/// Bytes after it.
const BLOCK_TAIL: usize = 5;
/// Bytes before a record.
const RECORD_HEAD: usize = 8;
/// The longest body that a block is written with, in bytes; older versions refuse to read a longer one, and wrote some.
pub(super) const MAX_BODY: usize = 128 * 1024 * 1024;
/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

const FILE_MAGIC: &[u8; 8] = b"RPSPOOL1";
const BLOCK_MAGIC: &[u8; 4] = b"RPB1";
const BLOCK_END: u8 = 0xa5;

/// What a file begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileHead {
    /// Which spool it belongs to.
    pub(super) spool: [u8; 16],
    /// Its number.
    pub(super) number: u64,
    /// The highest dispatch number when it was begun.
    pub(super) max_dno: u64,
    /// The sequence number of its first block.
    pub(super) sequence: u64,
}

impl FileHead {
    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = FILE_MAGIC.to_vec();
        out.extend(self.spool);
        for n in [self.number, self.max_dno, self.sequence] {
            out.extend(n.to_be_bytes());
        }
        out.extend(crc32c(&out).to_be_bytes());
        out
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (head, crc) = bytes.get(..FILE_HEAD)?.split_last_chunk::<4>()?;
        let numbers = head.strip_prefix(FILE_MAGIC).filter(|_| u32::from_be_bytes(*crc) == crc32c(head))?;
        let (spool, numbers) = numbers.split_first_chunk::<16>()?;
        let mut numbers = numbers.as_chunks::<8>().0.iter().map(|n| u64::from_be_bytes(*n));
        Some(Self {
            spool: *spool,
            number: numbers.next()?,
            max_dno: numbers.next()?,
            sequence: numbers.next()?,
        })
    }
}

/// Puts records into a block.
#[derive(Debug)]
pub(super) struct BlockWriter {
    out: Vec<u8>,
}

impl BlockWriter {
    pub(super) fn new() -> Self {
        Self { out: vec![0; BLOCK_HEAD] }
    }

    /// Adds a record; gives where it will be within the block.
    pub(super) fn add(&mut self, record: &[u8]) -> Range<usize> {
        self.out.extend(u32::try_from(record.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.out.extend(crc32c(record).to_be_bytes());
        let start = self.out.len();
        self.out.extend(record);
        start..self.out.len()
    }

    /// Bytes of its body.
    pub(super) fn len(&self) -> usize {
        self.out.len() - BLOCK_HEAD
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The block; `None` when it is longer than any may be.
    pub(super) fn finish(mut self, sequence: u64) -> Option<Vec<u8>> {
        if self.len() > MAX_BODY {
            return None;
        }
        let len = u32::try_from(self.len()).unwrap_or(u32::MAX);
        let mut head = BLOCK_MAGIC.to_vec();
        head.extend(len.to_be_bytes());
        head.extend(sequence.to_be_bytes());
        head.extend(crc32c(&head).to_be_bytes());
        if let Some(place) = self.out.get_mut(..BLOCK_HEAD) {
            place.copy_from_slice(&head);
        }
        self.out.extend(crc32c(&self.out).to_be_bytes());
        self.out.push(BLOCK_END);
        Some(self.out)
    }
}

/// Checks a record read back by its place, against the checksum before it. `bytes` begin with that checksum.
pub(super) fn check_record(bytes: &[u8]) -> Option<&[u8]> {
    let (crc, record) = bytes.split_first_chunk::<4>()?;
    (u32::from_be_bytes(*crc) == crc32c(record)).then_some(record)
}

/// How a file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// After its last block.
    Clean,
    /// Within a block or its head: what follows this place was never acknowledged.
    Torn(usize),
    /// What stands at this place was damaged.
    Corrupt(usize, &'static str),
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Contents {
    /// `None` if not even its head is complete.
    pub(super) head: Option<FileHead>,
    /// Where each record is.
    pub(super) records: Vec<Range<usize>>,
    /// The sequence number that the next block would have.
    pub(super) sequence: u64,
    pub(super) tail: Tail,
}

/// Reads a file.
pub(super) fn read_file(bytes: &[u8]) -> Contents {
    let Some(head) = FileHead::read(bytes) else {
        let tail = if bytes.len() < FILE_HEAD || ends_in_zeroes(bytes, 0) {
            Tail::Torn(0)
        } else {
            Tail::Corrupt(0, "the file's head does not fit its checksum")
        };
        return Contents { head: None, records: Vec::new(), sequence: 0, tail };
    };
    let (mut at, mut sequence, mut records) = (FILE_HEAD, head.sequence, Vec::new());
    let tail = loop {
        if at == bytes.len() {
            break Tail::Clean;
        }
        match read_block(bytes, at, sequence) {
            Ok((body, end)) => {
                if let Err(place) = split(bytes, body, &mut records) {
                    break Tail::Corrupt(place, "a record within an intact block does not fit its checksum");
                }
                (at, sequence) = (end, sequence + 1);
            }
            Err(Broken::Short) => break Tail::Torn(at),
            Err(Broken::Wrong(_)) if ends_in_zeroes(bytes, at) && !block_follows(bytes, at, sequence) => {
                break Tail::Torn(at);
            }
            Err(Broken::Wrong(reason)) => break Tail::Corrupt(at, reason),
        }
    };
    Contents { head: Some(head), records, sequence, tail }
}

/// Why there is no block.
enum Broken {
    /// The file ends within it.
    Short,
    Wrong(&'static str),
}

/// Whether an intact block stands after `at` that came later than the one expected there: what stands at `at` was
/// written whole once.
fn block_follows(bytes: &[u8], at: usize, sequence: u64) -> bool {
    let starts = (at + 1..bytes.len())
        .filter(|start| bytes.get(*start..).is_some_and(|rest| rest.starts_with(BLOCK_MAGIC)));
    let later = |start: usize| {
        let number = bytes.get(start + 8..)?.first_chunk::<8>().map(|number| u64::from_be_bytes(*number))?;
        (number > sequence).then(|| read_block(bytes, start, number).is_ok())
    };
    starts.into_iter().any(|start| later(start) == Some(true))
}

/// The body of the block at `at`, and where the block ends.
fn read_block(bytes: &[u8], at: usize, sequence: u64) -> Result<(Range<usize>, usize), Broken> {
    let rest = bytes.get(at..).unwrap_or_default();
    let head = rest.first_chunk::<BLOCK_HEAD>().ok_or(Broken::Short)?;
    let (fields, crc) = head.split_last_chunk::<4>().ok_or(Broken::Short)?;
    if u32::from_be_bytes(*crc) != crc32c(fields) {
        return Err(Broken::Wrong("a block's head does not fit its checksum"));
    }
    let numbers = fields.strip_prefix(BLOCK_MAGIC).ok_or(Broken::Wrong("there is no block"))?;
    let (len, number) = numbers.split_first_chunk::<4>().ok_or(Broken::Short)?;
    if *number != sequence.to_be_bytes() {
        return Err(Broken::Wrong("a block is missing before this one"));
    }
    let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
    let whole = rest.get(..len.saturating_add(BLOCK_HEAD + BLOCK_TAIL)).ok_or(Broken::Short)?;
    let (covered, tail) = whole.split_last_chunk::<BLOCK_TAIL>().ok_or(Broken::Short)?;
    let [crc @ .., end] = tail;
    if *end != BLOCK_END || u32::from_be_bytes(*crc) != crc32c(covered) {
        return Err(Broken::Wrong("a block does not fit its checksum"));
    }
    let body = at + BLOCK_HEAD;
    Ok((body..body + len, at + whole.len()))
}

/// The places of the records of a body; the place that does not fit, if one does not.
fn split(bytes: &[u8], body: Range<usize>, records: &mut Vec<Range<usize>>) -> Result<(), usize> {
    let mut at = body.start;
    while at < body.end {
        let len = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>).ok_or(at)?;
        let start = at + RECORD_HEAD;
        let end = start + usize::try_from(u32::from_be_bytes(*len)).unwrap_or(0);
        if end > body.end {
            return Err(at);
        }
        bytes.get(at + 4..end).and_then(check_record).ok_or(at)?;
        records.push(start..end);
        at = end;
    }
    Ok(())
}

/// Whether a file is zero from `at`, or from the begin of a later sector, up to its end: what a disk shows that had
/// counted bytes it never wrote.
fn ends_in_zeroes(bytes: &[u8], at: usize) -> bool {
    let zeroes = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    let from = bytes.len() - zeroes;
    zeroes > 0 && (from <= at || from.next_multiple_of(SECTOR) < bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_not_refused_for_its_length() {
        let mut file = FileHead { spool: [1; 16], number: 1, max_dno: 0, sequence: 5 }.write();
        let mut head = BLOCK_MAGIC.to_vec();
        head.extend(u32::try_from(MAX_BODY + 1).unwrap_or(u32::MAX).to_be_bytes());
        head.extend(5_u64.to_be_bytes());
        head.extend(crc32c(&head).to_be_bytes());
        file.extend(head);
        // an older version began to write it: what is missing was never acknowledged, and that is all that is wrong
        assert_eq!(read_file(&file).tail, Tail::Torn(FILE_HEAD));
    }

    #[test]
    fn no_block_is_written_that_an_older_version_refuses() {
        let of = |body: usize| BlockWriter { out: vec![0; BLOCK_HEAD + body] }.finish(1);
        assert!(of(RECORD_HEAD).is_some());
        assert!(of(MAX_BODY + 1).is_none());
    }
}
