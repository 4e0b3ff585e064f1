//! What a session's events make the driver do.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt;
use redpoll_common::session::{CallId, Event, Incoming, StopReason};
use redpoll_common::wire::{Fault, FaultCode, Notification, Raw};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::Driver;
use crate::command::Command;
use crate::peer::CallError;
use crate::service::{CallContext, Output, Running, Shared, Sink, Stop, Streams, stop_fault};
use crate::serving::Serving;
use crate::slot::NotTaken;

/// What the map around a value may take of a frame, in bytes, beside the request's id.
const VALUE_OVERHEAD: usize = 64;

impl Driver {
    /// Handles what there is, and notes the reason once the session has ended.
    pub(super) fn handle_events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Closed(reason, waiters) => {
                    for waiter in waiters {
                        waiter.end(Err(CallError::Closed(reason.clone())));
                    }
                    self.ended = Some(reason);
                }
                Event::Request(incoming) => self.start(incoming),
                Event::Stop(id, reason) => {
                    let shared = match reason {
                        StopReason::Closed => self.ending.running.remove(&id),
                        StopReason::Cancelled | StopReason::TimedOut => self.ending.running.get(&id).cloned(),
                    };
                    if let Some(shared) = shared {
                        shared.stop(reason);
                    }
                }
                Event::Credit(id, bytes) => {
                    if let Some(shared) = self.ending.running.get(&id) {
                        shared.grant(bytes);
                    }
                }
                Event::Notification(notification) => self.notified(notification),
                Event::Value(call, data) => self.give_value(call, data),
                Event::Progress(call, progress) => {
                    if let Some(waiter) = self.session.waiter_mut(call) {
                        waiter.progress(progress);
                    }
                }
                Event::Answered(waiter, result) => waiter.end(result.map_err(CallError::Fault)),
                Event::Expired(waiter) => {
                    let timeout = waiter.timeout;
                    waiter.end(Err(CallError::TimedOut(timeout)));
                }
                Event::Pong(number, after) => {
                    if let Some(done) = self.pings.remove(&number) {
                        let _gone = done.send(after);
                    }
                }
            }
        }
    }

    fn give_value(&mut self, call: CallId, data: Raw) {
        let len = data.len();
        let Some(waiter) = self.session.waiter_mut(call) else { return };
        match waiter.value(data) {
            Ok(()) => {}
            // nobody looks at the values: the peer need not wait for it
            Err(NotTaken::Unwanted) => self.session.consumed(call, len),
            Err(NotTaken::Full) => {
                // credit allows no more values than the slot takes, so this is a mistake of ours; the value's
                // place in the order is lost, and with it the call
                tracing::error!("a value came beyond the credit that was given");
                if let Some(waiter) = self.session.abandon(call) {
                    let fault = Fault::new(FaultCode::Internal, "a value was lost on the way");
                    waiter.end(Err(CallError::Fault(fault)));
                }
            }
        }
    }

    fn start(&mut self, incoming: Incoming) {
        let Incoming { id, method, args, kwargs, deadline, trace, operator, roles } = incoming;
        let terms = self.session.terms();
        let shared = Shared::new(terms.limits.window);
        let sink = match terms.is_oldest() {
            true => Sink::Nowhere,
            false => Sink::Call { request: id.clone(), items: self.items_in.clone() },
        };
        let output = Output {
            shared: shared.clone(),
            sink,
            window: terms.limits.window,
            value_limit: terms.frame_limit().saturating_sub(VALUE_OVERHEAD + id.as_str().len()),
            mask: None,
            streams: Streams::default(),
        };
        let stop = Stop { shared: shared.clone() };
        self.ending.running.insert(id.clone(), shared.clone());
        let serving = Serving::new(id.clone(), method.clone());
        let call = CallContext {
            caller: self.ending.shared.info.clone(),
            request: id.clone(),
            method,
            args,
            kwargs,
            deadline: deadline.map(Instant::from_std),
            trace,
            operator,
            roles,
            run_as: None,
            stop: stop.clone(),
            output,
            run: None,
        };
        let running = serving.scope(|| {
            catch_unwind(AssertUnwindSafe(|| self.service.start(call)))
                .unwrap_or_else(|panic| Running::refused(panicked(&*panic)))
        });
        let (commands, items) = (self.ending.shared.commands.clone(), self.items_in.clone());
        let answer = serving.steps(async move {
            let result = AssertUnwindSafe(answer(running, &stop)).catch_unwind().await;
            let result = result.unwrap_or_else(|panic| Err(panicked(&*panic)));
            // whoever still holds the output need not wait for credit that will never come
            shared.answered();
            // an answer must not overtake the values before it, so it takes their queue
            let queue = if shared.has_items() { items } else { commands };
            let _closed = queue.send(Box::new(Command::Respond(id, result))).await;
        });
        self.tracker.spawn(answer.in_current_span());
    }

    fn notified(&self, notification: Notification) {
        let serve = || self.service.notified(&self.ending.shared.info, notification);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(serve)) {
            panicked(&*panic);
        }
    }
}

async fn answer(running: Running, stop: &Stop) -> Result<Raw, Fault> {
    let Running { answer, graceful } = running;
    if graceful {
        return answer.await;
    }
    tokio::select! {
        biased;
        result = answer => result,
        reason = stop.stopped() => Err(stop_fault(reason)),
    }
}

/// Logs a panic of whatever served a request; the caller learns no more than that.
fn panicked(panic: &(dyn Any + Send)) -> Fault {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
    tracing::error!(panic = text, "the code that serves a request has panicked");
    Fault::new(FaultCode::Internal, "the code that serves this method has panicked")
}
