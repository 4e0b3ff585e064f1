//! Admission as a fleet sees it: against a reference, and ten thousand agents that return in one moment.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use redpoll_common::ids::PeerId;
use redpoll_manager_core::admission::{
    Admission, AdmissionOptions, Applicant, HANDSHAKES_WHEN_FULL, RESERVE, RESERVE_SESSIONS, Refusal, Seat,
    Shortage, Slot,
};

const OPTIONS: AdmissionOptions = AdmissionOptions {
    handshakes: 10,
    handshakes_per_address: 4,
    rate: 1000,
    burst: 20,
    max_sessions: 6,
    reserve: 2,
    operator_sessions: 5,
};

const FLEET: AdmissionOptions = AdmissionOptions {
    handshakes: 512,
    handshakes_per_address: 16,
    rate: 500,
    burst: 1000,
    max_sessions: 20_000,
    reserve: RESERVE,
    operator_sessions: 256,
};

#[expect(clippy::disallowed_methods, reason = "some moment to count from; no rule reads it")]
fn start() -> Instant {
    Instant::now()
}

fn address(n: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 + n).into()
}

fn operator(name: &str) -> Applicant {
    Applicant::Operator(PeerId::parse(name).unwrap())
}

#[derive(Debug, Clone)]
enum Event {
    Arrive(u32),
    Finish(usize),
    Sit(usize, Applicant, u64),
    Leave(usize),
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let applicant = prop_oneof![
        3 => Just(Applicant::Agent),
        1 => Just(Applicant::ReturningAgent),
        1 => Just(operator("ann")),
    ];
    prop_oneof![
        6 => (0_u32..4).prop_map(Event::Arrive),
        2 => any::<usize>().prop_map(Event::Finish),
        3 => (any::<usize>(), applicant, any::<u64>()).prop_map(|(n, who, random)| Event::Sit(n, who, random)),
        1 => any::<usize>().prop_map(Event::Leave),
        2 => (0_u64..5_000).prop_map(Event::Wait),
    ]
}

/// Takes one of what is held, if anything is.
fn pick<T>(held: &mut Vec<T>, n: usize) -> Option<T> {
    (!held.is_empty()).then(|| held.swap_remove(n % held.len()))
}

proptest! {
    #[test]
    fn slots_and_seats_are_never_exceeded_and_always_come_back(
        events in prop::collection::vec(event(), 1..300),
    ) {
        let (mut admission, mut now) = (Admission::new(OPTIONS), start());
        // The reference is what was handed out and not given back.
        let (mut slots, mut seats): (Vec<Slot>, Vec<(Seat, bool)>) = (Vec::new(), Vec::new());
        for event in events {
            match event {
                Event::Wait(micros) => now += Duration::from_micros(micros),
                Event::Arrive(n) => {
                    let mine = slots.iter().filter(|slot| slot.address().to_string() == address(n).to_string());
                    let mine = mine.count();
                    let room = if seats.len() >= 8 && slots.len() >= HANDSHAKES_WHEN_FULL {
                        Some(Refusal::SessionsFull)
                    } else if slots.len() >= 10 {
                        Some(Refusal::NoSlot)
                    } else {
                        (mine >= 4).then_some(Refusal::AddressFull)
                    };
                    match (admission.arrive(address(n), now), room) {
                        (Ok(slot), None) => slots.push(slot),
                        (Err(why), Some(expected)) => prop_assert_eq!(why, expected),
                        // The rate has a reference of its own, see `bucket`.
                        (Err(Refusal::Rate), None) => {}
                        (other, room) => prop_assert!(false, "{other:?} where {room:?} was due"),
                    }
                }
                Event::Finish(n) => if let Some(slot) = pick(&mut slots, n) { admission.finished(slot) },
                Event::Leave(n) => if let Some((seat, _)) = pick(&mut seats, n) { admission.left(seat) },
                Event::Sit(n, who, random) => if let Some(slot) = pick(&mut slots, n) {
                    let room = if who == Applicant::Agent { 6 } else { 8 };
                    let is_ann = matches!(who, Applicant::Operator(_));
                    let of_ann = seats.iter().filter(|(_, is_hers)| *is_hers).count();
                    let seat = admission.seat(slot, who, now, random);
                    prop_assert_eq!(seat.is_ok(), seats.len() < room && (!is_ann || of_ann < 5));
                    seats.extend(seat.ok().map(|seat| (seat, is_ann)));
                }
            }
            prop_assert_eq!((admission.handshakes(), admission.sessions()), (slots.len(), seats.len()));
        }
        slots.into_iter().for_each(|slot| admission.finished(slot));
        seats.into_iter().for_each(|(seat, _)| admission.left(seat));
        prop_assert_eq!((admission.handshakes(), admission.sessions()), (0, 0));
        // Whatever happened: after a rest everybody may have as many slots as at the start.
        now += Duration::from_secs(1);
        for n in 0..4 {
            let all: Vec<_> = (0..4).map(|_| admission.arrive(address(n), now)).collect();
            prop_assert!(all.iter().all(Result::is_ok), "{all:?}");
            all.into_iter().flatten().for_each(|slot| admission.finished(slot));
        }
    }
}

