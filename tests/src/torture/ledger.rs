//! What clients were told: the promises that the judge holds the product to. And the pulse of a world.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redpoll_common::api::jobs::EndSummary;
use redpoll_common::job::Item;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::oracle::wall_ms;
use super::order::Order;

/// A submit that was answered.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    /// The number that rides along in the job's info.
    pub number: u64,
    /// Who submitted it.
    pub submitter: String,
    /// Under which key.
    pub key: Option<String>,
    /// What was asked for.
    pub order: Order,
    /// The id that was answered.
    pub job: String,
    /// A cancel of the whole job was answered: how many runs had ended at once, and how many were asked to.
    pub cancelled: Option<(u32, u32)>,
    /// When a cancel of the whole job was asked for first, answered or not, in UTC milliseconds.
    pub cancel_asked_ms: Option<u64>,
    /// A release was answered.
    pub released: bool,
}

/// An attempt of a run: job, agent, number.
pub type AttemptKey = (String, String, u16);

/// Everything that clients were told.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Submits that were answered.
    pub submits: Vec<Acknowledged>,
    /// Items that readers were given.
    pub items: BTreeMap<AttemptKey, BTreeMap<u64, Item>>,
    /// Ends that readers were told.
    pub ends: Vec<(AttemptKey, EndSummary)>,
    /// What contradicted itself at once.
    pub findings: Vec<String>,
}

/// Takes down what clients are told.
#[derive(Debug)]
pub struct Ledger {
    told: Mutex<Told>,
    beats: watch::Sender<u64>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { told: Mutex::default(), beats: watch::Sender::new(0) }
    }
}

impl Ledger {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything so far.
    pub fn all(&self) -> Told {
        self.told().clone()
    }

    /// Something happened in the world.
    pub fn beat(&self) {
        self.beats.send_modify(|beats| *beats += 1);
    }

    /// Waits until so much more happened, or until `limit` has passed.
    pub async fn after(&self, beats: u32, limit: Duration) {
        let until = *self.beats.borrow() + u64::from(beats);
        let mut heard = self.beats.subscribe();
        let _late = timeout_at(Instant::now() + limit, heard.wait_for(|now| *now >= until)).await;
    }

    /// A submit was answered. Gives its place, for what comes later.
    pub fn acknowledged(&self, submit: Acknowledged) -> usize {
        self.beat();
        let mut told = self.told();
        told.submits.push(submit);
        told.submits.len() - 1
    }

    /// A cancel of the whole job is about to be asked for.
    pub fn cancelling(&self, place: usize) {
        if let Some(submit) = self.told().submits.get_mut(place) {
            submit.cancel_asked_ms = Some(wall_ms());
        }
    }

    /// A cancel of the whole job was answered.
    pub fn cancelled(&self, place: usize, ended: u32, asked: u32) {
        self.beat();
        if let Some(submit) = self.told().submits.get_mut(place) {
            submit.cancelled = Some((ended, asked));
        }
    }

    /// A release was answered.
    pub fn released(&self, place: usize) {
        self.beat();
        if let Some(submit) = self.told().submits.get_mut(place) {
            submit.released = true;
        }
    }

    /// A reader was given items of an attempt. `next` is the number that has to come; the one after them is given back.
    pub fn items(&self, key: &AttemptKey, mut next: u64, items: &[Item]) -> u64 {
        let mut wrong = Vec::new();
        let mut told = self.told();
        let known = told.items.entry(key.clone()).or_default();
        for item in items {
            if item.n != next {
                wrong.push(format!("a reader of {key:?} was given item {} where {next} had to come", item.n));
            }
            next = item.n + 1;
            if known.insert(item.n, item.clone()).is_some_and(|before| before != *item) {
                wrong.push(format!("two readers of {key:?} were given two different items {}", item.n));
            }
        }
        told.findings.extend(wrong);
        drop(told);
        if !items.is_empty() {
            self.beat();
        }
        next
    }

    /// A reader was told an end.
    pub fn ended(&self, key: AttemptKey, end: EndSummary) {
        self.beat();
        self.told().ends.push((key, end));
    }

    /// Something is wrong.
    pub fn finding(&self, what: String) {
        self.told().findings.push(what);
    }
}
