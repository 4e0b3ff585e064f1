//! What a run leaves behind.

use std::collections::BTreeMap;

use super::invariant::Violation;

/// How often what happened: a test sees with it that the simulation is not blind.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally(BTreeMap<String, u64>);

impl Tally {
    pub(super) fn hit(&mut self, what: &str) {
        match self.0.get_mut(what) {
            Some(count) => *count += 1,
            None => drop(self.0.insert(what.to_owned(), 1)),
        }
    }

    /// How often it happened.
    pub fn count(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Adds what happened in another run.
    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what.clone()).or_default() += count;
        }
    }

    /// Everything that happened, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(what, count)| (what.as_str(), *count))
    }
}

/// One run from its beginning to its end.
#[derive(Debug)]
pub struct Report {
    /// What decided everything in it.
    pub seed: u64,
    /// Of all events: the same seed gives the same hash.
    pub hash: u64,
    /// How many events there were.
    pub events: u64,
    /// How much time passed in it, in milliseconds.
    pub simulated_ms: u64,
    /// What did not hold, if anything.
    pub violation: Option<Violation>,
    /// What happened how often.
    pub tally: Tally,
    /// The trace, if it was asked for.
    pub lines: Vec<String>,
}

impl Report {
    /// One line that names what does not hold and how to see it again.
    pub fn failure(&self) -> Option<String> {
        let violation = self.violation.as_ref()?;
        Some(format!("cargo xtask simulate --seed {}   # {violation}", self.seed))
    }
}
