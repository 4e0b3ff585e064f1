//! The one task that drives a connection: it writes what is queued, reads what came, and neither waits for the other.
//!
//! The protocol is [`Session`]; this file only carries bytes, time and commands to it and its events away.

mod commands;
mod events;
mod lost;
mod stale;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use redpoll_common::ids::RequestId;
use redpoll_common::session::machine::Counters;
use redpoll_common::session::{CloseReason, Session, StopReason, Terms};
use redpoll_common::wire::{Bye, Integer};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::task::TaskTracker;

use crate::clock::slept;
use crate::command::Command;
use crate::failpoint;
use crate::peer::{Peer, PeerShared};
use crate::service::{Service, Shared};
use crate::slot::Waiter;
use crate::transport::{BoxConnection, TransportError, WRITE_MARK, close};

use self::lost::lost;
use self::stale::Stale;

/// Commands that wait for the driver; more make their senders wait.
const COMMANDS: usize = 64;
/// Payloads read, and commands and items taken, in one turn. Together less than what the runtime allows a task before it
/// has to give way, so that no kind of work keeps another from its turn.
const BUDGET: usize = 32;
/// Turns before the thread's other tasks run, for connections that do not count with the runtime.
const TURNS: usize = 64;
/// Turns in which writing may wait for more to write.
const GATHER_TURNS: usize = 2;
/// Above this many queued bytes of values no more are taken: what waits with their senders costs the connection nothing.
const ITEMS_AHEAD: usize = 4 * WRITE_MARK;
/// How long a goodbye may take to be written, and the peer to close after it.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a driver needs to know beside the terms.
#[derive(Debug, Clone, Copy)]
pub struct DriverOptions {
    /// A peer that reads nothing for this long although something waits for it is cut.
    pub write_timeout: Duration,
    /// Above this many queued bytes no more commands are taken: those who give them wait. Reading goes on, or two full
    /// queues would wait for each other.
    pub queue_limit: usize,
    /// Decides request ids, ping numbers and jitter.
    pub seed: u64,
    /// Whether nothing is taken that came after the time of silence, as when this process was stopped: for those who act on it.
    pub refuse_stale: bool,
}

impl Default for DriverOptions {
    fn default() -> Self {
        let write_timeout = Duration::from_secs(10);
        Self { write_timeout, queue_limit: 4 * 1024 * 1024, seed: 0, refuse_stale: false }
    }
}

/// Makes the handle of a session and the future that drives it. The caller spawns the future on its own tracker;
/// requests of the peer become tasks on `tracker`.
///
/// The connection must be past the hello: its payload limit is set to what was agreed.
pub fn drive(
    mut connection: BoxConnection,
    terms: Terms,
    service: Arc<dyn Service>,
    options: DriverOptions,
    tracker: TaskTracker,
) -> (Peer, impl Future<Output = CloseReason> + Send) {
    connection.set_payload_limit(terms.frame_limit());
    let (commands_in, commands) = mpsc::channel(COMMANDS);
    let (items_in, items) = mpsc::channel(COMMANDS);
    let info = Arc::new(connection.peer().clone());
    let shared = PeerShared::new(info, terms.clone(), commands_in);
    let now = Instant::now();
    let too_old = terms.liveness.dead.filter(|_| options.refuse_stale);
    let driver = Box::new(Driver {
        ending: Ending { shared: shared.clone(), running: HashMap::new() },
        session: Session::new(terms, options.seed, now.into_std()),
        connection,
        service,
        tracker,
        commands,
        items,
        items_in,
        pings: HashMap::new(),
        timer: Box::pin(sleep_until(now)),
        armed: None,
        heard: 0,
        stale: Stale::new(too_old, now, slept()),
        unflushed: false,
        leaving: None,
        gathered: false,
        stall: None,
        finishing: None,
        counters: Counters::default(),
        ended: None,
        options,
    });
    (Peer { shared }, driver.run())
}

/// Since when nothing could be written, and how many bytes had been by then.
#[derive(Debug, Clone, Copy)]
struct Stall {
    since: Instant,
    sent: u64,
}

