//! One call of a worker.

use std::time::Duration;

use redpoll_common::procedure::cancel_line;
use redpoll_common::session::StopReason;
use redpoll_common::wire::{Fault, Raw};
use redpoll_net::service::{Stop, stop_fault};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::super::ends::{Trouble, too_long};
use super::super::heard::Hearing;
use super::overdue::Overdue;
use super::process::{Process, Step};
use crate::exec::DRAIN;
use crate::telling::given_late;

/// How long a worker may take to read some of what it is given. Who hangs between two calls is found out by that.
const READ_WAIT: Duration = Duration::from_secs(10);

/// How long a call may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) run: Option<Duration>,
    pub(super) idle: Option<Duration>,
    pub(super) grace: Duration,
}

/// How a call ended, and what becomes of the worker.
pub(super) enum Talked {
    /// It has its end; the worker can take the next.
    Ended(Result<Raw, Fault>),
    /// It is over, and so is the worker: it is to be killed.
    Kill(Fault),
    /// The worker is to be killed for this.
    Trouble(Trouble),
    /// The worker ended by itself, or closed its output.
    Exited,
}

/// A call in progress.
pub(super) struct Talk<'a> {
    pub(super) process: &'a mut Process,
    pub(super) hearing: &'a mut Hearing,
    pub(super) procedure: &'a str,
    pub(super) call: u64,
    pub(super) times: Times,
    /// When it has taken too long.
    run_by: Option<Instant>,
    /// When it was silent for too long.
    idle_by: Option<Instant>,
    /// When it has read too little of its call.
    read_by: Option<Instant>,
    /// It was asked to end.
    stopping: Option<Stopping>,
    /// Something that it said cannot be told: no result makes up for that.
    is_spoilt: bool,
    overdue: Overdue,
}

/// A call that was asked to end.
struct Stopping {
    /// What its caller is told.
    fault: Fault,
    /// When it is killed.
    kill_by: Instant,
    /// Its time was over: no result makes up for that.
    is_late: bool,
}

/// What there is to do next.
enum Next {
    Step(Step),
    Stopped(StopReason),
    Answered,
    Due,
}

impl<'a> Talk<'a> {
    pub(super) fn new(
        process: &'a mut Process,
        hearing: &'a mut Hearing,
        procedure: &'a str,
        call: u64,
        times: Times,
    ) -> Self {
        let now = Instant::now();
        let after = |limit: Option<Duration>| limit.and_then(|limit| now.checked_add(limit));
        Self {
            process,
            hearing,
            procedure,
            call,
            times,
            run_by: after(times.run),
            idle_by: after(times.idle),
            read_by: Some(now + READ_WAIT),
            stopping: None,
            is_spoilt: false,
            overdue: Overdue::default(),
        }
    }

    /// Listens until the call has its end, or is given up.
    pub(super) async fn run(mut self, stop: &Stop) -> Talked {
        loop {
            let next = self.next(stop).await;
            let talked = match next {
                Next::Step(step) => self.step(step).await,
                Next::Stopped(reason) => {
                    self.stop(stop_fault(reason), false);
                    None
                }
                Next::Answered => {
                    self.idle_by = self.times.idle.and_then(|limit| Instant::now().checked_add(limit));
                    None
                }
                Next::Due => self.due(),
            };
            if let Some(talked) = talked {
                return self.talked(talked).await;
            }
            yield_now().await; // who writes without a pause has not the thread for itself
        }
    }

    async fn talked(mut self, talked: Talked) -> Talked {
        let talked = self.last_words(talked).await;
        match talked {
            Talked::Ended(end) => Talked::Ended(self.hearing.finish(end).await),
            // what was left out is told when the worker is dead
            Talked::Kill(_) | Talked::Trouble(_) | Talked::Exited => talked,
        }
    }

    /// Passes on what lies in its standard error: it wrote that before its end, which is heard first. Nothing is waited for, and what it
    /// writes meanwhile is not read.
    async fn last_words(&mut self, talked: Talked) -> Talked {
        let mut by = self.by();
        if !matches!(talked, Talked::Ended(_)) {
            // a caller that takes nothing keeps no worker alive that is to be killed
            by = Some(by.unwrap_or_else(|| Instant::now() + DRAIN).min(Instant::now() + DRAIN));
        }
        let mut waiting = self.process.waiting_errors();
        while let Some(data) = self.process.errors(&mut waiting) {
            if let Err(trouble) = self.hearing.stderr(&data, by).await {
                let fault = trouble.fault(self.procedure, &self.process.tail);
                return if let Talked::Ended(Ok(_)) = talked { Talked::Ended(Err(fault)) } else { talked };
            }
        }
        talked
    }