#[test]
fn one_operator_takes_neither_every_session_nor_the_reserve() {
    let (full, now) = (AdmissionOptions { max_sessions: 60, reserve: 64, ..FLEET }, start());
    let mut admission = Admission::new(full);
    let come = |admission: &mut Admission, who: &Applicant| {
        let slot = admission.arrive(address(1), now).unwrap();
        admission.seat(slot, who.clone(), now, 0).map_err(|none| none.shortage)
    };
    let (mallory, ada) = (operator("mallory"), operator("ada"));
    let mut seats: Vec<Seat> = (0..60).map(|_| come(&mut admission, &mallory).unwrap()).collect();
    for _ in 0..100 {
        assert_eq!(come(&mut admission, &mallory), Err(Shortage::Sessions));
    }
    // who has few is let in, for as long as those are few
    seats.extend((0..RESERVE_SESSIONS).map(|_| come(&mut admission, &ada).unwrap()));
    assert_eq!(come(&mut admission, &ada), Err(Shortage::Sessions));
    seats.push(come(&mut admission, &Applicant::ReturningAgent).unwrap());
    // the same with room for all: then it is the bound of one operator that ends it, and what is given back is there again
    let mut admission = Admission::new(AdmissionOptions { operator_sessions: 3, ..full });
    let mut seats: Vec<Seat> = (0..3).map(|_| come(&mut admission, &mallory).unwrap()).collect();
    let none = come(&mut admission, &mallory).unwrap_err();
    let text = "operator mallory has 3 sessions, as many as one may have (admission.operator_sessions)";
    assert_eq!(none.to_string(), text);
    seats.push(come(&mut admission, &ada).unwrap());
    admission.left(seats.remove(0));
    seats.push(come(&mut admission, &mallory).unwrap());
    seats.into_iter().for_each(|seat| admission.left(seat));
    assert_eq!(admission.sessions(), 0);
    assert_eq!(admission.sessions_of(&PeerId::parse("mallory").unwrap()), 0);
}

#[test]
fn whoever_comes_when_every_session_is_taken_is_told_so_and_few_at_a_time() {
    let (mut admission, now) =
        (Admission::new(AdmissionOptions { max_sessions: 1, reserve: 0, ..FLEET }), start());
    let slot = admission.arrive(address(1), now).unwrap();
    let _seat = admission.seat(slot, Applicant::Agent, now, 0).unwrap();
    let mut slots: Vec<Slot> =
        (0..HANDSHAKES_WHEN_FULL).map(|_| admission.arrive(address(1), now).unwrap()).collect();
    assert_eq!(admission.arrive(address(2), now), Err(Refusal::SessionsFull));
    let none = admission.seat(slots.remove(0), operator("ada"), now, 0).unwrap_err();
    assert_eq!(none.bye().reason, "every session of the manager is taken");
    slots.push(admission.arrive(address(2), now).unwrap());
    slots.into_iter().for_each(|slot| admission.finished(slot));
}

/// A small generator, so that the storm is the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in `[0, limit)`.
    fn below(&mut self, limit: Duration) -> Duration {
        redpoll_manager_core::spread::retry_after(1, 1, self.next()).mul_f64(limit.as_secs_f64())
    }
}

/// What happens next to somebody in the storm.
enum Next {
    Dial { attempt: u32 },
    Done(Slot),
}

#[test]
fn ten_thousand_agents_that_return_at_once_all_get_in_while_strangers_keep_dialling() {
    const AGENTS: u32 = 10_000;
    const HANDSHAKE: Duration = Duration::from_millis(200);
    let (mut admission, now, mut random) = (Admission::new(FLEET), start(), Random(7));
    let rate = u128::from(FLEET.rate);
    let mut queue: BTreeMap<(Instant, u32), Next> =
        (0..AGENTS).map(|agent| ((now, agent), Next::Dial { attempt: 0 })).collect();
    // One address of strangers fills its own slots and never speaks.
    let strangers: Vec<Slot> =
        (0..16).map(|_| admission.arrive(address(0x00ff_0000), now).unwrap()).collect();
    let (mut seats, mut last) = (Vec::new(), now);
    while let Some(((at, agent), next)) = queue.pop_first() {
        assert!(at < now + Duration::from_secs(600), "{} agents still wait", queue.len() + 1);
        match next {
            // Four agents behind each address.
            Next::Dial { attempt } => match admission.arrive(address(agent / 4), at) {
                Ok(slot) => {
                    queue.insert((at + HANDSHAKE, agent), Next::Done(slot));
                }
                Err(_) => {
                    let longest = Duration::from_secs(300).min(Duration::from_secs(1 << attempt.min(9)));
                    let again = at + Duration::from_millis(1) + random.below(longest);
                    queue.insert((again, agent), Next::Dial { attempt: attempt + 1 });
                }
            },
            Next::Done(slot) => {
                seats.push(admission.seat(slot, Applicant::Agent, at, random.next()).unwrap());
                last = at;
            }
        }
        assert!(admission.handshakes() <= 512);
        assert!(admission.arrive(address(0x00ff_0000), at).is_err());
    }
    assert_eq!((seats.len(), admission.sessions()), (10_000, 10_000));
    assert_eq!(admission.handshakes(), strangers.len());
    let took = (last - now).as_millis();
    assert!(took * rate >= (u128::from(AGENTS) - 1000) * 1000, "faster than the rate: {took} ms");
}
