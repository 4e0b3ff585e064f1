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

use redpoll_common::ids::PeerId;
use redpoll_common::wire::{Bye, ByeCode};

use crate::address::AddressKey;
use crate::recent::Recent;
use crate::spread::retry_after;
use redpoll_common::bucket::TokenBucket;

/// What is usual for [`AdmissionOptions::reserve`].
pub const RESERVE: usize = 64;

/// An operator with so many sessions has no use of the reserve: it is there for those who administer a full manager, also against an
/// operator who has filled it.
pub const RESERVE_SESSIONS: usize = 8;

/// Handshakes in progress while every session is taken. Who comes then is told so, or has the place of one who has just left.
pub const HANDSHAKES_WHEN_FULL: usize = 8;

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
    /// Sessions of one operator.
    pub operator_sessions: usize,
}

/// Why a connection is closed before TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Refusal {
    /// Every session is taken, those of the reserve too, and [`HANDSHAKES_WHEN_FULL`] are in progress.
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

/// The right to one session, and whose it is if it is an operator's. Give it back with [`Admission::left`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a seat that is not given back is lost until the manager restarts"]
pub struct Seat(Option<PeerId>);

/// Who asks for a seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applicant {
    /// An agent that is not connected.
    Agent,
    /// An agent whose older connection is still in the roster and will be replaced.
    ReturningAgent,
    /// This operator.
    Operator(PeerId),
}

/// There is no seat. The peer is sent away with [`Overloaded::bye`]; its slot is given back already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{shortage}")]
pub struct Overloaded {
    /// What there is no more of.
    pub shortage: Shortage,
    /// The peer should not come back sooner.
    pub retry_after: Duration,
}

/// What a peer found no seat for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Shortage {
    /// Of sessions that it may have.
    #[error("every session of the manager is taken")]
    Sessions,
    /// Of sessions that one operator may have.
    #[error(
        "operator {operator} has {limit} sessions, as many as one may have (admission.operator_sessions)"
    )]
    OfOperator {
        /// Who has them.
        operator: PeerId,
        /// How many there may be.
        limit: usize,
    },
}

impl Overloaded {
    /// The goodbye for the peer.
    pub fn bye(&self) -> Bye {
        Bye::new(ByeCode::Overloaded, self.shortage.to_string()).retry_after(self.retry_after)
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
    /// Sessions per operator; one without any is not here, so it is never larger than `sessions`.
    operators: BTreeMap<PeerId, usize>,
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
            operators: BTreeMap::new(),
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
        let is_full = self.sessions >= self.options.max_sessions.saturating_add(self.options.reserve);
        if is_full && self.handshakes >= HANDSHAKES_WHEN_FULL {
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
    /// slot and those who lately found no seat: the fuller it gets, the later they come back. An operator who has as many as one
    /// may have does not count as waiting: others need not come later for it.
    pub fn seat(
        &mut self,
        slot: Slot,
        applicant: Applicant,
        now: Instant,
        random: u64,
    ) -> Result<Seat, Overloaded> {
        let waiting = self.handshakes.saturating_add(self.turned_away.count(now));
        self.finished(slot);
        let overloaded =
            |shortage| Overloaded { shortage, retry_after: retry_after(waiting, self.options.rate, random) };
        let all = self.options.max_sessions.saturating_add(self.options.reserve);
        let (room, operator) = match applicant {
            Applicant::Agent => (self.options.max_sessions, None),
            Applicant::ReturningAgent => (all, None),
            Applicant::Operator(operator) => {
                let (has, limit) = (self.sessions_of(&operator), self.options.operator_sessions);
                if has >= limit {
                    return Err(overloaded(Shortage::OfOperator { operator, limit }));
                }
                (if has < RESERVE_SESSIONS { all } else { self.options.max_sessions }, Some(operator))
            }
        };
        if self.sessions >= room {
            let none = overloaded(Shortage::Sessions);
            self.turned_away.note(now);
            return Err(none);
        }
        self.sessions += 1;
        if let Some(operator) = &operator {
            *self.operators.entry(operator.clone()).or_default() += 1;
        }
        Ok(Seat(operator))
    }

    /// Takes the seat of a session back that has ended.
    pub fn left(&mut self, seat: Seat) {
        let Seat(operator) = seat;
        self.sessions = self.sessions.saturating_sub(1);
        if let Some(operator) = operator
            && let Some(count) = self.operators.get_mut(&operator)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.operators.remove(&operator);
            }
        }
    }

    /// Seats that this operator has.
    pub fn sessions_of(&self, operator: &PeerId) -> usize {
        self.operators.get(operator).copied().unwrap_or(0)
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::recent::WAITING_WINDOW;

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
        operator_sessions: 4,
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
        let ann = Applicant::Operator(PeerId::parse("ann").unwrap());
        for (applicant, welcome) in
            [(Applicant::Agent, false), (Applicant::ReturningAgent, true), (ann, true)]
        {
            let (mut admission, now) = (Admission::new(SMALL), start());
            let mut seat = |applicant| {
                let slot = admission.arrive(host(1), now).unwrap();
                admission.seat(slot, applicant, now, 0)
            };
            let _seats = [seat(Applicant::Agent).unwrap(), seat(Applicant::Agent).unwrap()];
            let third = seat(applicant.clone());
            assert_eq!(third.is_ok(), welcome, "{applicant:?}");
            // whoever comes to a full manager is told so
            let fourth = seat(applicant).map_err(|none| none.shortage);
            assert_eq!(fourth, Err(Shortage::Sessions));
            assert_eq!((admission.handshakes(), admission.sessions()), (0, 2 + usize::from(welcome)));
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
        let bye = Overloaded { shortage: Shortage::Sessions, retry_after: Duration::from_millis(70) }.bye();
        assert_eq!((bye.code, bye.retry_after_ms), (Some(ByeCode::Overloaded), Some(70)));
    }
}
