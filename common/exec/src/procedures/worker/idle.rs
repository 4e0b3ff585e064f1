//! A worker between two calls.

use std::time::Duration;

use redpoll_common::procedure::{Event, ping_line};
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::Work;
use super::overdue::Overdue;
use super::process::{Process, Step};
use super::task::Life;

/// Why a worker of a definition that was replaced goes.
pub(super) const NOT_OFFERED: &str = "it is not offered any more, or its place is another user's";

/// How long a worker may take to answer a ping.
const PONG_WAIT: Duration = Duration::from_secs(10);

/// What a free worker is told, or does.
pub(super) enum Idle {
    Work(Box<Work>),
    /// It is not needed any more.
    Over(&'static str),
    /// It is of no use any more.
    Gone(String),
}

impl Life {
    /// Watches over it until it is given a call, or goes.
    pub(super) async fn idle(&self, process: &mut Process, given: &mut mpsc::Receiver<Work>) -> Idle {
        let until = self.idle_shutdown.and_then(|limit| Instant::now().checked_add(limit));
        let mut overdue = Overdue::default();
        let mut pings = Pings::new(self.health_interval);
        loop {
            while let Some(said) = process.machine.poll_event() {
                match said {
                    Ok(Event::Pong(_)) => pings.answered(),
                    // there is nothing else that a free worker may say
                    Ok(_) => {}
                    Err(violation) => {
                        return Idle::Gone(format!("it broke the protocol between two calls: {violation}"));
                    }
                }
            }
            let is_over = self.stop.is_cancelled() || until.is_some_and(|until| until <= Instant::now());
            if overdue.is_over(is_over || given.is_closed() || !given.is_empty()) {
                return self.next(given, until).await;
            }
            let step = tokio::select! {
                biased; // what is wrong with it comes before the next call
                step = process.step() => step,
                idle = self.next(given, until) => return idle,
                () = pings.due() => {
                    if pings.is_unanswered {
                        return Idle::Gone(format!("it did not answer a ping within {} s", PONG_WAIT.as_secs()));
                    }
                    let ping = process.machine.ping();
                    process.say(&ping_line(ping));
                    pings.sent();
                    continue;
                }
            };
            match step {
                Step::Out | Step::Wrote => {}
                Step::Err(data) => {
                    debug!(procedure = %self.name, bytes = data.len(), "a worker wrote to its standard error between two calls");
                }
                Step::OutEnd => return Idle::Gone("it closed its standard output".to_owned()),
                Step::Exited => return Idle::Gone("it ended between two calls".to_owned()),
            }
            yield_now().await; // who writes without a pause has not the thread for itself
        }
    }

    /// What it is told next. Cancel-safe.
    async fn next(&self, given: &mut mpsc::Receiver<Work>, until: Option<Instant>) -> Idle {
        let over = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased; // who is given a call is needed
            work = given.recv() => work.map_or(Idle::Over(NOT_OFFERED), |work| Idle::Work(Box::new(work))),
            () = self.stop.cancelled() => Idle::Over("the daemon stops"),
            () = over => Idle::Over("it had nothing to do"),
        }
    }
}

/// When a free worker is asked whether it is well, and when it should have answered.
struct Pings {
    interval: Option<Duration>,
    is_unanswered: bool,
    at: Option<Instant>,
}

impl Pings {
    fn new(interval: Option<Duration>) -> Self {
        let mut pings = Self { interval, is_unanswered: false, at: None };
        pings.answered();
        pings
    }

    fn sent(&mut self) {
        (self.is_unanswered, self.at) = (true, Some(Instant::now() + PONG_WAIT));
    }

    fn answered(&mut self) {
        let next = self.interval.and_then(|interval| Instant::now().checked_add(interval));
        (self.is_unanswered, self.at) = (false, next);
    }

    /// Completes when the next ping, or the answer to the last, is due.
    async fn due(&self) {
        match self.at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}
