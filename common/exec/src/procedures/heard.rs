//! What is taken from a process: items on their way to the caller, within the output limit, and the end.

use std::time::Duration;

use redpoll_common::job::ItemKind;
use redpoll_common::procedure::{Event, LineMachine};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_config::Manifest;
use redpoll_net::service::{Output, OutputError};
use tokio::time::{Instant, timeout_at};

use super::asks::Asks;
use super::ends::Trouble;
use crate::emitter::Emitter;

/// Bytes of a line, unless the manifest says otherwise.
pub(super) const LINE: u64 = 1024 * 1024;

/// Bytes that a line of it may have.
pub(super) fn line_limit(manifest: &Manifest) -> usize {
    usize::try_from(manifest.limits.line.unwrap_or(LINE)).unwrap_or(usize::MAX)
}

/// How long a mark of what nobody took in time waits for somebody to take that.
const MARK_WAIT: Duration = Duration::from_secs(5);

/// Passes on what a process says.
#[derive(Debug)]
pub(super) struct Hearing {
    output: Output,
    emitter: Emitter,
    /// What it asks the manager for.
    pub(super) asks: Asks,
    /// Bytes of items that may still be passed on.
    left: u64,
    /// Bytes that were not, because there were too many or nobody took them in time: of values, of the standard error.
    dropped: (u64, u64),
    /// Until when somebody may take it; once some of it was not taken in time, that is over.
    by: Option<Instant>,
    /// Nobody takes anything any more.
    deaf: bool,
    /// Something of it cannot be sent, and so nothing is that comes after.
    is_spoilt: bool,
    /// The end that it gave.
    pub(super) end: Option<Result<Raw, Fault>>,
}

impl Hearing {
    pub(super) fn new(output: Output, limit: u64, emitter: Emitter, asks: Asks) -> Self {
        Self {
            output,
            emitter,
            asks,
            left: limit,
            dropped: (0, 0),
            by: None,
            deaf: false,
            is_spoilt: false,
            end: None,
        }
    }

    /// Passes on everything that the machine has understood until the end of the call. Waits while nobody takes it, until `by` at most.
    /// After trouble [of the call](Trouble::is_of_call) it can go on.
    pub(super) async fn hear(
        &mut self,
        machine: &mut LineMachine,
        by: Option<Instant>,
    ) -> Result<(), Trouble> {
        self.has_until(by);
        while let Some(event) = machine.poll_event() {
            match event.map_err(|violation| Trouble::Protocol(violation.to_string()))? {
                Event::Value(value) => self.value(value, by).await?,
                Event::Progress(progress) => self.output.forward_progress(progress),
                Event::Result(result) => self.end = Some(Ok(result)),
                Event::Exception(exception) => {
                    let room = self.output.value_limit() / 2;
                    self.end = Some(Err(exception.into_fault(room)));
                }
                Event::Emit { kind, data } => {
                    self.emitter.emit(self.output.masked_text(kind), self.output.masked(data));
                }
                Event::Ask(ask) => self.asks.hear(*ask)?,
                // of a ping between two calls
                Event::Ready | Event::Pong(_) => {}
                Event::Unfit(violation) => {
                    self.is_spoilt = true;
                    if machine.is_free() {
                        self.asks.close();
                    }
                    return Err(Trouble::Unfit(violation.to_string()));
                }
            }
            if self.end.is_some() {
                self.asks.close();
            }
            if self.end.is_some() && machine.is_free() {
                return Ok(()); // what a worker says then is not about this call
            }
        }
        Ok(())
    }

    /// Says that a time limit of the procedure has passed.
    pub(super) fn timed_out(&self) {
        self.output.timed_out();
    }

    fn has_until(&mut self, by: Option<Instant>) {
        self.by = self.by.filter(|before| *before <= Instant::now()).or(by);
    }

