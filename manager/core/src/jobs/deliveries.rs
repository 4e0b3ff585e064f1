//! Whose turn it is among the callbacks that are due: each receiver's in their order, the receivers in turns, and none of them with
//! more than its share under way, so that one that never answers does not hold up the others.

use std::collections::{BTreeMap, VecDeque};

use redpoll_common::job::{Callback, JobId};

/// A callback: the job, and which of its ends.
pub(super) type Id = (JobId, u32);

/// Of the places for callbacks that are under way one receiver gets at most this part, and at least one.
const SHARE: usize = 4;

/// What answers or hangs as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Receiver {
    /// The host of webhooks, with its port if the URL names one.
    Host(String),
    /// A procedure on the manager.
    Procedure(String),
}

impl Receiver {
    pub(super) fn of(target: &Callback) -> Self {
        match target {
            Callback::Procedure(name) => Self::Procedure(name.clone()),
            Callback::Webhook(url) => {
                let rest = url.split_once("://").map_or(url.as_str(), |(_scheme, rest)| rest);
                let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
                Self::Host(host.to_ascii_lowercase())
            }
        }
    }
}

/// What is due, and what is under way.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    /// What is due, by receiver; none is empty.
    due: BTreeMap<Receiver, VecDeque<Id>>,
    /// The receivers whose turn comes: each of those above that has not used up its share, once.
    turns: VecDeque<Receiver>,
    /// Also those whose job was deleted meanwhile.
    under_way: BTreeMap<Id, Receiver>,
    /// How many of these each receiver has; none has 0.
    used: BTreeMap<Receiver, usize>,
}

impl Deliveries {
    /// A callback is due.
    pub(super) fn add(&mut self, id: Id, receiver: Receiver, at_once: usize) {
        let has_room = self.has_room(&receiver, at_once);
        let due = self.due.entry(receiver.clone()).or_default();
        due.push_back(id);
        if due.len() == 1 && has_room {
            self.turns.push_back(receiver);
        }
    }

    /// The next one to deliver, if fewer than `at_once` are under way. Takes as long for a thousand receivers that have used up their
    /// shares as for none.
    pub(super) fn next(&mut self, at_once: usize) -> Option<Id> {
        if self.under_way.len() >= at_once {
            return None;
        }
        let receiver = self.turns.pop_front()?;
        let due = self.due.get_mut(&receiver)?;
        let id = due.pop_front()?;
        let more = !due.is_empty();
        if !more {
            self.due.remove(&receiver);
        }
        self.under_way.insert(id, receiver.clone());
        *self.used.entry(receiver.clone()).or_default() += 1;
        if more && self.has_room(&receiver, at_once) {
            self.turns.push_back(receiver);
        }
        Some(id)
    }

    /// The try of one is over, or there will be none: `false` if none was under way.
    pub(super) fn ended(&mut self, id: Id, at_once: usize) -> bool {
        let Some(receiver) = self.under_way.remove(&id) else { return false };
        let had_room = self.has_room(&receiver, at_once);
        if let Some(used) = self.used.get_mut(&receiver) {
            *used = used.saturating_sub(1);
            if *used == 0 {
                self.used.remove(&receiver);
            }
        }
        if !had_room && self.has_room(&receiver, at_once) && self.due.contains_key(&receiver) {
            self.turns.push_back(receiver);
        }
        true
    }

    /// The limit was changed: who has room is found out anew.
    pub(super) fn limit_changed(&mut self, at_once: usize) {
        let turns = self.due.keys().filter(|receiver| self.has_room(receiver, at_once));
        self.turns = turns.cloned().collect();
    }

