//! What handles ask of the driver.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use redpoll_common::ids::RequestId;
use redpoll_common::session::{CloseReason, OutgoingCall, Refusal, ValueError, chain};
use redpoll_common::wire::{Bye, Fault, FaultCode, Raw};
use tokio::time::Instant;

use super::{BUDGET, COMMANDS, Driver, ITEMS_AHEAD};
use crate::command::{Command, Signal};
use crate::peer::CallError;
use crate::slot::{CallSlot, Waiter};

/// Places for requests that an idle connection may keep.
const KEPT: usize = 16;

impl Driver {
    pub(super) fn take_signals(&mut self) -> bool {
        let signals = self.ending.shared.take_signals();
        let moved = !signals.is_empty();
        for signal in signals {
            match signal {
                Signal::Close(bye) => self.close(bye),
                Signal::Finish(bye) => self.finishing = Some(bye),
                Signal::Cancel(slot) => {
                    if let Some(call) = slot.id.get() {
                        self.session.cancel(*call);
                    }
                }
                Signal::Abandon(slot) => {
                    if let Some(call) = slot.id.get() {
                        self.session.abandon(*call);
                    }
                }
                Signal::Consumed(slot, len) => {
                    if let Some(call) = slot.id.get() {
                        self.session.consumed(*call, len);
                    }
                }
            }
        }
        moved
    }

    /// Says goodbye, after what was given to us before: an answer whose sender believes that it is on its way still goes
    /// out. Calls do not, for they would end at once.
    pub(super) fn close(&mut self, bye: Bye) {
        let reason = CloseReason::Ours(bye.clone());
        for _ in 0..2 * COMMANDS {
            // items first: they may be values of a request whose answer follows them
            let Ok(command) = self.items.try_recv().or_else(|_empty| self.commands.try_recv()) else { break };
            match *command {
                command @ (Command::Call(..) | Command::Ping(_)) => refuse(command, &reason),
                command @ (Command::Notify(..)
                | Command::Respond(..)
                | Command::Value(..)
                | Command::Progress(_)) => self.handle_command(command),
            }
        }
        self.session.close(bye);
    }

    pub(super) fn poll_commands(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        for _ in 0..BUDGET {
            if self.session.closed().is_some() || self.session.queued_bytes() >= self.options.queue_limit {
                return moved;
            }
            let command = self.commands.poll_recv(cx);
            // both in turn; what goes first on the wire is the session's business
            let item = match self.session.queued_items() < ITEMS_AHEAD {
                true => self.items.poll_recv(cx),
                false => Poll::Pending,
            };
            let mut any = false;
            for command in [command, item] {
                if let Poll::Ready(Some(command)) = command {
                    self.handle_command(*command);
                    any = true;
                }
            }
            if !any {
                return moved;
            }
            moved = true;
        }
        moved
    }

    fn handle_command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Call(call, deadline, waiter) => self.handle_call(call, deadline, waiter, now),
            Command::Notify(kind, data, done) => {
                let _gone = done.send(self.session.notify(kind, data));
            }
            Command::Respond(id, result) => self.respond(&id, result),
            Command::Value(id, data) => {
                self.send_progress(&id);
                match self.session.value(&id, data) {
                    Ok(()) => {}
                    Err(ValueError::Ended) => tracing::debug!(request = ?id, "a value after the answer"),
                    Err(error @ (ValueError::Unacceptable(_) | ValueError::NoCredit { .. })) => {
                        // the output checks both before it hands a value over, so this is a mistake of ours
                        tracing::error!(request = ?id, error = %chain(&error), "a value was not sent");
                    }
                }
            }
            Command::Progress(id) => self.send_progress(&id),
            Command::Ping(done) => {
                if let Some(number) = self.session.ping(now.into_std()) {
                    self.pings.insert(number, done);
                }
            }
        }
    }

    fn handle_call(&mut self, mut call: OutgoingCall, deadline: Instant, waiter: Waiter, now: Instant) {
        let slot: Arc<CallSlot> = waiter.slot.clone();
        if slot.abandoned.load(Ordering::Acquire) {
            return;
        }
        if slot.cancelled.load(Ordering::Acquire) {
            let fault = Fault::new(FaultCode::Cancelled, "cancelled before it was sent");
            waiter.end(Err(CallError::Fault(fault)));
            return;
        }
        let waited = call.timeout;
        call.timeout = deadline.saturating_duration_since(now);
        if call.timeout.is_zero() {
            waiter.end(Err(CallError::TimedOut(waited)));
            return;
        }
        match self.session.call(call, waiter, now.into_std()) {
            Ok(id) => {
                let _first = slot.id.set(id);
            }
            Err((waiter, refusal)) => {
                waiter.end(Err(CallError::Refused(refusal)));
            }
        }
    }

    fn respond(&mut self, id: &RequestId, result: Result<Raw, Fault>) {
        self.send_progress(id);
        self.ending.running.remove(id);
        if self.ending.running.is_empty() && self.ending.running.capacity() > KEPT {
            // an idle connection holds no buffers
            self.ending.running.shrink_to_fit();
        }
        self.session.respond(id, result);
    }

    fn send_progress(&mut self, id: &RequestId) {
        if let Some(progress) = self.ending.running.get(id).and_then(|request| request.take_progress()) {
            self.session.progress(id, progress);
        }
    }

    /// Tells everybody whose command was not taken any more.
    pub(super) async fn refuse_queued(&mut self, reason: &CloseReason) {
        self.commands.close();
        self.items.close();
        while let Some(command) = self.commands.recv().await {
            refuse(*command, reason);
        }
        while self.items.recv().await.is_some() {}
    }
}

/// Tells whoever waits for a command that it was not taken.
fn refuse(command: Command, reason: &CloseReason) {
    let closed = Refusal::Closed(reason.clone());
    match command {
        Command::Call(_, _, waiter) => waiter.end(Err(CallError::Refused(closed))),
        Command::Notify(_, _, done) => {
            let _gone = done.send(Err(closed));
        }
        Command::Respond(..) | Command::Value(..) | Command::Progress(_) | Command::Ping(_) => {}
    }
}
