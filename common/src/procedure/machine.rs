//! Where the conversation with a process is.

use super::ask::Ask;
use super::exception::Exception;
use super::lines::{Lines, TooLong};
use super::parse::{self, Said};
use super::violation::{Kind, Violation};
use crate::wire::Raw;
use crate::wire::flight::Progress;

/// What a process says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A value of the present call.
    Value(Raw),
    /// How far the present call is.
    Progress(Progress),
    /// The good end of the present call.
    Result(Raw),
    /// The bad end of the present call.
    Exception(Box<Exception>),
    /// The worker can take calls.
    Ready,
    /// The worker answers the ping with this number.
    Pong(u64),
    /// Something for the manager's history, said in the present call.
    Emit {
        /// What happened.
        kind: String,
        /// Anything about it.
        data: Raw,
    },
    /// Something that it asks the manager for, in the present call.
    Ask(Box<Ask>),
    /// Any of these but an ask, whose content no message can carry. The line counts as what it is: the end of a call is its end.
    Unfit(Violation),
}

/// Where it is.
///
/// ```text
/// once     FREE --begin--> BUSY --result, exception--> OVER
/// worker   STARTING --ready--> FREE --begin--> BUSY --result, exception--> FREE; --pong--> stays
/// any      --violation--> BROKEN
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A worker that is not ready yet.
    Starting,
    /// Ready for a call.
    Free,
    /// In this call.
    Busy(u64),
    /// Its one call has ended.
    Over,
    /// Nothing it says counts any more.
    Broken,
}

/// Listens to one process: takes the bytes of its standard output, in pieces of any size, and gives what they say.
///
/// Hand over bytes with [`handle_bytes`](Self::handle_bytes), then call [`poll_event`](Self::poll_event) until it gives
/// nothing. It holds at most one line and the last piece.
#[derive(Debug)]
pub struct LineMachine {
    lines: Lines,
    line: u64,
    worker: bool,
    phase: Phase,
    /// The call that ended last.
    last: Option<u64>,
    /// The newest ping that it was sent, and the newest that it has answered. 0: none.
    pinged: u64,
    ponged: u64,
}

impl LineMachine {
    /// For a process that takes one call. A line has at most `limit` bytes.
    pub fn once(limit: usize) -> Self {
        let (lines, phase) = (Lines::new(limit), Phase::Free);
        Self { lines, line: 0, worker: false, phase, last: None, pinged: 0, ponged: 0 }
    }

    /// For a process that takes one call after the other. A line has at most `limit` bytes.
    pub fn worker(limit: usize) -> Self {
        Self { worker: true, phase: Phase::Starting, ..Self::once(limit) }
    }

    /// It is given a call, with a number it was not given before. False when it cannot take one now.
    #[must_use = "a process that takes no call must not be given one"]
    pub fn begin(&mut self, call: u64) -> bool {
        let free = self.phase == Phase::Free;
        if free {
            self.phase = Phase::Busy(call);
        }
        free
    }

    /// Whether it can take a call.
    pub fn is_free(&self) -> bool {
        self.phase == Phase::Free
    }

    /// It is sent a ping. Gives its number, from 1 on.
    pub fn ping(&mut self) -> u64 {
        self.pinged = self.pinged.saturating_add(1);
        self.pinged
    }

    /// Bytes came.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        if self.phase != Phase::Broken {
            self.lines.push(bytes);
        }
    }

    /// Nothing comes any more: what is there without a line end is a line as well.
    pub fn handle_end(&mut self) {
        self.lines.end();
    }

    /// What it says, in order. After a violation it gives nothing any more.
    pub fn poll_event(&mut self) -> Option<Result<Event, Violation>> {
        loop {
            if self.phase == Phase::Broken {
                return None;
            }
            let cut = self.lines.next()?;
            self.line = self.line.saturating_add(1);
            let parsed = match cut {
                Ok(text) => parse::parse(&text, self.line),
                Err(TooLong) => Err(Violation::TooLong { line: self.line, limit: self.lines.limit() }),
            };
            let event = match parsed {
                Ok(None) => continue,
                Ok(Some(said)) => self.take(said),
                Err(violation) => Err(violation),
            };
            if event.is_err() {
                self.phase = Phase::Broken;
                self.lines.clear();
            }
            return Some(event);
        }
    }

    fn take(&mut self, said: Said) -> Result<Event, Violation> {
        let Said { call, kind, event } = said;
        let line = self.line;
        if kind == Kind::Ready {
            return self.ready().map(|()| event);
        }
        if let Event::Pong(ping) = event {
            return self.pong(ping).map(|()| event);
        }
        match (self.phase, call) {
            (Phase::Starting | Phase::Broken, _) => return Err(Violation::NotReady { line, kind }),
            (Phase::Busy(_) | Phase::Free, None) if self.worker => {
                return Err(Violation::NoCall { line, kind });
            }
            (Phase::Busy(present), Some(named)) if named != present => {
                return Err(self.strange(kind, named));
            }
            (Phase::Busy(_), _) => {}
            (Phase::Free | Phase::Over, Some(named)) => return Err(self.strange(kind, named)),
            (Phase::Free | Phase::Over, None) => return Err(after(kind, line)),
        }
        if kind.is_end() {
            self.end();
        }
        Ok(event)
    }

    fn end(&mut self) {
        if let Phase::Busy(call) = self.phase {
            self.last = Some(call);
            self.phase = if self.worker { Phase::Free } else { Phase::Over };
        }
    }

    fn ready(&mut self) -> Result<(), Violation> {
        let line = self.line;
        match (self.worker, self.phase) {
            (false, _) => Err(Violation::NoWorker { line }),
            (true, Phase::Starting) => {
                self.phase = Phase::Free;
                Ok(())
            }
            (true, Phase::Free | Phase::Busy(_) | Phase::Over | Phase::Broken) => {
                Err(Violation::ReadyAgain { line })
            }
        }
    }

    /// It may come in the next call, which was given before it was heard.
    fn pong(&mut self, ping: u64) -> Result<(), Violation> {
        if !(self.ponged + 1..=self.pinged).contains(&ping) {
            return Err(Violation::StrangePong { line: self.line, ping });
        }
        self.ponged = ping;
        Ok(())
    }

    /// A line about a call that is not the present one.
    fn strange(&self, kind: Kind, call: u64) -> Violation {
        if self.last == Some(call) {
            return after(kind, self.line);
        }
        Violation::StrangeCall { line: self.line, kind, call }
    }
}

fn after(kind: Kind, line: u64) -> Violation {
    if kind.is_end() { Violation::SecondEnd { line, kind } } else { Violation::AfterEnd { line, kind } }
}