    async fn next(&mut self, stop: &Stop) -> Next {
        let kill_by = self.stopping.as_ref().map(|stopping| stopping.kill_by);
        let due = match kill_by {
            Some(_) => kill_by,
            None => [self.run_by, self.idle_by(), self.read_by].into_iter().flatten().min(),
        };
        if self.overdue.is_over(due.is_some_and(|due| due <= Instant::now())) {
            return Next::Due;
        }
        let due = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased; // a stop and the few answers come before what is said, and what is said before the clock
            reason = stop.stopped(), if kill_by.is_none() => Next::Stopped(reason),
            () = self.hearing.asks.answered() => Next::Answered,
            step = self.process.step() => Next::Step(step),
            () = due => Next::Due,
        }
    }

    /// Who waits for an answer is not silent.
    fn idle_by(&self) -> Option<Instant> {
        self.idle_by.filter(|_| self.hearing.asks.is_idle())
    }

    async fn step(&mut self, step: Step) -> Option<Talked> {
        match step {
            Step::Wrote => {
                self.read_by = self.read_by.map(|_before| Instant::now() + READ_WAIT);
                return None;
            }
            Step::Out | Step::Err(_) => {
                if let Some(talked) = self.heard(&step).await {
                    return Some(talked);
                }
            }
            Step::OutEnd => {
                return match self.process.ends_soon().await {
                    true => Some(self.exited().await),
                    false => {
                        let what = "it closed its standard output, and goes on".to_owned();
                        Some(Talked::Trouble(Trouble::Protocol(what)))
                    }
                };
            }
            Step::Exited => return Some(self.exited().await),
        }
        self.idle_by = self.times.idle.and_then(|limit| Instant::now().checked_add(limit));
        self.ended()
    }

    /// Hears what it said, all of it.
    async fn heard(&mut self, step: &Step) -> Option<Talked> {
        let mut step = Some(step);
        loop {
            match self.hear(step.take()).await {
                Ok(()) => return None,
                Err(trouble) if trouble.is_of_call() => {
                    if let Some(talked) = self.spoil(trouble) {
                        return Some(talked);
                    }
                }
                Err(trouble) => return Some(Talked::Trouble(trouble)),
            }
        }
    }

    /// Ends the call, but not the worker, for something that cannot be told.
    fn spoil(&mut self, trouble: Trouble) -> Option<Talked> {
        self.is_spoilt = true;
        let fault = trouble.fault(self.procedure, &self.process.tail);
        if self.process.machine.is_free() {
            // it was the end of the call
            let stopping = self.stopping.as_ref();
            return Some(Talked::Ended(Err(stopping.map_or(fault, |first| first.fault.clone()))));
        }
        if self.stopping.is_none() {
            self.stop(fault, false);
        }
        None
    }

    /// Passes on what it said; a caller that takes nothing must not keep it from being ended. What nobody took in time is left out, with
    /// all that comes after it.
    async fn hear(&mut self, step: Option<&Step>) -> Result<(), Trouble> {
        let by = self.by();
        match step {
            Some(Step::Err(data)) => self.hearing.stderr(data, by).await,
            Some(Step::Out | Step::OutEnd | Step::Wrote | Step::Exited) | None => {
                self.hearing.hear(&mut self.process.machine, by).await
            }
        }
    }

    /// Until when its caller may take something.
    fn by(&self) -> Option<Instant> {
        self.stopping.as_ref().map(|stopping| stopping.kill_by).or(self.run_by)
    }

    fn ended(&mut self) -> Option<Talked> {
        let end = self.hearing.end.take()?;
        Some(Talked::Ended(match (end, &self.stopping) {
            (Ok(_), Some(Stopping { fault, is_late: true, .. })) => Err(given_late(fault.clone())),
            // it was done before it was stopped
            (Ok(result), _) if !self.is_spoilt => Ok(result),
            (_, Some(stopping)) => Err(stopping.fault.clone()),
            (end, None) => end,
        }))
    }

    async fn exited(&mut self) -> Talked {
        if let Err(trouble) = self.rest().await {
            return Talked::Trouble(trouble);
        }
        match (self.ended(), &self.stopping) {
            // it went because it was asked to end, which is no death
            (Some(Talked::Ended(Err(fault))), Some(_)) => Talked::Kill(fault),
            (Some(ended), _) => ended,
            (None, Some(stopping)) => Talked::Kill(stopping.fault.clone()),
            (None, None) => Talked::Exited,
        }
    }

    /// Hears what it said before its end, piece by piece: whoever holds its streams now could say much.
    async fn rest(&mut self) -> Result<(), Trouble> {
        let until = Instant::now() + DRAIN;
        while self.hearing.end.is_none() {
            let step = self.process.rest(until).await;
            self.hear(step.as_ref()).await?;
            if step.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn stop(&mut self, fault: Fault, is_late: bool) {
        self.process.say(&cancel_line(self.call));
        if is_late {
            self.hearing.timed_out();
        }
        self.stopping = Some(Stopping { fault, kill_by: Instant::now() + self.times.grace, is_late });
    }

    fn due(&mut self) -> Option<Talked> {
        if let Some(stopping) = &self.stopping {
            return Some(Talked::Kill(stopping.fault.clone()));
        }
        let now = Instant::now();
        let is_over = |by: Option<Instant>| by.is_some_and(|by| by <= now);
        if is_over(self.run_by) {
            self.stop(too_long(self.procedure, self.times.run.unwrap_or_default()), true);
        } else if is_over(self.idle_by()) {
            let silent = Trouble::Silent(self.times.idle.unwrap_or_default());
            self.stop(silent.fault(self.procedure, &self.process.tail), true);
        } else if is_over(self.read_by) && self.process.has_its_call() && !self.process.reads_nothing() {
            // it has its call; what comes after it are answers, which it reads when it wants to
            self.read_by = None;
        } else if is_over(self.read_by) {
            let what = format!("it did not read its input for {} s", READ_WAIT.as_secs());
            return Some(Talked::Trouble(Trouble::Protocol(what)));
        }
        None
    }
}