    async fn value(&mut self, value: Raw, by: Option<Instant>) -> Result<(), Trouble> {
        if self.is_spoilt {
            return Ok(());
        }
        let len = value.len() as u64;
        if len > self.left {
            self.left = 0; // nothing after a gap
            self.dropped.0 = self.dropped.0.saturating_add(len);
            return Ok(());
        }
        self.left -= len;
        if self.deaf {
            return Ok(());
        }
        match until(by, self.output.value(value)).await {
            Some(sent) => self.sent(sent),
            None => {
                self.left = 0;
                self.dropped.0 = self.dropped.0.saturating_add(len);
                Ok(())
            }
        }
    }

    /// Passes on bytes of its standard error. Waits while nobody takes them, until `by` at most.
    pub(super) async fn stderr(&mut self, data: &[u8], by: Option<Instant>) -> Result<(), Trouble> {
        self.has_until(by);
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(data.len());
        self.left = self.left.saturating_sub(room as u64);
        self.dropped.1 = self.dropped.1.saturating_add((data.len() - room) as u64);
        let Some(data) = data.get(..room).filter(|data| !data.is_empty() && !self.deaf) else {
            return Ok(());
        };
        match until(by, self.output.chunk(ItemKind::Stderr, data)).await {
            Some(sent) => self.sent(sent),
            None => {
                self.left = 0; // nothing after a gap
                self.dropped.1 = self.dropped.1.saturating_add(data.len() as u64);
                Ok(())
            }
        }
    }

    fn sent(&mut self, sent: Result<(), OutputError>) -> Result<(), Trouble> {
        match sent {
            Ok(()) => Ok(()),
            Err(OutputError::Ended) => {
                self.deaf = true;
                Ok(())
            }
            Err(error @ (OutputError::TooDeep | OutputError::TooLarge { .. })) => {
                self.is_spoilt = true;
                Err(Trouble::TooLarge(format!("what cannot be sent: {error}")))
            }
        }
    }

    /// Says what was left out, and gives the end of the call: what no mark says, that does.
    pub(super) async fn finish(&mut self, end: Result<Raw, Fault>) -> Result<Raw, Fault> {
        match self.mark().await {
            Ok(()) => end,
            Err(bytes) => Err(unmarked(end, bytes)),
        }
    }

    /// Says what was left out. Once the time is over, who takes nothing is not waited for without an end: how many bytes no mark tells of
    /// then is the error.
    pub(super) async fn mark(&mut self) -> Result<(), u64> {
        let (values, stderr) = std::mem::take(&mut self.dropped);
        // what is recorded waits for the disk, which nobody has to take anything of
        let by = self.by.filter(|_| !self.output.is_recorded()).map(|by| by.max(Instant::now()) + MARK_WAIT);
        for (kind, dropped) in [(ItemKind::Value, values), (ItemKind::Stderr, stderr)] {
            if dropped == 0 || self.deaf {
                continue;
            }
            match until(by, self.output.truncated(kind, dropped)).await {
                Some(said) => self.deaf = said.is_err(),
                None => return Err(values.saturating_add(stderr)),
            }
        }
        Ok(())
    }
}

/// The end of a call of whose output some was left out, and nothing else says so.
fn unmarked(end: Result<Raw, Fault>, bytes: u64) -> Fault {
    let left_out = format!("up to {bytes} bytes of what it gave were not taken in time and are left out");
    match end {
        Err(fault) => Fault { message: format!("{}; {left_out}", fault.message), ..fault },
        Ok(_) => Fault::new(FaultCode::TimedOut, format!("it gave a result, but {left_out}")),
    }
}

/// What comes of it before this moment; `None`: nothing did, and it is given up.
async fn until<T>(by: Option<Instant>, sent: impl Future<Output = T>) -> Option<T> {
    match by {
        Some(by) => timeout_at(by, sent).await.ok(),
        None => Some(sent.await),
    }
}

/// The fault of a call that was given up before its process was given it.
pub(super) fn late() -> Fault {
    Fault::new(FaultCode::TimedOut, "it could not be started in time; nothing ran")
}
