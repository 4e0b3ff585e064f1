//! The peer's requests in flight: what we owe an answer for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::credit::Spending;
use crate::ids::RequestId;
use crate::wire::Raw;

/// A request of the peer, to be answered with [`Session::respond`](super::Session::respond).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// Its id.
    pub id: RequestId,
    /// An `rp.` method or a procedure.
    pub method: String,
    /// Positional arguments.
    pub args: Raw,
    /// Named arguments.
    pub kwargs: Raw,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// Identifies the call across programs.
    pub trace: Option<String>,
    /// For which operator the manager asks, if the peer is one and said so.
    pub operator: Option<String>,
    /// What that operator is, if the peer is a manager and said so.
    pub roles: Option<Vec<String>>,
}

/// Why a request should stop. It still has to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The caller cancelled.
    Cancelled,
    /// The caller's time limit passed.
    TimedOut,
    /// The caller's connection ended; the answer goes nowhere.
    Closed,
}

/// One request of the peer.
#[derive(Debug)]
pub struct Owed {
    /// When the caller stops waiting; taken out once it passed.
    pub deadline: Option<Instant>,
    /// What we may still send of values.
    pub credit: Spending,
    /// The number of the next value.
    pub next_value: u64,
    /// Whether values or progress were sent: then the answer must not overtake them.
    pub has_items: bool,
    /// Whether a stop was announced.
    pub stopped: bool,
    /// What it takes, in bytes.
    pub bytes: usize,
}

/// Knows the requests that we owe an answer for.
#[derive(Debug, Default)]
pub struct Inbound {
    owed: BTreeMap<RequestId, Owed>,
    deadlines: BTreeSet<(Instant, RequestId)>,
    bytes: usize,
}

/// Bytes that the requests in flight of one session may hold together, each counted with its whole payload until it is answered, also
/// where whoever serves it has let go of it. A single request may always come.
pub const MAX_OWED_BYTES: usize = 16 * 1024 * 1024;

impl Inbound {
    /// Whether there is room for a request of so many bytes.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.owed.is_empty() || self.bytes.saturating_add(bytes) <= MAX_OWED_BYTES
    }

    /// How many answers are owed. A cancelled request counts until it is answered.
    pub fn len(&self) -> usize {
        self.owed.len()
    }

    /// Whether no answer is owed.
    pub fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    /// Whether an answer to this id is owed.
    pub fn contains(&self, id: &RequestId) -> bool {
        self.owed.contains_key(id)
    }

    /// Registers a request.
    pub fn start(&mut self, id: RequestId, deadline: Option<Instant>, window: u64, bytes: usize) {
        if let Some(at) = deadline {
            self.deadlines.insert((at, id.clone()));
        }
        let credit = Spending::new(window);
        self.bytes += bytes;
        let owed = Owed { deadline, credit, next_value: 0, has_items: false, stopped: false, bytes };
        self.owed.insert(id, owed);
    }

    /// The request, to send values for or to stop.
    pub fn get_mut(&mut self, id: &RequestId) -> Option<&mut Owed> {
        self.owed.get_mut(id)
    }

    /// Takes the request out: it is being answered.
    pub fn finish(&mut self, id: &RequestId) -> Option<Owed> {
        let owed = self.owed.remove(id)?;
        self.bytes = self.bytes.saturating_sub(owed.bytes);
        if let Some(at) = owed.deadline {
            self.deadlines.remove(&(at, id.clone()));
        }
        Some(owed)
    }

    /// Marks the request as stopped; true the first time.
    pub fn stop(&mut self, id: &RequestId) -> bool {
        self.owed.get_mut(id).is_some_and(|owed| !std::mem::replace(&mut owed.stopped, true))
    }

    /// The earliest deadline.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// One request whose deadline has just passed. It stays owed.
    pub fn poll_expired(&mut self, now: Instant) -> Option<RequestId> {
        if self.deadlines.first().is_none_or(|(at, _)| *at > now) {
            return None;
        }
        let (_, id) = self.deadlines.pop_first()?;
        if let Some(owed) = self.owed.get_mut(&id) {
            owed.deadline = None;
        }
        Some(id)
    }

    /// Takes out all: the session ended.
    pub fn end(&mut self) -> Vec<RequestId> {
        self.deadlines.clear();
        self.bytes = 0;
        std::mem::take(&mut self.owed).into_keys().collect()
    }
}
