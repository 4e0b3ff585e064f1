//! What the peer's messages do to a session.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::calls::Known;
use super::super::chain;
use super::super::inbound::{Incoming, MAX_OWED_BYTES, StopReason};
use super::{CloseReason, Event, MAX_TIMEOUT, Session};
use crate::wire::flight::{Flight, Progress};
use crate::wire::frame::COPY_LIMIT;
use crate::wire::{ByeCode, Fault, FaultCode, Message, Notification, Raw, Request, Response, codec};

impl<T> Session<T> {
    /// A payload came.
    pub fn handle_payload(&mut self, payload: &Bytes, now: Instant) {
        if self.closed().is_some() {
            return;
        }
        self.heard(now);
        match codec::decode(payload) {
            Ok(message) => self.take(message, payload.len(), now),
            Err(error) => self.violate(ByeCode::Malformed, chain(&error)),
        }
    }

    /// Bytes came that are no frame: the connection cannot be resynchronised.
    pub fn handle_bad_frame(&mut self, code: ByeCode, reason: String) {
        self.violate(code, reason);
    }

    /// A message came. After the session ended, nothing is taken any more.
    pub fn handle_message(&mut self, message: Message, now: Instant) {
        self.take(message, 0, now);
    }

    /// The same for a message out of a payload of so many bytes. What is kept of a message keeps its payload, with the fields that
    /// nobody knows.
    fn take(&mut self, message: Message, payload: usize, now: Instant) {
        if self.closed().is_some() {
            return;
        }
        match message {
            Message::Ping(number) => {
                self.send_echo(codec::encode(&Message::Pong(number), self.terms.protocol));
            }
            Message::Pong(number) => match self.keepalive.handle_pong(number, now) {
                Ok(after) => self.events.push_back(Event::Pong(number, after)),
                Err(wrong) => self.violate(ByeCode::Protocol, wrong.to_string()),
            },
            Message::Request(request) => self.handle_request(request, payload, now),
            Message::Response(response) => self.handle_response(response),
            Message::Notification(notification) => self.handle_notification(notification, payload),
            Message::Bye(bye) => self.handle_lost(CloseReason::Theirs(bye)),
            Message::AgentHello(_) | Message::ManagerHello(_) => {
                self.violate(ByeCode::Protocol, "a second hello".into());
            }
            Message::Unknown(_) => self.counters.unknown_kinds += 1,
        }
    }

    fn handle_request(&mut self, request: Request, payload: usize, now: Instant) {
        let Request { id, method, args, kwargs, timeout_ms, trace, operator, roles } = request;
        if self.inbound.contains(&id) {
            self.violate(ByeCode::Protocol, format!("request {id} is in flight already"));
            return;
        }
        let limit = self.terms.limits.in_flight;
        if self.inbound.len() as u64 >= limit {
            self.counters.refused_requests += 1;
            let text = format!("{limit} requests are in flight already; nothing ran");
            self.refuse(id, Fault::new(FaultCode::Overloaded, text));
            return;
        }
        let bytes = payload.max(args.len() + kwargs.len());
        if !self.inbound.has_room(bytes) {
            self.counters.refused_requests += 1;
            let text =
                format!("the requests in flight may hold {MAX_OWED_BYTES} bytes together; nothing ran");
            self.refuse(id, Fault::new(FaultCode::Overloaded, text));
            return;
        }
        let deadline = timeout_ms.map(|ms| now + Duration::from_millis(ms).min(MAX_TIMEOUT));
        self.inbound.start(id.clone(), deadline, self.terms.limits.window, bytes);
        self.events.push_back(Event::Request(Incoming {
            id,
            method,
            args,
            kwargs,
            deadline,
            trace,
            operator,
            roles,
        }));
    }

    fn handle_response(&mut self, response: Response) {
        match self.calls.find(&response.id) {
            Known::InFlight(call) => {
                if let Some(token) = self.calls.finish(call) {
                    self.events.push_back(Event::Answered(token, response.result));
                }
            }
            Known::Past => self.counters.late_answers += 1,
            Known::Never => {
                self.violate(ByeCode::Protocol, "an answer to a request that was never sent".into());
            }
        }
    }

    fn handle_notification(&mut self, notification: Notification, payload: usize) {
        match Flight::decode(&notification) {
            Ok(Some(flight)) => self.handle_flight(flight, payload),
            Ok(None) => self.events.push_back(Event::Notification(notification)),
            Err(error) => self.violate(ByeCode::Malformed, chain(&error)),
        }
    }

    fn handle_flight(&mut self, flight: Flight, payload: usize) {
        match flight {
            Flight::Value { request, n, data } => match self.calls.find(&request) {
                Known::InFlight(call) => {
                    let Some(pending) = self.calls.get_mut(call) else { return };
                    if n != pending.next_value {
                        let text = format!("value {n} where {} was due", pending.next_value);
                        return self.violate(ByeCode::Protocol, text);
                    }
                    pending.next_value += 1;
                    match pending.credit.receive(data.len()) {
                        Ok(()) => self.events.push_back(Event::Value(call, apart(data, payload))),
                        Err(overdrawn) => self.violate(ByeCode::Flow, overdrawn.to_string()),
                    }
                }
                Known::Past => self.counters.late_flights += 1,
                Known::Never => self.violate(ByeCode::Protocol, "a value of no request".into()),
            },
            Flight::Progress { request, progress } => match self.calls.find(&request) {
                Known::InFlight(call) => {
                    let details = apart(progress.details, payload);
                    self.events.push_back(Event::Progress(call, Progress { details, ..progress }));
                }
                Known::Past => self.counters.late_flights += 1,
                Known::Never => self.violate(ByeCode::Protocol, "progress of no request".into()),
            },
            Flight::Cancel { request } => {
                if !self.inbound.contains(&request) {
                    self.counters.late_flights += 1;
                } else if self.inbound.stop(&request) {
                    self.events.push_back(Event::Stop(request, StopReason::Cancelled));
                }
            }
            Flight::Credit { request, bytes } => match self.inbound.get_mut(&request) {
                None => self.counters.late_flights += 1,
                Some(owed) => match owed.credit.grant(bytes) {
                    Ok(()) => self.events.push_back(Event::Credit(request, bytes)),
                    Err(error) => self.violate(ByeCode::Flow, error.to_string()),
                },
            },
        }
    }
}

/// A value that waits for somebody, in memory of its own if it is the lesser part of a large payload: its length is what is counted.
fn apart(value: Raw, payload: usize) -> Raw {
    if payload > COPY_LIMIT && value.len() < payload / 2 { value.detached() } else { value }
}
