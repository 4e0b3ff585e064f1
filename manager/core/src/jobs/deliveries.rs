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
}
