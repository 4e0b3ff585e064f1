//! When to ping and when to give up. It knows nothing else.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::mix;
use super::terms::Liveness;
use crate::wire::Integer;

/// Pings that may wait for their pong at once; more are refused.
pub const MAX_PINGS: usize = 32;

/// What [`KeepAlive::handle_timeout`] wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Send a ping with this number.
    Ping(Integer),
    /// The peer is dead: nothing came for this long.
    Dead(Duration),
}

/// A pong that answers no ping of ours, or the wrong one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pong with the number {found}, which answers no ping")]
pub struct WrongPong {
    /// The number that came.
    pub found: i128,
}

/// Pings in intervals with ±10 % jitter, matches pongs in order, and notices silence.
#[derive(Debug)]
pub struct KeepAlive {
    liveness: Liveness,
    last_heard: Instant,
    next_ping: Option<Instant>,
    waiting: VecDeque<(Integer, Instant)>,
    seed: u64,
}

impl KeepAlive {
    /// Starts at `now`; `seed` decides jitter and numbers.
    pub fn new(liveness: Liveness, seed: u64, now: Instant) -> Self {
        let mut this = Self { liveness, last_heard: now, next_ping: None, waiting: VecDeque::new(), seed };
        this.schedule(now);
        this
    }

    fn draw(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(1);
        mix(self.seed)
    }

    fn schedule(&mut self, now: Instant) {
        let draw = self.draw();
        self.next_ping = self.liveness.ping.map(|interval| {
            // 0.9 to 1.1 of the interval
            let share = 0.9 + 0.2 * ((draw >> 11) as f64 / (1u64 << 53) as f64);
            now + interval.mul_f64(share)
        });
    }

    /// A byte came.
    pub fn heard(&mut self, now: Instant) {
        self.last_heard = self.last_heard.max(now);
    }

    /// A ping on demand: its number, or `None` if [`MAX_PINGS`] already wait.
    pub fn ping(&mut self, now: Instant) -> Option<Integer> {
        if self.waiting.len() >= MAX_PINGS {
            return None;
        }
        // 31 bits: peers of protocol 0 may keep numbers in 32-bit integers
        let number = Integer::from(self.draw() >> 33);
        self.waiting.push_back((number, now));
        Some(number)
    }

    /// A pong came: how long it took.
    ///
    /// # Errors
    /// [`WrongPong`] when it is not the answer to the oldest ping.
    pub fn handle_pong(&mut self, number: Integer, now: Instant) -> Result<Duration, WrongPong> {
        match self.waiting.pop_front() {
            Some((expected, sent)) if expected == number => Ok(now.saturating_duration_since(sent)),
            Some(_) | None => Err(WrongPong { found: number.get() }),
        }
    }

    /// When [`KeepAlive::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let dead = self.liveness.dead.map(|after| self.last_heard + after);
        match (self.next_ping, dead) {
            (Some(ping), Some(dead)) => Some(ping.min(dead)),
            (ping, dead) => ping.or(dead),
        }
    }

    /// Looks at the clock; early calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Due> {
        if let Some(after) = self.liveness.dead
            && now >= self.last_heard + after
        {
            return Some(Due::Dead(now.saturating_duration_since(self.last_heard)));
        }
        if self.next_ping.is_some_and(|at| now >= at) {
            self.schedule(now);
            // one unanswered ping says as much as ten
            if self.waiting.is_empty() {
                return self.ping(now).map(Due::Ping);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVENESS: Liveness =
        Liveness { ping: Some(Duration::from_secs(15)), dead: Some(Duration::from_secs(40)) };

    #[test]
    fn an_idle_week_keeps_two_sides_alive() {
        let start = Instant::now_for_tests();
        let (mut a, mut b) = (KeepAlive::new(LIVENESS, 1, start), KeepAlive::new(LIVENESS, 2, start));
        let end = start + Duration::from_secs(7 * 24 * 3600);
        let mut pings = 0u32;
        let mut now = start;
        while now < end {
            now = a.poll_timeout().unwrap().min(b.poll_timeout().unwrap());
            for turn in 0..2 {
                let (me, other) = if turn == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
                match me.handle_timeout(now) {
                    Some(Due::Ping(n)) => {
                        other.heard(now);
                        me.heard(now);
                        me.handle_pong(n, now).unwrap();
                        pings += 1;
                    }
                    Some(Due::Dead(after)) => panic!("dead after {after:?}"),
                    None => {}
                }
            }
        }
        let expected = 2 * 7 * 24 * 3600 / 15;
        assert!((expected * 9 / 10..expected * 12 / 10).contains(&pings), "{pings} pings");
    }

    #[test]
    fn silence_is_death_at_the_configured_time() {
        let start = Instant::now_for_tests();
        let mut k = KeepAlive::new(LIVENESS, 3, start);
        let mut now = start;
        loop {
            now = k.poll_timeout().unwrap().max(now);
            match k.handle_timeout(now) {
                Some(Due::Dead(after)) => {
                    assert_eq!(after, Duration::from_secs(40));
                    break;
                }
                Some(Due::Ping(_)) | None => assert!(now < start + Duration::from_secs(41)),
            }
        }
    }

    #[test]
    fn any_byte_is_life_and_half_an_answer_is_enough() {
        let start = Instant::now_for_tests();
        let mut k = KeepAlive::new(LIVENESS, 3, start);
        for second in 1..400 {
            let now = start + Duration::from_secs(second);
            if second % 30 == 0 {
                k.heard(now);
            }
            assert!(!matches!(k.handle_timeout(now), Some(Due::Dead(_))), "at {second} s");
        }
    }

    #[test]
    fn zero_switches_off() {
        let start = Instant::now_for_tests();
        let off = Liveness { ping: None, dead: None };
        let mut k = KeepAlive::new(off, 3, start);
        assert_eq!(k.poll_timeout(), None);
        assert_eq!(k.handle_timeout(start + Duration::from_secs(1_000_000)), None);
    }

    #[test]
    fn a_pong_with_a_wrong_number_is_a_violation() {
        let start = Instant::now_for_tests();
        let mut k = KeepAlive::new(LIVENESS, 3, start);
        let n = k.ping(start).unwrap();
        let m = k.ping(start).unwrap();
        assert!(k.handle_pong(m, start).is_err(), "pongs come in the order of the pings");
        let mut k = KeepAlive::new(LIVENESS, 3, start);
        assert!(k.handle_pong(n, start).is_err(), "nothing was asked");
        for _ in 0..MAX_PINGS {
            k.ping(start).unwrap();
        }
        assert!(k.ping(start).is_none());
    }

    /// Tests need some instant to count from; rules never read the clock.
    trait ForTests {
        fn now_for_tests() -> Self;
    }
    impl ForTests for Instant {
        #[expect(clippy::disallowed_methods, reason = "a test's starting point, not a measurement")]
        fn now_for_tests() -> Self {
            Self::now()
        }
    }
}
