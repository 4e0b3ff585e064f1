//! The established session: calls both ways, values, credit, keep-alive and the order of writing.
//!
//! The driver gives it what happened ([`Session::handle_payload`], [`Session::handle_timeout`], the verbs of the
//! local side) and then asks what to do: [`Session::poll_event`] until `None`, [`Session::poll_transmit`] while the
//! connection has room, [`Session::poll_timeout`] for the next wake-up. What we ask of the peer is in `calls.rs`, what we
//! owe it in `serve.rs`, and what its messages do in `receive.rs`.

mod calls;
mod receive;
mod serve;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::calls::{CallId, Calls};
use super::close::CloseReason;
use super::inbound::{Inbound, Incoming, StopReason};
use super::keepalive::{Due, KeepAlive};
use super::outbox::{Class, MAX_CONTROL, Outbox, SMALL};
use super::terms::Terms;
use crate::ids::RequestId;
use crate::wire::codec::{self, EncodeError};
use crate::wire::flight::{Flight, Progress};
use crate::wire::{Bye, ByeCode, Fault, Integer, Message, Notification, Raw};

/// No time limit is taken longer than this, ours or a peer's: a year. Sums with it stay within what a clock can say.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(366 * 24 * 3600);

/// What the driver has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<T> {
    /// The peer calls: run it, then [`Session::respond`].
    Request(Incoming),
    /// A request of the peer should stop; it still has to be answered.
    Stop(RequestId, StopReason),
    /// A request of the peer may send this many more bytes of values.
    Credit(RequestId, u64),
    /// The peer tells something.
    Notification(Notification),
    /// A request of ours produced a value; after it was taken, [`Session::consumed`].
    Value(CallId, Raw),
    /// A request of ours told how far it is.
    Progress(CallId, Progress),
    /// A request of ours was answered.
    Answered(T, Result<Raw, Fault>),
    /// Nobody answered in time; the peer was told to stop.
    Expired(T),
    /// The peer answered a ping, after this long.
    Pong(Integer, Duration),
    /// The session ended; these waited. Flush what [`Session::poll_transmit`] still gives, then close.
    Closed(CloseReason, Vec<T>),
}

/// A call to make.
#[derive(Debug, Clone)]
pub struct OutgoingCall {
    /// An `rp.` method or a procedure.
    pub method: String,
    /// Positional arguments: an array.
    pub args: Raw,
    /// Named arguments: a map.
    pub kwargs: Raw,
    /// How long we wait.
    pub timeout: Duration,
    /// Identifies the call across programs.
    pub trace: Option<String>,
    /// For which operator we ask, if we are a manager and ask for one.
    pub operator: Option<String>,
    /// What that operator is; `None`: we do not say.
    pub roles: Option<Vec<String>>,
}

/// Why a call or a notification was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The session has ended.
    #[error("the session has ended: {0}")]
    Closed(CloseReason),
    /// As many requests as agreed are in flight.
    #[error("{limit} requests are in flight already")]
    TooMany {
        /// The agreed number.
        limit: u64,
    },
    /// The message exceeds the agreed frame limit.
    #[error("a message of {len} bytes exceeds the frame limit of {limit}")]
    TooLarge {
        /// Its size in bytes.
        len: usize,
        /// The agreed limit.
        limit: usize,
    },
    /// The peer speaks protocol 0, whose requests carry text arguments only.
    #[error("the peer speaks protocol 0 and takes text arguments only")]
    TextOnly,
    /// The peer would end the connection over the message: a name is too long, or values nest too deep.
    #[error("the message is not one that the peer accepts")]
    Unacceptable(#[source] EncodeError),
}

impl From<EncodeError> for Refusal {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::TooLarge { len, max } => Self::TooLarge { len, limit: max },
            EncodeError::Scan(_) | EncodeError::Field(_) => Self::Unacceptable(error),
        }
    }
}

