//! When another worker may be started in place of one that died, and what is told to calls that would wait too long for it.

use std::time::Duration;

use redpoll_common::session::backoff::{Backoff, BackoffOptions};
use redpoll_common::wire::{Fault, FaultCode};
use tokio::time::Instant;

use super::health::Deaths;

/// The waits before a worker is started in place of one that died.
const RESTARTS: BackoffOptions = BackoffOptions {
    initial: Duration::from_millis(500),
    max: Duration::from_secs(60),
    stable_after: Duration::from_secs(60),
};

/// How long a call waits for a worker to be started while none lives. One that would have to wait longer is refused at once, so that
/// its caller learns that nothing ran, rather than hearing nothing.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether a worker may be started.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// Yes.
    Now,
    /// Not before this moment; a worker that lives may be free earlier.
    At(Instant),
    /// Not for longer than a call waits, and none lives.
    TooLate {
        /// When.
        at: Instant,
        /// How many died in a row.
        deaths: u32,
        /// How the last one did.
        last: String,
    },
}

/// Knows which workers of a procedure live, and how those before them died.
#[derive(Debug)]
pub(super) struct Restarts {
    seed: u64,
    backoff: Backoff,
    not_before: Option<Instant>,
    living: usize,
    last: String,
}

impl Restarts {
    /// `seed` should differ from pool to pool.
    pub(super) fn new(seed: u64) -> Self {
        let backoff = Backoff::new(RESTARTS, seed);
        Self { seed, backoff, not_before: None, living: 0, last: String::new() }
    }

    /// A worker is being started.
    pub(super) fn begun(&mut self) {
        self.living = self.living.saturating_add(1);
    }

    /// A worker takes no call any more, however it came to that.
    pub(super) fn left(&mut self) {
        self.living = self.living.saturating_sub(1);
    }

    /// A worker is ready.
    pub(super) fn ready(&mut self, now: Instant) {
        self.backoff.connected(now.into_std());
        self.not_before = None;
    }

    /// A call had its end from a worker: they are of use, so the waits begin anew, the one that is under way as well.
    pub(super) fn served(&mut self, now: Instant) {
        if self.backoff.attempt() == 0 {
            return;
        }
        self.seed = self.seed.wrapping_add(1);
        self.backoff = Backoff::new(RESTARTS, self.seed);
        // no sooner: one that cannot become ready beside one that works must not be started for every call
        self.not_before = self.not_before.map(|at| at.min(now + RESTARTS.initial));
    }

    /// A worker died that nobody ended; `how` follows "it". Gives how long none is started.
    pub(super) fn died(&mut self, how: String, now: Instant) -> Duration {
        let delay = self.backoff.ended(None, now.into_std());
        self.not_before = now.checked_add(delay);
        self.last = how;
        delay
    }

    /// How many workers live.
    pub(super) fn living(&self) -> usize {
        self.living
    }

    /// What is known of those that died, since one was of use.
    pub(super) fn trouble(&self, now: Instant) -> Option<Deaths> {
        let deaths = self.backoff.attempt();
        let next_in = self.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        (deaths > 0).then(|| Deaths { deaths, last: self.last.clone(), next_in })
    }

    /// Whether a worker may be started. `is_patient` is who waits as long as it takes.
    pub(super) fn leave(&self, now: Instant, is_patient: bool) -> Leave {
        let Some(at) = self.not_before.filter(|at| *at > now) else { return Leave::Now };
        if is_patient || self.living > 0 || at.saturating_duration_since(now) <= PATIENCE {
            return Leave::At(at);
        }
        Leave::TooLate { at, deaths: self.backoff.attempt(), last: self.last.clone() }
    }
}

/// The fault of a call that would wait too long.
pub(super) fn too_late(procedure: &str, deaths: u32, last: &str, wait: Duration) -> Fault {
    let text = format!(
        "the worker of {procedure} ended {deaths} times in a row, at last it {last}; the next is started in {:.1} s at the earliest; \
         nothing ran",
        wait.as_secs_f64()
    );
    // rounded up: who comes then does not come too early
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
    Fault { retry_after_ms: Some(wait_ms), ..Fault::new(FaultCode::Overloaded, text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After so many deaths that the next start is further away than a call waits.
    fn given_up(now: Instant) -> Restarts {
        let mut restarts = Restarts::new(7);
        let mut delay = Duration::ZERO;
        for n in 0..1000 {
            if n >= 4 && delay > PATIENCE * 2 {
                return restarts;
            }
            delay = restarts.died(format!("exited with {n}"), now);
        }
        panic!("the waits do not grow");
    }

    #[tokio::test(start_paused = true)]
    async fn who_would_wait_too_long_is_told_at_once_unless_it_is_patient_or_a_worker_lives() {
        let now = Instant::now();
        let mut restarts = given_up(now);
        let Leave::TooLate { at, deaths, last } = restarts.leave(now, false) else { panic!("{restarts:?}") };
        assert_eq!(last, format!("exited with {}", deaths - 1));
        assert_eq!(restarts.leave(now, true), Leave::At(at));
        assert_eq!(restarts.leave(at - PATIENCE, false), Leave::At(at), "short enough to wait");
        assert_eq!(restarts.leave(at, false), Leave::Now);
        restarts.begun();
        assert_eq!(restarts.leave(now, false), Leave::At(at), "one lives, which may be free first");
        restarts.left();
        assert!(matches!(restarts.leave(now, false), Leave::TooLate { .. }));

        let fault = too_late("p", deaths, &last, at - now);
        assert_eq!(fault.code, FaultCode::Overloaded);
        let wait = u64::try_from((at - now).as_millis()).unwrap();
        assert_eq!(fault.retry_after_ms, Some(wait + 1));
        for words in [format!("{deaths} times in a row, at last it {last};"), "nothing ran".to_owned()] {
            assert!(fault.message.contains(&words), "{fault}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_had_its_end_begins_the_waits_anew() {
        let now = Instant::now();
        let mut restarts = given_up(now);
        restarts.served(now);
        let Leave::At(at) = restarts.leave(now, false) else { panic!("{restarts:?}") };
        assert!(at <= now + RESTARTS.initial, "the wait that is under way is cut");
        for _ in 0..100 {
            assert!(restarts.died("exited with 1".to_owned(), now) <= RESTARTS.initial);
            restarts.served(now);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_lives_for_a_minute_begins_the_waits_anew_and_one_that_is_ready_does_not() {
        let now = Instant::now();
        for (lived, expected) in [(59, false), (60, true)] {
            let mut restarts = given_up(now);
            restarts.ready(now);
            assert_eq!(restarts.leave(now, false), Leave::Now);
            restarts.died("exited with 1".to_owned(), now + Duration::from_secs(lived));
            assert_eq!(restarts.backoff.attempt() == 1, expected, "{lived} s");
        }
    }
}