/// Tells everybody who waits on the session, also when the driver's future is dropped half-way.
struct Ending {
    shared: Arc<PeerShared>,
    running: HashMap<RequestId, Arc<Shared>>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.shared.end(CloseReason::Lost("its driver was stopped".to_owned()));
        for request in self.running.values() {
            request.stop(StopReason::Closed);
        }
    }
}

struct Driver {
    /// First, so that it is dropped first: who waits on the others reads the reason.
    ending: Ending,
    session: Session<Waiter>,
    connection: BoxConnection,
    service: Arc<dyn Service>,
    tracker: TaskTracker,
    commands: mpsc::Receiver<Box<Command>>,
    items: mpsc::Receiver<Box<Command>>,
    items_in: mpsc::Sender<Box<Command>>,
    pings: HashMap<Integer, oneshot::Sender<Duration>>,
    timer: Pin<Box<Sleep>>,
    /// When the timer fires; it is moved only to an earlier time, and looked at again when it fires.
    armed: Option<Instant>,
    heard: u64,
    stale: Stale,
    /// Whether the connection took something that it may not have handed on.
    unflushed: bool,
    /// Where a test lets the process die once what waits here has left.
    leaving: Option<&'static str>,
    /// Whether what is queued has waited for the tasks that were ready when it came.
    gathered: bool,
    stall: Option<Stall>,
    /// The goodbye to say as soon as no request is in flight, and nothing waits to be written.
    finishing: Option<Bye>,
    /// What the service has been told of.
    counters: Counters,
    ended: Option<CloseReason>,
    options: DriverOptions,
}

impl Driver {
    async fn run(mut self: Box<Self>) -> CloseReason {
        let reason = std::future::poll_fn(|cx| self.poll(cx)).await;
        self.ending.shared.end(reason.clone());
        self.refuse_queued(&reason).await;
        self.pings = HashMap::new();
        match reason {
            // nobody is there to hear a goodbye
            CloseReason::Silent(_) | CloseReason::Stalled(_) | CloseReason::Lost(_) => {}
            CloseReason::Ours(_)
            | CloseReason::Theirs(_)
            | CloseReason::Violation(_)
            | CloseReason::Ended => {
                let flush = std::future::poll_fn(|cx| self.poll_farewell(cx));
                let _flushed = tokio::time::timeout(FAREWELL, flush).await;
                let Self { connection, .. } = *self;
                close(connection, FAREWELL).await;
            }
        }
        reason
    }

    /// Ready once the session has ended and everybody who waited in it was told.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.ending.shared.waker.register(cx.waker());
        for turn in 0..TURNS {
            // Signals first: a close or a cancel must not wait behind work. Then writing, which makes room; then
            // reading; then new work, as far as there is room for it; the clock last, because the rest may be life.
            let mut moved = self.take_signals();
            // a peer that keeps this task busy gets its answers meanwhile
            if turn >= GATHER_TURNS || !self.gathers() {
                self.gathered = false;
                moved |= self.poll_write(cx);
            }
            moved |= self.poll_read(cx);
            moved |= self.poll_commands(cx);
            moved |= self.poll_timer(cx);
            self.handle_events();
            self.report_counters();
            moved |= self.finish_if_idle();
            if let Some(reason) = self.ended.take() {
                return Poll::Ready(reason);
            }
            if !moved && self.gathers() {
                // behind the tasks that are ready now: they may have more for the same write
                self.gathered = true;
                break;
            }
            if !moved && !self.can_write_now() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether writing waits until the tasks that are ready now have run: what they answer and ask then leaves in one
    /// write, one TLS record and one system call, instead of one each. A request that is alone does not wait.
    fn gathers(&self) -> bool {
        let (ours, theirs) = self.session.in_flight();
        !self.gathered
            && ours + theirs > 1
            && self.session.closed().is_none()
            && self.can_write_now()
            && self.session.queued_bytes() < WRITE_MARK
    }

    fn report_counters(&mut self) {
        let counters = self.session.counters();
        if counters != self.counters {
            self.service.counted(counters.since(self.counters));
            self.counters = counters;
        }
    }

    /// Says goodbye once nothing is in flight, and the last answers are on their way: however slow that is, as long as the peer reads.
    fn finish_if_idle(&mut self) -> bool {
        if self.session.in_flight() != (0, 0) || self.session.wants_to_write() || self.unflushed {
            return false;
        }
        let bye = self.finishing.take();
        let finished = bye.is_some();
        if let Some(bye) = bye {
            self.close(bye);
        }
        finished
    }

    fn can_write_now(&self) -> bool {
        // what events queued after this turn's writing; while stalled, the connection wakes us
        self.session.wants_to_write() && self.stall.is_none()
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        match self.try_write(cx) {
            Ok(moved) => moved,
            Err(error) => {
                // the peer's last words may be here already, and say more than a broken pipe
                self.poll_read(cx);
                self.session.handle_lost(lost(&error));
                true
            }
        }
    }

    fn try_write(&mut self, cx: &mut Context<'_>) -> Result<bool, TransportError> {
        let mut moved = false;
        while self.session.wants_to_write() {
            match self.connection.poll_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => {
                    self.note_stall();
                    return Ok(moved);
                }
            }
            if let Some(payload) = self.session.poll_transmit() {
                self.unflushed = true;
                self.leaving = self.leaving.or_else(|| failpoint::leaving(&payload));
                self.connection.start_send(payload)?;
                moved = true;
            }
        }
        if self.unflushed {
            match self.connection.poll_flush(cx) {
                Poll::Ready(flushed) => {
                    flushed?;
                    self.unflushed = false;
                    self.stall = None;
                    if let Some(place) = self.leaving.take() {
                        failpoint::reached(place);
                    }
                }
                Poll::Pending => self.note_stall(),
            }
        }
        Ok(moved)
    }

