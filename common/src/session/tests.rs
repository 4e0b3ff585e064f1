//! Two sessions on a simulated wire with a simulated clock: no socket, no waiting.
#![expect(clippy::wildcard_enum_match_arm, reason = "test code: whatever is not expected fails the test")]

mod calls;
mod ending;
mod fuzz;
mod handshake;
mod limits;
mod random;
mod values;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{CallId, CloseReason, Event, Incoming, OutgoingCall, Session, Terms};
use crate::ids::RequestId;
use crate::session::terms::Liveness;
use crate::wire::{Limits, Message, Raw, Request, codec};

const SECOND: Duration = Duration::from_secs(1);
const LATENCY: Duration = Duration::from_millis(50);

fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a test's starting point, not a measurement")]
    Instant::now()
}

fn terms() -> Terms {
    Terms {
        protocol: 1,
        limits: Limits { frame: 64 * 1024, in_flight: 8, window: 16 * 1024 },
        liveness: Liveness::default(),
        peer_version: "test".into(),
        peer_caps: Vec::new(),
    }
}

fn text(len: usize) -> Raw {
    Raw::text(&"x".repeat(len))
}

fn outgoing(timeout: Duration) -> OutgoingCall {
    OutgoingCall {
        method: "sys.echo".into(),
        args: Raw::empty_array(),
        kwargs: Raw::empty_map(),
        timeout,
        trace: None,
        operator: None,
        roles: None,
    }
}

/// The same with an argument of so many bytes.
fn large(len: usize, timeout: Duration) -> OutgoingCall {
    OutgoingCall { args: Raw::encode(&["x".repeat(len)]).unwrap(), ..outgoing(timeout) }
}

/// A request as a peer writes it.
fn request(id: &str) -> Message {
    Message::Request(Request {
        id: RequestId::parse(id).unwrap(),
        method: "sys.echo".into(),
        args: Raw::empty_array(),
        kwargs: Raw::empty_map(),
        timeout_ms: None,
        trace: None,
        operator: None,
        roles: None,
    })
}

/// The id on the wire of a call of a session made with this seed.
fn wire_id(seed: u64, call: CallId) -> RequestId {
    RequestId::numbered(super::mix(seed), call.0)
}

/// Everything that a session wants to write.
fn written(session: &mut Session<u32>) -> Vec<Message> {
    let payloads = std::iter::from_fn(|| session.poll_transmit());
    payloads.map(|payload| codec::decode(&payload).unwrap()).collect()
}

/// Everything that happened on a session.
fn events(session: &mut Session<u32>) -> Vec<Event<u32>> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

/// Two ends and the wire between them.
struct Pair {
    ends: [Session<u32>; 2],
    /// What is on the way to each end, and when it arrives.
    wire: [VecDeque<(Instant, Bytes)>; 2],
    events: [Vec<Event<u32>>; 2],
    now: Instant,
    cut: bool,
}

impl Pair {
    fn new(terms: &Terms) -> Self {
        let now = start();
        Self {
            ends: [1, 2].map(|seed| Session::new(terms.clone(), seed, now)),
            wire: Default::default(),
            events: Default::default(),
            now,
            cut: false,
        }
    }

    fn call(&mut self, end: usize, call: OutgoingCall, token: u32) -> CallId {
        self.ends[end].call(call, token, self.now).unwrap()
    }

    /// Delivers what arrives next, or lets the next deadline pass, whichever comes first; not after `until`.
    fn step(&mut self, until: Instant) -> bool {
        self.write();
        let arrival = self.wire.iter().filter_map(|wire| wire.front()).map(|(at, _)| *at).min();
        let deadline = self.ends.iter().filter_map(Session::poll_timeout).min();
        let Some(next) = [arrival, deadline].into_iter().flatten().min() else { return false };
        if next > until {
            return false;
        }
        self.now = self.now.max(next);
        for end in 0..2 {
            while self.wire[end].front().is_some_and(|(at, _)| *at <= self.now) {
                let (_, payload) = self.wire[end].pop_front().unwrap();
                self.ends[end].handle_payload(&payload, self.now);
            }
            self.ends[end].handle_timeout(self.now);
        }
        self.collect();
        true
    }

    fn write(&mut self) {
        for (end, session) in self.ends.iter_mut().enumerate() {
            while let Some(payload) = session.poll_transmit() {
                if !self.cut {
                    self.wire[1 - end].push_back((self.now + LATENCY, payload));
                }
            }
        }
    }

    fn collect(&mut self) {
        for (end, session) in self.ends.iter_mut().enumerate() {
            self.events[end].extend(events(session));
        }
    }

    /// Lets time pass, exactly so much.
    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
        self.now = until;
        self.collect();
    }

    /// Lets everything arrive that is on the way, and what it causes.
    fn settle(&mut self) {
        self.run(10 * LATENCY);
    }

    /// From now on nothing arrives.
    fn cut(&mut self) {
        self.cut = true;
        self.wire = Default::default();
    }

    fn take(&mut self, end: usize) -> Vec<Event<u32>> {
        self.collect();
        std::mem::take(&mut self.events[end])
    }

    /// The requests that arrived at an end, where nothing else happened.
    fn requests(&mut self, end: usize) -> Vec<Incoming> {
        let request = |event| match event {
            Event::Request(incoming) => incoming,
            other => panic!("expected a request, got {other:?}"),
        };
        self.take(end).into_iter().map(request).collect()
    }

    /// The one request that arrived at an end.
    fn request(&mut self, end: usize) -> Incoming {
        let mut requests = self.requests(end);
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }

    fn closed(&self, end: usize) -> &CloseReason {
        self.ends[end].closed().expect("closed")
    }
}
