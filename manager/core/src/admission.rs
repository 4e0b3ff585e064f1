//! Which connections get a handshake slot, and which peers a seat: how a manager survives its own fleet.
//!
//! A connection passes two doors. [`Admission::arrive`] is asked when it was accepted, before any byte is read:
//! without a [`Slot`] it is closed before TLS, which costs next to nothing. [`Admission::seat`] is asked when the peer
//! is authenticated and its hello is good: it trades the slot for a [`Seat`], or the peer gets `Bye overloaded` with
//! a hint when to come back. Slots and seats cannot be copied, so none is given back twice; that each is given back is
//! up to their holder, who keeps them in a guard whose drop does it, also when a task is aborted.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use redpoll_common::wire::{Bye, ByeCode};

use crate::address::AddressKey;
use crate::bucket::TokenBucket;
use crate::spread::retry_after;

/// How far back peers that found no seat count as still waiting, at least; at most twice as far.
pub const WAITING_WINDOW: Duration = Duration::from_secs(30);

/// What is usual for [`AdmissionOptions::reserve`].
pub const RESERVE: usize = 64;

/// What a manager takes in at once. The defaults are those of its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionOptions {
    /// Handshakes in progress, in total. Further connections are closed before TLS.
    pub handshakes: usize,
    /// Handshakes in progress per address (see [`AddressKey`]). Sessions are not counted per address: thousands of
    /// agents may stand behind one. Those come in a few at a time, the others come back after their back-off.
    pub handshakes_per_address: usize,
    /// Handshakes that may begin per second in the long run.
    pub rate: u32,
    /// Handshakes that may begin at once after a rest.
    pub burst: u32,
    /// Sessions of agents and operators together.
    pub max_sessions: usize,
    /// Sessions beyond `max_sessions` for operators and for agents that take over from an older connection of
    /// theirs: a full manager can still be administered.
    pub reserve: usize,
}

/// Why a connection is closed before TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Refusal {
    /// Every session is taken, those of the reserve too.
    #[error("every session is taken")]
    SessionsFull,
    /// Every handshake slot is taken.
    #[error("too many handshakes in progress")]
    NoSlot,
    /// Every handshake slot of this address is taken.
    #[error("too many handshakes in progress from this address")]
    AddressFull,
    /// Too many connections came in too short a time.
    #[error("too many connections per second")]
    Rate,
}

impl Refusal {
    /// Every reason, for tables that must not forget one.
    pub const ALL: [Self; 4] = [Self::SessionsFull, Self::NoSlot, Self::AddressFull, Self::Rate];
}

/// The right to do one handshake. Give it back with [`Admission::finished`] or trade it in with [`Admission::seat`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a slot that is not given back is lost until the manager restarts"]
pub struct Slot {
    address: AddressKey,
}

impl Slot {
    /// The address whose handshake it is.
    pub fn address(&self) -> AddressKey {
        self.address
    }
}

/// The right to one session. Give it back with [`Admission::left`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a seat that is not given back is lost until the manager restarts"]
pub struct Seat(());

/// Who asks for a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applicant {
    /// An agent that is not connected.
    Agent,
    /// An agent whose older connection is still in the roster and will be replaced.
    ReturningAgent,
    /// An operator.
    Operator,
}

/// There is no seat. The peer is sent away with [`Overloaded::bye`]; its slot is given back already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("every session is taken")]
pub struct Overloaded {
    /// The peer should not come back sooner.
    pub retry_after: Duration,
}

impl Overloaded {
    /// The goodbye for the peer.
    pub fn bye(&self) -> Bye {
        Bye::new(ByeCode::Overloaded, "every session of the manager is taken").retry_after(self.retry_after)
    }
}

/// Counts handshakes and sessions, and says who may come in.
#[derive(Debug)]
pub struct Admission {
    options: AdmissionOptions,
    bucket: TokenBucket,
    handshakes: usize,
    /// Handshakes per address; an address without any is not here, so it is never larger than `handshakes`.
    addresses: BTreeMap<AddressKey, usize>,
    sessions: usize,
    turned_away: Recent,
}

