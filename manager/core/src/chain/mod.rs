//! The chain over the public history: each event is stored with a hash over its row and the hash before it, so that a row that is
//! edited, taken out or moved later no longer fits.
//!
//! - [`Linker`]: the bytes of a row, and their hash. [`Chain`]: what a writer keeps. [`check`]: what a reader finds.
//!
//! `h(n) = SHA-256(DOMAIN ‖ h(n−1) ‖ length ‖ record)`, where `length` is that of the record as 8 bytes, big-endian, and the record
//! is the row: its columns `n, at_ms, kind, job, agent, queue, attempt, outcome, detail, name, data` in this order, each as
//!
//! | stored as | bytes |
//! |---|---|
//! | NULL | `00` |
//! | INTEGER | `01`, then 8 bytes, big-endian, two's complement |
//! | TEXT | `02`, its length as 4 bytes, big-endian, and its bytes |
//! | BLOB | `03`, its length as 4 bytes, big-endian, and its bytes |
//!
//! The first event of a chain follows on 32 zeros. SHA-256 itself is an argument: this crate has no cryptography.

pub mod check;

use crate::jobs::record::EventRecord;

/// What every hashed message begins with: another layout gets another one, so that no message of one can be one of the other.
pub const DOMAIN: &[u8] = b"redpoll event chain 1\n";
/// How many columns a row has.
pub const COLUMNS: usize = 11;

/// A hash.
pub type Hash = [u8; 32];
/// What makes one.
pub type Sha256 = fn(&[u8]) -> Hash;

/// A place in the chain: after this event it has this hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Point {
    /// The number of the event; 0 is before the first.
    pub n: u64,
    /// Its hash.
    pub hash: Hash,
}

/// A column of a row as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column<'a> {
    /// Nothing.
    Null,
    /// A number.
    Integer(i64),
    /// A text, which need not be UTF-8 in a file that somebody changed.
    Text(&'a [u8]),
    /// Bytes.
    Blob(&'a [u8]),
    /// Bytes too: the id of a job.
    Id([u8; 16]),
}

/// The columns of an event, as a store writes them.
pub fn columns(event: &EventRecord) -> [Column<'_>; COLUMNS] {
    let int = |number: u64| Column::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    [
        int(event.n),
        int(event.at_ms),
        Column::Text(event.kind.as_str().as_bytes()),
        event.job.map_or(Column::Null, |job| Column::Id(job.to_bytes())),
        event.agent.as_ref().map_or(Column::Null, |agent| Column::Text(agent.as_str().as_bytes())),
        event.queue.as_ref().map_or(Column::Null, |queue| Column::Blob(queue.as_bytes())),
        event.attempt.map_or(Column::Null, |attempt| int(attempt.0.into())),
        event.outcome.map_or(Column::Null, |outcome| Column::Text(outcome.as_str().as_bytes())),
        event.detail.as_deref().map_or(Column::Null, |detail| Column::Text(detail.as_bytes())),
        event.custom.as_ref().map_or(Column::Null, |custom| Column::Text(custom.name.as_bytes())),
        event.custom.as_ref().map_or(Column::Null, |custom| Column::Blob(custom.data.as_bytes())),
    ]
}

/// Makes the hashes. Keeps its buffer from row to row.
#[derive(Debug, Clone)]
pub struct Linker {
    sha256: Sha256,
    message: Vec<u8>,
}

impl Linker {
    /// One that hashes with this.
    pub fn new(sha256: Sha256) -> Self {
        Self { sha256, message: Vec::new() }
    }

    /// The hash of a row that follows on `previous`.
    pub fn link(&mut self, previous: &Hash, row: &[Column<'_>]) -> Hash {
        (self.sha256)(self.message(previous, row))
    }

    /// What is hashed of a row that follows on `previous`.
    pub fn message(&mut self, previous: &Hash, row: &[Column<'_>]) -> &[u8] {
        let message = &mut self.message;
        message.clear();
        message.extend_from_slice(DOMAIN);
        message.extend_from_slice(previous);
        let place = message.len();
        message.extend_from_slice(&[0; 8]);
        let begin = message.len();
        row.iter().for_each(|column| put(message, column));
        let length = u64::try_from(message.len() - begin).unwrap_or(u64::MAX);
        if let Some(room) = message.get_mut(place..begin) {
            room.copy_from_slice(&length.to_be_bytes());
        }
        message
    }
}

fn put(message: &mut Vec<u8>, column: &Column<'_>) {
    let mut bytes = |kind: u8, bytes: &[u8]| {
        message.push(kind);
        // a row that long is not written
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(bytes);
    };
    match column {
        Column::Text(text) => bytes(2, text),
        Column::Blob(blob) => bytes(3, blob),
        Column::Id(id) => bytes(3, id),
        Column::Null => message.push(0),
        Column::Integer(number) => {
            message.push(1);
            message.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// The chain as its one writer goes on with it.
///
/// It goes on from what the writer itself wrote last, never from what it finds in the rows: whatever was done to them, no later event
/// can be read as if it had been right.
#[derive(Debug, Clone)]
pub struct Chain {
    linker: Linker,
    head: Point,
}

impl Chain {
    /// Goes on after `head`.
    pub fn new(sha256: Sha256, head: Point) -> Self {
        Self { linker: Linker::new(sha256), head }
    }

    /// The last event and its hash.
    pub fn head(&self) -> Point {
        self.head
    }

    /// What was added since `head` was the head is not stored after all.
    pub fn go_back(&mut self, head: Point) {
        self.head = head;
    }

    /// Adds an event and gives the hash to store with it. `None` for one that was added before.
    pub fn add(&mut self, event: &EventRecord) -> Option<Hash> {
        if event.n <= self.head.n {
            return None;
        }
        let hash = self.linker.link(&self.head.hash, &columns(event));
        self.head = Point { n: event.n, hash };
        Some(hash)
    }
}