/// Why a value was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The request was answered already, or the session ended.
    #[error("the request has ended")]
    Ended,
    /// The caller would not accept it: it exceeds the agreed frame limit, nests too deep or has too many values.
    #[error("the value does not fit into a message")]
    Unacceptable(#[source] EncodeError),
    /// The caller has not granted enough credit.
    #[error("no credit for a value of {len} bytes")]
    NoCredit {
        /// Its size in bytes.
        len: usize,
    },
}

/// What a session counted: things that are survived but worth knowing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Answers to requests that nobody waited for any more.
    pub late_answers: u64,
    /// Messages of kinds that this build does not know.
    pub unknown_kinds: u64,
    /// Values, progress, cancels and credit for requests that had ended.
    pub late_flights: u64,
    /// Requests refused because too many were in flight.
    pub refused_requests: u64,
}

impl Counters {
    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            late_answers: self.late_answers.saturating_sub(earlier.late_answers),
            unknown_kinds: self.unknown_kinds.saturating_sub(earlier.unknown_kinds),
            late_flights: self.late_flights.saturating_sub(earlier.late_flights),
            refused_requests: self.refused_requests.saturating_sub(earlier.refused_requests),
        }
    }
}

#[derive(Debug)]
enum State {
    Open,
    Closed(CloseReason),
}

/// The protocol state of one established connection. `T` is what a caller waits with.
#[derive(Debug)]
pub struct Session<T> {
    terms: Terms,
    calls: Calls<T>,
    inbound: Inbound,
    keepalive: KeepAlive,
    outbox: Outbox,
    farewell: Option<Bytes>,
    events: VecDeque<Event<T>>,
    counters: Counters,
    state: State,
}

impl<T> Session<T> {
    /// Starts a session under agreed terms. `seed` decides request ids, ping numbers and jitter.
    pub fn new(terms: Terms, seed: u64, now: Instant) -> Self {
        let keepalive = KeepAlive::new(terms.liveness, seed, now);
        Self {
            terms,
            calls: Calls::new(super::mix(seed)),
            inbound: Inbound::default(),
            keepalive,
            outbox: Outbox::default(),
            farewell: None,
            events: VecDeque::new(),
            counters: Counters::default(),
            state: State::Open,
        }
    }

    /// What was agreed.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Why the session ended, once it has.
    pub fn closed(&self) -> Option<&CloseReason> {
        match &self.state {
            State::Open => None,
            State::Closed(reason) => Some(reason),
        }
    }

    /// Requests in flight: ours and the peer's.
    pub fn in_flight(&self) -> (usize, usize) {
        (self.calls.len(), self.inbound.len())
    }

    /// Bytes that wait to be written.
    pub fn queued_bytes(&self) -> usize {
        self.outbox.bytes()
    }

    /// Those of them that are values and progress of the peer's requests, and answers that follow these.
    pub fn queued_items(&self) -> usize {
        self.outbox.item_bytes()
    }

    /// Sends a one-way message.
    ///
    /// # Errors
    /// [`Refusal`] when the session has ended or the message is too large.
    pub fn notify(&mut self, kind: String, data: Raw) -> Result<(), Refusal> {
        if let State::Closed(reason) = &self.state {
            return Err(Refusal::Closed(reason.clone()));
        }
        let payload = self.encode(&Message::Notification(Notification { kind, data }))?;
        self.outbox.push(class_of(&payload), payload);
        Ok(())
    }

    /// Sends a ping now; [`Event::Pong`] will carry its number. `None` when too many wait or the session has ended.
    pub fn ping(&mut self, now: Instant) -> Option<Integer> {
        if self.closed().is_some() {
            return None;
        }
        let number = self.keepalive.ping(now)?;
        self.send_control(&Message::Ping(number));
        Some(number)
    }

    /// Says goodbye after everything that waits to be written.
    pub fn close(&mut self, bye: Bye) {
        if self.closed().is_none() {
            self.farewell = Some(codec::encode(&Message::Bye(bye.clone()), self.terms.protocol));
            self.end(CloseReason::Ours(bye));
        }
    }