impl Admission {
    /// Nobody is in. Limits of 0 let nobody in; a rate or burst of 0 counts as 1.
    pub fn new(options: AdmissionOptions) -> Self {
        Self {
            bucket: TokenBucket::new(options.rate, options.burst),
            options,
            handshakes: 0,
            addresses: BTreeMap::new(),
            sessions: 0,
            turned_away: Recent::default(),
        }
    }

    /// Asks for a slot for a connection that was just accepted.
    ///
    /// The rate is asked last: whoever is refused for another reason, such as an address that fills its own slots,
    /// does not use it up for others.
    ///
    /// # Errors
    /// [`Refusal`]: close the connection without a word.
    pub fn arrive(&mut self, address: IpAddr, now: Instant) -> Result<Slot, Refusal> {
        let address = AddressKey::of(address);
        if self.sessions >= self.options.max_sessions.saturating_add(self.options.reserve) {
            return Err(Refusal::SessionsFull);
        }
        if self.handshakes >= self.options.handshakes {
            return Err(Refusal::NoSlot);
        }
        let of_address = self.addresses.get(&address).copied().unwrap_or(0);
        if of_address >= self.options.handshakes_per_address {
            return Err(Refusal::AddressFull);
        }
        self.bucket.take(now).map_err(|_wait| Refusal::Rate)?;
        self.handshakes += 1;
        self.addresses.insert(address, of_address + 1);
        Ok(Slot { address })
    }

    /// Takes a slot back whose handshake came to nothing: an error, a deadline, a refused hello.
    pub fn finished(&mut self, slot: Slot) {
        let Slot { address } = slot;
        self.handshakes = self.handshakes.saturating_sub(1);
        if let Some(count) = self.addresses.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.addresses.remove(&address);
            }
        }
    }

    /// Trades the slot of an authenticated peer for a seat. `random` is uniform over all of `u64`.
    ///
    /// # Errors
    /// [`Overloaded`] when there is none. The hint is uniform in `[0, waiting / rate)`, where those wait who have a
    /// slot and those who lately found no seat: the fuller it gets, the later they come back.
    pub fn seat(
        &mut self,
        slot: Slot,
        applicant: Applicant,
        now: Instant,
        random: u64,
    ) -> Result<Seat, Overloaded> {
        let waiting = self.handshakes;
        self.finished(slot);
        let room = match applicant {
            Applicant::Agent => self.options.max_sessions,
            Applicant::ReturningAgent | Applicant::Operator => {
                self.options.max_sessions.saturating_add(self.options.reserve)
            }
        };
        if self.sessions < room {
            self.sessions += 1;
            return Ok(Seat(()));
        }
        let waiting = waiting.saturating_add(self.turned_away.count(now));
        self.turned_away.note(now);
        Err(Overloaded { retry_after: retry_after(waiting, self.options.rate, random) })
    }

    /// Takes the seat of a session back that has ended.
    pub fn left(&mut self, seat: Seat) {
        let Seat(()) = seat;
        self.sessions = self.sessions.saturating_sub(1);
    }

    /// Handshakes in progress.
    pub fn handshakes(&self) -> usize {
        self.handshakes
    }

    /// Seats taken.
    pub fn sessions(&self) -> usize {
        self.sessions
    }
}

/// Counts what happened lately: between one and two [`WAITING_WINDOW`]s back.
#[derive(Debug, Default)]
struct Recent {
    began: Option<Instant>,
    current: usize,
    before: usize,
}

impl Recent {
    fn note(&mut self, now: Instant) {
        self.turn(now);
        self.current = self.current.saturating_add(1);
    }

    fn count(&mut self, now: Instant) -> usize {
        self.turn(now);
        self.current.saturating_add(self.before)
    }

    fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(*self.began.get_or_insert(now));
        if age >= WAITING_WINDOW {
            self.before = if age < WAITING_WINDOW * 2 { self.current } else { 0 };
            self.current = 0;
            self.began = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "some moment to count from; no rule reads it")]
    fn start() -> Instant {
        Instant::now()
    }

    fn host(n: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, n).into()
    }

    const SMALL: AdmissionOptions = AdmissionOptions {
        handshakes: 8,
        handshakes_per_address: 3,
        rate: 100,
        burst: 50,
        max_sessions: 2,
        reserve: 1,
    };

    #[test]
    fn an_honest_agent_is_admitted_while_twenty_strangers_hold_slots() {
        // Strangers who fill their own address, and strangers on the honest agent's own host, with room for all.
        for (per_address, stranger, held) in [(16, host(1), 16), (64, host(2), 20)] {
            let options = AdmissionOptions { handshakes: 512, handshakes_per_address: per_address, ..SMALL };
            let (mut admission, now) = (Admission::new(options), start());
            let strangers: Vec<_> = (0..20).filter_map(|_| admission.arrive(stranger, now).ok()).collect();
            let honest = admission.arrive(host(2), now).unwrap();
            let seat = admission.seat(honest, Applicant::Agent, now, 0).unwrap();
            assert_eq!((strangers.len(), admission.handshakes(), admission.sessions()), (held, held, 1));
            admission.left(seat);
            for slot in strangers {
                admission.finished(slot);
            }
            assert_eq!((admission.handshakes(), admission.sessions(), admission.addresses.len()), (0, 0, 0));
        }
    }

    #[test]
    fn an_address_that_fills_its_slots_neither_hinders_others_nor_uses_up_the_rate() {
        let (mut admission, now) = (Admission::new(SMALL), start());
        let mut slots: Vec<_> = (0..3).map(|_| admission.arrive(host(1), now).unwrap()).collect();
        for _ in 0..10_000 {
            assert_eq!(admission.arrive(host(1), now), Err(Refusal::AddressFull));
        }
        slots.push(admission.arrive(host(2), now).unwrap());
        admission.finished(slots.remove(0));
        slots.push(admission.arrive(host(1), now).unwrap());
        assert_eq!(admission.addresses[&AddressKey::of(host(1))], 3);
        slots.extend([2, 2, 3, 3].map(|n| admission.arrive(host(n), now).unwrap()));
        assert_eq!(admission.arrive(host(4), now), Err(Refusal::NoSlot));
    }

    #[test]
    fn connections_come_no_faster_than_the_rate_after_the_burst() {
        let options = AdmissionOptions { handshakes: 1000, handshakes_per_address: 1000, ..SMALL };
        let (mut admission, now) = (Admission::new(options), start());
        let mut admitted =
            |at: Duration| (0..200).filter(|_| admission.arrive(host(1), now + at).map(drop).is_ok()).count();
        assert_eq!(admitted(Duration::ZERO), 50);
        assert_eq!(admitted(Duration::from_millis(100)), 10);
        assert_eq!(admitted(Duration::from_secs(60)), 50);
    }

    #[test]
    fn a_full_manager_has_seats_left_for_operators_and_for_agents_that_take_over() {
        for (applicant, welcome) in
            [(Applicant::Agent, false), (Applicant::ReturningAgent, true), (Applicant::Operator, true)]
        {
            let (mut admission, now) = (Admission::new(SMALL), start());
            let mut seat = |applicant| {
                let slot = admission.arrive(host(1), now).unwrap();
                admission.seat(slot, applicant, now, 0)
            };
            let _seats = [seat(Applicant::Agent).unwrap(), seat(Applicant::Agent).unwrap()];
            let third = seat(applicant);
            assert_eq!(third.is_ok(), welcome, "{applicant:?}");
            assert_eq!(admission.handshakes(), 0);
            let next = admission.arrive(host(1), now);
            assert_eq!(next.err(), welcome.then_some(Refusal::SessionsFull));
        }
    }

    #[test]
    fn who_finds_no_seat_is_told_to_come_back_the_later_the_more_wait() {
        let options = AdmissionOptions { max_sessions: 0, rate: 10, ..SMALL };
        let (mut admission, now) = (Admission::new(options), start());
        let mut hint = |at| {
            let slot = admission.arrive(host(1), at).unwrap();
            admission.seat(slot, Applicant::Agent, at, 1 << 63).unwrap_err().retry_after
        };
        // Half of waiting / rate, since the random number is half of all.
        for waiting in 1..=20 {
            assert_eq!(hint(now), Duration::from_millis(50 * waiting));
        }
        assert_eq!(hint(now + WAITING_WINDOW), Duration::from_millis(50 * 21));
        assert_eq!(hint(now + WAITING_WINDOW * 4), Duration::from_millis(50));
        let bye = Overloaded { retry_after: Duration::from_millis(70) }.bye();
        assert_eq!((bye.code, bye.retry_after_ms), (Some(ByeCode::Overloaded), Some(70)));
    }
}
