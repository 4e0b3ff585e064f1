//! `[store]`: where the manager keeps jobs.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checks::Checks;
use crate::sections::DEADLINE;
use crate::values::{duration, size};

const MIB: u64 = 1024 * 1024;
const TIB: u64 = 1024 * 1024 * MIB;

/// `[store]`: where the manager keeps jobs, and how much space they may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// The folder of the database `jobs.db`, mode 0700; `None` is `manager.state_dir`. Not on a network file system.
    pub path: Option<PathBuf>,
    /// Bytes set aside for the day the disk is full, so that what is under way can still be recorded; zero is none.
    #[serde(with = "size")]
    pub reserve: u64,
    /// The largest size of the database in bytes, the reserve included and the log beside it not; zero is no limit but the disk's.
    #[serde(with = "size")]
    pub max_size: u64,
    /// How long a change waits for space when the disk is full and the reserve is used up, before it fails.
    #[serde(with = "duration")]
    pub full_patience: Duration,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { path: None, reserve: 64 * MIB, max_size: 0, full_patience: Duration::from_secs(30) }
    }
}

impl StoreConfig {
    /// The largest size of the database in bytes, if there is one.
    pub fn max_size(&self) -> Option<u64> {
        (self.max_size != 0).then_some(self.max_size)
    }

    pub(crate) fn check(&self, checks: &mut Checks) {
        if let Some(path) = &self.path {
            checks.path("store.path", path);
        }
        checks.size_or_off("store.reserve", self.reserve, MIB..=TIB);
        checks.size_or_off("store.max_size", self.max_size, 16 * MIB..=1024 * TIB);
        if self.max_size != 0 && self.max_size < self.reserve.saturating_mul(2) {
            let what = "the reserve is a part of it and would be more than half; make it at least twice store.reserve";
            checks.add("store.max_size", what);
        }
        checks.duration("store.full_patience", self.full_patience, DEADLINE);
    }

    pub(crate) fn paths(&mut self) -> impl Iterator<Item = (&'static str, &mut PathBuf)> {
        self.path.as_mut().map(|path| ("store.path", path)).into_iter()
    }
}
