//! What we ask of the peer: requests, cancels, credit for their values.

use std::time::{Duration, Instant};

use super::super::calls::CallId;
use super::super::outbox::Class;
use super::{MAX_TIMEOUT, OutgoingCall, Refusal, Session, State, class_of};
use crate::wire::flight::Flight;
use crate::wire::{Message, Request};

impl<T> Session<T> {
    /// Sends a request. `token` comes back in [`Event::Answered`](super::Event::Answered),
    /// [`Event::Expired`](super::Event::Expired) or [`Event::Closed`](super::Event::Closed). A timeout beyond
    /// [`MAX_TIMEOUT`] is cut to it.
    ///
    /// # Errors
    /// [`Refusal`], with the token; then nothing was sent.
    pub fn call(&mut self, call: OutgoingCall, token: T, now: Instant) -> Result<CallId, (T, Refusal)> {
        if let State::Closed(reason) = &self.state {
            return Err((token, Refusal::Closed(reason.clone())));
        }
        let limit = self.terms.limits.in_flight;
        if self.calls.len() as u64 >= limit {
            return Err((token, Refusal::TooMany { limit }));
        }
        if self.terms.is_oldest() && call.args.decode::<Vec<String>>().is_err() {
            return Err((token, Refusal::TextOnly));
        }
        let id = self.calls.upcoming();
        let timeout = call.timeout.min(MAX_TIMEOUT);
        let request = Message::Request(Request {
            id: self.calls.wire_id(id),
            method: call.method,
            args: call.args,
            kwargs: call.kwargs,
            timeout_ms: Some(millis(timeout)),
            trace: call.trace,
            operator: call.operator,
            roles: call.roles,
        });
        let payload = match self.encode(&request) {
            Ok(payload) => payload,
            Err(error) => return Err((token, error.into())),
        };
        let class = class_of(&payload);
        self.outbox.push(class, payload);
        Ok(self.calls.start(token, now + timeout, self.terms.limits.window, class))
    }

    /// Asks the peer to stop a request; its answer is still waited for. Repetition does nothing.
    pub fn cancel(&mut self, call: CallId) {
        let Some(pending) = self.calls.get_mut(call) else { return };
        let (first, class) = (!std::mem::replace(&mut pending.cancelled, true), pending.class);
        if first {
            self.send_cancel(call, class);
        }
    }

    /// Asks the peer to stop a request that nobody waits for any more; its answer will be dropped.
    pub fn abandon(&mut self, call: CallId) -> Option<T> {
        self.cancel(call);
        self.calls.finish(call)
    }

    // A cancel takes the queue of its request: overtaking it, it would cancel nothing.
    pub(super) fn send_cancel(&mut self, call: CallId, class: Class) {
        let request = self.calls.wire_id(call);
        self.send_flight(&Flight::Cancel { request }, class);
    }

    /// Says that a value of `len` bytes was taken by whoever waited for it, so that more may come.
    pub fn consumed(&mut self, call: CallId, len: usize) {
        let Some(pending) = self.calls.get_mut(call) else { return };
        if let Some(bytes) = pending.credit.consume(len) {
            let request = self.calls.wire_id(call);
            self.send_flight(&Flight::Credit { request, bytes }, Class::Control);
        }
    }

    /// What waits for a request in flight.
    pub fn waiter_mut(&mut self, call: CallId) -> Option<&mut T> {
        self.calls.get_mut(call).map(|pending| &mut pending.token)
    }
}

/// Whole milliseconds, rounded up: a limit of half a millisecond is not "at once".
fn millis(timeout: Duration) -> u64 {
    u64::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