    fn note_stall(&mut self) {
        let sent = self.connection.bytes_sent();
        if self.stall.is_none_or(|stall| stall.sent != sent) {
            self.stall = Some(Stall { since: Instant::now(), sent });
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        for _ in 0..BUDGET {
            if self.session.closed().is_some() {
                return moved;
            }
            // before anything is read: bytes are life, but not of this moment
            let now = Instant::now();
            if let Some(silent) = self.stale.silent_for(now, slept) {
                self.session.handle_lost(CloseReason::Silent(silent));
                return true;
            }
            let received = self.connection.poll_receive(cx);
            let heard = self.connection.bytes_received();
            if heard != self.heard {
                self.heard = heard;
                self.stale.heard(now, slept);
                self.session.heard(now.into_std());
            }
            let now = now.into_std();
            match received {
                Poll::Pending => return moved,
                Poll::Ready(Some(Ok(payload))) => self.session.handle_payload(&payload, now),
                Poll::Ready(Some(Err(TransportError::Frame(error)))) => {
                    self.session.handle_bad_frame(error.bye_code(), error.to_string());
                }
                Poll::Ready(Some(Err(error))) => self.session.handle_lost(lost(&error)),
                Poll::Ready(None) => self.session.handle_lost(CloseReason::Ended),
            }
            moved = true;
            self.handle_events();
        }
        moved
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let now = Instant::now();
        let stalled = self.stall.map(|stall| stall.since + self.options.write_timeout);
        if stalled.is_some_and(|at| now >= at) {
            self.session.handle_lost(CloseReason::Stalled(self.options.write_timeout));
            return true;
        }
        let wanted = [self.session.poll_timeout().map(Instant::from_std), stalled];
        let Some(wanted) = wanted.into_iter().flatten().min() else { return false };
        if wanted <= now {
            self.session.handle_timeout(now.into_std());
            return true;
        }
        if self.armed.is_none_or(|armed| wanted < armed) {
            self.timer.as_mut().reset(wanted);
            self.armed = Some(wanted);
        }
        if self.armed.is_some() && self.timer.as_mut().poll(cx).is_ready() {
            self.armed = None;
            return true;
        }
        false
    }

    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.session.wants_to_write() {
            match self.connection.poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
            if let Some(payload) = self.session.poll_transmit()
                && self.connection.start_send(payload).is_err()
            {
                return Poll::Ready(());
            }
        }
        self.connection.poll_flush(cx).map(|_written| ())
    }
}