    fn has_room(&self, receiver: &Receiver, at_once: usize) -> bool {
        self.used.get(receiver).copied().unwrap_or(0) < (at_once / SHARE).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhooks_of_one_host_are_one_receiver_whatever_their_paths() {
        let of = |url: &str| Receiver::of(&Callback::Webhook(url.to_owned()));
        assert_eq!(of("https://Hooks.example/a?b"), of("http://hooks.example"));
        assert_eq!(of("https://hooks.example?x=/y"), of("https://hooks.example#z"));
        assert_ne!(of("https://hooks.example:8443/a"), of("https://hooks.example/a"));
        assert_ne!(of("https://hooks.example/a"), of("https://other.example/a"));
        let procedure = Receiver::of(&Callback::Procedure("hooks.example".to_owned()));
        assert_ne!(procedure, of("https://hooks.example/a"));
    }

    fn receiver(n: u8) -> Receiver {
        Receiver::Procedure(n.to_string())
    }

    fn id(of: u8, n: u8) -> Id {
        (JobId::new(of.into(), n.into()), 1)
    }

    #[test]
    fn receivers_take_turns_whatever_share_they_have() {
        for (at_once, mut wanted) in [(1, vec![(0, 0), (1, 0), (0, 1), (1, 1), (1, 2)]), (64, vec![])] {
            let mut deliveries = Deliveries::default();
            for (of, n) in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)] {
                deliveries.add(id(of, n), receiver(of), at_once);
            }
            let mut got = Vec::new();
            while let Some(next) = deliveries.next(at_once) {
                got.push(next);
                assert!(at_once > 1 || deliveries.ended(next, at_once));
            }
            if wanted.is_empty() {
                wanted = vec![(0, 0), (1, 0), (0, 1), (1, 1), (1, 2)];
            }
            assert_eq!(got, wanted.into_iter().map(|(of, n)| id(of, n)).collect::<Vec<_>>(), "{at_once}");
        }
    }

    #[test]
    fn a_receiver_that_has_used_up_its_share_gets_no_more_also_when_nothing_of_it_was_due() {
        let mut deliveries = Deliveries::default();
        for n in 0..3 {
            deliveries.add(id(0, n), receiver(0), 8);
            assert_eq!(deliveries.next(8), (n < 2).then_some(id(0, n)), "a quarter of 8");
        }
    }

    /// Whatever comes, ends and is reloaded in whatever order: nothing waits while it may go, nobody has more than their share, and
    /// each is served in its order.
    #[test]
    fn no_callback_waits_while_there_is_room_for_it() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut dice = move |sides: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(random >> 33).unwrap() % sides
        };
        let (mut deliveries, mut at_once) = (Deliveries::default(), 8);
        let mut due: Vec<VecDeque<Id>> = vec![VecDeque::new(); 6];
        let mut under_way: Vec<(usize, Id)> = Vec::new();
        for n in 0..20_000_u64 {
            match dice(10) {
                0..5 if n < 15_000 => {
                    let of = dice(6);
                    let id = (JobId::new(n, 0), 1);
                    deliveries.add(id, receiver(u8::try_from(of).unwrap()), at_once);
                    due[of].push_back(id);
                }
                5 if n.is_multiple_of(7) => {
                    at_once = 1 + dice(16);
                    deliveries.limit_changed(at_once);
                }
                _ if under_way.is_empty() => {}
                _ => {
                    let (_, id) = under_way.swap_remove(dice(under_way.len()));
                    assert!(deliveries.ended(id, at_once) && !deliveries.ended(id, at_once));
                }
            }
            while let Some(id) = deliveries.next(at_once) {
                let of = due.iter().position(|of| of.front() == Some(&id)).expect("in its order");
                due[of].pop_front();
                under_way.push((of, id));
                let used = under_way.iter().filter(|(other, _)| *other == of).count();
                assert!(used <= (at_once / SHARE).max(1) && under_way.len() <= at_once);
            }
            let waits = |of: &usize| {
                let used = under_way.iter().filter(|(other, _)| other == of).count();
                !due[*of].is_empty() && used < (at_once / SHARE).max(1)
            };
            assert!(under_way.len() >= at_once || !(0..6).any(|of| waits(&of)), "step {n}");
        }
        assert!(under_way.is_empty() && due.iter().all(VecDeque::is_empty));
        let nothing = deliveries.due.is_empty() && deliveries.turns.is_empty();
        assert!(nothing && deliveries.under_way.is_empty() && deliveries.used.is_empty());
    }
}
