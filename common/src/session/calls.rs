//! Our requests in flight: who waits for which answer, and until when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::credit::Granting;
use super::outbox::Class;
use crate::ids::RequestId;

/// The number of a request of ours within its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// One request in flight.
#[derive(Debug)]
pub struct Pending<T> {
    /// Who waits.
    pub token: T,
    /// When we stop waiting.
    pub deadline: Instant,
    /// What the peer may send of values.
    pub credit: Granting,
    /// The number of the next value.
    pub next_value: u64,
    /// The queue that the request was written through.
    pub class: Class,
    /// Whether the peer was asked to stop it.
    pub cancelled: bool,
}

/// What an id in a message of the peer refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// A request in flight.
    InFlight(CallId),
    /// A request of ours that nobody waits for any more.
    Past,
    /// Nothing that we ever sent.
    Never,
}

/// Correlates answers with requests.
#[derive(Debug)]
pub struct Calls<T> {
    prefix: u64,
    next: u64,
    pending: BTreeMap<CallId, Pending<T>>,
    deadlines: BTreeSet<(Instant, CallId)>,
}

impl<T> Calls<T> {
    /// Starts without requests; ids will begin with `prefix`.
    pub fn new(prefix: u64) -> Self {
        Self { prefix, next: 0, pending: BTreeMap::new(), deadlines: BTreeSet::new() }
    }

    /// How many requests are in flight.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether none is in flight.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// The number that the next request will have.
    pub fn upcoming(&self) -> CallId {
        CallId(self.next)
    }

    /// Registers a request, as [`Calls::upcoming`].
    pub fn start(&mut self, token: T, deadline: Instant, window: u64, class: Class) -> CallId {
        let call = self.upcoming();
        self.next += 1;
        self.deadlines.insert((deadline, call));
        let credit = Granting::new(window);
        let pending = Pending { token, deadline, credit, next_value: 0, class, cancelled: false };
        self.pending.insert(call, pending);
        call
    }

    /// The id of a request on the wire.
    pub fn wire_id(&self, call: CallId) -> RequestId {
        RequestId::numbered(self.prefix, call.0)
    }

    /// What an id of the peer refers to.
    pub fn find(&self, id: &RequestId) -> Known {
        let text = id.as_str();
        let number = |from: usize, to: usize| {
            text.get(from..to)
                .filter(|digits| digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
                .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        };
        if text.len() != 32 || number(0, 16) != Some(self.prefix) {
            return Known::Never;
        }
        match number(16, 32) {
            Some(n) if self.pending.contains_key(&CallId(n)) => Known::InFlight(CallId(n)),
            Some(n) if n < self.next => Known::Past,
            Some(_) | None => Known::Never,
        }
    }

    /// The request, to look at or to give values to.
    pub fn get_mut(&mut self, call: CallId) -> Option<&mut Pending<T>> {
        self.pending.get_mut(&call)
    }

    /// Takes the request out: it was answered or given up.
    pub fn finish(&mut self, call: CallId) -> Option<T> {
        let pending = self.pending.remove(&call)?;
        self.deadlines.remove(&(pending.deadline, call));
        Some(pending.token)
    }

    /// The earliest deadline.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Takes out one request whose deadline has passed.
    pub fn poll_expired(&mut self, now: Instant) -> Option<(CallId, Pending<T>)> {
        let (at, call) = *self.deadlines.first()?;
        if at > now {
            return None;
        }
        self.deadlines.pop_first();
        self.pending.remove(&call).map(|pending| (call, pending))
    }

    /// Takes out everyone who waits: the session ended.
    pub fn end(&mut self) -> Vec<T> {
        self.deadlines.clear();
        std::mem::take(&mut self.pending).into_values().map(|pending| pending.token).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test's starting point, not a measurement")]
        Instant::now()
    }

    #[test]
    fn an_answer_finds_its_request_once() {
        let now = start();
        let mut calls = Calls::new(9);
        let a = calls.start("a", now, 1024, Class::Small);
        let b = calls.start("b", now, 1024, Class::Small);
        assert_eq!(calls.find(&calls.wire_id(b)), Known::InFlight(b));
        assert_eq!(calls.finish(b), Some("b"));
        assert_eq!(calls.find(&calls.wire_id(b)), Known::Past);
        assert_eq!(calls.find(&calls.wire_id(CallId(2))), Known::Never);
        assert_eq!(calls.find(&RequestId::numbered(8, 0)), Known::Never);
        assert_eq!(calls.find(&RequestId::parse("ä0000000000000000000000000000000").unwrap()), Known::Never);
        assert_eq!(calls.find(&RequestId::parse("+000000000000009+000000000000000").unwrap()), Known::Never);
        assert_eq!(calls.end(), ["a"]);
        assert_eq!(calls.finish(a), None);
    }

    #[test]
    fn requests_expire_in_the_order_of_their_deadlines() {
        let now = start();
        let second = Duration::from_secs(1);
        let mut calls = Calls::new(9);
        calls.start("late", now + 3 * second, 1024, Class::Small);
        calls.start("early", now + second, 1024, Class::Small);
        assert_eq!(calls.poll_timeout(), Some(now + second));
        assert!(calls.poll_expired(now).is_none());
        assert_eq!(calls.poll_expired(now + 5 * second).unwrap().1.token, "early");
        assert_eq!(calls.poll_expired(now + 5 * second).unwrap().1.token, "late");
        assert_eq!(calls.poll_timeout(), None);
    }
}
