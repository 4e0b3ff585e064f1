//! How the workers of a procedure are, for whoever asks.

use std::time::Duration;

use tokio::time::Instant;

use super::{Handle, Pool, lock};

/// The workers of a procedure that run as one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// How many there are, those that are being started too.
    pub workers: usize,
    /// How many of them have nothing to do.
    pub free: usize,
    /// How those before them died.
    pub trouble: Option<Deaths>,
}

/// Workers that died in a row, without the end of a call between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deaths {
    /// How many.
    pub deaths: u32,
    /// How the last one did; follows "it".
    pub last: String,
    /// How long none is started; zero when the next call starts one.
    pub next_in: Duration,
}

impl Pool {
    /// As it is now.
    pub(in super::super) fn health(&self) -> Health {
        let free = lock(&self.free).iter().filter(|Handle(worker)| !worker.is_closed()).count();
        let restarts = lock(&self.restarts);
        Health { workers: restarts.living().max(free), free, trouble: restarts.trouble(Instant::now()) }
    }
}