    /// Ends without another word: the connection is gone, or the peer is.
    pub fn handle_lost(&mut self, reason: CloseReason) {
        if self.closed().is_none() {
            self.outbox.clear();
            self.end(reason);
        }
    }

    /// A byte came, be it half a message.
    pub fn heard(&mut self, now: Instant) {
        self.keepalive.heard(now);
    }

    /// Looks at the clock; early calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.closed().is_some() {
            return;
        }
        while let Some((call, pending)) = self.calls.poll_expired(now) {
            // the peer learned of the limit with the request; the cancel is for those that ignore it
            if !pending.cancelled {
                self.send_cancel(call, pending.class);
            }
            self.events.push_back(Event::Expired(pending.token));
        }
        while let Some(id) = self.inbound.poll_expired(now) {
            if self.inbound.stop(&id) {
                self.events.push_back(Event::Stop(id, StopReason::TimedOut));
            }
        }
        match self.keepalive.handle_timeout(now) {
            Some(Due::Ping(number)) => self.send_control(&Message::Ping(number)),
            Some(Due::Dead(after)) => self.handle_lost(CloseReason::Silent(after)),
            None => {}
        }
    }

    /// When [`Session::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.closed().is_some() {
            return None;
        }
        [self.keepalive.poll_timeout(), self.calls.poll_timeout(), self.inbound.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next payload to write. After the session ended: what was queued before, then the goodbye.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.outbox.pop().or_else(|| self.farewell.take())
    }

    /// Whether [`Session::poll_transmit`] has something.
    pub fn wants_to_write(&self) -> bool {
        !self.outbox.is_empty() || self.farewell.is_some()
    }

    /// The next thing to do.
    pub fn poll_event(&mut self) -> Option<Event<T>> {
        let event = self.events.pop_front();
        if event.is_none() {
            // an idle connection holds no buffers
            self.events = VecDeque::new();
        }
        event
    }

    fn end(&mut self, reason: CloseReason) {
        let calls = self.calls.end();
        for id in self.inbound.end() {
            self.events.push_back(Event::Stop(id, StopReason::Closed));
        }
        self.events.push_back(Event::Closed(reason.clone(), calls));
        self.state = State::Closed(reason);
    }

    fn violate(&mut self, code: ByeCode, reason: String) {
        if self.closed().is_some() {
            return;
        }
        let bye = Bye::new(code, reason);
        self.outbox.clear();
        self.farewell = Some(codec::encode(&Message::Bye(bye.clone()), self.terms.protocol));
        self.end(CloseReason::Violation(bye));
    }

    /// Everything that carries values of others goes through here: what the peer would not accept must not end the
    /// session, and everything else on it.
    fn encode(&self, message: &Message) -> Result<Bytes, EncodeError> {
        codec::encode_within(message, self.terms.protocol, self.terms.frame_limit())
    }

    fn send_control(&mut self, message: &Message) {
        self.outbox.push(Class::Control, codec::encode(message, self.terms.protocol));
    }

    /// Sends what the peer's own message causes without any limit but ours. A peer that causes much and reads nothing
    /// breaks the protocol.
    fn send_echo(&mut self, payload: Bytes) {
        if self.outbox.echoes() >= MAX_CONTROL {
            self.violate(ByeCode::Flow, format!("more than {MAX_CONTROL} answers unread"));
            return;
        }
        self.outbox.push_echo(payload);
    }

    fn send_flight(&mut self, flight: &Flight, class: Class) {
        // the oldest peers know neither values nor credit nor cancel
        if self.closed().is_none() && !self.terms.is_oldest() {
            self.outbox.push(class, flight.payload());
        }
    }
}

fn class_of(payload: &Bytes) -> Class {
    if payload.len() > SMALL { Class::Bulk } else { Class::Small }
}
